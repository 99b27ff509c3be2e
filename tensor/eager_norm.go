// The eager norms and activation functions. All compute in float64 and round the result once to the type at hand.
package tensor

import "math"

func (eager[T]) RMSNorm(x, w Tensor, spec Norm) Tensor {
	a := mat[T]("RMSNorm", x)
	groups := max(spec.Groups, 1)
	if a.cols()%groups != 0 {
		bad("RMSNorm", "x %v in %d groups", a.shape, groups)
	}
	width := a.cols() / groups
	var weight []T
	if w != nil {
		weight = arr[T]("RMSNorm", w).data
		if s := w.Shape(); len(s) != 1 || (s[0] != width && s[0] != a.cols()) {
			bad("RMSNorm", "x %v in %d groups, w %v, want [%d] or [%d]", a.shape, groups, s, width, a.cols())
		}
	}
	plus := 0.0
	if spec.PlusOne {
		plus = 1
	}
	y := like(a)
	for r := range a.rows() {
		in, out := a.row(r), y.row(r)
		for g := 0; g < a.cols(); g += width {
			sum := 0.0
			for _, v := range in[g : g+width] {
				sum += float64(float64(v) * float64(v))
			}
			inv := 1 / math.Sqrt(sum/float64(width)+spec.Eps)
			for j := g; j < g+width; j++ {
				f := inv
				if weight != nil {
					f *= plus + float64(weight[j%len(weight)])
				}
				out[j] = T(float64(in[j]) * f)
			}
		}
	}
	return y
}

func (eager[T]) LayerNorm(x, w, b Tensor, eps float64) Tensor {
	a := mat[T]("LayerNorm", x)
	var weight, bias []T
	if w != nil {
		weight = vec("LayerNorm", w, a.cols(), a)
	}
	if b != nil {
		bias = vec("LayerNorm", b, a.cols(), a)
	}
	n := float64(a.cols())
	y := like(a)
	for r := range a.rows() {
		in, out := a.row(r), y.row(r)
		mean := 0.0
		for _, v := range in {
			mean += float64(v)
		}
		mean /= n
		variance := 0.0
		for _, v := range in {
			d := float64(v) - mean
			variance += float64(d * d)
		}
		inv := 1 / math.Sqrt(variance/n+eps)
		for j, v := range in {
			f := (float64(v) - mean) * inv
			if weight != nil {
				f *= float64(weight[j])
			}
			if bias != nil {
				f += float64(bias[j])
			}
			out[j] = T(f)
		}
	}
	return y
}

// each applies f to every element.
func each[T float](op string, x Tensor, f func(float64) float64) Tensor {
	a := arr[T](op, x)
	y := like(a)
	const chunk = 1 << 14
	parallel((len(a.data)+chunk-1)/chunk, func(c int) {
		e := min((c+1)*chunk, len(a.data))
		for i := c * chunk; i < e; i++ {
			y.data[i] = T(f(float64(a.data[i])))
		}
	})
	return y
}

func (eager[T]) SiLU(x Tensor) Tensor {
	return each[T]("SiLU", x, func(v float64) float64 { return v / (1 + math.Exp(-v)) })
}

func (eager[T]) Sigmoid(x Tensor) Tensor {
	return each[T]("Sigmoid", x, func(v float64) float64 { return 1 / (1 + math.Exp(-v)) })
}

func (eager[T]) GELU(x Tensor, tanh bool) Tensor {
	if tanh {
		c := math.Sqrt(2 / math.Pi)
		return each[T]("GELU", x, func(v float64) float64 { return 0.5 * v * (1 + math.Tanh(c*(v+0.044715*v*v*v))) })
	}
	// Phi(x) = erfc(-x/sqrt 2)/2: erfc keeps its digits where 1 + erf would cancel.
	return each[T]("GELU", x, func(v float64) float64 { return 0.5 * v * math.Erfc(-v/math.Sqrt2) })
}

func (eager[T]) Softcap(x Tensor, c float64) Tensor {
	if !(c > 0) {
		bad("Softcap", "c = %v, want > 0", c)
	}
	return each[T]("Softcap", x, func(v float64) float64 { return c * math.Tanh(v/c) })
}

func (o eager[T]) SwiGLU(gate, up Tensor) Tensor { return o.Mul(o.SiLU(gate), up) }
