package attention

import (
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// TPA is Tensor Product Attention (T6, arXiv 2501.06425, section 3): queries, keys and values are short sums of outer products of a factor over heads and one over channels.
//
//	A_Q = x Wa_q   [T, h R_Q]    B_Q = RoPE(x Wb_q)   [T, R_Q d_h]     Q = A_Q B_Q / R_Q    [T, h d_h]    q_i = 1/R_Q sum_r a_ir b_r
//	A_K = x Wa_k   [T, h R_K]    B_K = RoPE(x Wb_k)   [T, R_K d_h]     K = A_K B_K / R_K
//	A_V = x Wa_v   [T, h R_V]    B_V = x Wb_v         [T, R_V d_h]     V = A_V B_V / R_V
//	o_i = softmax(s q_i k_iᵀ) v_i            i = 1..h heads, s = Scale, 1/sqrt d_h
//	y   = concat(o_1..o_h) Wo
//
// RoPE acts on channels, A on heads: turning B is turning K. QRank = 0 is the paper's KV-only form: Q = RoPE(x Wq).
// One token leaves A_K, B_K (turned), A_V and B_V behind: (R_K + R_V)(h + d_h) elements a layer (MHA: 2 h d_h).
//
// Fold: q_i . k_i = 1/R_K sum_r a_ir (q_i . b_r), and sum_t p_it v_it = 1/R_V sum_r sum_t (p_it a_itr) b_tr
//
//	so neither K nor V is rebuilt: all heads meet the few b_r as if they were keys of one head, and a weighs what comes out (kernel.Slice.Rank).
//
// OutNorm is an RMS norm of each o_i before Wo, one weight [d_h] for all (the public code's groupnorm).
// Will not do: a Hadamard rotation of A (it would mix what belongs to different heads), a window, or the T6 variants with partial rotation and decay.
//
// Weights: a_q [h R_Q, d] laid out head after head, b_q [R_Q d_h, d] rank after rank (or q [h d_h, d]); a_k, b_k, a_v, b_v alike; o [d, h d_h]; out_norm [d_h]. Biases as NAME.bias.
type TPA struct {
	Hidden, Heads, HeadDim int // d, h, d_h
	QRank, KRank, VRank    int // R_Q (0 = dense queries), R_K, R_V
	Scale                  float64
	Rope                   *tensor.Rope
	OutNorm                bool
	OutNormEps             float64
	Reads                  bool // the factors of keys and values are another layer's
}

func (a TPA) Reader() Design { a.Reads = true; return a }

func (a TPA) Layout() kvcache.Layout {
	if a.Reads {
		return noRows
	}
	return kvcache.Layout{Streams: []kvcache.Stream{
		{Name: "k_a", Heads: 1, Width: a.Heads * a.KRank, Role: kvcache.Key, Rope: kvcache.None, Weighs: true},
		{Name: "k_b", Heads: a.KRank, Width: a.HeadDim, Role: kvcache.Key, Rope: kvcache.After},
		{Name: "v_a", Heads: 1, Width: a.Heads * a.VRank, Role: kvcache.Value, Rope: kvcache.None, Weighs: true},
		{Name: "v_b", Heads: a.VRank, Width: a.HeadDim, Role: kvcache.Value, Rope: kvcache.None},
	}}
}

func (a TPA) Params() []Param {
	h, dh, d := a.Heads, a.HeadDim, a.Hidden
	p := []Param{{"q", []int{h * dh, d}, Normal}}
	if a.QRank > 0 {
		p = []Param{{"a_q", []int{h * a.QRank, d}, Normal}, {"b_q", []int{a.QRank * dh, d}, Normal}}
	}
	p = append(p, Param{"a_k", []int{h * a.KRank, d}, Normal}, Param{"b_k", []int{a.KRank * dh, d}, Normal},
		Param{"a_v", []int{h * a.VRank, d}, Normal}, Param{"b_v", []int{a.VRank * dh, d}, Normal}, Param{"o", []int{d, h * dh}, Output})
	if a.OutNorm {
		p = append(p, Param{"out_norm", []int{dh}, Ones})
	}
	if a.Reads {
		return without(p, "a_k", "b_k", "a_v", "b_v")
	}
	return p
}

func (a TPA) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	return a.Read(o, w, x, pos, a.Rows(o, w, x, pos))
}

func (a TPA) Rows(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) []tensor.Tensor {
	return []tensor.Tensor{linear(o, w, "a_k", x), turn(o, linear(o, w, "b_k", x), a.KRank, a.Rope, pos), linear(o, w, "a_v", x), linear(o, w, "b_v", x)}
}

func (a TPA) Read(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, rows []tensor.Tensor) tensor.Tensor {
	h := a.Heads
	var q tensor.Tensor
	if a.QRank > 0 {
		q = o.Outer(linear(o, w, "a_q", x), turn(o, linear(o, w, "b_q", x), a.QRank, a.Rope, pos), h, a.QRank, 1/float64(a.QRank))
	} else {
		q = turn(o, linear(o, w, "q", x), h, a.Rope, pos)
	}
	k := o.Outer(rows[0], rows[1], h, a.KRank, 1/float64(a.KRank))
	v := o.Outer(rows[2], rows[3], h, a.VRank, 1/float64(a.VRank))
	y := o.Attend(q, k, v, tensor.Attend{Heads: h, KVHeads: h, Scale: a.Scale})
	if a.OutNorm {
		y = o.RMSNorm(y, leaf(o, w, "out_norm"), a.outNorm())
	}
	return linear(o, w, "o", y)
}

func (a TPA) outNorm() tensor.Norm { return tensor.Norm{Eps: a.OutNormEps, Groups: a.Heads} }

type tpaCached struct {
	TPA
	in      []*tensor.Linear // a_k, b_k, a_v, b_v, of own rows, then a_q and b_q, or q
	o       *tensor.Linear
	outNorm *tensor.Vector
}

func (a TPA) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	b := &binder{w: w, p: p}
	c := &tpaCached{TPA: a}
	factors := func(x string, rank int) {
		c.in = append(c.in, b.linear("a_"+x, a.Heads*rank, a.Hidden), b.linear("b_"+x, rank*a.HeadDim, a.Hidden))
	}
	if !a.Reads {
		factors("k", a.KRank)
		factors("v", a.VRank)
	}
	if a.QRank > 0 {
		factors("q", a.QRank)
	} else {
		c.in = append(c.in, b.linear("q", a.Heads*a.HeadDim, a.Hidden))
	}
	c.o = b.linear("o", a.Hidden, a.Heads*a.HeadDim)
	if a.OutNorm {
		c.outNorm = b.vector("out_norm", a.HeadDim)
	}
	return c, b.err
}

// View scores with 1/R_K in the scale; 1/R_V is applied to what comes out.
func (c *tpaCached) View() kernel.Attention {
	return kernel.Attention{Keys: []kernel.Slice{{Plane: 1, To: c.HeadDim, Rank: c.KRank, By: 0}}, Values: []kernel.Slice{{Plane: 3, To: c.HeadDim, Rank: c.VRank, By: 2}},
		Groups: 1, PerGroup: c.Heads, Scale: float32(c.Scale / float64(c.KRank))}
}

func (c *tpaCached) Step(s *Step, x tensor.Buf) tensor.Buf {
	var p [6]tensor.Buf // as in
	s.MatMuls(p[:len(c.in)], x, c.in...)
	asks := p[:]
	if !c.Reads {
		s.RoPE(p[1], c.KRank, 0, c.Rope)
		for stream, rows := range p[:4] {
			s.Put(stream, rows)
		}
		asks = p[4:]
	}
	q := asks[0]
	if c.QRank > 0 {
		s.RoPE(asks[1], c.QRank, 0, c.Rope)
		q = s.Outer(q, asks[1], c.Heads, c.QRank, 1/float64(c.QRank))
	} else {
		s.RoPE(q, c.Heads, 0, c.Rope)
	}
	z := s.Attend(q)
	s.Scale(z, 1/float64(c.VRank))
	if c.OutNorm {
		z = s.RMSNorm(z, c.outNorm, c.TPA.outNorm())
	}
	return s.MatMul(z, c.o)
}
