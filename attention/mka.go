package attention

import (
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// MKA is Memory-Keyed Attention (arXiv 2603.20586), the full form: every token leaves keys and values of several memories behind, each is attended to by itself, and a router weighs the outputs.
//
//	L_1 = x                                            [T, d]      the tokens themselves
//	L_2,t = β L_2,t-1 + (1-β) x_t,  L_2,-1 = 0         [T, d]      a summary of what came before, β = 0.9
//	L_3,t = row min(t, M-1) of a bank of M vectors     [T, d]      retrieved, given at run time; zeros where there is none
//	q   = x Wq                                         [T, n d_h]
//	λ   = softmax(Wr2 GELU(Wr1 q))                     [T, levels] from q of all heads, before RoPE
//	k_l = RoPE(L_l Wk)   v_l = L_l Wv                  [T, n_kv d_h], the same matrices for every level
//	a_l = softmax(s RoPE(q_h) k_l,g(h)ᵀ) v_l,g(h)      [T, n d_h]  one causal attention a level
//	y   = (sum_l λ_l a_l) Wo                           λ of the token that asks
//
// One token leaves levels x 2 n_kv d_h numbers a layer behind, and a sequence d numbers of state (L_2). Nothing folds. The levels are groups of one attention: levels x n_kv keys, each level asked by
// the same n queries. The public code begins L_2 anew at every cached step; here it is carried on, so a decoded token has the bits of a whole pass.
//
// An absent bank is zeros that still take their share of λ, as published: a third level with zero values takes weight from the others and gives nothing.
//
// Weights: q [n d_h, d], k and v [n_kv d_h, d], o [d, n d_h], router_a [m, n d_h] and router_b [levels, m] with biases (the paper's m is d/2); biases of the others as NAME.bias. Forward
// reads the bank as memory [M, d], where there is one; the cached step from what the sequence was given (see Memory).
type MKA struct {
	Hidden, Heads, KVHeads, HeadDim int // d, n, n_kv, d_h
	Levels, Router                  int // 2, or 3 with a bank; m
	Beta, Scale                     float64
	Rope                            *tensor.Rope // may be nil
	Reads                           bool         // the memories' rows are another layer's, which has their state and reads the bank: here a query and a router that weighs what it finds
}

func (a MKA) Reader() Design { a.Reads = true; return a }

func (a MKA) Layout() kvcache.Layout {
	return a.layout(a.Levels * a.KVHeads)
}

func (a MKA) layout(heads int) kvcache.Layout {
	if a.Reads {
		return noRows
	}
	rope := kvcache.After
	if a.Rope == nil {
		rope = kvcache.None
	}
	return kvcache.Layout{State: a.Hidden, Streams: []kvcache.Stream{
		{Name: "k", Heads: heads, Width: a.HeadDim, Role: kvcache.Key, Rope: rope},
		{Name: "v", Heads: heads, Width: a.HeadDim, Role: kvcache.Value, Rope: kvcache.None},
	}}
}

// MemoryWidth implements MemoryReader.
func (a MKA) MemoryWidth() int {
	if a.Levels < 3 || a.Reads {
		return 0
	}
	return a.Hidden
}

func (a MKA) Params() []Param {
	d, w := a.Hidden, a.HeadDim
	p := []Param{{"q", []int{a.Heads * w, d}, Normal}, {"k", []int{a.KVHeads * w, d}, Normal}, {"v", []int{a.KVHeads * w, d}, Normal}, {"o", []int{d, a.Heads * w}, Output},
		{"router_a", []int{a.Router, a.Heads * w}, Normal}, {"router_a.bias", []int{a.Router}, Zeros}, {"router_b", []int{a.Levels, a.Router}, Normal}, {"router_b.bias", []int{a.Levels}, Zeros}}
	if a.Reads {
		return without(p, "k", "v")
	}
	return p
}

func (a MKA) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	return a.Read(o, w, x, pos, a.Rows(o, w, x, pos))
}

func (a MKA) Rows(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) []tensor.Tensor {
	var k, v []tensor.Tensor
	for _, level := range a.levels(o, w, x, pos) {
		k = append(k, turn(o, linear(o, w, "k", level), a.KVHeads, a.Rope, pos))
		v = append(v, linear(o, w, "v", level))
	}
	return []tensor.Tensor{o.Concat(k...), o.Concat(v...)}
}

func (a MKA) Read(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, rows []tensor.Tensor) tensor.Tensor {
	q := linear(o, w, "q", x)
	λ := o.Softmax(linear(o, w, "router_b", o.GELU(linear(o, w, "router_a", q), false)))
	q = turn(o, q, a.Heads, a.Rope, pos)
	var outs []tensor.Tensor
	for l, wide := 0, a.KVHeads*a.HeadDim; l < a.Levels; l++ {
		outs = append(outs, o.Attend(q, o.Cols(rows[0], l*wide, (l+1)*wide), o.Cols(rows[1], l*wide, (l+1)*wide), a.attend()))
	}
	return linear(o, w, "o", o.Outer(λ, o.Concat(outs...), 1, a.Levels, 1))
}

func (a MKA) attend() tensor.Attend {
	return tensor.Attend{Heads: a.Heads, KVHeads: a.KVHeads, Scale: a.Scale}
}

// levels are L_1, L_2 and, where there are three, L_3.
func (a MKA) levels(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) []tensor.Tensor {
	keep, rows := make([]float64, len(pos)), make([]int32, len(pos))
	for t, p := range pos {
		if keep[t] = a.Beta; p == 0 {
			keep[t] = 0
		}
	}
	levels := []tensor.Tensor{x, o.Recur(x, keep, 1-a.Beta)}
	if a.Levels < 3 {
		return levels
	}
	bank, ok := w.Get("memory")
	if !ok {
		return append(levels, o.Leaf([]int{len(pos), a.Hidden}, make([]float32, len(pos)*a.Hidden)))
	}
	for t, p := range pos {
		rows[t] = int32(min(p, bank.Rows()-1))
	}
	return append(levels, o.Embed(o.Weight(bank), rows))
}

// mkaCached is the cached step of MKA, and what FastMKA has in common with it.
type mkaCached struct {
	MKA
	q, k, v, o *tensor.Linear
	router     [2]*tensor.Linear
	act        tensor.Activation
}

func (a MKA) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	b := &binder{w: w, p: p}
	c := a.bind(b)
	c.router, c.act = a.bindRouter(b), tensor.GELU
	return &c, b.err
}

func (a MKA) bind(b *binder) mkaCached {
	n, kv := a.Heads*a.HeadDim, a.KVHeads*a.HeadDim
	c := mkaCached{MKA: a, q: b.linear("q", n, a.Hidden), o: b.linear("o", a.Hidden, n)}
	if !a.Reads {
		c.k, c.v = b.linear("k", kv, a.Hidden), b.linear("v", kv, a.Hidden)
	}
	return c
}

func (a MKA) bindRouter(b *binder) [2]*tensor.Linear {
	return [2]*tensor.Linear{b.linear("router_a", a.Router, a.Heads*a.HeadDim), b.linear("router_b", a.Levels, a.Router)}
}

// View: the groups of one level after those of another.
func (c *mkaCached) View() kernel.Attention { return c.view(c.Levels * c.KVHeads) }

func (a MKA) view(groups int) kernel.Attention {
	return kernel.Attention{Keys: []kernel.Slice{full(0, a.HeadDim, false)}, Values: []kernel.Slice{full(1, a.HeadDim, false)},
		Groups: groups, PerGroup: a.Heads / a.KVHeads, Scale: float32(a.Scale)}
}

func (c *mkaCached) Step(s *Step, x tensor.Buf) tensor.Buf {
	q, λ := c.route(s, x)
	if !c.Reads {
		c.put(s, c.memories(s, x))
	}
	asked := q
	for range c.Levels - 1 {
		asked = s.HeadConcat(asked, q, 1)
	}
	return s.MatMul(s.Outer(λ, s.Attend(asked), 1, c.Levels, 1), c.o)
}

// put leaves the rows of all levels behind.
func (c *mkaCached) put(s *Step, levels tensor.Buf) {
	var k, v tensor.Buf
	for l := range c.Levels {
		var p [2]tensor.Buf
		s.MatMuls(p[:], s.Cols(levels, l*c.Hidden, (l+1)*c.Hidden), c.k, c.v)
		s.RoPE(p[0], c.KVHeads, 0, c.Rope)
		if l == 0 {
			k, v = p[0], p[1]
		} else {
			k, v = s.HeadConcat(k, p[0], 1), s.HeadConcat(v, p[1], 1)
		}
	}
	s.Put(0, k)
	s.Put(1, v)
}

// route is the queries, turned, and the weights of the levels.
func (c *mkaCached) route(s *Step, x tensor.Buf) (q, λ tensor.Buf) {
	q = s.MatMul(x, c.q)
	h := s.MatMul(q, c.router[0])
	s.Activate(h, c.act)
	λ = s.MatMul(h, c.router[1])
	s.Softmax(λ)
	s.RoPE(q, c.Heads, 0, c.Rope)
	return q, λ
}

// memories is [L_1 ; L_2 ; L_3] of the new tokens: [rows, levels*d].
func (c *mkaCached) memories(s *Step, x tensor.Buf) tensor.Buf {
	summary, at := s.Copy(x), 0
	for i, n := range s.Counts {
		s.Recur(summary, at, n, s.State(i), func(int) float64 { return c.Beta }, 1-c.Beta)
		at += n
	}
	s.PutState(summary)
	levels := s.HeadConcat(x, summary, 1)
	if c.Levels < 3 {
		return levels
	}
	return s.HeadConcat(levels, s.bank(c.Hidden), 1)
}
