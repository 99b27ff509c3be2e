package main

// What eval says to people.

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"text/tabwriter"

	"github.com/lowkeylm/lowkey"
)

func (r *evalReport) print(out io.Writer) error {
	fmt.Fprintf(out, "%s, %s activations, %s numerics\n", filepath.Base(r.Model), r.Activations, r.Numerics)
	for _, t := range r.Text {
		fmt.Fprintf(out, "\n%s: %d of %d tokens scored (%d bytes) in windows of %d that score their last %d; %.1f s\n", filepath.Base(t.File), t.Scored, t.Tokens, t.Bytes, t.Context,
			t.Stride, t.Seconds)
		if r.Reference != "" {
			fmt.Fprintf(out, "KL (nats) and top-1 against %s\n", r.Reference)
		}
		fmt.Fprintln(out)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
		row(w, "kv", "B/token", "a window", "perplexity", "nll", "bits/byte")
		if r.Reference != "" {
			row(w, "mean KL", "+-", "top-1")
		}
		fmt.Fprintln(w)
		for _, k := range t.KV {
			name := k.KV
			if k.Reference {
				name = "reference"
			}
			row(w, name, k.BytesPerToken, lowkey.Bytes(k.Held), fixed(k.Perplexity, 3), fixed(k.NLL, 5), fixed(k.BitsPerByte, 4))
			if q := k.Quality; q != nil {
				row(w, small(q.MeanKL), small(q.Error), fixed(q.Top1, 4))
			} else if r.Reference != "" {
				row(w, "", "", "")
			}
			fmt.Fprintln(w)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if len(r.Passkey) == 0 {
		return nil
	}
	fmt.Fprintf(out, "\npasskeys found, by depth (0 = start of the prompt); form %s, %d at each depth\n\n", r.Passkey[0].Form, r.Passkey[0].Depths[0].Trials)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row(w, "ctx", "kv", "B/token")
	for _, d := range r.Passkey[0].Depths {
		row(w, d.Depth)
	}
	row(w, "all", "nll")
	fmt.Fprintln(w)
	for _, p := range r.Passkey {
		row(w, p.Context, p.KV, p.BytesPerToken)
		right, trials, nll := 0, 0, 0.0
		for _, d := range p.Depths {
			row(w, fmt.Sprintf("%.0f%%", 100*d.Accuracy))
			right, trials, nll = right+d.Right, trials+d.Trials, nll+d.NLL
		}
		row(w, fmt.Sprintf("%d/%d", right, trials), fixed(nll/float64(len(p.Depths)), 3))
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// small prints five decimals, and what would be lost in them as 1.2e-06.
func small(v float64) string {
	if v != 0 && v < 1e-4 {
		return strconv.FormatFloat(v, 'e', 1, 64)
	}
	return fixed(v, 5)
}
