package compare

// The report: results.json for programs, report.html for people (one file, nothing loaded from elsewhere), loss-bytes.svg for other documents, a table for the terminal.

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"path/filepath"
	"text/tabwriter"

	"github.com/lowkeylm/lowkey/internal/atomicfile"
	"github.com/lowkeylm/lowkey/plan"
)

//go:embed report.html
var reportHTML string

var reportTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"number":  func(n int64) string { return plan.Number(n) },
	"percent": func(p *float64) string { return percent(p) },
	"share":   func(x float64) string { return fmt.Sprintf("%.1f %%", 100*x) },
	"f":       func(digits int, x float64) string { return fmt.Sprintf("%.*f", digits, x) },
	"speed":   speed,
	"int64":   func(n int) int64 { return int64(n) },
}).Parse(reportHTML))

func percent(p *float64) string {
	if p == nil {
		return ""
	}
	return fmt.Sprintf("%+.2f %%", *p)
}

// speed is empty where nothing was measured.
func speed(x float64) string {
	if x == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f", x)
}

// Report writes results.json, report.html and its first picture, loss-bytes.svg, of the rows that are done.
func (q *Queue) Report() error {
	s := q.Summary()
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(filepath.Join(q.dir, "results.json"), append(b, '\n')); err != nil {
		return err
	}
	if len(s.Lines) == 0 {
		return nil
	}
	scatter, err := s.lossAgainstBytes()
	if err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(filepath.Join(q.dir, "loss-bytes.svg"), []byte(scatter)); err != nil {
		return err
	}
	curves, err := s.curves()
	if err != nil {
		return err
	}
	var page bytes.Buffer
	if err := reportTemplate.Execute(&page, map[string]any{"S": s, "Scatter": template.HTML(scatter), "Curves": template.HTML(curves)}); err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(q.dir, "report.html"), page.Bytes())
}

// Table prints the lines of a summary.
func (s *Summary) Table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "design\tseeds\tloss\tbits/byte\tto first\t95 % bound\tparameters\tnumbers/token\tKV B/token\tof first\tallocated\ttrain tok/s\tprompt tok/s\t")
	circles := s.Circles()
	if circles {
		fmt.Fprint(t, "fast\t")
	}
	for _, d := range s.Plan.Depths {
		fmt.Fprintf(t, "decode at %d\t", d)
	}
	fmt.Fprintln(t, "passkey\tPareto\t")
	for _, l := range s.Lines {
		mark := ""
		if l.Pareto {
			mark = "*"
		}
		fmt.Fprintf(t, "%s\t%d\t%.4f\t%.4f\t%s\t%s\t%s\t%g\t%g\t%.1f %%\t%.0f\t%.0f\t%.0f\t", l.Design, l.Seeds, l.Loss, l.BitsPerByte, percent(l.Difference), percent(l.Bound), plan.Number(l.Parameters), l.Elements,
			l.BytesPerToken, 100*l.OfFirst, l.Allocated, l.TrainSpeed, l.Prefill)
		if circles {
			fmt.Fprintf(t, "%s\t", speed(l.PrefillFast))
		}
		for i := range s.Plan.Depths {
			if i < len(l.Decode) {
				fmt.Fprintf(t, "%.0f", l.Decode[i].Speed)
			}
			fmt.Fprint(t, "\t")
		}
		found := ""
		if l.Passkey != nil {
			found = fmt.Sprintf("%.0f %%", 100**l.Passkey)
		}
		fmt.Fprintf(t, "%s\t%s\t\n", found, mark)
	}
	t.Flush()
	for _, r := range s.Lost {
		fmt.Fprintf(w, "%s diverged %s\n", r.queued.Name(), r.Diverged)
	}
	if s.Left > 0 {
		fmt.Fprintf(w, "%d rows are left in the queue\n", s.Left)
	}
}
