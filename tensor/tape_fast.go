// The tape's float32 loops on package kernel.
package tensor

import "github.com/lowkeylm/lowkey/kernel"

// NewTape records in float32 on the vector kernels, with the threads of pool.
func NewTape(pool *kernel.Pool) *Tape[float32] { return newTape[float32](fast{}, loops{pool}) }

// fast leaves to the plain loops what hardly happens: gradients that nobody wants, and two of them in one place.
type fast struct{ plain[float32] }

func (fast) add(dst, x []float32) { kernel.Add(dst, x) }

func (fast) scale(dst, x []float32, s float64, add bool) {
	if add {
		kernel.AddScaled(dst, x, float32(s))
	} else {
		kernel.ScaleTo(dst, x, float32(s))
	}
}

func (fast) mul(dst, a, b []float32, add bool) { kernel.Product(dst, a[:len(dst)], b, add) }

func (fast) gemm(l loops, c, a, b dense[float32], m, n, k int, add bool) {
	kernel.Gemm(l.pool, kernel.Dense{Data: c.data, Stride: c.stride}, kernel.Dense{Data: a.data, Stride: a.stride, Transposed: a.turned},
		kernel.Dense{Data: b.data, Stride: b.stride, Transposed: b.turned}, m, n, k, add)
}

// flash is attention as the kernels take it.
func flash(s *attention[float32]) *kernel.Flash {
	return &kernel.Flash{Heads: s.Heads, KVHeads: s.KVHeads, KeyDim: s.dk, ValueDim: s.dv, Scale: float32(s.Scale), Softcap: float32(s.Softcap), Window: s.Window, Starts: s.first,
		Sinks: s.sinks, SinksGrad: s.dsinks, Bias: s.bias, BiasGrad: s.dbias, Private: s.Private}
}

func (fast) attend(l loops, y, lse, q, k, v []float32, s *attention[float32]) {
	flash(s).Forward(l.pool, y, lse, q, k, v)
}

func (f fast) attendBack(l loops, dq, dk, dv, dy, y, lse, q, k, v []float32, s *attention[float32]) {
	if dq == nil || dk == nil || dv == nil {
		f.plain.attendBack(l, dq, dk, dv, dy, y, lse, q, k, v, s)
		return
	}
	flash(s).Backward(l.pool, dq, dk, dv, dy, y, lse, q, k, v)
}

// slice is the part of a norm's weights, or of their gradients, that belongs to the width elements from `at`.
func slice(w []float32, at, width int) []float32 {
	if len(w) == 0 {
		return nil
	}
	return w[at%len(w):][:width]
}

func (fast) rmsNorm(y, x, w []float32, width int, spec Norm) {
	for at := 0; at < len(x); at += width {
		kernel.RMSNorm(y[at:at+width], x[at:at+width], slice(w, at, width), float32(spec.Eps), spec.PlusOne)
	}
}

func (fast) rmsNormBack(dx, dw, dy, x, w []float32, width int, spec Norm, add bool) {
	for at := 0; at < len(x); at += width {
		kernel.RMSNormBackward(part(dx, at, at+width), slice(dw, at, width), dy[at:at+width], x[at:at+width], slice(w, at, width), float32(spec.Eps), spec.PlusOne, add)
	}
}

func (fast) swiGLU(y, gate, up []float32) { kernel.SiLUMul(y, gate, up) }

func (f fast) swiGLUBack(dgate, dup, dy, gate, up []float32, addGate, addUp bool) {
	if len(dgate) > 0 && len(dup) > 0 && &dgate[0] == &dup[0] {
		f.plain.swiGLUBack(dgate, dup, dy, gate, up, addGate, addUp)
		return
	}
	kernel.SiLUMulBackward(dgate, dup, dy, gate, up, addGate, addUp)
}

func (fast) apply(y, x []float32, f curve) {
	if f.kind == curveSigmoid {
		kernel.Sigmoid(y, x)
		return
	}
	copy(y, x)
	switch f.kind {
	case curveSiLU:
		kernel.SiLU(y)
	case curveGELU:
		kernel.GELU(y)
	case curveGELUTanh:
		kernel.GELUTanh(y)
	case curveSoftcap:
		kernel.Softcap(y, float32(f.c))
	}
}

func (fast) applyBack(dx, dy, v []float32, f curve, add bool) {
	switch f.kind {
	case curveSiLU:
		kernel.SiLUBackward(dx, dy, v, add)
	case curveSigmoid:
		kernel.SigmoidBackward(dx, dy, v, add)
	case curveGELU:
		kernel.GELUBackward(dx, dy, v, add)
	case curveGELUTanh:
		kernel.GELUTanhBackward(dx, dy, v, add)
	case curveSoftcap:
		kernel.SoftcapBackward(dx, dy, v, float32(f.c), add)
	}
}

func (fast) rope(x, cos, sin []float32, pairs bool) {
	if pairs {
		kernel.RopePairs(x[:2*len(cos)], cos, sin)
	} else {
		kernel.RopeHalf(x[:2*len(cos)], cos, sin)
	}
}

func (fast) logSumExp(x []float32) float64 { return kernel.LogSumExp(x) }

func (fast) lossBack(d, x []float32, lse, g, z float64, target int) {
	kernel.CrossEntropyBackward(d, x, lse, g, z, target)
}
