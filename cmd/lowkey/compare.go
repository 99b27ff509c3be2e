package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lowkeylm/lowkey/compare"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/train"
)

type compareFlags struct {
	corpusFlags
	shapeFlags
	recipeFlags
	designs, repeat []string
	rates, depths   string
	seeds, share    int
	out, queue      string
	measure, json   bool
}

func compareCommand() *cobra.Command {
	f := &compareFlags{}
	c := &cobra.Command{
		Use:   "compare --designs LIST --data go|FOLDER|FILE --tokens N",
		Short: "Train designs under equal conditions and draw quality against KV bytes",
		Long: `Train each design at the same number of parameters, on the same tokens in the same order, with the same schedule and seeds; then measure validation loss, bits per byte, KV bytes
per token as allocated, decode speed at depth, and prompt speed (under fast numerics too where layers read higher ones). The table is printed; report.html (with the plot: loss against bytes, Pareto front marked; also as
loss-bytes.svg) and results.json lie in the folder.

The folder is a queue: Ctrl-C saves the row that is training, --queue FOLDER goes on. A design may have dimensions of its own: mfa:head-dim=64,heads=12, and layers that share a
cache: gqa:share=cla2.`,
		Example: `  lowkey compare --designs mha,gqa,mqa,mla,mfa,mfa-kr,tpa --tokens 20M --data go
  lowkey compare --designs mha,mfa --lrs 0.005,0.01,0.02 --seeds 3 --tokens 20M --data go --hidden 384 --out runs/headline
  lowkey compare --queue runs/headline
  lowkey compare --queue runs/headline --designs gta --designs mla:kv-rank=64    adds two rows`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c.Context()) },
	}
	f.corpusFlags.add(c)
	f.shapeFlags.add(c)
	f.recipeFlags.add(c)
	p := c.Flags()
	for _, hidden := range []string{"seed", "lr", "valid-every", "checkpoint-every"} {
		p.MarkHidden(hidden)
	}
	p.StringVar(&f.rates, "lrs", "", "learning rates; several are swept for each design (default: one, as train's)")
	p.IntVar(&f.share, "sweep-share", 8, "a sweep trains on 1/N of the tokens")
	p.IntVar(&f.seeds, "seeds", 1, "seeds of each design")
	p.StringArrayVar(&f.repeat, "repeat", nil, "only these designs get more than one seed; written as in --designs")
	p.StringVar(&f.depths, "depths", "0,1024", "tokens in the cache where decode speed is measured")
	p.StringVarP(&f.out, "out", "o", "runs/compare", "folder of the comparison")
	p.StringVar(&f.queue, "queue", "", "go on with the comparison in this folder; --designs are added to it")
	p.BoolVar(&f.measure, "measure", false, "with --queue: train nothing, measure bytes, speeds and passkeys of the rows that are done anew")
	p.BoolVar(&f.json, "json", false, "print results.json instead of the table")
	p.StringArrayVar(&f.designs, "designs", nil, "designs, separated by commas, or all (several flags where a design has dimensions): "+strings.Join(train.Designs(), ","))
	return c
}

func (f *compareFlags) run(ctx context.Context) error {
	var q *compare.Queue
	var err error
	dir := f.queue
	if dir != "" {
		if q, err = compare.Open(dir); err != nil {
			return err
		}
		if err := q.Add(designList(f.designs)); err != nil {
			return err
		}
	} else {
		dir = f.out
		p, err := f.plan()
		if err != nil {
			return err
		}
		if q, err = compare.New(dir, p); err != nil {
			return err
		}
	}
	q.Threads = f.threads
	q.Note = func(text string) { fmt.Fprintln(os.Stderr, text) }
	var show *progress
	var row compare.Row
	var began time.Time
	var from int
	q.Step = func(r compare.Row, s *train.Step, steps int) {
		if show == nil || r != row {
			if show != nil {
				show.end()
			}
			row, began, from, show = r, time.Now(), s.Step, newProgress(s.Step, steps, false)
		}
		each := time.Since(began) / time.Duration(max(1, s.Step-from))
		if s.Step == from {
			each = time.Duration(float64(s.Tokens) / float64(s.Step) / s.PerSecond * float64(time.Second))
		}
		show.step(s, each*time.Duration(steps-s.Step))
	}
	if f.measure {
		err = q.Measure(ctx)
	} else {
		err = q.Run(ctx)
	}
	if show != nil {
		show.end()
	}
	if err != nil {
		return err
	}
	s := q.Summary()
	if f.json {
		return printJSON(s)
	}
	s.Table(os.Stdout)
	if s.Left > 0 {
		fmt.Fprintf(os.Stderr, "go on with: lowkey compare --queue %s\n", dir)
	}
	if len(s.Lines) > 0 {
		fmt.Fprintf(os.Stderr, "%s has the picture\n", filepath.Join(dir, "report.html"))
	}
	return nil
}

func (f *compareFlags) plan() (*compare.Plan, error) {
	if f.spec.Source == "" {
		return nil, fault.New(fault.BadInput, "--data", "missing", "what to train on", "give --data go, a folder, a text file or a .jsonl file")
	}
	if err := f.recipeFlags.finish(); err != nil {
		return nil, err
	}
	f.settings.Data = f.spec
	if err := f.shapeFlags.finish(f.settings.Seq); err != nil {
		return nil, err
	}
	var err error
	p := &compare.Plan{Command: "lowkey " + strings.Join(os.Args[1:], " "), Seeds: f.seeds, Repeated: designList(f.repeat), Settings: f.settings, Share: f.share, Vocab: f.vocab, Tokens: f.tokenizer}
	p.Shape = f.shape
	p.Designs = designList(f.designs)
	if p.Rates, err = parseList(f.rates, "--lrs", func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }); err != nil {
		return nil, err
	}
	if len(p.Rates) == 0 {
		p.Rates = []float64{f.settings.Schedule.Peak}
	}
	p.Depths, err = parseList(f.depths, "--depths", strconv.Atoi)
	return p, err
}

// designList takes flags apart at commas, but for those whose design has dimensions, in which commas mean something else.
func designList(flags []string) (designs []string) {
	for _, d := range flags {
		if strings.Contains(d, ":") {
			designs = append(designs, d)
			continue
		}
		for _, name := range strings.FieldsFunc(d, func(r rune) bool { return r == ',' }) {
			if name == "all" {
				designs = append(designs, allDesigns()...)
			} else {
				designs = append(designs, name)
			}
		}
	}
	return designs
}

// allDesigns are those that train, MHA first, with which the others are compared.
func allDesigns() []string {
	all := []string{"mha"}
	for _, d := range train.Designs() {
		if d != "mha" {
			all = append(all, d)
		}
	}
	return all
}

func parseList[T any](text, flag string, parse func(string) (T, error)) (list []T, err error) {
	for _, part := range strings.Split(text, ",") {
		if part == "" {
			continue
		}
		v, err := parse(strings.TrimSpace(part))
		if err != nil {
			return nil, fault.New(fault.BadInput, flag+" "+text, part, "numbers separated by commas", "")
		}
		list = append(list, v)
	}
	return list, nil
}
