package kernel

// Flash's way to its assembly: above the plain level alone. Rows are at most a chunk long, so that no call is.

func flashRowFast(x []float32, from, to int, scale, top float32) (newTop, sum float32) {
	if vecLevel == vecAVX512 {
		return flashRowAVX512(&x[0], len(x), from, to, scale, top)
	}
	return flashRowAVX2(&x[0], len(x), from, to, scale, top)
}

func flashGradFast(p, dp []float32, from, to int, scale, lse, delta, times float32) {
	if vecLevel == vecAVX512 {
		flashGradAVX512(&p[0], &dp[0], len(p), from, to, scale, lse, delta, times)
		return
	}
	flashGradAVX2(&p[0], &dp[0], len(p), from, to, scale, lse, delta, times)
}

func flashDotFast(x, y []float32) float32 {
	if vecLevel == vecAVX512 {
		return flashDotAVX512(&x[0], &y[0], len(x))
	}
	return flashDotAVX2(&x[0], &y[0], len(x))
}
