package model

import (
	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

func init() { builders[config.CCA], builders[config.CCGQA] = cca, cca }

func cca(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
	return attention.CCA{Hidden: c.Hidden, Heads: a.Heads, KVHeads: a.KVHeads, HeadDim: a.HeadDim, Taps0: a.Conv0, Taps1: a.Conv1, Scale: a.Scale, Window: a.Window, Rope: rope}
}
