package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
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
	Elements float64 `json:"elements,omitempty"` // a token leaves in a layer at the example's size
	OfMHA    float64 `json:"of_mha,omitempty"`
	Share    string  `json:"share,omitempty"` // of a way of sharing: what --share takes

	model *model.Model
}

func designsCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "designs [NAME]",
		Short: "List the attention designs and the ways of sharing, or show one: what a token leaves in the cache, the mathematics, what folds",
		Example: `  lowkey designs
  lowkey designs mla
  lowkey designs lckv:4
  lowkey designs --json`,
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: slices.Concat(config.Designs(), sharingNames()),
		RunE: func(c *cobra.Command, args []string) error {
			names := config.Designs()
			if len(args) == 1 {
				if d := config.DesignOf(args[0]); d == nil || !d.Runs() {
					if s := config.SharingOf(args[0], exampleLayers); s != nil && asJSON {
						return printJSON([]*designRow{sharingRow(s)})
					} else if s != nil {
						return writeSharing(s)
					}
					return fault.New(fault.BadInput, "design "+args[0], "not known", "designs: "+strings.Join(names, " ")+"; ways of sharing: "+strings.Join(sharingNames(), " "), "")
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
			if len(args) == 1 && !asJSON {
				return rows[0].write()
			}
			var shared []*designRow
			if len(args) == 0 {
				for _, s := range config.Sharings() {
					shared = append(shared, sharingRow(&s))
				}
			}
			if asJSON {
				return printJSON(append(rows, shared...))
			}
			return writeDesigns(rows, shared)
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

func writeDesigns(rows, shared []*designRow) error {
	number := func(paper string) string { return paper[strings.LastIndex(paper, " ")+1:] } // arXiv's: lowkey designs NAME has the title
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "design\ta token's numbers in a layer\tat d = %d, of MHA\tarXiv\tidea\n", example.Hidden)
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%g (%.1f %%)\t%s\t%s\n", r.Name, r.Cache, r.Elements, 100*r.OfMHA, number(r.Paper), r.About)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nsharing\trows of L layers\t--share\tarXiv\tidea\n")
	for _, r := range shared {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Name, r.Cache, r.Share, number(r.Paper), r.About)
	}
	return w.Flush()
}

func sharingNames() (names []string) {
	for _, s := range config.Sharings() {
		names = append(names, s.Name)
	}
	return names
}

func sharingRow(s *config.Sharing) *designRow {
	return &designRow{Name: s.Name, About: s.About, Cache: s.Cache, Paper: s.Paper, Share: s.Form}
}

// exampleLayers is the number of layers of a map that is drawn.
const exampleLayers = 12

// writeSharing shows a way of sharing: the map of some layers, who owns a cache, how to train it, the mathematics.
func writeSharing(s *config.Sharing) error {
	layers, err := config.LayerMap(s.Share, exampleLayers)
	if err != nil {
		return err
	}
	design, owners, of := s.Design, 0, strings.Split(layers, "_")
	if design == "" {
		design = config.GQA
	}
	fmt.Printf("%s: %s\n%s\n\n--share %s, here %s over %d layers: %s\n\n", s.Name, s.About, s.Paper, s.Form, s.Share, exampleLayers, layers)
	for i := exampleLayers - 1; i >= 0; i-- {
		if from, _ := strconv.Atoi(of[i]); from == i {
			owners++
			fmt.Printf("  layer %2d  %s rows of its own\n", i, strings.Repeat("█", 8))
		} else if from > i {
			fmt.Printf("  layer %2d  reads %d, above it: the tokens before its own\n", i, from)
		} else {
			fmt.Printf("  layer %2d  reads %d\n", i, from)
		}
	}
	more := ""
	if s.More != "" {
		more = " --field " + s.More
	}
	fmt.Printf("\n%d of %d layers own a cache (%s): %.1f %% of the design's rows\n  lowkey train --design %s --layers %d --share %s%s --data go --tokens 20M\n",
		owners, exampleLayers, s.Cache, 100*float64(owners)/exampleLayers, design, exampleLayers, s.Share, more)
	if s.Design != "" {
		fmt.Printf("what a row is: lowkey designs %s\n", s.Design)
	} else {
		fmt.Printf("designs whose rows other layers read: %s\n", strings.Join(config.SharingDesigns(), " "))
	}
	fmt.Printf("\n%s", attention.SharingMaths())
	return nil
}

// pictureWidth is the number of characters that the numbers of MHA's row would take.
const pictureWidth = 96

func (r *designRow) write() error {
	c := r.model.Config
	a := &c.Layers[0].Attention
	fmt.Printf("%s: %s\n%s\n\n%s\n", r.Name, r.About, r.Paper, plan.Attention(a))
	fmt.Printf("a token leaves %s numbers in a layer: %g here (d = %d), %.1f %% of the %d of MHA\n\n", r.Cache, r.Elements, example.Hidden, 100*r.OfMHA, 2*example.Hidden)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	state := 0
	for _, l := range r.model.Layouts() {
		state += l.State
		tokens := max(1, l.RowTokens)
		for _, s := range l.Streams {
			use, n := streamUse(s), max(1, s.Heads*s.Width*pictureWidth/(2*example.Hidden*tokens))
			if tokens > 1 {
				use += fmt.Sprintf(", for %d tokens", tokens)
			}
			fmt.Fprintf(w, "  %s\t%d x %d\t%s\t%s\n", s.Name, s.Heads, s.Width, use, strings.Repeat("█", n))
		}
	}
	fmt.Fprintf(w, "  MHA\t%d x %d\t\t%s\n", 2, example.Hidden, strings.Repeat("░", pictureWidth))
	if err := w.Flush(); err != nil {
		return err
	}
	if state > 0 {
		fmt.Printf("  and a sequence keeps %d numbers a layer beside its rows, however long it is\n", state)
	}
	fields := config.DesignOf(r.Name).Fields(a)
	fmt.Printf("\nfields of its configuration (--field NAME=VALUE), as here:")
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		fmt.Printf(" %s=%v", key, fields[key])
	}
	fmt.Printf("\n\n%s", attention.Maths(r.model.Design(0)))
	return nil
}

func streamUse(s kvcache.Stream) string {
	use := map[kvcache.Role]string{kvcache.Key: "key", kvcache.Value: "value", kvcache.Both: "key and value", kvcache.Column: "column"}[s.Role]
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
