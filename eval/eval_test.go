package eval

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/tokenizer"
)

// chain predicts token t+1 (modulo size) with probability p and each other token alike, whatever stands before t. fed, if not nil, is told every sequence.
type chain struct {
	size int
	p    float64
	fed  func(ids []int32, from int)
	fail int // fails at this token of a sequence; 0 = never
}

var errFail = errors.New("failed on purpose")

func (c *chain) Logits(_ context.Context, ids []int32, from int) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		if c.fed != nil {
			c.fed(slices.Clone(ids), from)
		}
		row := make([]float32, c.size)
		for at, id := range ids[from:] {
			if c.fail > 0 && from+at == c.fail {
				yield(nil, errFail)
				return
			}
			for i := range row {
				row[i] = float32(math.Log((1 - c.p) / float64(c.size-1)))
			}
			row[(int(id)+1)%c.size] = float32(math.Log(c.p))
			if !yield(row, nil) {
				return
			}
		}
	}
}

func TestText(t *testing.T) {
	ids := []int32{0, 1, 2, 3, 9, 0, 1} // 9 is what 8 predicts: the step 3 -> 9 is a surprise, 9 -> 0 is not
	m := &chain{size: 10, p: 0.55}      // the others have 0.05 each
	want := -5*math.Log(0.55) - math.Log(0.05)
	told := 0
	o := Options{Window: 4, Bytes: func(id int32) int { return int(id) }, Progress: func(done, total int) { told = 10*done + total }}
	s, err := Text(context.Background(), m, ids, o)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "sum", s.NLL, want, 1e-5)
	near(t, "mean", s.MeanNLL(), want/6, 1e-6)
	near(t, "perplexity", s.Perplexity(), math.Exp(want/6), 1e-5)
	near(t, "bits per byte", s.BitsPerByte(), want/math.Ln2/16, 1e-6) // 1+2+3+9+0+1
	if s.Tokens != 6 || s.Bytes != 16 || told != 66 {
		t.Errorf("%+v, progress %d", s, told)
	}
	o.Start = []int32{8} // predicts 9, not 0
	if s, err = Text(context.Background(), m, ids, o); err != nil || s.Tokens != 7 {
		t.Fatal(s, err)
	}
	// windows of 3 tokens of the text: 0 and 3 follow 8, which does not predict them, nor 3 the 9; the last window reaches back as far as it can, so that 1 follows 0
	near(t, "with a start token", s.NLL, -3*math.Log(0.05)-4*math.Log(0.55), 1e-5)
}

// Every token is scored once, with the context that was promised, in sequences that are no longer than the window.
func TestWindows(t *testing.T) {
	for _, start := range [][]int32{nil, {7}, {7, 7}} {
		for _, n := range []int{2, 5, 8, 9, 23} {
			for size := len(start) + 2; size < 10; size++ {
				for stride := 0; stride <= size-max(1, len(start)); stride++ {
					for _, limit := range []int{0, 1, 6} {
						name := fmt.Sprintf("start %d, %d tokens, windows of %d, stride %d, limit %d", len(start), n, size, stride, limit)
						ids := make([]int32, n)
						for i := range ids {
							ids[i] = int32(100 + i)
						}
						var scored []int32
						m := &chain{size: 200, p: 0.5, fed: func(fed []int32, from int) {
							if len(fed)+1 > size {
								t.Errorf("%s: sequence of %d", name, len(fed)+1)
							}
							if !slices.Equal(fed[:len(start)], start) {
								t.Errorf("%s: starts with %d", name, fed)
							}
							first := fed[len(start):] // of the text
							for i := from; i < len(fed); i++ {
								next := int32(100) // what follows the start tokens
								if i >= len(start) {
									next = fed[i] + 1
								} else if len(first) > 0 {
									next = first[0]
								} else if len(scored) > 0 {
									next = scored[len(scored)-1] + 1
								}
								scored = append(scored, next)
								if promised := size - stride - 1; stride > 0 && int(next)-100+len(start) > promised && i+1 < promised {
									t.Errorf("%s: token %d has %d before it, %d were promised", name, next, i+1, promised)
								}
							}
						}}
						s, err := Text(context.Background(), m, ids, Options{Window: size, Stride: stride, Start: start, Limit: limit})
						if err != nil {
							t.Fatal(name, err)
						}
						want := ids
						if len(start) == 0 {
							want = ids[1:]
						}
						if limit > 0 && limit < len(want) {
							want = want[:limit]
						}
						if s.Tokens != len(want) || !slices.Equal(scored, want) {
							t.Errorf("%s: scored %d, want %d", name, scored, want)
						}
					}
				}
			}
		}
	}
}

func TestCompareChains(t *testing.T) {
	ids := []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	ref, others := &chain{size: 10, p: 0.55}, []Model{&chain{size: 10, p: 0.1}, &chain{size: 10, p: 0.55}, &chain{size: 10, p: 0.01}}
	score, r, err := Compare(context.Background(), ref, others, ids, Options{Window: 4})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "reference", score.MeanNLL(), -math.Log(0.55), 1e-6)
	near(t, "uniform", r[0].MeanNLL(), math.Log(10), 1e-6)
	near(t, "KL from uniform", r[0].Divergence.MeanKL(), 0.55*math.Log(0.55/0.1)+0.45*math.Log(0.05/0.1), 1e-6)
	near(t, "KL of the same", r[1].Divergence.MeanKL(), 0, 0)
	near(t, "top-1 of the same", r[1].Divergence.Top1(), 1, 0)
	near(t, "top-1 of the contrary", r[2].Divergence.Top1(), 0, 0)
	if r[0].Tokens != 9 || r[0].Divergence.Positions != 9 {
		t.Errorf("%+v", r[0])
	}
	// an error keeps what was scored before it: the first window alone (3 tokens), in all models
	others[1].(*chain).fail = 3
	_, r, err = Compare(context.Background(), ref, others, append(ids, ids...), Options{Window: 5})
	if !errors.Is(err, errFail) || r[0].Tokens != 3 || r[2].Tokens != 3 {
		t.Errorf("%v, %+v", err, r)
	}
	if _, _, err = Compare(context.Background(), ref, []Model{&chain{size: 11, p: 0.1}}, ids, Options{}); err == nil || !strings.Contains(err.Error(), "10 and 11 tokens") {
		t.Error("other vocabularies:", err)
	}
	if _, err = Text(context.Background(), &chain{size: 10, p: math.NaN()}, ids, Options{}); err == nil || !strings.Contains(err.Error(), "NaN") {
		t.Error("NaN:", err)
	}
}

func TestRefusals(t *testing.T) {
	m := &chain{size: 10, p: 0.5}
	for want, c := range map[string]struct {
		n int
		o Options
	}{
		"give a longer text":              {1, Options{}},
		"one token must follow another":   {0, Options{Start: []int32{1}}},
		"at least 2":                      {9, Options{Window: 1}},
		"at least 3":                      {9, Options{Window: 2, Start: []int32{1, 1}}},
		"1 to 3 in windows of 4":          {9, Options{Window: 4, Stride: 4}},
		"limit: -1 tokens":                {9, Options{Limit: -1}},
		"stride: -2 tokens; 1 to 1023 in": {9, Options{Stride: -2}},
	} {
		if _, err := Text(context.Background(), m, make([]int32, c.n), c.o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// tiny is a model with a tokenizer among the reference outputs.
func tiny(t *testing.T, o lowkey.Options) *lowkey.Model {
	t.Helper()
	folders, _ := filepath.Glob(filepath.Join(goldenDir(t), "models", "*", "tokenizer.json"))
	if len(folders) == 0 {
		t.Skip("no tiny model has a tokenizer")
	}
	m, err := lowkey.Load(filepath.Dir(folders[0]), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// TestGoldenWithCache compares caches that share weights with models loaded apart: the same bits. A model against itself has no divergence, and what a window holds is what the
// accounting says.
func TestGoldenWithCache(t *testing.T) {
	m := tiny(t, lowkey.Options{Context: 64, KV: "f32", Activations: "f32", Threads: 2})
	types := []string{"f32", "f16", "q8", "q4h"}
	var models []Model
	for _, kv := range types {
		c, err := m.WithCache(kv)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		models = append(models, c)
	}
	text := m.Tokenizer.Encode(Prose, tokenizer.EncodeOptions{})
	o := Options{Window: 64, Stride: 20, Limit: 150, Start: StartTokens(m.Tokenizer), Bytes: TokenBytes(m.Tokenizer)}
	ref, results, err := Compare(context.Background(), m, models, text, o)
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Divergence.MaxKL != 0 || results[0].Divergence.Top1() != 1 || results[0].Score != ref {
		t.Errorf("f32 against f32: %+v, %+v", results[0], ref)
	}
	for i, kv := range types {
		alone := tiny(t, lowkey.Options{Context: 64, KV: kv, Activations: "f32", Threads: 1})
		s, err := Text(context.Background(), alone, text, o)
		if err != nil {
			t.Fatal(err)
		}
		if s != results[i].Score {
			t.Errorf("%s: %+v beside others, %+v alone", kv, results[i].Score, s)
		}
		if want := alone.Account.Sequence(63); alone.Held() != want || models[i].(*lowkey.Model).Held() != want {
			t.Errorf("%s: %d and %d bytes held, %d expected", kv, alone.Held(), models[i].(*lowkey.Model).Held(), want)
		}
		if i > 0 && !(results[i].Divergence.MeanKL() > results[i-1].Divergence.MeanKL()) {
			t.Errorf("%s costs no more than %s: %v", kv, types[i-1], results[i].Divergence.MeanKL())
		}
	}
	for _, kv := range []string{"q3", "latent=q8"} {
		if _, err := m.WithCache(kv); err == nil {
			t.Errorf("%s was taken", kv)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Text(ctx, m, text, o); !errors.Is(err, context.Canceled) {
		t.Error("cancelled:", err)
	}
	small := tiny(t, lowkey.Options{Context: 64, KV: "f32", Activations: "f32", Memory: m.Engine.WeightBytes() + 100<<20})
	for err = nil; err == nil; { // caches fit until the budget is spent
		var c *lowkey.Model
		if c, err = small.WithCache("f32"); err == nil {
			defer c.Close()
		}
	}
	if !strings.Contains(err.Error(), "are left of the budget") {
		t.Error(err)
	}
}

// copier continues a text as it went on after the longest stretch that stood there before, which is what a hidden number asks for.
type copier struct {
	vocab int
	blind int // what lies further back is not seen; 0 = all is
}

func (c *copier) Logits(_ context.Context, ids []int32, from int) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		for at := from; at < len(ids); at++ {
			row := make([]float32, c.vocab)
			for i, best := at-1, 0; i >= 0 && (c.blind == 0 || at-i < c.blind); i-- { // the longest match decides
				n := 0
				for n <= i && ids[i-n] == ids[at-n] {
					n++
				}
				if n > best {
					best = n
					clear(row)
					row[ids[i+1]] = 10
				}
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

func TestGoldenPasskey(t *testing.T) {
	tok := tiny(t, lowkey.Options{Context: 64}).Tokenizer
	for form := range forms {
		o := PasskeyOptions{Form: form, Context: 1200, Depths: []float64{0, 0.5, 1}, Trials: 3, Seed: 1}
		r, err := Passkey(context.Background(), &copier{vocab: tok.Vocab()}, tok, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r {
			if p.Right != 3 || p.Trials != 3 || p.Tokens > 1200 || p.Tokens < 900 {
				t.Errorf("%s, a copier: %+v", form, p)
			}
		}
		r, err = Passkey(context.Background(), &copier{vocab: tok.Vocab(), blind: 300}, tok, o)
		if err != nil {
			t.Fatal(err)
		}
		if r[0].Right != 0 || r[1].Right != 0 || r[2].Right != 3 || r[0].NLL < r[2].NLL+1 {
			t.Errorf("%s, a copier that sees 300 tokens: %+v", form, r)
		}
	}
	for want, o := range map[string]PasskeyOptions{"text or go": {Form: "c"}, "0 to 1": {Context: 1200, Depths: []float64{-1}}, "without any filler": {Context: 9, Depths: []float64{0}},
		"at least 1": {Trials: -1}} {
		if _, err := Passkey(context.Background(), &copier{vocab: tok.Vocab()}, tok, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

// The hidden number stands where it should, and the filler about it is whole.
func TestGoldenHide(t *testing.T) {
	tok := tiny(t, lowkey.Options{Context: 64}).Tokenizer
	for name, f := range forms {
		h := hider{f, tok, nil, f.filler()}
		for _, depth := range []float64{0, 0.25, 1} {
			ids, from, err := h.hide("73951", depth, 3, 2000)
			if err != nil {
				t.Fatal(err)
			}
			text := tok.Decode(ids)
			needle := fmt.Sprintf(f.needle, "73951")
			at := float64(strings.Index(text, needle)-len(f.head)) / float64(len(text)-len(f.head)-len(f.question)-len(needle))
			if !strings.HasPrefix(text, f.head) || !strings.HasSuffix(text, f.question+" 73951") || math.Abs(at-depth) > 0.05 {
				t.Errorf("%s, depth %v: number at %v of %q", name, depth, at, text)
			}
			if rest := tok.Decode(ids[from:]); strings.TrimSpace(rest) != "73951" {
				t.Errorf("%s: asked for %q", name, rest)
			}
		}
	}
}
