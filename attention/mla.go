package attention

import (
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// MLA is Multi-head Latent Attention (DeepSeek-V2, arXiv 2405.04434, section 2.1; also MiniCPM3).
//
//	c_q          = RMSNorm(x Wqa)              [T, r_q]      or none: then q comes from x
//	[q_h ; qr_h] = c_q Wqb_h                   [T, d_n + d_R]  content and rotary part, qr turned
//	[a ; kr]     = x Wkva                      [T, r + d_R]    kr is one rotary key for all heads, turned
//	c            = RMSNorm(a) s_kv             [T, r]          the latent
//	[k_h ; v_h]  = c Wkvb_h                    [T, d_n + d_v]
//	o_h = softmax(s ([q_h ; qr_h] [k_h ; kr]ᵀ)) v_h            s = Scale, 1/sqrt(d_n + d_R) and YaRN's factor
//	y   = concat(o_1..o_n) Wo
//
// One token leaves c and kr behind: r + d_R elements a layer.
//
// Fold: k_h = c Wuk_h, so q_h . k_h = (q_h Wuk_hᵀ) . c       the latent itself is the key
//
//	v_h = c Wuv_h, so sum_t p_t v_h,t = (sum_t p_t c_t) Wuv_h   and the value is the same bytes
//
// Legal only because neither rotation nor norm stands between c and Wuk, Wuv. After folding decode is n query heads over one row [c ; kr].
// Norms of the latents have an eps of their own (1e-6 in the public code). QScale and KVScale rescale the normed latents (MLRA's code: sqrt(d/r)); 1 elsewhere.
//
// Weights: q [n(d_n+d_R), d], or q_a [r_q, d], q_a_norm [r_q], q_b [n(d_n+d_R), r_q]; kv_a [r+d_R, d], kv_a_norm [r], kv_b [n(d_n+d_v), r], o [d, n d_v].
type MLA struct {
	Hidden, Heads               int
	QRank, KVRank               int // r_q (0 = none), r
	Nope, RopeDim, ValueDim     int // d_n, d_R, d_v
	Scale, QScale, KVScale, Eps float64
	Rope                        *tensor.Rope
}

func (a MLA) Layout() kvcache.Layout {
	return kvcache.Layout{Streams: []kvcache.Stream{
		{Name: "latent", Heads: 1, Width: a.KVRank, Role: kvcache.Both, Rope: kvcache.None},
		{Name: "rope", Heads: 1, Width: a.RopeDim, Role: kvcache.Key, Rope: kvcache.After},
	}}
}

func (a MLA) Params() []Param {
	n, r := a.Heads, a.KVRank
	q := []Param{{"q", []int{n * (a.Nope + a.RopeDim), a.Hidden}, Normal}}
	if a.QRank > 0 {
		q = []Param{{"q_a", []int{a.QRank, a.Hidden}, Normal}, {"q_a_norm", []int{a.QRank}, Ones}, {"q_b", []int{n * (a.Nope + a.RopeDim), a.QRank}, Normal}}
	}
	return append(q, Param{"kv_a", []int{r + a.RopeDim, a.Hidden}, Normal}, Param{"kv_a_norm", []int{r}, Ones},
		Param{"kv_b", []int{n * (a.Nope + a.ValueDim), r}, Normal}, Param{"o", []int{a.Hidden, n * a.ValueDim}, Output})
}

func (a MLA) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	n := a.Heads
	q := x
	if a.QRank > 0 {
		c := o.RMSNorm(linear(o, w, "q_a", x), leaf(o, w, "q_a_norm"), tensor.Norm{Eps: a.Eps})
		q = linear(o, w, "q_b", o.Scale(c, a.QScale))
	} else {
		q = linear(o, w, "q", x)
	}
	q = o.RoPE(q, rotary(a.Rope, n, a.Nope), pos)
	down := linear(o, w, "kv_a", x)
	c := o.Scale(o.RMSNorm(o.Cols(down, 0, a.KVRank), leaf(o, w, "kv_a_norm"), tensor.Norm{Eps: a.Eps}), a.KVScale)
	kr := o.RoPE(o.Cols(down, a.KVRank, a.KVRank+a.RopeDim), rotary(a.Rope, 1, 0), pos)
	kv := linear(o, w, "kv_b", c)
	k := o.HeadConcat(n, o.HeadSlice(kv, n, 0, a.Nope), o.HeadRepeat(kr, n))
	v := o.HeadSlice(kv, n, a.Nope, a.Nope+a.ValueDim)
	return linear(o, w, "o", o.Attend(q, k, v, tensor.Attend{Heads: n, KVHeads: n, Scale: a.Scale}))
}

type mlaCached struct {
	MLA
	q, qa, qb, kva, o *tensor.Linear
	uk, uv            []*tensor.Linear // by head: [r, d_n] and [d_v, r]
	qNorm, kvNorm     *tensor.Vector
}

func (a MLA) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	b := &binder{w: w, p: p}
	c := &mlaCached{MLA: a}
	n, dn, dv, r := a.Heads, a.Nope, a.ValueDim, a.KVRank
	if a.QRank > 0 {
		c.qa, c.qNorm = b.linear("q_a", a.QRank, a.Hidden), b.vector("q_a_norm", a.QRank)
		c.qb = b.linear("q_b", n*(dn+a.RopeDim), a.QRank)
	} else {
		c.q = b.linear("q", n*(dn+a.RopeDim), a.Hidden)
	}
	c.kva, c.kvNorm = b.linear("kv_a", r+a.RopeDim, a.Hidden), b.vector("kv_a_norm", r)
	kvb := b.floats("kv_b", n*(dn+dv), r)
	for h := 0; h < n; h++ {
		rows := kvb[h*(dn+dv)*r:][:(dn+dv)*r]
		uk := make([]float32, r*dn) // transposed: y [r] = q [d_n] Wuk
		for i := 0; i < dn; i++ {
			for j := 0; j < r; j++ {
				uk[j*dn+i] = rows[i*r+j]
			}
		}
		c.uk = append(c.uk, b.folded(r, dn, uk))
		c.uv = append(c.uv, b.folded(dv, r, rows[dn*r:]))
	}
	c.o = b.linear("o", a.Hidden, n*dv)
	return c, b.err
}

func (c *mlaCached) View() kernel.Attention {
	return kernel.Attention{Keys: []kernel.Slice{full(0, c.KVRank, true), full(1, c.RopeDim, true)}, Values: []kernel.Slice{full(0, c.KVRank, true)},
		Groups: 1, PerGroup: c.Heads, Scale: float32(c.Scale)}
}

func (c *mlaCached) Step(s *Step, x tensor.Buf) tensor.Buf {
	n := c.Heads
	var q, down tensor.Buf
	if c.QRank > 0 {
		var p [2]tensor.Buf
		s.MatMuls(p[:], x, c.qa, c.kva)
		cq := s.RMSNorm(p[0], c.qNorm, tensor.Norm{Eps: c.Eps})
		s.Scale(cq, c.QScale)
		q, down = s.MatMul(cq, c.qb), p[1]
	} else {
		var p [2]tensor.Buf
		s.MatMuls(p[:], x, c.q, c.kva)
		q, down = p[0], p[1]
	}
	s.RoPE(q, n, c.Nope, c.Rope)
	latent := s.RMSNorm(s.Cols(down, 0, c.KVRank), c.kvNorm, tensor.Norm{Eps: c.Eps})
	s.Scale(latent, c.KVScale)
	kr := s.Cols(down, c.KVRank, c.KVRank+c.RopeDim)
	s.RoPE(kr, 1, 0, c.Rope)
	s.Put(0, latent)
	s.Put(1, kr)
	content := s.HeadMatMul(s.HeadSlice(q, n, 0, c.Nope), c.uk)
	z := s.Attend(s.HeadConcat(content, s.HeadSlice(q, n, c.Nope, c.Nope+c.RopeDim), n))
	return s.MatMul(s.HeadMatMul(z, c.uv), c.o)
}
