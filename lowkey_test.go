package lowkey_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/fault"
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
	long := strings.Repeat("word ", 300)
	for _, err := range m.NewSession("").Chat(context.Background(), long, lowkey.Generation{}, nil) {
		if !fault.Is(err, fault.OverBudget) {
			t.Errorf("a prompt longer than the context: %v", err)
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

// Load a model and stream an answer.
func Example() {
	m, err := lowkey.Load("model.gguf", lowkey.Options{KV: "q8h", Context: 4096})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	s := m.NewSession("")
	for piece, err := range s.Chat(context.Background(), "Why is the sky blue?", lowkey.Generation{MaxTokens: 100}, nil) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Print(piece.Text)
	}
	// Output: model.gguf: cannot be opened; give a .gguf file or a folder with config.json (stat model.gguf: no such file or directory)
}
