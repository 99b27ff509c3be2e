package kernel

// Rotary position embedding (Su et al., RoFormer, 2021) of one head's rotary slice, in place. The tables of cos and sin are made elsewhere.

// RopeHalf rotates the pairs (i, i+n/2) of x, n = len(x) even, by the angle whose cosine and sine are cos[i] and sin[i], i < n/2 (the order of Hugging Face's checkpoints).
func RopeHalf(x, cos, sin []float32) {
	h := len(x) / 2
	if h > 0 && !ropeHalfFast(x[:h], x[h:2*h], cos[:h], sin[:h]) {
		ropeHalfPlain(x[:2*h], cos[:h], sin[:h])
	}
}

func ropeHalfPlain(x, cos, sin []float32) {
	a, b := x[:len(cos)], x[len(cos):]
	for i, c := range cos {
		u, v, s := a[i], b[i], sin[i]
		a[i] = float32(u*c) - float32(v*s)
		b[i] = float32(v*c) + float32(u*s)
	}
}

// RopePairs rotates the pairs (2i, 2i+1) of x (the order of the paper and of GGUF's Llama files).
func RopePairs(x, cos, sin []float32) {
	h := len(x) / 2
	done := ropePairsFast(x[:2*h], cos[:h], sin[:h])
	ropePairsPlain(x[2*done:2*h], cos[done:h], sin[done:h])
}

func ropePairsPlain(x, cos, sin []float32) {
	for i, c := range cos {
		u, v, s := x[2*i], x[2*i+1], sin[i]
		x[2*i] = float32(u*c) - float32(v*s)
		x[2*i+1] = float32(v*c) + float32(u*s)
	}
}
