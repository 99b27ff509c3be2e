package hf

// MTLA's rows are not merged in transformers' cache, which holds three digits of each position besides.
func init() {
	tinies = append(tinies,
		tiny{"mtla", `"attention": "mtla", "q_lora_rank": 14, "kv_lora_rank": 10, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "merge_dim": 3`, "", 10 + 4 + 3},
		tiny{"mtla-3", `"attention": "mtla", "kv_lora_rank": 9, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "merge_tokens": 3, "rope_interleave": true`, "", 9 + 4 + 3},
		tiny{"mka", `"attention": "mka", "num_key_value_heads": 2, "memory_levels": 3`, "", 3 * 2 * 2 * 6},
		tiny{"mka-fast", `"attention": "mka-fast", "num_key_value_heads": 2, "router_hidden": 7, "attention_bias": true`, "", 2 * 2 * 6})
}
