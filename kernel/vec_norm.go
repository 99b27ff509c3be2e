package kernel

// Norms of one row. The sum over a row runs in an order that depends on the row's length alone.

import "math"

// RMSNorm: dst = x / sqrt(mean(x²) + eps) * w, or * (1 + w) where plusOne is set (Gemma). A nil w means no weight. dst may be x.
//
// Zhang and Sennrich, Root Mean Square Layer Normalization, 2019.
func RMSNorm(dst, x, w []float32, eps float32, plusOne bool) {
	x = x[:len(dst)]
	if w != nil {
		w = w[:len(dst)]
	}
	if len(dst) == 0 {
		return
	}
	plus := float32(0)
	if plusOne {
		plus = 1
	}
	if !rmsNormFast(dst, x, w, eps, plus) {
		rmsNormPlain(dst, x, w, eps, plusOne)
	}
}

func rmsNormPlain(dst, x, w []float32, eps float32, plusOne bool) {
	var sum float64
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	inv := float32(1 / math.Sqrt(sum/float64(len(x))+float64(eps)))
	switch {
	case w == nil:
		for i, v := range x {
			dst[i] = v * inv
		}
	case plusOne:
		for i, v := range x {
			dst[i] = float32(v*inv) * (1 + w[i])
		}
	default:
		for i, v := range x {
			dst[i] = float32(v*inv) * w[i]
		}
	}
}

// LayerNorm: dst = (x - mean) / sqrt(var + eps) * w + b, with the biased variance. w and b may be nil; dst may be x.
//
// Ba, Kiros and Hinton, Layer Normalization, 2016.
func LayerNorm(dst, x, w, b []float32, eps float32) {
	x = x[:len(dst)]
	if len(dst) == 0 {
		return
	}
	if normalizeFast(dst, x, eps) {
		if w != nil {
			MulInto(dst, w[:len(dst)])
		}
		if b != nil {
			Add(dst, b[:len(dst)])
		}
		return
	}
	var sum, sq float64
	for _, v := range x {
		sum += float64(v)
	}
	mean := sum / float64(len(x))
	for _, v := range x {
		d := float64(v) - mean
		sq += d * d
	}
	inv := 1 / math.Sqrt(sq/float64(len(x))+float64(eps))
	for i, v := range x {
		y := float32((float64(v) - mean) * inv)
		if w != nil {
			y *= w[i]
		}
		if b != nil {
			y += b[i]
		}
		dst[i] = y
	}
}
