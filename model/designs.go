package model

// From a layer's description to its design. A design of one's own adds itself to builders in a file design_NAME.go.

import (
	"strings"

	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

// builder makes the design of a layer described by a; rope is nil where nothing rotates.
type builder func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design

var builders = map[string]builder{
	config.MHA: grouped, config.GQA: grouped, config.MQA: grouped,
	config.SQA: func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		return attention.SQA{GQA: grouped(c, a, rope).(attention.GQA)}
	},
	config.MLA: func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		return mla(c, a, rope)
	},
	config.GLA: func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		return gla(c, a, rope)
	},
	config.MLRA: func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		return attention.MLRA{GLA: gla(c, a, rope), Branches: a.Branches, OutScale: a.OutScale}
	},
	config.MFA: func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		return mfa(c, a, rope)
	},
	config.MFAKR: func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		d := attention.MFAKR{MFA: mfa(c, a, rope)}
		if a.RelativeValues {
			d.Back = rope.Back()
		}
		return d
	},
	config.TPA: func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		return attention.TPA{Hidden: c.Hidden, Heads: a.Heads, HeadDim: a.HeadDim, QRank: a.QRank, KRank: a.KRank, VRank: a.VRank, Scale: a.Scale, Rope: rope,
			OutNorm: a.OutNorm, OutNormEps: a.OutNormEps}
	},
	config.GTA: func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		return attention.GTA{Hidden: c.Hidden, Heads: a.Heads, KVHeads: a.KVHeads, Nope: a.Nope, RopeDim: a.RopeDim, Scale: a.Scale, Rope: rope}
	},
}

func (m *Model) design(a *config.Attention, ropes ropes) (attention.Design, error) {
	rope, err := m.rope(a.Rope, ropes)
	if err != nil {
		return nil, err
	}
	build := builders[a.Design]
	if build == nil {
		return nil, fault.New(fault.Unsupported, "attention design", a.Design, "designs that run: "+strings.Join(config.Designs(), " "), "lowkey designs NAME shows the fields of each")
	}
	return build(m.Config, a, rope), nil
}

func grouped(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
	window := a.Window
	if a.Strict && window > 0 { // a window counts the token itself, which is not seen there
		window--
	}
	return attention.GQA{Hidden: c.Hidden, Heads: a.Heads, KVHeads: a.KVHeads, HeadDim: a.HeadDim, ValueDim: a.ValueDim, Scale: a.Scale, Softcap: a.Softcap, Window: window, Rope: rope,
		QKNorm: a.QKNorm != config.NormNone, NormWhole: a.QKNorm == config.NormFlat, NormAfterRope: a.NormAfterRope, NormEps: a.QKNormEps, NormPlusOne: c.Norm.PlusOne, VNorm: a.VNorm, Sinks: a.Sinks}
}

func mla(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.MLA {
	return attention.MLA{Hidden: c.Hidden, Heads: a.Heads, QRank: a.QRank, KVRank: a.KVRank, Nope: a.Nope, RopeDim: a.RopeDim, ValueDim: a.ValueDim,
		Scale: a.Scale, QScale: a.QScale, KVScale: a.KVScale, Eps: a.LatentNormEps, Stored: a.LatentType(), Rope: rope}
}

func gla(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.GLA {
	return attention.GLA{MLA: mla(c, a, rope), Latents: a.Latents}
}

func mfa(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.MFA {
	return attention.MFA{Hidden: c.Hidden, Heads: a.Heads, HeadDim: a.HeadDim, QRank: a.QRank, Scale: a.Scale, Norm: a.QNorm, NormEps: a.LatentNormEps, Rope: rope}
}
