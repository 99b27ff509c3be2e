package hf

import (
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// Two layers of which the upper reads the lower one's cache: each design that can. The numbers are those of the layer that owns one.
func init() {
	tinies = append(tinies,
		tiny{"gqa-cla", `"attention": "gqa", "num_key_value_heads": 2, "head_dim": 10, "qk_norm": true, "layer_map": "0_0"`, "", 2 * 2 * 10},
		tiny{"gta-cla", `"attention": "gta", "num_key_value_heads": 2, "head_dim": 12, "layer_map": "0_0"`, "", 2*12 + 6},
		tiny{"mla-cla", `"attention": "mla", "q_lora_rank": 14, "kv_lora_rank": 10, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "layer_map": "0_0"`, "", 10 + 4},
		tiny{"mlra-cla", `"attention": "mlra", "num_branches": 2, "kv_lora_rank": 20, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "layer_map": "0_0"`, "", 20 + 4},
		tiny{"mfa-cla", `"attention": "mfa", "head_dim": 12, "q_lora_rank": 16, "tie_word_embeddings": true, "layer_map": "0_0"`, "", 2 * 12},
		tiny{"mfa-kr-cla", `"attention": "mfa-kr", "head_dim": 12, "q_lora_rank": 16, "layer_map": "0_0"`, "", 12},
		tiny{"mfa-kr-relative-cla", `"attention": "mfa-kr", "head_dim": 12, "q_lora_rank": 16, "values": "relative", "layer_map": "0_0"`, "", 12},
	)
}

// A map that closes a circle and a latent of four bits have no PyTorch form, and say so.
func TestCircleIsNotExported(t *testing.T) {
	for word, m := range map[string]tiny{"1_1": {"gqa-top", `"attention": "gqa", "num_key_value_heads": 2, "layer_map": "1_1"`, "", 0},
		"latent_bits 4": {"clla-quant", `"attention": "mla", "kv_lora_rank": 10, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "latent_bits": 4`, "", 0}} {
		dir := t.TempDir()
		m.write(t, dir+"/native")
		for _, form := range []string{Auto, Public, Custom} {
			_, err := Export(t.Context(), dir+"/native", dir+"/out", Options{Form: form})
			if !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), word) {
				t.Errorf("%s, %s: %v", m.name, form, err)
			}
		}
	}
}
