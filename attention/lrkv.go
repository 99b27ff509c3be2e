package attention

import (
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// LRKV is Low-Rank Key-Value attention (arXiv 2601.11471): one full-rank key and value that all heads share, and for each head a residual of low rank.
//
//	q_h = x Wq_h            [T, d_h]     h = 1..n heads, each with keys and values of its own
//	k   = x Wk              [T, d_h]     shared          v   = x Wv              [T, d_h]
//	z_h = x Ak_h            [T, r]       latents         u_h = x Av_h            [T, r]
//	s_h = s (RoPE(q_h) RoPE(k)ᵀ + q_h (z_h Bk_h)ᵀ)       v_h = v + u_h Bv_h      [T, d_h]     Bk_h, Bv_h [r, d_h]; s = Scale, 1/sqrt d_h
//	o_h = softmax(s_h) v_h
//	y   = concat(o_1..o_n) Wo
//
// Rotation. The paper decodes with RoPE(k) and a rotated z_h, writing RoPE(k + z_h B) = RoPE(k) + RoPE(z_h) B. That is no identity: a rotation turns d_h channels and does not pass through B.
// Turning k + z_h B as a whole would need every k_h rebuilt before it meets a query. So here it is settled, in training and decoding alike: RoPE turns the shared part of a score only, and
// the residual compares what tokens are, not where. With LatentRope the residual turns in its own r channels, RoPE_r(q_h Bk_hᵀ) RoPE_r(z_h)ᵀ: the paper's rotated latent, made a function of
// distance alone. Either way the row is final when it is written.
//
// One token leaves k, v, z_1..z_n and u_1..u_n behind: 2 (d_h + n r) elements a layer, 1/n + r/d_h of MHA's 2 n d_h. r = 0 would be MQA; MHA's expressivity is reached at r = d_h.
//
// Fold: q_h (z_h Bk_h)ᵀ = (q_h Bk_hᵀ) z_hᵀ, so a query is [RoPE(q_h) ; q_h Bk_hᵀ] over keys [RoPE(k) ; z_h]
//
//	sum_t p_t v_h,t = sum_t p_t v_t + (sum_t p_t u_h,t) Bv_h, so the values are [v ; u_h] and Bv waits until after the mix
//
// Neither k_h nor v_h is rebuilt: decode is one attention of n heads over rows whose front all share (kernel.Slice.Own). RoPE may turn a part of a head only.
// Bk and Bv start at a tenth of other weights, so that the model starts close to MQA (the paper: a residual of about 0.1 of the shared part).
// Will not do: grouped heads, a window, norms of queries and keys.
//
// Weights: q [n d_h, d], k, v [d_h, d], k_a, v_a [n r, d], o [d, n d_h], each with .bias if it has one; for h = 0..n-1: k_b.h [r, d_h], that is Bk_h, and v_b.h [d_h, r], that is Bv_hᵀ.
type LRKV struct {
	Hidden, Heads, HeadDim, Rank int // d, n, d_h, r
	Scale                        float64
	Rope                         *tensor.Rope // nil: no positions
	LatentRope                   *tensor.Rope // nil: the residual is not turned
	Reads                        bool         // the rows are another layer's: no k, k_a, v, v_a here, but k_b and v_b of its own
}

func (a LRKV) Reader() Design { a.Reads = true; return a }

func (a LRKV) Layout() kvcache.Layout {
	if a.Reads {
		return noRows
	}
	shared, latent := kvcache.After, kvcache.After
	if a.Rope == nil {
		shared = kvcache.None
	}
	if a.LatentRope == nil {
		latent = kvcache.None
	}
	return kvcache.Layout{Streams: []kvcache.Stream{
		{Name: "k", Heads: 1, Width: a.HeadDim, Role: kvcache.Key, Rope: shared},
		{Name: "k_latent", Heads: a.Heads, Width: a.Rank, Role: kvcache.Key, Rope: latent},
		{Name: "v", Heads: 1, Width: a.HeadDim, Role: kvcache.Value, Rope: kvcache.None},
		{Name: "v_latent", Heads: a.Heads, Width: a.Rank, Role: kvcache.Value, Rope: kvcache.None},
	}}
}

func (a LRKV) Params() []Param {
	n, w, r, d := a.Heads, a.HeadDim, a.Rank, a.Hidden
	p := []Param{{"q", []int{n * w, d}, Normal}, {"k", []int{w, d}, Normal}, {"k_a", []int{n * r, d}, Normal}, {"v", []int{w, d}, Normal}, {"v_a", []int{n * r, d}, Normal}}
	for _, name := range numbered("k_b", n) {
		p = append(p, Param{name, []int{r, w}, Small})
	}
	for _, name := range numbered("v_b", n) {
		p = append(p, Param{name, []int{w, r}, Small})
	}
	p = append(p, Param{"o", []int{d, n * w}, Output})
	if a.Reads {
		return without(p, "k", "k_a", "v", "v_a")
	}
	return p
}

func (a LRKV) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	return a.Read(o, w, x, pos, a.Rows(o, w, x, pos))
}

func (a LRKV) Rows(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) []tensor.Tensor {
	k := turn(o, linear(o, w, "k", x), 1, a.Rope, pos)
	z := turn(o, linear(o, w, "k_a", x), a.Heads, a.LatentRope, pos)
	return []tensor.Tensor{k, z, linear(o, w, "v", x), linear(o, w, "v_a", x)}
}

func (a LRKV) Read(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, rows []tensor.Tensor) tensor.Tensor {
	n, k, z, v, u := a.Heads, rows[0], rows[1], rows[2], rows[3]
	q := linear(o, w, "q", x)
	ask := turn(o, perHead(o, w, numbered("k_b", n), q), n, a.LatentRope, pos)
	asks, keys := o.HeadConcat(n, turn(o, q, n, a.Rope, pos), ask), o.HeadConcat(n, o.HeadRepeat(k, n), z)
	values := o.Add(o.HeadRepeat(v, n), perHead(o, w, numbered("v_b", n), u))
	return linear(o, w, "o", o.Attend(asks, keys, values, tensor.Attend{Heads: n, KVHeads: n, Scale: a.Scale}))
}

// turn is RoPE from a head's first channel on, where there is any.
func turn(o tensor.Ops, x tensor.Tensor, heads int, r *tensor.Rope, pos []int) tensor.Tensor {
	if r == nil {
		return x
	}
	return o.RoPE(x, rotary(r, heads, 0), pos)
}

// perHead multiplies each head of x [T, heads*in] by a weight [out, in] of its own -> [T, heads*out].
func perHead(o tensor.Ops, w Weights, names []string, x tensor.Tensor) tensor.Tensor {
	width := x.Shape()[1] / len(names)
	heads := make([]tensor.Tensor, len(names))
	for h, name := range names {
		heads[h] = o.MatMul(o.Cols(x, h*width, (h+1)*width), leaf(o, w, name))
	}
	return o.Concat(heads...)
}

type lrkvCached struct {
	LRKV
	in     []*tensor.Linear // q, and, of own rows, the streams in their order: k, k_a, v, v_a
	kb, vb []*tensor.Linear // by head: [r, d_h] and [d_h, r]
	o      *tensor.Linear
}

func (a LRKV) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	b := &binder{w: w, p: p}
	n, width, r, d := a.Heads, a.HeadDim, a.Rank, a.Hidden
	c := &lrkvCached{LRKV: a}
	c.in = []*tensor.Linear{b.linear("q", n*width, d)}
	if !a.Reads {
		c.in = append(c.in, b.linear("k", width, d), b.linear("k_a", n*r, d), b.linear("v", width, d), b.linear("v_a", n*r, d))
	}
	for h, name := range numbered("k_b", n) {
		c.kb = append(c.kb, b.linear(name, r, width))
		c.vb = append(c.vb, b.linear(numbered("v_b", n)[h], width, r))
	}
	c.o = b.linear("o", d, n*width)
	return c, b.err
}

// View: keys are the shared key and the head's latent, values alike.
func (c *lrkvCached) View() kernel.Attention {
	own := func(plane int) kernel.Slice { return kernel.Slice{Plane: plane, To: c.Rank, Own: true} }
	return kernel.Attention{Keys: []kernel.Slice{full(0, c.HeadDim, true), own(1)}, Values: []kernel.Slice{full(2, c.HeadDim, true), own(3)},
		Groups: 1, PerGroup: c.Heads, Scale: float32(c.Scale)}
}

func (c *lrkvCached) Step(s *Step, x tensor.Buf) tensor.Buf {
	var p [5]tensor.Buf // as in
	s.MatMuls(p[:len(c.in)], x, c.in...)
	q, rows := p[0], p[1:len(c.in)]
	ask := s.HeadMatMul(q, c.kb)
	s.RoPE(q, c.Heads, 0, c.Rope)
	s.RoPE(ask, c.Heads, 0, c.LatentRope)
	if !c.Reads {
		s.RoPE(rows[0], 1, 0, c.Rope)
		s.RoPE(rows[1], c.Heads, 0, c.LatentRope)
	}
	for stream, y := range rows {
		s.Put(stream, y)
	}
	z := s.Attend(s.HeadConcat(q, ask, c.Heads))
	y := s.HeadMatMul(s.HeadSlice(z, c.Heads, c.HeadDim, c.HeadDim+c.Rank), c.vb)
	s.Add(y, s.HeadSlice(z, c.Heads, 0, c.HeadDim), 1)
	return s.MatMul(y, c.o)
}
