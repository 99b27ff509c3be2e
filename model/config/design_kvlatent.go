package config

// KV-Latent's dimensions: MHA or GQA whose heads are narrower than the model's width would make them, keys and values each by their own measure, with frequencies of RoPE that suit few channels.
//
//	num_key_value_heads (heads), head_dim (needed, a multiple of 4: width of queries and keys), v_head_dim (head_dim), qk_norm false, sliding_window none; the softmax scale is 1/sqrt(head_dim)
//
// rope_type is kv-latent whether it is said or not; no other scaling joins it. As a rope_type it serves every design with plain heads.

import "fmt"

// KVLatent is GQA with narrow heads, ValueDim of its own, and RopeKVLatent.
const KVLatent = "kvlatent"

func init() {
	register(Design{Name: KVLatent, About: "narrow heads, keys and values of different widths, frequencies of RoPE that suit few channels", Cache: "n_kv (d_qk + d_vo)", Paper: "KV-Latent, 2507.11273",
		read: readKVLatent, Streams: groupedStreams, Tensors: groupedTensors, Text: headsText, Fields: kvLatentFields, Makes: []string{"k", "v", "k_norm"}})
}

func readKVLatent(p *parser, d *Design) Attention {
	p.needHeadDim(d.Name)
	a := p.heads(1)
	a.Design, a.ValueDim = d.Name, p.size("v_head_dim", a.HeadDim, maxWidth)
	switch a.Rope.Kind {
	case RopeDefault, RopeKVLatent:
		a.Rope.Kind = RopeKVLatent
	default:
		p.fail("rope_type", a.Rope.Kind, fmt.Sprintf("attention %s chooses its own frequencies", d.Name))
	}
	if p.bool("qk_norm", false) {
		a.QKNorm, a.QKNormEps = NormHead, p.c.Norm.Eps
	}
	a.Window = p.intIn("sliding_window", 0, 0, maxTokens)
	return a
}

func kvLatentFields(a *Attention) map[string]any {
	f := groupedFields(a)
	f["v_head_dim"] = a.ValueDim
	return f
}
