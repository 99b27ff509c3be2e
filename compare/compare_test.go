package compare

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/train"
	"github.com/lowkeylm/lowkey/train/data"
	"github.com/lowkeylm/lowkey/train/optim"
)

func sources(t *testing.T) string {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	dir := t.TempDir()
	for i := range 30 {
		var b strings.Builder
		for j := range 60 {
			fmt.Fprintf(&b, "func f%d(x int) int { return x + %d }\n", (i*7+j)%31, j%10)
		}
		os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d.go", i)), []byte(b.String()), 0o666)
	}
	return dir
}

func tinyPlan(source string) *Plan {
	return &Plan{Command: "test", Designs: []string{"mha", "mfa:head-dim=8", "mfa-kr"}, Seeds: 2, Repeated: []string{"mha", "mfa-kr"}, Rates: []float64{0.003, 0.01}, Share: 2, Vocab: 280, Depths: []int{0, 16},
		Shape: train.Shape{Hidden: 32, Layers: 1, Context: 256, HeadDim: 8},
		Settings: train.Settings{Data: data.Spec{Source: source, Valid: 0.1}, Seq: 16, Batch: 2, Accumulate: 1, Optimizer: "adamw",
			Schedule: optim.Schedule{Shape: optim.Cosine, Peak: 1, Warmup: 1, Steps: 6, Final: 0.1}, Decay: 0.1, Beta1: 0.9, Beta2: 0.95, Clip: 1}}
}

// A queue that is stopped in the middle of a row and opened again gives the same results as one that ran through.
func TestQueue(t *testing.T) {
	source := sources(t)
	var reports [2]*Summary
	for i := range reports {
		dir := filepath.Join(t.TempDir(), "queue")
		q, err := New(dir, tinyPlan(source))
		if err != nil {
			t.Fatal(err)
		}
		for round := 0; ; round++ {
			q.Threads, q.Note = 1, func(string) {}
			ctx, cancel := context.WithCancel(context.Background())
			steps := 0
			q.Step = func(Row, *train.Step, int) {
				if steps++; i == 1 && steps == 7 {
					cancel()
				}
			}
			if err := q.Run(ctx); err != nil {
				t.Fatal(err)
			}
			cancel()
			if q.Summary().Left == 0 {
				break
			}
			if i == 0 || round > 20 {
				t.Fatal("rows are left")
			}
			if q, err = Open(dir); err != nil {
				t.Fatal(err)
			}
		}
		reports[i] = q.Summary()
		page, err := os.ReadFile(filepath.Join(dir, "report.html"))
		if err != nil || bytes.Count(page, []byte("<svg")) != 2 || !bytes.Contains(page, []byte("mfa:head-dim=8")) || bytes.Contains(page, []byte("http://")) && !bytes.Contains(page, []byte("www.w3.org")) {
			t.Errorf("report.html of %d bytes, %v", len(page), err)
		}
		if b, _ := os.ReadFile(filepath.Join(dir, "loss-bytes.svg")); !bytes.Contains(b, []byte("<svg")) || !bytes.Contains(b, []byte("mfa:head-dim=8")) {
			t.Errorf("loss-bytes.svg of %d bytes", len(b))
		}
		if b, _ := os.ReadFile(filepath.Join(dir, "results.json")); !json.Valid(b) {
			t.Error("results.json")
		}
		if _, err := New(dir, tinyPlan(source)); err == nil {
			t.Error("a second comparison in the same folder")
		}
	}
	a, b := reports[0], reports[1]
	if len(a.Lines) != 3 || len(a.Rows) != 5 || len(a.Sweeps) != 6 {
		t.Fatalf("%d lines, %d rows, %d sweeps", len(a.Lines), len(a.Rows), len(a.Sweeps))
	}
	for i, l := range a.Lines {
		if l.Loss != b.Lines[i].Loss || l.Rate != b.Lines[i].Rate {
			t.Errorf("%s: loss %v at %v, after interruptions %v at %v", l.Design, l.Loss, l.Rate, b.Lines[i].Loss, b.Lines[i].Rate)
		}
		if l.Allocated < l.BytesPerToken || len(l.Decode) != 2 || l.Decode[1].Speed <= 0 || l.Prefill <= 0 || l.Passkey == nil || l.PasskeyNLL <= 0 {
			t.Errorf("%s: %+v", l.Design, l)
		}
	}
	// MHA of width 32 leaves 2*32 numbers a layer, MFA 2C, MFA-KR C, with C = 8; 2 bytes each.
	for i, want := range []float64{64, 16, 8} {
		if l := a.Lines[i]; l.Elements != want || l.BytesPerToken != 2*want || l.PrefillFast != 0 {
			t.Errorf("%s: %g numbers and %g bytes a token, want %g numbers; prompts under fast numerics %g", l.Design, l.Elements, l.BytesPerToken, want, l.PrefillFast)
		}
	}
	if len(a.Pairs) != 1 || a.Pairs[0].Design != "mfa-kr" || a.Pairs[0].To != "mha" {
		t.Errorf("pairs %+v", a.Pairs)
	}
	if a.Lines[0].Difference != nil || a.Lines[1].Bound != nil || a.Lines[2].Bound == nil {
		t.Error("differences are to the first design, bounds need two seeds")
	}
}

// Where layers read higher ones, prompts are measured under both numerics, and table and page have a column more.
func TestCircle(t *testing.T) {
	p, dir := tinyPlan(sources(t)), filepath.Join(t.TempDir(), "queue")
	p.Designs, p.Repeated, p.Seeds, p.Rates, p.Shape.Layers, p.Settings.Schedule.Steps = []string{"mha:share=1_1"}, nil, 1, []float64{0.003}, 2, 2
	p.Shape.Context = 32
	q, err := New(dir, p)
	if err != nil {
		t.Fatal(err)
	}
	q.Threads, q.Note, q.Step = 1, func(string) {}, func(Row, *train.Step, int) {}
	if err := q.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := q.Summary()
	if l := s.Lines[0]; l.Elements != 64 || l.Prefill <= 0 || l.PrefillFast <= 0 {
		t.Errorf("%+v", l)
	}
	var table strings.Builder
	s.Table(&table)
	if head, _, _ := strings.Cut(table.String(), "\n"); strings.Join(strings.Fields(head), " ") !=
		"design seeds loss bits/byte to first 95 % bound parameters numbers/token KV B/token of first allocated train tok/s prompt tok/s fast decode at 0 decode at 16 passkey Pareto" {
		t.Error(head)
	}
	if page, err := os.ReadFile(filepath.Join(dir, "report.html")); err != nil || !bytes.Contains(page, []byte("prompt tok/s, fast")) {
		t.Errorf("report.html: no column for fast numerics, %v", err)
	}
}

func TestPlanRefusals(t *testing.T) {
	for _, c := range []struct {
		change func(*Plan)
		words  string
	}{
		{func(p *Plan) { p.Designs = nil }, "--designs"},
		{func(p *Plan) { p.Designs = []string{"mha", "mha"} }, "twice"},
		{func(p *Plan) { p.Designs = []string{"mha:x=3"} }, "x=3"},
		{func(p *Plan) { p.Designs = []string{"lstm"} }, "lstm"},
		{func(p *Plan) { p.Designs = []string{"mha:share=cla9"} }, "cla9"},
		{func(p *Plan) { p.Shape.Layers, p.Designs = 2, []string{"mtla:share=cla2"} }, "written over"},
		{func(p *Plan) { p.Repeated = []string{"gqa"} }, "not among"},
		{func(p *Plan) { p.Designs = []string{"mha:heads=0"} }, "heads=0"},
		{func(p *Plan) { p.Designs = []string{"tucker:shared_kv=3"} }, "shared_kv"},
		{func(p *Plan) { p.Designs = []string{"mha:heads=two"} }, "heads=two"},
		{func(p *Plan) { p.Designs = []string{"mha:kv-rank=3"} }, "--kv-rank"},
		{func(p *Plan) { p.Depths = []int{0, -5} }, "--depths"},
	} {
		p := tinyPlan("x")
		c.change(p)
		_, err := New(t.TempDir(), p)
		var f *fault.Error
		if !errors.As(err, &f) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("error %v does not say %q", err, c.words)
		}
	}
}

// A row that diverges is an answer: the queue goes on, past it and when it is opened again. A context too short to hide a number in leaves that figure out.
func TestDivergedRows(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "queue")
	p := tinyPlan(sources(t))
	p.Designs, p.Repeated, p.Seeds, p.Rates, p.Depths, p.Shape.Context = []string{"mha", "mfa"}, nil, 1, []float64{1e12, 0.003}, []int{0}, 32
	p.Settings.Clip, p.Settings.Schedule.Steps = 0, 12
	q, err := New(dir, p)
	if err != nil {
		t.Fatal(err)
	}
	q.Threads, q.Note, q.Step = 1, func(string) {}, func(Row, *train.Step, int) {}
	for range 2 {
		if err := q.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		s := q.Summary()
		if s.Left != 0 || len(s.Lost) != 2 || len(s.Sweeps) != 2 || len(s.Lines) != 2 || s.Lines[1].Rate != 0.003 || s.Lines[1].Passkey != nil {
			t.Fatalf("%d left, %d lost, %d sweeps, %d lines", s.Left, len(s.Lost), len(s.Sweeps), len(s.Lines))
		}
		var table strings.Builder
		s.Table(&table)
		page, _ := os.ReadFile(filepath.Join(dir, "report.html"))
		if !strings.Contains(table.String(), "mfa-sweep-1e+12 diverged at step") || !bytes.Contains(page, []byte("Diverged")) {
			t.Errorf("the report does not say what diverged:\n%s", &table)
		}
		if q, err = Open(dir); err != nil {
			t.Fatal(err)
		}
		q.Threads, q.Note, q.Step = 1, func(string) {}, func(Row, *train.Step, int) { t.Error("a row ran again") }
	}

	// Another text under the same name is another comparison.
	if err := os.WriteFile(filepath.Join(p.Settings.Data.Source, "more.go"), []byte("package more\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := q.Run(context.Background()); !fault.Is(err, fault.Mismatch) {
		t.Errorf("a comparison went on with another text: %v", err)
	}
}

// A row's own dimensions and fields reach its configuration, whatever kind they are of.
func TestRowFields(t *testing.T) {
	p := tinyPlan("x")
	for design, want := range map[string]string{"tucker:shared_kv=true,kv-rank=6": `"shared_kv": true`, "moas:attention_scheme=gqa": `"attention_scheme": "gqa"`, "tpa:v_rank=3": `"v_rank": 3`} {
		sized, err := p.size(design)
		if err != nil {
			t.Fatal(design, err)
		}
		if !strings.Contains(string(sized.Config), want) {
			t.Errorf("%s: no %s in %s", design, want, sized.Config)
		}
	}
}

func TestSummaryNumbers(t *testing.T) {
	lines := []*Line{{Design: "a", Served: Served{BytesPerToken: 100}, Loss: 1}, {Design: "b", Served: Served{BytesPerToken: 50}, Loss: 1.1}, {Design: "c", Served: Served{BytesPerToken: 60}, Loss: 1.2}, {Design: "d", Served: Served{BytesPerToken: 120}, Loss: 1}}
	markPareto(lines)
	for i, want := range []bool{true, true, false, false} {
		if lines[i].Pareto != want {
			t.Errorf("%s: %v", lines[i].Design, lines[i].Pareto)
		}
	}
	first := []*Result{{Row: Row{Design: "a", Seed: 1}, Loss: 2, Served: Served{BytesPerToken: 1}}, {Row: Row{Design: "a", Seed: 2}, Loss: 4}}
	l := lineOf([]*Result{{Row: Row{Design: "b", Seed: 1}, Loss: 2.02}, {Row: Row{Design: "b", Seed: 2}, Loss: 4.12}}, first)
	// Differences 1 % and 3 %: mean 2, standard error 1, t of one degree 12.706.
	if d := *l.Difference; d < 1.999 || d > 2.001 {
		t.Error(d)
	}
	if b := *l.Bound; b < 14.705 || b > 14.707 {
		t.Error(b)
	}
	other := []*Result{{Row: Row{Design: "c", Seed: 2}, Loss: 4, Served: Served{BytesPerToken: 3}}, {Row: Row{Design: "c", Seed: 1}, Loss: 2.02}, {Row: Row{Design: "c", Seed: 3}, Loss: 1}}
	p := pairOf(other, first)
	if p == nil || p.Seeds != 2 || math.Abs(p.Difference-0.5) > 1e-9 || math.Abs(p.Bound-12.706*0.5) > 1e-9 || p.Bytes != 3 || pairOf(other[:1], first) != nil {
		t.Errorf("%+v", p)
	}
}
