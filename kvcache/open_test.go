package kvcache

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
)

// isSealed reports whether the first head of a plane holds what rows of these values are when they are sealed by themselves.
func isSealed(p kernel.Plane, page []byte, value func(row int) float32) bool {
	got := p.Head(page, 0)
	p.Heads, p.Offset, p.Stage = 1, 0, 0
	key := sealedPage{plane: p}
	for r := range key.values {
		key.values[r] = value(r)
	}
	want := sealedPages[key]
	if want == nil {
		want = make([]byte, p.Bytes())
		stage, src, code := make([]byte, p.Open().Bytes()), make([]float32, p.Width), make([]byte, 4*p.Width)
		for r, v := range key.values {
			for d := range src {
				src[d] = v
			}
			p.Open().Put(stage, r, src, code)
		}
		p.Seal(want, stage, &kernel.Sealer{})
		sealedPages[key] = want
	}
	return bytes.Equal(got, want)
}

type sealedPage struct {
	plane  kernel.Plane
	values [64]float32
}

var sealedPages = map[sealedPage][]byte{} // by what is in them

// What is announced is held, at every length: sealed pages, and one stage a lane while a page is open. Literals: SmolLM2, 30 layers of 3 heads of 64; a page of 64 rows holds q4c and q4
// at 36 bytes a head, q2c at 20; a stage holds rows in f16.
func TestOpenBytes(t *testing.T) {
	for kv, want := range map[string]struct{ token, page, stage int64 }{
		"k=q4c,v=q4": {30 * 3 * (36 + 36), 64 * 3 * (36 + 36), 64 * 3 * 128},
		"q2c":        {30 * 3 * (20 + 20), 64 * 3 * (20 + 20), 2 * 64 * 3 * 128},
	} {
		cfg := Config{Layers: layersOf(30, gqa(3, 64, 0)), Spec: mustSpec(t, kv), MaxRows: 200}
		a, err := Account(cfg)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Budget = a.Arena(1, 200, 70)
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		q := s.NewSequence("")
		for _, n := range []int{1, 62, 1, 1, 63, 1, 70, 1} {
			if err := q.Reserve(n); err != nil {
				t.Fatal(err)
			}
			pages := int64(q.rows+n+63) / 64
			if got, most := q.Bytes(), 30*(pages*want.page+want.stage); got != most || a.Peak(q.rows+n, 70) != most {
				t.Errorf("%s: %d bytes for %d tokens reserved, want %d, announced %d", kv, got, q.rows+n, most, a.Peak(q.rows+n, 70))
			}
			for at := 0; at < n; {
				m := q.Step(n - at)
				q.Commit(make([]int32, m))
				at += m
			}
			staged := int64(0)
			if q.rows%64 > 0 {
				staged = 30 * want.stage
			}
			held := 30*pages*want.page + staged
			if got := s.Usage().Pages; got != held || q.Bytes() != held || a.Sequence(q.rows) != held || a.Staged(q.rows) != staged || a.Slack(q.rows) != held-staged-int64(q.rows)*want.token {
				t.Errorf("%s: %d tokens hold %d bytes, want %d, announced %d of which %d idle", kv, q.rows, got, held, a.Sequence(q.rows), a.Slack(q.rows))
			}
		}
		if int64(a.PerToken) != want.token {
			t.Errorf("%s: %d bytes a token, want %d", kv, a.PerToken, want.token)
		}
		closeAll(t, kv, s, []*Sequence{q})
	}
}

// A page is found only when it is sealed; a cut never opens it again; what is restored goes on as what was saved.
func TestSealedPages(t *testing.T) {
	s, err := New(Config{Layers: []Layout{gqa(2, 32, 0), gqa(1, 32, 200)}, Spec: mustSpec(t, "k=q4c,v=q8"), Budget: 4 << 20, MaxRows: 400})
	if err != nil {
		t.Fatal(err)
	}
	tokens := make([]int32, 300)
	for i := range tokens {
		tokens[i] = int32(i * i % 997)
	}
	q, other := s.NewSequence(""), s.NewSequence("")
	fill(t, q, tokens[:63])
	if got := other.Adopt(tokens); got != 0 {
		t.Fatalf("%d rows of an open page were found", got)
	}
	fill(t, q, tokens[63:150])
	if got := other.Adopt(tokens); got != 128 || other.lanes[0].stage != noRecord {
		t.Fatalf("%d rows adopted, stage %d", got, other.lanes[0].stage)
	}
	check(t, "adopted", other)
	for _, c := range []struct{ to, cut int }{{140, 140}, {129, 129}, {127, 64}, {128, 128}, {100, 64}, {64, 64}, {63, 0}} {
		if got := q.Cut(c.to); got != c.cut {
			t.Errorf("%d rows: Cut(%d) is %d, want %d", q.rows, c.to, got, c.cut)
		}
		err := q.Truncate(c.to)
		if c.to == c.cut && err != nil || c.to != c.cut && (!fault.Is(err, fault.Unsupported) || q.rows < c.to) {
			t.Errorf("cut at %d: %v", c.to, err)
		}
		check(t, "cut", q)
	}
	fill(t, q, tokens[64:150])
	check(t, "grown again", q)

	file := filepath.Join(t.TempDir(), "s")
	for _, n := range []int{150, 192, 193} {
		if n > q.rows {
			fill(t, q, tokens[q.rows:n])
		}
		if err := q.Save(file, nil); err != nil {
			t.Fatal(err)
		}
		r := s.NewSequence("else")
		if _, _, err := r.Restore(file); err != nil {
			t.Fatal(err)
		}
		if r.Bytes() != q.Bytes() {
			t.Errorf("%d rows: %d bytes restored, %d were saved", n, r.Bytes(), q.Bytes())
		}
		check(t, "restored", r)
		fill(t, r, tokens[n:])
		check(t, "restored and grown", r)
		r.Close()
	}
	if err := q.Reserve(100); err != nil {
		t.Fatal(err)
	}
	before := q.rows
	q.Rollback()
	check(t, "rolled back", q)
	if want, err := Account(s.cfg); err != nil || q.Bytes() != want.Sequence(before) {
		t.Errorf("%d bytes after a rollback to %d rows", q.Bytes(), before)
	}
	closeAll(t, "sealed pages", s, []*Sequence{q, other})
}
