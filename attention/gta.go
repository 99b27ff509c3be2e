package attention

import (
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// GTA is Grouped-Tied Attention (Hardware-Efficient Attention for Fast Decoding, arXiv 2505.21487): grouped queries over one state a group that is value and key at once.
//
//	[q_h ; qr_h] = x Wq_h          [T, d_n + d_R]      d_n + d_R = d_h, qr turned        h = 1..n heads
//	u_g          = x Wkv_g         [T, d_h]            the tied state of group g         g = 1..n_kv groups, g(h) = h / (n/n_kv)
//	kr           = RoPE(x Wkr)     [T, d_R]            one rotary key for all heads
//	k_g = [u_g[:d_n] ; kr]         v_g = u_g
//	o_h = softmax(s [q_h ; qr_h] k_g(h)ᵀ) v_g(h)       s = Scale, 1/sqrt d_h
//	y   = concat(o_1..o_n) Wo
//
// The first d_n channels of u are key and value, the other d_R value only; what is key is never turned, so the rotation of kr is the only sense of position.
// The paper has d_R = d_h/2. An odd d_h gives halves that differ (the public code: d_R = floor(d_h/2)).
//
// One token leaves u and kr behind: n_kv d_h + d_R elements a layer, against 2 n_kv d_h of GQA. kr is kept once, where the public code repeats it for every head.
// Nothing folds: keys and values are slices of the rows as they lie. Will not do: a window, norms of queries and keys (a normed key would no longer be the value).
//
// Weights: q [n d_h, d], kv [n_kv d_h, d], k_rope [d_R, d], o [d, n d_h]. Biases as NAME.bias.
type GTA struct {
	Hidden, Heads, KVHeads int // d, n, n_kv
	Nope, RopeDim          int // d_n, d_R
	Scale                  float64
	Rope                   *tensor.Rope
	Reads                  bool // the rows are another layer's: no kv, k_rope here
}

func (a GTA) Reader() Design { a.Reads = true; return a }

// headDim is d_h.
func (a GTA) headDim() int { return a.Nope + a.RopeDim }

func (a GTA) Layout() kvcache.Layout {
	if a.Reads {
		return noRows
	}
	return kvcache.Layout{Streams: []kvcache.Stream{
		{Name: "tied", Heads: a.KVHeads, Width: a.headDim(), Role: kvcache.Both, Rope: kvcache.None},
		{Name: "rope", Heads: 1, Width: a.RopeDim, Role: kvcache.Key, Rope: kvcache.After},
	}}
}

func (a GTA) Params() []Param {
	w, d := a.headDim(), a.Hidden
	p := []Param{{"q", []int{a.Heads * w, d}, Normal}, {"kv", []int{a.KVHeads * w, d}, Normal}, {"k_rope", []int{a.RopeDim, d}, Normal}, {"o", []int{d, a.Heads * w}, Output}}
	if a.Reads {
		return without(p, "kv", "k_rope")
	}
	return p
}

func (a GTA) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	return a.Read(o, w, x, pos, a.Rows(o, w, x, pos))
}

func (a GTA) Rows(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) []tensor.Tensor {
	return []tensor.Tensor{linear(o, w, "kv", x), o.RoPE(linear(o, w, "k_rope", x), rotary(a.Rope, 1, 0), pos)}
}

func (a GTA) Read(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, rows []tensor.Tensor) tensor.Tensor {
	q := o.RoPE(linear(o, w, "q", x), rotary(a.Rope, a.Heads, a.Nope), pos)
	u, kr := rows[0], rows[1]
	k := o.HeadConcat(a.KVHeads, o.HeadSlice(u, a.KVHeads, 0, a.Nope), o.HeadRepeat(kr, a.KVHeads))
	return linear(o, w, "o", o.Attend(q, k, u, tensor.Attend{Heads: a.Heads, KVHeads: a.KVHeads, Scale: a.Scale}))
}

type gtaCached struct {
	GTA
	q, kv, kr, o *tensor.Linear
}

func (a GTA) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	b := &binder{w: w, p: p}
	c := &gtaCached{GTA: a}
	c.q = b.linear("q", a.Heads*a.headDim(), a.Hidden)
	if !a.Reads {
		c.kv = b.linear("kv", a.KVHeads*a.headDim(), a.Hidden)
		c.kr = b.linear("k_rope", a.RopeDim, a.Hidden)
	}
	c.o = b.linear("o", a.Hidden, a.Heads*a.headDim())
	return c, b.err
}

// View: the key is the front of the tied plane and the one rotary key, the value the whole of the tied plane.
func (c *gtaCached) View() kernel.Attention {
	return kernel.Attention{Keys: []kernel.Slice{{Plane: 0, To: c.Nope}, full(1, c.RopeDim, true)}, Values: []kernel.Slice{full(0, c.headDim(), false)},
		Groups: c.KVHeads, PerGroup: c.Heads / c.KVHeads, Scale: float32(c.Scale)}
}

func (c *gtaCached) Step(s *Step, x tensor.Buf) tensor.Buf {
	if c.Reads {
		q := s.MatMul(x, c.q)
		s.RoPE(q, c.Heads, c.Nope, c.Rope)
		return s.MatMul(s.Attend(q), c.o)
	}
	var p [3]tensor.Buf
	s.MatMuls(p[:], x, c.q, c.kv, c.kr)
	s.RoPE(p[0], c.Heads, c.Nope, c.Rope)
	s.RoPE(p[2], 1, 0, c.Rope)
	s.Put(0, p[1])
	s.Put(1, p[2])
	return s.MatMul(s.Attend(p[0]), c.o)
}
