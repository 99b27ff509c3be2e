package config

// GTA: one tied state a group is the value and the unrotated part of the key; one rotary key part serves all.
//
//	num_key_value_heads (1 to heads), head_dim (hidden/heads), qk_rope_head_dim (head_dim/2, made even): the last channels of a query, and the one rotary key
//
// Tensors: q_proj, kv_proj [kv_heads*head_dim, hidden] (the tied states), k_rope_proj [qk_rope_head_dim, hidden], o_proj.

import "fmt"

func init() {
	register(Design{Name: GTA, About: "one tied state is value and front of the key; one rotary key for all heads", Cache: "n_kv d_h + d_R", Paper: "Hardware-Efficient Attention for Fast Decoding, 2505.21487",
		read: readGTA, Streams: gtaStreams, Tensors: gtaTensors, Text: headsText, Fields: gtaFields, Makes: []string{"kv", "k_rope"}})
}

func readGTA(p *parser, d *Design) Attention {
	a := p.heads(0)
	a.Design = d.Name
	a.RopeDim = p.size("qk_rope_head_dim", a.HeadDim/4*2, maxWidth)
	if a.RopeDim < 2 || a.RopeDim%2 != 0 || a.RopeDim >= a.HeadDim {
		p.fail("qk_rope_head_dim", fmt.Sprint(a.RopeDim), fmt.Sprintf("must be even and less than head_dim %d: the rest is the tied part of the key", a.HeadDim))
	}
	a.Nope, a.Rope.Dim = a.HeadDim-a.RopeDim, a.RopeDim
	return a
}

func gtaFields(a *Attention) map[string]any {
	return map[string]any{"num_key_value_heads": a.KVHeads, "head_dim": a.HeadDim, "qk_rope_head_dim": a.RopeDim}
}

func gtaStreams(a *Attention) []Stream {
	return []Stream{{Name: "tied", Heads: a.KVHeads, Width: a.ValueDim, Use: Tied}, {Name: "rope", Heads: 1, Width: a.RopeDim, Use: Turned}}
}

func gtaTensors(c *Config, a *Attention) []Tensor {
	return append(output(c, a), attn("q", "q_proj", a.QKVBias, a.Heads*a.HeadDim, c.Hidden), attn("kv", "kv_proj", a.QKVBias, a.KVHeads*a.ValueDim, c.Hidden),
		attn("k_rope", "k_rope_proj", a.QKVBias, a.RopeDim, c.Hidden))
}
