package model

func init() {
	tinyBytes["eg-mla"], tinyBytes["eg-mla cla"] = tinyBytes["mla"], tinyBytes["mla"] // r + d_R, as MLA's
	egmla := func() tiny {
		const d, n, wide = tinyHidden, tinyHeads, tinyHeads * 44
		return tiny{name: "eg-mla", design: "eg-mla",
			config: fields{"attention": "eg-mla", "kv_lora_rank": 48, "qk_nope_head_dim": 24, "qk_rope_head_dim": 16, "v_head_dim": 20, "q_lora_rank": 32, "gate_embed_dim": 24},
			attn: shapes{"q_a_proj": {32, d}, "q_a_layernorm": {32}, "q_b_proj": {n * 40, 32}, "kv_a_proj_with_mqa": {64, d}, "kv_a_layernorm": {48}, "kv_b_proj": {wide, 48}, "o_proj": {d, n * 20},
				"gate_embed": {tinyVocab, 24}, "gate_proj": {wide, 24}, "kv_layernorm": {wide}},
			streams: [][2]int{{1, 48}, {1, 16}}}
	}
	moreTinies = append(moreTinies, egmla, shared(egmla, "kv_a_proj_with_mqa", "kv_a_layernorm"))
}
