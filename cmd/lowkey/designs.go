package main

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/plan"
	"github.com/lowkeylm/lowkey/train"
)

// example is the size at which a design's row is drawn.
var example = train.Shape{Hidden: 768, Layers: 1, Vocab: 256, Context: 1024}

// designRow is a design as a table and JSON show it.
type designRow struct {
	Name     string  `json:"name"`
	About    string  `json:"about"`
	Cache    string  `json:"cache"`
	Paper    string  `json:"paper"`
	Elements float64 `json:"elements"` // a token leaves in a layer at the example's size
	OfMHA    float64 `json:"of_mha"`

	model *model.Model
}

func designsCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "designs [NAME]",
		Short: "List the attention designs, or show one: what a token leaves in the cache, the mathematics, what folds",
		Example: `  lowkey designs
  lowkey designs mla
  lowkey designs --json`,
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: config.Designs(),
		RunE: func(c *cobra.Command, args []string) error {
			names := config.Designs()
			if len(args) == 1 {
				if d := config.DesignOf(args[0]); d == nil || !d.Runs() {
					return fault.New(fault.BadInput, "design "+args[0], "not known", "designs: "+strings.Join(names, " "), "")
				}
				names = args
			}
			var rows []*designRow
			for _, name := range names {
				r, err := newDesignRow(name)
				if err != nil {
					return err
				}
				rows = append(rows, r)
			}
			switch {
			case asJSON:
				return printJSON(rows)
			case len(args) == 1:
				return rows[0].write()
			}
			return writeDesigns(rows)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "for programs")
	return c
}

// newDesignRow makes a one-layer model of the design, sized as train would size it.
func newDesignRow(name string) (*designRow, error) {
	d := config.DesignOf(name)
	r := &designRow{Name: name, About: d.About, Cache: d.Cache, Paper: d.Paper}
	s := example
	s.Design = name
	sized, err := s.Size()
	if err != nil {
		return nil, err
	}
	if r.model, err = model.New(sized.Config, 1); err != nil {
		return nil, err
	}
	c := r.model.Config
	r.Elements = c.CacheElementsPerToken()
	r.OfMHA = r.Elements / float64(2*example.Hidden)
	return r, nil
}

func writeDesigns(rows []*designRow) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "design\tnumbers a token leaves in a layer\tat d = %d, of MHA\tidea\tpaper\n", example.Hidden)
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%g (%.1f %%)\t%s\t%s\n", r.Name, r.Cache, r.Elements, 100*r.OfMHA, r.About, r.Paper)
	}
	return w.Flush()
}

// pictureWidth is the number of characters that the numbers of MHA's row would take.
const pictureWidth = 96

func (r *designRow) write() error {
	c := r.model.Config
	fmt.Printf("%s: %s\n%s\n\n%s\n", r.Name, r.About, r.Paper, plan.Attention(&c.Layers[0].Attention))
	fmt.Printf("a token leaves %s numbers in a layer: %g here (d = %d), %.1f %% of the %d of MHA\n\n", r.Cache, r.Elements, example.Hidden, 100*r.OfMHA, 2*example.Hidden)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, l := range r.model.Layouts() {
		for _, s := range l.Streams {
			n := max(1, s.Heads*s.Width*pictureWidth/(2*example.Hidden))
			fmt.Fprintf(w, "  %s\t%d x %d\t%s\t%s\n", s.Name, s.Heads, s.Width, streamUse(s), strings.Repeat("█", n))
		}
	}
	fmt.Fprintf(w, "  MHA\t%d x %d\t\t%s\n", 2, example.Hidden, strings.Repeat("░", pictureWidth))
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Printf("\n%s", attention.Maths(r.model.Design(0)))
	return nil
}

func streamUse(s kvcache.Stream) string {
	use := map[kvcache.Role]string{kvcache.Key: "key", kvcache.Value: "value", kvcache.Both: "key and value"}[s.Role]
	switch {
	case s.Weighs:
		use += ", weighs heads"
	case s.Rope == kvcache.After:
		use += ", turned"
	case s.Rope == kvcache.Before:
		use += ", turned when read"
	}
	return use
}
