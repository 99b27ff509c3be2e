package attention

import (
	"slices"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// CCA is Compressed Convolutional Attention (arXiv 2510.04476): attention inside a space C1 times (queries) and C2 times (keys, values) narrower than the hidden state; CCGQA
// is its form with fewer heads of keys than of queries, C2 > C1.
//
//	q~ = x Wq   k~ = x Wk            [T, n d_h], [T, n_kv d_h]     n d_h = d/C1, n_kv d_h = d/C2; g(h) = h / (n/n_kv)
//	z  = [q~ ; k~]                   [T, C]                        zeros stand before the first token
//	c  = z * F0 + b0                 a causal filter of k0 taps for each channel
//	c' = c * F1 + b1                 k1 taps that mix the channels of a head; what stands before the first token is b0, not zero
//	m^Q_h = (q~_h + k~_g(h)) / 2     m^K_j = the mean of m^Q_h over the heads h of group j
//	q_h = RoPE(sqrt d_h u/|u|)       u = c'_h + m^Q_h
//	k_j = RoPE(tau_j sqrt d_h u/|u|) u = c'_j + m^K_j
//	v_t = [x_t Wv ; x_t-1 Wl]        half of the numbers come a token late; cut into n_kv heads when joined: of two heads, one is late
//	o_h = softmax(s q_h k_g(h)ᵀ) v_g(h)     y = concat(o_1..o_n) Wo     s = Scale, 1/sqrt d_h
//
// One token leaves k and v behind, as in GQA: 2 n_kv d_h = 2 d/C2 elements a layer. A sequence keeps beside them, however long it is, what the next token looks back on: the last
// k0+k1-2 columns of z, and x Wl of its last token. Nothing folds.
//
// Weights: q, k as GQA; v, v_late [n_kv d_h/2, d]; conv0 [C, k0], conv1 [C, d_h k1] (for each output its head's channels, each with its taps, the newest last; both are read as
// [C, channels, taps] too), with biases [C]; temp [n_kv] (tau); o [d, n d_h]. Biases of the projections as NAME.bias; that of v_late counts before the first token too.
type CCA struct {
	Hidden, Heads, KVHeads, HeadDim int // d, n, n_kv, d_h
	Taps0, Taps1                    int // k0, k1
	Scale                           float64
	Window                          int
	Rope                            *tensor.Rope
}

// ccaEps keeps a row of zeros from being divided by zero; it is below what float32 tells apart elsewhere.
const ccaEps = 1e-14

func (a CCA) channels() int { return (a.Heads + a.KVHeads) * a.HeadDim } // C
func (a CCA) past() int     { return a.Taps0 + a.Taps1 - 2 }             // columns of z that the next token looks back on
func (a CCA) late() int     { return a.KVHeads * a.HeadDim / 2 }         // width of either half of a value

func (a CCA) Layout() kvcache.Layout {
	l := GQA{KVHeads: a.KVHeads, HeadDim: a.HeadDim, ValueDim: a.HeadDim, Window: a.Window, Rope: a.Rope}.Layout()
	l.State = a.past()*a.channels() + a.late()
	return l
}

func (a CCA) Params() []Param {
	d, w, c := a.Hidden, a.HeadDim, a.channels()
	return []Param{{"q", []int{a.Heads * w, d}, Normal}, {"k", []int{a.KVHeads * w, d}, Normal}, {"v", []int{a.late(), d}, Normal}, {"v_late", []int{a.late(), d}, Normal},
		{"conv0", []int{c, a.Taps0}, Normal}, {"conv0.bias", []int{c}, Zeros}, {"conv1", []int{c, w * a.Taps1}, Normal}, {"conv1.bias", []int{c}, Zeros},
		{"temp", []int{a.KVHeads}, Ones}, {"o", []int{d, a.Heads * w}, Output}}
}

// filters reads [C, channels, taps] as [C, channels*taps].
type filters struct{ Weights }

func (f filters) Get(name string) (tensor.Weight, bool) {
	w, ok := f.Weights.Get(name)
	if len(w.Shape) == 3 {
		w.Shape = []int{w.Shape[0], w.Shape[1] * w.Shape[2]}
	}
	return w, ok
}

func (a CCA) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	w = filters{w}
	n, kv, d, T := a.Heads, a.KVHeads, a.HeadDim, len(pos)
	q, k := linear(o, w, "q", x), linear(o, w, "k", x)

	c := o.CausalConv(o.Concat(q, k), leaf(o, w, "conv0"), a.channels())
	taps := make([]tensor.Tensor, a.Taps1) // b0 joins behind the delay: it stands in the columns before the first token, too
	for j := range taps {
		taps[a.Taps1-1-j] = o.AddBias(c, leaf(o, w, "conv0.bias"))
		c = o.Delay(c)
	}
	c = o.AddBias(o.CausalConv(o.HeadConcat(a.channels(), taps...), leaf(o, w, "conv1"), n+kv), leaf(o, w, "conv1.bias"))

	mq := o.Scale(o.Add(q, o.HeadConcat(kv, slices.Repeat([]tensor.Tensor{k}, n/kv)...)), 0.5)
	mk := o.HeadSlice(mq, kv, 0, d)
	for i := 1; i < n/kv; i++ {
		mk = o.Add(mk, o.HeadSlice(mq, kv, i*d, (i+1)*d))
	}
	q = o.RMSNorm(o.Add(o.Cols(c, 0, n*d), mq), nil, tensor.Norm{Eps: ccaEps, Groups: n})
	k = o.RMSNorm(o.Add(o.Cols(c, n*d, (n+kv)*d), o.Scale(mk, float64(kv)/float64(n))), nil, tensor.Norm{Eps: ccaEps, Groups: kv})
	k = o.Mul(k, o.HeadConcat(kv, slices.Repeat([]tensor.Tensor{everyRow(o, w, "temp", T)}, d)...))
	if a.Rope != nil {
		q, k = o.RoPE(q, rotary(a.Rope, n, 0), pos), o.RoPE(k, rotary(a.Rope, kv, 0), pos)
	}

	late := o.Delay(o.MatMul(x, leaf(o, w, "v_late")))
	if _, ok := w.Get("v_late.bias"); ok {
		late = o.AddBias(late, leaf(o, w, "v_late.bias"))
	}
	v := o.Concat(linear(o, w, "v", x), late)
	return linear(o, w, "o", o.Attend(q, k, v, tensor.Attend{Heads: n, KVHeads: kv, Scale: a.Scale, Window: a.Window}))
}

type ccaCached struct {
	CCA
	q, k, v, vLate, o          *tensor.Linear
	conv0, bias0, bias1, temps *tensor.Vector
	lateBias                   *tensor.Vector   // nil where there is none
	conv1                      []*tensor.Linear // for each head, [d_h, k1 d_h]: the columns of a tap lie together, the newest last
}

func (a CCA) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	if a.KVHeads*a.HeadDim%2 != 0 || a.KVHeads == 0 || a.Heads%a.KVHeads != 0 || a.Taps0 < 1 || a.Taps1 < 1 {
		return nil, fault.New(fault.Unsupported, "attention design cca", "sizes that do not halve or divide", "heads of keys divide those of queries, their width together is even, a filter has a tap", "")
	}
	b := &binder{w: filters{w}, p: p}
	c := &ccaCached{CCA: a}
	n, kv, d, ch := a.Heads, a.KVHeads, a.HeadDim, a.channels()
	c.q, c.k, c.v, c.o = b.linear("q", n*d, a.Hidden), b.linear("k", kv*d, a.Hidden), b.linear("v", a.late(), a.Hidden), b.linear("o", a.Hidden, n*d)
	if late := b.get("v_late", a.late(), a.Hidden); b.err == nil { // its bias stands before the first token too: it joins behind the delay
		var err error
		if c.vLate, err = p.Linear(late, nil); err != nil {
			b.fail(err)
		}
	}
	if _, ok := w.Get("v_late.bias"); ok {
		c.lateBias = b.vector("v_late.bias", a.late())
	}
	c.bias0, c.bias1 = b.vector("conv0.bias", ch), b.vector("conv1.bias", ch)
	if conv0 := b.floats("conv0", ch, a.Taps0); b.err == nil {
		c.conv0 = p.VectorOf(byTap(conv0, ch, a.Taps0))
	}
	var conv1 []float32
	for row := range slices.Chunk(b.floats("conv1", ch, d*a.Taps1), d*a.Taps1) {
		conv1 = append(conv1, byTap(row, d, a.Taps1)...)
	}
	for head := range slices.Chunk(conv1, d*d*a.Taps1) {
		c.conv1 = append(c.conv1, b.folded(d, d*a.Taps1, head))
	}
	var temps []float32
	for _, tau := range b.floats("temp", kv) {
		temps = append(temps, slices.Repeat([]float32{tau}, d)...)
	}
	c.temps = p.VectorOf(temps)
	return c, b.err
}

// byTap turns n filters [n, taps] into [taps, n].
func byTap(w []float32, n, taps int) []float32 {
	out := make([]float32, 0, len(w))
	for j := range taps {
		for i := range n {
			out = append(out, w[i*taps+j])
		}
	}
	return out
}

func (c *ccaCached) View() kernel.Attention {
	return kernel.Attention{Keys: []kernel.Slice{full(0, c.HeadDim, false)}, Values: []kernel.Slice{full(1, c.HeadDim, false)},
		Groups: c.KVHeads, PerGroup: c.Heads / c.KVHeads, Scale: float32(c.Scale), Window: c.Window}
}

func (c *ccaCached) Step(s *Step, x tensor.Buf) tensor.Buf {
	n, kv, d := c.Heads, c.KVHeads, c.HeadDim
	var p [4]tensor.Buf
	s.MatMuls(p[:], x, c.q, c.k, c.v, c.vLate)
	v, conv := c.lookBack(s, s.HeadConcat(p[0], p[1], 1), p[2], p[3])

	mq := s.Copy(p[0])
	each := p[1]
	for range n/kv - 1 {
		each = s.HeadConcat(each, p[1], kv)
	}
	s.Add(mq, each, 1)
	s.Scale(mq, 0.5)
	mk := s.HeadSlice(mq, kv, 0, d)
	for i := 1; i < n/kv; i++ {
		s.Add(mk, s.HeadSlice(mq, kv, i*d, (i+1)*d), 1)
	}
	s.Scale(mk, float64(kv)/float64(n))
	s.Add(mq, s.Cols(conv, 0, n*d), 1)
	s.Add(mk, s.Cols(conv, n*d, (n+kv)*d), 1)

	q := s.RMSNorm(mq, nil, tensor.Norm{Eps: ccaEps, Groups: n})
	k := s.RMSNorm(mk, c.temps, tensor.Norm{Eps: ccaEps, Groups: kv})
	s.RoPE(q, n, 0, c.Rope)
	s.RoPE(k, kv, 0, c.Rope)
	s.Put(0, k)
	s.Put(1, v)
	return s.MatMul(s.Attend(q), c.o)
}

// lookBack makes what needs earlier tokens: the values and the convolved z, from z, x Wv and x Wl of the new tokens and from the state, which it renews.
func (c *ccaCached) lookBack(s *Step, z, now, late tensor.Buf) (v, conv tensor.Buf) {
	past, ch := c.past(), c.channels()
	state := s.New(z.Rows, past*ch+c.late())
	delayed := s.New(late.Rows, late.Cols)
	taps := s.New(z.Rows, ch*c.Taps1)
	at := 0
	for i, rows := range s.Counts {
		before := s.State(i)
		long := s.New(past+rows, ch) // the columns before the new ones, and these
		all := long.Float32s()
		copy(all, before[:past*ch])
		copy(all[past*ch:], z.Slice(at, at+rows).Float32s())
		s.Unfold(taps.Slice(at, at+rows), s.Filter(long, c.conv0, c.bias0, c.Taps0), c.Heads+c.KVHeads, c.Taps1)
		for j := range rows {
			last := before[past*ch:]
			if j > 0 {
				last = late.Slice(at+j-1, at+j).Float32s()
			}
			copy(delayed.Slice(at+j, at+j+1).Float32s(), last)
			row := state.Slice(at+j, at+j+1).Float32s()
			copy(row, all[(j+1)*ch:][:past*ch])
			copy(row[past*ch:], late.Slice(at+j, at+j+1).Float32s())
		}
		at += rows
	}
	s.PutState(state)
	s.AddVector(delayed, c.lateBias)
	conv = s.HeadMatMul(taps, c.conv1)
	s.AddVector(conv, c.bias1)
	return s.HeadConcat(now, delayed, 1), conv
}
