package tensor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lowkeylm/lowkey/kernel"
)

func randoms(r *rand.Rand, n int, scale float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * scale)
	}
	return x
}

// The vector loops against the plain ones, op by op: f writes to its results, which hold numbers before.
func TestFastLoops(t *testing.T) {
	pool := kernel.NewPool(2)
	defer pool.Close()
	l := loops{pool}
	for _, n := range []int{1, 6, 35, 128} {
		r := rand.New(rand.NewPCG(uint64(n), 3))
		check := func(what string, results []int, f func(k kernels[float32], out [][]float32)) {
			t.Helper()
			var out [2][][]float32
			for _, size := range results {
				x := randoms(r, size, 1)
				out[0], out[1] = append(out[0], x), append(out[1], append([]float32(nil), x...))
			}
			f(fast{}, out[0])
			f(plain[float32]{}, out[1])
			for i, got := range out[0] {
				for j, v := range got {
					if want := float64(out[1][i][j]); !(math.Abs(float64(v)-want) <= 5e-6*(1+math.Abs(want))) {
						t.Errorf("%s of %d, result %d, element %d: %v, plain %v", what, n, i, j, v, want)
						break
					}
				}
			}
		}
		a, b, c := randoms(r, n, 2), randoms(r, n, 1), randoms(r, n, 1)
		one, two := []int{n}, []int{n, n}
		check("add", one, func(k kernels[float32], out [][]float32) { k.add(out[0], a) })
		check("rope", one, func(k kernels[float32], out [][]float32) { k.rope(out[0], a[:n/2], b[:n/2], false) })
		check("rope, pairs", one, func(k kernels[float32], out [][]float32) { k.rope(out[0], a[:n/2], b[:n/2], true) })
		check("swiGLU", one, func(k kernels[float32], out [][]float32) { k.swiGLU(out[0], a, b) })
		check("swiGLUBack, same place", one, func(k kernels[float32], out [][]float32) { k.swiGLUBack(out[0], out[0], c, a, a, true, true) })
		check("logSumExp", []int{1}, func(k kernels[float32], out [][]float32) { out[0][0] = float32(k.logSumExp(a)) })
		check("lossBack", one, func(k kernels[float32], out [][]float32) { k.lossBack(out[0], a, k.logSumExp(a), 0.3, 0.1, n-1) })
		for _, add := range []bool{false, true} {
			check("scale", one, func(k kernels[float32], out [][]float32) { k.scale(out[0], a, 0.7, add) })
			check("mul", one, func(k kernels[float32], out [][]float32) { k.mul(out[0], a, b, add) })
			for kind := range curves {
				f := activation(curveKind(kind), 1.5)
				check(fmt.Sprint("apply ", kind), one, func(k kernels[float32], out [][]float32) { k.apply(out[0], a, f) })
				v := a
				if f.own {
					v = make([]float32, n)
					plain[float32]{}.apply(v, a, f)
				}
				check(fmt.Sprint("applyBack ", kind), one, func(k kernels[float32], out [][]float32) { k.applyBack(out[0], c, v, f, add) })
			}
			check("swiGLUBack", two, func(k kernels[float32], out [][]float32) { k.swiGLUBack(out[0], out[1], c, a, b, add, !add) })
			check("swiGLUBack, one", one, func(k kernels[float32], out [][]float32) { k.swiGLUBack(nil, out[0], c, a, b, add, add) })

			x, dy := randoms(r, 3*2*n, 1), randoms(r, 3*2*n, 1) // three rows of two groups
			for _, weights := range []int{0, n, 2 * n} {
				w := randoms(r, weights, 1)
				spec := Norm{Eps: 1e-5, PlusOne: add}
				check("rmsNorm", []int{6 * n}, func(k kernels[float32], out [][]float32) { k.rmsNorm(out[0], x, w, n, spec) })
				for wanted := range 4 {
					check("rmsNormBack", []int{6 * n, weights}, func(k kernels[float32], out [][]float32) {
						dx, dw := out[0], out[1]
						if wanted&1 != 0 {
							dx = nil
						}
						if wanted&2 != 0 || weights == 0 {
							dw = nil
						}
						k.rmsNormBack(dx, dw, dy, x, w, n, spec, add)
					})
				}
			}
			for turned := range 4 {
				m, k2 := 5, 9
				x, y := dense[float32]{randoms(r, m*k2, 0.3), k2, false}, dense[float32]{randoms(r, k2*n, 0.3), n, false}
				if turned&1 != 0 {
					x.stride, x.turned = m, true
				}
				if turned&2 != 0 {
					y.stride, y.turned = k2, true
				}
				check("gemm", []int{m * n}, func(k kernels[float32], out [][]float32) {
					k.gemm(l, dense[float32]{out[0], n, false}, x, y, m, n, k2, add)
				})
			}
		}
	}
}

func TestFastAttend(t *testing.T) {
	pool := kernel.NewPool(2)
	defer pool.Close()
	l := loops{pool}
	r := rand.New(rand.NewPCG(1, 4))
	const rows, heads, kv, dk, dv = 21, 4, 2, 6, 5
	q, k, v, dy := randoms(r, rows*heads*dk, 1), randoms(r, rows*kv*dk, 1), randoms(r, rows*kv*dv, 1), randoms(r, rows*heads*dv, 1)
	sinks, bias, first := randoms(r, heads, 1), randoms(r, rows*kv, 1), make([]int32, rows)
	for i := 8; i < rows; i++ {
		first[i] = 8
	}
	spec := Attend{Heads: heads, KVHeads: kv, Scale: 0.4}
	capped := spec
	capped.Softcap, capped.Window = 2, 5
	for i, s := range []attention[float32]{{Attend: spec}, {Attend: capped, first: first}, {Attend: capped, sinks: sinks, bias: bias, biases: kv}} {
		s.t, s.dk, s.dv = rows, dk, dv
		for _, wantQ := range []bool{true, false} {
			var out [2][][]float32
			for j, loop := range []kernels[float32]{plain[float32]{}, fast{}} {
				s := s
				y, lse := make([]float32, rows*heads*dv), make([]float32, heads*rows)
				dq, dkeys, dvalues := make([]float32, len(q)), make([]float32, len(k)), make([]float32, len(v))
				if s.sinks != nil {
					s.dsinks, s.dbias = make([]float32, heads), make([]float32, len(bias))
				}
				if !wantQ {
					dq = nil
				}
				loop.attend(l, y, lse, q, k, v, &s)
				loop.attendBack(l, dq, dkeys, dvalues, dy, y, lse, q, k, v, &s)
				out[j] = [][]float32{y, lse, dq, dkeys, dvalues, s.dsinks, s.dbias}
			}
			for part, want := range out[0] {
				for j, w := range want {
					if got := out[1][part][j]; !(math.Abs(float64(got-w)) <= 1e-5) {
						t.Fatalf("case %d, part %d, element %d: %v, plain %v", i, part, j, got, w)
					}
				}
			}
		}
	}
}
