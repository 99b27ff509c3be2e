package lowkey_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/fault"
	_ "github.com/lowkeylm/lowkey/models" // a small one for every machine
)

func smollm(t testing.TB, o lowkey.Options) *lowkey.Model {
	dir := os.Getenv("LOWKEY_CACHE")
	if dir == "" {
		home, _ := os.UserHomeDir()
		dir = filepath.Join(home, ".cache", "lowkey")
	}
	path := filepath.Join(dir, "SmolLM2-135M-Instruct.Q4_1.gguf")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no %s: run tools/fetch-models", path)
	}
	m, err := lowkey.Load(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func chat(t testing.TB, s *lowkey.Session, text string, g lowkey.Generation) (string, lowkey.Stats) {
	var stats lowkey.Stats
	var b strings.Builder
	for p, err := range s.Chat(context.Background(), text, g, &stats) {
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(p.Text)
	}
	return b.String(), stats
}

// A chat goes on over saved files, reuses what is computed, and ends where it is told to.
func TestSession(t *testing.T) {
	m := smollm(t, lowkey.Options{Context: 512})
	few := lowkey.Generation{MaxTokens: 12}
	a := m.NewSession("a")
	first, stats := chat(t, a, "What is a cache?", few)
	if first == "" || stats.Generated != 12 || stats.Finish != "length" || stats.Reused != 0 || stats.KVBytesPerToken != 23040 {
		t.Errorf("%q %+v", first, stats)
	}
	path := filepath.Join(t.TempDir(), "s.kv")
	if err := a.Save(path); err != nil {
		t.Fatal(err)
	}
	b, notice, err := m.RestoreSession(path, "b")
	if err != nil || notice != "" {
		t.Fatal(notice, err)
	}
	wantNext, _ := chat(t, a, "And why?", few)
	next, stats := chat(t, b, "And why?", few)
	if next != wantNext || stats.Reused == 0 {
		t.Errorf("after restoring %q (%d reused), else %q", next, stats.Reused, wantNext)
	}
	fresh := m.NewSession("a")
	again, _ := chat(t, fresh, "What is a cache?", few)
	if again != first {
		t.Errorf("the same question gave %q, then %q", first, again)
	}
	word := strings.Fields(first)[1]
	stopped, stats := chat(t, m.NewSession("c"), "What is a cache?", lowkey.Generation{MaxTokens: 12, Stop: []string{word}})
	if strings.Contains(stopped, word) || stats.Finish != "stop" || !strings.HasPrefix(first, stopped) {
		t.Errorf("stop %q: %q %s", word, stopped, stats.Finish)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n := 0
	for range fresh.Chat(ctx, "Go on.", lowkey.Generation{}, &stats) {
		if n++; n == 3 {
			cancel()
		}
	}
	if stats.Finish != "cancelled" || n > 5 {
		t.Errorf("cancelled after 3 pieces: %d pieces, %s", n, stats.Finish)
	}
}

// A full context says so, and goes on with sinks and a window.
func TestFullContext(t *testing.T) {
	m := smollm(t, lowkey.Options{Context: 128})
	s := m.NewSession("")
	_, stats := chat(t, s, "Tell a long story about the sea, the wind and a small boat.", lowkey.Generation{})
	if stats.Finish != "context" || len(s.Tokens()) != 128 {
		t.Fatalf("%+v, %d tokens", stats, len(s.Tokens()))
	}
	if err := s.Slide(context.Background(), 4, 64); err != nil || len(s.Tokens()) != 68 {
		t.Fatalf("%v, %d tokens", err, len(s.Tokens()))
	}
	text, stats := chat(t, s, "Go on.", lowkey.Generation{MaxTokens: 8})
	if text == "" || stats.Reused < 60 {
		t.Errorf("after sliding: %q, %+v", text, stats)
	}
	path := filepath.Join(t.TempDir(), "slid.kv") // a session that has slid is no longer its whole chat, after restoring too
	if err := s.Save(path); err != nil {
		t.Fatal(err)
	}
	want, _ := chat(t, s, "And then?", lowkey.Generation{MaxTokens: 8})
	s.Close()
	r, _, err := m.RestoreSession(path, "other")
	if err != nil {
		t.Fatal(err)
	}
	next, stats := chat(t, r, "And then?", lowkey.Generation{MaxTokens: 8})
	if next != want || stats.Reused < 60 {
		t.Errorf("after sliding and restoring: %q, else %q; %+v", next, want, stats)
	}
	long := strings.Repeat("word ", 300)
	for _, err := range m.NewSession("").Chat(context.Background(), long, lowkey.Generation{}, nil) {
		if !fault.Is(err, fault.OverBudget) {
			t.Errorf("a prompt longer than the context: %v", err)
		}
	}
}

// Without a template, a session goes on where its text ended, from a file too; bytes that are no text are refused.
func TestRawSession(t *testing.T) {
	m, err := lowkey.Load("mfa", lowkey.Options{Context: 256, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	few := lowkey.Generation{MaxTokens: 6}
	s := m.NewSession("")
	chat(t, s, "package main\n", few)
	before := slices.Clone(s.Tokens())
	path := filepath.Join(t.TempDir(), "s.kv")
	if err := s.Save(path); err != nil {
		t.Fatal(err)
	}
	r, _, err := m.RestoreSession(path, "other")
	if err != nil {
		t.Fatal(err)
	}
	text, stats := chat(t, r, "func main", few)
	if want, _ := chat(t, s, "func main", few); text != want || stats.Reused == 0 || !slices.Equal(r.Tokens()[:len(before)], before) {
		t.Errorf("%q (%d reused) after restoring, else %q", text, stats.Reused, want)
	}
	for _, g := range []lowkey.Generation{{MaxTokens: -1}, {System: "\xff"}} {
		for _, err := range s.Chat(context.Background(), "x", g, nil) {
			if !fault.Is(err, fault.BadInput) {
				t.Errorf("%+v: %v", g, err)
			}
		}
	}
	for _, err := range s.Chat(context.Background(), "a\xffb", few, nil) {
		if !fault.Is(err, fault.BadInput) || !strings.Contains(err.Error(), "byte 1 is 0xff") {
			t.Errorf("bytes that are no text: %v", err)
		}
	}
	for _, o := range []lowkey.Options{{Context: -1}, {Threads: -1}, {Threads: 1 << 20}, {Memory: -1}} {
		if _, err := lowkey.Load("mfa", o); !fault.Is(err, fault.BadInput) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestLoadRefusals(t *testing.T) {
	if _, err := lowkey.Load("no-such-file.gguf", lowkey.Options{}); !fault.Is(err, fault.BadInput) {
		t.Errorf("missing file: %v", err)
	}
	bad := filepath.Join(t.TempDir(), "bad.gguf")
	os.WriteFile(bad, []byte("GGUF\x03\x00\x00\x00"), 0o600)
	if _, err := lowkey.Load(bad, lowkey.Options{}); !fault.Is(err, fault.BadFile) {
		t.Errorf("cut file: %v", err)
	}
	for text, want := range map[string]int64{"512m": 512 << 20, "1.5GiB": 3 << 29, "80": 80, "2kb": 2048} {
		if n, err := lowkey.ParseBytes(text); err != nil || n != want {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	if _, err := lowkey.ParseBytes("many"); !fault.Is(err, fault.BadInput) {
		t.Errorf("%v", err)
	}
}
