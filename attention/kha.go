package attention

import (
	"slices"

	"github.com/lowkeylm/lowkey/tensor"
)

// KHA is Knocking-Heads Attention (arXiv 2510.23052) on top of GQA and its two ends: transforms common to all heads stand behind the projections, so that what one head learns reaches the others.
//
//	linear   q_h = x Wq_h Tq     k_g = x Wk_g Tk     v_g = x Wv_g Tv          Tq, Tk [d_h, d_h], Tv [d_v, d_v]: one for all heads
//	MLP      q_h = x Wq_h        k_g = x Wk_g        v_g = 2 (a Wup ∘ σ(a Wgate)) Wdown       a = x Wv_g; all three [d_v, d_v]
//	then     norms of q and k, RoPE and attention as in GQA
//
// Tq, Tk, Tv, Wup and Wdown start as the identity and Wgate as 0, so both start as GQA does: 2 σ(0) = 1. Gates alone, without Wup and Wdown, do harm (the paper: +0.06 of loss).
// KHA is no smaller: one token leaves k and v behind, 2 n_kv d_h elements a layer as in GQA. It is there to win back what few KV heads lose.
//
// Fold, linear: Wq_h Tq is one matrix, biases alike; legal because T stands before the norms and RoPE. The bound design is GQA, and nothing of KHA is left.
// MLP: not linear, so it does not fold; it acts on values before they are cached, once a token: decode reads GQA's rows, and the step costs 6 n_kv d_v² operations more.
// Will not do: an MLP for queries and keys; an MLP on MLA, whose values must stay linear in the latent (see KHAMLA).
//
// Weights: as GQA; linear t_q, t_k, t_v, MLP v_up, v_gate, v_down: each [width, width] as [out, in], that is Tqᵀ and so on.
type KHA struct {
	GQA
	MLP bool
}

func (a KHA) Reader() Design { a.Reads = true; return a }

func (a KHA) Params() []Param {
	dk, dv := []int{a.HeadDim, a.HeadDim}, []int{a.ValueDim, a.ValueDim}
	p := a.GQA.Params()
	if a.MLP {
		p = append(p, Param{"v_up", dv, Identity}, Param{"v_gate", dv, Zeros}, Param{"v_down", dv, Identity})
	} else {
		p = append(p, Param{"t_q", dk, Identity}, Param{"t_k", dk, Identity}, Param{"t_v", dv, Identity})
	}
	if a.Reads {
		return without(p, "t_k", "t_v", "v_up", "v_gate", "v_down")
	}
	return p
}

func (a KHA) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	return a.Read(o, w, x, pos, a.Rows(o, w, x, pos))
}

func (a KHA) Rows(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) []tensor.Tensor {
	k, v := linear(o, w, "k", x), linear(o, w, "v", x)
	if a.MLP {
		up, gate := knock(o, w, "v_up", v, a.KVHeads), knock(o, w, "v_gate", v, a.KVHeads)
		v = o.Scale(knock(o, w, "v_down", o.Mul(up, o.Sigmoid(gate)), a.KVHeads), 2)
	} else {
		k, v = knock(o, w, "t_k", k, a.KVHeads), knock(o, w, "t_v", v, a.KVHeads)
	}
	return []tensor.Tensor{a.place(o, w, "k", a.KVHeads, k, pos), v}
}

func (a KHA) Read(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, rows []tensor.Tensor) tensor.Tensor {
	q := linear(o, w, "q", x)
	if !a.MLP {
		q = knock(o, w, "t_q", q, a.Heads)
	}
	return a.mix(o, w, a.place(o, w, "q", a.Heads, q, pos), rows)
}

// knock multiplies every head of x by the same weight.
func knock(o tensor.Ops, w Weights, name string, x tensor.Tensor, heads int) tensor.Tensor {
	return perHead(o, w, slices.Repeat([]string{name}, heads), x)
}

// Bind folds the linear form into GQA's own weights.
func (a KHA) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	b := &binder{w: w, p: p}
	if a.MLP && a.Reads { // the layer that is read has transformed its values
		return a.GQA.Bind(w, p)
	}
	if a.MLP {
		c := &khaCached{gqaCached: a.bind(b, b.linear)}
		dv := a.ValueDim
		c.up, c.gate, c.down = b.linear("v_up", dv, dv), b.linear("v_gate", dv, dv), b.linear("v_down", dv, dv)
		return c, b.err
	}
	c := a.bind(b, func(name string, out, in int) *tensor.Linear {
		width := a.HeadDim
		if name == "v" {
			width = a.ValueDim
		}
		t, x := b.floats("t_"+name, width, width), b.floats(name, out, in)
		var bias *tensor.Weight
		if v, ok := w.Get(name + ".bias"); ok && b.err == nil {
			y := v.Float32s()
			through(t, y, width, 1)
			v = tensor.FloatWeight(v.Name, 1, out, y)
			bias = &v
		}
		through(t, x, width, in)
		return b.packed(name, out, in, x, bias)
	})
	return &c, b.err
}

// packed packs a matrix that was made here, quantised if the file's would be.
func (b *binder) packed(name string, out, in int, x []float32, bias *tensor.Weight) *tensor.Linear {
	if b.err != nil {
		return nil
	}
	l, err := b.p.Linear(tensor.FloatWeight(name, out, in, x), bias)
	if err != nil {
		b.fail(err)
	}
	return l
}

// through replaces every block of `width` rows of x [.., cols] by t [width, width] times it.
func through(t, x []float32, width, cols int) {
	y := make([]float64, width*cols)
	for ; len(x) >= width*cols; x = x[width*cols:] {
		clear(y)
		for i := range width {
			for j := range width {
				f, row := float64(t[i*width+j]), x[j*cols:][:cols]
				for c, v := range row {
					y[i*cols+c] += f * float64(v)
				}
			}
		}
		for i, v := range y {
			x[i] = float32(v)
		}
	}
}

// khaCached is GQA whose values pass an MLP before they are cached.
type khaCached struct {
	gqaCached
	up, gate, down *tensor.Linear
}

func (c *khaCached) Step(s *Step, x tensor.Buf) tensor.Buf {
	var p [3]tensor.Buf
	s.MatMuls(p[:], x, c.q, c.k, c.v)
	var g [2]tensor.Buf
	s.MatMuls(g[:], p[2].Split(c.KVHeads), c.gate, c.up)
	v := s.MatMul(s.Gated(g[0], g[1], tensor.Sigmoid), c.down)
	s.Scale(v, 2)
	return c.attend(s, p[0], p[1], v.Join(c.KVHeads))
}

// KHAMLA is the linear form on top of MLA: Tq on the content part of queries, Tk on that of keys, Tv on values. What is rotary passes: kr is one for all heads, and a transform of it would be
// part of Wkva.
//
//	q_h = c_q Wq_h Tq     k_h = c Wuk_h Tk     v_h = c Wuv_h Tv         Tq, Tk [d_n, d_n], Tv [d_v, d_v]
//
// Fold: q_h . k_h = (c_q Wq_h) (Tq Tkᵀ Wuk_hᵀ) . c, so the product of both joins MLA's Wuk and Tv its Wuv. The bound design is MLA, its row c and kr.
// An MLP of values cannot be: v_h would no longer be linear in c, and the cache would have to hold it.
//
// Weights: as MLA, and t_q, t_k [d_n, d_n], t_v [d_v, d_v].
type KHAMLA struct{ MLA }

func (a KHAMLA) Reader() Design { a.Reads = true; return a }

func (a KHAMLA) Params() []Param {
	dn, dv := []int{a.Nope, a.Nope}, []int{a.ValueDim, a.ValueDim}
	return append(a.MLA.Params(), Param{"t_q", dn, Identity}, Param{"t_k", dn, Identity}, Param{"t_v", dv, Identity})
}

func (a KHAMLA) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	return a.Read(o, w, x, pos, a.Rows(o, w, x, pos))
}

func (a KHAMLA) Read(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, rows []tensor.Tensor) tensor.Tensor {
	n, dn := a.Heads, a.Nope
	content := func(name string, y tensor.Tensor) tensor.Tensor { // transforms the first d_n channels of heads of d_n + d_R
		return o.HeadConcat(n, knock(o, w, name, o.HeadSlice(y, n, 0, dn), n), o.HeadSlice(y, n, dn, dn+a.RopeDim))
	}
	q := content("t_q", a.query(o, w, x, pos))
	k, v := a.up(o, w, "kv_b", n, rows[0], rows[1])
	y := o.Attend(q, content("t_k", k), knock(o, w, "t_v", v, n), tensor.Attend{Heads: n, KVHeads: n, Scale: a.Scale})
	return linear(o, w, "o", y)
}

func (a KHAMLA) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	b := &binder{w: w, p: p}
	c := a.bind(b, "kv_a_norm")
	n, dn, dv, r := a.Heads, a.Nope, a.ValueDim, a.KVRank
	tq, tk, tv := b.floats("t_q", dn, dn), b.floats("t_k", dn, dn), b.floats("t_v", dv, dv)
	both := make([]float32, dn*dn) // of weights as stored: t_qᵀ t_k
	for i := range dn {
		for j := range dn {
			sum := 0.0
			for l := range dn {
				sum += float64(tq[l*dn+i]) * float64(tk[l*dn+j])
			}
			both[i*dn+j] = float32(sum)
		}
	}
	up := b.floats("kv_b", n*(dn+dv), r)
	for h := range n {
		rows := up[h*(dn+dv)*r:][:(dn+dv)*r]
		through(both, rows[:dn*r], dn, r)
		through(tv, rows[dn*r:], dv, r)
	}
	c.foldUp(b, up, n, 1)
	return &c, b.err
}
