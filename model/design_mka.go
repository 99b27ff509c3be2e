package model

import (
	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

func init() {
	builders[config.MKA] = func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		return mka(c, a, rope)
	}
	builders[config.FMKA] = func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		return attention.FastMKA{MKA: mka(c, a, rope)}
	}
	holds[config.MKA], holds[config.FMKA] = mkaFloats, mkaFloats
	weigh[config.MKA] = weighMKA
	weigh[config.FMKA] = weighMKA
	familyNames["fastmka-llama"] = hfNames.with(map[string]place{"attn.router_a": at("self_attn.router.0"), "attn.router_b": at("self_attn.router.2")})
}

func mka(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.MKA {
	return attention.MKA{Hidden: c.Hidden, Heads: a.Heads, KVHeads: a.KVHeads, HeadDim: a.HeadDim, Levels: a.Levels, Router: a.RouterDim, Beta: a.EMABeta, Scale: a.Scale, Rope: rope}
}

// mkaFloats: every level's inputs, keys and values, as they are joined; queries and outputs for each.
func mkaFloats(a *config.Attention, hidden int64) (q, out, floats, in int64) {
	n, kv, w, levels := int64(a.Heads), int64(a.KVHeads), int64(a.HeadDim), int64(a.Levels)
	asked := int64(1)
	if a.Design == config.MKA {
		asked = levels
	}
	memories := (1 + levels*(levels+3)/2) * hidden // the average, the bank, two and three levels joined, one level alone at a time, or their sum
	rows := 2 * kv * w * asked * (asked + 5) / 2   // projections, joined with those before, turned copies
	floats = n*w*(asked+1) + asked*n*w*(asked+3)/2 + 2*asked*n*w + n*w + 2*int64(a.RouterDim) + 2*levels + memories + rows
	return asked * n * w, asked * n * w, floats, max(n*w, hidden, int64(a.RouterDim))
}

func weighMKA(n *counter, d attention.Design, matrix func(name string, out, in int)) {
	a, full := d.(attention.MKA)
	if !full {
		a = d.(attention.FastMKA).MKA
	}
	w := a.HeadDim
	matrix("q", a.Heads*w, a.Hidden)
	matrix("o", a.Hidden, a.Heads*w)
	if !a.Reads {
		matrix("k", a.KVHeads*w, a.Hidden)
		matrix("v", a.KVHeads*w, a.Hidden)
	}
	if a.Reads && !full { // the memories were weighed as they were written
		return
	}
	matrix("router_a", a.Router, a.Heads*w)
	matrix("router_b", a.Levels, a.Router)
}
