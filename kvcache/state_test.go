package kvcache

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

func withState(l Layout, n int) Layout {
	l.State = n
	return l
}

// folded is a state that depends on every token before it, exact in f32: the same for any way of feeding them.
func folded(layer int, tokens []int32) float32 {
	h := uint32(layer + 1)
	for _, t := range tokens {
		h = (h*31 + uint32(t)) % 65521
	}
	return float32(h)
}

// feed appends tokens with their rows and states, as a step does. It checks the state that the step starts from.
func feed(t *testing.T, q *Sequence, tokens []int32) {
	t.Helper()
	if err := q.Reserve(len(tokens)); err != nil {
		t.Fatal(err)
	}
	putAll(t, q, tokens)
	q.Commit(tokens)
}

func putAll(t *testing.T, q *Sequence, tokens []int32) {
	t.Helper()
	s := q.store
	all := append(append([]int32{}, q.Tokens()...), tokens...)
	for l, lane := range s.lanes {
		for st, p := range lane.planes {
			src := make([]float32, p.Heads*p.Width)
			for i, tok := range tokens {
				for d := range src {
					src[d] = value(l, st, tok)
				}
				q.Put(l, st, q.rows+i, src)
			}
		}
		n := s.cfg.Layers[l].State
		for i := range tokens {
			if row := q.rows + i; n > 0 && (i == len(tokens)-1 || q.KeepsState(row)) {
				src, base := make([]float32, n), folded(l, all[:row+1])
				for d := range src {
					src[d] = base + float32(d)
				}
				q.PutState(l, row, src)
			}
		}
	}
}

// checkState compares every layer's state with the one that the sequence's tokens make.
func checkState(t *testing.T, what string, q *Sequence) {
	t.Helper()
	for l, layout := range q.store.cfg.Layers {
		state := q.State(l)
		if len(state) != layout.State {
			t.Fatalf("%s: layer %d has %d numbers of state, want %d", what, l, len(state), layout.State)
		}
		base := folded(l, q.tokens)
		for d, v := range state {
			want := float32(0)
			if q.rows > 0 {
				want = base + float32(d)
			}
			if v != want {
				t.Fatalf("%s: layer %d, %d rows: state[%d] = %v, want %v", what, l, q.rows, d, v, want)
			}
		}
	}
}

func stateLayers(window int) []Layout {
	return []Layout{withState(gqa(1, 32, 0), 50), {}, withState(gqa(1, 14, window), 7), gqa(1, 16, 0)}
}

// Random work over sequences that share prefixes: the state is always the one its tokens make; a truncation succeeds only where it can know it; nothing is left at the end.
func TestRandomWorkWithState(t *testing.T) {
	seeds := uint64(4)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds { // windows of none and 100, budgets that are roomy and tight
		s, err := New(Config{Layers: stateLayers([]int{0, 100}[seed/2]), Spec: mustSpec(t, "q8"), Budget: []int64{8 << 20, 512 << 10}[seed%2], MaxRows: 700})
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(seed, 9))
		base := make([]int32, 700)
		for i := range base {
			base[i] = int32(rng.IntN(1000))
		}
		next := func(q *Sequence, n int) []int32 {
			tokens := make([]int32, min(n, 700-q.rows))
			for j := range tokens {
				tokens[j] = base[(q.rows+j)%700]
				if rng.IntN(60) == 0 {
					tokens[j]++
				}
			}
			return tokens
		}
		var seqs []*Sequence
		adopted, cut, refused, back, full := 0, 0, 0, 0, 0
		file := filepath.Join(t.TempDir(), "s")
		for i := range 600 {
			what := fmt.Sprintf("seed %d step %d", seed, i)
			grow := func(q *Sequence, tokens []int32) {
				if len(tokens) == 0 {
					return
				}
				if err := q.Reserve(len(tokens)); err != nil {
					if !fault.Is(err, fault.OverBudget) {
						t.Fatal(err)
					}
					full++
					return
				}
				putAll(t, q, tokens)
				if rng.IntN(5) == 0 {
					q.Rollback()
					back++
					return
				}
				q.Commit(tokens)
			}
			switch k := rng.IntN(12); {
			case len(seqs) < 2 || k < 3 && len(seqs) < 7:
				q := s.NewSequence([]string{"a", "b"}[rng.IntN(2)])
				n := 1 + rng.IntN(400)
				adopted += q.Adopt(base[:n])
				checkState(t, what+" adopted", q)
				grow(q, base[q.rows:n])
				seqs = append(seqs, q)
			case k < 7:
				q := seqs[rng.IntN(len(seqs))]
				grow(q, next(q, 1+rng.IntN(150)))
			case k < 9:
				q := seqs[rng.IntN(len(seqs))]
				to := rng.IntN(q.rows + 1)
				if rng.IntN(2) == 0 {
					to = to / 64 * 64
				}
				before := q.rows
				err := q.Truncate(to)
				switch {
				case err == nil && to != before && to%64 != 0:
					t.Fatalf("%s: cut from %d to %d rows, where no state is kept", what, before, to)
				case err == nil && to != before:
					cut++
				case err != nil && (q.rows != before || !fault.Is(err, fault.Unsupported) || to == before):
					t.Fatalf("%s: cut from %d to %d: %v, now %d rows", what, before, to, err, q.rows)
				case err != nil:
					refused++
				}
			case k < 10:
				q := seqs[rng.IntN(len(seqs))]
				if err := q.Save(file, nil); err != nil {
					t.Fatal(err)
				}
				r := s.NewSequence("c")
				if _, _, err := r.Restore(file); err == nil {
					checkState(t, what+" restored", r)
					check(t, what+" restored", r)
				} else if !fault.Is(err, fault.OverBudget) {
					t.Fatal(err)
				}
				r.Close()
			case k < 11:
				s.ForgetPrefixes()
			default:
				j := rng.IntN(len(seqs))
				seqs[j].Close()
				seqs = append(seqs[:j], seqs[j+1:]...)
			}
			for _, q := range seqs {
				checkState(t, what, q)
				check(t, what, q)
			}
			if u := s.Usage(); u.Held > u.Budget {
				t.Fatalf("%s: held %d of %d", what, u.Held, u.Budget)
			}
		}
		t.Logf("seed %d: %d rows adopted, %d truncations, %d refused, %d rolled back, %d over budget", seed, adopted, cut, refused, back, full)
		if adopted == 0 || cut < 3 || refused == 0 || back == 0 || seed%2 == 1 && full == 0 {
			t.Error("something never happened")
		}
		closeAll(t, fmt.Sprintf("seed %d", seed), s, seqs)
	}
}

// What is accounted is what is held: a record beside the pages, two inside a step, and none when empty.
func TestStateBytes(t *testing.T) {
	cfg := Config{Layers: stateLayers(100), Spec: mustSpec(t, "f16"), Budget: 4 << 20, MaxRows: 700}
	a, err := Account(cfg)
	if err != nil {
		t.Fatal(err)
	}
	const record = 256 // (50 + 7) numbers of 4 bytes, rounded up to 64
	if a.Record != record || a.Layers[0].State != 200 || a.Layers[1].State != 0 || a.Layers[2].State != 28 {
		t.Errorf("%+v", a)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	q := s.NewSequence("")
	tokens := make([]int32, 200)
	for i := range tokens {
		tokens[i] = int32(i)
	}
	for _, n := range []int{1, 30, 33, 64, 65} {
		if err := q.Reserve(n); err != nil {
			t.Fatal(err)
		}
		putAll(t, q, tokens[q.rows:][:n])
		q.Commit(tokens[q.rows:][:n])
		if snapshots := s.Usage().Pages - a.Sequence(q.rows); q.rows < 64 && snapshots != 0 {
			t.Errorf("%d rows hold %d bytes, accounted %d", q.rows, s.Usage().Pages, a.Sequence(q.rows))
		}
		s.ForgetPrefixes()
		if got := s.Usage().Pages; got != a.Sequence(q.rows) || got != q.Bytes() {
			t.Errorf("%d rows hold %d bytes, accounted %d, of the sequence %d", q.rows, got, a.Sequence(q.rows), q.Bytes())
		}
	}
	if got := a.Slack(q.rows); got != a.Sequence(q.rows)-228-int64(q.rows)*int64(a.Layers[0].PerToken+a.Layers[3].PerToken)-100*int64(a.Layers[2].PerToken) {
		t.Errorf("slack %d of %d", got, a.Sequence(q.rows))
	}
	if err := q.Reserve(7); err != nil {
		t.Fatal(err)
	}
	if got := s.Usage().Pages; got > a.Peak(q.rows+7, 7) || got < a.Sequence(q.rows)+record {
		t.Errorf("inside a step %d bytes, accounted %d", got, a.Peak(q.rows+7, 7))
	}
	q.Rollback()
	if got := s.Usage().Pages; got != a.Sequence(q.rows) {
		t.Errorf("rolled back: %d bytes, accounted %d", got, a.Sequence(q.rows))
	}
	q.Close()
	if s.Usage().Pages != 0 || a.Sequence(0) != 0 {
		t.Errorf("closed: %d bytes", s.Usage().Pages)
	}
}

// The budget that Arena names holds what it says, whatever snapshots prefixes have taken meanwhile.
func TestStateFitsItsArena(t *testing.T) {
	layers := append(stateLayers(100), withState(gqa(2, 64, 0), 3000))
	for _, n := range []int64{1, 3} {
		for _, step := range []int{1, 100} {
			a, err := Account(Config{Layers: layers, Spec: mustSpec(t, "f16")})
			if err != nil {
				t.Fatal(err)
			}
			s, err := New(Config{Layers: layers, Spec: mustSpec(t, "f16"), Budget: a.Arena(n, 640, step), MaxRows: 640})
			if err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(1, uint64(n)))
			for round := range 3 {
				var seqs []*Sequence
				for range n {
					seqs = append(seqs, s.NewSequence(""))
				}
				for at := 0; at < 640; at += step {
					tokens := make([]int32, min(step, 640-at))
					for i := range tokens {
						tokens[i] = int32(rng.IntN(1000))
					}
					for _, q := range seqs {
						if err := q.Reserve(len(tokens)); err != nil {
							t.Fatalf("%d sequences in steps of %d, round %d, row %d: %v", n, step, round, at, err)
						}
					}
					for _, q := range seqs {
						putAll(t, q, tokens)
					}
					for _, q := range seqs {
						q.Commit(tokens)
					}
				}
				for _, q := range seqs {
					checkState(t, "full", q)
					q.Close()
				}
			}
			s.Close()
		}
	}
}

// A budget without room for snapshots refuses nothing but has no prefixes to give.
func TestStateWithoutSnapshots(t *testing.T) {
	layers := []Layout{withState(gqa(1, 32, 0), 16000)} // pages of 8 KiB, records of 64,000 bytes, chunks of 64 KiB: three hold a step
	s, err := New(Config{Layers: layers, Spec: mustSpec(t, "f16"), Budget: 3 << 16, MaxRows: 400})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tokens := make([]int32, 400)
	for i := range tokens {
		tokens[i] = int32(i * 7 % 911)
	}
	q := s.NewSequence("")
	feed(t, q, tokens[:100])
	feed(t, q, tokens[100:400])
	checkState(t, "all", q)
	r := s.NewSequence("")
	if n := r.Adopt(tokens); n != 0 {
		t.Errorf("%d rows adopted without a state to go on from", n)
	}
	if err := q.Truncate(64); !fault.Is(err, fault.Unsupported) {
		t.Error(err)
	} else {
		t.Log(err)
	}
	if err := q.Truncate(400); err != nil {
		t.Error(err)
	}
	if err := q.Truncate(0); err != nil {
		t.Error(err)
	}
	checkState(t, "cut to nothing", q)
}

// A saved state comes back to the bit; a file of another state, or one cut off, is refused.
func TestSaveRestoreState(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Layers: stateLayers(100), Spec: mustSpec(t, "q8"), Budget: 4 << 20, MaxRows: 400, Fingerprint: "abc", Numerics: "exact"}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tokens := make([]int32, 233)
	for i := range tokens {
		tokens[i] = int32(i * 31 % 997)
	}
	for _, rows := range []int{0, 1, 128, 233} {
		q := s.NewSequence("")
		if rows > 0 {
			feed(t, q, tokens[:rows])
		}
		path, again := filepath.Join(dir, "s"), filepath.Join(dir, "again")
		if err := q.Save(path, nil); err != nil {
			t.Fatal(err)
		}
		r := s.NewSequence("other")
		if _, _, err := r.Restore(path); err != nil {
			t.Fatal(rows, err)
		}
		checkState(t, "restored", r)
		if err := r.Save(again, nil); err != nil {
			t.Fatal(err)
		}
		a, _ := os.ReadFile(path)
		b, _ := os.ReadFile(again)
		if !bytes.Equal(a, b) {
			t.Errorf("%d rows: a restored session saves other bytes", rows)
		}
		if rows < 233 {
			q.Close()
			r.Close()
			continue
		}
		body := a[:len(a)-32]
		for _, cut := range []int{1, 100, 228, 229} {
			os.WriteFile(again, sealed(body[:len(body)-cut]), 0o600)
			if _, _, err := s.NewSequence("").Restore(again); !fault.Is(err, fault.BadFile) {
				t.Errorf("%d bytes cut off: %v", cut, err)
			}
		}
		os.WriteFile(again, sealed(append(bytes.Clone(body), 0)), 0o600)
		if _, _, err := s.NewSequence("").Restore(again); !fault.Is(err, fault.BadFile) {
			t.Errorf("a byte too many: %v", err)
		}
		other := cfg
		other.Layers = stateLayers(100)
		other.Layers[2].State = 8
		o, err := New(other)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := o.NewSequence("").Restore(path); !fault.Is(err, fault.Mismatch) {
			t.Errorf("another state: %v", err)
		}
		o.Close()
	}
}

// Where a row ends a page, its state is also the start of whoever adopts the prefix, and writing on leaves it as it was.
func TestStateIsShared(t *testing.T) {
	s, err := New(Config{Layers: stateLayers(0), Spec: mustSpec(t, "f16"), Budget: 4 << 20, MaxRows: 400})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tokens := make([]int32, 400)
	for i := range tokens {
		tokens[i] = int32(i * 13 % 499)
	}
	q := s.NewSequence("")
	feed(t, q, tokens[:300]) // one step over four pages' ends
	q.Close()
	used := s.Usage().Pages
	for _, want := range []int{256, 192, 128, 64} {
		r := s.NewSequence("")
		if got := r.Adopt(tokens[:want+1]); got != want {
			t.Fatalf("%d rows adopted, want %d", got, want)
		}
		checkState(t, "adopted", r)
		if s.Usage().Pages != used {
			t.Errorf("adopting %d rows took %d bytes", want, s.Usage().Pages-used)
		}
		for _, n := range []int{1, 2, 40} {
			feed(t, r, tokens[r.rows:][:n])
			checkState(t, "continued", r)
		}
		if err := r.Truncate(want); err != nil {
			t.Error(err)
		}
		checkState(t, "cut back", r)
		r.Close()
	}
}
