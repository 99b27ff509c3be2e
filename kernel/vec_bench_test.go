package kernel

import (
	"fmt"
	"math"
	"testing"
)

// BenchmarkAttend times one layer of attention at 4096 rows: a decode step (1 query) and a block of a prompt (64), with the bytes of the cache it reads.
func BenchmarkAttend(b *testing.B) {
	const rows, pageRows, width, layers = 4096, 128, 64, 10
	for _, shape := range [][2]int{{3, 3}, {8, 1}, {1, 8}} {
		for _, codec := range []Codec{CodecF16, CodecQ8, CodecQ4} {
			groups, per := shape[0], shape[1]
			a := &Attention{Groups: groups, PerGroup: per, Scale: 0.125, Int8: true, Keys: []Slice{{Plane: 0, To: width}}, Values: []Slice{{Plane: 1, To: width}}}
			keys := Plane{Codec: codec, Order: Panels, Heads: groups, Width: width, PageRows: pageRows}
			values := keys
			values.Order, values.Offset = Rows, keys.Bytes()
			a.Planes = []Plane{keys, values}

			// Several layers' pages, so that one layer's do not stay in the nearest caches; all hold the same rows.
			size := keys.Bytes() + values.Bytes()
			arena := make([]byte, layers*rows/pageRows*size)
			r, code := testRand(1), make([]byte, 4*width)
			for i := 0; i < pageRows; i++ {
				keys.Put(arena, i, randVec(r, groups*width, 1), code)
				values.Put(arena, i, randVec(r, groups*width, 1), code)
			}
			var pages [layers][]uint32
			for i := 0; i < layers*rows/pageRows; i++ {
				copy(arena[i*size:], arena[:size])
				pages[i%layers] = append(pages[i%layers], uint32(i*size/PageUnit))
			}
			for _, n := range []int{1, 64} {
				q, out := randVec(r, n*groups*per*width, 1), make([]float32, n*groups*per*width)
				at := NewAttender(nil)
				b.Run(fmt.Sprintf("%dx%d/%v/%d", groups, per, codec, n), func(b *testing.B) {
					b.SetBytes(int64(rows / pageRows * size))
					for i := range b.N {
						at.Run(a, out, q, []Span{{Arena: arena, PageBytes: size, Pages: pages[i%layers], Rows: rows, N: n}})
					}
				})
			}
		}
	}
}

// BenchmarkVec times the row operations on 4096 numbers.
func BenchmarkVec(b *testing.B) {
	r := testRand(2)
	x, y, z := randVec(r, 4096, 1), randVec(r, 4096, 1), make([]float32, 4096)
	cos, sin := make([]float32, 2048), make([]float32, 2048)
	for i := range cos {
		s, c := math.Sincos(float64(i))
		cos[i], sin[i] = float32(c), float32(s)
	}
	for name, f := range map[string]func(){
		"Add": func() { Add(z, y) }, "RMSNorm": func() { RMSNorm(z, x, y, 1e-5, false) }, "LayerNorm": func() { LayerNorm(z, x, y, y, 1e-5) },
		"SiLUMul": func() { SiLUMul(z, x, y) }, "GELUTanhMul": func() { GELUTanhMul(z, x, y) }, "GELUMul": func() { GELUMul(z, x, y) },
		"Softcap": func() { copy(z, x); Softcap(z, 30) }, "RopeHalf": func() { RopeHalf(y, cos, sin) }, "Hadamard": func() { Hadamard(z) }, "ArgMax": func() { ArgMax(x) },
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				f()
			}
		})
	}
	for _, c := range []Codec{CodecF16, CodecBF16, CodecQ8, CodecQ4} {
		code := make([]byte, RowBytes(c, 4096))
		b.Run("Encode/"+c.String(), func(b *testing.B) {
			for range b.N {
				EncodeRow(c, code, x)
			}
		})
		b.Run("Decode/"+c.String(), func(b *testing.B) {
			for range b.N {
				DecodeRow(c, z, code)
			}
		})
	}
}
