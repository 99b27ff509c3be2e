package model

// Mixtures of experts: the cached step against the definition, its memory, and what is refused.

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kernel"
)

// tinyMixture is the tiny model of the same-bits table: DeepSeek-V3's form, with groups, correction and a shared expert, on the tiny MLA.
func tinyMixture() tiny {
	const d, wide, experts = tinyHidden, 32, 6
	m := denseOf("mla")
	m.name = "mla mixture"
	m.config = m.config.with(fields{"model_type": "deepseek_v3", "n_routed_experts": experts, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "moe_intermediate_size": wide,
		"n_shared_experts": 2, "first_k_dense_replace": 0, "routed_scaling_factor": 1.5})
	m.mlp = shapes{"gate.weight": {experts, d}, "gate.e_score_correction_bias": {experts},
		"shared_experts.gate_proj.weight": {2 * wide, d}, "shared_experts.up_proj.weight": {2 * wide, d}, "shared_experts.down_proj.weight": {d, 2 * wide}}
	for e := range experts {
		at := fmt.Sprintf("experts.%d.", e)
		m.mlp[at+"gate_proj.weight"], m.mlp[at+"up_proj.weight"], m.mlp[at+"down_proj.weight"] = []int{wide, d}, []int{wide, d}, []int{d, wide}
	}
	return m
}

func denseOf(design string) tiny {
	rows := tinies()
	return rows[slices.IndexFunc(rows, func(row tiny) bool { return row.design == design })]
}

// The cached step agrees with the definition in float64, alone and in chunks.
func TestMixtureStepAgainstForward(t *testing.T) { stepAgainstForward(t, tinyMixture()) }

// stepAllocations counts those of a step of one token.
func stepAllocations(t *testing.T, row tiny) float64 {
	t.Helper()
	m := row.open(t, 2, false)
	pool := kernel.NewPool(1)
	defer pool.Close()
	e, err := NewEngine(m, Options{Pool: pool, Spec: mustSpec(t, "f16"), MaxRows: 600, Budget: 8 << 20}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	seq := e.Store.NewSequence("")
	feeds := []Feed{{Sequence: seq, Tokens: []int32{0}}}
	step := func() {
		feeds[0].Tokens[0] = (feeds[0].Tokens[0] + 1) % tinyVocab
		if _, err := e.Step(feeds); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		step()
	}
	return testing.AllocsPerRun(50, step)
}

// A step of one token allocates no more for a mixture than for the dense model of the same attention.
func TestMixtureAllocations(t *testing.T) {
	if got, most := stepAllocations(t, tinyMixture()), stepAllocations(t, denseOf("mla")); got > most {
		t.Errorf("a step of a mixture allocates %g times, of the dense model %g times", got, most)
	} else {
		t.Logf("allocations a step: %g, dense %g", got, most)
	}
}

// A wide mixture, whose steps fill several slabs when all tokens choose the same expert, as they do with weights of zero.
func TestBytesOfWideMixture(t *testing.T) {
	const d, f, v, experts = 96, 2048, 512, 3
	tensors := map[string][]int{"model.embed_tokens": {v, d}, "model.norm": {d}, "lm_head": {v, d}, "input_layernorm": {d}, "post_attention_layernorm": {d},
		"self_attn.q_proj": {128, d}, "self_attn.k_proj": {64, d}, "self_attn.v_proj": {64, d}, "self_attn.o_proj": {d, 128}, "block_sparse_moe.gate": {experts, d}}
	for e := range experts {
		at := fmt.Sprintf("block_sparse_moe.experts.%d.", e)
		tensors[at+"w1"], tensors[at+"w3"], tensors[at+"w2"] = []int{f, d}, []int{f, d}, []int{d, f}
	}
	config := `{"model_type":"mixtral","hidden_size":96,"intermediate_size":2048,"num_hidden_layers":1,"vocab_size":512,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,
		"num_local_experts":3,"num_experts_per_tok":1}`
	m := synthetic(t, config, tensors)
	for _, to := range []*kernel.Format{nil, &quantised} {
		pool := kernel.NewPool(2)
		opt := Options{Pool: pool, Arith: kernel.ArithInt8, Weights: to, Spec: mustSpec(t, "f16"), MaxRows: 600, Budget: 64 << 20}
		if _, scratch, _ := asAnnounced(t, "a wide mixture", m, opt, []int{1, 256, 1, 100, 31}); scratch <= 4*slabFloats {
			t.Errorf("the workspace holds %d bytes, not more than one slab", scratch)
		}
		pool.Close()
	}
}

// One tensor [experts, out, in] holds the same experts as a tensor for each.
func TestFusedExperts(t *testing.T) {
	const experts, out, in = 3, 4, 5
	dir, values := writeTiny(t, fields{"model_type": "llama"}, shapes{"model.layers.0.moe.up.weight": {experts, out, in}, "model.layers.0.moe.flat.weight": {experts * out, in}}, false)
	f, err := safetensors.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := layerWeights{folderSource{f}, hfNames.with(map[string]place{"moe.up": at("moe.up"), "moe.flat": at("moe.flat")}), 0, "moe."}
	for e := range experts {
		x, ok := w.expert("up", e, experts)
		if !ok || x.Check(out, in) != nil {
			t.Fatalf("expert %d: %v %v", e, ok, x.Shape)
		}
		for i, v := range x.Float32s() {
			if want := values["model.layers.0.moe.up.weight"][e*out*in+i]; v != want {
				t.Fatalf("expert %d, element %d is %v, want %v", e, i, v, want)
			}
		}
	}
	if _, ok := w.expert("up", 0, experts+1); ok {
		t.Error("a tensor of three experts passes for four")
	}
	if _, ok := w.expert("flat", 0, experts); ok {
		t.Error("a matrix passes for several experts")
	}
}

// What is missing or does not fit is said by name before anything runs; how a family chooses must be known.
func TestMixtureRefused(t *testing.T) {
	row := tinyMixture()
	for _, c := range []struct {
		without string
		wider   string
		words   []string
	}{
		{without: "gate.e_score_correction_bias", words: []string{"router_bias", "missing"}},
		{without: "gate.weight", words: []string{"router", "missing"}},
		{without: "experts.3.down_proj.weight", words: []string{"moe.down", "missing"}},
		{wider: "experts.2.up_proj.weight", words: []string{"experts.2.up_proj", "shape"}},
		{without: "shared_experts.up_proj.weight", words: []string{"moe.up", "missing"}},
	} {
		edited := row
		edited.mlp = shapes{}
		for k, s := range row.mlp {
			switch k {
			case c.without:
			case c.wider:
				edited.mlp[k] = []int{s[0] + 1, s[1]}
			default:
				edited.mlp[k] = s
			}
		}
		m := edited.open(t, 1, false)
		pool := kernel.NewPool(1)
		_, counted := WeightBytes(m, Options{})
		_, loaded := NewEngine(m, Options{Pool: pool, Spec: mustSpec(t, "f16"), MaxRows: 64, Budget: 1 << 20}, nil)
		pool.Close()
		for _, err := range []error{counted, loaded} {
			if !fault.Is(err, fault.BadFile) {
				t.Errorf("%v: %v", c.words, err)
				continue
			}
			for _, word := range c.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not say %q", err, word)
				}
			}
		}
	}
}

// Fresh weights are made for dense models only.
func TestNewMixtureRefused(t *testing.T) {
	config := `{"model_type":"mixtral","hidden_size":32,"intermediate_size":64,"num_hidden_layers":1,"vocab_size":48,"num_attention_heads":4,"num_key_value_heads":4,"num_local_experts":2,"num_experts_per_tok":1}`
	if _, err := New([]byte(config), 1); !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "2 experts") {
		t.Errorf("got %v", err)
	}
}
