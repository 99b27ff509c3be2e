package config

// MFA and MFA-KR: one key and value head of width C, many query heads through a bottleneck. MFA-KR makes the value from the key, which is all it caches.
//
//	head_dim (the paper's C; needed), q_lora_rank (head_dim), q_norm true (RMS norm over the bottleneck, eps rms_norm_eps)
//
// MFA-KR has no v_proj but n.weight [head_dim, head_dim] and alpha.weight [head_dim] (read without .weight too): the value is k + alpha * (n k) of the key before RoPE. With
//
//	values "relative" ("paper")
//
// it has neither: the value is the key after RoPE, and each head's mix is turned back at the query's position.

import "fmt"

// What MFA-KR makes values of.
const (
	paperValues    = "paper"    // the key before RoPE
	relativeValues = "relative" // the key after RoPE, seen from the query
)

func init() {
	for _, d := range []Design{
		{Name: MFA, About: "one wide key and value head, many query heads through a shared bottleneck", Cache: "2 C", Paper: "Multi-matrix Factorization Attention, 2412.19255"},
		{Name: MFAKR, About: "MFA whose value is made from the key, which is all that is cached", Cache: "C", Paper: "Multi-matrix Factorization Attention, 2412.19255"},
	} {
		d.read, d.Streams, d.Tensors, d.Text, d.Fields = readMFA, mfaStreams, mfaTensors, mfaText, mfaFields
		d.Makes = []string{"k", "v"} // MFA-KR's n and alpha turn rows into values: each layer has its own
		register(d)
	}
}

func readMFA(p *parser, d *Design) Attention {
	p.needHeadDim(d.Name)
	a := p.heads(1)
	a.Design, a.KVHeads = d.Name, 1
	a.QRank = p.size("q_lora_rank", a.HeadDim, maxWidth)
	a.QNorm, a.LatentNormEps = p.bool("q_norm", true), p.c.Norm.Eps
	if d.Name == MFAKR {
		switch s := p.text("values", paperValues); s {
		case paperValues:
		case relativeValues:
			a.RelativeValues = true
		default:
			p.fail("values", s, "must be "+paperValues+" or "+relativeValues)
		}
	}
	return a
}

func mfaFields(a *Attention) map[string]any {
	f := map[string]any{"head_dim": a.HeadDim, "q_lora_rank": a.QRank, "q_norm": a.QNorm}
	if a.Design == MFAKR {
		f["values"] = paperValues
		if a.RelativeValues {
			f["values"] = relativeValues
		}
	}
	return f
}

func mfaStreams(a *Attention) []Stream {
	switch {
	case a.RelativeValues:
		return []Stream{{Name: "k", Heads: a.KVHeads, Width: a.HeadDim, Use: TiedTurned}}
	case a.Design == MFAKR:
		return []Stream{{Name: "k", Heads: a.KVHeads, Width: a.HeadDim, Use: TiedBefore}}
	}
	return groupedStreams(a)
}

func mfaTensors(c *Config, a *Attention) []Tensor {
	w := a.KVHeads * a.HeadDim
	t := append(output(c, a), attn("q_a", "q_a_proj", a.QKVBias, a.QRank, c.Hidden), attn("q_b", "q_b_proj", false, a.Heads*a.HeadDim, a.QRank), attn("k", "k_proj", a.QKVBias, w, c.Hidden))
	if a.QNorm {
		t = append(t, attn("q_norm", "q_a_layernorm", false, a.QRank))
	}
	switch {
	case a.RelativeValues:
		return t
	case a.Design == MFA:
		return append(t, attn("v", "v_proj", a.QKVBias, w, c.Hidden))
	}
	return append(t, attn("n", "n", false, w, w), attn("alpha", "alpha", false, w))
}

func mfaText(a *Attention) string {
	s := headsText(a)
	if a.QRank > 0 {
		s += fmt.Sprintf(", query rank %d", a.QRank)
	}
	if a.RelativeValues {
		s += ", relative values"
	}
	return s
}
