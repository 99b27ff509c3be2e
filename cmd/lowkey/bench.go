package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/bench"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kvcache"
)

// benchFlags are the flags of bench.
type benchFlags struct {
	modelFlags
	pp, depths, plot, text               string
	tg, reps, seqs                       int
	positions, window, skip              int
	quality, shares, kernels, floor, raw bool
}

func benchCommand() *cobra.Command {
	f := &benchFlags{}
	c := &cobra.Command{
		Use:   "bench -m MODEL",
		Short: "Measure prompt and decode speed by cache type and depth, beside the machine's floor and the cost in quality",
		Long: `Measure prompt and decode speed by cache type and depth: how fast a prompt of --pp tokens is computed, and how fast --tg tokens are decoded, after so many tokens in
the cache; prompts also from an empty cache. Every speed stands beside its share of the floor that this machine sets: the time to read the weights and the
cached rows once, or to do the multiply-adds, whichever is longer, both measured here. Every cache type stands beside its cost in quality: the mean Kullback-Leibler divergence
(nats) and the top-1 agreement of its next-token distributions with lowkey's own run in f32, on a built-in text or on --text.

Depths may pass the trained context: for timing only, and said so.`,
		Example: `  lowkey bench -m SmolLM2-135M-Instruct.Q4_1.gguf
  lowkey bench -m model.gguf --kv "f16 k=q8,v=q4" --depths 0,4096 --plot speed.png
  lowkey bench -m model.gguf --seqs 16 --pp 128 --tg 32
  lowkey bench -m model.gguf --text book.txt --positions 2000 --depths "" --pp ""
  lowkey bench -m model.gguf --kernels
  lowkey bench --floor`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.bench(c) },
	}
	f.add(c)
	p := c.Flags()
	p.Lookup("kv").Usage = "cache types: f16,q8,q4, or by stream and separated by blanks, \"f16 k=q8,v=q4\" (default: all that the model can have)"
	p.MarkHidden("ctx")
	delete(p.Lookup("model").Annotations, cobra.BashCompOneRequiredFlag) // --floor needs none
	p.StringVar(&f.pp, "pp", "512", "lengths of prompts, each measured from an empty cache and at each depth")
	p.StringVar(&f.depths, "depths", "0,512,4096,8192", "tokens in the cache before a prompt or decoding")
	p.IntVar(&f.tg, "tg", 32, "tokens decoded at each depth; 0 measures prompts alone")
	p.IntVar(&f.reps, "reps", 3, "runs of each; the median counts")
	p.IntVar(&f.seqs, "seqs", 1, "with more than 1: so many sequences of --pp and --tg tokens together, and nothing else unless --depths is given")
	p.BoolVar(&f.quality, "quality", true, "measure quality")
	p.StringVar(&f.text, "text", "", "measure quality on this file instead of the built-in text")
	p.IntVar(&f.positions, "positions", 256, "positions of the text that are scored")
	p.IntVar(&f.window, "window", 512, "tokens of the text that are one sequence")
	p.IntVar(&f.skip, "skip", 0, "positions at the start of each window that are not scored")
	p.BoolVar(&f.shares, "shares", true, "measure the machine, for floors and shares")
	p.BoolVar(&f.kernels, "kernels", false, "measure the products of the model's matrices instead, with 1, 16 and 512 rows")
	p.BoolVar(&f.floor, "floor", false, "measure the machine instead: reading memory at several sizes, and peaks")
	p.StringVar(&f.plot, "plot", "", "draw decode and prompt time against depth into FILE.png or FILE.svg")
	p.BoolVar(&f.raw, "lines", false, "print one line of name=value pairs for each measurement, for scripts")
	p.BoolVar(&f.json, "json", false, "print JSON")
	return c
}

func (f *benchFlags) bench(c *cobra.Command) error {
	if c.Flags().Changed("ctx") {
		return fault.New(fault.BadInput, "--ctx", "bench chooses the context", "by --depths, --pp and --tg", "leave it out")
	}
	progress, clear := progressLine()
	defer clear()
	if f.floor {
		return f.machine(progress, clear)
	}
	if f.path == "" {
		return fault.New(fault.BadInput, "bench", "no model", "", "give one with -m, or measure the machine alone with --floor")
	}
	load, err := f.options()
	if err != nil {
		return err
	}
	if f.kernels {
		m, products, err := bench.Kernels(c.Context(), f.path, load, []int{1, 16, 512}, progress)
		clear()
		if err != nil {
			return err
		}
		if f.json {
			return printJSON(map[string]any{"model": f.path, "machine": m, "products": products})
		}
		return printProducts(m, products)
	}
	o := bench.Options{Load: load, Decode: f.tg, Reps: f.reps, NoFloor: !f.shares, Progress: progress}
	if o.KV, err = bench.ParseKV(f.kv); err != nil {
		return err
	}
	if len(o.KV) == 0 {
		o.SkipKV = true
		for _, t := range kvcache.Types {
			o.KV = append(o.KV, t.String())
		}
	}
	if o.Prompts, err = numbers("--pp", f.pp); err != nil {
		return err
	}
	if o.Depths, err = numbers("--depths", f.depths); err != nil {
		return err
	}
	if f.seqs > 1 {
		if len(o.Prompts) != 1 {
			return fault.New(fault.BadInput, "--pp "+f.pp, "several sequences have prompts of one length", "", "give one number")
		}
		o.Batch = &bench.BatchOptions{Sequences: f.seqs, Prompt: o.Prompts[0], Decode: f.tg}
		if o.Prompts = nil; !c.Flags().Changed("depths") {
			o.Depths = nil
		}
	}
	if f.quality {
		o.Quality = &bench.QualityOptions{Positions: f.positions, Window: f.window, Skip: f.skip}
		if f.text != "" {
			if o.Quality.Text, err = f.readText(f.text); err != nil {
				return err
			}
		}
	}
	if f.plot != "" {
		if err := bench.CheckPlot(f.plot); err != nil {
			return err
		}
	}
	r, err := bench.Run(c.Context(), f.path, o)
	clear()
	if err != nil {
		return err
	}
	if f.plot != "" {
		if err := bench.Plot(r, f.plot); err != nil {
			return err
		}
	}
	switch {
	case f.json:
		return printJSON(r)
	case f.raw:
		printLines(r)
		return nil
	}
	return printBench(r)
}

// numbers reads "0,512,4096"; empty is none.
func numbers(flag, text string) ([]int, error) {
	var list []int
	for _, word := range strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' }) {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 {
			return nil, fault.New(fault.BadInput, flag+" "+text, fmt.Sprintf("%q is no count", word), "", "write numbers with commas: 0,512,4096")
		}
		list = append(list, n)
	}
	return list, nil
}

// progressLine says what is being measured, on one line of the terminal that clear wipes; where standard error is no terminal it says nothing.
func progressLine() (say func(string), clear func()) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return func(string) {}, func() {}
	}
	return func(text string) { fmt.Fprintf(os.Stderr, "\r\033[K%s ...", text) }, func() { fmt.Fprint(os.Stderr, "\r\033[K") }
}

func (f *benchFlags) machine(progress func(string), clear func()) error {
	threads := f.threads
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	ms, err := bench.MachineFloor(threads, 1<<30, progress)
	clear()
	if err != nil {
		return err
	}
	if f.json {
		return printJSON(ms)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	row(w, "threads", "f32 Gop/s", "int8 Gop/s")
	for _, b := range ms[0].Read {
		fmt.Fprintf(w, "read %s\t", lowkey.Bytes(b.Bytes))
	}
	fmt.Fprintln(w)
	for _, m := range ms {
		row(w, m.Threads, fixed(m.PeakF32, 0), fixed(m.PeakInt8, 0))
		for _, b := range m.Read {
			fmt.Fprintf(w, "%.1f GB/s\t", b.GBPerSec)
		}
		fmt.Fprintln(w)
	}
	fmt.Println(describeMachine(ms[len(ms)-1]))
	return w.Flush()
}

func describeMachine(m *bench.Machine) string {
	return fmt.Sprintf("%s, %d cores, %s, %s kernels, %s", m.CPU, m.Cores, m.System, m.Level, m.Go)
}

func row(w *tabwriter.Writer, cells ...any) {
	for _, c := range cells {
		fmt.Fprintf(w, "%v\t", c)
	}
}

func fixed(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }

func share(f *bench.Floor) string {
	if f == nil {
		return ""
	}
	return fmt.Sprintf(" (%.0f%%)", 100*f.Share)
}

// printBench prints a table for decoding, for each length of prompts and for the batch, one line a cache type: its speed by depth and its cost side by side. Then come the
// lines of cost by depth.
func printBench(r *bench.Report) error {
	fmt.Printf("%s: weights %s packed, %s activations, %s numerics, %d threads; tokens/s, median of %d", filepath.Base(r.Model), lowkey.Bytes(r.Weights), r.Activations, r.Numerics, r.Threads, r.Reps)
	if r.Machine != nil {
		fmt.Printf(", (share of the machine's floor)\n%s; peaks %.0f f32 and %.0f int8 Gop/s", describeMachine(r.Machine), r.Machine.PeakF32, r.Machine.PeakInt8)
		for i, b := range r.Machine.Read {
			fmt.Printf("%s %.0f GB/s of %s", [2]string{"; reads", ","}[min(i, 1)], b.GBPerSec, lowkey.Bytes(b.Bytes))
		}
	}
	fmt.Println()
	for _, t := range benchTables(r.KV) {
		if err := t.print(r.KV); err != nil {
			return err
		}
	}
	first := r.KV[0]
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	if first.Line != nil {
		fmt.Printf("\ncost of a decoded token = ms at an empty cache + ns a row of context\n\n")
		row(w, "kv", "ms", "ns/row", "off the line")
		if r.Machine != nil {
			row(w, "floor ns/row", "ratio", "share", "bound by", "bytes/row", "kflop/row", "x MHA's")
		}
		fmt.Fprintln(w)
		for _, k := range r.KV {
			l := k.Line
			row(w, k.KV, fixed(l.MsAtZero, 3), fixed(l.NsPerRow, 1), fmt.Sprintf("%.1f%%", 100*l.OffLine))
			if r.Machine != nil {
				row(w, fixed(l.FloorNsPerRow, 1), fixed(l.Ratio, 2), fmt.Sprintf("%.0f%%", 100*l.Share), l.Bound, fixed(l.RowBytes, 0), fixed(l.RowOps/1e3, 1), fixed(l.RowOpsOfMHA, 1))
			}
			fmt.Fprintln(w)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	fmt.Println()
	for _, s := range first.Prefill {
		if s.Passes > 0 {
			fmt.Printf("prompt of %d at depth %d: %.1f passes a token (%s)\n", s.Tokens, s.Depth, s.Passes, first.KV)
		}
	}
	if q := first.Quality; q != nil {
		fmt.Printf("quality: %d positions against f32 activations and f32 cache\n", q.Positions)
	}
	if r.PastTrained {
		fmt.Printf("the model was trained for %d tokens: what lies deeper is for timing only\n", r.Trained)
	}
	for _, n := range r.Notes {
		fmt.Println(n)
	}
	return nil
}

// benchTable is a table of a report: a title, and after a type's name and size some cells of its own.
type benchTable struct {
	title string
	heads []string
	cells func(k *bench.Result) []string
}

// benchTables are those that the results have something for. All types have been measured alike.
func benchTables(kv []*bench.Result) (out []benchTable) {
	first := kv[0]
	speeds := func(title string, of func(k *bench.Result) []bench.Speed) {
		t := benchTable{title: title + " after so many in the cache", cells: func(k *bench.Result) (cells []string) {
			for _, s := range of(k) {
				cells = append(cells, fixed(s.TokensPerSec, 1)+share(s.Floor))
			}
			return cells
		}}
		for _, s := range of(first) {
			t.heads = append(t.heads, fmt.Sprintf("@%d", s.Depth))
		}
		out = append(out, t)
	}
	var lengths []int
	for _, s := range first.Prefill {
		if !slices.Contains(lengths, s.Tokens) {
			lengths = append(lengths, s.Tokens)
		}
	}
	for _, n := range lengths {
		speeds(fmt.Sprintf("a prompt of %d tokens", n), func(k *bench.Result) []bench.Speed {
			return slices.DeleteFunc(slices.Clone(k.Prefill), func(s bench.Speed) bool { return s.Tokens != n })
		})
	}
	if len(first.Decode) > 0 {
		speeds(fmt.Sprintf("%d tokens decoded", first.Decode[0].Tokens), func(k *bench.Result) []bench.Speed { return k.Decode })
	}
	if b := first.Batch; b != nil {
		out = append(out, benchTable{fmt.Sprintf("%d sequences together, each a prompt of %d tokens and %d decoded", b.Sequences, b.Prompt, b.Decode), []string{"in all", "prompts", "decode"},
			func(k *bench.Result) []string {
				b := k.Batch
				return []string{fixed(b.TokensPerSec, 1) + share(b.Floor), fixed(b.PrefillPerSec, 1), fixed(b.DecodePerSec, 1) + share(b.DecodeFloor)}
			}})
	}
	if len(out) == 0 {
		out = append(out, benchTable{"quality", nil, func(*bench.Result) []string { return nil }})
	}
	return out
}

// print writes the table; what a type costs in quality stands on the same line as what it gives.
func (t *benchTable) print(kv []*bench.Result) error {
	fmt.Printf("\n%s\n\n", t.title)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	row(w, "kv", "B/token")
	cells(w, t.heads)
	if kv[0].Quality != nil {
		row(w, "mean KL", "+-", "top-1")
	}
	fmt.Fprintln(w)
	for _, k := range kv {
		row(w, k.KV, k.BytesPerToken)
		cells(w, t.cells(k))
		if q := k.Quality; q != nil {
			row(w, fixed(q.MeanKL, 5), fixed(q.Error, 5), fixed(q.Top1, 3))
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

func cells(w *tabwriter.Writer, list []string) {
	for _, c := range list {
		row(w, c)
	}
}

// printLines prints measurements for scripts. Rates are tokens/s.
func printLines(r *bench.Report) {
	base := fmt.Sprintf("model=%s numerics=%s threads=%d reps=%d", filepath.Base(r.Model), r.Numerics, r.Threads, r.Reps)
	floor := func(f *bench.Floor) string {
		if f == nil {
			return ""
		}
		return fmt.Sprintf(" floor_ms=%.4f share=%.3f", f.MsPerToken, f.Share)
	}
	for _, k := range r.KV {
		kv := " kv=" + strings.ReplaceAll(k.KV, " ", "")
		for _, s := range k.Prefill {
			fmt.Printf("lowkey prefill %s%s depth=%d tokens=%d tok/s=%.2f%s\n", base, kv, s.Depth, s.Tokens, s.TokensPerSec, floor(s.Floor))
		}
		for _, s := range k.Decode {
			fmt.Printf("lowkey decode %s%s depth=%d tokens=%d tok/s=%.2f%s\n", base, kv, s.Depth, s.Tokens, s.TokensPerSec, floor(s.Floor))
		}
		if b := k.Batch; b != nil {
			fmt.Printf("lowkey batch %s%s sequences=%d prompt=%d tokens=%d tok/s=%.2f prefill=%.2f decode=%.2f%s\n", base, kv, b.Sequences, b.Prompt, b.Decode, b.TokensPerSec,
				b.PrefillPerSec, b.DecodePerSec, floor(b.Floor))
		}
		if l := k.Line; l != nil {
			fmt.Printf("lowkey line %s%s ns_per_row=%.2f floor_ns_per_row=%.2f ms_at_zero=%.4f off_line=%.4f\n", base, kv, l.NsPerRow, l.FloorNsPerRow, l.MsAtZero, l.OffLine)
		}
		if q := k.Quality; q != nil {
			fmt.Printf("lowkey quality %s%s positions=%d mean_kl=%.6f error=%.6f top1=%.4f\n", base, kv, q.Positions, q.MeanKL, q.Error, q.Top1)
		}
	}
}

func printProducts(m *bench.Machine, products []bench.Product) error {
	fmt.Printf("%s; %d threads, peaks %.0f f32 and %.0f int8 Gop/s\n\n", describeMachine(m), m.Threads, m.PeakF32, m.PeakInt8)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	row(w, "matrices", "format", "N x K", "of", "rows", "kernel", "us", "Gop/s", "GB/s", "share", "bound by")
	fmt.Fprintln(w)
	for _, p := range products {
		row(w, p.Matrices, p.Format, fmt.Sprintf("%d x %d", p.N, p.K), p.Count, p.M, p.Kernel, fixed(p.Micros, 1), fixed(p.Gops, 0), fixed(p.GBPerSec, 1),
			fmt.Sprintf("%.0f%%", 100*p.Share), p.Bound)
		fmt.Fprintln(w)
	}
	return w.Flush()
}
