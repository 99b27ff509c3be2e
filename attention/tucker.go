package attention

import (
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// Tucker is Tucker Attention (arXiv 2603.30033): of all heads together, the matrices between query and key, Wq_h Wk_hᵀ, are one tensor [n, d, d], those between value and output, Wv_h Wo_h,
// another, and each of the two is learned as a small core with a factor matrix on each of its sides.
//
//	before the softmax: core G [r1, r2, r3], factors U1 [n, r1] over heads, U2 [d, r2] over queries, U3 [d, r3] over keys; behind it alike, written with a prime
//	u   = x U2                                       [T, r2]
//	q_h = RoPE(sum_a U1[h,a] u G_a)                  [T, r3]     G_a = G[a,:,:]          h = 1..n heads
//	k   = RoPE(x U3)     v = x U3'                   [T, r3], [T, r3']                   one row for all heads
//	z_h = softmax(s q_h kᵀ) v                        [T, r3']    s = Scale, 1/sqrt d_h of the heads that n and d would give
//	y   = (sum_h sum_a U1'[h,a] z_h G'_aᵀ) U2'ᵀ      [T, d]      G'_a = G'[a,:,:]  [r2', r3']
//
// The rotation is the paper's latent RoPE: it turns all r3 channels of the latent key, and q_h, which lives in the same space; so no rotary key stands beside the latent.
// Ranks (n, d, n d_h) of (r1, r2, r3) make MHA, (n, d, d_h) MQA, (n, d_cq, d_c) MLA with its latent turned.
//
// One token leaves k and v behind: r3 + r3' elements a layer. With SharedKV v = x U3, the key before its rotation: the row is kept as it is, turned when it is read, and r3 elements are all.
//
// Fold: sum_a U1[h,a] G_a is one matrix for each head, known when the model is loaded, and so is sum_a U1'[h,a] G'_a. So decode is n query heads over one row, between two plain products of
// n r2 r3 and n r2' r3' weights (r1 of n in the file; as many where r1 = n).
// Will not do: norms of the latents, a window; with SharedKV a Hadamard rotation of the row (it does not commute with RoPE on reading).
//
// Weights: q_a [r2, d] (U2), q_core [r1 r3, r2] (G), q_heads [n, r1] (U1), k [r3, d] (U3), v [r3', d] (U3', not with SharedKV), o_heads [r1', n] (U1'), o_core [r2', r1' r3'] (G'), o [d, r2'] (U2').
type Tucker struct {
	Hidden, Heads        int // d, n
	HeadRank, QRank      int // r1, r2
	KRank, VRank         int // r3, r3'
	OutHeadRank, OutRank int // r1', r2'
	SharedKV             bool
	Scale                float64
	Rope                 *tensor.Rope
	Reads                bool // the rows are another layer's: no k, v here, but cores and factors of its own
}

func (a Tucker) Reader() Design { a.Reads = true; return a }

func (a Tucker) Layout() kvcache.Layout {
	if a.Reads {
		return noRows
	}
	if a.SharedKV {
		return kvcache.Layout{Streams: []kvcache.Stream{{Name: "kv", Heads: 1, Width: a.KRank, Role: kvcache.Both, Rope: kvcache.Before}}}
	}
	return kvcache.Layout{Streams: []kvcache.Stream{
		{Name: "k", Heads: 1, Width: a.KRank, Role: kvcache.Key, Rope: kvcache.After},
		{Name: "v", Heads: 1, Width: a.VRank, Role: kvcache.Value, Rope: kvcache.None},
	}}
}

func (a Tucker) Params() []Param {
	d, n := a.Hidden, a.Heads
	p := []Param{{"q_a", []int{a.QRank, d}, Normal}, {"q_core", []int{a.HeadRank * a.KRank, a.QRank}, Normal}, {"q_heads", []int{n, a.HeadRank}, Normal}, {"k", []int{a.KRank, d}, Normal}}
	if !a.SharedKV {
		p = append(p, Param{"v", []int{a.VRank, d}, Normal})
	}
	p = append(p, Param{"o_heads", []int{a.OutHeadRank, n}, Normal}, Param{"o_core", []int{a.OutRank, a.OutHeadRank * a.VRank}, Normal}, Param{"o", []int{d, a.OutRank}, Output})
	if a.Reads {
		return without(p, "k", "v")
	}
	return p
}

func (a Tucker) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	return a.Read(o, w, x, pos, a.Rows(o, w, x, pos))
}

func (a Tucker) Rows(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) []tensor.Tensor {
	k := linear(o, w, "k", x)
	if a.SharedKV {
		return []tensor.Tensor{k}
	}
	return []tensor.Tensor{turn(o, k, 1, a.Rope, pos), linear(o, w, "v", x)}
}

func (a Tucker) Read(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, rows []tensor.Tensor) tensor.Tensor {
	u := linear(o, w, "q_a", x)
	q := o.Outer(everyRow(o, w, "q_heads", len(pos)), linear(o, w, "q_core", u), a.Heads, a.HeadRank, 1)
	k, v := rows[0], rows[len(rows)-1]
	if a.SharedKV {
		k = turn(o, k, 1, a.Rope, pos)
	}
	z := o.Attend(turn(o, q, a.Heads, a.Rope, pos), k, v, tensor.Attend{Heads: a.Heads, KVHeads: 1, Scale: a.Scale})
	z = o.Outer(everyRow(o, w, "o_heads", len(pos)), z, a.OutHeadRank, a.Heads, 1)
	return linear(o, w, "o", linear(o, w, "o_core", z))
}

// everyRow is a whole weight as a row of numbers, the same for each of T tokens: factors over heads are the same for all.
func everyRow(o tensor.Ops, w Weights, name string, T int) tensor.Tensor {
	t, ok := w.Get(name)
	if !ok {
		panic("attention: no weight " + name)
	}
	t.Shape = []int{1, t.Rows() * t.Cols()}
	return o.Embed(o.Weight(t), make([]int32, T))
}

type tuckerCached struct {
	Tucker
	in       []*tensor.Linear // q_a, and, of own rows, k, v
	q, z, o  *tensor.Linear   // the folded cores, [n r3, r2] and [r2', n r3'], and U2'
	rotation *kernel.Rotation // SharedKV
}

func (a Tucker) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	b := &binder{w: w, p: p}
	c := &tuckerCached{Tucker: a}
	c.in = []*tensor.Linear{b.linear("q_a", a.QRank, a.Hidden)}
	if !a.Reads {
		c.in = append(c.in, b.linear("k", a.KRank, a.Hidden))
	}
	if a.SharedKV {
		var err error
		if c.rotation, err = onReading("tucker", a.Rope, a.KRank, "one row for keys and values turns whole, forwards, without an attention factor or rounding"); err != nil {
			return nil, err
		}
	} else if !a.Reads {
		c.in = append(c.in, b.linear("v", a.VRank, a.Hidden))
	}
	c.fold(b)
	c.o = b.linear("o", a.Hidden, a.OutRank)
	return c, b.err
}

// fold applies the factors over heads to the cores: row (h, c) of the query side is sum_a U1[h,a] G[a,:,c], column (h, c) of the output side sum_a U1'[h,a] G'[a,:,c].
func (c *tuckerCached) fold(b *binder) {
	n, r1, r2, r3 := c.Heads, c.HeadRank, c.QRank, c.KRank
	core, heads := b.floats("q_core", r1*r3, r2), b.floats("q_heads", n, r1)
	q := make([]float32, n*r3*r2)
	for h := range n {
		mix(q[h*r3*r2:][:r3*r2], core, heads[h*r1:][:r1])
	}
	c.q = b.folded(n*r3, r2, q)

	r1, r2, r3 = c.OutHeadRank, c.OutRank, c.VRank
	core, heads = b.floats("o_core", r2, r1*r3), b.floats("o_heads", r1, n)
	z := make([]float32, r2*n*r3)
	for i := range r2 {
		for h := range n {
			by := make([]float32, r1) // column h of U1'ᵀ
			for a := range by {
				by[a] = heads[a*n+h]
			}
			mix(z[(i*n+h)*r3:][:r3], core[i*r1*r3:][:r1*r3], by)
		}
	}
	c.z = b.folded(r2, n*r3, z)
}

// mix sets y to the sum of by[a] x_a, x being as many blocks of len(y).
func mix(y, x, by []float32) {
	for i := range y {
		sum := 0.0
		for a, f := range by {
			sum += float64(f) * float64(x[a*len(y)+i])
		}
		y[i] = float32(sum)
	}
}

func (c *tuckerCached) View() kernel.Attention {
	key, value := full(0, c.KRank, true), full(1, c.VRank, true)
	if c.SharedKV {
		value = key
		key.Rotate = true
	}
	return kernel.Attention{Keys: []kernel.Slice{key}, Values: []kernel.Slice{value}, Groups: 1, PerGroup: c.Heads, Scale: float32(c.Scale), Rotation: c.rotation}
}

func (c *tuckerCached) Step(s *Step, x tensor.Buf) tensor.Buf {
	var p [3]tensor.Buf // as in
	s.MatMuls(p[:len(c.in)], x, c.in...)
	rows := p[1:len(c.in)]
	if !c.Reads && !c.SharedKV {
		s.RoPE(rows[0], 1, 0, c.Rope)
	}
	for stream, y := range rows {
		s.Put(stream, y)
	}
	q := s.MatMul(p[0], c.q)
	s.RoPE(q, c.Heads, 0, c.Rope)
	return s.MatMul(s.MatMul(s.Attend(q), c.z), c.o)
}
