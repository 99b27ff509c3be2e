package plan

// DeepSeek-V2-Lite, from the facts of its config.json and from the keys of its GGUF files.

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/format/gguf"
)

func init() {
	published["deepseek-v2-lite"] = `{"model_type":"deepseek_v2","architectures":["DeepseekV2ForCausalLM"],"hidden_size":2048,"intermediate_size":10944,"moe_intermediate_size":1408,"num_hidden_layers":27,
		"num_attention_heads":16,"num_key_value_heads":16,"n_shared_experts":2,"n_routed_experts":64,"num_experts_per_tok":6,"first_k_dense_replace":1,"moe_layer_freq":1,"norm_topk_prob":false,
		"scoring_func":"softmax","topk_method":"greedy","n_group":1,"topk_group":1,"routed_scaling_factor":1.0,"q_lora_rank":null,"kv_lora_rank":512,"qk_nope_head_dim":128,"qk_rope_head_dim":64,
		"v_head_dim":128,"vocab_size":102400,"max_position_embeddings":163840,"rms_norm_eps":1e-6,"rope_theta":10000,"torch_dtype":"bfloat16","tie_word_embeddings":false,
		"rope_scaling":{"type":"yarn","factor":40,"beta_fast":32,"beta_slow":1,"mscale":0.707,"mscale_all_dim":0.707,"original_max_position_embeddings":4096}}`
}

func TestDeepSeekV2Lite(t *testing.T) {
	const formula = "27 layers x (512 latent + 64 rope) x 16 bit = 31,104 B"
	p := planOf(t, "deepseek-v2-lite", Options{KV: "bf16"})
	if w := p.Weights; w.Total != 15706484224 || w.Active/1e8 != 26 && w.Active/1e8 != 27 || p.KV.PerToken != 31104 || p.KV.Formula != formula {
		t.Errorf("%+v %+v", w.Parameters, p.KV)
	}
	for _, early := range []bool{false, true} {
		pairs := []gguf.Pair{{Key: "general.architecture", Value: "deepseek2"}, {Key: "deepseek2.rope.scaling.type", Value: "yarn"}}
		for key, v := range map[string]uint32{"block_count": 27, "context_length": 163840, "embedding_length": 2048, "feed_forward_length": 10944, "attention.head_count": 16, "vocab_size": 102400,
			"leading_dense_block_count": 1, "attention.kv_lora_rank": 512, "expert_count": 64, "expert_used_count": 6, "expert_shared_count": 2, "expert_feed_forward_length": 1408,
			"rope.dimension_count": 64, "rope.scaling.original_context_length": 4096} {
			pairs = append(pairs, gguf.Pair{Key: "deepseek2." + key, Value: v})
		}
		widths := map[string]uint32{"head_count_kv": 1, "key_length": 576, "value_length": 512, "key_length_mla": 192, "value_length_mla": 128}
		if early {
			widths = map[string]uint32{"head_count_kv": 16, "key_length": 192, "value_length": 128}
		}
		for key, v := range widths {
			pairs = append(pairs, gguf.Pair{Key: "deepseek2.attention." + key, Value: v})
		}
		for key, v := range map[string]float32{"attention.layer_norm_rms_epsilon": 1e-6, "rope.freq_base": 10000, "rope.scaling.factor": 40, "rope.scaling.yarn_log_multiplier": 0.0707, "expert_weights_scale": 1} {
			pairs = append(pairs, gguf.Pair{Key: "deepseek2." + key, Value: v})
		}
		path := filepath.Join(t.TempDir(), "lite.gguf")
		if err := gguf.Write(path, pairs, []gguf.Source{{Name: "a", Type: 0, Dims: []uint64{8}, Data: make([]byte, 32)}}); err != nil {
			t.Fatal(err)
		}
		f, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		in := Inspect(f, false)
		if in.KV.PerToken != 31104 || in.KV.Formula != formula {
			t.Errorf("%v %q %+v", in.Runs, in.WhyNot, in.KV)
		}
		a, b := read(t, "deepseek-v2-lite").Config, f.Config
		for i := range a.Layers {
			x, y := a.Layers[i], b.Layers[i]
			if d := x.Attention.Scale - y.Attention.Scale; d > 1e-8 || d < -1e-8 {
				t.Errorf("layer %d: scale %v from config.json, %v from GGUF", i, x.Attention.Scale, y.Attention.Scale)
			}
			if x.MLP != y.MLP || Attention(&x.Attention) != Attention(&y.Attention) {
				t.Errorf("layer %d: %+v from config.json, %+v from GGUF", i, x.MLP, y.MLP)
			}
		}
		var text bytes.Buffer
		if err := in.Write(&text); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"mla, 16 heads over a latent of 512 and a rotary key of 64", "64 experts"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("no %q in\n%s", want, &text)
			}
		}
	}
}
