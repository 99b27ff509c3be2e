//go:build linux

package model

// Bytes: what caches take is what the papers' formulas say, as the store counts it and as the system sees it; nothing else grows with the context.

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
)

// What a token leaves behind in one layer of each tiny model, in bytes, written out from the papers' formulas and not read from a layout:
//
//	mha 2 n d_h = 2*4*32   gqa 2 n_kv d_h = 2*2*32   mqa 2 d_h = 2*32   mla r + d_R = 48 + 16   mfa 2 C = 2*32   mfa-kr C = 32
//	sqa, ccgqa 2 n_kv d_h = 2*2*12   cca 2 n d_h = 2*4*8   tpa (R_K + R_V)(h + d_h) = (2 + 3)(4 + 32)   gta n_kv d_h + d_R = 2*32 + 16   gla, mlra L r + d_R = 2*48 + 16, 4*20 + 16
//
// times 4 (f32), 2 (f16, bf16), 34 for every 32 (q8), 18 for every 32 (q4); a short last block of n takes 2 + n (q8), 2 + n/2 (q4): sqa's 12 is 14 and 8, cca's 8 is 10 and 6; mla's 48 is 34 + 18, its 16 is 18, as gta's;
// gla has 48 twice; mlra's 20 is 22 (q8), 12 (q4), four times;
// tpa's factors over heads, 4*2 and 4*3, are 10 and 14 (q8), 6 and 8 (q4).
var tinyBytes = map[string]map[string]int{
	"mha":         {"f32": 1024, "f16": 512, "bf16": 512, "q8": 272, "q8h": 272, "q4": 144, "q4h": 144, "k=q8,v=q4": 208},
	"gqa":         {"f32": 512, "f16": 256, "bf16": 256, "q8": 136, "q8h": 136, "q4": 72, "q4h": 72, "k=q8,v=q4": 104},
	"gqa sliding": {"f32": 512, "f16": 256, "bf16": 256, "q8": 136, "q8h": 136, "q4": 72, "q4h": 72, "k=f16,v=q4h": 164},
	"mqa":         {"f32": 256, "f16": 128, "bf16": 128, "q8": 68, "q8h": 68, "q4": 36, "q4h": 36, "k=bf16,v=q8": 98},
	"mla":         {"f32": 256, "f16": 128, "bf16": 128, "q8": 70, "q8h": 70, "q4": 38, "q4h": 38, "latent=q8,rope=f16": 84},
	"mfa":         {"f32": 256, "f16": 128, "bf16": 128, "q8": 68, "q8h": 68, "q4": 36, "q4h": 36},
	"mfa-kr":      {"f32": 128, "f16": 64, "bf16": 64, "q8": 34, "q4": 18},
	"tpa":         {"f32": 720, "f16": 360, "bf16": 360, "q8": 194, "q4": 104, "k=q4h,v=q8h,k_a=f16,v_a=f16": 178},
	"gla":         {"f32": 448, "f16": 224, "bf16": 224, "q8": 122, "q8h": 122, "q4": 66, "q4h": 66, "latent=q4h,rope=f16": 88},
	"mlra":        {"f32": 384, "f16": 192, "bf16": 192, "q8": 106, "q8h": 106, "q4": 58, "q4h": 58, "latent=q4h,rope=f16": 80},
	"gta":         {"f32": 320, "f16": 160, "bf16": 160, "q8": 86, "q8h": 86, "q4": 46, "q4h": 46, "tied=q4h,rope=f16": 68},
	"cca":         {"f32": 256, "f16": 128, "bf16": 128, "q8": 80, "q8h": 80, "q4": 48, "q4h": 48, "k=q8,v=q4": 64},
	"ccgqa":       {"f32": 192, "f16": 96, "bf16": 96, "q8": 56, "q8h": 56, "q4": 32, "q4h": 32, "k=q8,v=q4": 44},
	"sqa":         {"f32": 192, "f16": 96, "bf16": 96, "q8": 56, "q8h": 56, "q4": 32, "q4h": 32, "k=q8,v=q4": 44},
}

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

// rssAnon is the process's anonymous resident memory in bytes, as the system counts it, after garbage is gone.
func rssAnon(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var kb int64
		if strings.HasPrefix(s.Text(), "RssAnon:") {
			if _, err := fmt.Sscanf(s.Text(), "RssAnon: %d kB", &kb); err == nil {
				return kb << 10
			}
		}
	}
	t.Skip("the system does not tell RssAnon")
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

// fillRows makes the sequence `to` rows long without computing them.
func fillRows(t *testing.T, q *kvcache.Sequence, e *Engine, to int) {
	t.Helper()
	ids := tinyTokens(to-q.Rows(), 3)
	row := make([]float32, 128)
	for i := range row {
		row[i] = float32(i%7) - 3
	}
	for at := 0; at < len(ids); at += 64 {
		n := min(64, len(ids)-at)
		if err := q.Reserve(n); err != nil {
			t.Fatal(err)
		}
		for l := range e.blocks {
			for r := 0; r < n; r++ {
				q.Put(l, 0, q.Rows()+r, row)
				q.Put(l, 1, q.Rows()+r, row)
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
