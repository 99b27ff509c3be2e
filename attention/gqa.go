package attention

import (
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// GQA is grouped-query attention (arXiv 2305.13245), with its two ends MHA (KVHeads = Heads) and MQA (KVHeads = 1).
//
//	q_h = RoPE(x Wq_h)   k_g = RoPE(x Wk_g)   v_g = x Wv_g       h = 1..n heads, g = 1..n_kv groups, g(h) = h / (n/n_kv)
//	o_h = softmax(s q_h k_g(h)ᵀ) v_g(h)                          s = Scale, usually 1/sqrt d_h
//	y   = concat(o_1..o_n) Wo
//
// One token leaves k and v behind: 2 n_kv d_h elements a layer (MHA 2 n d_h, MQA 2 d_h). Nothing folds.
// Options that published families add: biases, an RMS norm of q and k before RoPE (per head, or over all heads at once) and one of v without weight, a sliding window, a cap on scores, sink logits.
//
// Weights: q [n d_h, d], k, v [n_kv d_h, d], o [d, n d_v], each with .bias if it has one; q_norm, k_norm; sinks [n].
type GQA struct {
	Hidden, Heads, KVHeads int
	HeadDim, ValueDim      int
	Scale, Softcap         float64
	Window                 int
	Rope                   *tensor.Rope // nil: no positions
	QKNorm                 bool
	NormAfterRope          bool // HunYuan
	NormWhole              bool // one norm over all heads (OLMo 2)
	VNorm                  bool // of each head's value, without weight (Gemma 3n)
	NormEps                float64
	NormPlusOne            bool
	Sinks                  bool
	Reads                  bool // the rows are another layer's: no k, v, k_norm here
}

func (a GQA) Reader() Design { a.Reads = true; return a }

func (a GQA) Layout() kvcache.Layout {
	if a.Reads {
		return noRows
	}
	rope := kvcache.After
	if a.Rope == nil {
		rope = kvcache.None
	}
	return kvcache.Layout{Window: a.Window, Streams: []kvcache.Stream{
		{Name: "k", Heads: a.KVHeads, Width: a.HeadDim, Role: kvcache.Key, Rope: rope},
		{Name: "v", Heads: a.KVHeads, Width: a.ValueDim, Role: kvcache.Value, Rope: kvcache.None},
	}}
}

func (a GQA) Params() []Param {
	p := []Param{{"q", []int{a.Heads * a.HeadDim, a.Hidden}, Normal}, {"k", []int{a.KVHeads * a.HeadDim, a.Hidden}, Normal},
		{"v", []int{a.KVHeads * a.ValueDim, a.Hidden}, Normal}, {"o", []int{a.Hidden, a.Heads * a.ValueDim}, Output}}
	if a.QKNorm {
		q, k := a.HeadDim, a.HeadDim
		if a.NormWhole {
			q, k = a.Heads*a.HeadDim, a.KVHeads*a.HeadDim
		}
		p = append(p, Param{"q_norm", []int{q}, Ones}, Param{"k_norm", []int{k}, Ones})
	}
	if a.Sinks {
		p = append(p, Param{"sinks", []int{a.Heads}, Zeros})
	}
	if a.Reads {
		return without(p, "k", "v", "k_norm")
	}
	return p
}

func (a GQA) norm(heads int) tensor.Norm {
	n := tensor.Norm{Eps: a.NormEps, PlusOne: a.NormPlusOne, Groups: heads}
	if a.NormWhole {
		n.Groups = 1
	}
	return n
}

func (a GQA) valueNorm() tensor.Norm { return tensor.Norm{Eps: a.NormEps, Groups: a.KVHeads} }

func (a GQA) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	return a.Read(o, w, x, pos, a.Rows(o, w, x, pos))
}

// placed is queries or keys of x, normed and turned.
func (a GQA) placed(o tensor.Ops, w Weights, name string, heads int, x tensor.Tensor, pos []int) tensor.Tensor {
	return a.place(o, w, name, heads, linear(o, w, name, x), pos)
}

// place norms and turns projected queries or keys.
func (a GQA) place(o tensor.Ops, w Weights, name string, heads int, y tensor.Tensor, pos []int) tensor.Tensor {
	norm := func() {
		if a.QKNorm {
			y = o.RMSNorm(y, leaf(o, w, name+"_norm"), a.norm(heads))
		}
	}
	if !a.NormAfterRope {
		norm()
	}
	if a.Rope != nil {
		y = o.RoPE(y, rotary(a.Rope, heads, 0), pos)
	}
	if a.NormAfterRope {
		norm()
	}
	return y
}

func (a GQA) Rows(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) []tensor.Tensor {
	v := linear(o, w, "v", x)
	if a.VNorm {
		v = o.RMSNorm(v, nil, a.valueNorm())
	}
	return []tensor.Tensor{a.placed(o, w, "k", a.KVHeads, x, pos), v}
}

func (a GQA) Read(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, rows []tensor.Tensor) tensor.Tensor {
	return a.mix(o, w, a.placed(o, w, "q", a.Heads, x, pos), rows)
}

// mix attends with placed queries.
func (a GQA) mix(o tensor.Ops, w Weights, q tensor.Tensor, rows []tensor.Tensor) tensor.Tensor {
	spec := tensor.Attend{Heads: a.Heads, KVHeads: a.KVHeads, Scale: a.Scale, Softcap: a.Softcap, Window: a.Window}
	if a.Sinks {
		spec.Sinks = leaf(o, w, "sinks")
	}
	return linear(o, w, "o", o.Attend(q, rows[0], rows[1], spec))
}

type gqaCached struct {
	GQA
	q, k, v, o   *tensor.Linear
	qNorm, kNorm *tensor.Vector
	sinks        []float32
}

func (a GQA) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	b := &binder{w: w, p: p}
	c := a.bind(b, b.linear)
	return &c, b.err
}

// bind packs the weights; project packs those of queries, keys and values.
func (a GQA) bind(b *binder, project func(name string, out, in int) *tensor.Linear) gqaCached {
	c := gqaCached{GQA: a}
	c.q = project("q", a.Heads*a.HeadDim, a.Hidden)
	if !a.Reads {
		c.k = project("k", a.KVHeads*a.HeadDim, a.Hidden)
		c.v = project("v", a.KVHeads*a.ValueDim, a.Hidden)
	}
	c.o = b.linear("o", a.Hidden, a.Heads*a.ValueDim)
	if a.QKNorm {
		nq, nk := a.HeadDim, a.HeadDim
		if a.NormWhole {
			nq, nk = a.Heads*a.HeadDim, a.KVHeads*a.HeadDim
		}
		c.qNorm = b.vector("q_norm", nq)
		if !a.Reads {
			c.kNorm = b.vector("k_norm", nk)
		}
	}
	if a.Sinks {
		c.sinks = b.vector("sinks", a.Heads).Float32s()
	}
	return c
}

func (c *gqaCached) View() kernel.Attention {
	return kernel.Attention{Keys: []kernel.Slice{full(0, c.HeadDim, false)}, Values: []kernel.Slice{full(1, c.ValueDim, false)},
		Groups: c.KVHeads, PerGroup: c.Heads / c.KVHeads, Scale: float32(c.Scale), Softcap: float32(c.Softcap), Window: c.Window, Sinks: c.sinks}
}

func (c *gqaCached) Step(s *Step, x tensor.Buf) tensor.Buf {
	if c.Reads {
		return s.MatMul(s.Attend(c.place(s, s.MatMul(x, c.q), c.qNorm, c.Heads)), c.o)
	}
	var p [3]tensor.Buf
	s.MatMuls(p[:], x, c.q, c.k, c.v)
	if c.VNorm {
		p[2] = s.RMSNorm(p[2], nil, c.valueNorm())
	}
	return c.attend(s, p[0], p[1], p[2])
}

// attend is all that follows the projections.
func (c *gqaCached) attend(s *Step, q, k, v tensor.Buf) tensor.Buf {
	q, k = c.place(s, q, c.qNorm, c.Heads), c.place(s, k, c.kNorm, c.KVHeads)
	s.Put(0, k)
	s.Put(1, v)
	return s.MatMul(s.Attend(q), c.o)
}

// place normalises and rotates queries or keys.
func (c *gqaCached) place(s *Step, x tensor.Buf, norm *tensor.Vector, heads int) tensor.Buf {
	if c.QKNorm && !c.NormAfterRope {
		x = s.RMSNorm(x, norm, c.norm(heads))
	}
	s.RoPE(x, heads, 0, c.Rope)
	if c.QKNorm && c.NormAfterRope {
		x = s.RMSNorm(x, norm, c.norm(heads))
	}
	return x
}

// rotary is a Rope as the whole-sequence ops take it, for heads that turn from column from on.
func rotary(r *tensor.Rope, heads, from int) tensor.Rotary {
	return tensor.Rotary{Heads: heads, From: from, To: from + 2*len(r.InvFreq), Pairs: r.Pairs, Sign: r.Sign, InvFreq: r.InvFreq, Factor: r.Factor, BF16: r.BF16}
}
