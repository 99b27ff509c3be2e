package compare

// The pictures of the report, as SVG text: loss against KV bytes with the Pareto front, and loss against tokens.

import (
	"bytes"
	"image/color"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	_ "gonum.org/v1/plot/vg/vgsvg"

	"github.com/lowkeylm/lowkey/plan"
)

// colours that colour-blind readers can tell apart (Okabe and Ito).
var colours = []color.RGBA{{0, 0, 0, 255}, {0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {230, 159, 0, 255}, {86, 180, 233, 255}}

func newPlot(x, y string) *plot.Plot {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = x, y
	for _, style := range []*text.Style{&p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle} {
		style.Font.Variant = "Sans"
		style.Font.Size = vg.Points(10)
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = precise{}, precise{}
	p.Legend.Padding = vg.Points(2)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{225}, color.Gray{225}
	p.Add(grid)
	return p
}

// lossAgainstBytes is the picture the whole field argues about: down and to the left is better.
func (s *Summary) lossAgainstBytes() (string, error) {
	p := newPlot("KV bytes per token (f16, log scale)", "validation loss (nats per token)")
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, doublings{}
	var front plotter.XYs
	for i, l := range s.Lines {
		at := plotter.XY{X: l.BytesPerToken, Y: l.Loss}
		if l.Pareto {
			front = append(front, at)
		}
		dot, err := plotter.NewScatter(plotter.XYs{at})
		if err != nil {
			return "", err
		}
		dot.GlyphStyle = draw.GlyphStyle{Color: colours[i%len(colours)], Radius: vg.Points(4), Shape: draw.CircleGlyph{}}
		p.Add(dot)
		if l.Seeds > 1 {
			bars, err := plotter.NewYErrorBars(errorBar{at, l.Spread})
			if err != nil {
				return "", err
			}
			bars.Color = colours[i%len(colours)]
			p.Add(bars)
		}
		label, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{at}, Labels: []string{l.Design}})
		if err != nil {
			return "", err
		}
		label.TextStyle[0].Font.Variant = "Sans"
		label.Offset = vg.Point{X: vg.Points(6), Y: vg.Points(4)}
		p.Add(label)
	}
	slices.SortFunc(front, func(a, b plotter.XY) int {
		if a.X < b.X {
			return -1
		}
		return 1
	})
	if len(front) > 1 {
		line, err := plotter.NewLine(front)
		if err != nil {
			return "", err
		}
		line.Color, line.Dashes = color.Gray{120}, []vg.Length{vg.Points(4), vg.Points(3)}
		p.Add(line)
		p.Legend.Add("Pareto front", line)
		p.Legend.Top = true
	}
	widen(p)
	return svg(p)
}

// precise labels ticks with as many digits as tell them apart.
type precise struct{}

func (precise) Ticks(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	step, last := high-low, math.NaN()
	for _, t := range ticks {
		if !t.IsMinor() {
			if !math.IsNaN(last) {
				step = min(step, t.Value-last)
			}
			last = t.Value
		}
	}
	digits := max(0, int(math.Ceil(-math.Log10(step)-1e-9)))
	for i := range ticks {
		if !ticks[i].IsMinor() {
			ticks[i].Label = strconv.FormatFloat(ticks[i].Value, 'f', digits, 64)
		}
	}
	return ticks
}

// doublings puts a labelled tick at every power of two: caches are compared by factors.
type doublings struct{}

func (doublings) Ticks(low, high float64) (ticks []plot.Tick) {
	for v := math.Exp2(math.Ceil(math.Log2(low))); v <= high; v *= 2 {
		ticks = append(ticks, plot.Tick{Value: v, Label: plan.Number(int64(v))})
	}
	return ticks
}

// widen leaves room for labels, and makes axes of single points.
func widen(p *plot.Plot) {
	p.X.Min, p.X.Max = p.X.Min/1.3, p.X.Max*1.8
	margin := max(0.08*(p.Y.Max-p.Y.Min), 0.01)
	p.Y.Min, p.Y.Max = p.Y.Min-margin, p.Y.Max+margin
}

type errorBar struct {
	at     plotter.XY
	spread float64
}

func (e errorBar) Len() int                       { return 1 }
func (e errorBar) XY(int) (x, y float64)          { return e.at.X, e.at.Y }
func (e errorBar) YError(int) (low, high float64) { return e.spread, e.spread }

// curves is validation loss against tokens, the first seed of each design.
func (s *Summary) curves() (string, error) {
	p := newPlot("tokens trained on (millions)", "validation loss (nats per token)")
	p.Legend.Top = true
	for i, l := range s.Lines {
		var dots plotter.XYs
		for _, d := range s.of(l.Design)[0].Curve {
			dots = append(dots, plotter.XY{X: float64(d.Tokens) / 1e6, Y: d.Loss})
		}
		if len(dots) < 2 {
			continue
		}
		line, err := plotter.NewLine(dots)
		if err != nil {
			return "", err
		}
		line.Color, line.Width = colours[i%len(colours)], vg.Points(1.2)
		p.Add(line)
		p.Legend.Add(l.Design, line)
	}
	return svg(p)
}

// svg draws, and leaves only the element that a page can hold.
func svg(p *plot.Plot) (string, error) {
	w, err := p.WriterTo(vg.Points(430), vg.Points(320), "svg")
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if _, err := w.WriteTo(&b); err != nil {
		return "", err
	}
	page := b.String()
	return page[max(0, strings.Index(page, "<svg")):], nil
}
