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
	for _, c := range []attendCase{{"mha", grouped(heads), rows}, {"gqa 2", grouped(2), rows}, {"mqa", grouped(1), rows}, {"tpa rank 1", factored(heads, 1), rows}, {"tpa rank 2", factored(heads, 2), rows},
		{"tpa 47 heads", factored(47, 2), rows}} {
		s := c.fill(1)
		for _, n := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				s := s
				s.N = n
				all := c.a.Groups * c.a.PerGroup
				q, out := randVec(testRand(1), n*all*width, 1), make([]float32, n*all*width)
				at, spans := NewAttender(nil), []Span{s}
				for b.Loop() {
					at.Run(&c.a, out, q, spans)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n*rows), "ns/row")
			})
		}
	}
}
