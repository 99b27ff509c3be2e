package gofuncs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A body is checked with the whole of its package: what it takes from other files and from imports is there, and what is wrong in it is found, but nothing that is wrong elsewhere.
func TestCheckerSeesThePackage(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":     "module p\n",
		"a.go":       "package p\n\nimport (\n\t\"sort\"\n\t\"strings\"\n)\n\nfunc longest(words []string) *word {\n\tsort.Strings(words)\n\treturn &word{text: strings.Join(words, sep)}\n}\n\nfunc other() int { return 1 }\n",
		"b.go":       "package p\n\n// word is a word.\ntype word struct{ text string }\n\nconst sep = \", \"\n\nfunc assembly(x int) int\n",
		"c_plan9.go": "package p\n\nfunc system() int {\n\treturn word{}.nothing()\n}\n",
		"b_test.go":  "package p\n\nfunc helper() { unknown() }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	read := func(p string) (string, error) {
		b, err := os.ReadFile(p)
		return string(b), err
	}
	functions, err := Find([]string{filepath.Join(dir, "a.go"), filepath.Join(dir, "c_plan9.go")}, read, 10)
	if err != nil || len(functions) != 3 {
		t.Fatalf("%d functions, %v", len(functions), err)
	}
	check := NewChecker()
	for _, f := range functions {
		if f.Name == "system" { // the file of another system has errors here as it stands
			if ok, tried := check.Body(f, f.Body); ok || tried || check.Stands(f) {
				t.Errorf("%s: checks %v, tried %v, stands %v", f.Name, ok, tried, check.Stands(f))
			}
			continue
		}
		if ok, tried := check.Body(f, f.Body); !ok || !tried || !check.Stands(f) {
			t.Errorf("%s: the original body checks %v, tried %v, stands %v", f.Name, ok, tried, check.Stands(f))
		}
		if f.Name != "longest" {
			continue
		}
		for body, want := range map[string]bool{
			"return nil }":                true, // both imports are unused now: the head's business
			"w := word{sep}; return &w }": true,
			"return &word{strings.ToUpper(words[assembly(0)])} }": true,
			"return &word{unknown} }":                             false,
			"return words }":                                      false,
			"w := word{sep}; return nil }":                        false, // declared and not used
			"return &word{strings.NoSuch(sep)} }":                 false,
			"x.y() }":                                             false,
			"":                                                    false, // no end
		} {
			if ok, tried := check.Body(f, " "+body); ok != want || !tried {
				t.Errorf("%q checks: %v, tried %v", body, ok, tried)
			}
		}
		if text, _ := read(f.Path); f.Before+f.Body+f.After != text || !strings.HasSuffix(f.Body, "}") {
			t.Errorf("parts of %s are not the file", f.Path)
		}
	}
}
