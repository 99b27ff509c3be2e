package kernel

import (
	"fmt"
	"testing"
)

// BenchmarkAttendFactors is what a cached row costs a query, or 64 of a prompt, by design: 8 heads of 64, float16, 2048 rows, one thread. The rows of a layer fit the cache: this
// measures arithmetic.
func BenchmarkAttendFactors(b *testing.B) {
	const heads, width, rows = 8, 64, 2048
	grouped := func(kv int) Attention {
		return Attention{Groups: kv, PerGroup: heads / kv, Scale: 0.1, Keys: []Slice{{Plane: 0, To: width}}, Values: []Slice{{Plane: 1, To: width}},
			Planes: []Plane{{Codec: CodecF16, Order: Panels, Heads: kv, Width: width}, {Codec: CodecF16, Heads: kv, Width: width}}}
	}
	factored := func(heads, rank int) Attention {
		return Attention{Groups: 1, PerGroup: heads, Scale: 0.1, Keys: []Slice{{Plane: 1, To: width, Rank: rank}}, Values: []Slice{{Plane: 3, To: width, Rank: rank, By: 2}},
			Planes: []Plane{{Codec: CodecF16, Order: Panels, Heads: 1, Width: heads * rank}, {Codec: CodecF16, Order: Panels, Heads: rank, Width: width},
				{Codec: CodecF16, Order: Panels, Heads: 1, Width: heads * rank}, {Codec: CodecF16, Heads: rank, Width: width}}}
	}
	residual := func(rank int, c Codec, order Order) Attention {
		return Attention{Groups: 1, PerGroup: heads, Scale: 0.1, Keys: []Slice{{Plane: 0, To: width, Shared: true}, {Plane: 1, To: rank, Own: true}}, Values: []Slice{{Plane: 2, To: width, Shared: true}, {Plane: 3, To: rank, Own: true}},
			Planes: []Plane{{Codec: c, Order: Panels, Heads: 1, Width: width}, {Codec: c, Order: order, Heads: heads, Width: rank}, {Codec: c, Heads: 1, Width: width}, {Codec: c, Heads: heads, Width: rank}}}
	}
	for _, c := range []attendCase{{"mha", grouped(heads), rows}, {"lrkv 24", residual(24, CodecF16, Panels), rows}, {"lrkv 32", residual(32, CodecF16, Panels), rows},
		{"lrkv 24 q8", residual(24, CodecQ8, Rows), rows}, {"lrkv 32 q8", residual(32, CodecQ8, Panels), rows}, {"gqa 2", grouped(2), rows}, {"mqa", grouped(1), rows}, {"tpa rank 1", factored(heads, 1), rows}, {"tpa rank 2", factored(heads, 2), rows},
		{"tpa 47 heads", factored(47, 2), rows}} {
		s := c.fill(1)
		for _, n := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				s := s
				s.N = n
				all := c.a.Groups * c.a.PerGroup
				q, out := randVec(testRand(1), n*all*c.a.KeyWidth(), 1), make([]float32, n*all*c.a.ValueWidth())
				at, spans := NewAttender(nil), []Span{s}
				for b.Loop() {
					at.Run(&c.a, out, q, spans)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n*rows), "ns/row")
			})
		}
	}
}

// BenchmarkAttendFar is decoding deep into a context: one query a sequence, 9 heads over 3, 8192 rows in each of so many layers that no cache holds them. Two threads, as two cores share
// the way to memory. It reports how fast cached bytes are consumed.
func BenchmarkAttendFar(b *testing.B) {
	const layers, rows, width = 64, 8192, 64
	pool := NewPool(2)
	defer pool.Close()
	for _, codec := range []Codec{CodecF16, CodecQ8, CodecQ4, CodecQ4C} { // q4c: keys alone, beside values in q4
		values := min(codec, CodecQ4)
		c := attendCase{rows: rows, a: Attention{Groups: 3, PerGroup: 3, Scale: 0.125, Int8: true, Keys: []Slice{{Plane: 0, To: width}}, Values: []Slice{{Plane: 1, To: width}},
			Planes: []Plane{{Codec: codec, Order: Panels, Heads: 3, Width: width}, {Codec: values, Heads: 3, Width: width}}}}
		first := c.fill(1)
		spans := []Span{first}
		for range layers - 1 {
			s := first
			s.Arena = append([]byte(nil), first.Arena...)
			spans = append(spans, s)
		}
		b.Run(codec.String(), func(b *testing.B) {
			q, out := randVec(testRand(1), 9*width, 1), make([]float32, 9*width)
			at := NewAttender(pool)
			for b.Loop() {
				for i := range spans {
					at.Run(&c.a, out, q, spans[i:i+1])
				}
			}
			bytes := float64(len(first.Arena) * layers)
			b.ReportMetric(bytes*float64(b.N)/b.Elapsed().Seconds()/1e9, "GB/s")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*layers), "us/layer")
		})
	}
}
