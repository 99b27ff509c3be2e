package attention

import (
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// FastMKA is Memory-Keyed Attention (arXiv 2603.20586) with the memories fused before they are projected.
//
//	L_1, L_2, L_3 as in MKA
//	λ  = softmax(Wr2 SiLU(Wr1 q))     q = x Wq, of all heads, before RoPE
//	x' = sum_l λ_l L_l                [T, d]            λ of the token that leaves the row
//	k  = RoPE(x' Wk)   v = x' Wv      [T, n_kv d_h]
//	y  = GQA of q, k, v
//
// One token leaves 2 n_kv d_h numbers a layer behind, as in GQA, and a sequence d numbers of state (L_2). It is not an approximation of MKA: there a token weighs the levels as it asks, here as it is
// written, and the activation of the router differs. Nothing folds; an absent bank is zeros that still take weight.
//
// Weights: as MKA's.
type FastMKA struct{ MKA }

func (a FastMKA) Layout() kvcache.Layout { return a.layout(a.KVHeads) }

func (a FastMKA) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	return a.Read(o, w, x, pos, a.Rows(o, w, x, pos))
}

// Reader has no router: the memories are fused as they are written.
func (a FastMKA) Reader() Design { a.Reads = true; return a }

func (a FastMKA) Params() []Param {
	if a.Reads {
		return without(a.MKA.Params(), "router_a", "router_a.bias", "router_b", "router_b.bias")
	}
	return a.MKA.Params()
}

func (a FastMKA) Rows(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) []tensor.Tensor {
	λ := o.Softmax(linear(o, w, "router_b", o.SiLU(linear(o, w, "router_a", linear(o, w, "q", x)))))
	fused := o.Outer(λ, o.Concat(a.levels(o, w, x, pos)...), 1, a.Levels, 1)
	return []tensor.Tensor{turn(o, linear(o, w, "k", fused), a.KVHeads, a.Rope, pos), linear(o, w, "v", fused)}
}

func (a FastMKA) Read(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, rows []tensor.Tensor) tensor.Tensor {
	q := turn(o, linear(o, w, "q", x), a.Heads, a.Rope, pos)
	return linear(o, w, "o", o.Attend(q, rows[0], rows[1], a.attend()))
}

type fastMKACached struct{ mkaCached }

func (a FastMKA) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	b := &binder{w: w, p: p}
	c := &fastMKACached{a.bind(b)}
	if c.act = tensor.SiLU; !a.Reads {
		c.router = a.bindRouter(b)
	}
	return c, b.err
}

func (c *fastMKACached) View() kernel.Attention { return c.view(c.KVHeads) }

func (c *fastMKACached) Step(s *Step, x tensor.Buf) tensor.Buf {
	if c.Reads {
		q := s.MatMul(x, c.q)
		s.RoPE(q, c.Heads, 0, c.Rope)
		return s.MatMul(s.Attend(q), c.o)
	}
	q, λ := c.route(s, x)
	fused := s.Outer(λ, c.memories(s, x), 1, c.Levels, 1)
	var p [2]tensor.Buf
	s.MatMuls(p[:], fused, c.k, c.v)
	s.RoPE(p[0], c.KVHeads, 0, c.Rope)
	s.Put(0, p[0])
	s.Put(1, p[1])
	return s.MatMul(s.Attend(q), c.o)
}
