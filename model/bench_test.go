package model

import (
	"fmt"
	"testing"

	"github.com/lowkeylm/lowkey/kernel"
)

func benchTokens(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(1000 + i*7919%20000)
	}
	return out
}

func fillTo(b *testing.B, e *Engine, feeds []Feed, depth int) {
	for at := 0; at < depth; at += 256 {
		if _, err := e.Step([]Feed{{Sequence: feeds[0].Sequence, Tokens: benchTokens(min(256, depth-at))}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecode is one token at a depth; go test -bench Decode -cpuprofile shows where it goes.
func BenchmarkDecode(b *testing.B) {
	for _, kv := range []string{"f16", "q8", "q4h"} {
		for _, depth := range []int{0, 4096} {
			b.Run(fmt.Sprintf("%s/%d", kv, depth), func(b *testing.B) {
				e, done := openReal(b, "SmolLM2-135M-Instruct.Q4_1.gguf", kv, kernel.ArithInt8, 8192)
				defer done()
				seq := e.Store.NewSequence("")
				feeds := []Feed{{Sequence: seq, Tokens: []int32{5}}}
				fillTo(b, e, feeds, depth)
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; i < b.N; i++ {
					if _, err := e.Step(feeds); err != nil {
						b.Fatal(err)
					}
					if seq.Rows() > depth+64 {
						if err := seq.Truncate(depth); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tok/s")
			})
		}
	}
}

// BenchmarkPrefill is a prompt in steps of 256 tokens.
func BenchmarkPrefill(b *testing.B) {
	for _, n := range []int{512, 4096} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e, done := openReal(b, "SmolLM2-135M-Instruct.Q4_1.gguf", "f16", kernel.ArithInt8, 8192)
			defer done()
			seq := e.Store.NewSequence("")
			feeds := []Feed{{Sequence: seq}}
			b.ReportAllocs()
			for i := 0; i < b.N; i++ {
				fillTo(b, e, feeds, n)
				seq.Close()
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "tok/s")
		})
	}
}

// BenchmarkBatch is 16 sequences decoding together.
func BenchmarkBatch(b *testing.B) {
	e, done := openReal(b, "SmolLM2-135M-Instruct.Q4_1.gguf", "f16", kernel.ArithInt8, 8192)
	defer done()
	var feeds []Feed
	for i := 0; i < 16; i++ {
		seq := e.Store.NewSequence(fmt.Sprint(i))
		if _, err := e.Step([]Feed{{Sequence: seq, Tokens: benchTokens(128)}}); err != nil {
			b.Fatal(err)
		}
		feeds = append(feeds, Feed{Sequence: seq, Tokens: []int32{5}})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		if _, err := e.Step(feeds); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(16*b.N)/b.Elapsed().Seconds(), "tok/s")
}
