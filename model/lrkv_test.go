package model

import (
	"fmt"
	"maps"
)

// The rows of LRKV, KHA and KV-Latent's dimensions.
func init() {
	const d, n, w = tinyHidden, tinyHeads, tinyHeadDim
	lrkv := func(name string, rank, turned int) func() tiny {
		return func() tiny {
			m := tiny{name: name, design: "lrkv", config: fields{"attention": "lrkv", "head_dim": w, "kv_rank": rank, "latent_rope_dim": turned}, streams: [][2]int{{1, w}, {n, rank}, {1, w}, {n, rank}},
				attn: shapes{"q_proj": {n * w, d}, "k_proj": {w, d}, "k_a_proj": {n * rank, d}, "v_proj": {w, d}, "v_a_proj": {n * rank, d}, "o_proj": {d, n * w}}}
			for h := range n {
				m.attn[fmt.Sprintf("k_b_proj.%d", h)], m.attn[fmt.Sprintf("v_b_proj.%d", h)] = []int{rank, w}, []int{w, rank}
			}
			return m
		}
	}
	square := func(width int, names ...string) shapes {
		s := shapes{}
		for _, name := range names {
			s[name] = []int{width, width}
		}
		return s
	}
	kha := func(design string, more shapes) func() tiny { // on GQA with 2 heads of keys and values
		return func() tiny {
			maps.Copy(more, shapes{"q_proj": {n * w, d}, "k_proj": {2 * w, d}, "v_proj": {2 * w, d}, "o_proj": {d, n * w}})
			return tiny{name: design, design: design, config: fields{"attention": design, "num_key_value_heads": 2, "head_dim": w}, attn: more, streams: [][2]int{{2, w}, {2, w}}}
		}
	}
	mla := func() tiny {
		m := square(24, "t_q", "t_k")
		maps.Copy(m, shapes{"t_v": {20, 20}, "q_proj": {n * 40, d}, "kv_a_proj_with_mqa": {64, d}, "kv_a_layernorm": {48}, "kv_b_proj": {n * 44, 48}, "o_proj": {d, n * 20}})
		return tiny{name: "kha-mla", design: "kha-mla", config: fields{"attention": "kha-mla", "kv_lora_rank": 48, "qk_nope_head_dim": 24, "qk_rope_head_dim": 16, "v_head_dim": 20}, attn: m,
			streams: [][2]int{{1, 48}, {1, 16}}}
	}
	narrow := func() tiny {
		return tiny{name: "kvlatent", design: "kvlatent", config: fields{"attention": "kvlatent", "num_key_value_heads": 2, "head_dim": 8, "v_head_dim": 20}, streams: [][2]int{{2, 8}, {2, 20}},
			attn: shapes{"q_proj": {n * 8, d}, "k_proj": {2 * 8, d}, "v_proj": {2 * 20, d}, "o_proj": {d, n * 20}}}
	}
	moreTinies = append(moreTinies, shared(lrkv("lrkv", 12, 0), "k_proj", "k_a_proj", "v_proj", "v_a_proj"), shared(kha("kha-linear", square(w, "t_q", "t_k", "t_v")), "k_proj", "v_proj", "t_k", "t_v"))
	moreTinies = append(moreTinies, lrkv("lrkv", 12, 0), lrkv("lrkv, turned latents", 32, 8), kha("kha-linear", square(w, "t_q", "t_k", "t_v")), kha("kha-mlp", square(w, "v_up", "v_gate", "v_down")), mla, narrow)
}
