package model

import (
	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

func init() {
	builders[config.LRKV] = func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		d := attention.LRKV{Hidden: c.Hidden, Heads: a.Heads, HeadDim: a.HeadDim, Rank: a.KRank, Scale: a.Scale, Rope: rope}
		if a.RopeDim > 0 {
			d.LatentRope = rope.Part(a.RopeDim)
		}
		return d
	}
	builders[config.KHALinear] = func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		return attention.KHA{GQA: grouped(c, a, rope).(attention.GQA)}
	}
	builders[config.KHAMLP] = func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		return attention.KHA{GQA: grouped(c, a, rope).(attention.GQA), MLP: true}
	}
	builders[config.KHAMLA] = func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		return attention.KHAMLA{MLA: mla(c, a, rope)}
	}
	builders[config.KVLatent] = func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		return attention.KVLatent{GQA: grouped(c, a, rope).(attention.GQA)}
	}
}
