package model

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

// Models of two layers of which one owns a cache: the lower, as in CLA, or the upper, which closes a circle. So a token leaves half of what the design alone would.
func init() {
	add := func(name, design string, share []int, makes ...string) {
		moreTinies = append(moreTinies, func() tiny {
			m := alone(design)
			m.name, m.share, m.makes = name, share, makes
			return m
		})
		tinyBytes[name] = maps.Clone(tinyBytes[design])
	}
	add("gqa cla", "gqa", []int{0, 0}, "k_proj", "v_proj")
	add("mla cla", "mla", []int{0, 0}, "kv_a_proj_with_mqa", "kv_a_layernorm")
	add("mfa-kr cla", "mfa-kr", []int{0, 0}, "k_proj")
	add("tpa cla", "tpa", []int{0, 0}, "a_k_proj", "b_k_proj", "a_v_proj", "b_v_proj")
	add("gqa top", "gqa", []int{1, 1}, "k_proj", "v_proj")
	add("gta top", "gta", []int{1, 1}, "kv_proj", "k_rope_proj")
	// CLLA-quant: a latent of 48 in q4, 18 + 10 bytes, whatever the run says; the rotary key of 16 as the run says.
	moreTinies = append(moreTinies, func() tiny {
		m := alone("mla")
		m.name, m.config = "clla-quant", m.config.with(fields{"latent_bits": 4})
		m.share, m.makes = []int{0, 0}, []string{"kv_a_proj_with_mqa", "kv_a_layernorm"}
		return m
	})
	tinyBytes["clla-quant"] = map[string]int{"f32": 28 + 64, "f16": 28 + 32, "bf16": 28 + 32, "q8": 28 + 18, "q8h": 28 + 18, "q4": 28 + 10, "q4c": 28 + 10, "q2c": 34, "q4h": 28 + 10, "latent=q4,rope=f32": 28 + 64}
	sameBitsRefused["mfa-kr cla q8h"], sameBitsRefused["mfa-kr cla q4h"] = "Hadamard", "Hadamard"
	sameBitsRefused["tpa cla q8h"], sameBitsRefused["tpa cla q4h"] = "Hadamard", "Hadamard"
}

// shared is a row with two layers, of which the lower owns the cache.
func shared(of func() tiny, makes ...string) func() tiny {
	return func() tiny {
		m := of()
		m.name, m.share, m.makes = m.name+" cla", []int{0, 0}, makes
		return m
	}
}

// alone is a row that no file adds.
func alone(name string) tiny {
	more := moreTinies
	moreTinies = nil
	defer func() { moreTinies = more }()
	for _, t := range tinies() {
		if t.name == name {
			return t
		}
	}
	panic("no tiny model " + name)
}

// A design shares where its mathematics does and its description says so; the others refuse a map by name.
func TestSharingDesigns(t *testing.T) {
	for _, row := range tinies() {
		if row.share != nil {
			continue
		}
		m := row.open(t, 1, false)
		_, can := m.designs[0].(attention.Sharer)
		says := config.DesignOf(row.design).Makes != nil
		if says && !can {
			t.Errorf("%s: its description says that it shares, the design does not", row.name)
		}
		if says || row.window > 0 { // one that embeds another design has the methods, which says nothing
			continue
		}
		fields := fmt.Sprintf(`{"model_type":"lowkey","hidden_size":%d,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":%d,"vocab_size":80,"layer_map":"0_0"`, tinyHidden, tinyHeads)
		for key, v := range row.config {
			if s, ok := v.(string); ok {
				v = fmt.Sprintf("%q", s)
			}
			fields += fmt.Sprintf(`,%q:%v`, key, v)
		}
		if _, err := New([]byte(fields+"}"), 1); !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), row.design) {
			t.Errorf("%s with a layer map: %v", row.name, err)
		}
	}
}

// small is a fresh model with a layer map.
func small(t *testing.T, design, layerMap string) *Model {
	t.Helper()
	more := map[string]string{"gqa": `"num_key_value_heads":2,"head_dim":6,"sliding_window":5`, "mla": `"kv_lora_rank":8,"qk_nope_head_dim":4,"qk_rope_head_dim":4,"v_head_dim":4`,
		"mfa-kr": `"head_dim":6,"q_lora_rank":8`, "mfa": `"head_dim":6,"q_lora_rank":8`, "gta": `"num_key_value_heads":2,"head_dim":8`,
		"gla":    `"kv_lora_rank":8,"qk_nope_head_dim":4,"qk_rope_head_dim":4,"v_head_dim":4`,
		"eg-mla": `"kv_lora_rank":8,"qk_nope_head_dim":4,"qk_rope_head_dim":4,"v_head_dim":4,"gate_embed_dim":6`, "tpa": `"head_dim":6,"q_rank":3`, "tucker": `"k_rank":6,"head_rank":3`,
		"mka": `"num_key_value_heads":2,"head_dim":6`, "mka-fast": `"num_key_value_heads":2,"head_dim":6`}[design]
	m, err := New([]byte(fmt.Sprintf(`{"model_type":"lowkey","attention":%q,%s,"hidden_size":16,"intermediate_size":20,"num_hidden_layers":%d,"num_attention_heads":4,"vocab_size":30,
		"max_position_embeddings":64,"tie_word_embeddings":true,"layer_map":%q}`, design, more, strings.Count(layerMap, "_")+1, layerMap)), 3)
	if err != nil {
		t.Fatal(design, layerMap, err)
	}
	return m
}

// Gradients of models whose layers share rows, against differences in float64 along random directions, over two documents: rows collect gradient from every layer that reads them. For maps
// that close a circle all passes carry gradients here: the derivative of so many passes is exact.
func TestSharedGradients(t *testing.T) {
	ids, pos, targets := []int32{1, 7, 3, 9, 4, 4, 2, 8}, []int{0, 1, 2, 3, 4, 0, 1, 2}, []int32{7, 3, 9, 4, -100, 2, 8, 5}
	for _, c := range [][2]string{{"gqa", "0_0_2_2"}, {"mla", "0_0_0"}, {"mfa", "0_1_1"}, {"mfa-kr", "0_0_2"}, {"gta", "0_0"}, {"gla", "0_0"}, {"eg-mla", "0_0_2"}, {"tpa", "0_0"}, {"tucker", "0_0"}, {"mka", "0_0"}, {"mka-fast", "0_0"}, {"gqa", "1_1_3_3"}, {"eg-mla", "1_1"}, {"tpa", "1_1"}, {"mla", "0_2_2_3"}, {"mfa-kr", "2_2_2"}} {
		m := small(t, c[0], c[1])
		m.passes = &[2]int{0, 3}
		o := tensor.NewTape64()
		params := record(o, m)
		loss := func(backward bool) float64 {
			o.Documents([]int{0, 5})
			y := o.CrossEntropy(m.ForwardAt(o, ids, pos, nil), targets, -100, false)
			defer o.Reset()
			if backward {
				o.Backward(y)
			}
			return o.Values(y)[0]
		}
		loss(true)
		rng := rand.New(rand.NewPCG(1, 2))
		for _, p := range params {
			v, want := make([]float64, len(p.data)), 0.0
			for i := range v {
				v[i] = rng.NormFloat64()
				want += v[i] * p.grad[i]
			}
			h := 5e-4 * max(0.02, l2(p.data)/math.Sqrt(float64(len(p.data))))
			at := func(s float64) float64 {
				for i := range v {
					p.data[i] += s * h * v[i]
				}
				defer func() {
					for i := range v {
						p.data[i] -= s * h * v[i]
					}
				}()
				return loss(false)
			}
			got := (8*(at(1)-at(-1)) - (at(2) - at(-2))) / (12 * h)
			if !(math.Abs(got-want) <= 1e-7*(1+math.Abs(want))) {
				t.Errorf("%v, %s: gradient %.9g along a direction, by differences %.9g", c, p.name, want, got)
			}
		}
		if unused := o.Unused(); len(unused) > 0 {
			t.Errorf("%v: %v are never asked for", c, unused)
		}
		o.Close()
	}
}

// Training's passes come near the sequential definition: with as many as there are tokens they are it, on the tape as in Forward, each document by itself.
func TestPassesReachTheDefinition(t *testing.T) {
	ids := make([]int32, 24)
	for i := range ids {
		ids[i] = int32(i * 7 % 30)
	}
	for _, c := range [][2]string{{"gqa", "0_3_3_3_4"}, {"gqa", "3s_1_3_3s"}, {"mla", "1_1_3_3"}, {"gta", "0_2_2_2_4"}, {"eg-mla", "0_2_2"}, {"tpa", "1_1"}, {"tucker", "2_2_2"}} {
		m := small(t, c[0], c[1])
		eager := tensor.NewEager64()
		want := eager.Values(m.Forward(eager, ids, nil))
		cached := cachedLogits(t, m, ids, len(ids), "f32")
		compare(t, fmt.Sprint(c, " step by step"), cached, floats32(want), 1e-4*peak(floats32(want)))
		both := append(append([]int32{}, ids...), ids...)
		pos := make([]int, len(both))
		for i := range pos {
			pos[i] = i % len(ids)
		}
		var gaps []string
		for _, passes := range []int{1, 3, 9, len(ids) + 1} {
			m.passes = &[2]int{passes - 1, 1}
			o := tensor.NewTape64()
			o.SetCheckpointing(passes == 3)
			for _, p := range m.Parameters() {
				data := make([]float64, len(p.Data))
				for i, v := range p.Data {
					data[i] = float64(v)
				}
				o.Param(p.Name, p.Bytes(), data, make([]float64, len(data)))
			}
			o.Documents([]int{0, len(ids)})
			got := o.Values(m.ForwardAt(o, both, pos, nil))
			gap := 0.0
			for i, v := range got {
				gap = max(gap, math.Abs(v-want[i%len(want)]))
			}
			gaps = append(gaps, fmt.Sprintf("%d: %.2g", passes, gap/peak(floats32(want))))
			if passes > len(ids) && gap > 1e-9 {
				t.Errorf("%v: %d passes are off by %.3g", c, passes, gap)
			}
			o.Close()
		}
		t.Logf("%v: largest difference of logits by passes, of the largest logit: %v", c, gaps)
	}
}

func floats32(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}

// A step of many sequences whose tokens go one by one gives the logits in order, whether all are wanted or the last.
func TestSequentialLogits(t *testing.T) {
	m := small(t, "gqa", "1_1_3_3")
	pool := kernel.NewPool(1)
	defer pool.Close()
	e, err := NewEngine(m, Options{Pool: pool, Spec: mustSpec(t, "f16"), MaxRows: 64, Budget: 1 << 20}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	run := func(feeds ...Feed) []float32 {
		for i := range feeds {
			feeds[i].Sequence = e.Store.NewSequence("")
			defer feeds[i].Sequence.Close()
		}
		y, err := e.Step(feeds)
		if err != nil {
			t.Fatal(err)
		}
		return append([]float32{}, y.Float32s()...)
	}
	a, b, c := []int32{1, 2, 3}, []int32{4}, []int32{5, 6, 7, 8, 9}
	var want []float32
	want = append(want, run(Feed{Tokens: a, All: true})...)
	want = append(want, run(Feed{Tokens: b})...)
	want = append(want, run(Feed{Tokens: c})...)
	got := run(Feed{Tokens: a, All: true}, Feed{Tokens: b}, Feed{Tokens: c})
	if len(got) != 5*m.Config.Vocab || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d logits together, %d apart, and equal: %v", len(got), len(want), fmt.Sprint(got) == fmt.Sprint(want))
	}
}

// CLLA-quant: the cached step is the forward that trains, up to latents so near a border between two codes that rounding decides; a latent of 16 bits is another model. Any other type for
// the latent is refused by name.
func TestLatentInFourBits(t *testing.T) {
	row := tinies()[slices.IndexFunc(tinies(), func(m tiny) bool { return m.name == "clla-quant" })]
	m := row.open(t, tinyLayers, false)
	ids := tinyTokens(100, 2)
	o := tensor.NewEager32()
	want := o.Values(m.Forward(o, ids, nil))
	row.config = row.config.with(fields{"latent_bits": 0})
	fine := row.open(t, tinyLayers, false)
	far, near := 0.0, 0.0
	top := peak(floats32(want))
	other := o.Values(fine.Forward(o, ids, nil))
	var off int
	for i, v := range cachedLogits(t, m, ids, 33, "f32") {
		d := math.Abs(v - want[i])
		near += d / float64(len(want))
		far += math.Abs(other[i]-want[i]) / float64(len(want))
		if d > 1e-4*top {
			off++
		}
	}
	t.Logf("mean difference of logits, of the largest: cached and forward %.2g, without the quantiser %.2g; %d of %d logits are off by more than 1e-4", near/top, far/top, off, len(want))
	if near > far/20 {
		t.Errorf("the cached step is off by %.3g of %.3g, the quantiser makes %.3g", near, top, far)
	}
	for _, kv := range []string{"latent=q8", "latent=q4h,rope=f16", "k=f16,v=f16"} {
		if _, err := kvcache.Resolve(m.Layouts(), mustSpec(t, kv)); !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "q4") {
			t.Errorf("%s: %v", kv, err)
		}
	}
}
