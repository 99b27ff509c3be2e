package model

// Mixtures and MLA as GGUF files: golden models and tiny ones are written with llama.cpp's keys and names, and must give the reference logits, or those of their folder to the bit.

import (
	"encoding/binary"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/gguf"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

// ggufForm is how a file is written where there is a choice.
type ggufForm struct {
	name   string
	joined bool // MLA's up-projection in one tensor, and no widths of expanded heads, as early files have it
	apart  bool // a tensor for each expert, as in early Mixtral files
}

// ggufArchOf names the architecture of a model that GGUF can hold; "" for others.
func ggufArchOf(c *config.Config) string {
	a, last := &c.Layers[0].Attention, len(c.Layers)-1
	if c.TieEmbeddings || !c.Layers[last].MLP.MoE() || a.Rope.Kind != config.RopeDefault || c.Norm.Kind != config.RMSNorm || a.Window > 0 {
		return ""
	}
	for i := 1; i < len(c.Layers); i++ {
		if c.Layers[i-1].MLP.MoE() && !c.Layers[i].MLP.MoE() { // dense layers come first
			return ""
		}
	}
	return map[string]string{"deepseek_v2": "deepseek2", "deepseek_v3": "deepseek2", "glm4_moe_lite": "deepseek2", "mixtral": "llama", "qwen3_moe": "qwen3moe"}[c.ModelType]
}

// writeGGUF writes an opened folder as a GGUF file.
func writeGGUF(t *testing.T, m *Model, form ggufForm) string {
	t.Helper()
	c := m.Config
	arch, a, last := ggufArchOf(c), &c.Layers[0].Attention, &c.Layers[len(c.Layers)-1].MLP
	pairs := []gguf.Pair{{Key: "general.architecture", Value: arch}}
	u := func(key string, v int) { pairs = append(pairs, gguf.Pair{Key: arch + "." + key, Value: uint32(v)}) }
	f := func(key string, v float64) {
		pairs = append(pairs, gguf.Pair{Key: arch + "." + key, Value: float32(v)})
	}
	dense := 0
	for dense < len(c.Layers) && !c.Layers[dense].MLP.MoE() {
		dense++
	}
	u("embedding_length", c.Hidden)
	u("context_length", c.MaxPosition)
	u("block_count", len(c.Layers))
	u("vocab_size", c.Vocab)
	u("attention.head_count", a.Heads)
	f("attention.layer_norm_rms_epsilon", c.Norm.Eps)
	f("rope.freq_base", a.Rope.Base)
	u("rope.dimension_count", a.Rope.Dim)
	u("expert_count", last.Experts)
	u("expert_used_count", last.ExpertsPerToken)
	u("feed_forward_length", max(c.Layers[0].MLP.Intermediate, last.ExpertIntermediate))
	if arch != "llama" {
		u("expert_feed_forward_length", last.ExpertIntermediate)
	}
	if arch == "qwen3moe" {
		pairs = append(pairs, gguf.Pair{Key: arch + ".expert_weights_norm", Value: last.Routing.Norm})
	}
	if arch == "deepseek2" {
		u("leading_dense_block_count", dense)
		u("expert_shared_count", last.SharedIntermediate/last.ExpertIntermediate)
		f("expert_weights_scale", last.Routing.Scale)
		pairs = append(pairs, gguf.Pair{Key: arch + ".expert_weights_norm", Value: last.Routing.Norm})
		if last.Routing.Groups > 1 {
			u("expert_group_count", last.Routing.Groups)
			u("expert_group_used_count", last.Routing.TopGroups)
		}
		if last.Routing.Score == config.SigmoidScore {
			u("expert_gating_func", 2)
		} else if !form.joined { // early files do not say softmax
			u("expert_gating_func", 1)
		}
		u("attention.kv_lora_rank", a.KVRank)
		if a.QRank > 0 {
			u("attention.q_lora_rank", a.QRank)
		}
		if form.joined {
			u("attention.head_count_kv", a.Heads)
			u("attention.key_length", a.HeadDim)
			u("attention.value_length", a.ValueDim)
		} else {
			u("attention.head_count_kv", 1)
			u("attention.key_length", a.KVRank+a.RopeDim)
			u("attention.value_length", a.KVRank)
			u("attention.key_length_mla", a.HeadDim)
			u("attention.value_length_mla", a.ValueDim)
		}
	} else {
		u("attention.head_count_kv", a.KVHeads)
		u("attention.key_length", a.HeadDim)
		u("attention.value_length", a.ValueDim)
	}

	var tensors []gguf.Source
	add := func(name string, shape []int, x []float32) {
		s := gguf.Source{Name: name, Type: gguf.F32}
		for _, d := range slices.Backward(shape) {
			s.Dims = append(s.Dims, uint64(d))
		}
		for _, v := range x {
			s.Data = binary.LittleEndian.AppendUint32(s.Data, math.Float32bits(v))
		}
		tensors = append(tensors, s)
	}
	for name, p := range ggufNames.top {
		if w, ok := m.topWeight(name, ".weight"); ok {
			add(p.name+".weight", w.Shape, w.Float32s())
		}
	}
	for i := range c.Layers {
		at, lw, mlp := fmt.Sprintf("blk.%d.", i), layerWeights{m.src, m.names, i, ""}, &c.Layers[i].MLP
		for name, p := range ggufNames.layer {
			if expert := name == "moe.gate" || name == "moe.up" || name == "moe.down"; strings.HasPrefix(name, "moe.") != mlp.MoE() && (expert || strings.HasPrefix(name, "m")) && !strings.HasSuffix(name, "norm") {
				continue
			} else if expert {
				var all []float32
				var shape []int
				for e := range mlp.Experts {
					w, ok := lw.expert(name, e, mlp.Experts)
					if !ok {
						t.Fatal(name)
					}
					if form.apart {
						add(fmt.Sprintf("%s%s.%d.weight", at, strings.TrimSuffix(p.name, "_exps"), e), w.Shape, w.Float32s())
					}
					all, shape = append(all, w.Float32s()...), append([]int{mlp.Experts}, w.Shape...)
				}
				if !form.apart {
					add(at+p.name+".weight", shape, all)
				}
				continue
			}
			w, ok := lw.Get(name)
			if !ok {
				continue
			}
			x := w.Float32s()
			switch {
			case name == "moe.router_bias":
				add(at+p.name, w.Shape, x)
			case arch == "llama" && (name == "attn.q" || name == "attn.k"):
				add(at+p.name+".weight", w.Shape, interleave(x, c.Hidden, a.HeadDim))
			case name == "attn.kv_b" && !form.joined:
				n, dn, dv, r := a.Heads, a.Nope, a.ValueDim, a.KVRank
				var k, v []float32
				for h := range n {
					head := x[h*(dn+dv)*r:]
					for j := range r {
						for i := range dn {
							k = append(k, head[i*r+j])
						}
					}
					v = append(v, head[dn*r:(dn+dv)*r]...)
				}
				add(at+"attn_k_b.weight", []int{n, r, dn}, k)
				add(at+"attn_v_b.weight", []int{n, dv, r}, v)
			default:
				add(at+p.name+".weight", w.Shape, x)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := gguf.Write(path, pairs, tensors); err != nil {
		t.Fatal(err)
	}
	return path
}

var ggufForms = []ggufForm{{name: "new"}, {name: "early", joined: true, apart: true}}

// forms are those in which a model can be written.
func formsOf(c *config.Config) []ggufForm {
	switch ggufArchOf(c) {
	case "":
		return nil
	case "qwen3moe": // has one form
		return ggufForms[:1]
	}
	early := ggufForms[1]
	early.apart = early.apart && c.ModelType == "mixtral"
	return []ggufForm{ggufForms[0], early}
}

// Golden mixtures that GGUF can hold give their reference logits from GGUF files.
func TestGoldenGGUFMixtures(t *testing.T) {
	configs, err := filepath.Glob(filepath.Join(goldenDir(t), "models", "*", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	ran := map[string]bool{}
	for _, path := range configs {
		folder := filepath.Dir(path)
		m, err := Open(folder)
		if err != nil {
			continue // TestGoldenModels says which must open
		}
		for _, form := range formsOf(m.Config) {
			t.Run(filepath.Base(folder)+"/"+form.name, func(t *testing.T) {
				g, err := Open(writeGGUF(t, m, form))
				if err != nil {
					t.Fatal(err)
				}
				defer g.Close()
				goldenModel(t, g, folder)
				ran[g.Config.ModelType] = true
			})
		}
		m.Close()
	}
	if !ran["deepseek_v2"] || !ran["deepseek_v3"] || !ran["llama"] {
		t.Errorf("only %v ran", ran)
	}
}

// Qwen3-MoE and DeepSeek-V3: a GGUF file gives the bits of its folder, weights in bytes counted before loading among them.
func TestGGUFMixturesAreFolders(t *testing.T) {
	const d, wide, experts = tinyHidden, 32, 6
	qwen := denseOf("gqa")
	qwen.name = "qwen3_moe"
	qwen.config = fields{"model_type": "qwen3_moe", "num_key_value_heads": 2, "head_dim": tinyHeadDim, "num_experts": experts, "num_experts_per_tok": 2, "moe_intermediate_size": wide, "norm_topk_prob": true}
	attn := shapes{"q_norm": {tinyHeadDim}, "k_norm": {tinyHeadDim}}
	for k, s := range qwen.attn {
		attn[k] = s
	}
	qwen.attn, qwen.mlp = attn, shapes{"gate.weight": {experts, d}}
	for e := range experts {
		at := fmt.Sprintf("experts.%d.", e)
		qwen.mlp[at+"gate_proj.weight"], qwen.mlp[at+"up_proj.weight"], qwen.mlp[at+"down_proj.weight"] = []int{wide, d}, []int{wide, d}, []int{d, wide}
	}
	deepseek := tinyMixture()
	ids := tinyTokens(40, 9)
	for _, row := range []tiny{qwen, deepseek} {
		m := row.open(t, 2, false)
		want := cachedLogits(t, m, ids, 13, "f16")
		for _, form := range formsOf(m.Config) {
			g, err := Open(writeGGUF(t, m, form))
			if err != nil {
				t.Fatal(row.name, err)
			}
			defer g.Close()
			if got := cachedLogits(t, g, ids, 13, "f16"); !slices.Equal(got, want) {
				t.Errorf("%s, %s: logits are not those of the folder", row.name, form.name)
			}
			o := tensor.NewEager32()
			if a, b := o.Values(g.Forward(o, ids, nil)), o.Values(m.Forward(o, ids, nil)); !slices.Equal(a, b) {
				t.Errorf("%s, %s: the definition gives other logits", row.name, form.name)
			}
			opt := Options{Weights: &quantised, Arith: kernel.ArithInt8}
			a, errA := WeightBytes(m, opt)
			b, errB := WeightBytes(g, opt)
			if errA != nil || errB != nil || a != b {
				t.Errorf("%s, %s: %d bytes, %d in the folder, %v %v", row.name, form.name, b, a, errB, errA)
			}
		}
	}
	m := deepseek.open(t, 1, false)
	path := writeGGUF(t, m, ggufForms[0])
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, missing := range []string{"attn_v_b", "ffn_up_exps", "ffn_gate_inp"} {
		var pairs []gguf.Pair
		for _, key := range f.Keys {
			pairs = append(pairs, gguf.Pair{Key: key, Value: f.Value(key)})
		}
		var tensors []gguf.Source
		for _, x := range f.Tensors {
			if !strings.Contains(x.Name, missing) {
				tensors = append(tensors, gguf.Source{Name: x.Name, Type: x.Type, Dims: x.Dims, Data: f.Data(x)})
			}
		}
		path := filepath.Join(t.TempDir(), "m.gguf")
		if err := gguf.Write(path, pairs, tensors); err != nil {
			t.Fatal(err)
		}
		g, err := Open(path)
		if err == nil {
			pool := kernel.NewPool(1)
			_, err = NewEngine(g, Options{Pool: pool, Spec: mustSpec(t, "f16"), MaxRows: 64, Budget: 1 << 20}, nil)
			pool.Close()
			g.Close()
		}
		if !fault.Is(err, fault.BadFile) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}
