package attention

import (
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// MFA is Multi-matrix Factorization Attention (arXiv 2412.19255, section 3; Step-3 adds the norm and a query rank of its own).
//
//	c   = RMSNorm(x Sq)          [T, r]   one low-rank query, shared by all heads
//	q_h = RoPE(c Q_h)            [T, C]   h = 1..m: many wide heads; they cost parameters, not cache
//	k   = RoPE(x Sk)   v = x Sv  [T, C]   one key head, one value head
//	o_h = softmax(q_h kᵀ / sqrt C) v      [T, C]
//	y   = concat(o_1..o_m) Wo    [T, d]
//
// One token leaves k and v behind: 2C elements a layer (MHA: 2 n d_h). Nothing to fold: decode is m query heads over one row.
// Will not do: more than one KV group (Step-3 fixes it at one).
//
// Weights: q_a [r, d], q_norm [r] if Norm, q_b [m C, r], k, v [C, d], o [d, m C].
type MFA struct {
	Hidden, Heads, HeadDim, QRank int // d, m, C, r
	Scale                         float64
	Norm                          bool
	NormEps                       float64
	Rope                          *tensor.Rope
	Reads                         bool // the rows are another layer's: no k, v here
}

func (a MFA) Reader() Design { a.Reads = true; return a }

func (a MFA) Layout() kvcache.Layout {
	if a.Reads {
		return noRows
	}
	return kvcache.Layout{Streams: []kvcache.Stream{
		{Name: "k", Heads: 1, Width: a.HeadDim, Role: kvcache.Key, Rope: kvcache.After},
		{Name: "v", Heads: 1, Width: a.HeadDim, Role: kvcache.Value, Rope: kvcache.None},
	}}
}

func (a MFA) Params() []Param {
	p := append(a.queryParams(), Param{"k", []int{a.HeadDim, a.Hidden}, Normal}, Param{"v", []int{a.HeadDim, a.Hidden}, Normal},
		Param{"o", []int{a.Hidden, a.Heads * a.HeadDim}, Output})
	if a.Reads {
		return without(p, "k", "v")
	}
	return p
}

func (a MFA) queryParams() []Param {
	p := []Param{{"q_a", []int{a.QRank, a.Hidden}, Normal}, {"q_b", []int{a.Heads * a.HeadDim, a.QRank}, Normal}}
	if a.Norm {
		p = append(p, Param{"q_norm", []int{a.QRank}, Ones})
	}
	return p
}

// query is the shared bottleneck and the heads it is turned into.
func (a MFA) query(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	c := linear(o, w, "q_a", x)
	if a.Norm {
		c = o.RMSNorm(c, leaf(o, w, "q_norm"), tensor.Norm{Eps: a.NormEps})
	}
	return o.RoPE(linear(o, w, "q_b", c), rotary(a.Rope, a.Heads, 0), pos)
}

func (a MFA) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	return a.Read(o, w, x, pos, a.Rows(o, w, x, pos))
}

func (a MFA) Rows(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) []tensor.Tensor {
	return []tensor.Tensor{o.RoPE(linear(o, w, "k", x), rotary(a.Rope, 1, 0), pos), linear(o, w, "v", x)}
}

func (a MFA) Read(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, rows []tensor.Tensor) tensor.Tensor {
	q := a.query(o, w, x, pos)
	return linear(o, w, "o", o.Attend(q, rows[0], rows[1], tensor.Attend{Heads: a.Heads, KVHeads: 1, Scale: a.Scale}))
}

// mfaQuery is the packed query side, shared with MFA-KR.
type mfaQuery struct {
	qa, qb *tensor.Linear
	norm   *tensor.Vector
}

func (a MFA) bindQuery(b *binder) mfaQuery {
	q := mfaQuery{qa: b.linear("q_a", a.QRank, a.Hidden), qb: b.linear("q_b", a.Heads*a.HeadDim, a.QRank)}
	if a.Norm {
		q.norm = b.vector("q_norm", a.QRank)
	}
	return q
}

func (q mfaQuery) step(s *Step, a MFA, c tensor.Buf) tensor.Buf {
	if a.Norm {
		c = s.RMSNorm(c, q.norm, tensor.Norm{Eps: a.NormEps})
	}
	y := s.MatMul(c, q.qb)
	s.RoPE(y, a.Heads, 0, a.Rope)
	return y
}

type mfaCached struct {
	MFA
	query   mfaQuery
	k, v, o *tensor.Linear
}

func (a MFA) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	b := &binder{w: w, p: p}
	c := &mfaCached{MFA: a, query: a.bindQuery(b)}
	if !a.Reads {
		c.k, c.v = b.linear("k", a.HeadDim, a.Hidden), b.linear("v", a.HeadDim, a.Hidden)
	}
	c.o = b.linear("o", a.Hidden, a.Heads*a.HeadDim)
	return c, b.err
}

func (c *mfaCached) View() kernel.Attention {
	return kernel.Attention{Keys: []kernel.Slice{full(0, c.HeadDim, true)}, Values: []kernel.Slice{full(1, c.HeadDim, true)},
		Groups: 1, PerGroup: c.Heads, Scale: float32(c.Scale)}
}

func (c *mfaCached) Step(s *Step, x tensor.Buf) tensor.Buf {
	if c.Reads {
		return s.MatMul(s.Attend(c.query.step(s, c.MFA, s.MatMul(x, c.query.qa))), c.o)
	}
	var p [3]tensor.Buf
	s.MatMuls(p[:], x, c.query.qa, c.k, c.v)
	s.RoPE(p[1], 1, 0, c.Rope)
	s.Put(0, p[1])
	s.Put(1, p[2])
	return s.MatMul(s.Attend(c.query.step(s, c.MFA, p[0])), c.o)
}
