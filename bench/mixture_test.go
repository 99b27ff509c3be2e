package bench

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/format/safetensors"
)

// A mixture of 5 experts, 2 a token, by hand: a token is multiplied by its own experts, a step reads those that some token goes to. Hidden 32, experts of 16, 2 layers, 2 heads of 16, rows packed in panels of 16.
func TestCostOfMixture(t *testing.T) {
	const d, f, v, experts, layers = 32, 16, 48, 5, 2
	dir := t.TempDir()
	var tensors []safetensors.Tensor
	add := func(name string, shape ...int) {
		n := 4
		for _, s := range shape {
			n *= s
		}
		tensors = append(tensors, safetensors.Tensor{Name: name + ".weight", DType: safetensors.F32, Shape: shape, Data: make([]byte, n)})
	}
	add("model.embed_tokens", v, d)
	add("model.norm", d)
	add("lm_head", v, d)
	for i := range layers {
		at := fmt.Sprintf("model.layers.%d.", i)
		add(at+"input_layernorm", d)
		add(at+"post_attention_layernorm", d)
		for _, name := range []string{"q_proj", "k_proj", "v_proj", "o_proj"} {
			add(at+"self_attn."+name, d, d)
		}
		add(at+"block_sparse_moe.gate", experts, d)
		for e := range experts {
			in := at + fmt.Sprintf("block_sparse_moe.experts.%d.", e)
			add(in+"w1", f, d)
			add(in+"w3", f, d)
			add(in+"w2", d, f)
		}
	}
	if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), tensors, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	config := `{"model_type":"mixtral","hidden_size":32,"intermediate_size":16,"num_hidden_layers":2,"vocab_size":48,"num_attention_heads":2,"num_key_value_heads":2,"num_local_experts":5,"num_experts_per_tok":2}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := lowkey.Load(dir, lowkey.Options{KV: "f16", Activations: "f32"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	c, err := newCost(m, &Machine{PeakF32: 1, PeakInt8: 1, Read: []Bandwidth{{1 << 20, 1}}})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "body", c.body.f32, 2*layers*(4*d*d+experts*d+2*3*d*f), 1e-6)
	dense, each := 4.0*(layers*(4*d*d+16*d+2*d)+v*d+d), 4.0*3*d*f
	near(t, "weights that every step reads", float64(c.weights), dense, 0)
	for tokens, seen := range map[int]float64{1: 2, 2: 2 + 3*2/5.0, 1000: 5} { // the second token's experts are new with a chance of 3/5 each
		near(t, fmt.Sprint("weights of ", tokens), float64(c.weightBytes(tokens)), math.Floor(dense+layers*seen*each), 1)
	}
}
