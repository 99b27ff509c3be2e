package model

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
)

// cacheFile finds a published model in the cache folder; the test is skipped, saying why, where it is absent.
func cacheFile(t testing.TB, name string) string {
	dir := os.Getenv("LOWKEY_CACHE")
	if dir == "" {
		home, _ := os.UserHomeDir()
		dir = filepath.Join(home, ".cache", "lowkey")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no %s: run tools/fetch-models", path)
	}
	return path
}

// reference is what another implementation computed with a published file, weights expanded to float32.
type reference struct {
	File        string  `json:"model"`
	Prompt      int     `json:"greedy_prompt_len"`
	Greedy      []int32 `json:"greedy_continuation"`
	MeanNLL     float64 `json:"mean_nll_300"`
	ids         []int32
	at          []int64
	logits      []float32
	topLogProbs []float32
	topIDs      []int64
	vocab       int
}

func references(t *testing.T) map[string]*reference {
	dir := goldenDir(t)
	files, _ := filepath.Glob(filepath.Join(dir, "real", "*.json"))
	out := map[string]*reference{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r := &reference{}
		if err := json.Unmarshal(text, r); err != nil {
			t.Fatal(err)
		}
		f, err := safetensors.Open(file[:len(file)-len(".json")] + ".safetensors")
		if err != nil {
			t.Fatal(err)
		}
		ints := func(name string) []int64 {
			x, _ := f.Tensor(name)
			v, err := safetensors.Int64s(x)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		for _, v := range ints("input_ids") {
			r.ids = append(r.ids, int32(v))
		}
		r.at, r.topIDs = ints("positions"), ints("top_ids")
		lp, _ := f.Tensor("top_logprobs")
		if r.topLogProbs, err = safetensors.Float32s(lp); err != nil {
			t.Fatal(err)
		}
		x, _ := f.Tensor("logits")
		if r.logits, err = safetensors.Float32s(x); err != nil {
			t.Fatal(err)
		}
		r.vocab = x.Shape[1]
		f.Close()
		out[filepath.Base(file[:len(file)-len(".json")])] = r
	}
	if len(out) == 0 {
		t.Fatalf("no real models in %s", dir)
	}
	return out
}

func openReal(t testing.TB, file, kv string, arith kernel.Arith, rows int) (*Engine, func()) {
	m, err := Open(cacheFile(t, file))
	if err != nil {
		t.Fatal(err)
	}
	spec, err := kvcache.ParseSpec(kv)
	if err != nil {
		t.Fatal(err)
	}
	pool := kernel.NewPool(2)
	e, err := NewEngine(m, Options{Pool: pool, Arith: arith, Spec: spec, MaxRows: rows, Budget: 512 << 20}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e, func() { e.Close(); pool.Close(); m.Close() }
}

// With f32 activations and an f32 cache the logits are the reference's, its greedy continuation too.
func TestRealExact(t *testing.T) {
	for name, r := range references(t) {
		t.Run(name, func(t *testing.T) {
			if kernel.Level() == "plain" && r.vocab > 100000 {
				t.Skip("the plain path takes minutes with this vocabulary")
			}
			e, done := openReal(t, r.File, "f32", kernel.ArithF32, 512)
			defer done()
			if kernel.Level() == "plain" {
				plainReal(t, e, r)
				return
			}
			got, nll, wrong := realLogits(t, e, r)
			if wrong > 0 {
				t.Errorf("the likeliest token is another at %d of %d positions", wrong, len(r.ids))
			}
			if math.Abs(nll-r.MeanNLL) > 1e-4 {
				t.Errorf("mean negative log-likelihood %.6f, want %.6f", nll, r.MeanNLL)
			}
			worst := 0.0
			for i, v := range got {
				worst = max(worst, math.Abs(float64(v-r.logits[i])))
			}
			top := peak(r.logits)
			t.Logf("logits differ by at most %.3g, bound %.3g", worst, 1e-4*top)
			if !(worst <= 1e-4*top) {
				t.Errorf("logits differ by %.3g of %.3g", worst, top)
			}
			seq := e.Store.NewSequence("")
			defer seq.Close()
			next := r.ids[:r.Prompt]
			var text []int32
			for len(text) < len(r.Greedy) {
				y, err := e.Step([]Feed{{Sequence: seq, Tokens: next}})
				if err != nil {
					t.Fatal(err)
				}
				next = []int32{int32(kernel.ArgMax(y.Float32s()))}
				text = append(text, next[0])
			}
			if fmt.Sprint(text) != fmt.Sprint(r.Greedy) {
				t.Errorf("greedy continuation\n %v\nwant\n %v", text, r.Greedy)
			}
		})
	}
}

// plainReal checks the first tokens alone: the path without assembly computes about one token a second.
func plainReal(t *testing.T, e *Engine, r *reference) {
	const n = 12
	seq := e.Store.NewSequence("")
	defer seq.Close()
	y, err := e.Step([]Feed{{Sequence: seq, Tokens: r.ids[:n], All: true}})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < n; i++ {
		row := y.Slice(i, i+1).Float32s()
		top := r.topIDs[i*20]
		if got, want := logProb(row, int32(top)), float64(r.topLogProbs[i*20]); math.Abs(got-want) > 2e-3 {
			t.Errorf("token %d: log-probability of %d is %.5f, want %.5f", i, top, got, want)
		}
	}
}

// eachRow runs the reference's tokens and hands over the logits of every position.
func eachRow(t *testing.T, e *Engine, r *reference, row func(at int, x []float32)) {
	seq := e.Store.NewSequence("")
	defer seq.Close()
	for at := 0; at < len(r.ids); at += 100 {
		n := min(100, len(r.ids)-at)
		y, err := e.Step([]Feed{{Sequence: seq, Tokens: r.ids[at : at+n], All: true}})
		if err != nil {
			t.Fatal(err)
		}
		for j := 0; j < n; j++ {
			row(at+j, y.Slice(j, j+1).Float32s())
		}
	}
}

// realLogits computes the logits at the reference's positions, the mean negative log-likelihood of its tokens, and how often the likeliest token is not the
// reference's although its two best are 1e-3 apart.
func realLogits(t *testing.T, e *Engine, r *reference) (out []float32, nll float64, wrong int) {
	out = make([]float32, len(r.logits))
	eachRow(t, e, r, func(at int, row []float32) {
		if kernel.ArgMax(row) != int(r.topIDs[at*20]) && r.topLogProbs[at*20]-r.topLogProbs[at*20+1] >= 1e-3 {
			wrong++
		}
		for i, p := range r.at {
			if int(p) == at {
				copy(out[i*r.vocab:], row)
			}
		}
		if next := at + 1; next < len(r.ids) {
			nll -= logProb(row, r.ids[next])
		}
	})
	return out, nll / float64(len(r.ids)-1), wrong
}

func logProb(row []float32, id int32) float64 {
	top := float64(row[kernel.ArgMax(row)])
	sum := 0.0
	for _, v := range row {
		sum += math.Exp(float64(v) - top)
	}
	return float64(row[id]) - top - math.Log(sum)
}

// With int8 activations the cost at the stored positions stays near that of the engine people use: 8 positions for mean KL, 300 for top-1, which luck moves by some 0.02, so that
// TestQuality2000 decides. q8h and q4h are what the peer's q8_0 and q4_0 are: rotated.
func TestRealQuality(t *testing.T) {
	if kernel.Level() == "plain" {
		t.Skip("the plain path takes minutes")
	}
	peer := map[string]map[string][2]float64{ // mean KL, top-1
		"smollm2-135m-q4_1":  {"f16": {0.0047, 0.977}, "q8h": {0.0062, 0.980}, "q4h": {0.034, 0.870}},
		"gemma3-270m-q4_k_m": {"f16": {0.010, 0.960}, "q8h": {0.011, 0.960}, "q4h": {0.205, 0.813}},
	}
	for name, r := range references(t) {
		for _, kv := range []string{"f16", "q8", "q8h", "q4", "q4h"} {
			t.Run(name+" "+kv, func(t *testing.T) {
				e, done := openReal(t, r.File, kv, kernel.ArithInt8, 512)
				defer done()
				kl, top1 := quality(t, e, r)
				bound, known := peer[name][kv]
				t.Logf("mean KL %.4f, top-1 %.3f (peer %.4f, %.3f)", kl, top1, bound[0], bound[1])
				if known && (kl > 1.5*bound[0] || top1 < bound[1]-0.04) {
					t.Errorf("mean KL %.4f, top-1 %.3f is far from the peer's %.4f and %.3f", kl, top1, bound[0], bound[1])
				}
			})
		}
	}
}

func quality(t *testing.T, e *Engine, r *reference) (kl, top1 float64) {
	agree := 0
	eachRow(t, e, r, func(at int, row []float32) {
		if kernel.ArgMax(row) == int(r.topIDs[at*20]) {
			agree++
		}
		for i, p := range r.at {
			if int(p) == at {
				kl += divergence(r.logits[i*r.vocab:][:r.vocab], row) / float64(len(r.at))
			}
		}
	})
	return kl, float64(agree) / float64(len(r.ids))
}

// divergence is KL(p || q) of two rows of logits, in nats.
func divergence(p, q []float32) float64 {
	norm := func(x []float32) float64 {
		top, sum := float64(x[kernel.ArgMax(x)]), 0.0
		for _, v := range x {
			sum += math.Exp(float64(v) - top)
		}
		return top + math.Log(sum)
	}
	np, nq, kl := norm(p), norm(q), 0.0
	for i := range p {
		lp := float64(p[i]) - np
		kl += math.Exp(lp) * (lp - (float64(q[i]) - nq))
	}
	return kl
}
