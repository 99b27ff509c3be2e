package config

// KHA: transforms common to all heads behind the projections. Linear ones fold away, an MLP of values does not.
//
//	kha-linear kha-mlp  num_key_value_heads (1 to heads; heads), head_dim (hidden/heads), qk_norm false, sliding_window none
//	kha-mla             as mla
//
// Tensors: as GQA or MLA, and linear: t_q, t_k, t_v; MLP: v_up, v_gate, v_down; each square, of the width of what it transforms (kha-mla: of the unrotated part of a head).

const (
	KHALinear = "kha-linear" // GQA behind transforms that all heads share
	KHAMLP    = "kha-mlp"    // GQA whose values pass an MLP that all heads share
	KHAMLA    = "kha-mla"    // MLA behind such transforms
)

func init() {
	const paper = "Knocking-Heads Attention, 2510.23052"
	for _, d := range []Design{
		{Name: KHALinear, About: "GQA whose heads share a linear transform of q, k and v; it folds into the projections", Cache: "2 n_kv d_h"},
		{Name: KHAMLP, About: "GQA whose values pass a gated MLP that all heads share, before they are cached", Cache: "2 n_kv d_h"},
	} {
		d.Paper, d.read, d.Streams, d.Tensors, d.Text, d.Fields = paper, readKHA, groupedStreams, khaTensors, headsText, groupedFields
		d.Makes = []string{"k", "v", "k_norm", "t_k", "t_v", "v_up", "v_gate", "v_down"}
		register(d)
	}
	register(Design{Name: KHAMLA, About: "MLA whose heads share linear transforms, which fold into its up-projection", Cache: "d_c + d_R", Paper: paper,
		read: readKHAMLA, Streams: latentStreams, Tensors: khaMLATensors, Text: latentText, Fields: latentFields, Makes: []string{"kv_a", "kv_a_norm"}})
}

func readKHA(p *parser, d *Design) Attention {
	a := p.heads(0)
	a.Design = d.Name
	if p.bool("qk_norm", false) {
		a.QKNorm, a.QKNormEps = NormHead, p.c.Norm.Eps
	}
	a.Window = p.intIn("sliding_window", 0, 0, maxTokens)
	return a
}

func khaTensors(c *Config, a *Attention) []Tensor {
	t := groupedTensors(c, a)
	square := func(width int, names ...string) {
		for _, name := range names {
			t = append(t, attn(name, name, false, width, width))
		}
	}
	if a.Design == KHAMLP {
		square(a.ValueDim, "v_up", "v_gate", "v_down")
	} else {
		square(a.HeadDim, "t_q", "t_k")
		square(a.ValueDim, "t_v")
	}
	return t
}

func readKHAMLA(p *parser, d *Design) Attention {
	a := readLatent(p, DesignOf(MLA))
	a.Design = d.Name
	return a
}

func khaMLATensors(c *Config, a *Attention) []Tensor {
	host := *a
	host.Design = MLA
	return append(latentTensors(c, &host), attn("t_q", "t_q", false, a.Nope, a.Nope), attn("t_k", "t_k", false, a.Nope, a.Nope), attn("t_v", "t_v", false, a.ValueDim, a.ValueDim))
}
