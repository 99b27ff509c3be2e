// The eager norms and activation functions. All compute in float64 and round the result once to the type at hand.
package tensor

import "math"

func (eager[T]) RMSNorm(x, w Tensor, spec Norm) Tensor {
	a := mat[T]("RMSNorm", x)
	var weight []T
	var shape []int
	if w != nil {
		b := arr[T]("RMSNorm", w)
		weight, shape = b.data, b.shape
	}
	_, width := checkNorm(a.shape, shape, spec)
	y := like(a)
	plain[T]{}.rmsNorm(y.data, a.data, weight, width, spec)
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
	y := like(a)
	for r := range a.rows() {
		layerNormRow(y.row(r), a.row(r), weight, bias, eps)
	}
	return y
}

// layerNormRow: w and b may be nil.
func layerNormRow[T float](y, x, w, b []T, eps float64) {
	mean, inv := spread(x, eps)
	for j, v := range x {
		f := (float64(v) - mean) * inv
		if w != nil {
			f *= float64(w[j])
		}
		if b != nil {
			f += float64(b[j])
		}
		y[j] = T(f)
	}
}

// spread is the mean of a row and 1 over its deviation.
func spread[T float](x []T, eps float64) (mean, inv float64) {
	for _, v := range x {
		mean += float64(v)
	}
	mean /= float64(len(x))
	variance := 0.0
	for _, v := range x {
		d := float64(v) - mean
		variance += float64(d * d)
	}
	return mean, 1 / math.Sqrt(variance/float64(len(x))+eps)
}

// each applies a curve to every element.
func each[T float](op string, x Tensor, f curve) Tensor {
	a := arr[T](op, x)
	y := like(a)
	loops{}.elements(len(a.data), func(from, to int) { plain[T]{}.apply(y.data[from:to], a.data[from:to], f) })
	return y
}

func (eager[T]) SiLU(x Tensor) Tensor    { return each[T]("SiLU", x, activation(curveSiLU, 0)) }
func (eager[T]) Sigmoid(x Tensor) Tensor { return each[T]("Sigmoid", x, activation(curveSigmoid, 0)) }

func (eager[T]) GELU(x Tensor, tanh bool) Tensor {
	if tanh {
		return each[T]("GELU", x, activation(curveGELUTanh, 0))
	}
	return each[T]("GELU", x, activation(curveGELU, 0))
}

func (eager[T]) Softcap(x Tensor, c float64) Tensor {
	checkCap(c)
	return each[T]("Softcap", x, activation(curveSoftcap, c))
}

func (eager[T]) Softmax(x Tensor) Tensor {
	a := mat[T]("Softmax", x)
	y := like(a)
	for r := range a.rows() {
		softmax(y.row(r), a.row(r))
	}
	return y
}

func (o eager[T]) SwiGLU(gate, up Tensor) Tensor { return o.Mul(o.SiLU(gate), up) }
