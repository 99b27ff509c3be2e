package plan

// Plans and inspections for people: aligned columns, binary units, separators in long numbers. Nothing is computed here.

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/lowkeylm/lowkey"
)

// printer writes labelled lines and tables, and keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(label, format string, a ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, "%-14s %s\n", label, fmt.Sprintf(format, a...))
	}
}

// table writes columns aligned to the right, under a label's indent.
func (p *printer) table(rows [][]string) {
	t := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t\n", strings.Join(r, "\t"))
	}
	if err := t.Flush(); p.err == nil {
		p.err = err
	}
}

// left writes columns aligned to the left, indented.
func (p *printer) left(rows [][]string) {
	t := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintf(t, "  %s\n", strings.Join(r, "\t"))
	}
	if err := t.Flush(); p.err == nil {
		p.err = err
	}
}

func (q Parameters) text() string {
	s := Number(q.Total) + " parameters"
	if q.Active != q.Total {
		s += fmt.Sprintf(" (%s active for a token)", Number(q.Active))
	}
	if q.Source == "formula" {
		s += ", by formula"
	}
	if q.Approximate != "" {
		s += " (at least: " + q.Approximate + ")"
	}
	return s
}

// Write prints the plan.
func (p *Plan) Write(w io.Writer) error {
	out := &printer{w: w}
	out.line("model", "%s", p.Path)
	out.line("family", "%s", p.Family)
	if !p.Runs {
		out.line("runs", "no: %s", p.WhyNot)
	}
	out.line("parameters", "%s", p.Weights.Parameters.text())
	stored := ""
	if p.Weights.File > 0 && p.Weights.File != p.Weights.Bytes {
		stored = ", " + lowkey.Bytes(p.Weights.File) + " as stored"
	}
	out.line("weights", "%s, %s%s", lowkey.Bytes(p.Weights.Bytes), p.Weights.How, stored)
	more := ""
	if p.KV.OfMHA > 1 { // MoAS; a cache type wider than f16
		more = fmt.Sprintf(", %.3g times what MHA takes in f16", p.KV.OfMHA)
	}
	out.line("cache", "%s: %s B a token%s", p.KV.Type, number(p.KV.PerToken), more)
	out.line("", "%s", p.KV.Formula)
	rows := [][]string{{"layers", "streams", "bytes/token", "window", "page"}}
	rows = append(rows, p.KV.groups()...)
	out.table(rows)
	if p.KV.State > 0 {
		out.line("state", "%s a sequence, however long", lowkey.Bytes(p.KV.State))
	}
	out.line("sequence", "%s tokens: %s (%s in pages of %d rows that no row uses)", Number(int64(p.KV.Context)), lowkey.Bytes(p.KV.Sequence), lowkey.Bytes(p.KV.Slack), p.KV.PageRows)
	if p.KV.Open > 0 {
		out.line("open page", "%s a sequence while its last page is not full, where its rows wait in f16", lowkey.Bytes(p.KV.Open))
	}
	if p.KV.Peak != p.KV.Sequence {
		out.line("peak", "%s while it is filled by %d tokens a step", lowkey.Bytes(p.KV.Peak), p.KV.Step)
	}
	if p.Budget != nil {
		p.Budget.write(out)
	}
	if len(p.Against) > 0 {
		p.writeAgainst(out)
	}
	return out.err
}

// groups joins layers with equal bytes: rows of a table.
func (k *Cache) groups() [][]string {
	var rows [][]string
	var members [][]int
	for i, l := range k.Layers {
		window, streams := "all", l.Streams
		for _, more := range []string{" window", " a row for", " state"} {
			streams, _, _ = strings.Cut(streams, more)
		}
		streams = strings.TrimSuffix(strings.ReplaceAll(streams, ";", ", "), ", ")
		if l.RowTokens > 1 {
			streams += fmt.Sprintf(" (a row for %d tokens)", l.RowTokens)
		}
		if l.Window > 0 {
			window = Number(int64(l.Window))
		}
		if streams == "" {
			streams, window = "rows of another layer", "-"
		}
		row := []string{"", streams, number(float64(l.PerToken) / float64(max(1, l.RowTokens))), window, Number(int64(l.Page)) + " B"}
		at := -1
		for j := range rows {
			if strings.Join(rows[j], "\t") == strings.Join(row, "\t") {
				at = j
			}
		}
		if at < 0 {
			rows, members, at = append(rows, row), append(members, nil), len(rows)
		}
		members[at] = append(members[at], i)
	}
	for j := range rows {
		rows[j][0] = ranges(members[j])
	}
	return rows
}

func (b *Budget) write(out *printer) {
	from := ""
	if b.From != "" {
		from = " (" + b.From + ")"
	}
	out.line("budget", "%s%s - %s weights - %s scratch = %s for the cache", lowkey.Bytes(b.Memory), from, lowkey.Bytes(b.Weights), lowkey.Bytes(b.Scratch), lowkey.Bytes(b.Left))
	if b.Left <= 0 {
		out.line("", "weights and scratch alone do not fit: raise --memory to more than %s, or quantise with --weights", lowkey.Bytes(b.Weights+b.Scratch))
		return
	}
	out.line("longest", "%s tokens in one sequence", Number(int64(b.Longest)))
	rows := [][]string{{"tokens", "each", "sequences"}}
	for _, f := range b.Fits {
		rows = append(rows, []string{Number(int64(f.Tokens)), lowkey.Bytes(f.Each), Number(f.Sequences)})
	}
	out.table(rows)
}

func (p *Plan) writeAgainst(out *printer) {
	out.line("against", "sequences of %s tokens", Number(int64(p.KV.Context)))
	rows := [][]string{{"type", "bytes/token", "a sequence", "fit", "of f16", "of MHA f16"}}
	var notes []string
	for _, r := range p.Against {
		name := r.Type
		if name == p.KV.Type {
			name = "> " + name
		}
		if r.WhyNot != "" {
			rows = append(rows, []string{name, "-", "-", "-", "-", "-"})
			notes = append(notes, r.WhyNot)
			continue
		}
		fit := "-"
		if p.Budget != nil {
			fit = Number(r.Sequences)
		}
		rows = append(rows, []string{name, number(r.PerToken), lowkey.Bytes(r.Sequence), fit, fmt.Sprintf("%.1f %%", 100*r.OfF16), fmt.Sprintf("%.1f %%", 100*r.OfMHA)})
	}
	out.table(rows)
	for _, n := range notes {
		out.line("", "%s", n)
	}
}

// Write prints the inspection.
func (in *Inspection) Write(w io.Writer) error {
	out := &printer{w: w}
	out.line("file", "%s", in.Path)
	if in.Name != "" {
		out.line("name", "%s", in.Name)
	}
	out.line("family", "%s", in.Family)
	if in.Part != "" {
		out.line("part", "%s split files: tensors are those of this one", in.Part)
	}
	if in.Runs {
		out.line("runs", "yes")
	} else {
		out.line("runs", "no: %s", in.WhyNot)
	}
	if in.FileBytes > 0 {
		out.line("size", "%s", lowkey.Bytes(in.FileBytes))
	}
	if in.Parameters != nil {
		out.line("parameters", "%s", in.Parameters.text())
	}
	if in.Quantization != "" {
		out.line("quantisation", "%s", in.Quantization)
	}
	if len(in.Types) > 0 {
		rows := [][]string{{"type", "tensors", "elements", "bytes"}}
		for _, t := range in.Types {
			rows = append(rows, []string{t.Type, Number(int64(t.Count)), Number(t.Elements), lowkey.Bytes(t.Bytes)})
		}
		out.table(rows)
	}
	in.writeShape(out)
	in.writeText(out)
	if len(in.Tensors) > 0 {
		out.line("tensors", "%s", Number(int64(len(in.Tensors))))
		rows := [][]string{}
		for _, t := range in.Tensors {
			rows = append(rows, []string{t.Name, t.Type, shape(t.Shape), lowkey.Bytes(t.Bytes)})
		}
		out.left(rows)
	}
	return out.err
}

func shape(n []int) string {
	s := make([]string, len(n))
	for i, d := range n {
		s[i] = fmt.Sprint(d)
	}
	return "[" + strings.Join(s, " ") + "]"
}

func (in *Inspection) writeShape(out *printer) {
	if in.Layers == 0 {
		return
	}
	tied := ""
	if in.Tied {
		tied = ", output matrix tied to the embedding"
	}
	out.line("shape", "%s, hidden %s, vocabulary %s%s", plural(in.Layers, "layer"), Number(int64(in.Hidden)), Number(int64(in.Vocab)), tied)
	for _, p := range in.Pattern {
		label := "layers " + p.Layers
		if p.Count == 1 {
			label = "layer " + p.Layers
		}
		out.line("", "%s: %s", label, p.Attention)
		out.line("", "  mlp %s; rope %s", p.MLP, p.Rope)
	}
	out.line("norm", "%s", in.Norm)
	if in.Trained > 0 {
		out.line("trained on", "%s tokens of context", Number(int64(in.Trained)))
	}
	if in.KV != nil {
		out.line("KV at 16 bit", "%s B a token", number(in.KV.PerToken))
		out.line("", "%s", in.KV.Formula)
		if in.KV.Windows != "" {
			out.line("", "%s", in.KV.Windows)
		}
		if in.KV.State > 0 {
			out.line("", "and %s of constant state a sequence", lowkey.Bytes(in.KV.State))
		}
	}
}

func (in *Inspection) writeText(out *printer) {
	if t := in.Tokenizer; t != nil && t.Note != "" {
		out.line("tokenizer", "none: %s", t.Note)
	} else if t != nil {
		adds := ""
		if t.AddsBOS {
			adds = ", starts a text with the start token"
		}
		out.line("tokenizer", "%s, %s tokens%s", t.Kind, Number(int64(t.Vocab)), adds)
		name := func(label string, tok *Token) string {
			if tok == nil {
				return label + " none"
			}
			return fmt.Sprintf("%s %d %q", label, tok.ID, tok.Text)
		}
		ends := []string{}
		for _, e := range t.Ends {
			ends = append(ends, fmt.Sprintf("%d %q", e.ID, e.Text))
		}
		out.line("", "%s, %s, ends: %s", name("bos", t.BOS), name("eos", t.EOS), strings.Join(ends, " "))
	}
	if c := in.Template; c != nil {
		switch {
		case c.Present && c.Note == "":
			out.line("chat template", "%s bytes: %s", Number(int64(c.Bytes)), c.FirstLine)
		case c.Present:
			out.line("chat template", "%s bytes, cannot be used: %s", Number(int64(c.Bytes)), c.Note)
		default:
			out.line("chat template", "none: %s", c.Note)
		}
	}
}
