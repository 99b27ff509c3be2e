package kernel

// Element-wise backward passes, with the gates of the feed-forward part.
//
// As in vec_elem.go an element depends on its own inputs alone. A destination is written, or added to where add is set; it may hold anything before it is written. A function panics, as indexing does, where
// a slice is shorter than its first source.

import "math"

// Product: dst[i] = a[i] * b[i], or += where add is set. dst may be a or b.
func Product(dst, a, b []float32, add bool) {
	dst, b = dst[:len(a)], b[:len(a)]
	if !productFast(dst, a, b, add) {
		for i, v := range a {
			put(dst, i, v*b[i], add)
		}
	}
}

// put writes or adds.
func put(dst []float32, i int, v float32, add bool) {
	if add {
		v += dst[i]
	}
	dst[i] = v
}

// SiLUBackward: dx = dy f'(x) for f(x) = x s, s = 1 / (1 + e^-x): f' = s + f (1 - s). dx may be dy.
func SiLUBackward(dx, dy, x []float32, add bool) {
	dx, dy = dx[:len(x)], dy[:len(x)]
	if !siluGradFast(dx, dy, x, add) {
		for i, v := range x {
			_, d := siluBoth(v)
			put(dx, i, dy[i]*d, add)
		}
	}
}

// siluBoth is SiLU and its derivative.
func siluBoth(x float32) (f, d float32) {
	s := 1 / (1 + expf(-x))
	f = x * s
	return f, s + float32(f*(1-s))
}

// SiLUMulBackward is the backward pass of SiLUMul, y = f(gate) up: dgate = dy up f'(gate) and dup = dy f(gate), each written or added. dgate or dup may be nil.
func SiLUMulBackward(dgate, dup, dy, gate, up []float32, addGate, addUp bool) {
	dy, up = dy[:len(gate)], up[:len(gate)]
	if dgate == nil || dup == nil || !siluMulGradFast(dgate[:len(gate)], dup[:len(gate)], dy, gate, up, addGate, addUp) {
		mulBackwardPlain(siluBoth, dgate, dup, dy, gate, up, addGate, addUp)
	}
}

func mulBackwardPlain(both func(x float32) (f, d float32), dgate, dup, dy, gate, up []float32, addGate, addUp bool) {
	for i, v := range gate {
		f, d := both(v)
		if dgate != nil {
			put(dgate, i, float32(dy[i]*up[i])*d, addGate)
		}
		if dup != nil {
			put(dup, i, dy[i]*f, addUp)
		}
	}
}

// GELUTanhBackward: dx = dy f'(x) for f(x) = x s(2u), u = sqrt(2/pi) (x + 0.044715 x³): f' = s + f (1 - s) 2u'. dx may be dy.
func GELUTanhBackward(dx, dy, x []float32, add bool) {
	dx, dy = dx[:len(x)], dy[:len(x)]
	if !geluTanhGradFast(dx, dy, x, add) {
		for i, v := range x {
			_, d := geluTanhBoth(v)
			put(dx, i, dy[i]*d, add)
		}
	}
}

func geluTanhBoth(x float32) (f, d float32) {
	u := float32(x * float32(geluA*(1+float32(geluB*float32(x*x)))))
	s := 1 / (1 + expf(-2*u))
	f = x * s
	slope := 2*geluA + float32(6*geluA*geluB*float32(x*x))
	return f, s + float32(float32(f*(1-s))*slope)
}

// GELUTanhMulBackward is the backward pass of GELUTanhMul, as SiLUMulBackward is of SiLUMul.
func GELUTanhMulBackward(dgate, dup, dy, gate, up []float32, addGate, addUp bool) {
	dy, up = dy[:len(gate)], up[:len(gate)]
	if dgate == nil || dup == nil || !geluTanhMulGradFast(dgate[:len(gate)], dup[:len(gate)], dy, gate, up, addGate, addUp) {
		mulBackwardPlain(geluTanhBoth, dgate, dup, dy, gate, up, addGate, addUp)
	}
}

// GELUBackward: dx = dy (Phi(x) + x phi(x)), Phi and phi being the normal distribution and its density. dx may be dy.
func GELUBackward(dx, dy, x []float32, add bool) {
	dx, dy = dx[:len(x)], dy[:len(x)]
	if !geluGradFast(dx, dy, x, add) {
		for i, v := range x {
			w := float64(v)
			d := 0.5*math.Erfc(-w/math.Sqrt2) + w*math.Exp(-w*w/2)/math.Sqrt(2*math.Pi)
			put(dx, i, dy[i]*float32(d), add)
		}
	}
}

// Sigmoid: dst[i] = 1 / (1 + e^-x[i]). dst may be x.
func Sigmoid(dst, x []float32) {
	dst = dst[:len(x)]
	if !sigmoidFast(dst, x) {
		for i, v := range x {
			dst[i] = 1 / (1 + expf(-v))
		}
	}
}

// SigmoidMul: dst[i] = up[i] / (1 + e^-gate[i]). dst may be gate.
func SigmoidMul(dst, gate, up []float32) {
	Sigmoid(dst, gate)
	MulInto(dst, up)
}

// SigmoidBackward: dx = dy y (1 - y), y being Sigmoid's result. dx may be dy.
func SigmoidBackward(dx, dy, y []float32, add bool) { ownBackward(dx, dy, y, 0, 1, -1, add) }

// SoftcapBackward: dx = dy (1 - y²/c²), y being the result of Softcap; Tanh's is that of c = 1. dx may be dy.
func SoftcapBackward(dx, dy, y []float32, c float32, add bool) {
	ownBackward(dx, dy, y, 1, 0, -1/(c*c), add)
}

// ownBackward: dx = dy (a + b y + c y²), a slope that is a square function of the result.
func ownBackward(dx, dy, y []float32, a, b, c float32, add bool) {
	dx, dy = dx[:len(y)], dy[:len(y)]
	if !ownGradFast(dx, dy, y, a, b, c, add) {
		for i, v := range y {
			put(dx, i, dy[i]*(a+float32(v*(b+float32(c*v)))), add)
		}
	}
}
