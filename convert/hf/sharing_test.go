package hf

// Layers of which some read the cache of another: a lower one in each design that can, a higher one, and maps in which some slide. The numbers are those of the first layer that owns a cache.
func init() {
	tinies = append(tinies,
		tiny{"gqa-cla", `"attention": "gqa", "num_key_value_heads": 2, "head_dim": 10, "qk_norm": true, "layer_map": "0_0"`, "", 2 * 2 * 10},
		tiny{"gta-cla", `"attention": "gta", "num_key_value_heads": 2, "head_dim": 12, "layer_map": "0_0"`, "", 2*12 + 6},
		tiny{"mla-cla", `"attention": "mla", "q_lora_rank": 14, "kv_lora_rank": 10, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "layer_map": "0_0"`, "", 10 + 4},
		tiny{"mlra-cla", `"attention": "mlra", "num_branches": 2, "kv_lora_rank": 20, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "layer_map": "0_0"`, "", 20 + 4},
		tiny{"mfa-cla", `"attention": "mfa", "head_dim": 12, "q_lora_rank": 16, "tie_word_embeddings": true, "layer_map": "0_0"`, "", 2 * 12},
		tiny{"mfa-kr-cla", `"attention": "mfa-kr", "head_dim": 12, "q_lora_rank": 16, "layer_map": "0_0"`, "", 12},
		tiny{"mfa-kr-relative-cla", `"attention": "mfa-kr", "head_dim": 12, "q_lora_rank": 16, "values": "relative", "layer_map": "0_0"`, "", 12},
		tiny{"lrkv-cla", `"attention": "lrkv", "kv_rank": 3, "latent_rope_dim": 2, "layer_map": "0_0"`, "", 2 * (6 + 4*3)},
		tiny{"kha-mla-cla", `"attention": "kha-mla", "kv_lora_rank": 10, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "layer_map": "0_0"`, "", 10 + 4},
		tiny{"kha-mlp-cla", `"attention": "kha-mlp", "num_key_value_heads": 2, "layer_map": "0_0"`, "", 2 * 2 * 6},

		tiny{"mha-lckv", `"attention": "mha", "layer_map": "0_2_2_3"`, "", 2 * 4 * 6},
		tiny{"gqa-top", `"attention": "gqa", "num_key_value_heads": 2, "attention_bias": true, "layer_map": "1_1"`, "", 2 * 2 * 6},
		tiny{"gqa-lasagna-middle", `"attention": "gqa", "num_key_value_heads": 2, "qk_norm": true, "layer_map": "1_1_1_4_4"`, "", 2 * 2 * 6},
		tiny{"mla-top", `"attention": "mla", "kv_lora_rank": 10, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "layer_map": "2_2_2"`, "", 10 + 4},
		tiny{"mfa-kr-top", `"attention": "mfa-kr", "head_dim": 12, "q_lora_rank": 16, "layer_map": "1_1"`, "", 12},
		tiny{"gta-middle", `"attention": "gta", "num_key_value_heads": 2, "head_dim": 12, "layer_map": "1_1_1"`, "", 2*12 + 6},

		tiny{"gqa-yoco-swa", `"attention": "gqa", "num_key_value_heads": 2, "sliding_window": 7, "layer_map": "0s_1s_2_2"`, "", 2 * 2 * 6},
		tiny{"gqa-swa-cla", `"attention": "gqa", "num_key_value_heads": 2, "sliding_window": 5, "layer_map": "0s_0s_2s_2s"`, "", 2 * 2 * 6},
		tiny{"mha-swa-mixed", `"attention": "mha", "sliding_window": 6, "layer_map": "0s_1s_0_3"`, "", 2 * 4 * 6},
		tiny{"gqa-swa-top", `"attention": "gqa", "num_key_value_heads": 2, "sliding_window": 6, "layer_map": "0s_2_2_2s"`, "", 2 * 2 * 6},
		tiny{"gqa-swa-alone", `"attention": "gqa", "num_key_value_heads": 2, "sliding_window": 6, "layer_map": "0_1s"`, "", 2 * 2 * 6},

		tiny{"mla-q4", `"attention": "mla", "kv_lora_rank": 40, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "latent_bits": 4`, "", 40 + 4},
		tiny{"clla-q4", `"attention": "mla", "q_lora_rank": 14, "kv_lora_rank": 37, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "latent_bits": 4, "layer_map": "0_0"`, "", 37 + 4},
		tiny{"clla-q8", `"attention": "mla", "kv_lora_rank": 12, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "latent_bits": 8, "layer_map": "0_0"`, "", 12 + 4},

		tiny{"eg-mla-cla", `"attention": "eg-mla", "kv_lora_rank": 10, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "gate_embed_dim": 8, "layer_map": "0_0"`, "", 10 + 4 + 3},
		tiny{"tpa-cla", `"attention": "tpa", "head_dim": 8, "layer_map": "0_0"`, "", (2 + 2) * (4 + 8)},
		tiny{"tucker-cla", `"attention": "tucker", "k_rank": 12, "layer_map": "0_0"`, "", 2 * 12},
		tiny{"tucker-shared-cla", `"attention": "tucker", "k_rank": 12, "shared_kv": true, "layer_map": "0_0"`, "", 12},
		tiny{"mka-cla", `"attention": "mka", "num_key_value_heads": 2, "head_dim": 6, "layer_map": "0_0"`, "", 2 * 2 * 2 * 6},
		tiny{"mka-fast-cla", `"attention": "mka-fast", "num_key_value_heads": 2, "head_dim": 6, "layer_map": "0_0"`, "", 2 * 2 * 6},
	)
}
