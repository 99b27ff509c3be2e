// The loops beneath the tape: an interface of what is hot, and its plain implementation, generic over float32 and float64. Where eager has the same loop, both call it.
//
// In all of these, add false means that the destination holds nothing yet and is written in full.
package tensor

import "math"

// dense is a matrix in memory, row after row, stride values apart; turned: read as its transpose.
type dense[T float] struct {
	data   []T
	stride int
	turned bool
}

func (d dense[T]) at(i, j int) T {
	if d.turned {
		i, j = j, i
	}
	return d.data[i*d.stride+j]
}

// kernels is the arithmetic of one precision. All but gemm and the attention pair work on the rows or elements they are given, in the caller's goroutine.
type kernels[T float] interface {
	// add: dst += x. scale: dst (+)= s x. mul: dst (+)= a b.
	add(dst, x []T)
	scale(dst, x []T, s float64, add bool)
	mul(dst, a, b []T, add bool)

	// gemm: c [m, n] (+)= a [m, k] b [k, n].
	gemm(l loops, c, a, b dense[T], m, n, k int, add bool)

	// attend writes y and lse [heads, t]. attendBack adds to dq, dk, dv, and to the gradients in s where these are not nil; dq, dk, dv may be nil, too.
	attend(l loops, y, lse, q, k, v []T, s *attention[T])
	attendBack(l loops, dq, dk, dv, dy, y, lse, q, k, v []T, s *attention[T])

	// rmsNorm: rows of x cut in slices of width; len(w) is 0, width, or a multiple of it that divides a row. rmsNormBack adds to dw; dx and dw may be nil.
	rmsNorm(y, x, w []T, width int, spec Norm)
	rmsNormBack(dx, dw, dy, x, w []T, width int, spec Norm, add bool)

	// swiGLU: y = SiLU(gate) up. Back: dgate and dup may be nil.
	swiGLU(y, gate, up []T)
	swiGLUBack(dgate, dup, dy, gate, up []T, addGate, addUp bool)

	// apply: y = f(x). applyBack: dx (+)= f'(v) dy, v being y or x as the curve says.
	apply(y, x []T, f curve)
	applyBack(dx, dy, v []T, f curve, add bool)

	// rope turns one slice of a head in place; backward is the same with -sin.
	rope(x, cos, sin []T, pairs bool)

	// logSumExp of a row; lossBack writes d = g (1 + z lse) e^(x - lse), less g at target. d may be x.
	logSumExp(x []T) float64
	lossBack(d, x []T, lse, g, z float64, target int)
}

type plain[T float] struct{}

func (plain[T]) add(dst, x []T) {
	for i, v := range x[:len(dst)] {
		dst[i] += v
	}
}

func (plain[T]) scale(dst, x []T, s float64, add bool) {
	f := T(s)
	for i, v := range x[:len(dst)] {
		if add {
			dst[i] += T(v * f)
		} else {
			dst[i] = v * f
		}
	}
}

func (plain[T]) mul(dst, a, b []T, add bool) {
	for i := range dst {
		if add {
			dst[i] += T(a[i] * b[i])
		} else {
			dst[i] = a[i] * b[i]
		}
	}
}

func (plain[T]) gemm(l loops, c, a, b dense[T], m, n, k int, add bool) {
	l.parts(m, func(i int) {
		row := c.data[i*c.stride:][:n]
		if !add {
			clear(row)
		}
		if b.turned && !a.turned {
			for j := range row {
				row[j] += dot(a.data[i*a.stride:][:k], b.data[j*b.stride:][:k])
			}
			return
		}
		for p := range k {
			x := a.at(i, p)
			if b.turned {
				for j := range row {
					row[j] += T(x * b.data[j*b.stride+p])
				}
				continue
			}
			for j, y := range b.data[p*b.stride:][:n] {
				row[j] += T(x * y)
			}
		}
	})
}

func (plain[T]) rmsNorm(y, x, w []T, width int, spec Norm) {
	plus := spec.plus()
	for at := 0; at < len(x); at += width {
		in, out := x[at:at+width], y[at:at+width]
		inv := inverseRMS(in, spec.Eps)
		for j, v := range in {
			f := inv
			if len(w) > 0 {
				f *= plus + float64(w[(at+j)%len(w)])
			}
			out[j] = T(float64(v) * f)
		}
	}
}

// plus is what is added to the weights.
func (n Norm) plus() float64 {
	if n.PlusOne {
		return 1
	}
	return 0
}

func inverseRMS[T float](x []T, eps float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(float64(v) * float64(v))
	}
	return 1 / math.Sqrt(sum/float64(len(x))+eps)
}

// With n = x/rms: dw += dy n, and dx = (g - n mean(g n))/rms for g = dy w.
func (plain[T]) rmsNormBack(dx, dw, dy, x, w []T, width int, spec Norm, add bool) {
	plus := spec.plus()
	for at := 0; at < len(x); at += width {
		in, up := x[at:at+width], dy[at:at+width]
		inv := inverseRMS(in, spec.Eps)
		weight := func(j int) float64 {
			if len(w) == 0 {
				return 1
			}
			return plus + float64(w[(at+j)%len(w)])
		}
		mean := 0.0
		for j, v := range in {
			n := float64(v) * inv
			mean += float64(up[j]) * weight(j) * n
			if dw != nil {
				dw[(at+j)%len(dw)] += T(float64(up[j]) * n)
			}
		}
		mean /= float64(width)
		if dx == nil {
			continue
		}
		for j, v := range in {
			put(&dx[at+j], (float64(up[j])*weight(j)-float64(v)*inv*mean)*inv, add)
		}
	}
}

// put is *d (+)= v.
func put[T float](d *T, v float64, add bool) {
	if add {
		*d += T(v)
	} else {
		*d = T(v)
	}
}

func sigmoid(v float64) float64 { return 1 / (1 + math.Exp(-v)) }

func (plain[T]) swiGLU(y, gate, up []T) {
	for i, g := range gate {
		y[i] = T(float64(g)*sigmoid(float64(g))) * up[i]
	}
}

func (plain[T]) swiGLUBack(dgate, dup, dy, gate, up []T, addGate, addUp bool) {
	for i := range dy {
		g, d := float64(gate[i]), float64(dy[i])
		s := sigmoid(g)
		if dgate != nil {
			put(&dgate[i], d*float64(up[i])*s*(1+g*(1-s)), addGate)
		}
		if dup != nil {
			put(&dup[i], d*g*s, addUp)
		}
	}
}

// curve is a function of one variable with its derivative; c is a constant of it.
type curve struct {
	f     func(x, c float64) float64
	slope func(v, c float64) float64 // v is f(x) if own, else x
	own   bool
	c     float64
	kind  curveKind
}

type curveKind uint8

const (
	curveSiLU curveKind = iota
	curveSigmoid
	curveGELU
	curveGELUTanh
	curveSoftcap
)

var rootTwoOverPi = math.Sqrt(2 / math.Pi)

// curves holds the activation functions by kind.
var curves = [...]curve{
	curveSiLU: {f: func(x, _ float64) float64 { return x * sigmoid(x) },
		slope: func(x, _ float64) float64 { s := sigmoid(x); return s * (1 + x*(1-s)) }},
	curveSigmoid: {f: func(x, _ float64) float64 { return sigmoid(x) },
		slope: func(y, _ float64) float64 { return y * (1 - y) }, own: true},
	// Phi(x) = erfc(-x/sqrt 2)/2: erfc keeps its digits where 1 + erf would cancel.
	curveGELU: {f: func(x, _ float64) float64 { return 0.5 * x * math.Erfc(-x/math.Sqrt2) },
		slope: func(x, _ float64) float64 {
			return 0.5*math.Erfc(-x/math.Sqrt2) + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
		}},
	curveGELUTanh: {f: func(x, _ float64) float64 { return 0.5 * x * (1 + math.Tanh(rootTwoOverPi*(x+0.044715*x*x*x))) },
		slope: func(x, _ float64) float64 {
			th := math.Tanh(rootTwoOverPi * (x + 0.044715*x*x*x))
			return 0.5*(1+th) + 0.5*x*(1-th*th)*rootTwoOverPi*(1+3*0.044715*x*x)
		}},
	curveSoftcap: {f: func(x, c float64) float64 { return c * math.Tanh(x/c) },
		slope: func(y, c float64) float64 { return 1 - y*y/(c*c) }, own: true},
}

func activation(kind curveKind, c float64) curve {
	f := curves[kind]
	f.kind, f.c = kind, c
	return f
}

func (plain[T]) apply(y, x []T, f curve) {
	for i, v := range x {
		y[i] = T(f.f(float64(v), f.c))
	}
}

func (plain[T]) applyBack(dx, dy, v []T, f curve, add bool) {
	for i, d := range dy {
		put(&dx[i], float64(d)*f.slope(float64(v[i]), f.c), add)
	}
}

func (plain[T]) rope(x, cos, sin []T, pairs bool) {
	half := len(cos)
	for i := range half {
		j1, j2 := i, i+half
		if pairs {
			j1, j2 = 2*i, 2*i+1
		}
		x1, x2 := x[j1], x[j2]
		x[j1] = T(x1*cos[i]) - T(x2*sin[i])
		x[j2] = T(x2*cos[i]) + T(x1*sin[i])
	}
}

func (plain[T]) logSumExp(x []T) float64 {
	top := math.Inf(-1)
	for _, v := range x {
		top = max(top, float64(v))
	}
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum)
}

func (plain[T]) lossBack(d, x []T, lse, g, z float64, target int) {
	for i, v := range x {
		d[i] = T(g * (1 + z*lse) * math.Exp(float64(v)-lse))
	}
	d[target] -= T(g)
}
