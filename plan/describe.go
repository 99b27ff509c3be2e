package plan

// A model in words: its family, and its layers with equal ones joined.

import (
	"fmt"
	"strings"

	"github.com/lowkeylm/lowkey/model/config"
)

// Family names the model type, its wrapper and the architecture.
func Family(c *config.Config) string {
	s := c.ModelType
	if c.Wrapper != "" {
		s += " in " + c.Wrapper
	}
	if c.Architecture != "" && c.Architecture != c.ModelType {
		s += " (" + c.Architecture + ")"
	}
	return s
}

// Pattern is a set of layers that are alike.
type Pattern struct {
	Layers    string `json:"layers"` // "0-4, 6-10"
	Count     int    `json:"count"`
	Attention string `json:"attention"`
	MLP       string `json:"mlp"`
	Rope      string `json:"rope"`
}

// Patterns joins layers with equal descriptions, in the order in which they first appear.
func Patterns(c *config.Config) []Pattern {
	var out []Pattern
	var members [][]int
	for i := range c.Layers {
		l := &c.Layers[i]
		p := Pattern{Attention: Attention(&l.Attention), MLP: mlpText(&l.MLP), Rope: ropeText(l.Attention.Rope)}
		at := -1
		for j, q := range out {
			if q.Attention == p.Attention && q.MLP == p.MLP && q.Rope == p.Rope {
				at = j
			}
		}
		if at < 0 {
			out, members, at = append(out, p), append(members, nil), len(out)
		}
		members[at] = append(members[at], i)
	}
	for j := range out {
		out[j].Count, out[j].Layers = len(members[j]), ranges(members[j])
	}
	return out
}

// ranges writes ascending numbers: "0-4, 6, 8-9".
func ranges(n []int) string {
	var parts []string
	for i := 0; i < len(n); {
		j := i
		for j+1 < len(n) && n[j+1] == n[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, fmt.Sprint(n[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", n[i], n[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ", ")
}

// Attention describes a layer's attention in one line.
func Attention(a *config.Attention) string {
	s := config.DesignOf(a.Design).Text(a)
	if a.ValueDim != a.HeadDim && a.KVRank == 0 {
		s += fmt.Sprintf(", values of %d", a.ValueDim)
	}
	if a.Window > 0 {
		s += fmt.Sprintf(", window of %s", Number(int64(a.Window)))
	} else {
		s += ", full"
	}
	for _, x := range []struct {
		on   bool
		text string
	}{{a.SharesWith >= 0, fmt.Sprintf("rows of layer %d", a.SharesWith)}, {a.QKNorm != config.NormNone, "q and k normed"}, {a.Softcap > 0, fmt.Sprintf("scores capped at %g", a.Softcap)},
		{a.Sinks, "sink logits"}, {a.QKVBias, "biases"}} {
		if x.on {
			s += ", " + x.text
		}
	}
	return s
}

func mlpText(m *config.MLP) string {
	switch {
	case m.Kind == config.NoMLP:
		return "none"
	case m.MoE():
		s := fmt.Sprintf("%d experts of %s, %d a token", m.Experts, Number(int64(m.ExpertIntermediate)), m.ExpertsPerToken)
		if m.SharedIntermediate > 0 {
			s += fmt.Sprintf(", shared %s", Number(int64(m.SharedIntermediate)))
		}
		if m.GateLimit > 0 {
			s += fmt.Sprintf(", gates clamped at %g", m.GateLimit)
		}
		return s
	case m.Kind == config.Plain:
		return fmt.Sprintf("%s %s", m.Activation, Number(int64(m.Intermediate)))
	}
	s := fmt.Sprintf("gated %s %s", m.Activation, Number(int64(m.Intermediate)))
	if m.Sparsity > 0 {
		s += fmt.Sprintf(", %g %% of the gates cut", 100*m.Sparsity)
	}
	return s
}

func ropeText(r config.Rope) string {
	if r.Dim == 0 {
		return "none"
	}
	s := fmt.Sprintf("%d channels, base %s", r.Dim, number(r.Base))
	switch r.Kind {
	case config.RopeDefault:
	case config.RopeLinear:
		s += fmt.Sprintf(", linear / %g", r.Factor)
	case config.RopeLlama3, config.RopeYarn, config.RopeLong, config.RopeDynamic:
		s += fmt.Sprintf(", %s x %g over %s", r.Kind, r.Factor, Number(int64(r.Original)))
	default:
		s += ", " + r.Kind
	}
	if r.Layout == config.Pairs {
		s += ", pairs"
	}
	return s
}
