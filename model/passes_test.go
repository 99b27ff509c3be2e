package model

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/kernel"
)

// fastEngine is an engine of either numerics.
func fastEngine(t *testing.T, m *Model, kv string, arith kernel.Arith, threads int, fast bool) *Engine {
	t.Helper()
	opt := Options{Pool: kernel.NewPool(threads), Spec: mustSpec(t, kv), Arith: arith, MaxRows: 300, Budget: 4 << 20, Fast: fast}
	if arith == kernel.ArithInt8 {
		opt.Weights = &quantised
	}
	e, err := NewEngine(m, opt, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close(); opt.Pool.Close() })
	return e
}

// inChunks runs ids in chunks whose last length repeats, and one token after them, and returns all logits.
func inChunks(t *testing.T, e *Engine, ids []int32, chunks ...int) (out []float32) {
	t.Helper()
	q := e.Store.NewSequence("")
	defer q.Close()
	defer e.Store.ForgetPrefixes()
	for i, at := 0, 0; at < len(ids); i++ {
		n := min(chunks[min(i, len(chunks)-1)], len(ids)-at)
		if at+n == len(ids) && n > 1 {
			n--
		}
		y, err := e.Step([]Feed{{Sequence: q, Tokens: ids[at : at+n], All: true}})
		if err != nil {
			t.Fatal(err)
		}
		out, at = append(out, y.Float32s()...), at+n
	}
	return out
}

func sameFloats(a, b []float32) bool {
	for i, v := range a {
		if math.Float32bits(v) != math.Float32bits(b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

var cyclicMaps = []string{"1_1_3_3", "0_3_3_3_4", "0_2_2_2_4", "2_2_2", "2_3_2_3", "1_1"}

// Exact numerics in one step, and fast ones, against tokens one by one, in maps that close circles of all kinds (apart, overlapping, with layers before and behind, read from above too). Fast ones are within 1e-3 of the largest logit in a float32
// cache, and the same bits where the cache rounds, for every chunking. These weights are random: no pass has been taught to change little.
func TestPasses(t *testing.T) {
	const n = 60
	ids := tinyIDs(n)
	worst, taken, tokens := 0.0, 0, 0
	for i, design := range []string{"gqa", "mla", "mfa", "mfa-kr", "gta", "gla"} {
		maps := cyclicMaps
		if design == "gqa" { // which can slide: over rows of a layer that keeps all, and of one that slides too
			maps = append(slices.Clone(maps), "2s_2_2", "1s_1s_2")
		}
		for j, layerMap := range maps {
			m := small(t, design, layerMap)
			for k, kv := range []string{"f32", "f16", "q8", "q4"} {
				if kv != "f32" && (i+j)%3 != k-1 {
					continue
				}
				arith := kernel.ArithF32
				if (i+j)%2 > 0 && kv != "f32" {
					arith = kernel.ArithInt8
				}
				what := fmt.Sprintf("%s %s, %s", design, layerMap, kv)
				exact := fastEngine(t, m, kv, arith, 1, false)
				want := inChunks(t, exact, ids, 1)
				if !sameFloats(inChunks(t, exact, ids, n), want) {
					t.Errorf("%s: exact numerics have other bits in one step than token by token", what)
				}
				e := fastEngine(t, m, kv, arith, 1+k%2, true)
				for _, chunks := range [][]int{{n}, {1, 2, 33}} {
					got := inChunks(t, e, ids, chunks...)
					if kv != "f32" {
						if !sameFloats(got, want) {
							t.Errorf("%s, chunks %v: other bits", what, chunks)
						}
						continue
					}
					for l, v := range got {
						worst = max(worst, math.Abs(float64(v-want[l]))/peak(want))
					}
				}
				p := e.Passes()
				taken, tokens = taken+p.Taken, tokens+p.Tokens
				if p.Taken < p.Tokens || p.Taken > passWindow*p.Tokens || p.Tokens == 0 {
					t.Errorf("%s: %d tokens were taken %d times", what, p.Tokens, p.Taken)
				}
			}
		}
	}
	t.Logf("float32 caches: at most %.2g of the largest logit off; %.1f passes a token, all types together", worst, float64(taken)/float64(tokens))
	if worst > 1e-3 {
		t.Errorf("fast numerics are off by %.3g of the largest logit", worst)
	}
}

// Sequences of a step keep apart: the same bits as alone. A step that does not fit leaves nothing behind.
func TestPassesOfManySequences(t *testing.T) {
	m := small(t, "gqa", "0_3_3_3_4")
	e := fastEngine(t, m, "f16", kernel.ArithF32, 2, true)
	prompts := [][]int32{{1, 2, 3}, {4}, tinyIDs(60), {5, 6, 7, 8, 9}, tinyIDs(21)}
	var want []float32
	var feeds []Feed
	for i, p := range prompts {
		q := e.Store.NewSequence("")
		y, err := e.Step([]Feed{{Sequence: q, Tokens: p, All: i%2 == 0}})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, y.Float32s()...)
		q.Close()
		feeds = append(feeds, Feed{Sequence: e.Store.NewSequence("other"), Tokens: p, All: i%2 == 0})
	}
	e.Store.ForgetPrefixes()
	long := Feed{Sequence: e.Store.NewSequence(""), Tokens: make([]int32, 301)}
	if _, err := e.Step(append(feeds[:2:2], long)); err == nil {
		t.Error("301 tokens in a context of 300")
	}
	for _, f := range append(feeds, long) {
		if f.Sequence.Rows() != 0 || f.Sequence.Bytes() != 0 {
			t.Errorf("a step that failed left %d rows, %d bytes", f.Sequence.Rows(), f.Sequence.Bytes())
		}
	}
	y, err := e.Step(feeds)
	if err != nil {
		t.Fatal(err)
	}
	if !sameFloats(y.Float32s(), want) {
		t.Error("sequences together and alone have other bits")
	}
	if got, most := e.ScratchBytes(), ScratchBytes(m.Config, 301, 301, true); got > most {
		t.Errorf("the workspace holds %d bytes, at most %d were announced", got, most)
	}
}

// Where inputs are rounded to int8, rows would settle too late: fast numerics take one token after the other too.
func TestPassesInInt8(t *testing.T) {
	rows := tinies()
	m := rows[slices.IndexFunc(rows, func(m tiny) bool { return m.name == "gqa top" })].open(t, 2, false)
	for _, c := range []struct {
		arith kernel.Arith
		kv    string
		waits bool
	}{{kernel.ArithInt8, "f16", true}, {kernel.ArithF32, "f16", false}, {kernel.ArithF32, "q8", false}} {
		e := fastEngine(t, m, c.kv, c.arith, 1, true)
		want := inChunks(t, fastEngine(t, m, c.kv, c.arith, 1, false), tinyTokens(40, 1), 1)
		if !sameFloats(inChunks(t, e, tinyTokens(40, 1), 40), want) {
			t.Errorf("%s: other bits", c.kv)
		}
		if p := e.Passes(); (p.Taken == p.Tokens) != c.waits || p.Tokens != 39 {
			t.Errorf("%s: %d tokens were taken %d times, one by one: %v", c.kv, p.Tokens, p.Taken, c.waits)
		}
	}
}

func tinyIDs(n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(i*i*7+i*3) % 30
	}
	return ids
}

// A session of exact numerics opens under fast ones with a notice, and goes on.
func TestNumericsOfSessions(t *testing.T) {
	m, path := small(t, "gqa", "1_1"), filepath.Join(t.TempDir(), "session")
	exact, fast := fastEngine(t, m, "q8", kernel.ArithF32, 1, false), fastEngine(t, m, "q8", kernel.ArithF32, 1, true)
	q := exact.Store.NewSequence("")
	defer q.Close()
	ids := tinyIDs(40)
	if _, err := exact.Step([]Feed{{Sequence: q, Tokens: ids}}); err != nil {
		t.Fatal(err)
	}
	if err := q.Save(path, nil); err != nil {
		t.Fatal(err)
	}
	r := fast.Store.NewSequence("")
	defer r.Close()
	if _, notice, err := r.Restore(path); err != nil || !strings.Contains(notice, "exact") || !strings.Contains(notice, "fast") {
		t.Errorf("notice %q, %v", notice, err)
	}
	more := []int32{3, 1, 2}
	a, err := exact.Step([]Feed{{Sequence: q, Tokens: more}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := fast.Step([]Feed{{Sequence: r, Tokens: more}})
	if err != nil {
		t.Fatal(err)
	}
	if !sameFloats(a.Float32s(), b.Float32s()) {
		t.Error("the restored session goes on with other bits")
	}
}
