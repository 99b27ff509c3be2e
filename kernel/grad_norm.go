package kernel

// Backward passes of the norms of one row, each from the row itself: nothing is kept from the forward pass.

import "math"

// RMSNormBackward is the backward pass of RMSNorm. With r = 1 / sqrt(mean(x²) + eps), n = x r and a = dy w, or dy (1 + w) where plusOne is set:
//
//	dx = r (a - n mean(a n)), written, or added where add is set;  dw += dy n
//
// dx, dw or both may be nil: not wanted. A nil w means no weight; dw is then nil. dx may be dy.
func RMSNormBackward(dx, dw, dy, x, w []float32, eps float32, plusOne, add bool) {
	if len(x) == 0 {
		return
	}
	dy = dy[:len(x)]
	if w != nil {
		w = w[:len(x)]
	}
	if dw != nil {
		dw = dw[:len(x)]
	}
	if dx != nil {
		dx = dx[:len(x)]
	}
	if dx == nil || !rmsNormGradFast(dx, dw, dy, x, w, eps, plusOne, add) {
		rmsNormGradPlain(dx, dw, dy, x, w, eps, plusOne, add)
	}
}

func rmsNormGradPlain(dx, dw, dy, x, w []float32, eps float32, plusOne, add bool) {
	plus := 0.0
	if plusOne {
		plus = 1
	}
	weight := func(i int) float64 {
		if w == nil {
			return 1
		}
		return plus + float64(w[i])
	}
	square, mix := 0.0, 0.0
	for i, v := range x {
		square += float64(v) * float64(v)
		mix += float64(dy[i]) * weight(i) * float64(v)
	}
	n := float64(len(x))
	r := 1 / math.Sqrt(square/n+float64(eps))
	slope := r * r * r * mix / n
	for i, v := range x {
		a := float64(dy[i])
		if dw != nil {
			dw[i] += float32(a * float64(v) * r)
		}
		if dx != nil {
			put(dx, i, float32(a*weight(i)*r-slope*float64(v)), add)
		}
	}
}
