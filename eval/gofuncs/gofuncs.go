// Package gofuncs asks whether a model's completions look like Go: it gives the text of a file up to the opening brace of a function, lets the model go on until the braces balance, and
// parses and type-checks what came.
//
// It measures form, not sense: a body that type-checks may still do nothing useful. A 5-gram model of the same tokens stands beside as the measure of what mere copying gives.
package gofuncs

import (
	"context"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"hash/fnv"
	"path/filepath"
	"slices"
	"strings"
)

// Function is a held-out function of a file.
type Function struct {
	Path   string // of the file
	Name   string
	Before string // the file's text up to and including the body's opening brace
	Body   string // the original body, up to and including its closing brace
	After  string // the file's text after it
	Header string // from the func keyword to the opening brace
}

// Find picks at most n functions from files, spread over them by a hash of path and name, so that the same files give the same functions. Files that do not parse are left out.
func Find(files []string, read func(path string) (string, error), n int) ([]Function, error) {
	type candidate struct {
		key uint64
		f   Function
	}
	var all []candidate
	for _, path := range files {
		text, err := read(path)
		if err != nil {
			return nil, err
		}
		fset := token.NewFileSet()
		tree, err := parser.ParseFile(fset, path, text, parser.SkipObjectResolution)
		if err != nil {
			continue
		}
		var own []candidate
		for _, d := range tree.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil || len(fn.Body.List) == 0 {
				continue
			}
			at := func(p token.Pos) int { return fset.Position(p).Offset }
			h := fnv.New64a()
			h.Write([]byte(filepath.ToSlash(path) + " " + fn.Name.Name))
			own = append(own, candidate{h.Sum64(), Function{Path: path, Name: fn.Name.Name, Before: text[:at(fn.Body.Lbrace)+1], Body: text[at(fn.Body.Lbrace)+1 : at(fn.Body.Rbrace)+1],
				After: text[at(fn.Body.Rbrace)+1:], Header: text[at(fn.Pos()) : at(fn.Body.Lbrace)+1]}})
		}
		slices.SortFunc(own, func(a, b candidate) int { return compare(a.key, b.key) })
		all = append(all, own[:min(2, len(own))]...) // two a file, lest a large one decide
	}
	slices.SortFunc(all, func(a, b candidate) int { return compare(a.key, b.key) })
	var out []Function
	for _, c := range all[:min(n, len(all))] {
		out = append(out, c.f)
	}
	return out, nil
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Completer goes on from a text token by token, greedily. It stops after max tokens, or when more returns false.
type Completer interface {
	Complete(ctx context.Context, prompt string, max int, more func(text string) bool) (text string, tokens int, err error)
}

// Score counts what became of the functions.
type Score struct {
	Functions int `json:"functions"`
	Balanced  int `json:"balanced"`         // the braces closed within the limit
	Long      int `json:"balanced_long"`    // of those, with at least LongBody tokens in the body
	Parsed    int `json:"parsed"`           // of Long: go/parser accepts the function
	Checked   int `json:"checked"`          // of Long: go/types finds no error in the body, in its package
	Tried     int `json:"checked_of"`       // of Long: functions whose original body checks
	Verbatim  int `json:"same_as_original"` // of Balanced: equal to the original but for spaces
}

// LongBody is the number of tokens from which a body counts as one.
const LongBody = 20

// MostTokens bounds a completion.
const MostTokens = 256

// Run completes every function.
func Run(ctx context.Context, functions []Function, c Completer, check *Checker, progress func(done, all int)) (*Score, error) {
	s := &Score{Functions: len(functions)}
	for i, f := range functions {
		if progress != nil {
			progress(i, len(functions))
		}
		text, tokens, err := c.Complete(ctx, f.Before, MostTokens, Open)
		if err != nil {
			return nil, err
		}
		end := balancedAt(text)
		if end < 0 {
			continue
		}
		body := text[:end]
		s.Balanced++
		if slices.Equal(strings.Fields(body), strings.Fields(f.Body)) {
			s.Verbatim++
		}
		if tokens < LongBody {
			continue
		}
		s.Long++
		if parses(f.Header + body) {
			s.Parsed++
		}
		if check != nil {
			if ok, tried := check.Body(f, body); tried {
				s.Tried++
				if ok {
					s.Checked++
				}
			}
		}
	}
	return s, nil
}

// Open reports whether a text still leaves the body open that was opened before it.
func Open(text string) bool { return balancedAt(text) < 0 }

// Unfinished reports whether a text leaves braces of its own open.
func Unfinished(text string) bool {
	_, depth := braces(text, 0)
	return depth > 0
}

// balancedAt returns the length of text up to and including the brace that closes a body opened before it, or -1.
func balancedAt(text string) int {
	if !strings.Contains(text, "}") {
		return -1
	}
	at, _ := braces(text, 1)
	return at
}

// braces follows text from a depth of braces to where they first are all closed (at is behind that brace, else -1), or to the end. Braces in strings and comments do not count.
func braces(text string, depth int) (at, end int) {
	top := depth == 0 // then closing is no end
	fset := token.NewFileSet()
	var s scanner.Scanner
	file := fset.AddFile("", -1, len(text))
	s.Init(file, []byte(text), func(token.Position, string) {}, 0)
	for {
		pos, tok, _ := s.Scan()
		switch tok {
		case token.EOF:
			return -1, depth
		case token.LBRACE:
			depth++
		case token.RBRACE:
			if depth = max(depth-1, 0); depth == 0 && !top {
				return file.Offset(pos) + 1, 0
			}
		}
	}
}

func parses(function string) bool {
	_, err := parser.ParseFile(token.NewFileSet(), "", "package p\n"+function, parser.SkipObjectResolution)
	return err == nil
}
