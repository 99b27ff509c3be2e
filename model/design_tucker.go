package model

import (
	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

func init() {
	builders[config.Tucker] = func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		return attention.Tucker{Hidden: c.Hidden, Heads: a.Heads, HeadRank: a.HeadRank, QRank: a.QRank, KRank: a.HeadDim, VRank: a.ValueDim, OutHeadRank: a.OutHeadRank, OutRank: a.OutRank,
			SharedKV: a.SharedKV, Scale: a.Scale, Rope: rope}
	}
}
