package config

// LRKV: one shared key and value head, and a low-rank residual of each head.
//
//	head_dim (hidden/heads), kv_rank (3/8 of head_dim, made even), latent_rope_dim 0: how many channels of a key's latent are turned, even
//
// Tensors: q_proj, k_proj and v_proj [head_dim, hidden], k_a_proj and v_a_proj [heads*kv_rank, hidden], o_proj; for each head h from 0: k_b_proj.h [kv_rank, head_dim], v_b_proj.h [head_dim, kv_rank].

import "fmt"

// LRKV has one shared key and value, and for each head residuals of rank KRank; RopeDim channels of a key's latent are turned.
const LRKV = "lrkv"

func init() {
	register(Design{Name: LRKV, About: "one shared key and value, and a low-rank residual of each head that is scored and mixed in its own few channels", Cache: "2 (d_h + n r)",
		Paper: "Low-Rank Key Value Attention, 2601.11471", read: readLRKV, Streams: lrkvStreams, Tensors: lrkvTensors, Text: lrkvText, Fields: lrkvFields,
		Makes: []string{"k", "k_a", "v", "v_a"}}) // k_b and v_b turn rows into scores and values: each layer has its own
}

func readLRKV(p *parser, d *Design) Attention {
	a := p.heads(0)
	a.Design, a.KVHeads = d.Name, a.Heads
	a.KRank = p.size("kv_rank", max(2, a.HeadDim*3/16*2), maxWidth)
	a.VRank = a.KRank
	a.RopeDim = p.intIn("latent_rope_dim", 0, 0, maxWidth)
	if most := min(a.KRank, a.Rope.Dim); a.RopeDim > most || a.RopeDim%2 != 0 {
		p.fail("latent_rope_dim", fmt.Sprint(a.RopeDim), fmt.Sprintf("must be even and at most %d, the smaller of kv_rank and head_dim", most))
	}
	return a
}

func lrkvFields(a *Attention) map[string]any {
	return map[string]any{"head_dim": a.HeadDim, "kv_rank": a.KRank, "latent_rope_dim": a.RopeDim}
}

func lrkvStreams(a *Attention) []Stream {
	latent := Unturned
	if a.RopeDim > 0 {
		latent = Turned
	}
	return []Stream{{Name: "k", Heads: 1, Width: a.HeadDim, Use: keyUse(a)}, {Name: "k_latent", Heads: a.Heads, Width: a.KRank, Use: latent},
		{Name: "v", Heads: 1, Width: a.ValueDim, Use: Mixed}, {Name: "v_latent", Heads: a.Heads, Width: a.VRank, Use: Mixed}}
}

func lrkvTensors(c *Config, a *Attention) []Tensor {
	t := append(output(c, a), attn("q", "q_proj", a.QKVBias, a.Heads*a.HeadDim, c.Hidden),
		attn("k", "k_proj", a.QKVBias, a.HeadDim, c.Hidden), attn("k_a", "k_a_proj", a.QKVBias, a.Heads*a.KRank, c.Hidden),
		attn("v", "v_proj", a.QKVBias, a.ValueDim, c.Hidden), attn("v_a", "v_a_proj", a.QKVBias, a.Heads*a.VRank, c.Hidden))
	for h := range a.Heads {
		t = append(t, attn(fmt.Sprintf("k_b.%d", h), fmt.Sprintf("k_b_proj.%d", h), false, a.KRank, a.HeadDim),
			attn(fmt.Sprintf("v_b.%d", h), fmt.Sprintf("v_b_proj.%d", h), false, a.ValueDim, a.VRank))
	}
	return t
}

func lrkvText(a *Attention) string {
	s := fmt.Sprintf("lrkv, %d heads of %d over a shared key and value and residuals of rank %d", a.Heads, a.HeadDim, a.KRank)
	if a.RopeDim > 0 {
		s += fmt.Sprintf(", %d channels of them turned", a.RopeDim)
	}
	return s
}
