package kvcache

// Saved sessions as an attacker or a failing disk would leave them.

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// sealed is a session file's contents with the checksum that makes its reader look inside.
func sealed(body []byte) []byte {
	sum := sha256.Sum256(body)
	return append(slices.Clone(body), sum[:]...)
}

// bodyOf joins a session's parts.
func bodyOf(header []byte, rest []byte) []byte {
	b := append([]byte(saveMagic), binary.LittleEndian.AppendUint32(nil, uint32(len(header)))...)
	return append(append(b, header...), rest...)
}

func fuzzConfig(t testing.TB) Config {
	spec, err := ParseSpec("q8")
	if err != nil {
		t.Fatal(err)
	}
	return Config{Layers: []Layout{gqa(1, 2, 0), {}, gqa(1, 4, 70)}, Spec: spec, Budget: 256 << 10, MaxRows: 200, Fingerprint: "model", Numerics: "exact"}
}

// savedBody is an honest file without its checksum.
func savedBody(t testing.TB, s *Store, rows int) []byte {
	q := s.NewSequence("")
	defer q.Close()
	if err := q.Reserve(rows); err != nil {
		t.Fatal(err)
	}
	src := make([]float32, 64)
	for r := 0; r < rows; r++ {
		for i := range src {
			src[i] = float32((r*7+i)%50) - 25
		}
		for _, l := range []int{0, 2} {
			for stream, plane := range s.lanes[l].planes {
				q.Put(l, stream, r, src[:plane.Heads*plane.Width])
			}
		}
	}
	tokens := make([]int32, rows)
	for i := range tokens {
		tokens[i] = int32(i * 31 % 97)
	}
	q.Commit(tokens)
	path := filepath.Join(t.TempDir(), "s")
	if err := q.Save(path, []byte("mine")); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data[:len(data)-sha256.Size]
}

// tryRestore restores a file's body into an empty store. A refusal leaves no page behind; what is accepted saves to the same tokens and rows again.
func tryRestore(t *testing.T, s *Store, dir string, body []byte) error {
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, sealed(body), 0o600); err != nil {
		t.Fatal(err)
	}
	q := s.NewSequence("")
	extra, _, err := q.Restore(path)
	if err != nil {
		if u := s.Usage(); u.Pages != 0 || q.Rows() != 0 || len(q.Tokens()) != 0 {
			t.Fatalf("refused (%v) but kept %d bytes, %d rows", err, u.Pages, q.Rows())
		}
		q.Close()
		return err
	}
	var again bytes.Buffer
	w := bufio.NewWriter(&again)
	if err := q.write(w, extra); err != nil {
		t.Fatal(err)
	}
	w.Flush()
	rest := func(b []byte) []byte { return b[12+int(binary.LittleEndian.Uint32(b[8:])):] }
	if got, want := rest(again.Bytes()), rest(body); !bytes.Equal(got, want) {
		t.Fatalf("restored and saved again: %d bytes of tokens and rows, the file had %d, and they differ", len(got), len(want))
	}
	q.Close()
	s.ForgetPrefixes()
	if u := s.Usage(); u.Pages != 0 {
		t.Fatalf("%d bytes left", u.Pages)
	}
	return nil
}

func FuzzRestore(f *testing.F) {
	s, err := New(fuzzConfig(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	for _, rows := range []int{1, 64, 150} {
		body := savedBody(f, s, rows)
		s.ForgetPrefixes()
		f.Add(body)
		f.Add(body[:len(body)-1])
		f.Add(body[:20])
		f.Add(bytes.Replace(body, []byte(`"rows":`), []byte(`"rows":9`), 1))
		f.Add(bytes.Replace(body, []byte(`"first":[0,0,`), []byte(`"first":[64,0,`), 1))
	}
	f.Add([]byte(saveMagic))
	f.Add(bodyOf([]byte("{}"), nil))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, body []byte) { tryRestore(t, s, dir, body) })
}

// Files whose checksum is right and whose header lies.
func TestRestoreHostile(t *testing.T) {
	s, err := New(fuzzConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	body := savedBody(t, s, 150)
	s.ForgetPrefixes()
	dir := t.TempDir()
	if err := tryRestore(t, s, dir, body); err != nil {
		t.Fatal(err)
	}
	size := int(binary.LittleEndian.Uint32(body[8:]))
	head, rest := body[12:12+size], body[12+size:]
	if !bytes.Contains(head, []byte(`"first":[0,0,64]`)) {
		t.Fatalf("the sliding layer should start at row 64: %s", head)
	}
	for _, c := range []struct {
		what string
		set  map[string]any
	}{
		{"version", map[string]any{"version": 2}}, {"fingerprint", map[string]any{"fingerprint": "other"}}, {"no rows", map[string]any{"rows": 0}}, {"rows below zero", map[string]any{"rows": -1}},
		{"too many rows", map[string]any{"rows": 1 << 40}}, {"more rows than follow", map[string]any{"rows": 200}}, {"fewer rows than follow", map[string]any{"rows": 140}},
		{"rows not a number", map[string]any{"rows": "many"}}, {"layers", map[string]any{"streams": []string{}}}, {"types", map[string]any{"streams": []string{"k 1x2 q4;v 1x2 q4;", "", ""}}},
		{"first of too few layers", map[string]any{"first": []int{0}}}, {"a full layer that starts late", map[string]any{"first": []int{64, 0, 64}}},
		{"starts before its time", map[string]any{"first": []int{0, 0, 0}}}, {"starts after the window", map[string]any{"first": []int{0, 0, 128}}}, {"starts in a page", map[string]any{"first": []int{0, 0, 63}}},
		{"starts below zero", map[string]any{"first": []int{0, 0, -64}}}, {"a layer without rows that starts late", map[string]any{"first": []int{0, 64, 64}}},
	} {
		var h map[string]any
		if err := json.Unmarshal(head, &h); err != nil {
			t.Fatal(err)
		}
		for k, v := range c.set {
			h[k] = v
		}
		text, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		err = tryRestore(t, s, dir, bodyOf(text, rest))
		if err == nil {
			t.Errorf("%s: accepted", c.what)
		} else if !fault.Is(err, fault.BadFile) && !fault.Is(err, fault.Mismatch) && !fault.Is(err, fault.OverBudget) {
			t.Errorf("%s: %T %v", c.what, err, err)
		}
	}
	late := bytes.Replace(head, []byte(`"first":[0,0,64]`), []byte(`"first":[64,0,64]`), 1) // and the rows that it says: 4*150 bytes of tokens, then 64 of 2*(2+2) left out
	if err := tryRestore(t, s, dir, bodyOf(late, append(slices.Clone(rest[:600]), rest[600+64*8:]...))); !fault.Is(err, fault.BadFile) {
		t.Errorf("a full layer that lacks its first page, consistently: %v", err)
	}
	for _, n := range []int{8, 12, 13, 12 + size, 12 + size + 100, len(body) - 1} {
		if err := tryRestore(t, s, dir, body[:n]); !fault.Is(err, fault.BadFile) {
			t.Errorf("cut at %d of %d, with a right checksum: %v", n, len(body), err)
		}
	}
	if err := tryRestore(t, s, dir, append(slices.Clone(body), 0)); !fault.Is(err, fault.BadFile) {
		t.Errorf("a byte too many: %v", err)
	}
}

// A budget too small for the file leaves nothing behind.
func TestRestoreOverBudget(t *testing.T) {
	s, err := New(fuzzConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	body := savedBody(t, s, 150)
	cfg := fuzzConfig(t)
	cfg.Budget = 64 << 10
	small, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	if err := tryRestore(t, small, t.TempDir(), body); !fault.Is(err, fault.OverBudget) {
		t.Error(err)
	} else if !strings.Contains(err.Error(), "budget") {
		t.Error(err)
	}
}
