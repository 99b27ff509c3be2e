package kvcache

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
)

func layersOf(n int, l Layout) []Layout {
	out := make([]Layout, n)
	for i := range out {
		out[i] = l
	}
	return out
}

func gqa(heads, width, window int) Layout {
	return Layout{Window: window, Streams: []Stream{{Name: "k", Heads: heads, Width: width, Role: Key}, {Name: "v", Heads: heads, Width: width, Role: Value, Rope: None}}}
}

// voted is gqa whose rows have a column for each head.
func voted(heads, width, window int) Layout {
	l := gqa(heads, width, window)
	l.Streams = append(l.Streams, Stream{Name: "votes", Heads: heads, Width: 1, Role: Column, Rope: None})
	return l
}

var mla = Layout{Streams: []Stream{{Name: "latent", Heads: 1, Width: 512, Role: Both, Rope: None}, {Name: "rope", Heads: 1, Width: 64, Role: Key}}}

func mustSpec(t *testing.T, text string) Spec {
	t.Helper()
	s, err := ParseSpec(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Bytes per token, as literals from the papers' formulas: elements x bits / 8, q8 34 bytes and q4 18 bytes per 32 elements of a head.
func TestBytesPerToken(t *testing.T) {
	cases := []struct {
		name   string
		layers []Layout
		kv     string
		want   int
	}{
		{"Llama-3.1-8B f16", layersOf(32, gqa(8, 128, 0)), "f16", 131072},
		{"Llama-2-7B f16", layersOf(32, gqa(32, 128, 0)), "f16", 524288},
		{"DeepSeek-V3 bf16", layersOf(61, mla), "bf16", 70272},
		{"Step-3 bf16", layersOf(61, gqa(1, 256, 0)), "bf16", 62464},
		{"SmolLM2 f16", layersOf(30, gqa(3, 64, 0)), "f16", 23040},
		{"SmolLM2 q8", layersOf(30, gqa(3, 64, 0)), "q8", 12240},
		{"SmolLM2 q4", layersOf(30, gqa(3, 64, 0)), "q4", 6480},
		{"SmolLM2 k q8 v q4", layersOf(30, gqa(3, 64, 0)), "k=q8,v=q4", 9360},
		{"DeepSeek-V3 latent q8, rope f16", layersOf(61, mla), "latent=q8,rope=f16", 61 * (16*34 + 128)},
		{"SmolLM2 q4 with votes by head", layersOf(30, voted(3, 64, 0)), "q4", 6480 + 30*3*4},
		{"SmolLM2 k q8 v q4 with votes by head", layersOf(30, voted(3, 64, 0)), "k=q8,v=q4", 9360 + 30*3*4},
		{"short blocks q8: 14 wide", layersOf(2, gqa(1, 14, 0)), "q8", 2 * 2 * 16},
		{"short blocks q4: 44 wide", layersOf(1, gqa(2, 44, 0)), "q4", 2 * 2 * (18 + 8)},
	}
	for _, c := range cases {
		a, err := Account(Config{Layers: c.layers, Spec: mustSpec(t, c.kv)})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if a.PerToken != c.want {
			t.Errorf("%s: %d bytes a token, want %d", c.name, a.PerToken, c.want)
		}
		// what is allocated for 100 rows is what the account says: two pages of 64 rows a layer
		s, err := New(Config{Layers: c.layers, Spec: mustSpec(t, c.kv), Budget: 1 << 28, MaxRows: 128})
		if err != nil {
			t.Fatal(err)
		}
		q := s.NewSequence("")
		if err := q.Reserve(100); err != nil {
			t.Fatal(err)
		}
		q.Commit(make([]int32, 100))
		if got := s.Usage().Pages; got != a.Sequence(100) || got < int64(128*c.want) || got > int64(128*c.want+64*2*len(c.layers)) {
			t.Errorf("%s: %d bytes allocated for 100 rows, account %d, formula %d", c.name, got, a.Sequence(100), 128*c.want)
		}
		if a.Slack(100) != a.Sequence(100)-int64(100*c.want) {
			t.Errorf("%s: slack %d", c.name, a.Slack(100))
		}
		s.Close()
	}
}

func TestSpecRefusals(t *testing.T) {
	for _, text := range []string{"q3", "k=q8,k=q4", "f16,q8", "k=", "latent=f17"} {
		if _, err := ParseSpec(text); !fault.Is(err, fault.BadInput) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, layout := range map[string]Layout{"k=q8,v=q4": mla, "k=q8": mla, "latent=q8": gqa(1, 64, 0), "votes=q8": voted(1, 64, 0)} {
		if _, err := Account(Config{Layers: []Layout{layout}, Spec: mustSpec(t, text)}); err == nil {
			t.Errorf("%q was accepted", text)
		} else {
			t.Log(err)
		}
	}
	before := Layout{Streams: []Stream{{Name: "k", Heads: 1, Width: 64, Role: Both, Rope: Before}}}
	if _, err := Account(Config{Layers: []Layout{before}, Spec: mustSpec(t, "q8h")}); !fault.Is(err, fault.Unsupported) {
		t.Errorf("hadamard on keys rotated on reading: %v", err)
	}
}

// value is what row r of a layer's stream holds in these tests: exact in every codec's f16 scale.
func value(layer, stream int, token int32) float32 {
	return float32((int(token)*7+layer*3+stream)%120) - 60
}

func fill(t *testing.T, q *Sequence, tokens []int32) {
	t.Helper()
	if err := q.Reserve(len(tokens)); err != nil {
		t.Fatal(err)
	}
	for len(tokens) > 0 {
		n := q.Step(len(tokens))
		for l, lane := range q.store.lanes {
			for st, p := range lane.planes {
				src := make([]float32, p.Heads*p.Width)
				for i, tok := range tokens[:n] {
					for d := range src {
						src[d] = value(l, st, tok)
					}
					q.Put(l, st, q.rows+i, src)
				}
			}
		}
		q.Commit(tokens[:n])
		tokens = tokens[n:]
	}
}

// check reads every row that should be there.
func check(t *testing.T, what string, q *Sequence) {
	t.Helper()
	p := q.store.cfg.PageRows
	for l, lane := range q.store.lanes {
		first := q.lanes[l].first * p
		if lane.window > 0 && first > max(0, q.rows+1-lane.window) {
			t.Fatalf("%s: layer %d holds rows from %d of %d, window %d", what, l, first, q.rows, lane.window)
		}
		for r := first; r < q.rows && lane.pageBytes > 0; r++ {
			for st := range lane.planes {
				plane, page := q.saved(l, st, r, q.rows)
				if plane.Codec.Columns() { // sealed: what the page's rows are together
					if r%p == 0 && !isSealed(plane, page, func(row int) float32 { return value(l, st, q.tokens[r+row]) }) {
						t.Fatalf("%s: layer %d stream %d: the page at row %d was sealed from other rows", what, l, st, r)
					}
					continue
				}
				code := make([]byte, kernel.RowBytes(plane.Codec, plane.Width))
				row := make([]float32, plane.Width)
				for h := 0; h < plane.Heads; h++ {
					plane.Code(code, page, r%p, h)
					kernel.DecodeRow(plane.Codec, row, code)
					want := value(l, st, q.tokens[r])
					for d, v := range row {
						if diff := v - want; diff > 0.5 || diff < -0.5 {
							t.Fatalf("%s: layer %d stream %d row %d head %d [%d] = %v, want %v", what, l, st, r, h, d, v, want)
						}
					}
				}
			}
		}
	}
}

// Random work over several sequences that share prefixes; every row always reads back, and nothing is left when all is closed.
func TestRandomWork(t *testing.T) {
	for _, kv := range []string{"f32", "f16", "bf16", "q8", "q4", "q4c", "k=q2c,v=q8"} {
		layers := []Layout{gqa(2, 32, 0), gqa(1, 14, 100), {}, voted(2, 32, 70)}
		s, err := New(Config{Layers: layers, Spec: mustSpec(t, kv), Budget: 8 << 20, MaxRows: 700})
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(1, 2))
		var seqs []*Sequence
		base := make([]int32, 700)
		for i := range base {
			base[i] = int32(rng.IntN(1000))
		}
		adopted := 0
		for i := 0; i < 300; i++ {
			switch k := rng.IntN(10); {
			case len(seqs) < 2 || k < 3 && len(seqs) < 8:
				q := s.NewSequence([]string{"a", "b"}[rng.IntN(2)])
				n := 1 + rng.IntN(400)
				got := q.Adopt(base[:n])
				adopted += got
				check(t, kv+" adopted", q)
				fill(t, q, base[got:n])
				seqs = append(seqs, q)
			case k < 7:
				q := seqs[rng.IntN(len(seqs))]
				n := min(1+rng.IntN(90), 700-q.rows)
				tokens := make([]int32, n)
				for j := range tokens {
					tokens[j] = base[(q.rows+j)%700]
					if rng.IntN(20) == 0 {
						tokens[j]++
					}
				}
				if n > 0 {
					fill(t, q, tokens)
				}
			case k < 9:
				q := seqs[rng.IntN(len(seqs))]
				before := q.rows
				to := rng.IntN(q.rows + 1)
				if err := q.Truncate(to); err != nil && q.rows != before {
					t.Fatal("a failed truncation changed the sequence")
				} else if opens := s.lanes[0].stage > 0 && to%64 > 0 && to < before/64*64; opens && err == nil {
					t.Fatalf("%s: cut from %d to %d, into a sealed page", kv, before, to)
				}
			default:
				j := rng.IntN(len(seqs))
				seqs[j].Close()
				seqs = append(seqs[:j], seqs[j+1:]...)
			}
			for _, q := range seqs {
				check(t, fmt.Sprintf("%s step %d", kv, i), q)
			}
		}
		if adopted == 0 {
			t.Error("no prefix was ever adopted")
		}
		closeAll(t, kv, s, seqs)
	}
}

func TestBudgetIsHard(t *testing.T) {
	s, err := New(Config{Layers: layersOf(4, gqa(2, 64, 0)), Spec: mustSpec(t, "f16"), Budget: 1 << 20, MaxRows: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	q := s.NewSequence("")
	for i := 0; ; i++ {
		before := s.Usage().Pages
		err := q.Reserve(64)
		if err != nil {
			if !fault.Is(err, fault.OverBudget) {
				t.Fatal(err)
			}
			if got := s.Usage().Pages; got != before {
				t.Fatalf("a failed reservation kept %d bytes", got-before)
			}
			t.Log(err)
			break
		}
		q.Commit(make([]int32, 64))
		if u := s.Usage(); u.Held > u.Budget || i > 100 {
			t.Fatalf("held %d of %d", u.Held, u.Budget)
		}
	}
	if u := s.Usage(); u.Pages < u.Budget/2 {
		t.Errorf("out of pages with %d of %d used", u.Pages, u.Budget)
	}
}

func TestSaveRestore(t *testing.T) {
	dir := t.TempDir()
	layers := []Layout{gqa(2, 64, 0), voted(1, 64, 100), mla}
	cfg := Config{Layers: layers, Spec: mustSpec(t, "q8"), Budget: 8 << 20, MaxRows: 500, Fingerprint: "abc", Numerics: "exact"}
	s, _ := New(cfg)
	defer s.Close()
	q := s.NewSequence("")
	tokens := make([]int32, 333)
	for i := range tokens {
		tokens[i] = int32(i * 31 % 997)
	}
	fill(t, q, tokens)
	path := filepath.Join(dir, "s.kv")
	if err := q.Save(path, []byte("mine")); err != nil {
		t.Fatal(err)
	}
	r := s.NewSequence("")
	if extra, notice, err := r.Restore(path); err != nil || notice != "" || string(extra) != "mine" {
		t.Fatal(string(extra), notice, err)
	}
	if r.Rows() != 333 {
		t.Fatal(r.Rows())
	}
	check(t, "restored", r)
	again := filepath.Join(dir, "again.kv")
	if err := r.Save(again, []byte("mine")); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(path)
	b, _ := os.ReadFile(again)
	if string(a) != string(b) {
		t.Error("a restored session saves other bytes")
	}
	refused := func(what string, change func(*Config)) {
		c := cfg
		change(&c)
		o, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		q := o.NewSequence("")
		if _, _, err := q.Restore(path); err == nil {
			t.Errorf("%s: accepted", what)
		} else {
			t.Logf("%s: %v", what, err)
		}
		if o.Usage().Pages != 0 {
			t.Errorf("%s: pages kept", what)
		}
	}
	refused("model", func(c *Config) { c.Fingerprint = "xyz" })
	refused("type", func(c *Config) { c.Spec = mustSpec(t, "q4") })
	refused("context", func(c *Config) { c.MaxRows = 300 })
	refused("window", func(c *Config) { c.Layers = []Layout{gqa(2, 64, 0), voted(1, 64, 50), mla} })
	refused("budget", func(c *Config) { c.Budget = 128 << 10 })
	o, _ := New(Config{Layers: layers, Spec: cfg.Spec, Budget: 8 << 20, MaxRows: 500, Fingerprint: "abc", Numerics: "other"})
	defer o.Close()
	if _, notice, err := o.NewSequence("").Restore(path); err != nil || notice == "" {
		t.Errorf("other numerics: notice %q, %v", notice, err)
	}
	if tokens := make([]int32, s.block); s.blockHash(nil, "", tokens) == o.blockHash(nil, "", tokens) {
		t.Error("other numerics find the same prefixes")
	}
	for _, n := range []int{0, 5, 50, len(a) / 2, len(a) - 1} {
		bad := filepath.Join(dir, "bad.kv")
		os.WriteFile(bad, a[:n], 0o600)
		if _, _, err := s.NewSequence("").Restore(bad); !fault.Is(err, fault.BadFile) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
	if err := q.Save(filepath.Join(dir, "no", "such", "folder"), nil); err == nil {
		t.Error("saved into a missing folder")
	}
}

// closeAll ends random work: when everything is closed, nothing is left.
func closeAll(t *testing.T, what string, s *Store, seqs []*Sequence) {
	t.Helper()
	for _, q := range seqs {
		q.Close()
	}
	s.ForgetPrefixes()
	if u := s.Usage(); u.Pages != 0 || u.Held != 0 {
		t.Errorf("%s: %d bytes in use after everything was closed, %d held", what, u.Pages, u.Held)
	}
	s.Close()
}
