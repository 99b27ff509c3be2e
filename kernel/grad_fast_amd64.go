package kernel

// The way from the training kernels to their assembly, as vec_fast_amd64.go is for the vector operations: false leaves the work to plain Go.

// keepMask is all ones where a destination is added to.
func keepMask(add bool) uint32 {
	if add {
		return 1<<32 - 1
	}
	return 0
}

func productFast(dst, x, y []float32, add bool) bool {
	if vecLevel == vecPlain {
		return false
	}
	keep := keepMask(add)
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			productAVX512(&dst[0], &x[0], &y[0], n, keep)
		} else {
			productAVX2(&dst[0], &x[0], &y[0], n, keep)
		}
		dst, x, y = dst[n:], x[n:], y[n:]
	}
	return true
}

func siluGradFast(dx, dy, x []float32, add bool) bool {
	if vecLevel == vecPlain {
		return false
	}
	keep := keepMask(add)
	for len(dx) > 0 {
		n := min(len(dx), vecSpan)
		if vecLevel == vecAVX512 {
			siluGradAVX512(&dx[0], &dy[0], &x[0], n, keep)
		} else {
			siluGradAVX2(&dx[0], &dy[0], &x[0], n, keep)
		}
		dx, dy, x = dx[n:], dy[n:], x[n:]
	}
	return true
}

func geluTanhGradFast(dx, dy, x []float32, add bool) bool {
	if vecLevel == vecPlain {
		return false
	}
	keep := keepMask(add)
	for len(dx) > 0 {
		n := min(len(dx), vecSpan)
		if vecLevel == vecAVX512 {
			geluTanhGradAVX512(&dx[0], &dy[0], &x[0], n, keep)
		} else {
			geluTanhGradAVX2(&dx[0], &dy[0], &x[0], n, keep)
		}
		dx, dy, x = dx[n:], dy[n:], x[n:]
	}
	return true
}

func geluGradFast(dx, dy, x []float32, add bool) bool {
	if vecLevel == vecPlain {
		return false
	}
	keep := keepMask(add)
	for len(dx) > 0 {
		n := min(len(dx), vecSpan)
		if vecLevel == vecAVX512 {
			geluGradAVX512(&dx[0], &dy[0], &x[0], n, keep)
		} else {
			geluGradAVX2(&dx[0], &dy[0], &x[0], n, keep)
		}
		dx, dy, x = dx[n:], dy[n:], x[n:]
	}
	return true
}

func siluMulGradFast(dgate, dup, dy, gate, up []float32, addGate, addUp bool) bool {
	if vecLevel == vecPlain {
		return false
	}
	keepGate := keepMask(addGate)
	keepUp := keepMask(addUp)
	for len(dgate) > 0 {
		n := min(len(dgate), vecSpan)
		if vecLevel == vecAVX512 {
			siluMulGradAVX512(&dgate[0], &dup[0], &dy[0], &gate[0], &up[0], n, keepGate, keepUp)
		} else {
			siluMulGradAVX2(&dgate[0], &dup[0], &dy[0], &gate[0], &up[0], n, keepGate, keepUp)
		}
		dgate, dup, dy, gate, up = dgate[n:], dup[n:], dy[n:], gate[n:], up[n:]
	}
	return true
}

func geluTanhMulGradFast(dgate, dup, dy, gate, up []float32, addGate, addUp bool) bool {
	if vecLevel == vecPlain {
		return false
	}
	keepGate := keepMask(addGate)
	keepUp := keepMask(addUp)
	for len(dgate) > 0 {
		n := min(len(dgate), vecSpan)
		if vecLevel == vecAVX512 {
			geluTanhMulGradAVX512(&dgate[0], &dup[0], &dy[0], &gate[0], &up[0], n, keepGate, keepUp)
		} else {
			geluTanhMulGradAVX2(&dgate[0], &dup[0], &dy[0], &gate[0], &up[0], n, keepGate, keepUp)
		}
		dgate, dup, dy, gate, up = dgate[n:], dup[n:], dy[n:], gate[n:], up[n:]
	}
	return true
}

func sigmoidFast(dst, x []float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			sigmoidAVX512(&dst[0], &x[0], n)
		} else {
			sigmoidAVX2(&dst[0], &x[0], n)
		}
		dst, x = dst[n:], x[n:]
	}
	return true
}

func ownGradFast(dx, dy, y []float32, a, b, c float32, add bool) bool {
	if vecLevel == vecPlain {
		return false
	}
	keep := keepMask(add)
	for len(dx) > 0 {
		n := min(len(dx), vecSpan)
		if vecLevel == vecAVX512 {
			ownGradAVX512(&dx[0], &dy[0], &y[0], n, a, b, c, keep)
		} else {
			ownGradAVX2(&dx[0], &dy[0], &y[0], n, a, b, c, keep)
		}
		dx, dy, y = dx[n:], dy[n:], y[n:]
	}
	return true
}

func softmaxGradFast(dst, p, dp []float32, d, scale float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			softmaxGradAVX512(&dst[0], &p[0], &dp[0], n, d, scale)
		} else {
			softmaxGradAVX2(&dst[0], &p[0], &dp[0], n, d, scale)
		}
		dst, p, dp = dst[n:], p[n:], dp[n:]
	}
	return true
}

func adamFast(p, m, v, g []float32, s AdamStep) bool {
	if vecLevel == vecPlain {
		return false
	}
	oneB1, b2, oneB2 := float32(1-s.Beta1), float32(s.Beta2), float32(1-s.Beta2)
	shrink, rate, root, eps := float32(s.Shrink), float32(s.Rate), float32(s.Root), float32(s.Eps)
	for len(p) > 0 {
		n := min(len(p), vecSpan)
		if vecLevel == vecAVX512 {
			adamAVX512(&p[0], &m[0], &v[0], &g[0], n, oneB1, b2, oneB2, shrink, rate, root, eps)
		} else {
			adamAVX2(&p[0], &m[0], &v[0], &g[0], n, oneB1, b2, oneB2, shrink, rate, root, eps)
		}
		p, m, v, g = p[n:], m[n:], v[n:], g[n:]
	}
	return true
}

// rmsNormGradFast takes a row as a whole.
func rmsNormGradFast(dx, dw, dy, x, w []float32, eps float32, plusOne, add bool) bool {
	var weights, gradients *float32
	plus := float32(0)
	if w != nil {
		weights = &w[0]
	}
	if dw != nil {
		gradients = &dw[0]
	}
	if plusOne {
		plus = 1
	}
	switch vecLevel {
	case vecAVX512:
		rmsNormGradAVX512(&dx[0], gradients, &dy[0], &x[0], weights, len(x), eps, plus, keepMask(add))
	case vecAVX2:
		rmsNormGradAVX2(&dx[0], gradients, &dy[0], &x[0], weights, len(x), eps, plus, keepMask(add))
	default:
		return false
	}
	return true
}

func expSubFast(dst, x []float32, scale, sub, times float32) (float32, bool) {
	if vecLevel == vecPlain {
		return 0, false
	}
	if len(x) <= vecSpan { // a short row of attention: float32 throughout
		switch {
		case len(x) == 0:
			return 0, true
		case vecLevel == vecAVX512:
			return expSubAVX512(&dst[0], &x[0], len(x), scale, sub, times), true
		}
		return expSubAVX2(&dst[0], &x[0], len(x), scale, sub, times), true
	}
	sum := 0.0
	for len(x) > 0 {
		n := min(len(x), vecSpan)
		part, _ := expSubFast(dst[:n], x[:n], scale, sub, times)
		sum += float64(part)
		dst, x = dst[n:], x[n:]
	}
	return float32(sum), true
}

func expSumFast(x []float32, sub float32) (sum float64, ok bool) {
	if vecLevel == vecPlain {
		return 0, false
	}
	for len(x) > 0 {
		n := min(len(x), vecSpan)
		if vecLevel == vecAVX512 {
			sum += float64(expSumAVX512(&x[0], n, sub))
		} else {
			sum += float64(expSumAVX2(&x[0], n, sub))
		}
		x = x[n:]
	}
	return sum, true
}

// maxFast takes whole registers.
func maxFast(x []float32) (float32, bool) {
	if vecLevel == vecPlain {
		return 0, false
	}
	top := negInf
	for len(x) > 0 {
		n := min(len(x), vecSpan)
		if vecLevel == vecAVX512 {
			top = max(top, maxOfAVX512(&x[0], n))
		} else {
			top = max(top, maxOfAVX2(&x[0], n))
		}
		x = x[n:]
	}
	return top, true
}

// sumSquaresFast takes a multiple of 32 elements.
func sumSquaresFast(x []float32) (sum float64, ok bool) {
	if vecLevel == vecPlain {
		return 0, false
	}
	for len(x) > 0 {
		n := min(len(x), vecSpan)
		if vecLevel == vecAVX512 {
			sum += sumSquaresAVX512(&x[0], n)
		} else {
			sum += sumSquaresAVX2(&x[0], n)
		}
		x = x[n:]
	}
	return sum, true
}

// dotLanesFast takes a multiple of 16 elements.
func dotLanesFast(lane *[16]float32, x, y []float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(x) > 0 {
		n := min(len(x), vecSpan)
		if vecLevel == vecAVX512 {
			dotLanesAVX512(&lane[0], &x[0], &y[0], n)
		} else {
			dotLanesAVX2(&lane[0], &x[0], &y[0], n)
		}
		x, y = x[n:], y[n:]
	}
	return true
}
