package model

// Families without reference outputs are compared with a plain transcription of their published definition: float64, straight loops, nothing shared with the code under
// test. The blocks are all pre-norm with a gated SiLU MLP; each test writes its own attention.

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

type rows [][]float64

// linear is x Wᵀ for w [out, in].
func linear(x rows, w []float32) rows {
	y := make(rows, len(x))
	for t := range x {
		in := len(x[t])
		for o := 0; o < len(w)/in; o++ {
			sum := 0.0
			for i := 0; i < in; i++ {
				sum += x[t][i] * float64(w[o*in+i])
			}
			y[t] = append(y[t], sum)
		}
	}
	return y
}

func rmsNorm(x rows, w []float32, eps float64) rows {
	y := make(rows, len(x))
	for t := range x {
		sum := 0.0
		for _, v := range x[t] {
			sum += v * v
		}
		r := 1 / math.Sqrt(sum/float64(len(x[t]))+eps)
		for i, v := range x[t] {
			y[t] = append(y[t], v*r*float64(w[i]))
		}
	}
	return y
}

// rotateHalf turns channel i of each head with channel i + d/2, by position times inv[i].
func rotateHalf(x rows, heads int, inv []float64, factor float64) rows {
	y := make(rows, len(x))
	for t := range x {
		y[t] = make([]float64, len(x[t]))
		d := len(x[t]) / heads
		for h := 0; h < heads; h++ {
			for i := 0; i < d/2; i++ {
				c, s := math.Cos(float64(t)*inv[i])*factor, math.Sin(float64(t)*inv[i])*factor
				a, b := x[t][h*d+i], x[t][h*d+i+d/2]
				y[t][h*d+i], y[t][h*d+i+d/2] = a*c-b*s, b*c+a*s
			}
		}
	}
	return y
}

// plainInverse are the frequencies of unscaled rotary embeddings.
func plainInverse(d int, base float64) []float64 {
	var inv []float64
	for i := 0; i < d/2; i++ {
		inv = append(inv, 1/math.Pow(base, 2*float64(i)/float64(d)))
	}
	return inv
}

// attend is causal softmax attention of query heads over shared key and value heads.
func attend(q, k, v rows, heads, kvHeads int, scale float64) rows {
	y := make(rows, len(q))
	for t := range q {
		d, dv := len(q[t])/heads, len(v[t])/kvHeads
		for h := 0; h < heads; h++ {
			g := h / (heads / kvHeads)
			scores, top := make([]float64, t+1), math.Inf(-1)
			for j := 0; j <= t; j++ {
				for i := 0; i < d; i++ {
					scores[j] += q[t][h*d+i] * k[j][g*d+i]
				}
				scores[j] *= scale
				top = math.Max(top, scores[j])
			}
			sum, out := 0.0, make([]float64, dv)
			for j := range scores {
				p := math.Exp(scores[j] - top)
				sum += p
				for i := range out {
					out[i] += p * v[j][g*dv+i]
				}
			}
			for i := range out {
				y[t] = append(y[t], out[i]/sum)
			}
		}
	}
	return y
}

func plus(x, y rows) rows {
	out := make(rows, len(x))
	for t := range x {
		for i := range x[t] {
			out[t] = append(out[t], x[t][i]+y[t][i])
		}
	}
	return out
}

// transcribed computes logits. attn is given a layer's tensors by their names after "model.layers.N.self_attn." and the normed hidden state.
func transcribed(ids []int32, w map[string][]float32, layers, hidden int, eps float64, attn func(get func(string) []float32, x rows) rows) []float32 {
	return transcribedMixture(ids, w, layers, hidden, eps, attn, 0, false)
}

// transcribedMixture is transcribed with layers that have Step-3's mixture, where a router is among the weights: a softmax over all experts, the topK largest, divided by their sum where
// norm is set; experts in one tensor [experts, out, in] a matrix; one shared expert, unscaled.
func transcribedMixture(ids []int32, w map[string][]float32, layers, hidden int, eps float64, attn func(get func(string) []float32, x rows) rows, topK int, norm bool) []float32 {
	gated := func(h rows, gate, up, down []float32) rows {
		g, u := linear(h, gate), linear(h, up)
		for t := range g {
			for i := range g[t] {
				g[t][i] = g[t][i] / (1 + math.Exp(-g[t][i])) * u[t][i]
			}
		}
		return linear(g, down)
	}
	x := make(rows, len(ids))
	for t, id := range ids {
		for _, v := range w["model.embed_tokens.weight"][int(id)*hidden:][:hidden] {
			x[t] = append(x[t], float64(v))
		}
	}
	for l := 0; l < layers; l++ {
		at := fmt.Sprintf("model.layers.%d.", l)
		x = plus(x, attn(func(name string) []float32 { return w[at+"self_attn."+name] }, rmsNorm(x, w[at+"input_layernorm.weight"], eps)))
		h := rmsNorm(x, w[at+"post_attention_layernorm.weight"], eps)
		gate, up := w[at+"mlp.gate_proj.weight"], w[at+"mlp.up_proj.weight"]
		if both := w[at+"mlp.gate_up_proj.weight"]; both != nil {
			gate, up = both[:len(both)/2], both[len(both)/2:]
		}
		router := w[at+"moe.gate.weight"]
		if router == nil {
			x = plus(x, gated(h, gate, up, w[at+"mlp.down_proj.weight"]))
			continue
		}
		y := gated(h, w[at+"share_expert.gate_proj.weight"], w[at+"share_expert.up_proj.weight"], w[at+"share_expert.down_proj.weight"])
		for t, s := range linear(h, router) {
			sum, kept := 0.0, 0.0
			for _, v := range s {
				sum += math.Exp(v)
			}
			order := make([]int, len(s))
			for e := range order {
				order[e] = e
			}
			slices.SortFunc(order, func(a, b int) int { return cmp.Compare(s[b], s[a]) })
			for _, e := range order[:topK] {
				kept += math.Exp(s[e]) / sum
			}
			if !norm {
				kept = 1
			}
			for _, e := range order[:topK] {
				one := func(name string) []float32 {
					all := w[at+"moe."+name+".weight"]
					return all[e*len(all)/len(s):][:len(all)/len(s)]
				}
				for i, v := range gated(h[t:t+1], one("gate_proj"), one("up_proj"), one("down_proj"))[0] {
					y[t][i] += math.Exp(s[e]) / sum / kept * v
				}
			}
		}
		x = plus(x, y)
	}
	var out []float32
	for _, row := range linear(rmsNorm(x, w["model.norm.weight"], eps), w["lm_head.weight"]) {
		for _, v := range row {
			out = append(out, float32(v))
		}
	}
	return out
}

// agree holds the definition and the cached step, opened for sequences of context tokens, to a transcription's logits.
func agree(t *testing.T, what string, m *Model, ids []int32, want []float32, context int, forward bool) {
	t.Helper()
	bound := 1e-4 * peak(want)
	if forward {
		o := tensor.NewEager32()
		compare(t, what+", Forward", o.Values(m.Forward(o, ids, nil)), want, bound)
	}
	pool := kernel.NewPool(2)
	defer pool.Close()
	for _, chunk := range []int{1, 7, len(ids)} {
		e, err := NewEngine(m, Options{Pool: pool, Spec: mustSpec(t, "f32"), MaxRows: context, Budget: 16 << 20}, nil)
		if err != nil {
			t.Fatal(what, err)
		}
		q := e.Store.NewSequence("")
		compare(t, fmt.Sprintf("%s, cached step, chunks of %d, context %d", what, chunk, context), stepAll(t, e, q, ids, chunk), want, bound)
		e.Close()
	}
}

func stepAll(t *testing.T, e *Engine, q *kvcache.Sequence, ids []int32, chunk int) (out []float64) {
	t.Helper()
	for at := 0; at < len(ids); at += chunk {
		y, err := e.Step([]Feed{{Sequence: q, Tokens: ids[at:min(at+chunk, len(ids))], All: true}})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range y.Float32s() {
			out = append(out, float64(v))
		}
	}
	return out
}

func openTiny(t *testing.T, config fields, tensors shapes) (*Model, map[string][]float32) {
	t.Helper()
	dir, w := writeTiny(t, config, tensors, false)
	m, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m, w
}

// Step-3's mixture in the second of two layers, with its weights normed and not; the shared expert's width given and not.
func TestStep3Mixture(t *testing.T) {
	const d, n, w, experts, wide, topK = 48, 3, 32, 5, 20, 2
	for _, norm := range []bool{false, true} {
		shared := topK * wide
		config := fields{"model_type": "step3_text", "hidden_size": d, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": n, "num_attention_groups": 1, "head_dim": w,
			"vocab_size": tinyVocab, "max_position_embedding": 256, "rms_norm_eps": 1e-3, "rope_theta": 5000, "moe_num_experts": experts, "moe_top_k": topK, "moe_intermediate_size": wide,
			"norm_expert_weight": norm, "share_q_dim": 40}
		if !norm {
			shared = 28
			config["share_expert_dim"], config["moe_layers_enum"] = shared, "1"
		}
		tensors := shapes{}
		tensors.ends(tinyVocab, d)
		for l := range 2 {
			at := fmt.Sprintf("model.layers.%d.", l)
			tensors.block(at, d, 80)
			for name, shape := range (shapes{"q_proj": {40, d}, "k_proj": {w, d}, "v_proj": {w, d}, "inter_norm": {40}, "wq": {n * w, 40}, "o_proj": {d, n * w}}) {
				tensors[at+"self_attn."+name+".weight"] = shape
			}
		}
		const at = "model.layers.1."
		for _, name := range []string{"gate_proj", "up_proj", "down_proj"} {
			delete(tensors, at+"mlp."+name+".weight")
		}
		for name, shape := range (shapes{"moe.gate": {experts, d}, "moe.gate_proj": {experts, wide, d}, "moe.up_proj": {experts, wide, d}, "moe.down_proj": {experts, d, wide},
			"share_expert.gate_proj": {shared, d}, "share_expert.up_proj": {shared, d}, "share_expert.down_proj": {d, shared}}) {
			tensors[at+name+".weight"] = shape
		}
		m, weights := openTiny(t, config, tensors)
		ids, inv := tinyTokens(90, 2), plainInverse(w, 5000)
		want := transcribedMixture(ids, weights, 2, d, 1e-3, func(get func(string) []float32, x rows) rows {
			q := linear(rmsNorm(linear(x, get("q_proj.weight")), get("inter_norm.weight"), 1e-3), get("wq.weight"))
			k := rotateHalf(linear(x, get("k_proj.weight")), 1, inv, 1)
			return linear(attend(rotateHalf(q, n, inv, 1), k, linear(x, get("v_proj.weight")), n, 1, 1/math.Sqrt(w)), get("o_proj.weight"))
		}, topK, norm)
		agree(t, fmt.Sprintf("normed weights %v", norm), m, ids, want, 256, true)
	}
}

// Step-3's attention, by vLLM's step3_text: bottleneck and its norm, wide query heads, half-split RoPE on whole heads, one key and value head, scale head_dim^-0.5.
// No published weights were loaded.
func TestStep3(t *testing.T) {
	const d, n, w = 48, 3, 32
	base := fields{"model_type": "step3_text", "hidden_size": d, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": n, "num_attention_groups": 1, "head_dim": w,
		"vocab_size": tinyVocab, "max_position_embedding": 256, "rms_norm_eps": 1e-3, "rope_theta": 5000}
	experts := fields{"moe_num_experts": 4, "moe_top_k": 2, "moe_intermediate_size": 8}
	for _, c := range []struct {
		name    string
		config  fields
		rank    int
		prefix  string
		headFor string
	}{
		{"own bottleneck", base.with(fields{"share_q_dim": 40}), 40, "", ""},
		{"bottleneck of head_dim", base, w, "", ""},
		{"no layer is a mixture, by an empty string", base.with(experts).with(fields{"share_q_dim": 40, "moe_layers_enum": ""}), 40, "", ""},
		{"no layer is a mixture, by an empty list", base.with(experts).with(fields{"share_q_dim": 0, "moe_layers_enum": []int{}}), w, "", ""},
		{"in its wrapper", fields{"model_type": "step3_vl", "text_config": base}, w, "language_model.model.", "language_model."},
		{"in its wrapper, the newer order of names", fields{"model_type": "step3_vl", "text_config": base}, w, "model.language_model.", ""},
	} {
		tensors := shapes{}
		tensors.ends(tinyVocab, d)
		for l := 0; l < 2; l++ {
			at := fmt.Sprintf("model.layers.%d.", l)
			tensors.block(at, d, 80)
			attn := shapes{"q_proj": {c.rank, d}, "k_proj": {w, d}, "v_proj": {w, d}, "inter_norm": {c.rank}, "wq": {n * w, c.rank}, "o_proj": {d, n * w}}
			for name, shape := range attn {
				tensors[at+"self_attn."+name+".weight"] = shape
			}
		}
		renamed, plain := shapes{}, map[string]string{}
		for name, shape := range tensors {
			to := name
			if c.prefix != "" && name != "lm_head.weight" {
				to = c.prefix + name[len("model."):]
			} else if c.prefix != "" {
				to = c.headFor + name
			}
			renamed[to], plain[to] = shape, name
		}
		m, stored := openTiny(t, c.config, renamed)
		weights := map[string][]float32{}
		for name, x := range stored {
			weights[plain[name]] = x
		}
		ids, inv := tinyTokens(90, 2), plainInverse(w, 5000)
		want := transcribed(ids, weights, 2, d, 1e-3, func(get func(string) []float32, x rows) rows {
			q := linear(rmsNorm(linear(x, get("q_proj.weight")), get("inter_norm.weight"), 1e-3), get("wq.weight"))
			k := rotateHalf(linear(x, get("k_proj.weight")), 1, inv, 1)
			return linear(attend(rotateHalf(q, n, inv, 1), k, linear(x, get("v_proj.weight")), n, 1, 1/math.Sqrt(w)), get("o_proj.weight"))
		})
		agree(t, c.name, m, ids, want, 256, true)
	}
}

// MFA with key reuse: the value is v = k + alpha * (N k) of the key before RoPE; queries as in MFA.
func TestMFAKR(t *testing.T) {
	var row tiny
	for _, r := range tinies() {
		if r.name == "mfa-kr" {
			row = r
		}
	}
	const d, n, w = tinyHidden, tinyHeads, tinyHeadDim
	m := row.open(t, 2, false)
	weights := map[string][]float32{}
	for _, name := range m.src.(folderSource).Names() {
		x, _ := m.src.Tensor(name)
		weights[name] = x.Float32s()
	}
	ids, inv := tinyTokens(90, 2), plainInverse(w, 10000)
	want := transcribed(ids, weights, 2, d, 1e-6, func(get func(string) []float32, x rows) rows {
		q := linear(rmsNorm(linear(x, get("q_a_proj.weight")), get("q_a_layernorm.weight"), 1e-6), get("q_b_proj.weight"))
		k := linear(x, get("k_proj.weight"))
		reused := linear(k, get("n"))
		v := make(rows, len(k))
		for t := range k {
			for i := range k[t] {
				v[t] = append(v[t], k[t][i]+float64(get("alpha")[i])*reused[t][i])
			}
		}
		return linear(attend(rotateHalf(q, n, inv, 1), rotateHalf(k, 1, inv, 1), v, n, 1, 1/math.Sqrt(w)), get("o_proj.weight"))
	})
	agree(t, "mfa-kr", m, ids, want, 256, true)
}

// Longrope has one list of divisors for contexts up to the original one and another beyond: a session takes its list by the context that it is opened for.
func TestLongrope(t *testing.T) {
	const d, n, w, original, trained = 48, 4, 12, 32, 128
	short, long := []float64{1, 1.05, 1.1, 1.2, 1.3, 1.4}, []float64{1.1, 1.6, 2.3, 3, 3.6, 4}
	config := fields{"model_type": "phi3", "hidden_size": d, "intermediate_size": 70, "num_hidden_layers": 2, "num_attention_heads": n, "num_key_value_heads": 2, "vocab_size": tinyVocab,
		"max_position_embeddings": trained, "original_max_position_embeddings": original, "rms_norm_eps": 1e-3, "rope_theta": 1000,
		"rope_scaling": fields{"type": "longrope", "short_factor": short, "long_factor": long}}
	tensors := shapes{}
	tensors.ends(tinyVocab, d)
	for l := 0; l < 2; l++ {
		at := fmt.Sprintf("model.layers.%d.", l)
		tensors[at+"input_layernorm.weight"], tensors[at+"post_attention_layernorm.weight"] = []int{d}, []int{d}
		tensors[at+"mlp.gate_up_proj.weight"], tensors[at+"mlp.down_proj.weight"] = []int{140, d}, []int{d, 70}
		tensors[at+"self_attn.qkv_proj.weight"], tensors[at+"self_attn.o_proj.weight"] = []int{(n + 4) * w, d}, []int{d, n * w}
	}
	m, weights := openTiny(t, config, tensors)
	factor := math.Sqrt(1 + math.Log(trained/original)/math.Log(original))
	logits := func(ids []int32, divisors []float64) []float32 {
		inv := plainInverse(w, 1000)
		for i := range inv {
			inv[i] /= divisors[i]
		}
		return transcribed(ids, weights, 2, d, 1e-3, func(get func(string) []float32, x rows) rows {
			fused := get("qkv_proj.weight")
			q, k, v := linear(x, fused[:n*w*d]), linear(x, fused[n*w*d:][:2*w*d]), linear(x, fused[(n+2)*w*d:])
			return linear(attend(rotateHalf(q, n, inv, factor), rotateHalf(k, 2, inv, factor), v, n, 2, 1/math.Sqrt(w)), get("o_proj.weight"))
		})
	}
	few, many := tinyTokens(30, 4), tinyTokens(90, 4)
	agree(t, "short context", m, few, logits(few, short), original, true)
	agree(t, "long context, long sequence", m, many, logits(many, long), trained, true)
	agree(t, "long context, short sequence", m, few, logits(few, long), original+1, false)
	if a, b := logits(few, short), logits(few, long); math.Abs(float64(a[len(a)-1]-b[len(b)-1])) < 1e-3*peak(a) {
		t.Error("the two lists do not differ here: nothing was tested")
	}
	if m.Fingerprint(original) == m.Fingerprint(original+1) {
		t.Error("sessions rotated by different lists have one fingerprint")
	}
	if m.Fingerprint(original+1) != m.Fingerprint(trained) {
		t.Error("sessions rotated by the same list have two fingerprints")
	}
}
