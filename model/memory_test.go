//go:build linux

package model

// Bytes: what caches take is what the papers' formulas say, as the store counts it and as the system sees it; nothing else grows with the context.

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"golang.org/x/sys/unix"
)

func TestBytes(t *testing.T) {
	for _, row := range tinies() {
		owners := tinyLayers
		if row.share != nil {
			owners = 1
		}
		m := row.open(t, tinyLayers, false)
		for _, kv := range kvcache.Types {
			if _, ok := tinyBytes[row.name][kv.String()]; !ok && sameBitsRefused[row.name+" "+kv.String()] == "" {
				t.Errorf("%s, %s: no formula in the test", row.name, kv)
			}
		}
		for kv, bytes := range tinyBytes[row.name] {
			for rows, pages := range map[int]int64{1: 1, 64: 1, 65: 2, 300: 5} {
				if row.merged > 1 {
					pages = int64((rows + 64*row.merged - 1) / (64 * row.merged))
				}
				if row.window > 0 && rows == 300 {
					pages = 2 // a query at row 300 sees rows 231 on: the page from 192 and the one from 256
				}
				want := int64(owners)*64*pages*int64(bytes) + int64(owners*4*row.state+63)/64*64 // layers that own a cache, rows of a page; the record of recurrent state
				if rows%(64*max(1, row.merged)) > 0 {                                            // an open page: a stage of 64 rows in f16
					want += int64(owners) * 64 * int64(stageBytes(row.name, kv))
				}
				cfg := kvcache.Config{Layers: m.Layouts(), Spec: mustSpec(t, kv), Budget: 4 << 20, MaxRows: 300}
				s, err := kvcache.New(cfg)
				if err != nil {
					t.Fatalf("%s, %s: %v", row.name, kv, err)
				}
				q := s.NewSequence("")
				for _, id := range tinyTokens(rows, 1) {
					if err := q.Reserve(1); err != nil {
						t.Fatal(err)
					}
					q.Commit([]int32{id})
				}
				s.ForgetPrefixes()
				account, err := kvcache.Account(cfg)
				if err != nil {
					t.Fatal(err)
				}
				if got := s.Usage().Pages; got != want || account.Sequence(rows) != want || account.PerToken != owners*bytes/max(1, row.merged) {
					t.Errorf("%s, %s: %d rows allocate %d bytes, accounted %d, formula %d; %d bytes a token, formula %d",
						row.name, kv, rows, got, account.Sequence(rows), want, account.PerToken, owners*bytes/max(1, row.merged))
				}
				s.Close()
			}
		}
	}
}

// stageBytes is what a row takes in the stage of an open page: f16 where scales belong to columns; of clla-quant the rotary key alone.
func stageBytes(name, kv string) int {
	switch {
	case kv != "q4c" && kv != "q2c":
		return 0
	case name == "clla-quant":
		return 2 * 16
	}
	return tinyBytes[name]["f16"]
}

// rssAnon is the process's anonymous resident memory in bytes, as the system counts it, after garbage is gone. smaps_rollup walks the pages, where status may lag by some for each CPU.
func rssAnon(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	for _, from := range [][2]string{{"/proc/self/smaps_rollup", "\nAnonymous:"}, {"/proc/self/status", "\nRssAnon:"}} {
		text, _ := os.ReadFile(from[0])
		if _, rest, ok := strings.Cut(string(text), from[1]); ok {
			var kb int64
			if _, err := fmt.Sscanf(rest, "%d kB", &kb); err == nil {
				return kb << 10
			}
		}
	}
	t.Skip("the system does not tell how much memory is anonymous and resident")
	return 0
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// The allowances of TestMemoryGrowth.
const (
	rssSlack  = 4 << 20 // the last chunk of 2 MiB, page tables touched for the first time, the Go runtime's own
	heapSlack = 64 << 10
	indexPage = 1 << 10 // the index of prefixes: its tokens, hash and lists for each page of 64 rows; the only thing on the heap that grows
)

// A sequence of 64k rows takes what was accounted, and scratch and heap are those of 1k rows.
func TestMemoryGrowth(t *testing.T) {
	const few, many = 1 << 10, 1 << 16
	step := 64
	if kernel.Level() == "plain" {
		step = 4
	}
	m := tiny{name: "gqa", design: "gqa", config: fields{"attention": "gqa", "num_key_value_heads": 2, "head_dim": 64},
		attn: shapes{"q_proj": {256, tinyHidden}, "k_proj": {128, tinyHidden}, "v_proj": {128, tinyHidden}, "o_proj": {tinyHidden, 256}}}.open(t, 3, false)
	for _, kv := range []string{"f16", "q4"} {
		pool := kernel.NewPool(2)
		account, err := kvcache.Account(kvcache.Config{Layers: m.Layouts(), Spec: mustSpec(t, kv)})
		if err != nil {
			t.Fatal(err)
		}
		wide := map[string]int64{"f16": 3 * 2 * 2 * 64 * 2, "q4": 3 * 2 * 2 * 36}[kv] // layers, k and v, heads, bytes of 64 elements
		if account.Sequence(many) != many*wide {
			t.Errorf("%s: accounted %d bytes for %d rows, formula %d", kv, account.Sequence(many), many, many*wide)
		}
		e, err := NewEngine(m, Options{Pool: pool, Spec: mustSpec(t, kv), MaxRows: many, Budget: account.Sequence(many) + 4<<20}, nil)
		if err != nil {
			t.Fatal(err)
		}
		q := e.Store.NewSequence("")
		work := func(to int) (scratch, heap int64) { // rows put directly up to the last steps, which are the engine's: a prompt's chunk and single tokens
			fillRows(t, q, e, to-step-4)
			for _, n := range []int{step, 1, 1, 1, 1} {
				if _, err := e.Step([]Feed{{Sequence: q, Tokens: tinyTokens(n, 8)}}); err != nil {
					t.Fatal(err)
				}
			}
			if q.Rows() != to {
				t.Fatal(q.Rows())
			}
			return e.ScratchBytes(), heapBytes()
		}
		scratch, heap := work(few)
		before := rssAnon(t) - account.Sequence(few)
		scratch2, heap2 := work(many)
		grown := rssAnon(t) - before
		t.Logf("%s: RssAnon grew by %d bytes for %d accounted (%+d); scratch %d then %d; heap %+d", kv, grown, account.Sequence(many), grown-account.Sequence(many), scratch, scratch2, heap2-heap)
		if grown > account.Sequence(many)+rssSlack {
			t.Errorf("%s: RssAnon grew by %d bytes, accounted %d and %d allowed", kv, grown, account.Sequence(many), rssSlack)
		}
		if grown < account.Sequence(many)-rssSlack { // else nothing was measured
			t.Errorf("%s: RssAnon grew by %d bytes only, of %d", kv, grown, account.Sequence(many))
		}
		if scratch2 != scratch {
			t.Errorf("%s: scratch is %d bytes after %d rows, %d after %d", kv, scratch, few, scratch2, many)
		}
		if heap2 > heap+heapSlack+(many-few)/64*indexPage {
			t.Errorf("%s: the heap is %d bytes after %d rows, %d after %d", kv, heap, few, heap2, many)
		}
		if got := e.Store.Usage().Pages; got != account.Sequence(many) {
			t.Errorf("%s: %d bytes of pages, accounted %d", kv, got, account.Sequence(many))
		}
		e.Close()
		pool.Close()
	}
}

// systemSlack is what TestBytesOfSystem may be off by. The Go runtime's own pages come and go by some 100 KiB between two collections, whatever is measured; the rest are ends of
// 4 KiB pages, and a page of the cache in each sliding layer.
const systemSlack = 160 << 10

// For every design and the main cache types, what the system gets back when sessions close is what was accounted for them, and what the store says of them. Their pages are full, so that all
// of them was written, and huge pages are off meanwhile, so that what is resident is what was written.
func TestBytesOfSystem(t *testing.T) {
	if testing.Short() {
		t.Skip("bytes do not depend on the instruction level")
	}
	if err := unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0); err != nil {
		t.Skip("huge pages cannot be turned off: ", err)
	}
	defer unix.Prctl(unix.PR_SET_THP_DISABLE, 0, 0, 0, 0)
	const rows, enough = 384, 3 << 19 // whole pages, also where 2 or 3 tokens share a row
	pool := kernel.NewPool(1)
	defer pool.Close()
	pairs, worst := 0, int64(0)
	for _, row := range tinies() {
		m := row.open(t, tinyLayers, false)
		for _, kv := range []string{"f16", "q8", "q4", "q4c"} {
			account, err := kvcache.Account(kvcache.Config{Layers: m.Layouts(), Spec: mustSpec(t, kv)})
			if err != nil {
				t.Fatal(row.name, kv, err)
			}
			sessions := enough/account.Sequence(rows) + 1
			e, err := NewEngine(m, Options{Pool: pool, Spec: mustSpec(t, kv), MaxRows: rows, Budget: 64 << 20}, nil) // of which some 1.5 MiB are written; chunks are 2 MiB
			if err != nil {
				t.Fatal(row.name, kv, err)
			}
			var list []*kvcache.Sequence
			for range sessions {
				q := e.Store.NewSequence("")
				list = append(list, q)
				fillRows(t, q, e, rows-1)
				if _, err := e.Step([]Feed{{Sequence: q, Tokens: []int32{1}}}); err != nil { // the last row, and recurrent state, are the engine's
					t.Fatal(row.name, kv, err)
				}
			}
			e.Store.ForgetPrefixes()
			want, full := sessions*account.Sequence(rows), rssAnon(t)
			if used := e.Store.Usage().Pages; used != want {
				t.Errorf("%s, %s: %d sessions hold %d bytes, accounted %d", row.name, kv, sessions, used, want)
			}
			for _, q := range list {
				q.Close()
			}
			back := full - rssAnon(t)
			runtime.KeepAlive(list) // its tables and tokens lie on the heap
			if pairs++; max(back-want, want-back) > systemSlack {
				t.Errorf("%s, %s: the system got %d bytes back when %d sessions closed, accounted %d", row.name, kv, back, sessions, want)
			}
			worst = max(worst, back-want, want-back)
			e.Close()
		}
	}
	t.Logf("%d pairs of design and cache type; at most %d bytes between what was accounted and the system's count", pairs, worst)
}

// What a step needs beside the cache is the same for every design at 9k and at 12k tokens; from 4k rows on (8k tokens of MTLA), attention holds as many parts of a query's chunks as it ever does. (The cache's rows are zero here:
// sizes do not depend on what they hold.)
func TestScratchOfDesigns(t *testing.T) {
	const few, many, step = 9 << 10, 12 << 10, tinyVocab
	if testing.Short() {
		t.Skip("bytes do not depend on the instruction level")
	}
	pool := kernel.NewPool(2)
	defer pool.Close()
	for _, row := range tinies() {
		e, err := NewEngine(row.open(t, tinyLayers, false), Options{Pool: pool, Spec: mustSpec(t, "f16"), MaxRows: many, Budget: 64 << 20}, nil)
		if err != nil {
			t.Fatal(row.name, err)
		}
		q := e.Store.NewSequence("")
		work := func(to int) (scratch, heap int64) {
			for q.Rows() < to-step-4 {
				n := min(64, to-step-4-q.Rows())
				if err := q.Reserve(n); err != nil {
					t.Fatal(row.name, err)
				}
				q.Commit(make([]int32, n))
			}
			all := make([]int32, step) // every token once, so that what is kept for each of them is there
			for i := range all {
				all[i] = int32(i)
			}
			for _, n := range []int{step, 1, 1, 1, 1} {
				if _, err := e.Step([]Feed{{Sequence: q, Tokens: all[:n]}}); err != nil {
					t.Fatal(row.name, err)
				}
			}
			return e.ScratchBytes(), heapBytes()
		}
		scratch, heap := work(few)
		scratch2, heap2 := work(many)
		if scratch2 != scratch || q.Rows() != many {
			t.Errorf("%s: scratch is %d bytes after %d rows, %d after %d", row.name, scratch, few, scratch2, q.Rows())
		}
		if most := int64(heapSlack + (many-few)/64*indexPage); heap2 > heap+most {
			t.Errorf("%s: the heap grew by %d bytes from %d to %d rows, at most %d allowed", row.name, heap2-heap, few, many, most)
		}
		e.Close()
	}
}

// fillRows makes the sequence `to` rows long without computing them: every stream of every layer is written.
func fillRows(t *testing.T, q *kvcache.Sequence, e *Engine, to int) {
	t.Helper()
	ids := tinyTokens(to-q.Rows(), 3)
	layouts := e.Model.Layouts()
	var row []float32
	for at := 0; at < len(ids); at += 64 {
		n := min(64, len(ids)-at)
		if err := q.Reserve(n); err != nil {
			t.Fatal(err)
		}
		for l, layout := range layouts {
			merged := max(1, layout.RowTokens)
			for i, s := range layout.Streams {
				for len(row) < s.Heads*s.Width {
					row = append(row, float32(len(row)%7)-3)
				}
				for r := q.Rows() / merged; r < (q.Rows()+n+merged-1)/merged; r++ {
					q.Put(l, i, r, row[:s.Heads*s.Width])
				}
			}
		}
		q.Commit(ids[at : at+n])
	}
}

// A step that the budget cannot hold changes nothing, for any of its sequences, and says how much is missing.
func TestStepOverBudget(t *testing.T) {
	m := tinies()[1].open(t, 1, false) // 256 bytes a token in f16: a page of 16 KiB
	pool := kernel.NewPool(1)
	defer pool.Close()
	e, err := NewEngine(m, Options{Pool: pool, Spec: mustSpec(t, "f16"), MaxRows: 4096, Budget: 64 << 10}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	a, b := e.Store.NewSequence(""), e.Store.NewSequence("")
	if _, err := e.Step([]Feed{{Sequence: a, Tokens: tinyTokens(100, 1)}}); err != nil {
		t.Fatal(err)
	}
	used := e.Store.Usage().Pages
	_, err = e.Step([]Feed{{Sequence: a, Tokens: tinyTokens(60, 2)}, {Sequence: b, Tokens: tinyTokens(65, 3)}})
	if !fault.Is(err, fault.OverBudget) {
		t.Fatal(err)
	}
	t.Log(err)
	for _, part := range []string{"16384 bytes more", "budget 65536 bytes", "--kv"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if a.Rows() != 100 || b.Rows() != 0 || e.Store.Usage().Pages != used {
		t.Errorf("after a step that failed: %d and %d rows, %d bytes (before: %d)", a.Rows(), b.Rows(), e.Store.Usage().Pages, used)
	}
	if _, err := e.Step([]Feed{{Sequence: a, Tokens: tinyTokens(60, 2)}, {Sequence: b, Tokens: tinyTokens(64, 3)}}); err != nil {
		t.Errorf("what fits is refused: %v", err)
	}
}

// WriteTiny is a model folder for tests from outside the package.
func WriteTiny(t testing.TB) string { return tinies()[1].open(t, tinyLayers, false).Path }
