package config

// TPA: queries, keys and values are sums of outer products of a factor over heads and one over channels.
//
//	head_dim (needed; heads * head_dim need not be hidden_size), q_rank 6 (0 = dense queries), k_rank 2, v_rank 2

import "fmt"

func init() {
	register(Design{Name: TPA, About: "factors over heads and over channels, whose products are queries, keys and values", Cache: "(R_K + R_V)(h + d_h)", Paper: "Tensor Product Attention, 2501.06425",
		read: readTPA, Streams: tpaStreams, Tensors: tpaTensors, Text: tpaText, Fields: tpaFields,
		Makes: []string{"a_k", "b_k", "a_v", "b_v"}})
}

func readTPA(p *parser, d *Design) Attention {
	p.needHeadDim(d.Name)
	a := p.heads(1)
	a.Design, a.KVHeads = d.Name, a.Heads
	a.QRank, a.KRank, a.VRank = p.intIn("q_rank", 6, 0, maxWidth), p.size("k_rank", 2, maxWidth), p.size("v_rank", 2, maxWidth)
	return a
}

func tpaFields(a *Attention) map[string]any {
	return map[string]any{"head_dim": a.HeadDim, "q_rank": a.QRank, "k_rank": a.KRank, "v_rank": a.VRank}
}

func tpaStreams(a *Attention) []Stream {
	return []Stream{{Name: "k_a", Heads: 1, Width: a.Heads * a.KRank, Use: Unturned, Weighs: true}, {Name: "k_b", Heads: a.KRank, Width: a.HeadDim, Use: Turned},
		{Name: "v_a", Heads: 1, Width: a.Heads * a.VRank, Use: Mixed, Weighs: true}, {Name: "v_b", Heads: a.VRank, Width: a.ValueDim, Use: Mixed}}
}

func tpaTensors(c *Config, a *Attention) []Tensor {
	t := output(c, a)
	factors := func(x string, rank, width int) {
		t = append(t, attn("a_"+x, "a_"+x+"_proj", a.QKVBias, a.Heads*rank, c.Hidden), attn("b_"+x, "b_"+x+"_proj", a.QKVBias, rank*width, c.Hidden))
	}
	if a.QRank == 0 {
		t = append(t, attn("q", "q_proj", a.QKVBias, a.Heads*a.HeadDim, c.Hidden))
	} else {
		factors("q", a.QRank, a.HeadDim)
	}
	factors("k", a.KRank, a.HeadDim)
	factors("v", a.VRank, a.ValueDim)
	return t
}

func tpaText(a *Attention) string {
	s := fmt.Sprintf("tpa, %d heads of %d from factors of rank %d and %d", a.Heads, a.HeadDim, a.KRank, a.VRank)
	if a.QRank > 0 {
		s += fmt.Sprintf(", query rank %d", a.QRank)
	}
	return s
}
