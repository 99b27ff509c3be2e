package config

// check: what every description must satisfy, wherever it came from, so that no later code meets a size that cannot be.

import (
	"fmt"
	"math"

	"github.com/lowkeylm/lowkey/fault"
)

// check refuses a description whose parts do not fit together. Single fields were checked when read; this is about their relations and about what was computed.
func (c *Config) check(name string) error {
	var err error
	bad := func(thing, value, limit string) {
		if err == nil {
			err = fault.New(fault.BadFile, name+": "+thing, value, limit, "correct it there, or fetch the file again")
		}
	}
	size := func(thing string, v, low, high int) {
		if v < low || v > high {
			bad(thing, fmt.Sprint(v), fmt.Sprintf("must be from %d to %d", low, high))
		}
	}
	finite := func(thing string, v float64) {
		if math.IsNaN(v) || math.Abs(v) > maxFloat {
			bad(thing, fmt.Sprint(v), fmt.Sprintf("must be within +-%g", maxFloat))
		}
	}
	size("hidden size", c.Hidden, 1, maxWidth)
	if !c.Module {
		size("vocabulary", c.Vocab, 1, maxVocab)
		size("context", c.MaxPosition, 1, maxTokens)
	}
	size("layers", len(c.Layers), 1, maxLayers)
	finite("embedding scale", c.EmbedScale)
	finite("residual scale", c.ResidualScale)
	finite("logit scale", c.LogitScale)
	finite("logit softcap", c.FinalSoftcap)
	finite("norm epsilon", c.Norm.Eps)
	for i := range c.Layers {
		a, m := &c.Layers[i].Attention, &c.Layers[i].MLP
		at := fmt.Sprintf("layer %d ", i)
		size(at+"heads", a.Heads, 1, maxHeads)
		size(at+"kv heads", a.KVHeads, 1, maxHeads)
		size(at+"head width", a.HeadDim, 1, maxWidth)
		size(at+"value width", a.ValueDim, 1, maxWidth)
		size(at+"latents", a.Latents, 1, maxHeads)
		if err != nil {
			return err
		}
		if a.Heads%a.KVHeads != 0 {
			bad(at+"kv heads", fmt.Sprint(a.KVHeads), fmt.Sprintf("must divide the %d heads", a.Heads))
		}
		if a.KVRank%a.Latents != 0 {
			bad(at+"latent rank", fmt.Sprint(a.KVRank), fmt.Sprintf("must be a multiple of %d latents", a.Latents))
		}
		if a.Branches < 1 || a.Latents%a.Branches != 0 {
			bad(at+"branches", fmt.Sprint(a.Branches), fmt.Sprintf("must divide the %d latents", a.Latents))
		} else if each := a.Latents / a.Branches; a.Heads%each != 0 {
			bad(at+"heads", fmt.Sprint(a.Heads), fmt.Sprintf("must be a multiple of the %d latents that share them", each))
		}
		if r := a.Rope; r.Dim < 0 || r.Dim%2 != 0 || r.Dim > a.HeadDim {
			bad(at+"rotary width", fmt.Sprint(r.Dim), fmt.Sprintf("must be even and at most the head width %d", a.HeadDim))
		} else if r.Dim > 0 {
			if why := r.check(); why != "" {
				bad(at+"rope "+r.Kind, why, "")
			}
		}
		if why := c.checkSharing(i); why != "" {
			bad(at+"shared cache", fmt.Sprintf("layer %d", a.SharesWith), why)
		}
		if m.Kind != NoMLP && !m.MoE() && (m.Intermediate < 1 || m.Intermediate > maxFFN) {
			bad(at+"MLP width", fmt.Sprint(m.Intermediate), fmt.Sprintf("must be from 1 to %d", maxFFN))
		}
		if m.MoE() && (m.ExpertsPerToken < 1 || m.ExpertsPerToken > m.Experts) {
			bad(at+"experts per token", fmt.Sprint(m.ExpertsPerToken), fmt.Sprintf("must be from 1 to %d", m.Experts))
		}
		if r := m.Routing; m.MoE() && r.Groups > 1 && (m.Experts%r.Groups != 0 || r.TopGroups > r.Groups || m.ExpertsPerToken > m.Experts/r.Groups*r.TopGroups) {
			bad(at+"expert groups", fmt.Sprintf("%d of %d", r.TopGroups, r.Groups), fmt.Sprintf("must divide %d experts and hold the %d of a token", m.Experts, m.ExpertsPerToken))
		}
		finite(at+"gate limit", m.GateLimit)
		finite(at+"gate factor", m.GateAlpha)
		finite(at+"routing scale", m.Routing.Scale)
		finite(at+"softmax scale", a.Scale)
		finite(at+"softcap", a.Softcap)
		finite(at+"query scale", a.QScale)
		finite(at+"latent scale", a.KVScale)
		if err != nil {
			return err
		}
	}
	return err
}

// check says why the formulae of Frequencies cannot be evaluated, "" if they can (or the kind is not known).
func (r Rope) check() string {
	if !(r.Base > 1 && r.Base <= maxFloat) {
		return fmt.Sprintf("base %g; must be above 1", r.Base)
	}
	switch r.Kind {
	case RopeLinear, RopeLlama3, RopeYarn, RopeDynamic:
		if !(r.Factor > 0 && r.Factor <= maxFloat) {
			return fmt.Sprintf("factor %g; must be above 0", r.Factor)
		}
	case RopeKVLatent:
		if r.Dim%4 != 0 {
			return fmt.Sprintf("%d channels; must be a multiple of 4", r.Dim)
		}
	case RopeAlpha:
		if r.Dim < 4 || !(r.Alpha > 0 && r.Alpha <= maxFloat) {
			return fmt.Sprintf("alpha %g over %d channels; must be above 0, over 4 or more", r.Alpha, r.Dim)
		}
	}
	switch r.Kind {
	case RopeDynamic:
		if r.Dim < 4 || r.Odd == 3 || r.Factor < 1 {
			return fmt.Sprintf("factor %g over %d channels; must be 1 or more, over 4 or more", r.Factor, r.Dim)
		}
	case RopeLlama3:
		if !(r.HighFreq > r.LowFreq) {
			return fmt.Sprintf("high_freq_factor %g; must be above low_freq_factor %g", r.HighFreq, r.LowFreq)
		}
	case RopeYarn:
		if !(r.BetaFast > 0 && r.BetaSlow > 0) || r.MScale < 0 || r.MScaleAllDim < 0 {
			return fmt.Sprintf("beta_fast %g, beta_slow %g, mscale %g, mscale_all_dim %g; must not be negative", r.BetaFast, r.BetaSlow, r.MScale, r.MScaleAllDim)
		}
	case RopeLong:
		if r.Factor > 1 && r.Original < 2 {
			return fmt.Sprintf("original_max_position_embeddings %d; must be above 1", r.Original)
		}
		for _, l := range [][]float64{r.Short, r.Long} {
			if len(l) != 0 && len(l) != r.Dim/2 { // GGUF keeps the lists in tensors
				return fmt.Sprintf("a list of %d factors; the model has %d frequencies", len(l), r.Dim/2)
			}
		}
	}
	return ""
}
