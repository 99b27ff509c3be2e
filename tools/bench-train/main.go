// Command bench-train times training of one shape here and in PyTorch, in turn on the same machine, and prints the ratios.
//
//	go run ./tools/bench-train -python /path/to/python [-n 3] [-o docs/results/training-speed.md]
//
// The Python must have torch 2.x (pip install torch). Without -python only this program's side is timed. Each turn is a process of its own; peak memory is the process's.
package main

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/train"
	"github.com/lowkeylm/lowkey/train/optim"
)

//go:embed torch_train.py
var torchScript string

// result is one run of either side.
type result struct {
	Parameters int64   `json:"parameters"`
	PerSecond  float64 `json:"tokens_per_second"`
	Peak       int64   `json:"peak_bytes"`
}

type side struct {
	name string
	run  func(context.Context) (*result, error)
	got  []*result
}

var (
	python  = flag.String("python", "", "a Python with torch")
	turns   = flag.Int("n", 3, "turns")
	out     = flag.String("o", "", "write the table and the raw lines to this file")
	steps   = flag.Int("steps", 6, "timed steps of a run")
	batch   = flag.Int("batch", 16, "rows")
	seq     = flag.Int("seq", 256, "tokens of a row")
	threads = flag.Int("threads", runtime.GOMAXPROCS(0), "threads")
	bf16    = flag.Bool("bf16", false, "also PyTorch's bfloat16 autocast")
	own     = flag.String("own", "", "internal: run this program's side once; a file name writes a CPU profile there, - none")
)

const hidden, layers, heads, ffn, vocab = 256, 6, 4, 680, 512

func main() {
	flag.Parse()
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench-train:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	if *own != "" {
		return ownSide(ctx)
	}
	sides := []*side{{name: "lowkey, f32", run: func(ctx context.Context) (*result, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		return start(ctx, self, "-own", "-", fmt.Sprintf("-steps=%d", *steps), fmt.Sprintf("-batch=%d", *batch), fmt.Sprintf("-seq=%d", *seq), fmt.Sprintf("-threads=%d", *threads))
	}}}
	if *python != "" {
		sides = append(sides, torch("PyTorch eager, f32", "f32", false), torch("PyTorch compiled, f32", "f32", true))
		if *bf16 {
			sides = append(sides, torch("PyTorch bf16 autocast", "bf16", false), torch("PyTorch compiled, bf16 autocast", "bf16", true))
		}
	}
	var raw bytes.Buffer
	for turn := range *turns {
		for _, s := range sides {
			r, err := s.run(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			s.got = append(s.got, r)
			line := fmt.Sprintf("turn %d  %-34s %9.0f tok/s  peak %6.0f MB  %d parameters", turn+1, s.name, r.PerSecond, float64(r.Peak)/1e6, r.Parameters)
			fmt.Fprintln(os.Stderr, line)
			fmt.Fprintln(&raw, line)
		}
	}
	var w io.Writer = os.Stdout
	if *out != "" {
		f, err := os.Create(*out)
		if err != nil {
			return err
		}
		defer f.Close()
		w = io.MultiWriter(os.Stdout, f)
	}
	fmt.Fprintf(w, "# Training speed\n\n%s, %d threads, kernel level %s, %s. Decoder of width %d, %d layers, %d heads, MLP %d, vocabulary %d; %d rows of %d tokens; AdamW, gradient clipping. Medians of %d turns, sides in turn.\n\n",
		time.Now().Format("2006-01-02"), *threads, kernel.Level(), cpu(), hidden, layers, heads, ffn, vocab, *batch, *seq, *turns)
	fmt.Fprintf(w, "    %s\n\n| | tokens/s | lowkey is | peak memory | lowkey takes |\n|---|---|---|---|---|\n", strings.Join(append([]string{"go run ./tools/bench-train"}, os.Args[1:]...), " "))
	speed, peak := sides[0].median()
	for _, s := range sides {
		p, m := s.median()
		fmt.Fprintf(w, "| %s | %.0f | %.2fx | %.0f MB | %.2fx |\n", s.name, p, speed/p, m/1e6, peak/m)
	}
	fmt.Fprintf(w, "\nRaw:\n\n%s", indent(raw.String()))
	return nil
}

func (s *side) median() (speed, peak float64) {
	var speeds, peaks []float64
	for _, r := range s.got {
		speeds, peaks = append(speeds, r.PerSecond), append(peaks, float64(r.Peak))
	}
	slices.Sort(speeds)
	slices.Sort(peaks)
	return speeds[len(speeds)/2], peaks[len(peaks)/2]
}

func torch(name, dtype string, compile bool) *side {
	return &side{name: name, run: func(ctx context.Context) (*result, error) {
		spec, _ := json.Marshal(map[string]any{"hidden": hidden, "layers": layers, "heads": heads, "ffn": ffn, "vocab": vocab, "batch": *batch, "seq": *seq, "steps": *steps, "threads": *threads,
			"dtype": dtype, "compile": compile})
		return start(ctx, *python, "-c", torchScript, string(spec))
	}}
}

// start runs a side and reads the last line of what it prints.
func start(ctx context.Context, name string, args ...string) (*result, error) {
	c := exec.CommandContext(ctx, name, args...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	text, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	r := &result{}
	return r, json.Unmarshal([]byte(lines[len(lines)-1]), r)
}

// ownSide trains here, and prints one line of JSON.
func ownSide(ctx context.Context) error {
	if *own != "-" {
		f, err := os.Create(*own)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	shape := train.Shape{Design: "mha", Vocab: vocab, Context: *seq, Hidden: hidden, Layers: layers, HeadDim: hidden / heads, FFN: ffn, Untied: true}
	s := train.Settings{Seq: *seq, Batch: *batch, Accumulate: 1, Optimizer: "adamw", Schedule: optim.Schedule{Shape: optim.Constant, Peak: 1e-3, Steps: 1}, Decay: 0.1, Beta1: 0.9, Beta2: 0.95, Clip: 1, Seed: 1}
	r, err := train.MeasureSpeed(ctx, shape, s, *steps, *threads)
	if err != nil {
		return err
	}
	b, _ := json.Marshal(result{r.Parameters, r.PerSecond, peakBytes()})
	fmt.Println(string(b))
	return nil
}

// peakBytes is the most memory the process had resident, where /proc tells; else 0.
func peakBytes() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		var kb int64
		if n, _ := fmt.Sscanf(lines.Text(), "VmHWM: %d kB", &kb); n == 1 {
			return kb * 1024
		}
	}
	return 0
}

func cpu() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for _, line := range strings.Split(string(b), "\n") {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimLeft(name, "\t :")
		}
	}
	return runtime.GOARCH
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n    ") + "\n"
}
