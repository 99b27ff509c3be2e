package plan

// Parameters by formula, from the configuration alone. Counts every matrix, bias and norm that the description names; what it does not name (hypernetworks, convolutions) is missing, and Approximate
// says so.

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
		d := config.DesignOf(l.Attention.Design)
		p.Total += norms*norm + mlp
		for _, t := range d.Tensors(c, &l.Attention) {
			p.Total += t.Parameters()
		}
		idle += rest
		if d.Approximate != "" {
			p.Approximate = d.Approximate
		}
	}
	if c.ModelType == "zaya" {
		p.Approximate = "the router's network and the scales of residuals are not counted"
	}
	p.Total += aroundParameters(c)
	p.Active = p.Total - idle
	return p
}

// aroundParameters are those of what lies around the blocks: LAUREL, AltUp's streams, inputs by token.
func aroundParameters(c *config.Config) (total int64) {
	d, layers := int64(c.Hidden), int64(len(c.Layers))
	if r := int64(c.LaurelRank); r > 0 {
		total += layers * (2*r*d + d)
	}
	if n, w := int64(c.AltUp.Streams), int64(c.AltUp.InputWidth); n > 0 {
		total += 2*(n-1)*d*d + int64(c.AltUp.InputVocab)*layers*w + layers*w*d + w // streams, table, projection and its norm
		total += layers * (2*d + n*d + n*n*n + n*n + 2*w*d + d)                    // norm and scale, router, coefficients, inputs and their norm
	}
	return total
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
	if m.Routing.Bias {
		total += int64(m.Experts) // the correction that balances the experts
	}
	return total, int64(m.Experts-m.ExpertsPerToken) * expert
}
