// Command go-functions asks whether a model's completions look like Go: held-out function headers of the Go sources are completed greedily, and what comes is balanced, parsed and
// type-checked, beside a 5-gram model of the same tokens.
//
//	go run ./tools/go-functions -m runs/mfa/model [-n 200] [-o docs/results/functions.md]
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/eval/gofuncs"
	_ "github.com/lowkeylm/lowkey/models" // mfa, mfa-kr
	"github.com/lowkeylm/lowkey/sample"
	"github.com/lowkeylm/lowkey/tokenizer"
	"github.com/lowkeylm/lowkey/train/data"
)

var (
	path  = flag.String("m", "mfa", "a model of the Go corpus")
	count = flag.Int("n", 200, "functions")
	kv    = flag.String("kv", "", "cache type")
	out   = flag.String("o", "", "append the table to this file")
	show  = flag.Int("show", 0, "print so many completions")
	ngram = flag.Bool("ngram", true, "also the 5-gram model")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "go-functions:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	corpus, err := data.Find(data.Spec{Source: "go"})
	if err != nil {
		return err
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	texts := map[string]string{}
	var files []string
	err = corpus.Each(func(p data.Part) error {
		if !p.Valid || strings.HasSuffix(p.Name, "_test.go") {
			return nil
		}
		name := filepath.Join(strings.TrimSpace(string(root)), filepath.FromSlash(p.Name))
		if texts[name] == "" {
			files = append(files, name)
		}
		texts[name] += p.Text
		return nil
	})
	if err != nil {
		return err
	}
	functions, err := gofuncs.Find(files, func(p string) (string, error) { return texts[p], nil }, *count)
	if err != nil {
		return err
	}
	m, err := lowkey.Load(*path, lowkey.Options{KV: *kv})
	if err != nil {
		return err
	}
	defer m.Close()
	completers := []struct {
		name string
		gofuncs.Completer
	}{{fmt.Sprintf("%s (%s)", *path, m.KV()), language{m}}}
	if *ngram {
		table, err := newNGram(ctx, corpus, m.Tokenizer)
		if err != nil {
			return err
		}
		completers = append(completers, struct {
			name string
			gofuncs.Completer
		}{"5-gram", table})
	}
	check := gofuncs.NewChecker()
	stands := 0
	for _, f := range functions {
		if check.Stands(f) {
			stands++
		}
	}
	fmt.Fprintf(os.Stderr, "of %d original bodies %d type-check\n", len(functions), stands)
	lines := fmt.Sprintf("%d functions of the validation side of %s, %s, at most %d tokens each, greedy. Ceiling: %s of the original bodies type-check on this system.\n\n",
		len(functions), corpus.Name, runtime.Version(), gofuncs.MostTokens, share(stands, len(functions)))
	lines += fmt.Sprintf("| model | braces balanced | of those, body of %d tokens or more | of these, parsed | type-checked, of those whose original body does | as the original |\n|---|---|---|---|---|---|\n", gofuncs.LongBody)
	for _, c := range completers {
		s, err := gofuncs.Run(ctx, functions, c, check, func(done, all int) {
			if done%20 == 0 {
				fmt.Fprintf(os.Stderr, "%s: %d of %d\n", c.name, done, all)
			}
		})
		if err != nil {
			return err
		}
		b, _ := json.Marshal(s)
		fmt.Fprintln(os.Stderr, string(b))
		lines += fmt.Sprintf("| %s | %s | %d | %s | %s | %d |\n", c.name, share(s.Balanced, s.Functions), s.Long, share(s.Parsed, s.Long), share(s.Checked, s.Tried), s.Verbatim)
	}
	fmt.Print(lines)
	for _, f := range functions[:min(*show, len(functions))] {
		text, _, err := language{m}.Complete(ctx, f.Before, gofuncs.MostTokens, gofuncs.Open)
		if err != nil {
			return err
		}
		fmt.Printf("--- %s\n%s%s\n", f.Path, f.Header, text)
	}
	if *out == "" {
		return nil
	}
	f, err := os.OpenFile(*out, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "    go run ./tools/go-functions %s\n\n%s\n", strings.Join(os.Args[1:], " "), lines)
	return err
}

func share(n, of int) string {
	if of == 0 {
		return "none"
	}
	return fmt.Sprintf("%d of %d (%.0f %%)", n, of, 100*float64(n)/float64(of))
}

// language completes with a model, from as much of the text before as its context holds.
type language struct{ m *lowkey.Model }

func (l language) Complete(ctx context.Context, prompt string, most int, more func(string) bool) (string, int, error) {
	ids := l.m.Tokenizer.Encode(prompt, tokenizer.EncodeOptions{})
	ids = ids[max(0, len(ids)-(l.m.Context-most-1)):]
	s := l.m.NewSession("")
	defer s.Close()
	text, tokens := "", 0
	for p, err := range s.Generate(ctx, l.m.Tokenizer.DecodePlain(ids), lowkey.Generation{MaxTokens: most, Raw: true, Sampling: sample.Options{Greedy: true}}, nil) {
		if err != nil {
			return "", 0, err
		}
		tokens++
		if text += p.Text; !more(text) {
			break
		}
	}
	return text, tokens, nil
}

func newNGram(ctx context.Context, corpus *data.Corpus, t *tokenizer.Tokenizer) (*gofuncs.NGram, error) {
	set, err := corpus.Open(ctx, t, "", nil)
	if err != nil {
		return nil, err
	}
	defer set.Close()
	var all []int32
	for b, err := range set.Train.Windows(16, 1024, 0) {
		if err != nil {
			return nil, err
		}
		all = append(all, b.IDs...)
	}
	encode := func(text string) []int32 { return t.Encode(text, tokenizer.EncodeOptions{}) }
	return gofuncs.NewNGram(all, encode, t.DecodePlain), nil
}
