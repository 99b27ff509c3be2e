package model

// Gemma 3n beside its golden model: its row in the same-bits table, the cached step against the definition, gradients, bytes of wide layers, and what is refused.

import (
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/tensor"
)

// tinyAltUp has three streams, of which the second is active, two sliding layers of which the upper reads the lower's rows, sparse gates, and fewer inputs than tokens.
func tinyAltUp() tiny {
	const d, n, kv, w, streams, rank, input, vocab = tinyHidden, tinyHeads, 2, tinyHeadDim, 3, 6, 8, tinyVocab - 10
	return tiny{name: "gemma 3n", design: "gqa", window: tinyWindow, streams: [][2]int{{kv, w}, {kv, w}}, share: []int{0, 0}, makes: []string{"k_proj", "v_proj", "k_norm"},
		config: fields{"model_type": "gemma3n_text", "num_key_value_heads": kv, "head_dim": w, "sliding_window": tinyWindow, "num_kv_shared_layers": 1, "altup_num_inputs": streams, "altup_active_idx": 1,
			"hidden_size_per_layer_input": input, "vocab_size_per_layer_input": vocab, "laurel_rank": rank, "activation_sparsity_pattern": 0.6},
		attn: shapes{"q_proj": {n * w, d}, "k_proj": {kv * w, d}, "v_proj": {kv * w, d}, "o_proj": {d, n * w}, "q_norm": {w}, "k_norm": {w}},
		layer: shapes{"pre_feedforward_layernorm.weight": {d}, "post_feedforward_layernorm.weight": {d}, "laurel.linear_left.weight": {rank, d}, "laurel.linear_right.weight": {d, rank},
			"laurel.post_laurel_norm.weight": {d}, "altup.router_norm.weight": {d}, "altup.modality_router.weight": {streams, d}, "altup.prediction_coefs.weight": {streams * streams, streams},
			"altup.correction_coefs.weight": {streams, streams}, "altup.correct_output_scale": {d}, "per_layer_input_gate.weight": {input, d}, "per_layer_projection.weight": {d, input},
			"post_per_layer_input_norm.weight": {d}},
		top: func(layers int) shapes {
			s := shapes{"embed_tokens_per_layer.weight": {vocab, layers * input}, "per_layer_model_projection.weight": {layers * input, d}, "per_layer_projection_norm.weight": {input}}
			for j := range streams - 1 {
				s[fmt.Sprintf("altup_projections.%d.weight", j)], s[fmt.Sprintf("altup_unembed_projections.%d.weight", j)] = []int{d, d}, []int{d, d}
			}
			return s
		}}
}

// The cached step agrees with the definition in float64, alone and in chunks.
func TestAltUpStepAgainstForward(t *testing.T) { stepAgainstForward(t, tinyAltUp()) }

// Gradients reach every parameter that the definition reads, and are those of differences in float64.
func TestAltUpGradients(t *testing.T) {
	m := tinyAltUp().open(t, 2, false)
	if err := m.InMemory(); err != nil {
		t.Fatal(err)
	}
	ids, targets := tinyTokens(9, 1), tinyTokens(9, 2)
	o := tensor.NewTape64()
	params := record(o, m)
	loss := func(backward bool) float64 {
		y := o.CrossEntropy(m.Forward(o, ids, nil), targets, -100, false)
		defer o.Reset()
		if backward {
			o.Backward(y)
		}
		return o.Values(y)[0]
	}
	loss(true)
	for _, p := range params {
		at, top := 0, 0.0
		for i, g := range p.grad {
			if math.Abs(g) > top {
				at, top = i, math.Abs(g)
			}
		}
		if p.name == "lm_head.weight" { // beside tied embeddings
			continue
		}
		if top == 0 {
			t.Errorf("%s has no gradient", p.name)
			continue
		}
		was, h := p.data[at], 1e-7 // small: the gates have a kink
		p.data[at] = was + h
		up := loss(false)
		p.data[at] = was - h
		down := loss(false)
		p.data[at] = was
		if got, want := (up-down)/(2*h), p.grad[at]; !(math.Abs(got-want) <= 1e-6*(1+math.Abs(want))) {
			t.Errorf("%s[%d]: difference %v, gradient %v", p.name, at, got, want)
		}
	}
}

// Wide layers: a step of 256 tokens fills several slabs.
func TestBytesOfWideStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("bytes do not depend on the instruction level")
	}
	const wide = 2048
	row := tinyAltUp()
	row.config = row.config.with(fields{"intermediate_size": wide})
	row.mlp = shapes{"gate_proj.weight": {wide, tinyHidden}, "up_proj.weight": {wide, tinyHidden}, "down_proj.weight": {tinyHidden, wide}}
	m := row.open(t, 2, true)
	pool := kernel.NewPool(2)
	defer pool.Close()
	for _, to := range []*kernel.Format{nil, &quantised} {
		opt := Options{Pool: pool, Arith: kernel.ArithInt8, Weights: to, Spec: mustSpec(t, "q8h"), MaxRows: 600, Budget: 8 << 20}
		if _, scratch, _ := asAnnounced(t, fmt.Sprint("to ", to), m, opt, []int{1, 256, 1, 100, 31}); scratch <= 4*slabFloats {
			t.Errorf("the workspace holds %d bytes, not more than one slab", scratch)
		}
	}
}

// A tensor that is missing or of another shape is said by name, before loading and by it.
func TestAltUpRefused(t *testing.T) {
	for _, name := range []string{"altup.modality_router.weight", "altup.correct_output_scale", "laurel.linear_right.weight", "per_layer_projection.weight", "embed_tokens_per_layer.weight",
		"altup_unembed_projections.1.weight"} {
		for _, missing := range []bool{true, false} {
			edit := func(s shapes) shapes {
				s = maps.Clone(s)
				if old, ok := s[name]; ok && missing {
					delete(s, name)
				} else if ok {
					s[name] = append([]int{old[0] + 1}, old[1:]...)
				}
				return s
			}
			row := tinyAltUp()
			top := row.top
			row.layer, row.top = edit(row.layer), func(layers int) shapes { return edit(top(layers)) }
			m := row.open(t, 1, false)
			pool := kernel.NewPool(1)
			_, counted := WeightBytes(m, Options{})
			_, loaded := NewEngine(m, Options{Pool: pool, Spec: mustSpec(t, "f16"), MaxRows: 64, Budget: 1 << 20}, nil)
			pool.Close()
			for _, err := range []error{counted, loaded} {
				if word := map[bool]string{true: "missing", false: "shape"}[missing]; !fault.Is(err, fault.BadFile) || !strings.Contains(err.Error(), word) {
					t.Errorf("%s %s: %v", name, word, err)
				}
			}
		}
	}
}
