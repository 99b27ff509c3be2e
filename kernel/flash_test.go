package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// flashCase is attention with its inputs, and room for its outputs and gradients.
type flashCase struct {
	Flash
	t                        int
	q, k, v, dout            []float32
	out, lse, dq, dk, dv     []float32
	wantOut, wantLse         []float64
	wantQ, wantK, wantV      []float64
	wantSink, wantBias       []float64
	sinks, bias              bool
	block                    int   // > 0: rows are private but the last of each block of so many
	documents                []int // lengths; nil: one
	biasPerQueryHead, spaced bool
}

func (c *flashCase) make(rng *rand.Rand) {
	c.Scale = float32(1 / math.Sqrt(float64(c.KeyDim)))
	if c.documents != nil {
		c.t, c.Starts = 0, nil
		for _, n := range c.documents {
			for range n {
				c.Starts = append(c.Starts, int32(c.t))
			}
			c.t += n
		}
	}
	if c.block > 0 {
		c.Private = make([]bool, c.t)
		for i := range c.t {
			at := i
			if c.Starts != nil {
				at -= int(c.Starts[i])
			}
			c.Private[i] = at%c.block != c.block-1
		}
	}
	qs, ks, vs, os := c.Heads*c.KeyDim, c.KVHeads*c.KeyDim, c.KVHeads*c.ValueDim, c.Heads*c.ValueDim
	if c.spaced {
		qs, ks, vs, os = qs+3, ks+5, vs+1, os+2
		c.QStride, c.KStride, c.VStride, c.OutStride = qs, ks, vs, os
	}
	fill := func(n int, scale float32) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = scale * float32(rng.NormFloat64())
		}
		return x
	}
	c.q, c.k, c.v, c.dout = fill(c.t*qs, 1.5), fill(c.t*ks, 1.5), fill(c.t*vs, 1), fill(c.t*os, 1)
	c.out, c.lse = fill(c.t*os, 1), make([]float32, c.Heads*c.t)
	c.dq, c.dk, c.dv = fill(c.t*qs, 1), fill(c.t*ks, 1), fill(c.t*vs, 1) // gradients are added to what is there
	if c.sinks {
		c.Sinks, c.SinksGrad = fill(c.Heads, 1), fill(c.Heads, 1)
	}
	if c.bias {
		heads := c.KVHeads
		if c.biasPerQueryHead {
			heads = c.Heads
		}
		c.Bias, c.BiasGrad = fill(c.t*heads, 1), fill(c.t*heads, 1)
	}
}

// reference computes everything in float64, by the formulas.
func (c *flashCase) reference() {
	r := takeFlashJob(&c.Flash, nil, c.lse)
	defer r.done()
	wide := func(x []float32) []float64 {
		y := make([]float64, len(x))
		for i, v := range x {
			y[i] = float64(v)
		}
		return y
	}
	c.wantOut, c.wantLse = wide(c.out), make([]float64, len(c.lse))
	c.wantQ, c.wantK, c.wantV, c.wantSink, c.wantBias = wide(c.dq), wide(c.dk), wide(c.dv), wide(c.SinksGrad), wide(c.BiasGrad)
	dot := func(x, y []float32, n int) (sum float64) {
		for d := range n {
			sum += float64(x[d]) * float64(y[d])
		}
		return sum
	}
	for h := range c.Heads {
		g := h / (c.Heads / c.KVHeads)
		for i := range c.t {
			from := 0
			if c.Starts != nil {
				from = int(c.Starts[i])
			}
			if c.Window > 0 {
				from = max(from, i-c.Window+1)
			}
			q, do := c.q[i*r.QStride+h*c.KeyDim:], c.dout[i*r.OutStride+h*c.ValueDim:]
			var s, slope, p []float64
			sum := 0.0
			for j := from; j <= i; j++ {
				if c.Private != nil && c.Private[j] && j != i {
					s, slope = append(s, math.Inf(-1)), append(slope, 0)
					continue
				}
				x, d := dot(q, c.k[j*r.KStride+g*c.KeyDim:], c.KeyDim)*float64(c.Scale), 1.0
				if c.Softcap > 0 {
					th := math.Tanh(x / float64(c.Softcap))
					x, d = float64(c.Softcap)*th, 1-th*th
				}
				if r.bias > 0 {
					x += float64(c.Bias[j*r.bias+h*r.bias/c.Heads])
				}
				s, slope = append(s, x), append(slope, d)
				sum += math.Exp(x)
			}
			if c.Sinks != nil {
				sum += math.Exp(float64(c.Sinks[h]))
			}
			c.wantLse[h*c.t+i] = math.Log(sum)
			o := make([]float64, c.ValueDim)
			for n, x := range s {
				p = append(p, math.Exp(x)/sum)
				for d := range o {
					o[d] += p[n] * float64(c.v[(from+n)*r.VStride+g*c.ValueDim+d])
				}
			}
			delta := 0.0
			for d := range o {
				c.wantOut[i*r.OutStride+h*c.ValueDim+d] = o[d]
				delta += o[d] * float64(do[d])
			}
			if c.Sinks != nil {
				c.wantSink[h] -= math.Exp(float64(c.Sinks[h])) / sum * delta
			}
			for n := range s {
				j := from + n
				ds := p[n] * (dot(do, c.v[j*r.VStride+g*c.ValueDim:], c.ValueDim) - delta)
				if r.bias > 0 {
					c.wantBias[j*r.bias+h*r.bias/c.Heads] += ds
				}
				for d := range c.ValueDim {
					c.wantV[j*r.VStride+g*c.ValueDim+d] += p[n] * float64(do[d])
				}
				ds *= slope[n] * float64(c.Scale)
				for d := range c.KeyDim {
					c.wantQ[i*r.QStride+h*c.KeyDim+d] += ds * float64(c.k[j*r.KStride+g*c.KeyDim+d])
					c.wantK[j*r.KStride+g*c.KeyDim+d] += ds * float64(q[d])
				}
			}
		}
	}
}

// flashCases: odd lengths, one and several documents, all ways of sharing heads, widths that differ, windows, caps, sinks and biases.
var flashCases = []flashCase{
	{t: 1, Flash: Flash{Heads: 1, KVHeads: 1, KeyDim: 1, ValueDim: 1}},
	{t: 1, Flash: Flash{Heads: 4, KVHeads: 2, KeyDim: 8, ValueDim: 24}, sinks: true},
	{t: 70, Flash: Flash{Heads: 2, KVHeads: 2, KeyDim: 64, ValueDim: 64}},
	{t: 70, Flash: Flash{Heads: 4, KVHeads: 2, KeyDim: 33, ValueDim: 17}, spaced: true},
	{t: 203, Flash: Flash{Heads: 3, KVHeads: 1, KeyDim: 40, ValueDim: 24}, spaced: true},
	{documents: []int{1, 65, 64, 3, 130}, Flash: Flash{Heads: 4, KVHeads: 2, KeyDim: 16, ValueDim: 48}},
	{documents: []int{70, 63, 129}, Flash: Flash{Heads: 6, KVHeads: 1, KeyDim: 24, ValueDim: 24, Softcap: 5}},
	{t: 300, Flash: Flash{Heads: 2, KVHeads: 1, KeyDim: 16, ValueDim: 32, Window: 37}},
	{documents: []int{200, 90}, Flash: Flash{Heads: 2, KVHeads: 2, KeyDim: 20, ValueDim: 12, Window: 64, Softcap: 3}, sinks: true, bias: true},
	{documents: []int{90, 100}, Flash: Flash{Heads: 4, KVHeads: 2, KeyDim: 32, ValueDim: 32}, sinks: true, bias: true, biasPerQueryHead: true, spaced: true},
	{documents: []int{700, 5, 513}, Flash: Flash{Heads: 4, KVHeads: 2, KeyDim: 8, ValueDim: 20}, bias: true},
	{documents: []int{30, 1100}, Flash: Flash{Heads: 3, KVHeads: 1, KeyDim: 16, ValueDim: 16, Window: 300}, sinks: true},
	{t: 150, Flash: Flash{Heads: 2, KVHeads: 1, KeyDim: 256, ValueDim: 200}, bias: true},
	{documents: []int{700, 5, 99}, Flash: Flash{Heads: 2, KVHeads: 1, KeyDim: 24, ValueDim: 16}, block: 3},
	{documents: []int{900}, Flash: Flash{Heads: 2, KVHeads: 2, KeyDim: 12, ValueDim: 20, Softcap: 3}, block: 300, bias: true},
}

func (c *flashCase) String() string {
	return fmt.Sprintf("T=%d documents %v heads %d/%d widths %d,%d window %d cap %v sinks %v bias %v", c.t, c.documents, c.Heads, c.KVHeads, c.KeyDim, c.ValueDim, c.Window, c.Softcap, c.sinks, c.bias)
}

// closeTo checks float32 results against float64 ones, by the largest of them.
func closeTo(t *testing.T, what string, got []float32, want []float64, bound float64) {
	t.Helper()
	most := 1.0
	for _, w := range want {
		most = max(most, math.Abs(w))
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= bound*most) {
			t.Fatalf("%s[%d] = %v, want %v (largest %v)", what, i, got[i], w, most)
		}
	}
}

func TestFlash(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for n := range flashCases {
			c := flashCases[n]
			c.make(rand.New(rand.NewPCG(uint64(n), 7)))
			c.reference()
			dq, dk, dv, ds, db := c.dq, c.dk, c.dv, c.SinksGrad, c.BiasGrad
			copyOf := func(x []float32) []float32 { return append([]float32(nil), x...) }
			for threads := range 4 {
				var pool *Pool
				if threads > 0 {
					pool = NewPool(threads)
				}
				old := [][]float32{c.out, c.lse, c.dq, c.dk, c.dv, c.SinksGrad, c.BiasGrad}
				c.out, c.lse, c.dq, c.dk, c.dv, c.SinksGrad, c.BiasGrad = copyOf(c.out), make([]float32, len(c.lse)), copyOf(dq), copyOf(dk), copyOf(dv), copyOf(ds), copyOf(db)
				c.Forward(pool, c.out, c.lse, c.q, c.k, c.v)
				c.Backward(pool, c.dq, c.dk, c.dv, c.dout, c.out, c.lse, c.q, c.k, c.v)
				if pool != nil {
					pool.Close()
				}
				for i, now := range [][]float32{c.out, c.lse, c.dq, c.dk, c.dv, c.SinksGrad, c.BiasGrad} {
					for j := range now {
						if threads > 0 && math.Float32bits(now[j]) != math.Float32bits(old[i][j]) {
							t.Fatalf("%s: result %d[%d] depends on the number of threads: %v, %v", &c, i, j, now[j], old[i][j])
						}
					}
				}
			}
			closeTo(t, c.String()+": out", c.out, c.wantOut, 2e-6)
			closeTo(t, c.String()+": lse", c.lse, c.wantLse, 2e-6)
			closeTo(t, c.String()+": dq", c.dq, c.wantQ, 5e-6)
			closeTo(t, c.String()+": dk", c.dk, c.wantK, 5e-6)
			closeTo(t, c.String()+": dv", c.dv, c.wantV, 5e-6)
			closeTo(t, c.String()+": dsinks", c.SinksGrad, c.wantSink, 5e-6)
			closeTo(t, c.String()+": dbias", c.BiasGrad, c.wantBias, 5e-6)
		}
	})
}

// BenchmarkFlash: 16 documents of 256 rows, as a small model trains on them, with heads of their own and with one KV head for all.
func BenchmarkFlash(b *testing.B) {
	for threads := 1; threads <= 2; threads++ {
		for _, shape := range []Flash{{Heads: 4, KVHeads: 4, KeyDim: 64, ValueDim: 64}, {Heads: 12, KVHeads: 1, KeyDim: 96, ValueDim: 96}} {
			c := flashCase{Flash: shape, documents: make([]int, 16)}
			for i := range c.documents {
				c.documents[i] = 256
			}
			c.make(rand.New(rand.NewPCG(1, 1)))
			pool := NewPool(threads)
			b.Run(fmt.Sprintf("forward/%dx%d_kv%d/threads%d", c.Heads, c.KeyDim, c.KVHeads, threads), func(b *testing.B) {
				for b.Loop() {
					c.Forward(pool, c.out, c.lse, c.q, c.k, c.v)
				}
			})
			b.Run(fmt.Sprintf("backward/%dx%d_kv%d/threads%d", c.Heads, c.KeyDim, c.KVHeads, threads), func(b *testing.B) {
				for b.Loop() {
					c.Backward(pool, c.dq, c.dk, c.dv, c.dout, c.out, c.lse, c.q, c.k, c.v)
				}
			})
			pool.Close()
		}
	}
}
