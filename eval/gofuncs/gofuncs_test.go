package gofuncs

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const source = `package p

import "strings"

// Up shouts.
func Up(s string) string {
	return strings.ToUpper(s)
}

func count(s []string) (n int) {
	for _, x := range s {
		n += len(x)
	}
	return n
}
`

func TestBalanced(t *testing.T) {
	for text, want := range map[string]int{"": -1, "\n\treturn 1\n}\nfunc": 12, "if x { y() }": -1, `s := "}" }`: 10, "// }\n}": 6, "{ } }": 5} {
		if got := balancedAt(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	for text, want := range map[string]bool{"": false, "package p": false, "func f() {": true, "func f() { if x {}": true, "func f() {}": false, "} func f() {": true, "f() // {": false, `f("{")`: false} {
		if got := Unfinished(text); got != want {
			t.Errorf("%q: unfinished %v, want %v", text, got, want)
		}
	}
}

// fixed completes every function with the same text.
type fixed string

func (f fixed) Complete(_ context.Context, _ string, most int, more func(string) bool) (string, int, error) {
	words := strings.SplitAfter(string(f), " ")
	text := ""
	for i, w := range words {
		if text += w; !more(text) || i == most {
			return text, max(i+1, LongBody), nil
		}
	}
	return text, len(words), nil
}

func TestRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.go")
	if err := os.WriteFile(path, []byte(source), 0o666); err != nil {
		t.Fatal(err)
	}
	read := func(p string) (string, error) {
		b, err := os.ReadFile(p)
		return string(b), err
	}
	functions, err := Find([]string{path}, read, 10)
	if err != nil || len(functions) != 2 {
		t.Fatalf("%d functions, %v", len(functions), err)
	}
	check := NewChecker()
	for text, want := range map[string]Score{
		"\n\tpanic(s) \n}\n":       {Functions: 2, Balanced: 2, Long: 2, Parsed: 2, Checked: 2, Tried: 2},
		"\n\tpanic(unknown) \n}\n": {Functions: 2, Balanced: 2, Long: 2, Parsed: 2, Checked: 0, Tried: 2},
		"\n\tif { ) } \n}":         {Functions: 2, Balanced: 2, Long: 2, Tried: 2},
		"\n\tfor { ":               {Functions: 2},
	} {
		got, err := Run(context.Background(), functions, fixed(text), check, nil)
		if err != nil || *got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, *got, err, want)
		}
	}
}

// A text of one repeated phrase is continued by that phrase, and an unknown context by a shorter one.
func TestNGram(t *testing.T) {
	encode := func(s string) (ids []int32) {
		for _, b := range []byte(s) {
			ids = append(ids, int32(b))
		}
		return ids
	}
	decode := func(ids []int32) string {
		var b []byte
		for _, id := range ids {
			b = append(b, byte(id))
		}
		return string(b)
	}
	m := NewNGram(encode(strings.Repeat("abcde", 20)), encode, decode)
	got, n, err := m.Complete(context.Background(), "xxd", 7, func(string) bool { return true })
	if err != nil || got != "eabcdea" || n != 7 {
		t.Errorf("%q %d %v", got, n, err)
	}
}
