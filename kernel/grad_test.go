package kernel

import (
	"fmt"
	"math"
	"testing"
)

// gradSizes add rows that are longer than one assembly call.
var gradSizes = append([]int{4096 + 5, 2*vecSpan + 37}, testSizes...)

// gradOf is f'(x) by differences in float64.
func gradOf(f func(x float64) float64, x float64) float64 {
	const h = 1e-5
	return (f(x+h) - f(x-h)) / (2 * h)
}

func sigmoid64(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

var activations = map[string]func(x float64) float64{
	"SiLU":     func(x float64) float64 { return x * sigmoid64(x) },
	"GELUTanh": func(x float64) float64 { return 0.5 * x * (1 + math.Tanh(geluA*(x+geluB*x*x*x))) },
	"GELU":     func(x float64) float64 { return 0.5 * x * math.Erfc(-x/math.Sqrt2) },
	"Sigmoid":  sigmoid64,
	"Tanh3":    func(x float64) float64 { return 3 * math.Tanh(x/3) },
}

// slopeError is relative: rounding GELU's argument 2u counts |2u| times in e^-2u.
var slopeError = map[string]float64{"SiLU": 1e-6, "GELUTanh": 4e-6, "GELU": 1e-6, "Sigmoid": 1e-6, "Tanh3": 1e-6}

func TestActivationBackward(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(31)
		for _, n := range gradSizes {
			x, dy, before := randVec(r, n, 3), randVec(r, n, 1), randVec(r, n, 1)
			for name, back := range map[string]func(dx []float32, add bool){
				"SiLU":     func(dx []float32, add bool) { SiLUBackward(dx, dy, x, add) },
				"GELUTanh": func(dx []float32, add bool) { GELUTanhBackward(dx, dy, x, add) },
				"GELU":     func(dx []float32, add bool) { GELUBackward(dx, dy, x, add) },
				"Sigmoid": func(dx []float32, add bool) {
					y := make([]float32, n)
					Sigmoid(y, x)
					near(t, "Sigmoid", y, wide(x, func(_ int, v float64) float64 { return sigmoid64(v) }), 4e-7, 0)
					SigmoidBackward(dx, dy, y, add)
				},
				"Tanh3": func(dx []float32, add bool) {
					y := append([]float32(nil), x...)
					Softcap(y, 3)
					SoftcapBackward(dx, dy, y, 3, add)
				},
			} {
				f := activations[name]
				for _, add := range []bool{false, true} {
					dx, check := guarded(t, before)
					want := wide(x, func(i int, v float64) float64 { return float64(dy[i]) * gradOf(f, v) })
					if !add {
						fillNaN(dx)
					}
					back(dx, add)
					check()
					nearSum(t, fmt.Sprint(name, "Backward, add ", add), dx, want, before, add, slopeError[name], 2e-6)
				}
			}
		}
	})
}

func fillNaN(x []float32) {
	for i := range x {
		x[i] = float32(math.NaN())
	}
}

func TestGateBackward(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(32)
		for _, n := range gradSizes {
			gate, up, dy := randVec(r, n, 3), randVec(r, n, 1), randVec(r, n, 1)
			beforeGate, beforeUp := randVec(r, n, 1), randVec(r, n, 1)
			for name, back := range map[string]func(dgate, dup, dy, gate, up []float32, addGate, addUp bool){"SiLU": SiLUMulBackward, "GELUTanh": GELUTanhMulBackward} {
				f := activations[name]
				wantGate := wide(gate, func(i int, v float64) float64 { return float64(dy[i]) * float64(up[i]) * gradOf(f, v) })
				wantUp := wide(gate, func(i int, v float64) float64 { return float64(dy[i]) * f(v) })
				for bits := range 16 {
					addGate, addUp := bits&1 != 0, bits&2 != 0
					dgate, checkGate := guarded(t, beforeGate)
					dup, checkUp := guarded(t, beforeUp)
					if !addGate {
						fillNaN(dgate)
					}
					if !addUp {
						fillNaN(dup)
					}
					if bits&4 != 0 {
						dgate = nil
					}
					if bits&8 != 0 {
						dup = nil
					}
					back(dgate, dup, dy, gate, up, addGate, addUp)
					checkGate()
					checkUp()
					what := fmt.Sprintf("%sMulBackward %d", name, bits)
					if dgate != nil {
						nearSum(t, what+" gate", dgate, wantGate, beforeGate, addGate, slopeError[name], 3e-6)
					}
					if dup != nil {
						nearSum(t, what+" up", dup, wantUp, beforeUp, addUp, slopeError[name], 1e-6)
					}
				}
			}
		}
	})
}

// nearSum checks got against term, or term + before where add is set; the relative bound holds for each of the two.
func nearSum(t *testing.T, what string, got []float32, term []float64, before []float32, add bool, rel, abs float64) {
	t.Helper()
	for i, want := range term {
		size := math.Abs(want)
		if add {
			want += float64(before[i])
			size += math.Abs(float64(before[i]))
		}
		if d := math.Abs(float64(got[i]) - want); !(d <= rel*size+abs) {
			t.Fatalf("%s, n=%d, element %d: %v, want %v (off by %.3g)", what, len(term), i, got[i], want, d)
		}
	}
}

func TestProduct(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(33)
		for _, n := range gradSizes {
			a, b, before := randVec(r, n, 1), randVec(r, n, 1), randVec(r, n, 1)
			want := wide(a, func(i int, v float64) float64 { return v * float64(b[i]) })
			for _, add := range []bool{false, true} {
				dst, check := guarded(t, before)
				if !add {
					fillNaN(dst)
				}
				Product(dst, a, b, add)
				check()
				nearSum(t, "Product", dst, want, before, add, 1.5e-7, 0)
			}
		}
	})
}

// Dot has the same bits at every level.
func TestDotBits(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(34)
		for _, n := range gradSizes {
			x, y := randVec(r, n, 1), randVec(r, n+3, 1)
			var lane [16]float32
			for i, v := range x {
				lane[i%16] += float32(v * y[i])
			}
			sameBits(t, fmt.Sprint("Dot of ", n), []float32{Dot(x, y)}, []float32{foldLanes(&lane)})
		}
	})
}

// The gradient of sum dy RMSNorm(x) by differences, over every combination of wanted results.
func TestRMSNormBackward(t *testing.T) {
	const eps = 1e-5
	eachLevel(t, func(t *testing.T) {
		r := testRand(35)
		for _, n := range gradSizes {
			x, dy, weights := randVec(r, n, 2), randVec(r, n, 1), randVec(r, n, 1)
			beforeX, beforeW := randVec(r, n, 1), randVec(r, n, 1)
			for bits := range 32 {
				plusOne, add, w := bits&1 != 0, bits&2 != 0, weights
				dx, checkX := guarded(t, beforeX)
				dw, checkW := guarded(t, beforeW)
				if !add {
					fillNaN(dx)
				}
				if bits&4 != 0 {
					dx = nil
				}
				if bits&8 != 0 {
					dw = nil
				}
				if bits&16 != 0 {
					w, dw = nil, nil
				}
				RMSNormBackward(dx, dw, dy, x, w, eps, plusOne, add)
				checkX()
				checkW()
				weight := func(i int) float64 {
					switch {
					case w == nil:
						return 1
					case plusOne:
						return 1 + float64(w[i])
					}
					return float64(w[i])
				}
				square, mix := 0.0, 0.0
				for i, v := range x {
					square += float64(v) * float64(v)
					mix += float64(dy[i]) * weight(i) * float64(v)
				}
				inv := 1 / math.Sqrt(square/float64(n)+eps)
				if dx != nil {
					want := wide(x, func(i int, v float64) float64 {
						return inv*weight(i)*float64(dy[i]) - inv*inv*inv*v*mix/float64(n)
					})
					nearSum(t, fmt.Sprint("RMSNormBackward dx ", bits), dx, want, beforeX, add, 1e-6, 2e-6)
				}
				if dw != nil {
					want := wide(x, func(i int, v float64) float64 { return inv * v * float64(dy[i]) })
					nearSum(t, fmt.Sprint("RMSNormBackward dw ", bits), dw, want, beforeW, true, 1e-6, 0)
				}
			}
		}
	})
}

// The formula above is the derivative: checked once by differences.
func TestRMSNormBackwardByDifferences(t *testing.T) {
	const n, eps, h = 23, 1e-5, 1e-2
	r := testRand(36)
	x, dy, w := randVec(r, n, 1), randVec(r, n, 1), randVec(r, n, 1)
	loss := func() float64 {
		y := make([]float32, n)
		RMSNorm(y, x, w, eps, true)
		sum := 0.0
		for i, v := range y {
			sum += float64(v) * float64(dy[i])
		}
		return sum
	}
	dx, dw := make([]float32, n), make([]float32, n)
	RMSNormBackward(dx, dw, dy, x, w, eps, true, false)
	for _, c := range []struct {
		what string
		v, d []float32
	}{{"x", x, dx}, {"w", w, dw}} {
		for i, v := range c.v {
			c.v[i] = v + h
			up := loss()
			c.v[i] = v - h
			down := loss()
			c.v[i] = v
			if got := (up - down) / (2 * h); math.Abs(got-float64(c.d[i])) > 2e-3 {
				t.Errorf("d%s[%d] = %v, differences give %v", c.what, i, c.d[i], got)
			}
		}
	}
}

func TestExpSub(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(37)
		for _, n := range gradSizes {
			x := randVec(r, n, 4)
			const scale, sub, times = 0.75, 1.5, 0.3
			dst, check := guarded(t, x)
			sum := ExpSub(dst, dst, scale, sub, times)
			check()
			total := 0.0
			want := wide(x, func(_ int, v float64) float64 {
				e := float64(float32(times)) * math.Exp(scale*v-sub)
				total += e
				return e
			})
			near(t, "ExpSub", dst, want, 2e-6, 0)
			near(t, "ExpSub's sum", []float32{sum}, []float64{total}, 1e-6, 0)
		}
		inf := float32(math.Inf(-1))
		x := []float32{0, inf, 0, inf}
		if sum := ExpSub(x, x, 1, 0, 1); sum != 2 || x[1] != 0 || x[2] != 1 {
			t.Errorf("masked scores: %v, %v", sum, x)
		}
	})
}

func TestLogSumExp(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(38)
		for _, n := range gradSizes {
			if n == 0 {
				continue
			}
			for _, shift := range []float64{0, 1e3, -1e3} {
				x := randVec(r, n, 3)
				top, sum := math.Inf(-1), 0.0
				for i := range x {
					x[i] += float32(shift)
					top = max(top, float64(x[i]))
				}
				for _, v := range x {
					sum += math.Exp(float64(v) - top)
				}
				want := top + math.Log(sum)
				if got := Max(x); float64(got) != top {
					t.Errorf("Max of %d: %v, want %v", n, got, top)
				}
				got := LogSumExp(x)
				if math.Abs(got-want) > 3e-7 {
					t.Errorf("LogSumExp of %d: %v, want %v", n, got, want)
				}
				target, g, z := n/2, 0.125, 1e-3
				dx, check := guarded(t, x)
				CrossEntropyBackward(dx, dx, got, g, z, target)
				check()
				near(t, "CrossEntropyBackward", dx, wide(x, func(i int, v float64) float64 {
					d := g * (1 + z*want) * math.Exp(v-want)
					if i == target {
						d -= g
					}
					return d
				}), 1e-6, 1e-7)
			}
		}
		inf := float32(math.Inf(-1))
		if got := LogSumExp([]float32{inf, inf}); !math.IsInf(got, -1) {
			t.Errorf("LogSumExp of nothing: %v", got)
		}
		if got := LogSumExp([]float32{inf, 2}); math.Abs(got-2) > 1e-6 {
			t.Errorf("LogSumExp of one: %v", got)
		}
	})
}

func TestSoftmaxBackward(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(39)
		for _, n := range gradSizes {
			p, dp := randVec(r, n, 1), randVec(r, n, 1)
			dst, check := guarded(t, dp)
			SoftmaxBackward(dst, p, dst, 0.5, 0.125)
			check()
			near(t, "SoftmaxBackward", dst, wide(p, func(i int, v float64) float64 { return 0.125 * v * (float64(dp[i]) - 0.5) }), 3e-7, 0)
		}
	})
}

func TestAdamLevels(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(40)
		s := AdamStep{Beta1: 0.9, Beta2: 0.95, Shrink: 1 - 3e-4, Rate: 3e-3 / (1 - 0.9), Root: 1 / math.Sqrt(1-0.95), Eps: 1e-8}
		for _, n := range gradSizes {
			p, m, g := randVec(r, n, 1), randVec(r, n, 1), randVec(r, n, 1)
			v := randVec(r, n, 1)
			for i := range v {
				v[i] *= v[i]
				if i%5 == 0 {
					m[i], v[i], g[i] = 0, 0, 0 // must not give NaN
				}
			}
			p64, m64, v64, g64 := wide(p, keep64), wide(m, keep64), wide(v, keep64), wide(g, keep64)
			Adam64(p64, m64, v64, g64, s)
			p1, checkP := guarded(t, p)
			m1, checkM := guarded(t, m)
			v1, checkV := guarded(t, v)
			Adam(p1, m1, v1, g, s)
			checkP()
			checkM()
			checkV()
			near(t, "m", m1, m64, 3e-7, 1e-7)
			near(t, "v", v1, v64, 3e-7, 0)
			near(t, "p", p1, p64, 3e-7, 1e-7)
		}
	})
}

func keep64(_ int, v float64) float64 { return v }

func TestSumSquares(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(41)
		for _, n := range gradSizes {
			x := randVec(r, n, 2)
			want := 0.0
			for _, v := range x {
				want += float64(v) * float64(v)
			}
			if got := SumSquares(x); math.Abs(got-want) > 1e-13*want {
				t.Errorf("SumSquares of %d: %v, want %v", n, got, want)
			}
		}
	})
}

// An element's bits depend neither on its place nor on whether it is among the last.
func TestGradPlaceFree(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(42)
		x, y, z := randVec(r, 200, 2), randVec(r, 200, 2), randVec(r, 200, 1)
		s := AdamStep{Beta1: 0.9, Beta2: 0.95, Shrink: 0.999, Rate: 0.01, Root: 2, Eps: 1e-8}
		for name, op := range map[string]func(d, x, y []float32){
			"SiLUBackward":     func(d, x, y []float32) { SiLUBackward(d, x, y, true) },
			"GELUTanhBackward": func(d, x, y []float32) { GELUTanhBackward(d, x, y, true) },
			"GELUBackward":     func(d, x, y []float32) { GELUBackward(d, x, y, true) },
			"Product":          func(d, x, y []float32) { Product(d, x, y, true) },
			"SoftcapBackward":  func(d, x, y []float32) { SoftcapBackward(d, x, y, 4, true) },
			"SiLUMulBackward": func(d, x, y []float32) {
				SiLUMulBackward(d, make([]float32, len(d)), x, y, x, true, false)
			},
			"ExpSub": func(d, x, _ []float32) { ExpSub(d, x, 0.5, 1, 2) },
			"Adam": func(d, x, y []float32) {
				v := make([]float32, len(x))
				Product(v, y, y, false)
				Adam(d, append([]float32(nil), x...), v, y, s)
			},
		} {
			whole := append([]float32(nil), z...)
			op(whole, x, y)
			for _, cut := range []int{1, 5, 16, 37, 99} {
				parts := append([]float32(nil), z...)
				for i := 0; i < len(x); i += cut {
					end := min(i+cut, len(x))
					op(parts[i:end], x[i:end], y[i:end])
				}
				sameBits(t, fmt.Sprintf("%s cut by %d", name, cut), parts, whole)
			}
		}
	})
}

// BenchmarkGrad times the training kernels on rows that stay in the nearest cache, and Adam on 4 Mi parameters, with the bytes they move.
func BenchmarkGrad(b *testing.B) {
	const n = 2048
	r := testRand(43)
	x, y, z, u, d := randVec(r, n, 1), randVec(r, n, 1), randVec(r, n, 1), make([]float32, n), make([]float32, n)
	for _, c := range []struct {
		name    string
		streams int // read or written
		f       func()
	}{
		{"copy", 2, func() { copy(d, x) }},
		{"Product", 4, func() { Product(d, x, y, true) }},
		{"Dot", 2, func() { Dot(x, y) }},
		{"RMSNormBackward", 7, func() { RMSNormBackward(d, u, x, y, z, 1e-5, false, true) }},
		{"SiLUMulBackward", 7, func() { SiLUMulBackward(d, u, x, y, z, false, false) }},
		{"GELUTanhMulBackward", 7, func() { GELUTanhMulBackward(d, u, x, y, z, false, false) }},
		{"GELUBackward", 4, func() { GELUBackward(d, x, y, false) }},
		{"LogSumExp", 1, func() { LogSumExp(x) }},
		{"CrossEntropyBackward", 2, func() { CrossEntropyBackward(d, x, 8, 1, 0, 3) }},
		{"ExpSub", 2, func() { ExpSub(d, x, 1, 3, 1) }},
		{"SoftmaxBackward", 3, func() { SoftmaxBackward(d, x, y, 0.5, 0.1) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(4 * n * c.streams))
			for range b.N {
				c.f()
			}
		})
	}
	const many = 4 << 20
	p, m, v, g := make([]float32, many), make([]float32, many), make([]float32, many), make([]float32, many)
	for i := range g {
		g[i], v[i] = x[i%n], y[i%n]*y[i%n]
	}
	s := AdamStep{Beta1: 0.9, Beta2: 0.95, Shrink: 1 - 3e-6, Rate: 1e-5, Root: 1, Eps: 1e-8}
	for _, c := range []struct {
		name    string
		streams int
		f       func()
	}{
		{"copy4M", 2, func() { copy(p, g) }},
		{"Adam4M", 7, func() { Adam(p, m, v, g, s) }},
		{"SumSquares4M", 1, func() { SumSquares(g) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(4 * many * c.streams))
			for range b.N {
				c.f()
			}
		})
	}
}
