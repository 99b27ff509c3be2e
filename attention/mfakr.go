package attention

import (
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// MFAKR is MFA with Key Reuse (arXiv 2412.19255, section 3.3): the value is made from the key. Two forms, by where the rotation acts; both leave C elements a layer, half of MFA's.
//
// The paper's values (`values` is "paper", the default):
//
//	q_h  as in MFA
//	k    = x Sk                     [T, C]   before RoPE: the only thing stored
//	v    = k + alpha ∘ (k Nᵀ)       [T, C]   alpha [C] starts at 0, N [C, C]: so v = k at the start
//	o_h  = softmax(q_h RoPE(k)ᵀ / sqrt C) v
//	y    = concat(o_1..o_m) Wo
//
// The paper's S_v = S_k + alpha ∘ N S_k projects x, hence v comes from the key before rotation; so the row is kept before RoPE and turned when it is read.
//
// Fold: v_t = M k_t with M = I + diag(alpha) N, the same for every token, so sum_t p_t v_t = M (sum_t p_t k_t) and Wo_h M replaces Wo_h: the value is the raw row.
// Will not do: a Hadamard rotation of the row (it does not commute with RoPE on reading).
//
// Relative values (`values` is "relative"; ours): the rotated key is the value too, and each head's mix is turned back at the query's position, so values turn with distance. R(t) is the rotation at position t:
//
//	k     = RoPE(x Sk)                                             [T, C]   the only thing stored
//	o_t,h = R(-t) sum_s p_ts,h R(s) (x_s Sk) = sum_s p_ts,h R(s-t) (x_s Sk)
//
// Nothing is turned on reading and nothing folds: decode is m query heads over one row that is key and value, and a turn of the mix, which costs what the query's does. A matrix behind the sum would be
// part of Wo_h; one before it (v = R(s) M k) would stand between the row and its rotation, be applied to every row that is read, and cost the fold: neither is here.
//
// Weights: as MFA without v; for the paper's values also alpha [C], n [C, C]. A layer that reads another's rows has alpha and n of its own: they cost no cache.
type MFAKR struct {
	MFA
	Back *tensor.Rope // relative values: the inverse of Rope; nil: the paper's
}

func (a MFAKR) Reader() Design { a.Reads = true; return a }

func (a MFAKR) Layout() kvcache.Layout {
	if a.Reads {
		return noRows
	}
	rope := kvcache.Before
	if a.Back != nil {
		rope = kvcache.After
	}
	return kvcache.Layout{Streams: []kvcache.Stream{{Name: "k", Heads: 1, Width: a.HeadDim, Role: kvcache.Both, Rope: rope}}}
}

func (a MFAKR) Params() []Param {
	C := a.HeadDim
	p := append(a.queryParams(), Param{"k", []int{C, a.Hidden}, Normal}, Param{"alpha", []int{C}, Zeros}, Param{"n", []int{C, C}, Normal},
		Param{"o", []int{a.Hidden, a.Heads * C}, Output})
	if a.Back != nil {
		p = without(p, "alpha", "n")
	}
	if a.Reads {
		p = without(p, "k")
	}
	return p
}

func (a MFAKR) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	return a.Read(o, w, x, pos, a.Rows(o, w, x, pos))
}

func (a MFAKR) Rows(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) []tensor.Tensor {
	k := linear(o, w, "k", x)
	if a.Back != nil {
		k = o.RoPE(k, rotary(a.Rope, 1, 0), pos)
	}
	return []tensor.Tensor{k}
}

func (a MFAKR) Read(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, rows []tensor.Tensor) tensor.Tensor {
	q, raw, spec := a.query(o, w, x, pos), rows[0], tensor.Attend{Heads: a.Heads, KVHeads: 1, Scale: a.Scale}
	if a.Back != nil {
		return linear(o, w, "o", o.RoPE(o.Attend(q, raw, raw, spec), rotary(a.Back, a.Heads, 0), pos))
	}
	k := o.RoPE(raw, rotary(a.Rope, 1, 0), pos)
	v := o.Add(raw, o.MulRow(o.MatMul(raw, leaf(o, w, "n")), leaf(o, w, "alpha")))
	return linear(o, w, "o", o.Attend(q, k, v, spec))
}

type mfakrCached struct {
	MFAKR
	query    mfaQuery
	k, o     *tensor.Linear
	rotation *kernel.Rotation // of rows on reading; nil: they are stored turned
}

func (a MFAKR) Bind(w Weights, p *tensor.Packer) (_ Cached, err error) {
	b := &binder{w: w, p: p}
	c := &mfakrCached{MFAKR: a, query: a.bindQuery(b)}
	if !a.Reads {
		c.k = b.linear("k", a.HeadDim, a.Hidden)
	}
	if a.Back != nil {
		c.o = b.linear("o", a.Hidden, a.Heads*a.HeadDim)
		return c, b.err
	}
	if c.rotation, err = onReading("mfa-kr", a.Rope, a.HeadDim, "MFA-KR turns whole keys, forwards, without an attention factor or rounding; with relative values it needs none of these"); err != nil {
		return nil, err
	}
	c.o = a.foldedOutput(b)
	return c, b.err
}

// foldedOutput is Wo with M behind each head.
func (a MFAKR) foldedOutput(b *binder) *tensor.Linear {
	C, d := a.HeadDim, a.Hidden
	wo, n, alpha := b.floats("o", d, a.Heads*C), b.floats("n", C, C), b.floats("alpha", C)
	folded := make([]float32, len(wo))
	for i := 0; i < d*a.Heads; i++ { // row i of [d*m, C]: wo_h M
		for j := 0; j < C; j++ {
			sum := float64(wo[i*C+j])
			for l := 0; l < C; l++ {
				sum += float64(wo[i*C+l]) * float64(alpha[l]) * float64(n[l*C+j])
			}
			folded[i*C+j] = float32(sum)
		}
	}
	return b.folded(d, a.Heads*C, folded)
}

func (c *mfakrCached) View() kernel.Attention {
	key := full(0, c.HeadDim, true)
	key.Rotate = c.rotation != nil
	return kernel.Attention{Keys: []kernel.Slice{key}, Values: []kernel.Slice{full(0, c.HeadDim, true)}, Groups: 1, PerGroup: c.Heads, Scale: float32(c.Scale), Rotation: c.rotation}
}

func (c *mfakrCached) Step(s *Step, x tensor.Buf) tensor.Buf {
	var p [2]tensor.Buf // the query's bottleneck, k
	if c.Reads {
		p[0] = s.MatMul(x, c.query.qa)
	} else {
		s.MatMuls(p[:], x, c.query.qa, c.k)
		if c.Back != nil {
			s.RoPE(p[1], 1, 0, c.Rope)
		}
		s.Put(0, p[1])
	}
	z := s.Attend(c.query.step(s, c.MFA, p[0]))
	s.RoPE(z, c.Heads, 0, c.Back)
	return s.MatMul(z, c.o)
}

// onReading is the rotation of rows of this width that are stored as they are and turned when they are read; what such rows cannot do is refused.
func onReading(design string, r *tensor.Rope, width int, wayOut string) (*kernel.Rotation, error) {
	if r.Sign < 0 || r.Factor != 0 && r.Factor != 1 || 2*len(r.InvFreq) != width || r.BF16 {
		return nil, unsupported(design, "rope", *r, wayOut)
	}
	return kernel.NewRotation(r.InvFreq, r.Pairs), nil
}
