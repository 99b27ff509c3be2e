package kernel

// The exponential and what is made of it: SiLU, GELU, tanh, softcap, softmax of a row.
//
// exp is an own polynomial: e^x = 2^n e^r with n = round(x / ln 2) and |r| <= ln 2 / 2, e^r = 1 + r + r² Q(r), Q of degree 4 fitted by minimax (3e-9). Relative error under 2e-7.
// Results below 2^-125 are flushed to zero, since denormals are slow and carry nothing here; above 88.72 the result is +Inf. NaN gives NaN.

import "math"

const (
	expLog2e = 1.44269504088896341
	expLn2Hi = 0.693359375 // few bits, so that n*expLn2Hi is exact
	expLn2Lo = -2.12194440054690583e-4
	expMin   = -86.6 // below: 0
	expMax   = 89    // clamp: gives +Inf
	expQ0    = 0.49999994
	expQ1    = 0.166665196
	expQ2    = 0.0416683927
	expQ3    = 0.00836878084
	expQ4    = 0.00138144672

	// tanh(x) = x + x³ T(x²) for |x| < tanhSplit, minimax 4e-9; above, from exp.
	tanhSplit = 0.625
	tanhT0    = -0.333332837
	tanhT1    = 0.133314908
	tanhT2    = -0.0537434965
	tanhT3    = 0.0206505861
	tanhT4    = -0.0057170433

	geluA = 0.7978845608028654 // sqrt(2/pi)
	geluB = 0.044715
)

// expf is e^x for one number, the reference of the vector kernels.
func expf(x float32) float32 {
	if x < expMin {
		return 0
	}
	if x > expMax {
		x = expMax
	}
	if x != x {
		return x
	}
	n := float32(math.RoundToEven(float64(float32(x * expLog2e))))
	r := x - float32(n*expLn2Hi)
	r -= float32(n * expLn2Lo)
	q := float32(expQ4*r) + expQ3
	q = float32(q*r) + expQ2
	q = float32(q*r) + expQ1
	q = float32(q*r) + expQ0
	e := float32(float32(r*r)*q) + r + 1
	return (e + e) * math.Float32frombits(uint32(int32(n)+126)<<23) // 2^n = 2 * 2^(n-1): n may be 128
}

// tanhf is tanh(x) for one number.
func tanhf(x float32) float32 {
	a := x
	if a < 0 {
		a = -a
	}
	if a < tanhSplit {
		z := float32(x * x)
		t := float32(tanhT4*z) + tanhT3
		t = float32(t*z) + tanhT2
		t = float32(t*z) + tanhT1
		t = float32(t*z) + tanhT0
		return float32(float32(x*z)*t) + x
	}
	e := expf(-2 * a)
	t := (1 - e) / (1 + e)
	if x < 0 {
		return -t
	}
	return t
}

func siluf(x float32) float32 { return x / (1 + expf(-x)) }

// geluTanhf: 0.5 x (1 + tanh u) = x / (1 + e^-2u), which loses nothing to cancellation.
func geluTanhf(x float32) float32 {
	u := float32(x * float32(geluA*(1+float32(geluB*float32(x*x)))))
	return x / (1 + expf(-2*u))
}

// Exp: x[i] = e^x[i].
func Exp(x []float32) {
	if !expFast(x) {
		expPlain(x)
	}
}

func expPlain(x []float32) {
	for i, v := range x {
		x[i] = expf(v)
	}
}

// SiLU: x[i] = x[i] / (1 + e^-x[i]).
func SiLU(x []float32) {
	if siluFast(x) {
		return
	}
	for i, v := range x {
		x[i] = siluf(v)
	}
}

// SiLUMul: dst[i] = SiLU(gate[i]) * up[i] (SwiGLU; Shazeer, GLU Variants Improve Transformer, 2020). dst may be gate or up.
func SiLUMul(dst, gate, up []float32) {
	gate, up = gate[:len(dst)], up[:len(dst)]
	if !siluMulFast(dst, gate, up) {
		siluMulPlain(dst, gate, up)
	}
}

func siluMulPlain(dst, gate, up []float32) {
	for i, v := range gate {
		dst[i] = siluf(v) * up[i]
	}
}

// GELUTanh: x[i] = 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x³))).
func GELUTanh(x []float32) {
	if geluTanhFast(x) {
		return
	}
	for i, v := range x {
		x[i] = geluTanhf(v)
	}
}

// GELUTanhMul: dst[i] = GELUTanh(gate[i]) * up[i] (GeGLU). dst may be gate or up.
func GELUTanhMul(dst, gate, up []float32) {
	gate, up = gate[:len(dst)], up[:len(dst)]
	if !geluTanhMulFast(dst, gate, up) {
		geluTanhMulPlain(dst, gate, up)
	}
}

func geluTanhMulPlain(dst, gate, up []float32) {
	for i, v := range gate {
		dst[i] = geluTanhf(v) * up[i]
	}
}

// GELU: x[i] = x Φ(x), by the error function.
func GELU(x []float32) {
	if geluFast(x) {
		return
	}
	for i, v := range x {
		x[i] = geluf(v)
	}
}

// GELUMul: dst[i] = GELU(gate[i]) * up[i]. dst may be gate or up.
func GELUMul(dst, gate, up []float32) {
	gate, up = gate[:len(dst)], up[:len(dst)]
	if geluMulFast(dst, gate, up) {
		return
	}
	for i, v := range gate {
		dst[i] = geluf(v) * up[i]
	}
}

func geluf(x float32) float32 {
	return float32(0.5 * float64(x) * (1 + math.Erf(float64(x)/math.Sqrt2)))
}

// Tanh: x[i] = tanh(x[i]).
func Tanh(x []float32) {
	if softcapFast(x, 1, 1) {
		return
	}
	for i, v := range x {
		x[i] = tanhf(v)
	}
}

// Softcap: x[i] = c tanh(x[i] / c), c > 0 (Gemma 2's cap on logits and scores).
func Softcap(x []float32, c float32) {
	if !softcapFast(x, c, 1/c) {
		softcapPlain(x, c)
	}
}

func softcapPlain(x []float32, c float32) {
	inv := 1 / c
	for i, v := range x {
		x[i] = c * tanhf(v*inv)
	}
}

// Softmax turns x into probabilities in place. A row of nothing but -Inf becomes zeros.
func Softmax(x []float32) {
	top := float32(math.Inf(-1))
	for _, v := range x {
		top = max(top, v)
	}
	if top == float32(math.Inf(-1)) {
		clear(x)
		return
	}
	for i, v := range x {
		x[i] = v - top
	}
	Exp(x)
	var sum float64
	for _, v := range x {
		sum += float64(v)
	}
	Scale(x, float32(1/sum))
}
