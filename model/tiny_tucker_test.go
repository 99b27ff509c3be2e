package model

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/tensor"
)

// Bytes a token in a layer: tucker r3 + r3' = 32 + 48 numbers, 32 where keys are values; moas 2 d_h (H + G + 1) = 2*32*7, held to mqa 2 d_h. As in tiny_bytes_test.go.
func init() {
	moreTinies = append(moreTinies, func() tiny { return tinyTucker("tucker", false) }, func() tiny { return tinyTucker("tucker, shared", true) }, shared(func() tiny { return tinyTucker("tucker", false) }, "k_proj", "v_proj"), tinyMoAS, tinyRouted)
	tinyBytes["tucker"] = map[string]int{"f32": 320, "f16": 160, "bf16": 160, "q8": 86, "q8h": 86, "q4": 46, "q4c": 46, "q2c": 26, "q4h": 46, "k=q8,v=q4": 34 + 28}
	tinyBytes["tucker cla"] = tinyBytes["tucker"]
	tinyBytes["tucker, shared"] = map[string]int{"f32": 128, "f16": 64, "bf16": 64, "q8": 34, "q4": 18, "q4c": 18, "q2c": 10}
	tinyBytes["moas"] = map[string]int{"f32": 1792, "f16": 896, "bf16": 896, "q8": 476, "q8h": 476, "q4": 252, "q4c": 252, "q2c": 140, "q4h": 252, "k=q8,v=q4": 7 * 52}
	tinyBytes["moas, routed"] = map[string]int{"f32": 256, "f16": 128, "bf16": 128, "q8": 68, "q8h": 68, "q4": 36, "q4c": 36, "q2c": 20, "q4h": 36}
	sameBitsRefused["tucker, shared q8h"], sameBitsRefused["tucker, shared q4h"] = "Hadamard", "Hadamard"
}

// tinyTucker has ranks that all differ.
func tinyTucker(name string, shared bool) tiny {
	const d, n, r1, r2, r3, z1, z2 = tinyHidden, tinyHeads, 3, 40, 32, 2, 44
	z3 := 48
	m := tiny{name: name, design: "tucker", config: fields{"attention": "tucker", "head_rank": r1, "q_rank": r2, "k_rank": r3, "v_rank": z3, "out_head_rank": z1, "out_rank": z2},
		streams: [][2]int{{1, r3}, {1, z3}}}
	if shared {
		z3, m.streams = r3, [][2]int{{1, r3}}
		m.config["v_rank"], m.config["shared_kv"] = r3, true
	}
	m.attn = shapes{"q_a_proj": {r2, d}, "q_core": {r1 * r3, r2}, "q_heads": {n, r1}, "k_proj": {r3, d}, "o_heads": {z1, n}, "o_core": {z2, z1 * z3}, "o_proj": {d, z2}}
	if !shared {
		m.attn["v_proj"] = []int{z3, d}
	}
	return m
}

func schemeShapes(s shapes, scheme string, kv int) {
	const d, n, w = tinyHidden, tinyHeads, tinyHeadDim
	s[scheme+".q_proj"], s[scheme+".k_proj"], s[scheme+".v_proj"], s[scheme+".o_proj"] = []int{n * w, d}, []int{kv * w, d}, []int{kv * w, d}, []int{d, n * w}
}

func tinyMoAS() tiny {
	const n, w = tinyHeads, tinyHeadDim
	m := tiny{name: "moas", design: "moas", config: fields{"attention": "moas", "head_dim": w, "router_dim": 10},
		attn: shapes{"router_a": {10, tinyHidden}, "router_b": {3, 10}}, streams: [][2]int{{n, w}, {n, w}, {2, w}, {2, w}, {1, w}, {1, w}}}
	schemeShapes(m.attn, "mha", n)
	schemeShapes(m.attn, "gqa", 2)
	schemeShapes(m.attn, "mqa", 1)
	return m
}

// tinyRouted has one scheme in all layers: layers of several kinds are in TestRouted.
func tinyRouted() tiny {
	m := tiny{name: "moas, routed", design: "moas", config: fields{"attention": "moas", "head_dim": tinyHeadDim, "attention_scheme": "mqa"}, attn: shapes{}, streams: [][2]int{{1, tinyHeadDim}, {1, tinyHeadDim}}}
	schemeShapes(m.attn, "mqa", 1)
	return m
}

// Layers held to one scheme and layers that mix: each has its own streams, and the cached step is Forward.
func TestRouted(t *testing.T) {
	config := fmt.Sprintf(`{"model_type":"lowkey","attention":"moas","attention_scheme":["mqa","soft","gqa"],"hidden_size":%d,"intermediate_size":96,"num_hidden_layers":3,"num_attention_heads":4,
		"head_dim":16,"vocab_size":%d}`, tinyHidden, tinyVocab)
	made, err := New([]byte(config), 5)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "model")
	if err := made.Save(dir, kernel.F32); err != nil {
		t.Fatal(err)
	}
	m, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	for i, want := range []int{2 * 16, 2 * 16 * (4 + 2 + 1), 2 * 16 * 2} {
		if got := m.Layouts()[i].Elements(); got != want {
			t.Errorf("layer %d keeps %d numbers a token, want %d", i, got, want)
		}
	}
	ids, o := tinyTokens(90, 2), tensor.NewEager64()
	var want []float32
	for _, v := range o.Values(made.Forward(o, ids, nil)) {
		want = append(want, float32(v))
	}
	agree(t, "routed", m, ids, want, 256, true)
}

// Several views of one lane cost a step no allocation.
func TestMoASAllocations(t *testing.T) {
	if kernel.Level() == "plain" {
		t.Skip("the plain kernels allocate")
	}
	most := stepAllocations(t, denseOf("mha"))
	for _, row := range []tiny{tinyMoAS(), tinyRouted(), tinyTucker("tucker", false), tinyTucker("tucker, shared", true)} {
		if got := stepAllocations(t, row); got > most {
			t.Errorf("%s: a step allocates %g times, of mha %g times", row.name, got, most)
		}
	}
}
