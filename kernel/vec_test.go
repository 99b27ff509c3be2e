package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

var testSizes = []int{0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 128, 577}

// testRand is a fixed stream for one test.
func testRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

func randVec(r *rand.Rand, n int, scale float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * scale)
	}
	return x
}

// guarded returns x copied into a slice with sentinels around it, and a check that they still stand.
func guarded(t *testing.T, x []float32) ([]float32, func()) {
	t.Helper()
	const pad, mark = 40, float32(12345)
	all := make([]float32, len(x)+2*pad)
	for i := range all {
		all[i] = mark
	}
	copy(all[pad:], x)
	return all[pad : pad+len(x) : pad+len(x)], func() {
		t.Helper()
		for i, v := range all {
			if (i < pad || i >= pad+len(x)) && v != mark {
				t.Fatalf("element %d of %d was written outside the slice", i-pad, len(x))
			}
		}
	}
}

// near checks got against want with a relative bound plus an absolute one.
func near(t *testing.T, what string, got []float32, want []float64, rel, abs float64) {
	t.Helper()
	for i := range want {
		if d := math.Abs(float64(got[i]) - want[i]); !(d <= rel*math.Abs(want[i])+abs) {
			t.Fatalf("%s, n=%d, element %d: %v, want %v (off by %.3g)", what, len(want), i, got[i], want[i], d)
		}
	}
}

func wide(x []float32, f func(i int, v float64) float64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = f(i, float64(v))
	}
	return y
}

func TestElementwise(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(1)
		for _, n := range testSizes {
			x, y := randVec(r, n, 2), randVec(r, n, 2)
			run := func(what string, f func(d []float32), want func(i int, v float64) float64, rel, abs float64) {
				t.Helper()
				d, check := guarded(t, x)
				f(d)
				check()
				near(t, what, d, wide(x, want), rel, abs)
			}
			yy := func(i int) float64 { return float64(y[i]) }
			sig := func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }
			gelut := func(v float64) float64 { return 0.5 * v * (1 + math.Tanh(geluA*(v+geluB*v*v*v))) }
			run("Add", func(d []float32) { Add(d, y) }, func(i int, v float64) float64 { return v + yy(i) }, 1e-7, 0)
			run("AddScaled", func(d []float32) { AddScaled(d, y, 0.3) }, func(i int, v float64) float64 { return v + float64(float32(0.3))*yy(i) }, 1e-7, 3e-7)
			run("Scale", func(d []float32) { Scale(d, 0.3) }, func(_ int, v float64) float64 { return v * float64(float32(0.3)) }, 1e-7, 0)
			run("MulInto", func(d []float32) { MulInto(d, y) }, func(i int, v float64) float64 { return v * yy(i) }, 1e-7, 0)
			run("Exp", Exp, func(_ int, v float64) float64 { return math.Exp(v) }, 2e-7, 0)
			run("SiLU", SiLU, func(_ int, v float64) float64 { return v * sig(v) }, 4e-7, 0)
			run("SiLUMul", func(d []float32) { SiLUMul(d, d, y) }, func(i int, v float64) float64 { return v * sig(v) * yy(i) }, 5e-7, 0)
			run("GELUTanh", GELUTanh, func(_ int, v float64) float64 { return gelut(v) }, 3e-6, 1e-9)
			run("GELUTanhMul", func(d []float32) { GELUTanhMul(d, d, y) }, func(i int, v float64) float64 { return gelut(v) * yy(i) }, 3e-6, 1e-9)
			run("GELU", GELU, func(_ int, v float64) float64 { return 0.5 * v * (1 + math.Erf(v/math.Sqrt2)) }, 2e-6, 1e-9)
			run("GELUMul", func(d []float32) { GELUMul(d, y, d) }, func(i int, v float64) float64 { return v * 0.5 * yy(i) * (1 + math.Erf(yy(i)/math.Sqrt2)) }, 2e-6, 1e-9)
			run("Tanh", Tanh, func(_ int, v float64) float64 { return math.Tanh(v) }, 4e-7, 0)
			run("Softcap", func(d []float32) { Softcap(d, 3) }, func(_ int, v float64) float64 { return 3 * math.Tanh(v/3) }, 6e-7, 0)
		}
	})
}

// An element's bits must not depend on where it stands: a caller may cut a slice over threads.
func TestElementwisePlaceFree(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(2)
		x, y := randVec(r, 200, 3), randVec(r, 200, 3)
		ops := map[string]func(d, y []float32){
			"Add": Add, "AddScaled": func(d, y []float32) { AddScaled(d, y, 0.7) }, "MulInto": MulInto,
			"Exp": func(d, _ []float32) { Exp(d) }, "SiLUMul": func(d, y []float32) { SiLUMul(d, d, y) }, "GELUTanhMul": func(d, y []float32) { GELUTanhMul(d, d, y) },
			"Softcap": func(d, _ []float32) { Softcap(d, 5) }, "Tanh": func(d, _ []float32) { Tanh(d) },
		}
		for name, op := range ops {
			whole := append([]float32(nil), x...)
			op(whole, y)
			for _, cut := range []int{1, 5, 8, 16, 37, 99} {
				parts := append([]float32(nil), x...)
				for i := 0; i < len(x); i += cut {
					end := min(i+cut, len(x))
					op(parts[i:end], y[i:end])
				}
				sameBits(t, fmt.Sprintf("%s cut by %d", name, cut), parts, whole)
			}
		}
	})
}

func sameBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: element %d is %v (%08x), want %v (%08x)", what, i, got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

func TestExpRange(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		const n = 40000
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(-86.5 + 175.2*float64(i)/n) // to 88.7
		}
		want := wide(x, func(_ int, v float64) float64 { return math.Exp(v) })
		Exp(x)
		near(t, "Exp", x, want, 2e-7, 0)

		inf, nan := float32(math.Inf(1)), float32(math.NaN())
		s := []float32{0, -inf, -1e30, -200, -88, inf, 1e30, 89, nan, float32(math.Copysign(0, -1))}
		Exp(s)
		for i, v := range []float32{1, 0, 0, 0, 0, inf, inf, inf, nan, 1} {
			if s[i] != v && !(v != v && s[i] != s[i]) {
				t.Errorf("special value %d: %v, want %v", i, s[i], v)
			}
		}
	})
}

func TestTanhRange(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		const n = 20001
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(-12 + 24*float64(i)/(n-1))
		}
		x[0], x[1], x[2], x[3] = 1e-30, -3e-5, 1e30, float32(math.Inf(-1))
		want := wide(x, func(_ int, v float64) float64 { return math.Tanh(v) })
		y := append([]float32(nil), x...)
		Tanh(y)
		near(t, "Tanh", y, want, 4e-7, 0)
		Softcap(x, 1)
		near(t, "Softcap", x, want, 4e-7, 0)
	})
}

// Gates far out must give their limits, not NaN.
func TestGatesFarOut(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		x := []float32{-1e4, -100, -90, -87, 100, 1e4}
		one := []float32{1, 1, 1, 1, 1, 1}
		for _, f := range []func(dst, gate, up []float32){SiLUMul, GELUTanhMul, GELUMul} {
			d := make([]float32, len(x))
			f(d, x, one)
			for i, v := range d {
				if want := max(x[i], 0); math.Abs(float64(v-want)) > 1e-30 {
					t.Errorf("gate %v: %v, want %v", x[i], v, want)
				}
			}
		}
	})
}

func TestNorms(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(3)
		for _, n := range append(testSizes, 2048, 4099) {
			x, w, b := randVec(r, n, 3), randVec(r, n, 1), randVec(r, n, 1)
			var sq, sum float64
			for _, v := range x {
				sq += float64(v) * float64(v)
				sum += float64(v)
			}
			inv := 1 / math.Sqrt(sq/float64(n)+1e-5)
			for _, mode := range []struct {
				w    []float32
				plus bool
			}{{nil, false}, {w, false}, {w, true}, {nil, true}} {
				weight := func(i int) float64 {
					switch {
					case mode.w == nil:
						return 1
					case mode.plus:
						return 1 + float64(mode.w[i])
					}
					return float64(mode.w[i])
				}
				d, check := guarded(t, x)
				RMSNorm(d, d, mode.w, 1e-5, mode.plus)
				check()
				near(t, "RMSNorm", d, wide(x, func(i int, v float64) float64 { return v * inv * weight(i) }), 1e-6, 1e-7)
			}
			mean, va := sum/float64(n), 0.0
			for _, v := range x {
				va += (float64(v) - mean) * (float64(v) - mean)
			}
			li := 1 / math.Sqrt(va/float64(n)+1e-5)
			d, check := guarded(t, x)
			LayerNorm(d, d, w, b, 1e-5)
			check()
			near(t, "LayerNorm", d, wide(x, func(i int, v float64) float64 { return (v-mean)*li*float64(w[i]) + float64(b[i]) }), 1e-6, 1e-6)
		}
	})
}

func TestRope(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(4)
		for _, h := range testSizes {
			x, cos, sin := randVec(r, 2*h, 1), make([]float32, h), make([]float32, h)
			for i := range cos {
				s, c := math.Sincos(r.Float64() * 6)
				cos[i], sin[i] = float32(c), float32(s)
			}
			pair := func(u, v float32, i int) (float64, float64) {
				c, s := float64(cos[i]), float64(sin[i])
				return float64(u)*c - float64(v)*s, float64(v)*c + float64(u)*s
			}
			half, pairs := make([]float64, 2*h), make([]float64, 2*h)
			for i := 0; i < h; i++ {
				half[i], half[i+h] = pair(x[i], x[i+h], i)
				pairs[2*i], pairs[2*i+1] = pair(x[2*i], x[2*i+1], i)
			}
			d, check := guarded(t, x)
			RopeHalf(d, cos, sin)
			check()
			near(t, "RopeHalf", d, half, 1e-6, 3e-7)
			d, check = guarded(t, x)
			RopePairs(d, cos, sin)
			check()
			near(t, "RopePairs", d, pairs, 1e-6, 3e-7)
		}
	})
}

func TestHadamard(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(5)
		for n := 1; n <= 512; n *= 2 {
			x := randVec(r, n, 1)
			want := make([]float64, n)
			for i := range want {
				for j, v := range x {
					want[i] += float64(v) * float64(1-2*(popcount(i&j)&1)) / math.Sqrt(float64(n))
				}
			}
			y, check := guarded(t, x)
			if !Hadamard(y) {
				t.Fatal("a power of two was refused")
			}
			check()
			near(t, "Hadamard", y, want, 1e-6, 2e-6)
			Hadamard(y)
			near(t, "Hadamard twice", y, wide(x, func(_ int, v float64) float64 { return v }), 1e-6, 2e-6)
		}
		x := []float32{1, 2, 3}
		if Hadamard(x) || x[0] != 1 {
			t.Error("length 3 was not left alone")
		}
	})
}

func popcount(x int) int {
	n := 0
	for ; x != 0; x &= x - 1 {
		n++
	}
	return n
}

func TestReductions(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(6)
		for _, n := range testSizes {
			x, y := randVec(r, n, 1), randVec(r, n, 1)
			var want float64
			for i := range x {
				want += float64(x[i]) * float64(y[i])
			}
			if got := Dot(x, y); math.Abs(float64(got)-want) > 2e-5 {
				t.Errorf("Dot n=%d: %v, want %v", n, got, want)
			}
			p := append([]float32(nil), x...)
			Softmax(p)
			var sum float64
			for i, v := range p {
				sum += float64(v)
				if q := float64(p[0]) * math.Exp(float64(x[i])-float64(x[0])); math.Abs(q-float64(v)) > 1e-5 {
					t.Fatalf("Softmax n=%d, element %d: %v, want %v", n, i, v, q)
				}
			}
			if n > 0 && math.Abs(sum-1) > 1e-5 {
				t.Errorf("Softmax n=%d sums to %v", n, sum)
			}
		}
		nan := float32(math.NaN())
		for _, c := range []struct {
			x    []float32
			want int
		}{{nil, -1}, {[]float32{1, 3, 3, 2}, 1}, {[]float32{nan, 1, 2, nan}, 2}, {[]float32{nan, nan}, 0}, {[]float32{negInf, negInf}, 0}} {
			if got := ArgMax(c.x); got != c.want {
				t.Errorf("ArgMax(%v) = %d, want %d", c.x, got, c.want)
			}
		}
		for _, n := range []int{16, 40, 100, 40000} {
			x := randVec(r, n, 1)
			x[0], x[n/3] = nan, nan
			for _, at := range []int{1, n / 2, n - 1} {
				x[at] = 50
				x[n-1] = 50 // another one, later
				if got := ArgMax(x); got != at {
					t.Errorf("ArgMax of %d elements = %d, want %d", n, got, at)
				}
				x[at], x[n-1] = 0, 0
			}
			for i := range x {
				x[i] = nan
			}
			x[n-2] = negInf
			if got := ArgMax(x); got != n-2 {
				t.Errorf("ArgMax of NaN and -Inf = %d, want %d", got, n-2)
			}
		}
		dead := []float32{negInf, negInf}
		Softmax(dead)
		if dead[0] != 0 || dead[1] != 0 {
			t.Errorf("a row of -Inf became %v", dead)
		}
	})
}

func TestHalfConversions(t *testing.T) {
	// The value of every half, by the definition of the format.
	for h := 0; h < 1<<16; h++ {
		sign, e, m := 1.0, h>>10&31, float64(h&0x3ff)
		if h>>15 == 1 {
			sign = -1
		}
		got := float64(halfToFloat(uint16(h)))
		switch {
		case e == 31 && m != 0:
			if got == got {
				t.Fatalf("half %04x is %v, want NaN", h, got)
			}
		case e == 31:
			if !math.IsInf(got, int(sign)) {
				t.Fatalf("half %04x is %v", h, got)
			}
		case e == 0:
			if got != sign*math.Ldexp(m, -24) {
				t.Fatalf("half %04x is %v", h, got)
			}
		default:
			if got != sign*math.Ldexp(1024+m, e-25) {
				t.Fatalf("half %04x is %v", h, got)
			}
		}
		if back := floatToHalf(float32(got)); got == got && back != uint16(h) {
			t.Fatalf("half %04x came back as %04x", h, back)
		}
	}
	// Midpoints between neighbours go to the even one; a little more or less goes to the nearer.
	for h := uint16(0); h < 0x7c00; h++ {
		a := float64(halfToFloat(h))
		b := float64(halfToFloat(h + 1))
		if h+1 == 0x7c00 {
			b = 65536
		}
		mid := float32((a + b) / 2)
		even := h + h&1
		for _, c := range []struct {
			x    float32
			want uint16
		}{{mid, even}, {math.Nextafter32(mid, 0), h}, {math.Nextafter32(mid, 1e9), h + 1}} {
			if got := floatToHalf(c.x); got != c.want {
				t.Fatalf("%v became %04x, want %04x", c.x, got, c.want)
			}
			if got := floatToHalf(-c.x); got != c.want|0x8000 {
				t.Fatalf("%v became %04x, want %04x", -c.x, got, c.want|0x8000)
			}
		}
	}
	eachLevel(t, func(t *testing.T) {
		r := testRand(8)
		for _, n := range append(testSizes, 5000) {
			x := make([]float32, n)
			for i := range x {
				x[i] = math.Float32frombits(r.Uint32())
				if i%3 == 0 {
					x[i] = float32(r.NormFloat64())
				}
			}
			f16, bf16 := make([]uint16, n), make([]uint16, n)
			F32ToF16(f16, x)
			F32ToBF16(bf16, x)
			back, bback := make([]float32, n), make([]float32, n)
			F16ToF32(back, f16)
			BF16ToF32(bback, bf16)
			for i, v := range x {
				if f16[i] != floatToHalf(v) || math.Float32bits(back[i]) != math.Float32bits(halfToFloat(f16[i])) {
					t.Fatalf("f16, n=%d, element %d: %v (%08x) became %04x and %v", n, i, v, math.Float32bits(v), f16[i], back[i])
				}
				if bf16[i] != floatToBF16(v) || math.Float32bits(bback[i]) != uint32(bf16[i])<<16 {
					t.Fatalf("bf16, n=%d, element %d: %v (%08x) became %04x and %v", n, i, v, math.Float32bits(v), bf16[i], bback[i])
				}
				if v == v && !math.IsInf(float64(bback[i]), 0) {
					lo, hi := bf16ToFloat(bf16[i]-1), bf16ToFloat(bf16[i]+1)
					d := math.Abs(float64(v) - float64(bback[i]))
					if d > math.Abs(float64(v)-float64(lo)) || d > math.Abs(float64(v)-float64(hi)) {
						t.Fatalf("bf16: %v became %v, not the nearest", v, bback[i])
					}
				}
			}
		}
	})
}
