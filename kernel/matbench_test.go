package kernel

import (
	"fmt"
	"testing"
)

// BenchmarkProducts prints GB/s of packed weights and GFLOP/s by format, shape and threads.
func BenchmarkProducts(b *testing.B) {
	for _, f := range allFormats {
		for _, size := range [][3]int{{1, 4096, 4096}, {1, 1536, 576}, {16, 1536, 576}, {512, 1536, 576}, {512, 576, 1536}} {
			m, n, k := size[0], size[1], size[2]
			if k%256 != 0 {
				if elems, _ := f.Block(); elems == 256 {
					k = 512
				}
			}
			for threads := 1; threads <= 2; threads++ {
				b.Run(fmt.Sprintf("%s/m%d_n%d_k%d/t%d", f, m, n, k, threads), func(b *testing.B) {
					benchProduct(b, f, m, n, k, threads)
				})
			}
		}
	}
}

func benchProduct(b *testing.B, f Format, m, n, k, threads int) {
	bytes, err := PackedBytes(f, n, k, ArithInt8)
	if err != nil {
		b.Fatal(err)
	}
	elems, size := f.Block()
	mem, err := Alloc(bytes)
	if err != nil {
		b.Fatal(err)
	}
	defer mem.Free()
	w, err := Pack(mem.Bytes()[:bytes], f, n, k, make([]byte, n*k/elems*size), ArithInt8, nil)
	if err != nil {
		b.Fatal(err)
	}
	pool := NewPool(threads)
	defer pool.Close()
	x, y := make([]float32, m*k), make([]float32, m*n)
	for i := range x {
		x[i] = float32(i%7) - 3
	}
	var in Input
	for b.Loop() {
		in.Set(pool, x, m, k)
		MatMul(pool, y, n, &in, w)
	}
	s := b.Elapsed().Seconds() / float64(b.N)
	b.ReportMetric(float64(bytes)/s/1e9, "GB/s")
	b.ReportMetric(2*float64(m)*float64(n)*float64(k)/s/1e9, "GFLOP/s")
}
