// Command bench-peers runs lowkey and the C++ engines people use today in turn on one machine, and prints both engines' own lines, medians and ratios.
//
//	go run ./tools/bench-peers -m MODEL.gguf --llama DIR [--ik DIR] [-o RESULT.md] [--rows decode-0,prefill-512] [--quiet 1h]
//
// DIR holds llama-bench and llama-batched-bench: of llama.cpp, and of its fork ik_llama.cpp. Nothing else should run meanwhile: a busy neighbour stalls every engine's
// threads, and not alike. The tool builds lowkey once, reads the model once into the file cache, and then takes row after row; in a row the engines take turns, so that what
// the machine does meanwhile meets all of them. It will not choose settings in lowkey's favour: batch sizes are the peers' defaults, flash attention is on, and the fork
// runs with and without repacking; the best of a peer's settings counts.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench-peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("bench-peers", flag.ContinueOnError)
	s := &setting{}
	f.StringVar(&s.model, "m", "", "the model, a .gguf file that all engines read (required)")
	f.StringVar(&s.llama, "llama", "", "folder with llama.cpp's llama-bench and llama-batched-bench")
	f.StringVar(&s.ik, "ik", "", "folder with ik_llama.cpp's")
	f.StringVar(&s.lowkey, "lowkey", "", "a built lowkey (default: built from this module)")
	f.IntVar(&s.threads, "t", runtime.NumCPU(), "threads of every engine")
	f.BoolVar(&s.slowQ4, "slow-q4", false, "run the peers with a q4_0 cache too: filling it takes them minutes a run")
	quietFor := f.Duration("quiet", 0, "for so long, wait before each run until nothing else runs, and repeat runs that were disturbed")
	n := f.Int("n", 5, "alternations")
	names := f.String("rows", "", "rows to run, with commas (default: all); \"list\" prints them")
	out := f.String("o", "", "also write the result, with raw lines, to this file (Markdown), after every row")
	if err := f.Parse(args); err != nil {
		if err == flag.ErrHelp {
			return nil
		}
		return err
	}
	rows, err := choose(*names)
	if err != nil {
		return err
	}
	if *names == "list" {
		for _, r := range rows {
			fmt.Printf("%-20s %s\n", r.name, r.title)
		}
		return nil
	}
	if s.model == "" || s.llama == "" && s.ik == "" || *n < 1 || f.NArg() > 0 {
		return fmt.Errorf("give -m MODEL and at least one of --llama DIR and --ik DIR (see --help)")
	}
	for _, path := range []*string{&s.model, &s.llama, &s.ik, &s.lowkey} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	for _, dir := range []string{s.llama, s.ik} {
		for _, name := range []string{"llama-bench", "llama-batched-bench"} {
			if dir == "" {
				continue
			}
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				return fmt.Errorf("%s has no %s: build it first", dir, name)
			}
		}
	}
	if err := warm(s.model); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "bench-peers-*"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	if s.lowkey == "" {
		s.lowkey = filepath.Join(s.dir, "lowkey")
		build := exec.CommandContext(ctx, "go", "build", "-o", s.lowkey, "github.com/lowkeylm/lowkey/cmd/lowkey")
		if text, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("building lowkey: %w\n%s", err, text)
		}
	}
	r := &result{about: describe(s, *n)}
	fmt.Print(r.about)
	s.quietUntil = time.Now().Add(*quietFor)
	for _, w := range rows {
		measured := measure(ctx, w, s, *n, os.Stdout)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.rows = append(r.rows, measured)
		if *out != "" {
			if err := os.WriteFile(*out, []byte(r.markdown()), 0o644); err != nil {
				return err
			}
		}
	}
	fmt.Print("\n" + r.table())
	return nil
}

// choose finds rows by name; none named means all.
func choose(names string) ([]row, error) {
	all := allRows()
	if names == "" || names == "list" {
		return all, nil
	}
	var out []row
	for _, name := range strings.Split(names, ",") {
		i := slices.IndexFunc(all, func(r row) bool { return r.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("no row is called %q: --rows list prints them", name)
		}
		out = append(out, all[i])
	}
	return out, nil
}

// warm reads the model once.
func warm(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}
