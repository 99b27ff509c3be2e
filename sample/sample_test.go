// The sampler: what each filter keeps, by hand; frequencies against probabilities; refusals.
package sample

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

var (
	nan  = float32(math.NaN())
	ninf = float32(math.Inf(-1))
)

func sampler(t *testing.T, o Options) *Sampler {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func next(t *testing.T, s *Sampler, logits []float32, history ...int32) int32 {
	t.Helper()
	id, err := s.Next(logits, history)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// logs are logits whose softmax is p (times any constant).
func logs(p ...float64) []float32 {
	out := make([]float32, len(p))
	for i, v := range p {
		out[i] = float32(math.Log(v))
	}
	return out
}

// drawn lists, sorted, the tokens seen in many draws.
func drawn(t *testing.T, o Options, logits []float32, history ...int32) string {
	t.Helper()
	s := sampler(t, o)
	seen := map[int32]bool{}
	for range 2000 {
		seen[next(t, s, logits, history...)] = true
	}
	var ids []int32
	for id := range seen {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return fmt.Sprint(ids)
}

func TestGreedy(t *testing.T) {
	for _, c := range []struct {
		name    string
		o       Options
		logits  []float32
		history []int32
		want    int32
	}{
		{"zero options", Options{}, []float32{1, 3, 2}, nil, 1},
		{"ties to the lowest id", Options{}, []float32{1, 3, 3, 3}, nil, 1},
		{"flag beats temperature", Options{Greedy: true, Temperature: 5}, []float32{1, 1.01, 1}, nil, 1},
		{"all negative", Options{}, []float32{-3, -2, ninf}, nil, 1},
		{"bias", Options{LogitBias: map[int32]float32{0: 2.5}}, []float32{1, 3, 2}, nil, 0},
		{"ban", Options{LogitBias: map[int32]float32{1: ninf}}, []float32{1, 3, 2}, nil, 2},
		{"repetition divides a positive logit", Options{RepetitionPenalty: 2}, []float32{1, 3, 2}, []int32{1}, 2},
		{"repetition multiplies a negative logit", Options{RepetitionPenalty: 2}, []float32{-1.5, -1, -2}, []int32{1}, 0},
		{"repetition counts a token once", Options{RepetitionPenalty: 1.4}, []float32{1, 3, 2}, []int32{1, 1, 1}, 1},
		{"presence counts a token once", Options{PresencePenalty: 0.9}, []float32{1, 3, 2}, []int32{1, 1, 1}, 1},
		{"frequency counts each time", Options{FrequencyPenalty: 0.4}, []float32{1, 3, 2}, []int32{1, 1, 1}, 2},
		{"frequency, too few", Options{FrequencyPenalty: 0.4}, []float32{1, 3, 2}, []int32{1, 1, 0}, 1},
		{"negative penalty rewards", Options{PresencePenalty: -2}, []float32{1.5, 3, 2}, []int32{0}, 0},
		{"window forgets", Options{PresencePenalty: 2, RepetitionWindow: 2}, []float32{1, 3, 2}, []int32{1, 0, 0}, 1},
		{"window remembers", Options{PresencePenalty: 2, RepetitionWindow: 3}, []float32{1, 3, 2}, []int32{1, 0, 0}, 2},
		{"foreign ids are passed over", Options{PresencePenalty: 2}, []float32{1, 3, 2}, []int32{-1, 3, 1 << 30}, 1},
		// The bias comes first: 1 + 3 = 4 is halved to 2; halved first it would be 3.5 and win.
		{"bias before penalty", Options{RepetitionPenalty: 2, LogitBias: map[int32]float32{0: 3}}, []float32{1, 3, 2}, []int32{0}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := sampler(t, c.o)
			kept := slices.Clone(c.logits)
			for range 2 { // twice: no state may be left behind
				if got := next(t, s, c.logits, c.history...); got != c.want {
					t.Fatalf("token %d, want %d", got, c.want)
				}
			}
			if !slices.Equal(kept, c.logits) {
				t.Fatalf("logits changed from %v to %v", kept, c.logits)
			}
		})
	}
}

// Probabilities 40, 30, 20, 6, 4 %, in a shuffled order: ids 2, 0, 4, 1, 3.
func TestFilters(t *testing.T) {
	logits := logs(.30, .06, .40, .04, .20)
	for _, c := range []struct {
		name string
		o    Options
		want string
	}{
		{"all", Options{Temperature: 1}, "[0 1 2 3 4]"},
		{"top-k 1", Options{Temperature: 1, TopK: 1}, "[2]"},
		{"top-k 3", Options{Temperature: 1, TopK: 3}, "[0 2 4]"},
		{"top-k of all", Options{Temperature: 1, TopK: 9}, "[0 1 2 3 4]"},
		{"top-k off", Options{Temperature: 1, TopK: -1}, "[0 1 2 3 4]"},
		{"top-p below the first", Options{Temperature: 1, TopP: .3}, "[2]"},
		{"top-p reached by two", Options{Temperature: 1, TopP: .69}, "[0 2]"},
		{"top-p just past two", Options{Temperature: 1, TopP: .71}, "[0 2 4]"},
		{"top-p 1", Options{Temperature: 1, TopP: 1}, "[0 1 2 3 4]"},
		{"min-p a third", Options{Temperature: 1, MinP: .33}, "[0 2 4]"},
		{"min-p 0.14", Options{Temperature: 1, MinP: .14}, "[0 1 2 4]"},
		{"min-p 1", Options{Temperature: 1, MinP: 1}, "[2]"},
		// Of the three that top-k leaves, 40/90 + 30/90 = 0.78: top-p counts what is left, not the whole.
		{"top-k, then top-p", Options{Temperature: 1, TopK: 3, TopP: .75}, "[0 2]"},
		// At temperature 0.5 the squares count: 0.16 + 0.09 of 0.2952 = 0.85; untempered they would be 0.70.
		{"temperature before top-p", Options{Temperature: .5, TopP: .8}, "[0 2]"},
		// (20/40)^2 = 0.25 and (30/40)^2 = 0.56.
		{"temperature before min-p", Options{Temperature: .5, MinP: .4}, "[0 2]"},
		{"tiny temperature", Options{Temperature: 1e-300}, "[2]"},
		{"ban", Options{Temperature: 1, TopK: 2, LogitBias: map[int32]float32{2: ninf}}, "[0 4]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := drawn(t, c.o, logits); got != c.want {
				t.Fatalf("drew %s, want %s", got, c.want)
			}
		})
	}
}

func TestImpossibleTokensAreNeverDrawn(t *testing.T) {
	if got := drawn(t, Options{Temperature: 100, TopK: 4, TopP: .999}, []float32{ninf, 0, ninf, 1, ninf}); got != "[1 3]" {
		t.Fatalf("drew %s, want [1 3]", got)
	}
}

// Top-k at a tie keeps the lower ids.
func TestTopKTies(t *testing.T) {
	if got := drawn(t, Options{Temperature: 1, TopK: 3}, []float32{1, 1, 1, 1, 2, 1}); got != "[0 1 4]" {
		t.Fatalf("drew %s, want [0 1 4]", got)
	}
}

// The filters on random logits keep the same tokens as sorting everything does.
func TestFiltersAgainstSorting(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for round := range 300 {
		n := 1 + r.IntN(300)
		logits := make([]float32, n)
		for i := range logits {
			logits[i] = float32(math.Round(r.NormFloat64()*30) / 10) // coarse: ties happen
		}
		o := Options{Temperature: .3 + r.Float64(), TopK: r.IntN(n + 5), TopP: r.Float64(), MinP: r.Float64() * .2}
		order := make([]int, n)
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { // stable: ties stay in the order of ids
			switch {
			case logits[a] > logits[b]:
				return -1
			case logits[a] < logits[b]:
				return 1
			}
			return 0
		})
		if o.TopK > 0 && o.TopK < n {
			order = order[:o.TopK]
		}
		weight := func(i int) float64 { return math.Exp(float64(logits[i]-logits[order[0]]) / o.Temperature) }
		sum, reached := 0.0, 0.0
		for _, i := range order {
			sum += weight(i)
		}
		var want []int32
		for _, i := range order {
			if reached < o.TopP*sum && weight(i) >= o.MinP {
				want = append(want, int32(i))
			}
			reached += weight(i)
		}
		s := sampler(t, o)
		got := next(t, s, logits)
		var kept []int32
		for _, c := range s.cands {
			kept = append(kept, c.id)
		}
		slices.Sort(want)
		slices.Sort(kept)
		if !slices.Equal(kept, want) || !slices.Contains(want, got) {
			t.Fatalf("round %d, %+v: kept %v and drew %d, want %v", round, o, kept, got, want)
		}
	}
}

// Frequencies follow the probabilities: chi squared with 4 degrees of freedom stays under its 99.99 % point (23.5) for this seed.
func TestFrequencies(t *testing.T) {
	p := []float64{.30, .06, .40, .04, .20}
	for _, o := range []Options{{Temperature: 1, Seed: 1}, {Temperature: 1, Seed: 2, TopK: 5, MinP: .01}} {
		s := sampler(t, o)
		const draws = 50000
		count := make([]float64, len(p))
		for range draws {
			count[next(t, s, logs(p...))]++
		}
		chi := 0.0
		for i := range p {
			d := count[i] - p[i]*draws
			chi += d * d / (p[i] * draws)
		}
		if chi > 23.5 {
			t.Fatalf("%+v: counts %v of %d, chi squared %.1f", o, count, draws, chi)
		}
	}
}

func TestSeed(t *testing.T) {
	logits := make([]float32, 1000)
	run := func(seed uint64) (ids []int32) {
		s := sampler(t, Options{Temperature: 1, Seed: seed})
		for range 50 {
			ids = append(ids, next(t, s, logits))
		}
		return ids
	}
	if !slices.Equal(run(7), run(7)) {
		t.Fatal("the same seed gave different tokens")
	}
	if slices.Equal(run(7), run(8)) {
		t.Fatal("two seeds gave the same 50 tokens of 1000")
	}
	// Pinned from the first version: with equal logits the tokens are the generator's numbers times 1000, rounded down.
	if a, b := run(7)[:3], []int32{130, 255, 526}; !slices.Equal(a, b) {
		t.Fatalf("seed 7 draws %v, it used to draw %v: answers that people pinned by seed would change", a, b)
	}
}

// A token takes one number, whatever the filters: what follows draws from the same place of the stream.
func TestOneNumberAToken(t *testing.T) {
	flat := make([]float32, 1000)
	second := func(o Options) int32 {
		o.Temperature, o.Seed = 1, 7
		s := sampler(t, o)
		next(t, s, flat)
		s.o.TopK, s.o.TopP, s.o.MinP = 0, 0, 0
		return next(t, s, flat)
	}
	want := second(Options{})
	for _, o := range []Options{{TopK: 1}, {TopK: 40, TopP: .5}, {MinP: .9}} {
		if got := second(o); got != want {
			t.Fatalf("%+v: the next token is %d, want %d", o, got, want)
		}
	}
}

func TestNoAllocationPerToken(t *testing.T) {
	logits := make([]float32, 5000)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range logits {
		logits[i] = float32(r.NormFloat64() * 3)
	}
	history := []int32{1, 2, 3, 2}
	for _, o := range []Options{
		{Temperature: .8, TopK: 40, TopP: .95, MinP: .05, RepetitionPenalty: 1.1},
		{Temperature: .8, TopP: .95, LogitBias: map[int32]float32{5: 1}},
		{Temperature: 1},
	} {
		s := sampler(t, o)
		next(t, s, logits, history...)
		if n := testing.AllocsPerRun(20, func() { next(t, s, logits, history...) }); n != 0 {
			t.Errorf("%+v: %v allocations a token", o, n)
		}
	}
}

// refused checks that err is a fault of this kind that says each of the parts.
func refused(t *testing.T, err error, kind fault.Kind, parts ...string) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Fatalf("error %v, want one of kind %q", err, kind)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Fatalf("error %q lacks %q", err, p)
		}
	}
}

func TestOptionsRefused(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		o    Options
		want []string
	}{
		{Options{Temperature: -0.1}, []string{"temperature", "-0.1"}},
		{Options{Temperature: math.NaN()}, []string{"temperature", "NaN"}},
		{Options{Temperature: inf}, []string{"temperature", "Inf"}},
		{Options{TopK: -2}, []string{"top-k", "-2"}},
		{Options{TopP: 1.1}, []string{"top-p", "1.1"}},
		{Options{TopP: math.NaN()}, []string{"top-p", "NaN"}},
		{Options{MinP: -.1}, []string{"min-p", "-0.1"}},
		{Options{RepetitionPenalty: -1}, []string{"repetition penalty", "-1"}},
		{Options{RepetitionPenalty: inf}, []string{"repetition penalty", "Inf"}},
		{Options{FrequencyPenalty: 2.5}, []string{"frequency penalty", "2.5"}},
		{Options{PresencePenalty: -3}, []string{"presence penalty", "-3"}},
		{Options{RepetitionWindow: -1}, []string{"repetition window", "-1"}},
		{Options{LogitBias: map[int32]float32{-4: 1}}, []string{"logit bias", "token -4"}},
		{Options{LogitBias: map[int32]float32{4: nan}}, []string{"logit bias", "token 4", "NaN"}},
		{Options{LogitBias: map[int32]float32{4: 2e4}}, []string{"logit bias", "token 4", "20000"}},
	} {
		_, err := New(c.o)
		refused(t, err, fault.BadInput, c.want...)
	}
}

func TestLogitsRefused(t *testing.T) {
	for _, o := range []Options{{}, {Temperature: 1, TopK: 2}, {Temperature: 1, PresencePenalty: 1}} {
		s := sampler(t, o)
		history := []int32{0, 1}
		_, err := s.Next([]float32{1, nan, 2}, history)
		refused(t, err, fault.BadFile, "token 1", "NaN", "f32")
		_, err = s.Next([]float32{1, 2, float32(math.Inf(1))}, history)
		refused(t, err, fault.BadFile, "token 2", "Inf")
		_, err = s.Next([]float32{ninf, ninf}, history)
		refused(t, err, fault.BadInput, "none of 2 tokens")
		_, err = s.Next(nil, history)
		refused(t, err, fault.BadInput, "none of 0 tokens")
		if got := next(t, s, []float32{0, 9, 0}); got != 1 && o.Temperature == 0 {
			t.Fatalf("after an error: token %d, want 1", got)
		}
	}
	_, err := sampler(t, Options{LogitBias: map[int32]float32{3: 1}}).Next([]float32{1, 2, 3}, nil)
	refused(t, err, fault.BadInput, "logit bias", "token 3", "3 tokens")
}

func TestLogProbs(t *testing.T) {
	logits := logs(.30, .06, .40, .04, .20)
	for i := range logits {
		logits[i] += 500 // far beyond exp's range
	}
	chosen, top, err := LogProbs(logits, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	want := []LogProb{{3, math.Log(.04)}, {2, math.Log(.40)}, {0, math.Log(.30)}}
	for i, got := range append([]LogProb{chosen}, top...) {
		if got.Token != want[i].Token || math.Abs(got.LogProb-want[i].LogProb) > 1e-4 { // float32 at 500 has steps of 3e-5
			t.Fatalf("%d: %+v, want %+v", i, got, want[i])
		}
	}
	if len(top) != 2 {
		t.Fatalf("%d top tokens, want 2", len(top))
	}
	chosen, top, err = LogProbs([]float32{0, ninf, 0}, 1, 9)
	if err != nil || !math.IsInf(chosen.LogProb, -1) || len(top) != 2 || top[0].Token != 0 || top[1].Token != 2 {
		t.Fatalf("impossible token: %+v, %+v, %v", chosen, top, err)
	}
	_, top, err = LogProbs(logits, 0, 0)
	if err != nil || top != nil {
		t.Fatalf("n = 0: %v, %v", top, err)
	}
	_, _, err = LogProbs(logits, 5, 0)
	refused(t, err, fault.BadInput, "token 5", "5 tokens")
	_, _, err = LogProbs(logits, 0, -1)
	refused(t, err, fault.BadInput, "-1")
	_, _, err = LogProbs([]float32{nan}, 0, 0)
	refused(t, err, fault.BadFile, "NaN")
}
