package model

import (
	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

func init() {
	builders[config.EGMLA] = func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		return attention.EGMLA{MLA: mla(c, a, rope), Vocab: c.Vocab, GateDim: a.GateDim, NormEps: c.Norm.Eps}
	}
}
