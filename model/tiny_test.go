package model

// Tiny random models written to disk as a user's would be: a config.json and a safetensors file. Tests load them through Open.

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// fields are those of a config.json.
type fields map[string]any

// with returns a copy with more fields.
func (f fields) with(more fields) fields {
	out := fields{}
	for k, v := range f {
		out[k] = v
	}
	for k, v := range more {
		out[k] = v
	}
	return out
}

// shapes are tensors by name.
type shapes map[string][]int

// block adds what every layer here has beside its attention: two norms and a gated MLP.
func (s shapes) block(at string, hidden, wide int) {
	s[at+"input_layernorm.weight"], s[at+"post_attention_layernorm.weight"] = []int{hidden}, []int{hidden}
	s[at+"mlp.gate_proj.weight"], s[at+"mlp.up_proj.weight"], s[at+"mlp.down_proj.weight"] = []int{wide, hidden}, []int{wide, hidden}, []int{hidden, wide}
}

func (s shapes) ends(vocab, hidden int) {
	s["model.embed_tokens.weight"], s["model.norm.weight"], s["lm_head.weight"] = []int{vocab, hidden}, []int{hidden}, []int{vocab, hidden}
}

// writeTiny writes a folder with random weights, and returns it and the weights: matrices of variance 1/columns, vectors around 1, rounded to bfloat16 where asked.
func writeTiny(t testing.TB, config fields, tensors shapes, bf16 bool) (string, map[string][]float32) {
	t.Helper()
	dir := t.TempDir()
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	values := map[string][]float32{}
	var out []safetensors.Tensor
	for name, shape := range tensors {
		n, seed := 1, uint64(14695981039346656037)
		for _, d := range shape {
			n *= d
		}
		for _, c := range []byte(name) {
			seed = (seed ^ uint64(c)) * 1099511628211
		}
		rng := rand.New(rand.NewPCG(seed, 7))
		scale := 1 / math.Sqrt(float64(shape[len(shape)-1]))
		x := make([]float32, n)
		w := safetensors.Tensor{Name: name, DType: safetensors.F32, Shape: shape}
		for i := range x {
			v := rng.NormFloat64() * scale
			if len(shape) == 1 {
				v = 1 + 0.2*rng.NormFloat64()
			}
			x[i] = float32(v)
			if bf16 {
				x[i] = math.Float32frombits(math.Float32bits(x[i]) &^ 0xffff)
				w.Data = binary.LittleEndian.AppendUint16(w.Data, uint16(math.Float32bits(x[i])>>16))
			} else {
				w.Data = binary.LittleEndian.AppendUint32(w.Data, math.Float32bits(x[i]))
			}
		}
		if bf16 {
			w.DType = safetensors.BF16
		}
		values[name] = x
		out = append(out, w)
	}
	if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), out, nil); err != nil {
		t.Fatal(err)
	}
	return dir, values
}

// The sizes of the models of all designs.
const (
	tinyHidden, tinyWide, tinyVocab, tinyLayers = 64, 96, 80, 2
	tinyHeads, tinyHeadDim                      = 4, 32
	tinyWindow                                  = 70
)

// tiny is a model in lowkey's own configuration. elements is what a token leaves behind in a layer, by the papers' formulas; stream by stream, heads and width.
type tiny struct {
	name    string
	design  string
	config  fields
	attn    shapes // under model.layers.N.self_attn.
	streams [][2]int
	window  int
	state   int                     // numbers of recurrent state in a layer
	merged  int                     // tokens that share a row, where more than one
	share   []int                   // of tinyLayers layers, the one whose rows each reads; nil: its own
	makes   []string                // tensors that layers without rows lack
	mlp     shapes                  // of a mixture, under model.layers.N.mlp., whole names
	layer   shapes                  // under model.layers.N., and
	top     func(layers int) shapes // under model., of a family that has more than blocks, whole names; nil: nothing
}

// moreTinies are those of designs whose rows stand in test files of their own.
var moreTinies []func() tiny

// tinies lists a model of every design, and one that slides.
func tinies() []tiny {
	const d, n, w = tinyHidden, tinyHeads, tinyHeadDim
	grouped := func(name, design string, kv int) tiny {
		return tiny{name: name, design: design, config: fields{"attention": design, "num_key_value_heads": kv, "head_dim": w},
			attn:    shapes{"q_proj": {n * w, d}, "k_proj": {kv * w, d}, "v_proj": {kv * w, d}, "o_proj": {d, n * w}},
			streams: [][2]int{{kv, w}, {kv, w}}}
	}
	sliding := grouped("gqa sliding", "gqa", 2)
	sliding.config["sliding_window"], sliding.window = tinyWindow, tinyWindow
	mfa := func(design string) tiny {
		m := tiny{name: design, design: design, config: fields{"attention": design, "head_dim": w, "q_lora_rank": 32},
			attn:    shapes{"q_a_proj": {32, d}, "q_a_layernorm": {32}, "q_b_proj": {n * w, 32}, "k_proj": {w, d}, "o_proj": {d, n * w}},
			streams: [][2]int{{1, w}}}
		if design == "mfa" {
			m.attn["v_proj"], m.streams = []int{w, d}, [][2]int{{1, w}, {1, w}}
		} else {
			m.attn["n"], m.attn["alpha"] = []int{w, w}, []int{w}
		}
		return m
	}
	mla := tiny{name: "mla", design: "mla",
		config:  fields{"attention": "mla", "kv_lora_rank": 48, "qk_nope_head_dim": 24, "qk_rope_head_dim": 16, "v_head_dim": 20, "q_lora_rank": 32},
		attn:    shapes{"q_a_proj": {32, d}, "q_a_layernorm": {32}, "q_b_proj": {n * 40, 32}, "kv_a_proj_with_mqa": {64, d}, "kv_a_layernorm": {48}, "kv_b_proj": {n * 44, 48}, "o_proj": {d, n * 20}},
		streams: [][2]int{{1, 48}, {1, 16}}}
	tpa := tiny{name: "tpa", design: "tpa", config: fields{"attention": "tpa", "head_dim": w, "q_rank": 3, "k_rank": 2, "v_rank": 3},
		attn:    shapes{"a_q_proj": {n * 3, d}, "b_q_proj": {3 * w, d}, "a_k_proj": {n * 2, d}, "b_k_proj": {2 * w, d}, "a_v_proj": {n * 3, d}, "b_v_proj": {3 * w, d}, "o_proj": {d, n * w}},
		streams: [][2]int{{1, n * 2}, {2, w}, {1, n * 3}, {3, w}}}
	gta := tiny{name: "gta", design: "gta", config: fields{"attention": "gta", "num_key_value_heads": 2, "head_dim": w},
		attn:    shapes{"q_proj": {n * w, d}, "kv_proj": {2 * w, d}, "k_rope_proj": {w / 2, d}, "o_proj": {d, n * w}},
		streams: [][2]int{{2, w}, {1, w / 2}}}
	sqa := tiny{name: "sqa", design: "sqa", config: fields{"attention": "sqa", "num_key_value_heads": 2, "head_dim": 12},
		attn:    shapes{"q_proj": {n * 12, d}, "k_proj": {2 * 12, d}, "v_proj": {2 * 12, d}, "o_proj": {d, n * 12}},
		streams: [][2]int{{2, 12}, {2, 12}}}
	latents := func(design string, rank, latents, block int) tiny { // block heads of 24 and 20 from each latent
		m := tiny{name: design, design: design, attn: shapes{"q_proj": {n * 40, d}, "kv_a_proj_with_mqa": {rank + 16, d}, "o_proj": {d, n * 20}}, streams: [][2]int{{latents, rank / latents}, {1, 16}},
			config: fields{"attention": design, "kv_lora_rank": rank, "num_latents": latents, "qk_nope_head_dim": 24, "qk_rope_head_dim": 16, "v_head_dim": 20, "q_scale": 1.2, "kv_scale": 0.8}}
		for j := range latents {
			m.attn[fmt.Sprintf("kv_a_layernorm.%d", j)], m.attn[fmt.Sprintf("kv_b_proj.%d", j)] = []int{rank / latents}, []int{block * 44, rank / latents}
		}
		return m
	}
	mlra := latents("mlra", 80, 4, n*2/4)
	mlra.config["num_branches"] = 2
	out := []tiny{grouped("mha", "mha", n), grouped("gqa", "gqa", 2), grouped("mqa", "mqa", 1), sqa, sliding, mla, mfa("mfa"), mfa("mfa-kr"), tpa, gta, latents("gla", 96, 2, n/2), mlra}
	for _, more := range moreTinies {
		out = append(out, more())
	}
	return out
}

// open writes the model and opens it.
func (m tiny) open(t testing.TB, layers int, bf16 bool) *Model {
	t.Helper()
	out, err := Open(m.write(t, layers, bf16))
	if err != nil {
		t.Fatal(m.name, err)
	}
	t.Cleanup(out.Close)
	return out
}

// write makes the model's folder.
func (m tiny) write(t testing.TB, layers int, bf16 bool) string {
	t.Helper()
	config := fields{"model_type": "lowkey", "hidden_size": tinyHidden, "intermediate_size": tinyWide, "num_hidden_layers": layers, "num_attention_heads": tinyHeads, "vocab_size": tinyVocab,
		"max_position_embeddings": 1 << 17}.with(m.config)
	shares := len(m.share) == layers
	if shares {
		config["layer_map"] = strings.Trim(strings.ReplaceAll(fmt.Sprint(m.share), " ", "_"), "[]")
	}
	tensors := shapes{}
	tensors.ends(tinyVocab, tinyHidden)
	if m.top != nil {
		for name, shape := range m.top(layers) {
			tensors["model."+name] = shape
		}
	}
	for i := 0; i < layers; i++ {
		at := "model.layers." + string(rune('0'+i)) + "."
		tensors.block(at, tinyHidden, tinyWide)
		for name, shape := range m.attn {
			if shares && m.share[i] != i && slices.Contains(m.makes, name) {
				continue
			}
			if name != "n" && name != "alpha" && !strings.HasSuffix(name, ".bias") { // written bare, as PyTorch's parameters are
				name += ".weight"
			}
			tensors[at+"self_attn."+name] = shape
		}
		for name, shape := range m.mlp {
			tensors[at+"mlp."+name] = shape
		}
		for name, shape := range m.layer {
			tensors[at+name] = shape
		}
	}
	dir, _ := writeTiny(t, config, tensors, bf16)
	return dir
}

// stepAgainstForward holds the cached step, in several chunks, to the definition in float64.
func stepAgainstForward(t *testing.T, row tiny) {
	t.Helper()
	m := row.open(t, 2, false)
	ids := tinyTokens(100, 4)
	o := tensor.NewEager64()
	want := make([]float32, 0, len(ids)*tinyVocab)
	for _, v := range o.Values(m.Forward(o, ids, nil)) {
		want = append(want, float32(v))
	}
	for _, chunk := range []int{1, 13, len(ids)} {
		compare(t, fmt.Sprintf("chunks of %d", chunk), cachedLogits(t, m, ids, chunk, "f32"), want, 1e-5*peak(want))
	}
}

func mustSpec(t testing.TB, text string) kvcache.Spec {
	t.Helper()
	s, err := kvcache.ParseSpec(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tinyTokens are n token ids, the same for the same seed.
func tinyTokens(n int, seed uint64) []int32 {
	rng := rand.New(rand.NewPCG(seed, 11))
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(rng.IntN(tinyVocab))
	}
	return out
}

var quantised = kernel.Q8_0
