package hf

// Tiny models of every design, their weights a function of their names alone, so that numbers which PyTorch printed for them once can be compared with today.

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/model/config"
)

const tinyVocab = 23

// tiny is a model: the fields of its config.json beside the sizes that all share, the architecture of its public form ("" if none), and the numbers one token leaves in a layer's cache.
type tiny struct {
	name, fields, public string
	cached               int
}

var tinies = []tiny{
	{"mha", `"attention": "mha"`, "LlamaForCausalLM", 2 * 4 * 6},
	{"gqa", `"attention": "gqa", "num_key_value_heads": 2, "tie_word_embeddings": true`, "LlamaForCausalLM", 2 * 2 * 6},
	{"gqa-bias", `"attention": "gqa", "num_key_value_heads": 2, "head_dim": 8, "attention_bias": true, "mlp_bias": true, "hidden_act": "gelu_pytorch_tanh",
		"rope_parameters": {"rope_type": "llama3", "rope_theta": 5000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}`, "LlamaForCausalLM", 2 * 2 * 8},
	{"gqa-norm", `"attention": "gqa", "num_key_value_heads": 2, "head_dim": 10, "qk_norm": true`, "Qwen3ForCausalLM", 2 * 2 * 10},
	{"gqa-window", `"attention": "gqa", "num_key_value_heads": 2, "sliding_window": 7`, "MistralForCausalLM", 2 * 2 * 6},
	{"gqa-norm-window", `"attention": "gqa", "num_key_value_heads": 2, "sliding_window": 7, "qk_norm": true`, "Qwen3ForCausalLM", 2 * 2 * 6},
	{"gla", `"attention": "gla", "q_lora_rank": 14, "kv_lora_rank": 10, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "q_scale": 1.25, "kv_scale": 0.5`, "", 10 + 4},
	{"mlra-2", `"attention": "mlra", "num_branches": 2, "kv_lora_rank": 20, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5`, "", 20 + 4},
	{"mlra-4", `"attention": "mlra", "q_lora_rank": 14, "kv_lora_rank": 20, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "attention_bias": true, "kv_scale": 1.5`, "", 20 + 4},
	{"sqa", `"attention": "sqa", "num_key_value_heads": 2, "head_dim": 4`, "LlamaForCausalLM", 2 * 2 * 4},
	{"gta", `"attention": "gta", "num_key_value_heads": 2, "head_dim": 12`, "", 2*12 + 6},
	{"gta-bias", `"attention": "gta", "num_key_value_heads": 1, "head_dim": 14, "qk_rope_head_dim": 4, "attention_bias": true`, "", 14 + 4},
	{"lrkv", `"attention": "lrkv"`, "", 2 * (6 + 4*2)},
	{"lrkv-turned", `"attention": "lrkv", "head_dim": 8, "kv_rank": 5, "latent_rope_dim": 4, "attention_bias": true, "tie_word_embeddings": true`, "", 2 * (8 + 4*5)},
	{"kha-linear", `"attention": "kha-linear", "num_key_value_heads": 2, "qk_norm": true`, "", 2 * 2 * 6},
	{"kha-linear-bias", `"attention": "kha-linear", "attention_bias": true`, "", 2 * 4 * 6},
	{"kha-mlp", `"attention": "kha-mlp", "num_key_value_heads": 2, "attention_bias": true`, "", 2 * 2 * 6},
	{"kha-mlp-window", `"attention": "kha-mlp", "num_key_value_heads": 1, "sliding_window": 7`, "", 2 * 6},
	{"kha-mla", `"attention": "kha-mla", "q_lora_rank": 14, "kv_lora_rank": 10, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5`, "", 10 + 4},
	{"kvlatent", `"attention": "kvlatent", "num_key_value_heads": 2, "head_dim": 8, "v_head_dim": 5`, "", 2 * (8 + 5)},
	{"kvlatent-mha", `"attention": "kvlatent", "head_dim": 4, "qk_norm": true, "attention_bias": true`, "", 2 * 4 * 4},
	{"mqa", `"attention": "mqa", "rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2.0}`, "LlamaForCausalLM", 2 * 6},
	{"mla", `"attention": "mla", "q_lora_rank": 14, "kv_lora_rank": 10, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "rope_interleave": true, "rms_norm_eps": 0.001,
		"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64, "mscale": 1.0, "mscale_all_dim": 0.8}`, "DeepseekV3ForCausalLM", 10 + 4},
	{"mla-dense-q", `"attention": "mla", "kv_lora_rank": 10, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "attention_bias": true`, "DeepseekV3ForCausalLM", 10 + 4},
	{"mfa", `"attention": "mfa", "head_dim": 12, "q_lora_rank": 16, "tie_word_embeddings": true`, "Step3TextForCausalLM", 2 * 12},
	{"mfa-plain", `"attention": "mfa", "head_dim": 12, "q_norm": false`, "", 2 * 12},
	{"mfa-kr", `"attention": "mfa-kr", "head_dim": 12, "q_lora_rank": 16`, "", 12},
	{"mfa-kr-relative", `"attention": "mfa-kr", "head_dim": 12, "q_lora_rank": 16, "values": "relative",
		"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}`, "", 12},
	{"tpa", `"attention": "tpa", "head_dim": 10, "q_rank": 3, "k_rank": 2, "v_rank": 1`, "", (2 + 1) * (4 + 10)},
	{"tucker", `"attention": "tucker", "head_rank": 3, "q_rank": 14, "k_rank": 10, "v_rank": 8, "out_head_rank": 2, "out_rank": 16`, "", 10 + 8},
	{"tucker-shared", `"attention": "tucker", "k_rank": 12, "shared_kv": true, "attention_bias": true`, "", 12},
	{"moas", `"attention": "moas", "head_dim": 8, "router_dim": 5, "attention_bias": true`, "", 2 * 8 * (4 + 2 + 1)},
	{"moas-routed", `"attention": "moas", "attention_scheme": ["gqa", "soft"]`, "", 2 * 6 * 2},
	{"cca", `"attention": "cca", "head_dim": 4, "cca_time0": 3, "attention_bias": true`, "", 2 * 4 * 4},
	{"ccgqa", `"attention": "ccgqa", "head_dim": 8, "num_key_value_heads": 2, "cca_time1": 3, "partial_rotary_factor": 0.5`, "", 2 * 2 * 8},
	{"tpa-dense-q", `"attention": "tpa", "head_dim": 10, "q_rank": 0, "attention_bias": true`, "", (2 + 2) * (4 + 10)},
}

func (m tiny) config() []byte {
	layers := 2
	if _, more, ok := strings.Cut(m.fields, `"layer_map": "`); ok {
		entries, _, _ := strings.Cut(more, `"`)
		layers = strings.Count(entries, "_") + 1
	}
	return fmt.Appendf(nil, `{"model_type": "lowkey", %s, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": %d, "num_attention_heads": 4, "vocab_size": 23,
		"max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2}`, m.fields, layers)
}

// fill gives n numbers within +-1 that depend on name alone.
func fill(name string, n int) []float64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	state := h.Sum64()
	out := make([]float64, n)
	for i := range out {
		state += 0x9e3779b97f4a7c15 // splitmix64
		z := (state ^ state>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		out[i] = float64((z^z>>31)>>11)/(1<<52) - 1
	}
	return out
}

// weights are the model's tensors in f32: matrices of variance 1/columns, norms round 1, the rest round 0.
func (m tiny) weights(t testing.TB) []safetensors.Tensor {
	t.Helper()
	c, err := config.Parse(m.config(), m.name)
	if err != nil {
		t.Fatal(err)
	}
	var out []safetensors.Tensor
	for name, shape := range shapes(c) {
		w := safetensors.Tensor{Name: name, DType: safetensors.F32, Shape: shape}
		n := 1
		for _, d := range shape {
			n *= d
		}
		scale, around := math.Sqrt(3/float64(shape[len(shape)-1])), 0.0
		if len(shape) == 1 {
			scale = 0.4
			if strings.Contains(name, "norm") {
				around = 1
			}
		}
		for _, v := range fill(m.name+" "+name, n) {
			w.Data = binary.LittleEndian.AppendUint32(w.Data, math.Float32bits(float32(around+scale*v)))
		}
		out = append(out, w)
	}
	return out
}

// write makes the model's folder, with a tokenizer of single letters.
func (m tiny) write(t testing.TB, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), m.weights(t), nil); err != nil {
		t.Fatal(err)
	}
	vocab := map[string]int{}
	for i := range tinyVocab {
		vocab[string(rune('a'+i))] = i
	}
	special := func(id int, text string) map[string]any {
		return map[string]any{"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
	}
	tokenizer := map[string]any{"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": []any{special(1, "b"), special(2, "c")}, "normalizer": nil, "pre_tokenizer": nil,
		"post_processor": nil, "decoder": nil, "model": map[string]any{"type": "BPE", "vocab": vocab, "merges": []string{}, "byte_fallback": false}}
	text, err := json.Marshal(tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"config.json": m.config(), "tokenizer.json": text} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWriteFolders writes every model in all its forms under $LOWKEY_HF_OUT, for tools/check-hf.
func TestWriteFolders(t *testing.T) {
	out := os.Getenv("LOWKEY_HF_OUT")
	if out == "" {
		t.Skip("LOWKEY_HF_OUT names no folder: tools/check-hf runs this")
	}
	for _, m := range tinies {
		m.write(t, filepath.Join(out, m.name, "native"))
		for _, form := range []string{Public, Custom} {
			if form == Public && m.public == "" {
				continue
			}
			if _, err := Export(t.Context(), filepath.Join(out, m.name, "native"), filepath.Join(out, m.name, form), Options{Form: form}); err != nil {
				t.Fatal(m.name, form, err)
			}
		}
		about, _ := json.Marshal(map[string]any{"public": m.public, "cached": m.cached})
		if err := os.WriteFile(filepath.Join(out, m.name, "about.json"), about, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
