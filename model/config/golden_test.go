package config

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/safetensors"
)

// goldenModels lists the folders of the golden models, or skips.
func goldenModels(t *testing.T) []string {
	root, set := os.LookupEnv("LOWKEY_GOLDEN")
	if !set {
		root = filepath.Join("..", "..", "..", "shared", "golden")
	}
	folders, _ := filepath.Glob(filepath.Join(root, "models", "*", "config.json"))
	if len(folders) == 0 {
		if set {
			t.Fatalf("LOWKEY_GOLDEN is %s, which holds no models", root)
		}
		t.Skip("no golden models: set LOWKEY_GOLDEN")
	}
	for i, f := range folders {
		folders[i] = filepath.Dir(f)
	}
	return folders
}

// Every golden config is described, it runs unless it is one attention module alone, and the widths it claims are those of the weights beside it.
func TestGoldenModels(t *testing.T) {
	for _, folder := range goldenModels(t) {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			c, err := FromFolder(folder)
			if err != nil {
				t.Fatal(err)
			}
			for i := range c.Layers {
				if _, _, err := c.Layers[i].Attention.Rope.Frequencies(c.MaxPosition); err != nil {
					t.Errorf("layer %d: %v", i, err)
				}
			}
			err = c.Runnable()
			if c.Module != (err != nil) {
				t.Errorf("%s: module is %v, Runnable says %v", c.ModelType, c.Module, err)
			}
			if err != nil && !fault.Is(err, fault.Unsupported) {
				t.Errorf("Runnable gives %T: %v", err, err)
			}
			f, err := safetensors.OpenFolder(folder)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			checkShapes(t, c, f)
		})
	}
}

// checkShapes compares the description with tensors under their published names, where a folder has them.
func checkShapes(t *testing.T, c *Config, f *safetensors.File) {
	a, m := &c.Layers[0].Attention, &c.Layers[0].MLP
	q, kv := a.Heads*a.HeadDim, a.KVHeads*a.HeadDim
	latent := a.KVRank + a.RopeDim
	checked := 0
	for _, k := range []struct {
		name  string
		shape []int
	}{
		{"model.embed_tokens.weight", []int{c.Vocab, c.Hidden}}, {"transformer.wte.weight", []int{c.Vocab, c.Hidden}}, {"gpt_neox.embed_in.weight", []int{c.Vocab, c.Hidden}},
		{"model.layers.0.self_attn.k_proj.weight", []int{kv, c.Hidden}}, {"model.layers.0.self_attn.v_proj.weight", []int{a.KVHeads * a.ValueDim, c.Hidden}},
		{"model.layers.0.self_attn.qkv_proj.weight", []int{q + 2*kv, c.Hidden}}, {"model.layers.0.self_attn.o_proj.weight", []int{c.Hidden, a.Heads * a.ValueDim}},
		{"model.layers.0.self_attn.kv_a_proj_with_mqa.weight", []int{latent, c.Hidden}}, {"model.layers.0.self_attn.kv_b_proj.weight", []int{a.Heads * (a.Nope + a.ValueDim), a.KVRank}},
		{"model.layers.0.self_attn.q_b_proj.weight", []int{q, a.QRank}},
		{"model.layers.0.mlp.up_proj.weight", []int{m.Intermediate, c.Hidden}}, {"model.layers.0.mlp.c_fc.weight", []int{m.Intermediate, c.Hidden}},
		{"model.layers.0.mlp.gate_up_proj.weight", []int{2 * m.Intermediate, c.Hidden}}, {"gpt_neox.layers.0.mlp.dense_h_to_4h.weight", []int{m.Intermediate, c.Hidden}},
		{"gpt_neox.layers.0.attention.query_key_value.weight", []int{q + 2*kv, c.Hidden}},
		{"transformer.h.0.attn.c_k.weight", []int{kv, c.Hidden}}, {"transformer.h.0.attn.kv_proj.weight", []int{kv, c.Hidden}}, {"transformer.h.0.attn.w_q.weight", []int{q, a.QRank}},
		{"transformer.h.0.attn.W_rope_k.weight", []int{a.RopeDim, c.Hidden}}, {"transformer.h.0.attn.kv_a_proj_with_mqa.weight", []int{latent, c.Hidden}},
		{"transformer.h.0.attn.c_qkv.W_A_k.weight", []int{a.Heads * a.KRank, c.Hidden}}, {"transformer.h.0.attn.c_qkv.W_B_q.weight", []int{a.QRank * a.HeadDim, c.Hidden}},
		{"transformer.h.0.attn.W_A_k.weight", []int{a.Heads * a.KRank, c.Hidden}}, {"transformer.h.0.attn.W_B_q.weight", []int{a.QRank * a.HeadDim, c.Hidden}},
		{"transformer.h.0.mlp.c_fc1.weight", []int{m.Intermediate, c.Hidden}},
		{"wkv_a.weight", []int{latent, c.Hidden}}, {"model.layers.0.self_attn.wkv_a.weight", []int{latent, c.Hidden}}, {"wq.weight", []int{q, c.Hidden}}, {"wq_b.weight", []int{q, a.QRank}},
		{"qkv_proj.conv_qk_depthwise.bias", []int{(a.Heads + a.KVHeads) * a.HeadDim}}, {"model.layers.0.self_attn.qkv_proj.conv_qk_depthwise.weight", []int{(a.Heads + a.KVHeads) * a.HeadDim, 1, a.Conv0}},
		{"model.layers.1.mlp.experts.down_proj", []int{c.Layers[len(c.Layers)-1].MLP.Experts, c.Hidden, c.Layers[len(c.Layers)-1].MLP.ExpertIntermediate}},
	} {
		tensor, ok := f.Tensor(k.name)
		if !ok || a.QRank == 0 && k.name == "transformer.h.0.attn.c_qkv.W_B_q.weight" {
			continue
		}
		checked++
		if c.ModelType == "gpt_oss" || c.Layers[1%len(c.Layers)].MLP.Experts == 0 { // GPT-OSS stores experts [in, out]; layer 1 may be dense
			if k.name == "model.layers.1.mlp.experts.down_proj" {
				continue
			}
		}
		if !reflect.DeepEqual([]int(tensor.Shape), k.shape) {
			t.Errorf("%s is %v, the description gives %v", k.name, tensor.Shape, k.shape)
		}
	}
	for name, says := range map[string]bool{"model.layers.0.self_attn.q_proj.bias": a.QKVBias && a.Design != MLA, "model.layers.0.self_attn.o_proj.bias": a.OutBias, "model.layers.0.mlp.up_proj.bias": m.Bias} {
		if _, ok := f.Tensor(name[:len(name)-4] + "weight"); !ok {
			continue
		}
		if _, ok := f.Tensor(name); ok != says {
			t.Errorf("%s: present is %v, the description says %v", name, ok, says)
		}
	}
	if checked == 0 {
		t.Error("no tensor was compared")
	}
}
