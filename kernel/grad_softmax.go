package kernel

// Rows of softmax and cross-entropy in training.

import "math"

// ExpSub: dst[i] = times e^(scale x[i] - sub); it returns the sum of dst. dst may be x. With sub the row's log-sum-exp these are probabilities.
func ExpSub(dst, x []float32, scale, sub, times float32) float32 {
	dst = dst[:len(x)]
	if sum, ok := expSubFast(dst, x, scale, sub, times); ok {
		return sum
	}
	sum := 0.0
	for i, v := range x {
		dst[i] = times * expf(float32(scale*v)-sub)
		sum += float64(dst[i])
	}
	return float32(sum)
}

// Max is the largest element, -Inf of none. NaN is left out.
func Max(x []float32) float32 {
	top := negInf
	n := len(x) &^ 15
	if n > 0 {
		if m, ok := maxFast(x[:n]); ok {
			top, x = m, x[n:]
		}
	}
	for _, v := range x {
		if v > top {
			top = v
		}
	}
	return top
}

// LogSumExp is log(sum e^x), -Inf of an empty row or one of nothing but -Inf.
func LogSumExp(x []float32) float64 {
	top := Max(x)
	if math.IsInf(float64(top), 0) {
		return float64(top)
	}
	return float64(top) + math.Log(expSum(x, top))
}

// expSum is the sum of e^(x - sub).
func expSum(x []float32, sub float32) float64 {
	if sum, ok := expSumFast(x, sub); ok {
		return sum
	}
	sum := 0.0
	for _, v := range x {
		sum += float64(expf(v - sub))
	}
	return sum
}

// CrossEntropyBackward is the backward pass of the loss lse - x[target] of one row of logits, lse being LogSumExp(x) and g the loss's own gradient:
//
//	dx = g (1 + z lse) softmax(x), less g at the target
//
// z is 0, or 2 c for a loss that has c lse² more. dx may be x.
func CrossEntropyBackward(dx, x []float32, lse, g, z float64, target int) {
	sub := float32(lse)
	ExpSub(dx, x, 1, sub, float32(g*(1+z*lse)*math.Exp(float64(sub)-lse))) // the last factor is what rounding lse took
	dx[target] -= float32(g)
}

// SoftmaxBackward: dst[i] = scale p[i] (dp[i] - d), the gradient of scores whose softmax is p, given that of p and d = sum of p dp. dst may be p or dp.
func SoftmaxBackward(dst, p, dp []float32, d, scale float32) {
	dst, dp = dst[:len(p)], dp[:len(p)]
	if !softmaxGradFast(dst, p, dp, d, scale) {
		for i, v := range p {
			dst[i] = float32(v*scale) * (dp[i] - d)
		}
	}
}
