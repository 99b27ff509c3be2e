package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// randomDense is a rows x columns matrix with a few spare values after each stored row.
func randomDense(rng *rand.Rand, rows, columns int, transposed bool) Dense {
	if transposed {
		rows, columns = columns, rows
	}
	d := Dense{Stride: columns + rng.IntN(4), Transposed: transposed}
	d.Data = randomInput(rng, rows, d.Stride)
	return d
}

// Every level and number of threads gives the chain over ascending k (fused above the plain level), and writes nothing beside C; sizes on both sides of tiles and blocks.
func TestGemm(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		sizes := [][3]int{{1, 1, 1}, {1, 33, 3}, {13, 31, 2}, {14, 32, 1}, {15, 33, 8}, {29, 65, 17}, {3, 97, 0}, {64, 64, 64}, {70, 100, 130}, {6, 16, 40}}
		if vecLevel != vecPlain {
			sizes = append(sizes, [3]int{61, 45, 517}, [3]int{400, 33, 20}, [3]int{15, 530, 500}, [3]int{20, 40, 1100})
		}
		for _, size := range sizes {
			m, n, k := size[0], size[1], size[2]
			for form := range 8 {
				rng := rand.New(rand.NewPCG(uint64(m*n), uint64(k)))
				a, b := randomDense(rng, m, k, form&1 != 0), randomDense(rng, k, n, form&2 != 0)
				c, add := randomDense(rng, m, n, false), form&4 != 0
				want := append([]float32(nil), c.Data...)
				for i := range m {
					for j := range n {
						acc := float32(0)
						if add {
							acc = want[i*c.Stride+j]
						}
						for p := range k {
							if vecLevel == vecPlain {
								acc += float32(a.at(i, p) * b.at(p, j))
							} else {
								acc = fma32(a.at(i, p), b.at(p, j), acc)
							}
						}
						want[i*c.Stride+j] = acc
					}
				}
				for threads := range 4 {
					var pool *Pool
					if threads > 0 {
						pool = NewPool(threads)
					}
					got := Dense{Data: append([]float32(nil), c.Data...), Stride: c.Stride}
					Gemm(pool, got, a, b, m, n, k, add)
					for i := range want {
						if math.Float32bits(got.Data[i]) != math.Float32bits(want[i]) {
							t.Fatalf("%v a' %v b' %v add %v, %d threads: C[%d][%d] = %v, want %v", size, a.Transposed, b.Transposed, add, threads, i/c.Stride, i%c.Stride, got.Data[i], want[i])
						}
					}
					if pool != nil {
						pool.Close()
					}
				}
			}
		}
	})
}

// GemmSymmetric has Gemm's bits for A Aᵀ, Aᵀ A and the square of a symmetric matrix, and writes nothing beside C.
func TestGemmSymmetric(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		sizes := [][2]int{{1, 1}, {13, 5}, {33, 40}, {130, 17}}
		if vecLevel != vecPlain {
			sizes = append(sizes, [2]int{300, 610}, [2]int{650, 30})
		}
		for _, size := range sizes {
			n, k := size[0], size[1]
			rng := rand.New(rand.NewPCG(uint64(n), uint64(k)))
			check := func(name string, a, b Dense, n, k int, pool *Pool) Dense {
				c := randomDense(rng, n, n, false)
				want := Dense{Data: append([]float32(nil), c.Data...), Stride: c.Stride}
				Gemm(pool, want, a, b, n, n, k, false)
				GemmSymmetric(pool, c, a, b, n, k)
				for i := range want.Data {
					if math.Float32bits(c.Data[i]) != math.Float32bits(want.Data[i]) {
						t.Fatalf("%s, n %d, k %d, %d threads: C[%d][%d] = %v, want %v", name, n, k, pool.Threads(), i/c.Stride, i%c.Stride, c.Data[i], want.Data[i])
					}
				}
				return c
			}
			for _, threads := range []int{0, 3} {
				var pool *Pool
				if threads > 0 {
					pool = NewPool(threads)
					defer pool.Close()
				}
				a := randomDense(rng, n, k, false)
				turned := a
				turned.Transposed = true
				square := check("A A'", a, turned, n, k, pool)
				check("A' A", turned, a, k, n, pool)
				check("the square of a symmetric matrix", square, square, n, n, pool)
			}
		}
	})
}

// BenchmarkGemm runs the three products of linear layers of a small model (4096 tokens, width 256) and prints the share of what the machine does on registers alone.
func BenchmarkGemm(b *testing.B) {
	const tokens = 4096
	rng := rand.New(rand.NewPCG(1, 2))
	for threads := 1; threads <= 2; threads++ {
		pool := NewPool(threads)
		for _, shape := range [][2]int{{768, 256}, {256, 256}, {680, 256}, {256, 680}, {512, 256}, {512, 512}} {
			n, k := shape[0], shape[1]
			x, dy, w := randomInput(rng, tokens, k), randomInput(rng, tokens, n), randomInput(rng, n, k)
			y, dx, dw := make([]float32, tokens*n), make([]float32, tokens*k), make([]float32, n*k)
			for _, product := range []struct {
				name string
				run  func()
			}{
				{"y=xW'", func() {
					Gemm(pool, Dense{Data: y, Stride: n}, Dense{Data: x, Stride: k}, Dense{Data: w, Stride: k, Transposed: true}, tokens, n, k, false)
				}},
				{"dx=dyW", func() {
					Gemm(pool, Dense{Data: dx, Stride: k}, Dense{Data: dy, Stride: n}, Dense{Data: w, Stride: k}, tokens, k, n, false)
				}},
				{"dW+=dy'x", func() {
					Gemm(pool, Dense{Data: dw, Stride: k}, Dense{Data: dy, Stride: n, Transposed: true}, Dense{Data: x, Stride: k}, n, k, tokens, true)
				}},
			} {
				b.Run(fmt.Sprintf("%s/N%d_K%d/threads%d", product.name, n, k, threads), func(b *testing.B) {
					best := time.Duration(math.MaxInt64)
					for b.Loop() {
						start := time.Now()
						product.run()
						best = min(best, time.Since(start))
					}
					peak, err := MeasurePeak(pool, "f32")
					if err != nil {
						b.Fatal(err)
					}
					rate := 2 * float64(tokens) * float64(n) * float64(k) / best.Seconds() / 1e9
					b.ReportMetric(rate, "GFLOP/s")
					b.ReportMetric(100*rate/peak, "%peak")
					b.ReportMetric(0, "ns/op")
				})
			}
		}
		pool.Close()
	}
}

// After the first call nothing is allocated.
func TestGemmFlashAllocations(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	c := flashCase{Flash: Flash{Heads: 2, KVHeads: 1, KeyDim: 16, ValueDim: 16}, documents: []int{40, 30}}
	c.make(rng)
	x := randomDense(rng, 50, 40, true)
	y := randomDense(rng, 50, 50, false)
	pool := NewPool(2)
	defer pool.Close()
	for name, f := range map[string]func(){
		"Gemm":     func() { Gemm(pool, y, x, Dense{Data: x.Data, Stride: x.Stride}, 50, 50, 40, false) },
		"Forward":  func() { c.Forward(pool, c.out, c.lse, c.q, c.k, c.v) },
		"Backward": func() { c.Backward(pool, c.dq, c.dk, c.dv, c.dout, c.out, c.lse, c.q, c.k, c.v) },
	} {
		if n := testing.AllocsPerRun(20, f); n > 0 {
			t.Errorf("%s allocates %v times a call", name, n)
		}
	}
}
