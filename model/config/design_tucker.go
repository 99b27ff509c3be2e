package config

// Tucker: the heads' products of query and key matrices as one tensor, those of value and output matrices as another, each a core with a factor on every side. Its heads are of the ranks' widths;
// head_dim is that of the heads it stands for, and sets the scale of scores.
//
//	head_dim (hidden/heads), k_rank (r3; head_dim), v_rank (r3'; k_rank), q_rank (r2; 2 k_rank), out_rank (r2'; q_rank), head_rank (r1; heads), out_head_rank (r1'; head_rank),
//	shared_kv false: one row, the key before RoPE, is the value too, and v_rank is k_rank
//
// Tensors: q_a_proj [q_rank, hidden], q_core [head_rank*k_rank, q_rank], q_heads [heads, head_rank], k_proj [k_rank, hidden], v_proj [v_rank, hidden] (not with shared_kv),
// o_heads [out_head_rank, heads], o_core [out_rank, out_head_rank*v_rank], o_proj [hidden, out_rank].

import (
	"fmt"
	"math"
)

func init() {
	register(Design{Name: Tucker, About: "the heads' matrices as two tensors in Tucker form: one latent row, turned whole, for all heads", Cache: "r3 + r3' (r3 with keys as values)", Paper: "Tucker Attention, 2603.30033",
		read: readTucker, Streams: tuckerStreams, Tensors: tuckerTensors, Text: tuckerText, Fields: tuckerFields,
		Makes: []string{"k", "v"}}) // cores and factors over heads are each layer's own
}

func readTucker(p *parser, d *Design) Attention {
	a := p.heads(0)
	a.Design, a.KVHeads, a.FullDim = d.Name, 1, a.HeadDim
	a.HeadDim = p.size("k_rank", a.FullDim, maxWidth)
	a.ValueDim = p.size("v_rank", a.HeadDim, maxWidth)
	a.QRank = p.size("q_rank", 2*a.HeadDim, maxWidth)
	a.OutRank = p.size("out_rank", a.QRank, maxWidth)
	a.HeadRank = p.size("head_rank", a.Heads, maxHeads)
	a.OutHeadRank = p.size("out_head_rank", a.HeadRank, maxHeads)
	a.SharedKV = p.bool("shared_kv", false)
	switch {
	case a.HeadDim%2 != 0:
		p.fail("k_rank", fmt.Sprint(a.HeadDim), "must be even: RoPE turns pairs of the latent key")
	case a.SharedKV && a.ValueDim != a.HeadDim:
		p.fail("v_rank", fmt.Sprint(a.ValueDim), fmt.Sprintf("with shared_kv the value is the key, of width %d", a.HeadDim))
	}
	a.Scale, a.Rope = 1/math.Sqrt(float64(a.FullDim)), p.rope(a.HeadDim, "")
	return a
}

func tuckerFields(a *Attention) map[string]any {
	return map[string]any{"head_dim": a.FullDim, "k_rank": a.HeadDim, "v_rank": a.ValueDim, "q_rank": a.QRank, "out_rank": a.OutRank, "head_rank": a.HeadRank, "out_head_rank": a.OutHeadRank,
		"shared_kv": a.SharedKV}
}

func tuckerStreams(a *Attention) []Stream {
	if a.SharedKV {
		return []Stream{{Name: "kv", Heads: 1, Width: a.HeadDim, Use: TiedBefore}}
	}
	return groupedStreams(a)
}

func tuckerTensors(c *Config, a *Attention) []Tensor {
	t := []Tensor{attn("q_a", "q_a_proj", a.QKVBias, a.QRank, c.Hidden), attn("q_core", "q_core", false, a.HeadRank*a.HeadDim, a.QRank), attn("q_heads", "q_heads", false, a.Heads, a.HeadRank),
		attn("k", "k_proj", a.QKVBias, a.HeadDim, c.Hidden)}
	if !a.SharedKV {
		t = append(t, attn("v", "v_proj", a.QKVBias, a.ValueDim, c.Hidden))
	}
	return append(t, attn("o_heads", "o_heads", false, a.OutHeadRank, a.Heads), attn("o_core", "o_core", false, a.OutRank, a.OutHeadRank*a.ValueDim), attn("o", "o_proj", a.OutBias, c.Hidden, a.OutRank))
}

func tuckerText(a *Attention) string {
	core := func(heads, side, row int) string { return fmt.Sprintf("[%d, %d, %d]", heads, side, row) }
	s, before, behind := fmt.Sprintf("tucker, %d heads over one row, cores ", a.Heads), core(a.HeadRank, a.QRank, a.HeadDim), core(a.OutHeadRank, a.OutRank, a.ValueDim)
	if s += before; behind != before {
		s += " and " + behind
	}
	if a.SharedKV {
		s += ", keys as values"
	}
	return s
}
