package kernel

// The way from the vector operations to their assembly. Each function reports whether it did the work; false leaves it to plain Go. Slices are cut to equal
// lengths by the callers; long ones go in pieces of vecSpan.

func addFast(dst, x []float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			addAVX512(&dst[0], &x[0], n)
		} else {
			addAVX2(&dst[0], &x[0], n)
		}
		dst, x = dst[n:], x[n:]
	}
	return true
}

func mulFast(dst, x []float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			mulAVX512(&dst[0], &x[0], n)
		} else {
			mulAVX2(&dst[0], &x[0], n)
		}
		dst, x = dst[n:], x[n:]
	}
	return true
}

func addScaledFast(dst, x []float32, a float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			addScaledAVX512(&dst[0], &x[0], n, a)
		} else {
			addScaledAVX2(&dst[0], &x[0], n, a)
		}
		dst, x = dst[n:], x[n:]
	}
	return true
}

func scaleFast(dst []float32, a float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			scaleAVX512(&dst[0], n, a)
		} else {
			scaleAVX2(&dst[0], n, a)
		}
		dst = dst[n:]
	}
	return true
}

func scaleToFast(dst, x []float32, a float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			scaleToAVX512(&dst[0], &x[0], n, a)
		} else {
			scaleToAVX2(&dst[0], &x[0], n, a)
		}
		dst, x = dst[n:], x[n:]
	}
	return true
}

func mergeRowFast(dst, x []float32, a, b float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			mergeRowAVX512(&dst[0], &x[0], n, a, b)
		} else {
			mergeRowAVX2(&dst[0], &x[0], n, a, b)
		}
		dst, x = dst[n:], x[n:]
	}
	return true
}

func expFast(dst []float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			expAVX512(&dst[0], n)
		} else {
			expAVX2(&dst[0], n)
		}
		dst = dst[n:]
	}
	return true
}

func siluFast(dst []float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			siluAVX512(&dst[0], n)
		} else {
			siluAVX2(&dst[0], n)
		}
		dst = dst[n:]
	}
	return true
}

func siluMulFast(dst, gate, up []float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			siluMulAVX512(&dst[0], &gate[0], &up[0], n)
		} else {
			siluMulAVX2(&dst[0], &gate[0], &up[0], n)
		}
		dst, gate, up = dst[n:], gate[n:], up[n:]
	}
	return true
}

func geluTanhFast(dst []float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			geluTanhAVX512(&dst[0], n)
		} else {
			geluTanhAVX2(&dst[0], n)
		}
		dst = dst[n:]
	}
	return true
}

func geluTanhMulFast(dst, gate, up []float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			geluTanhMulAVX512(&dst[0], &gate[0], &up[0], n)
		} else {
			geluTanhMulAVX2(&dst[0], &gate[0], &up[0], n)
		}
		dst, gate, up = dst[n:], gate[n:], up[n:]
	}
	return true
}

func softcapFast(dst []float32, c, inv float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			softcapAVX512(&dst[0], n, c, inv)
		} else {
			softcapAVX2(&dst[0], n, c, inv)
		}
		dst = dst[n:]
	}
	return true
}

func rmsNormFast(dst, x, w []float32, eps, plus float32) bool {
	var weights *float32
	if w != nil {
		weights = &w[0]
	}
	switch vecLevel {
	case vecAVX512:
		rmsNormAVX512(&dst[0], &x[0], weights, len(dst), eps, plus)
	case vecAVX2:
		rmsNormAVX2(&dst[0], &x[0], weights, len(dst), eps, plus)
	default:
		return false
	}
	return true
}

func ropeHalfFast(a, b, cos, sin []float32) bool {
	switch vecLevel {
	case vecAVX512:
		ropeHalfAVX512(&a[0], &b[0], &cos[0], &sin[0], len(cos))
	case vecAVX2:
		ropeHalfAVX2(&a[0], &b[0], &cos[0], &sin[0], len(cos))
	default:
		return false
	}
	return true
}

// ropePairsFast rotates the first pairs and returns how many.
func ropePairsFast(x, cos, sin []float32) int {
	switch n := len(cos) &^ 7; {
	case n > 0 && vecLevel == vecAVX512:
		ropePairsAVX512(&x[0], &cos[0], &sin[0], n)
		return n
	case n > 0 && vecLevel == vecAVX2:
		ropePairsAVX2(&x[0], &cos[0], &sin[0], n)
		return n
	}
	return 0
}

func geluFast(dst []float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			geluAVX512(&dst[0], n)
		} else {
			geluAVX2(&dst[0], n)
		}
		dst = dst[n:]
	}
	return true
}

func geluMulFast(dst, gate, up []float32) bool {
	if vecLevel == vecPlain {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), vecSpan)
		if vecLevel == vecAVX512 {
			geluMulAVX512(&dst[0], &gate[0], &up[0], n)
		} else {
			geluMulAVX2(&dst[0], &gate[0], &up[0], n)
		}
		dst, gate, up = dst[n:], gate[n:], up[n:]
	}
	return true
}

// normalizeFast does (x - mean) / sqrt(var + eps), for lengths of whole registers.
func normalizeFast(dst, x []float32, eps float32) bool {
	if len(x)%16 != 0 || len(x) > vecSpan {
		return false
	}
	switch vecLevel {
	case vecAVX512:
		normalizeAVX512(&dst[0], &x[0], len(x), eps)
	case vecAVX2:
		normalizeAVX2(&dst[0], &x[0], len(x), eps)
	default:
		return false
	}
	return true
}

// hadamardFast does all stages, without the scale, for lengths from a register up.
func hadamardFast(x []float32) bool {
	n := len(x)
	if vecLevel == vecPlain || n < 16 || n > vecSpan {
		return false
	}
	h := 16
	if vecLevel == vecAVX512 {
		hadamardLanesAVX512(&x[0], n)
	} else {
		hadamardLanesAVX2(&x[0], n)
		h = 8
	}
	for ; h < n; h *= 2 {
		for i := 0; i < n; i += 2 * h {
			if vecLevel == vecAVX512 {
				butterflyAVX512(&x[i], &x[i+h], h)
			} else {
				butterflyAVX2(&x[i], &x[i+h], h)
			}
		}
	}
	return true
}

// argMaxFast finds the first of the largest numbers; -1 leaves it to plain Go.
func argMaxFast(x []float32) int {
	n := len(x) &^ 15
	if vecLevel == vecPlain || n == 0 {
		return -1
	}
	top := negInf
	for at := 0; at < n; at += vecSpan {
		if vecLevel == vecAVX512 {
			top = max(top, maxOfAVX512(&x[at], min(n-at, vecSpan)))
		} else {
			top = max(top, maxOfAVX2(&x[at], min(n-at, vecSpan)))
		}
	}
	for _, v := range x[n:] {
		if v > top {
			top = v
		}
	}
	if top == negInf { // or NaN alone
		return -1
	}
	at := 0
	for at < n {
		span, found := min(n-at, vecSpan), 0
		if vecLevel == vecAVX512 {
			found = findAVX512(&x[at], span, top)
		} else {
			found = findAVX2(&x[at], span, top)
		}
		at += found
		if found < span {
			break
		}
	}
	for x[at] != top {
		at++
	}
	return at
}
