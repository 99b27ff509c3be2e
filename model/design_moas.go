package model

import (
	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

func init() {
	builders[config.MoAS] = func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		m := attention.MoAS{Hidden: c.Hidden, RouterDim: a.RouterDim}
		for _, s := range config.SchemesOf(a) {
			m.Schemes = append(m.Schemes, attention.Scheme{Name: s, GQA: attention.GQA{Hidden: c.Hidden, Heads: a.Heads, KVHeads: config.SchemeHeads(a, s),
				HeadDim: a.HeadDim, ValueDim: a.ValueDim, Scale: a.Scale, Rope: rope}})
		}
		return m
	}
}
