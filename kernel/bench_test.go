package kernel

import (
	"fmt"

	"math/rand/v2"
	"testing"
)

// benchWeights packs count weights of one format; their contents are the same.
func benchWeights(b *testing.B, f Format, n, k, count int) []*Matrix {
	b.Helper()
	src := randomWeight(rand.New(rand.NewPCG(1, 1)), f, n, k)
	bytes, err := PackedBytes(f, n, k, ArithInt8)
	if err != nil {
		b.Fatal(err)
	}
	m, err := Alloc(bytes * int64(count))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(m.Free)
	ws := make([]*Matrix, count)
	for i := range ws {
		if ws[i], err = Pack(m.Bytes()[int64(i)*bytes:], f, n, k, src, ArithInt8, nil); err != nil {
			b.Fatal(err)
		}
	}
	return ws
}

// BenchmarkInTurn multiplies one row by many small matrices in turn, as a token passes a model: they do not stay in the second-level cache.
func BenchmarkInTurn(b *testing.B) {
	const n, count = 1536, 64
	for _, f := range allFormats {
		k := 576
		if elems, _ := f.Block(); k%elems != 0 {
			k = 768
		}
		ws := benchWeights(b, f, n, k, count)
		x, y := randomInput(rand.New(rand.NewPCG(2, 2)), 1, k), make([]float32, n)
		for threads := 1; threads <= 2; threads++ {
			b.Run(fmt.Sprintf("%s/t%d", f, threads), func(b *testing.B) {
				pool := NewPool(threads)
				defer pool.Close()
				var in Input
				for i := 0; b.Loop(); i++ {
					in.Set(pool, x, 1, k)
					MatMul(pool, y, n, &in, ws[i%count])
				}
				b.ReportMetric(float64(ws[0].Bytes())*float64(b.N)/b.Elapsed().Seconds()/1e9, "GB/s")
			})
		}
	}
}

// BenchmarkEmptyRun is what a parallel region costs.
func BenchmarkEmptyRun(b *testing.B) {
	for threads := 1; threads <= 2; threads++ {
		b.Run(fmt.Sprintf("t%d", threads), func(b *testing.B) {
			pool := NewPool(threads)
			defer pool.Close()
			f := func(int, int) {}
			for b.Loop() {
				pool.Run(16, f)
			}
		})
	}
}
