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
// CLLA (arXiv 2410.15252) is MLA in which a layer reads the latent of the one below with up-projections of its own (sharing.go). CLLA-quant trains it as the cache stores it, in q4,
// c = decode(encode(c)), with a gradient that goes straight through.
//
// Weights: q [n(d_n+d_R), d], or q_a [r_q, d], q_a_norm [r_q], q_b [n(d_n+d_R), r_q]; kv_a [r+d_R, d], kv_a_norm [r], kv_b [n(d_n+d_v), r], o [d, n d_v].
type MLA struct {
	Hidden, Heads               int
	QRank, KVRank               int // r_q (0 = none), r
	Nope, RopeDim, ValueDim     int // d_n, d_R, d_v
	Scale, QScale, KVScale, Eps float64
	Stored                      string // the type in which the latent is trained and stored, "q4" (CLLA-quant); "": the run's choice
	Rope                        *tensor.Rope
	Reads                       bool // the rows are another layer's: no kv_a, kv_a_norm here, but a kv_b of its own (CLLA, arXiv 2410.15252)
}

func (a MLA) Reader() Design { a.Reads = true; return a }

func (a MLA) Layout() kvcache.Layout {
	if a.Reads {
		return noRows
	}
	return kvcache.Layout{Streams: []kvcache.Stream{
		{Name: "latent", Heads: 1, Width: a.KVRank, Role: kvcache.Both, Rope: kvcache.None, Fixed: a.Stored},
		{Name: "rope", Heads: 1, Width: a.RopeDim, Role: kvcache.Key, Rope: kvcache.After},
	}}
}

func (a MLA) Params() []Param {
	n, r := a.Heads, a.KVRank
	p := append(a.downParams(), Param{"kv_a_norm", []int{r}, Ones}, Param{"kv_b", []int{n * (a.Nope + a.ValueDim), r}, Normal}, Param{"o", []int{a.Hidden, n * a.ValueDim}, Output})
	if a.Reads {
		return without(p, "kv_a", "kv_a_norm")
	}
	return p
}

// downParams are the weights of queries and of what goes down to the row.
func (a MLA) downParams() []Param {
	q := []Param{{"q", []int{a.Heads * (a.Nope + a.RopeDim), a.Hidden}, Normal}}
	if a.QRank > 0 {
		q = []Param{{"q_a", []int{a.QRank, a.Hidden}, Normal}, {"q_a_norm", []int{a.QRank}, Ones}, {"q_b", []int{a.Heads * (a.Nope + a.RopeDim), a.QRank}, Normal}}
	}
	return append(q, Param{"kv_a", []int{a.KVRank + a.RopeDim, a.Hidden}, Normal})
}

func (a MLA) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	return a.Read(o, w, x, pos, a.Rows(o, w, x, pos))
}

func (a MLA) Rows(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) []tensor.Tensor {
	c, kr := a.down(o, w, x, pos, "kv_a_norm")
	if codec, ok := kernel.CodecOf(a.Stored); ok { // what every query meets is what the cache gives back
		c[0] = o.Stored(c[0], 1, codec)
	}
	return []tensor.Tensor{c[0], kr}
}

func (a MLA) Read(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, rows []tensor.Tensor) tensor.Tensor {
	q := a.query(o, w, x, pos)
	k, v := a.up(o, w, "kv_b", a.Heads, rows[0], rows[1])
	y := o.Attend(q, k, v, tensor.Attend{Heads: a.Heads, KVHeads: a.Heads, Scale: a.Scale})
	return linear(o, w, "o", y)
}

// query is [q_h ; qr_h] of all heads.
func (a MLA) query(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	var q tensor.Tensor
	if a.QRank > 0 {
		c := o.RMSNorm(linear(o, w, "q_a", x), leaf(o, w, "q_a_norm"), tensor.Norm{Eps: a.Eps})
		q = linear(o, w, "q_b", o.Scale(c, a.QScale))
	} else {
		q = linear(o, w, "q", x)
	}
	return o.RoPE(q, rotary(a.Rope, a.Heads, a.Nope), pos)
}

// down is the row: as many latents as there are norms, and kr.
func (a MLA) down(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, norms ...string) (c []tensor.Tensor, kr tensor.Tensor) {
	y, r := linear(o, w, "kv_a", x), a.KVRank/len(norms)
	for j, norm := range norms {
		c = append(c, o.Scale(o.RMSNorm(o.Cols(y, j*r, (j+1)*r), leaf(o, w, norm), tensor.Norm{Eps: a.Eps}), a.KVScale))
	}
	return c, o.RoPE(o.Cols(y, a.KVRank, a.KVRank+a.RopeDim), rotary(a.Rope, 1, 0), pos)
}

// up makes the keys and values of some heads from their latent.
func (a MLA) up(o tensor.Ops, w Weights, name string, heads int, c, kr tensor.Tensor) (k, v tensor.Tensor) {
	kv := o.MatMul(c, leaf(o, w, name)) // no bias, which does not fold; MTLA's public code stores one and does not use it
	return o.HeadConcat(heads, o.HeadSlice(kv, heads, 0, a.Nope), o.HeadRepeat(kr, heads)), o.HeadSlice(kv, heads, a.Nope, a.Nope+a.ValueDim)
}

// mlaCached is the cached step of MLA, and of GLA, whose heads read one of several latents.
type mlaCached struct {
	MLA
	latents           int
	q, qa, qb, kva, o *tensor.Linear
	uk, uv            []*tensor.Linear // by head: [r, d_n] and [d_v, r]
	qNorm, kvNorm     *tensor.Vector
}

func (a MLA) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	b := &binder{w: w, p: p}
	c := a.bind(b, "kv_a_norm")
	c.fold(b, "kv_b", a.Heads, 1)
	return &c, b.err
}

// bind packs all but the up-projections.
func (a MLA) bind(b *binder, norms ...string) mlaCached {
	c := mlaCached{MLA: a, latents: len(norms)}
	n := a.Heads * (a.Nope + a.RopeDim)
	if a.QRank > 0 {
		c.qa, c.qNorm, c.qb = b.linear("q_a", a.QRank, a.Hidden), b.vector("q_a_norm", a.QRank), b.linear("q_b", n, a.QRank)
	} else {
		c.q = b.linear("q", n, a.Hidden)
	}
	if !a.Reads {
		c.kva, c.kvNorm = b.linear("kv_a", a.KVRank+a.RopeDim, a.Hidden), b.vectors(norms, a.KVRank/len(norms))
	}
	c.o = b.linear("o", a.Hidden, a.Heads*a.ValueDim)
	return c
}

// fold cuts the up-projection of some heads by head: Wuk moves to the query, Wuv, times scale, to the output.
func (c *mlaCached) fold(b *binder, name string, heads int, scale float64) {
	c.foldUp(b, b.floats(name, heads*(c.Nope+c.ValueDim), c.KVRank/c.latents), heads, scale)
}

// foldUp is fold of an up-projection in floats, which it may change.
func (c *mlaCached) foldUp(b *binder, up []float32, heads int, scale float64) {
	dn, dv, r := c.Nope, c.ValueDim, c.KVRank/c.latents
	for h := 0; h < heads; h++ {
		rows := up[h*(dn+dv)*r:][:(dn+dv)*r]
		uk, uv := make([]float32, r*dn), rows[dn*r:]
		for i := 0; i < dn; i++ { // transposed: y [r] = q [d_n] Wuk
			for j := 0; j < r; j++ {
				uk[j*dn+i] = rows[i*r+j]
			}
		}
		for i := range uv {
			uv[i] *= float32(scale)
		}
		c.uk, c.uv = append(c.uk, b.folded(r, dn, uk)), append(c.uv, b.folded(dv, r, uv))
	}
}

func (c *mlaCached) View() kernel.Attention {
	r := c.KVRank / c.latents
	return kernel.Attention{Keys: []kernel.Slice{full(0, r, false), full(1, c.RopeDim, true)}, Values: []kernel.Slice{full(0, r, false)},
		Groups: c.latents, PerGroup: len(c.uk) / c.latents, Scale: float32(c.Scale)}
}

func (c *mlaCached) Step(s *Step, x tensor.Buf) tensor.Buf {
	return s.MatMul(c.attend(s, c.project(s, x)), c.o)
}

// project puts the new tokens' rows, if they are this layer's, and returns their queries, turned.
func (c *mlaCached) project(s *Step, x tensor.Buf) tensor.Buf {
	first := c.q
	if c.QRank > 0 {
		first = c.qa
	}
	var p [2]tensor.Buf
	q, down := &p[0], &p[1]
	if c.Reads {
		*q = s.MatMul(x, first)
	} else {
		s.MatMuls(p[:], x, first, c.kva)
	}
	if c.QRank > 0 {
		cq := s.RMSNorm(*q, c.qNorm, tensor.Norm{Eps: c.Eps})
		s.Scale(cq, c.QScale)
		*q = s.MatMul(cq, c.qb)
	}
	s.RoPE(*q, c.Heads, c.Nope, c.Rope)
	if c.Reads {
		return *q
	}
	latent := s.RMSNorm(s.Cols(*down, 0, c.KVRank), c.kvNorm, tensor.Norm{Eps: c.Eps, Groups: c.latents})
	s.Scale(latent, c.KVScale)
	kr := s.Cols(*down, c.KVRank, c.KVRank+c.RopeDim)
	s.RoPE(kr, 1, 0, c.Rope)
	s.Put(0, latent)
	s.Put(1, kr)
	return *q
}

// attend takes the queries of all folded heads through the cache: [rows, heads*d_v].
func (c *mlaCached) attend(s *Step, q tensor.Buf) tensor.Buf {
	n := len(c.uk)
	content := s.HeadMatMul(s.HeadSlice(q, n, 0, c.Nope), c.uk)
	z := s.Attend(s.HeadConcat(content, s.HeadSlice(q, n, c.Nope, c.Nope+c.RopeDim), n))
	return s.HeadMatMul(z, c.uv)
}
