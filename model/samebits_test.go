package model

// Same bits: logits and greedy tokens are equal to the bit however a sequence was computed. One table: designs x cache types x ways to compute.

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model/config"
)

// The table's three sides. A design that runs, a cache type or a way that has no row here fails the test.
var (
	sameBitsTypes = []string{"f32", "f16", "bf16", "q8", "q8h", "q4", "q4h", "q4c", "q2c"}
	sameBitsWays  = []struct {
		name string
		run  func(*sameBits)
	}{{"batch", inBatch}, {"prefix", withPrefix}, {"threads", byThreads}, {"chunking", byChunks}, {"restore", afterRestore}, {"preemption", afterPreemption}}
	sameBitsRefused = map[string]string{"mfa-kr q8h": "Hadamard", "mfa-kr q4h": "Hadamard", "tpa q8h": "Hadamard", "tpa q4h": "Hadamard"} // with a word of the reason
)

const sameBitsGreedy = 5 // tokens generated after the given ones

// sameBits is one cell's model and what it computes alone, in one chunk, on one thread.
type sameBits struct {
	t      *testing.T
	what   string
	m      *Model
	opt    Options
	e      *Engine
	ids    []int32
	logits []float32 // of ids, then of the greedy tokens
	greedy []int32
	pairs  int // runs compared with the first
	close  []func()
}

func (s *sameBits) engine(threads int) *Engine {
	s.t.Helper()
	opt := s.opt
	opt.Pool = kernel.NewPool(threads)
	e, err := NewEngine(s.m, opt, nil)
	if err != nil {
		s.t.Fatal(s.what, err)
	}
	s.close = append(s.close, e.Close, opt.Pool.Close)
	return e
}

func (s *sameBits) step(e *Engine, feeds ...Feed) []float32 {
	s.t.Helper()
	y, err := e.Step(feeds)
	if err != nil {
		s.t.Fatal(s.what, err)
	}
	return y.Float32s()
}

// feed runs ids from the sequence's rows on, in chunks whose last length repeats, and returns all logits.
func (s *sameBits) feed(e *Engine, q *kvcache.Sequence, ids []int32, chunks ...int) []float32 {
	var out []float32
	for i, at := 0, q.Rows(); at < len(ids); i++ {
		n := min(chunks[min(i, len(chunks)-1)], len(ids)-at)
		out = append(out, s.step(e, Feed{Sequence: q, Tokens: ids[at : at+n], All: true})...)
		at += n
	}
	return out
}

// generate continues greedily after logits, one token at a time, and returns the tokens and the logits with those of the tokens; others take their share of each step.
func (s *sameBits) generate(e *Engine, q *kvcache.Sequence, logits []float32, n int, others ...*kvcache.Sequence) (tokens []int32, all []float32) {
	for len(tokens) < n {
		next := int32(kernel.ArgMax(logits[len(logits)-tinyVocab:]))
		tokens = append(tokens, next)
		feeds := []Feed{{Sequence: q, Tokens: []int32{next}}}
		for i, o := range others {
			feeds = append(feeds, Feed{Sequence: o, Tokens: []int32{int32(len(tokens) + i)}})
		}
		logits = append(logits, s.step(e, feeds...)[:tinyVocab]...)
	}
	return tokens, logits
}

// same compares logits of the rows from `from` on, and greedy tokens.
func (s *sameBits) same(way string, from int, logits []float32, greedy []int32) {
	s.t.Helper()
	s.pairs++
	want := s.logits[from*tinyVocab:]
	if len(logits) != len(want) {
		s.t.Errorf("%s, %s: %d logits, want %d", s.what, way, len(logits), len(want))
		return
	}
	for i, v := range logits {
		if math.Float32bits(v) != math.Float32bits(want[i]) {
			s.t.Errorf("%s, %s: logit %d of row %d is %v, was %v", s.what, way, i%tinyVocab, from+i/tinyVocab, v, want[i])
			return
		}
	}
	if !slices.Equal(greedy, s.greedy) {
		s.t.Errorf("%s, %s: greedy tokens %v, were %v", s.what, way, greedy, s.greedy)
	}
}

// inBatch: five sequences of other lengths share every step; prompts in pieces, so that decoding and prompts mix.
func inBatch(s *sameBits) {
	e, n := s.e, len(s.ids)
	type other struct {
		q   *kvcache.Sequence
		ids []int32
	}
	var others []other
	for i, length := range []int{1, n / 3, n - 1, 65} {
		others = append(others, other{e.Store.NewSequence(""), tinyTokens(length, uint64(20+i))})
	}
	q := e.Store.NewSequence("")
	var logits []float32
	for round := 0; q.Rows() < n; round++ {
		var feeds []Feed
		lead := 0 // rows of logits before this sequence's own
		for i, o := range others {
			if i == 2 { // in the middle
				feeds = append(feeds, Feed{Sequence: q, Tokens: s.ids[q.Rows():min(n, q.Rows()+45+300*(round%2))], All: true})
			}
			if left := o.ids[o.q.Rows():]; len(left) > 0 {
				feeds = append(feeds, Feed{Sequence: o.q, Tokens: left[:min(len(left), 1+31*i)]})
				if i < 2 {
					lead++
				}
			}
		}
		rows := 0
		for _, f := range feeds {
			if f.All {
				rows = len(f.Tokens)
			}
		}
		logits = append(logits, s.step(e, feeds...)[lead*tinyVocab:][:rows*tinyVocab]...)
	}
	greedy, logits := s.generate(e, q, logits, sameBitsGreedy, others[0].q, others[1].q, others[2].q, others[3].q)
	s.same("batch of 5", 0, logits, greedy)
	q.Close()
	for _, o := range others {
		o.q.Close()
	}
}

// withPrefix: the pages of another sequence's prefix are taken over.
func withPrefix(s *sameBits) {
	q := s.e.Store.NewSequence("")
	defer q.Close()
	rows := q.Adopt(s.ids)
	block := 64 * max(1, s.m.Layouts()[0].RowTokens)
	if want := (len(s.ids) - 1) / block * block; rows != want {
		s.t.Errorf("%s: a prefix of %d rows was adopted, want %d", s.what, rows, want)
	}
	logits := s.feed(s.e, q, s.ids, len(s.ids))
	greedy, logits := s.generate(s.e, q, logits, sameBitsGreedy)
	s.same("prefix adopted", rows, logits, greedy)
}

func byThreads(s *sameBits) {
	for _, n := range []int{2, 3} {
		e := s.engine(n)
		q := e.Store.NewSequence("")
		logits := s.feed(e, q, s.ids, len(s.ids))
		greedy, logits := s.generate(e, q, logits, sameBitsGreedy)
		s.same(fmt.Sprint(n, " threads"), 0, logits, greedy)
	}
}

func byChunks(s *sameBits) {
	for _, chunks := range [][]int{{1}, {37}, {63}, {64}, {65}, {len(s.ids) - 3, 1}} {
		if kernel.Level() == "plain" && chunks[0] > 63 {
			continue
		}
		if chunks[0] == 1 && len(s.ids) > 500 { // token by token over the border of the second chunk of keys
			chunks = []int{1020, 1}
		}
		q := s.e.Store.NewSequence("")
		logits := s.feed(s.e, q, s.ids, chunks...)
		greedy, logits := s.generate(s.e, q, logits, sameBitsGreedy)
		s.same(fmt.Sprint("chunks of ", chunks), 0, logits, greedy)
		q.Close()
	}
}

// afterRestore: saved in the middle, restored in an engine that never saw the sequence.
func afterRestore(s *sameBits) {
	path := filepath.Join(s.t.TempDir(), "session")
	half := len(s.ids)/2 | 1 // in the middle of a row that two tokens share
	q := s.e.Store.NewSequence("")
	defer q.Close()
	logits := s.feed(s.e, q, s.ids[:half], half)
	if err := q.Save(path, nil); err != nil {
		s.t.Fatal(s.what, err)
	}
	e := s.engine(1)
	r := e.Store.NewSequence("")
	if _, notice, err := r.Restore(path); err != nil || notice != "" {
		s.t.Fatal(s.what, notice, err)
	}
	logits = append(logits, s.feed(e, r, s.ids, len(s.ids))...)
	greedy, logits := s.generate(e, r, logits, sameBitsGreedy)
	s.same("restored", 0, logits, greedy)
}

// afterPreemption: the sequence loses its pages while it generates, others use them, and it is computed anew from its tokens.
func afterPreemption(s *sameBits) {
	const before = 2
	q := s.e.Store.NewSequence("")
	logits := s.feed(s.e, q, s.ids, len(s.ids))
	greedy, _ := s.generate(s.e, q, logits, before)
	tokens := slices.Clone(q.Tokens())
	q.Close()
	s.e.Store.ForgetPrefixes()
	o := s.e.Store.NewSequence("")
	s.feed(s.e, o, tinyTokens(len(s.ids), 99), 100)
	q = s.e.Store.NewSequence("")
	all := s.feed(s.e, q, tokens, len(tokens))
	more, all := s.generate(s.e, q, all, sameBitsGreedy-before)
	s.same("preempted", 0, all, append(greedy, more...))
	q.Close()
	o.Close()
}

func TestSameBits(t *testing.T) {
	checkSameBitsTable(t)
	short, long := 150, 1090 // pages of 64 rows; more than two chunks of 512 keys
	layers := tinyLayers
	if kernel.Level() == "plain" { // ten times slower: the plain kernels are compared over long rows in their own package
		short, long, layers = 70, 70, 1
	}
	pairs, refused := map[string]int{}, 0
	for d, row := range append(tinies(), tinyMixture(), tinyOSS(), tinyZaya(), tinyAltUp()) {
		t.Run(row.name, func(t *testing.T) {
			m := row.open(t, layers, d%2 == 0)
			for k, kv := range append(slices.Clone(sameBitsTypes), mixedTypes(row.name)...) {
				if testing.Short() && (k+d)%3 > 0 { // a third of the types with each design
					continue
				}
				for _, arith := range []kernel.Arith{kernel.ArithF32, kernel.ArithInt8} {
					s := &sameBits{t: t, what: fmt.Sprintf("%s, %s", row.name, kv), m: m}
					s.opt = Options{Arith: arith, Spec: mustSpec(t, kv), MaxRows: long + 100, Budget: 32 << 20}
					if arith == kernel.ArithInt8 {
						s.what += ", int8"
						s.opt.Weights = &quantised
					}
					if why := sameBitsRefused[row.name+" "+kv]; why != "" {
						s.refused(why)
						refused++
						continue
					}
					rows := short
					if k == d%len(sameBitsTypes) { // each type with a design
						rows = long
					}
					s.ids = tinyTokens(rows, 5)
					s.e = s.engine(1)
					q := s.e.Store.NewSequence("")
					s.logits = s.feed(s.e, q, s.ids, rows)
					s.greedy, s.logits = s.generate(s.e, q, s.logits, sameBitsGreedy)
					q.Close()
					for _, way := range sameBitsWays {
						had := s.pairs
						way.run(s)
						if s.pairs == had {
							t.Errorf("%s: nothing was compared for %s", s.what, way.name)
						}
						pairs[way.name] += s.pairs - had
					}
					for _, f := range s.close {
						f()
					}
				}
			}
		})
	}
	total := 0
	for _, n := range pairs {
		total += n
	}
	t.Logf("%d pairs of runs equal to the bit were asked for: %v; %d combinations refused by name", total, pairs, refused)
}

// mixedTypes are the mixes of types that the table of bytes has for a design, and an open type beside a rotated one.
func mixedTypes(name string) (mixed []string) {
	for kv := range tinyBytes[name] {
		if strings.Contains(kv, "=") {
			mixed = append(mixed, kv)
		}
	}
	if slices.Contains(mixed, "k=q8,v=q4") {
		mixed = append(mixed, "k=q4c,v=q4h")
	}
	slices.Sort(mixed)
	return mixed
}

// refused checks that a combination which cannot be is refused, with the reason, before anything runs.
func (s *sameBits) refused(why string) {
	s.opt.Pool = kernel.NewPool(1)
	defer s.opt.Pool.Close()
	e, err := NewEngine(s.m, s.opt, nil)
	if err == nil {
		e.Close()
	}
	if !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), why) {
		s.t.Errorf("%s: should be refused because of %s, got %v", s.what, why, err)
	}
}

// checkSameBitsTable holds the table's sides to what is registered.
func checkSameBitsTable(t *testing.T) {
	designs := map[string]bool{}
	slides := false
	for _, row := range tinies() {
		designs[row.design] = true
		slides = slides || row.window > 0
	}
	for _, d := range config.Designs() {
		if !designs[d] {
			t.Errorf("design %s runs but has no row in the table", d)
		}
	}
	if !slides {
		t.Error("no model of the table slides")
	}
	for _, kv := range kvcache.Types {
		if !slices.Contains(sameBitsTypes, kv.String()) {
			t.Errorf("cache type %s has no column in the table", kv)
		}
	}
	if len(sameBitsTypes) != len(kvcache.Types) {
		t.Errorf("%d cache types in the table, %d exist", len(sameBitsTypes), len(kvcache.Types))
	}
	var ways []string
	for _, w := range sameBitsWays {
		ways = append(ways, w.name)
	}
	if want := []string{"batch", "prefix", "threads", "chunking", "restore", "preemption"}; !slices.Equal(ways, want) {
		t.Errorf("ways %v, want %v", ways, want)
	}
}
