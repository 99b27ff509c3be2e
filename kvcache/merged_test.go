package kvcache

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
)

func merging(l Layout, tokens, state int) Layout {
	l.RowTokens, l.State = tokens, state
	return l
}

// mergedLayers: rows of 3 and of 2 tokens with the open one's sum as state, rows of one token, and a window.
func mergedLayers() []Layout {
	return []Layout{merging(gqa(1, 32, 0), 3, 5), {}, merging(gqa(1, 14, 0), 2, 3), gqa(1, 16, 0), gqa(1, 8, 100)}
}

// putMerged writes the rows of new tokens, one over the other, and the states: what the open row has seen.
func putMerged(q *Sequence, tokens []int32) {
	s := q.store
	all := append(append([]int32{}, q.Tokens()...), tokens...)
	for l, ln := range s.lanes {
		for i, token := range tokens {
			at := q.rows + i
			for st, p := range ln.planes {
				src := make([]float32, p.Heads*p.Width)
				for d := range src {
					src[d] = value(l, st, token)
				}
				q.Put(l, st, at/ln.rowTokens, src)
			}
			if n := s.cfg.Layers[l].State; n > 0 && (i == len(tokens)-1 || q.KeepsState(at)) {
				src := make([]float32, n)
				for d := range src {
					src[d] = folded(l, all[at/ln.rowTokens*ln.rowTokens:at+1])
				}
				q.PutState(l, at, src)
			}
		}
	}
}

// checkMerged compares every row with the newest token in it, and the state of every open row with its tokens.
func checkMerged(t *testing.T, what string, q *Sequence) {
	t.Helper()
	for l, ln := range q.store.lanes {
		tab := &q.lanes[l]
		for row := tab.first * q.store.cfg.PageRows; ln.pageBytes > 0 && row < ln.rows(q.rows); row++ {
			newest := func(row int) int32 { return q.tokens[min((row+1)*ln.rowTokens, q.rows)-1] }
			for st := range ln.planes {
				p, page := q.saved(l, st, row, q.rows)
				if p.Codec.Columns() {
					if row%64 == 0 && !isSealed(p, page, func(r int) float32 { return value(l, st, newest(row+r)) }) {
						t.Fatalf("%s: layer %d, stream %d: the page at row %d of %d tokens was sealed from other rows", what, l, st, row, q.rows)
					}
					continue
				}
				code, x := make([]byte, kernel.RowBytes(p.Codec, p.Width)), make([]float32, p.Width)
				p.Code(code, page, row%64, 0)
				kernel.DecodeRow(p.Codec, x, code)
				if want := value(l, st, newest(row)); x[0] != want {
					t.Fatalf("%s: layer %d, stream %d, row %d of %d tokens: %v, want %v", what, l, st, row, q.rows, x[0], want)
				}
			}
		}
		if open := q.rows % ln.rowTokens; open > 0 {
			if got, want := q.State(l), folded(l, q.tokens[q.rows-open:]); len(got) > 0 && got[0] != want {
				t.Fatalf("%s: layer %d: the open row's state is %v, want %v", what, l, got[0], want)
			}
		}
	}
}

// Random work over sequences whose lanes count rows differently: rows and open sums are always those of the tokens; a cut is refused inside a row; nothing is left at the end.
func TestRandomWorkMerged(t *testing.T) {
	for seed := range uint64(3) {
		if testing.Short() && seed == 1 {
			continue
		}
		s, err := New(Config{Layers: mergedLayers(), Spec: mustSpec(t, []string{"f32", "f32", "k=q4c,v=f32"}[seed]), Budget: []int64{8 << 20, 1 << 20, 768 << 10}[seed], MaxRows: 1500})
		if err != nil {
			t.Fatal(err)
		}
		if s.block != 64*6 {
			t.Fatalf("prefix blocks of %d tokens", s.block)
		}
		rng := rand.New(rand.NewPCG(seed, 5))
		base := make([]int32, 1500)
		for i := range base {
			base[i] = int32(rng.IntN(1000))
		}
		var seqs []*Sequence
		adopted, cut, refused, back, full := 0, 0, 0, 0, 0
		file := filepath.Join(t.TempDir(), "s")
		for i := range 500 {
			what := fmt.Sprintf("seed %d step %d", seed, i)
			grow := func(q *Sequence, n int) {
				tokens := base[q.rows:min(q.rows+n, len(base))]
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
				if rng.IntN(5) == 0 {
					q.Rollback()
					back++
					return
				}
				for len(tokens) > 0 {
					n := q.Step(len(tokens))
					putMerged(q, tokens[:n])
					q.Commit(tokens[:n])
					tokens = tokens[n:]
				}
			}
			switch k := rng.IntN(12); {
			case len(seqs) < 2 || k < 3 && len(seqs) < 5:
				q := s.NewSequence("a")
				n := 1 + rng.IntN(1200)
				got := q.Adopt(base[:n])
				if got%s.block != 0 || got >= n {
					t.Fatalf("%s: adopted %d of %d", what, got, n)
				}
				adopted += got
				checkMerged(t, what+" adopted", q)
				grow(q, n-q.rows)
				seqs = append(seqs, q)
			case k < 7:
				grow(seqs[rng.IntN(len(seqs))], 1+rng.IntN(300))
			case k < 9:
				q := seqs[rng.IntN(len(seqs))]
				to := rng.IntN(q.rows + 1)
				near, before := q.Cut(to), q.rows
				err := q.Truncate(to)
				switch {
				case err == nil && (near != to || to%6 != 0 && to != before):
					t.Fatalf("%s: cut from %d to %d, through a row", what, before, to)
				case err == nil:
					cut++
				case !fault.Is(err, fault.Unsupported) || q.rows != before || near == to:
					t.Fatalf("%s: cut from %d to %d: %v, now %d", what, before, to, err, q.rows)
				default:
					refused++
					if err := q.Truncate(near); near > 0 && err != nil {
						t.Fatalf("%s: Cut(%d) said %d: %v", what, to, near, err)
					}
				}
			case k < 10:
				q := seqs[rng.IntN(len(seqs))]
				if err := q.Save(file, nil); err != nil {
					t.Fatal(err)
				}
				r := s.NewSequence("c")
				if _, _, err := r.Restore(file); err == nil {
					checkMerged(t, what+" restored", r)
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
				checkMerged(t, what, q)
			}
		}
		t.Logf("seed %d: %d tokens adopted, %d cuts, %d refused, %d rolled back, %d over budget", seed, adopted, cut, refused, back, full)
		if adopted == 0 || cut == 0 || refused == 0 || back == 0 || seed > 0 && full == 0 {
			t.Error("something never happened")
		}
		closeAll(t, fmt.Sprintf("seed %d", seed), s, seqs)
	}
}

// What a sequence takes is what the accounting said, at every length.
func TestMergedBytes(t *testing.T) {
	cfg := Config{Layers: mergedLayers(), Spec: mustSpec(t, "f16"), Budget: 8 << 20, MaxRows: 700}
	a, err := Account(cfg)
	if err != nil {
		t.Fatal(err)
	}
	// Rows of 2 x 32, 2 x 14, 2 x 16 and 2 x 8 numbers of 2 bytes, for 3, 2, 1 and 1 tokens: 42 2/3 + 28 + 64 + 32.
	if a.PerToken != 167 || a.Layers[0].RowTokens != 3 || a.Layers[0].PerToken != 128 || a.Layers[3].RowTokens != 0 {
		t.Errorf("%+v", a)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	q := s.NewSequence("")
	for q.rows < 700 {
		tokens := make([]int32, min(23, 700-q.rows))
		if err := q.Reserve(len(tokens)); err != nil {
			t.Fatal(err)
		}
		if got, most := q.Bytes(), a.Peak(q.rows+len(tokens), 23); got > most {
			t.Fatalf("%d tokens reserved: %d bytes, Peak says %d", q.rows+len(tokens), got, most)
		}
		putMerged(q, tokens)
		q.Commit(tokens)
		if got, want := q.Bytes(), a.Sequence(q.rows); got != want {
			t.Fatalf("%d tokens: %d bytes, want %d", q.rows, got, want)
		}
	}
}

// A file of rows that are merged otherwise is refused, and a window over merged rows too.
func TestMergedRefusals(t *testing.T) {
	cfg := Config{Layers: mergedLayers(), Spec: mustSpec(t, "f16"), Budget: 4 << 20, MaxRows: 200}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	q, file := s.NewSequence(""), filepath.Join(t.TempDir(), "s")
	if err := q.Reserve(50); err != nil {
		t.Fatal(err)
	}
	putMerged(q, make([]int32, 50))
	q.Commit(make([]int32, 50))
	if err := q.Save(file, nil); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(file)
	again := s.NewSequence("")
	if _, _, err := again.Restore(file); err != nil {
		t.Fatal(err)
	}
	again.Save(file, nil)
	if after, _ := os.ReadFile(file); !bytes.Equal(before, after) {
		t.Error("a restored session saves other bytes")
	}
	cfg.Layers = mergedLayers()
	cfg.Layers[0].RowTokens = 4
	other, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, _, err := other.NewSequence("").Restore(file); !fault.Is(err, fault.Mismatch) {
		t.Errorf("rows of 3 tokens restored as rows of 4: %v", err)
	}
	cfg.Layers[4].RowTokens = 2
	if _, err := New(cfg); !fault.Is(err, fault.Unsupported) {
		t.Errorf("a window over merged rows: %v", err)
	}
}
