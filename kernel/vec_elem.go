package kernel

// Element-wise vector operations that need no function beyond add and multiply, and the plain reductions.
//
// An element's result depends on its own inputs alone, never on its place in the slice or the slice's length, so callers may cut slices over threads as they like. Every function
// panics, as indexing does, where another slice is shorter than dst; none allocates. Nothing here runs in parallel.

// Add: dst[i] += x[i].
func Add(dst, x []float32) {
	x = x[:len(dst)]
	if !addFast(dst, x) {
		addPlain(dst, x)
	}
}

func addPlain(dst, x []float32) {
	for i, v := range x {
		dst[i] += v
	}
}

// AddScaled: dst[i] += a * x[i].
func AddScaled(dst, x []float32, a float32) {
	x = x[:len(dst)]
	if !addScaledFast(dst, x, a) {
		addScaledPlain(dst, x, a)
	}
}

func addScaledPlain(dst, x []float32, a float32) {
	for i, v := range x {
		dst[i] += float32(a * v)
	}
}

// Scale: x[i] *= a.
func Scale(x []float32, a float32) {
	if !scaleFast(x, a) {
		scalePlain(x, a)
	}
}

func scalePlain(x []float32, a float32) {
	for i := range x {
		x[i] *= a
	}
}

// ScaleTo: dst[i] = x[i] * a.
func ScaleTo(dst, x []float32, a float32) {
	x = x[:len(dst)]
	if !scaleToFast(dst, x, a) {
		for i, v := range x {
			dst[i] = v * a
		}
	}
}

// MulInto: dst[i] *= x[i].
func MulInto(dst, x []float32) {
	x = x[:len(dst)]
	if !mulFast(dst, x) {
		mulPlain(dst, x)
	}
}

func mulPlain(dst, x []float32) {
	for i, v := range x {
		dst[i] *= v
	}
}

// Dot is the inner product of x and y[:len(x)], summed in 16 lanes (element i in lane i mod 16) and then over the lanes in pairs 8, 4, 2, 1 apart.
func Dot(x, y []float32) float32 {
	y = y[:len(x)]
	var lane [16]float32
	n := len(x) &^ 15
	if dotLanesFast(&lane, x[:n], y) {
		x, y = x[n:], y[n:]
	}
	for i, v := range x {
		lane[i%16] += float32(v * y[i])
	}
	return foldLanes(&lane)
}

// foldLanes adds 16 lanes in pairs 8, 4, 2, 1 apart: the order in which the vector kernels reduce a register.
func foldLanes(lane *[16]float32) float32 {
	for w := 8; w > 0; w /= 2 {
		for j := 0; j < w; j++ {
			lane[j] += lane[j+w]
		}
	}
	return lane[0]
}

// ArgMax returns the index of the largest element, the first one among equals; -1 for an empty slice. NaN is never the largest unless all are NaN, when the answer is 0.
func ArgMax(x []float32) int {
	if len(x) == 0 {
		return -1
	}
	if i := argMaxFast(x); i >= 0 {
		return i
	}
	best := 0
	for i, v := range x {
		if v > x[best] || (x[best] != x[best] && v == v) {
			best = i
		}
	}
	return best
}
