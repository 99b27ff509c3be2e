package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/convert/moas"
	"github.com/lowkeylm/lowkey/eval"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/model"
	"github.com/lowkeylm/lowkey/model/config"
)

// routeFlags are the flags of route.
type routeFlags struct {
	modelFlags
	out, text, schemes string
	limit              int
}

func routeCommand() *cobra.Command {
	f := &routeFlags{}
	c := &cobra.Command{
		Use:   "route -m DIR --text FILE -o OUT",
		Short: "Hold each layer of a mixture of attention schemes to one of them, and measure what that costs",
		Long: `Make a routed model of a mixture of attention schemes (design moas). The mixture runs MHA, GQA and MQA in every layer and keeps the rows of all three, more than MHA would;
the routed model keeps one attention a layer, its weights and its rows.

The first half of the text decides: each layer gets the attention that its router weighs most on average. --schemes decides instead, with an entry for each layer, or one for
all. The second half measures both models. The routed model is another function; lowkey train --start OUT trains it on.`,
		Example: `  lowkey route -m runs/moas --text book.txt -o moas-routed
  lowkey route -m runs/moas --text book.txt --schemes gqa -o moas-gqa`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.route(c.Context()) },
	}
	f.add(c)
	p := c.Flags()
	p.StringVarP(&f.out, "out", "o", "", "the new folder (required)")
	p.StringVar(&f.text, "text", "", "a text to decide and measure on: a file, or - for standard input (required)")
	p.StringVar(&f.schemes, "schemes", "", "mha, gqa, mqa or soft, for all layers or, with commas, for each (default: by the router)")
	p.IntVar(&f.limit, "limit", 0, "read so many tokens of the text at most (default: all)")
	p.BoolVar(&f.json, "json", false, "print JSON")
	c.MarkFlagRequired("out")
	c.MarkFlagRequired("text")
	return c
}

// routeReport is what --json prints.
type routeReport struct {
	Folder string         `json:"folder"`
	Layers []routeLayer   `json:"layers"`
	Models []*routedModel `json:"models"` // the mixture, the routed one
}

type routeLayer struct {
	Weights []float64 `json:"mean_weights,omitempty"` // of mha, gqa, mqa
	Scheme  string    `json:"scheme"`
}

type routedModel struct {
	Name          string  `json:"name"`
	BytesPerToken int     `json:"kv_bytes_per_token"`
	OfMHA         float64 `json:"of_mha"`
	Tokens        int     `json:"tokens_scored"`
	NLL           float64 `json:"mean_nll"`
	BitsPerByte   float64 `json:"bits_per_byte"`
}

func (f *routeFlags) route(ctx context.Context) error {
	text, err := f.readText(f.text)
	if err != nil {
		return err
	}
	soft, err := f.load()
	if err != nil {
		return err
	}
	defer soft.Close()
	ids, err := soft.EncodeText(text)
	if err != nil {
		return err
	}
	if f.limit > 0 {
		ids = ids[:min(len(ids), f.limit)]
	}
	half := len(ids) / 2
	m, err := model.Open(f.path)
	if err != nil {
		return err
	}
	defer m.Close()
	pool := kernel.NewPool(cmp.Or(f.threads, runtime.GOMAXPROCS(0)))
	defer pool.Close()
	means, err := moas.Means(ctx, m, pool, ids[:half])
	if err != nil {
		return err
	}
	chosen := moas.Choose(m.Config, means)
	if f.schemes != "" {
		if chosen = strings.Split(f.schemes, ","); len(chosen) == 1 {
			chosen = slices.Repeat(chosen, len(m.Config.Layers))
		}
	}
	if err := moas.Route(ctx, f.path, f.out, chosen); err != nil {
		return err
	}
	r := &routeReport{Folder: f.out}
	for i, s := range chosen {
		r.Layers = append(r.Layers, routeLayer{means[i], s})
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	routed, err := soft.Beside(f.out, o)
	if err != nil {
		return err
	}
	defer routed.Close()
	if half < 2 {
		return fault.New(fault.BadInput, f.text, fmt.Sprintf("%d tokens", len(ids)), "too few to measure on: "+f.out+" is written", "give a longer text")
	}
	models := []eval.Model{soft, routed}
	_, scores, err := eval.Compare(ctx, nil, models, ids[half:], eval.Options{Window: min(eval.DefaultWindow, soft.Context), Start: eval.StartTokens(soft.Tokenizer), Bytes: eval.TokenBytes(soft.Tokenizer)})
	if err != nil {
		return err
	}
	for i, l := range []*lowkey.Model{soft, routed} {
		s := scores[i].Score
		r.Models = append(r.Models, &routedModel{[]string{"mixture", "routed"}[i], int(l.Account.PerToken), l.OfMHA(), s.Tokens, s.MeanNLL(), s.BitsPerByte()})
	}
	if f.json {
		return printJSON(r)
	}
	return r.print(os.Stdout)
}

func (r *routeReport) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "layer\t%s\theld to\t\n", strings.Join(config.Schemes, "\t"))
	for i, l := range r.Layers {
		fmt.Fprintf(t, "%d\t", i)
		for j := range config.Schemes {
			if l.Weights == nil {
				fmt.Fprint(t, "-\t")
			} else {
				fmt.Fprintf(t, "%.3f\t", l.Weights[j])
			}
		}
		fmt.Fprintf(t, "%s\t\n", l.Scheme)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(t, "\nmodel\tKV bytes a token\tof MHA's\tnll\tbits per byte\t")
	for _, m := range r.Models {
		fmt.Fprintf(t, "%s\t%d\t%.1f %%\t%.4f\t%.4f\t\n", m.Name, m.BytesPerToken, 100*m.OfMHA, m.NLL, m.BitsPerByte)
	}
	return t.Flush()
}
