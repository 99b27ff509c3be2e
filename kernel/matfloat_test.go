package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// floatProduct is a weight and an input of random numbers, and the product at the level in use.
func floatProduct(t testing.TB, f Format, m, n, k int, pool *Pool) (y []float32, x []float32, dense []float32, w *Matrix) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(m), uint64(n*k)))
	src := randomWeight(rng, f, n, k)
	bytes, err := PackedBytes(f, n, k, ArithF32)
	if err != nil {
		t.Fatal(err)
	}
	if w, err = Pack(aligned(int(bytes)), f, n, k, src, ArithF32, nil); err != nil {
		t.Fatal(err)
	}
	dense = make([]float32, n*k)
	Dequantize(f, dense, src)
	x, y = randomInput(rng, m, k), make([]float32, m*n)
	var in Input
	in.Set(pool, x, m, k)
	MatMul(pool, y, n, &in, w)
	return y, x, dense, w
}

// Every level gives the chain of fused multiply-adds over ascending k (the plain one rounds the product first), at sizes on both sides of every tile and cut of K.
func TestFloatProductLevels(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		pool := NewPool(2)
		defer pool.Close()
		for _, f := range []Format{F32, F16, BF16} {
			for _, size := range [][3]int{{1, 1, 1}, {1, 16, 3}, {1, 64, 2049}, {1, 150, 511}, {2, 80, 513}, {5, 47, 64}, {6, 96, 65}, {7, 33, 1025}, {14, 48, 31}, {15, 112, 600}, {29, 17, 8}} {
				m, n, k := size[0], size[1], size[2]
				y, x, dense, _ := floatProduct(t, f, m, n, k, pool)
				for i := range m {
					for j := range n {
						acc := float32(0)
						for d := range k {
							a, b := x[i*k+d], dense[j*k+d]
							if vecLevel == vecPlain {
								acc += float32(a * b)
							} else {
								acc = fma32(a, b, acc)
							}
						}
						if got := y[i*n+j]; math.Float32bits(got) != math.Float32bits(acc) {
							t.Fatalf("%s %v: y[%d][%d] = %v, want %v", f, size, i, j, got, acc)
						}
					}
				}
			}
		}
	})
}

// fma32 is a*b+c with one rounding: the float64 product is exact, and rounding its sum to odd first makes the second rounding harmless.
func fma32(a, b, c float32) float32 {
	p, z := float64(a)*float64(b), float64(c)
	s := p + z
	bb := s - p
	if e := (p - (s - bb)) + (z - bb); e != 0 && math.Float64bits(s)&1 == 0 {
		if (e > 0) == (s > 0) {
			s = math.Float64frombits(math.Float64bits(s) + 1)
		} else {
			s = math.Float64frombits(math.Float64bits(s) - 1)
		}
	}
	return float32(s)
}

// Same bits in every tile shape: all numbers of rows from 1 to 40.
func TestFloatProductSameBits(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		const most, n, k = 40, 100, 520
		for _, f := range []Format{F32, F16, BF16} {
			_, x, _, w := floatProduct(t, f, most, n, k, nil)
			alone := make([]float32, most*n)
			for i := range most {
				var in Input
				in.Set(nil, x[i*k:][:k], 1, k)
				MatMul(nil, alone[i*n:], n, &in, w)
			}
			for threads := 1; threads <= 4; threads++ {
				pool := NewPool(threads)
				for m := threads; m <= most; m += 1 + (threads-1)*3 {
					y := make([]float32, m*n)
					var in Input
					in.Set(pool, x[:m*k], m, k)
					MatMul(pool, y, n, &in, w)
					for i := range y {
						if math.Float32bits(y[i]) != math.Float32bits(alone[i]) {
							t.Fatalf("%s: %d rows, %d threads: element %d is %v, alone %v", f, m, threads, i, y[i], alone[i])
						}
					}
				}
				pool.Close()
			}
		}
	})
}
