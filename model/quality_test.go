package model

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/lowkeylm/lowkey/format/gguf"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/tokenizer"
)

// TestQuality2000 measures what quantised activations and each cache type cost on some 2,000 positions of English, against this engine's own run in float32. The peer's figures are
// those of llama.cpp on the same text, windows and positions (its perplexity tool, against the same model requantised to F32), whose q8_0 and q4_0 caches are Hadamard-rotated as
// q8h and q4h are. Mean KL may be at most 1.1 times the peer's; top-1 agreement at least the peer's less twice the standard error of so many positions.
func TestQuality2000(t *testing.T) {
	if os.Getenv("LOWKEY_QUALITY") == "" {
		t.Skip("takes minutes: set LOWKEY_QUALITY=1")
	}
	path := filepath.Join(goldenDir(t), "..", "data", "english-eval.txt")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Skip("no evaluation text beside the reference outputs")
	}
	type figure struct{ kl, top1 float64 }
	peers := map[string]map[string]figure{
		"SmolLM2-135M-Instruct.Q4_1.gguf": {"f16": {0.003043, 0.96324}, "q8h": {0.003128, 0.96667}, "q4h": {0.047272, 0.89265}},
		"gemma-3-270m-q4_k_m.gguf":        {"f16": {0.005274, 0.95392}, "q8h": {0.006009, 0.95245}, "q4h": {0.108681, 0.81912}},
	}
	for file, peer := range peers {
		t.Run(file, func(t *testing.T) {
			ids := windows(t, cacheFile(t, file), string(text[:100000]))
			base := map[int][]float32{}
			teach(t, file, "f32", kernel.ArithF32, ids, func(i int, row []float32) { base[i] = append([]float32{}, row...) })
			for _, kv := range []string{"f16", "q8", "q8h", "q4", "q4h", "q4c", "k=q4c,v=q4h", "q2c"} {
				kl, agree := 0.0, 0.0
				teach(t, file, kv, kernel.ArithInt8, ids, func(i int, row []float32) {
					kl += divergence(base[i], row) / float64(len(base))
					if kernel.ArgMax(base[i]) == kernel.ArgMax(row) {
						agree += 1 / float64(len(base))
					}
				})
				want, known := peer[kv]
				t.Logf("%-11s %d positions: mean KL %.5f, top-1 %.4f (peer %.5f, %.4f)", kv, len(base), kl, agree, want.kl, want.top1)
				if known && (kl > 1.1*want.kl || agree < want.top1-0.014) {
					t.Errorf("%s: mean KL %.5f, top-1 %.4f; the peer has %.5f and %.4f", kv, kl, agree, want.kl, want.top1)
				}
			}
		})
	}
}

const (
	windowTokens = 512
	windowCount  = 8
)

// windows cuts the text's first tokens into windows, each with the model's start token where it has one.
func windows(t *testing.T, path, text string) [][]int32 {
	g, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	tok, err := tokenizer.FromGGUF(g)
	if err != nil {
		t.Fatal(err)
	}
	ids := tok.Encode(text, tokenizer.EncodeOptions{AddBOS: true})
	var out [][]int32
	for w := 0; w < windowCount; w++ {
		one := append([]int32{}, ids[w*windowTokens:][:windowTokens]...)
		if tok.AddsBOS() {
			one[0] = tok.BOS()
		}
		out = append(out, one)
	}
	return out
}

// teach runs every window and hands over the logits of its second half.
func teach(t *testing.T, file, kv string, arith kernel.Arith, ids [][]int32, row func(i int, x []float32)) {
	e, done := openReal(t, file, kv, arith, windowTokens)
	defer done()
	const step = 64
	for w, tokens := range ids {
		seq := e.Store.NewSequence(fmt.Sprint(w))
		for at := 0; at < windowTokens; at += step {
			y, err := e.Step([]Feed{{Sequence: seq, Tokens: tokens[at : at+step], All: true}})
			if err != nil {
				t.Fatal(err)
			}
			for j := 0; j < step; j++ {
				if p := at + j; p >= windowTokens/2 && p < windowTokens-1 {
					row(w*windowTokens+p, y.Slice(j, j+1).Float32s())
				}
			}
		}
		seq.Close()
	}
}
