package plan

// Parameters by formula, from the configuration alone. Counts every matrix, bias and norm that the description names; what it does not name (the extra streams of
// Gemma 3n, hypernetworks, convolutions) is missing, and Approximate says so.

import "github.com/lowkeylm/lowkey/model/config"

// Parameters are numbers of weights.
type Parameters struct {
	Total       int64  `json:"total"`
	Active      int64  `json:"active"`                // of Total, those that one token meets: all but the experts not chosen
	Embedding   int64  `json:"embedding"`             // of Total: the token embedding and, where it is not tied, the output matrix
	Source      string `json:"source"`                // "tensors" or "formula"
	Approximate string `json:"approximate,omitempty"` // why Total may be too low
}

// Count adds up the parameters of a configuration.
func Count(c *config.Config) Parameters {
	p := Parameters{Source: "formula"}
	d := int64(c.Hidden)
	if !c.Module {
		p.Embedding = int64(c.Vocab) * d
		if !c.TieEmbeddings {
			p.Embedding *= 2
		}
	}
	norm := d
	switch {
	case c.Norm.Weightless:
		norm = 0
	case c.Norm.Kind == config.LayerNorm:
		norm = 2 * d
	}
	norms := int64(2)
	if c.SandwichNorms {
		norms = 4
	}
	p.Total = p.Embedding
	if c.Module {
		norm = 0
	}
	p.Total += norm
	var idle int64
	for i := range c.Layers {
		l := &c.Layers[i]
		mlp, rest := mlpParameters(c, &l.MLP)
		p.Total += norms*norm + attentionParameters(c, &l.Attention) + mlp
		idle += rest
		switch l.Attention.Design {
		case config.MTLA:
			p.Approximate = "the network that merges tokens is not counted"
		case config.CCA:
			p.Approximate = "convolutions and the router's network are not counted"
		case config.MKA, config.FMKA:
			p.Approximate = "the routing between memory levels is not counted"
		}
	}
	if c.ModelType == "gemma3n_text" {
		p.Approximate = "per-layer embeddings, altup and laurel are not counted"
	}
	p.Active = p.Total - idle
	return p
}

// IdleParameters are those of the experts that a token does not meet.
func IdleParameters(c *config.Config) int64 {
	var idle int64
	for i := range c.Layers {
		_, n := mlpParameters(c, &c.Layers[i].MLP)
		idle += n
	}
	return idle
}

// linear is a matrix and, perhaps, its bias.
func linear(out, in int, bias bool) int64 {
	n := int64(out) * int64(in)
	if bias {
		n += int64(out)
	}
	return n
}

func mlpParameters(c *config.Config, m *config.MLP) (total, idle int64) {
	if m.Kind == config.NoMLP {
		return 0, 0
	}
	block := func(width int) int64 {
		n := linear(width, c.Hidden, m.Bias) + linear(c.Hidden, width, m.Bias)
		if m.Kind == config.Gated {
			n += linear(width, c.Hidden, m.Bias)
		}
		return n
	}
	if !m.MoE() {
		return block(m.Intermediate), 0
	}
	expert := block(m.ExpertIntermediate)
	total = linear(m.Experts, c.Hidden, m.Bias) + int64(m.Experts)*expert
	if m.SharedIntermediate > 0 {
		total += block(m.SharedIntermediate)
	}
	if c.ModelType == "deepseek_v3" || c.ModelType == "glm4_moe_lite" {
		total += int64(m.Experts) // the correction that balances the experts
	}
	return total, int64(m.Experts-m.ExpertsPerToken) * expert
}

func attentionParameters(c *config.Config, a *config.Attention) int64 {
	d, n, kv := c.Hidden, a.Heads, a.KVHeads
	out := linear(d, n*a.ValueDim, a.OutBias)
	if a.Sinks {
		out += int64(n)
	}
	if a.OutNorm {
		out += int64(a.ValueDim)
	}
	query := func(width int) int64 { // through a bottleneck with a norm, or straight
		if a.QRank == 0 {
			return linear(width, d, a.QKVBias)
		}
		norm := int64(a.QRank)
		if a.Design == config.MTLA {
			norm *= 2 // a LayerNorm
		}
		return linear(a.QRank, d, a.QKVBias) + norm + linear(width, a.QRank, false)
	}
	switch a.Design {
	case config.MLA, config.GLA, config.MLRA, config.MTLA:
		norm := int64(a.KVRank)
		if a.Design == config.MTLA {
			norm *= 2
		}
		up := linear(n*(a.Nope+a.ValueDim), a.KVRank/a.Latents, false) * int64(a.Branches)
		return out + query(n*a.HeadDim) + linear(a.KVRank+a.RopeDim, d, a.QKVBias) + norm + up
	case config.MFA, config.MFAKR:
		q := query(n * a.HeadDim)
		if !a.QNorm {
			q -= int64(a.QRank)
		}
		if a.Design == config.MFAKR {
			return out + q + linear(a.HeadDim, d, false) + linear(a.HeadDim, a.HeadDim, true)
		}
		return out + q + linear(kv*a.HeadDim, d, false) + linear(kv*a.ValueDim, d, false)
	case config.TPA:
		factors := func(rank, width int) int64 { return linear(rank*(n+width), d, a.QKVBias) }
		q := factors(a.QRank, a.HeadDim)
		if a.QRank == 0 {
			q = linear(n*a.HeadDim, d, a.QKVBias)
		}
		return out + q + factors(a.KRank, a.HeadDim) + factors(a.VRank, a.ValueDim)
	case config.GTA:
		return out + linear(n*a.HeadDim, d, a.QKVBias) + linear(kv*a.ValueDim+a.RopeDim, d, a.QKVBias)
	}
	own := linear(n*a.HeadDim, d, a.QKVBias) + out
	if a.SharesWith < 0 || c.ModelType == "gemma3n_text" { // Gemma 3n stores keys and values that it does not use
		own += linear(kv*a.HeadDim, d, a.QKVBias) + linear(kv*a.ValueDim, d, a.QKVBias)
	}
	switch a.QKNorm {
	case config.NormHead:
		own += 2 * int64(a.HeadDim)
	case config.NormFlat:
		own += int64((n + kv) * a.HeadDim)
	}
	return own
}
