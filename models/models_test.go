package models

import (
	"context"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey"
)

// Every model carried loads by its name, leaves in the cache what its design says, and goes on with a Go file.
func TestCarried(t *testing.T) {
	for name, want := range map[string]struct {
		bytes int // 8 layers x (2 or 1) x C = 32, f16
		share float64
	}{"mfa": {8 * 2 * 32 * 2, 0.125}, "mfa-kr": {8 * 32 * 2, 0.0625}} {
		m, err := lowkey.Load(name, lowkey.Options{Context: 256})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if m.Account.PerToken != want.bytes || m.OfMHA() != want.share {
			t.Errorf("%s: %d bytes a token, %v of MHA's; want %d, %v", name, m.Account.PerToken, m.OfMHA(), want.bytes, want.share)
		}
		s := m.NewSession("")
		defer s.Close()
		const prompt = "package main\n\nimport (\n\t\"fmt\"\n"
		var text strings.Builder
		text.WriteString(prompt)
		for p, err := range s.Generate(context.Background(), prompt, lowkey.Generation{MaxTokens: 40, Raw: true}, nil) {
			if err != nil {
				t.Fatal(err)
			}
			text.WriteString(p.Text)
		}
		if head, _, closed := strings.Cut(text.String()[len(prompt):], ")"); !closed {
			t.Errorf("%s: the imports are not closed: %q", name, text.String())
		} else if _, err := parser.ParseFile(token.NewFileSet(), "", prompt+head+")\n", parser.ImportsOnly); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An answer that its reader leaves, or that a stop string ends, is in the session to its last token: a raw text goes on behind it.
func TestSessionOfStoppedAnswer(t *testing.T) {
	m, err := lowkey.Load("mfa", lowkey.Options{Context: 64, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, stop := range [][]string{nil, {"("}} {
		s := m.NewSession("")
		var ids []int32
		var stats lowkey.Stats
		for p, err := range s.Chat(context.Background(), "package main\n\nfunc main", lowkey.Generation{Raw: true, MaxTokens: 20, Stop: stop}, &stats) {
			if err != nil {
				t.Fatal(err)
			}
			if ids = append(ids, p.Token); stop == nil && len(ids) == 3 {
				break
			}
		}
		if stop != nil && stats.Finish != "stop" {
			t.Errorf("the answer ended by %s", stats.Finish)
		}
		if got := s.Tokens(); len(ids) == 0 || len(got) != stats.Prompt+len(ids) || !slices.Equal(got[stats.Prompt:], ids) {
			t.Errorf("stop %q: the session holds %v, the answer was %v behind %d tokens", stop, got, ids, stats.Prompt)
		}
		s.Close()
	}
}
