package hf

// The last three numbers are the id's digits, which transformers' cache holds and lowkey's does not: the sequence has the ids.
func init() {
	tinies = append(tinies, tiny{"eg-mla", `"attention": "eg-mla", "q_lora_rank": 14, "kv_lora_rank": 10, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5, "gate_embed_dim": 7`, "", 10 + 4 + 3})
}
