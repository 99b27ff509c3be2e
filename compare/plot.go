package compare

// The pictures of the report, as SVG text: loss against KV bytes with the Pareto front, and loss against tokens.

import (
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/lowkeylm/lowkey/internal/picture"
	"github.com/lowkeylm/lowkey/plan"
)

// lossAgainstBytes is the picture the whole field argues about: down and to the left is better. What is on the Pareto front has a ring.
func (s *Summary) lossAgainstBytes() (string, error) {
	p := picture.New("KV bytes per token (f16, log scale)", "validation loss (nats per token)")
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, doublings{}
	var front, points plotter.XYs
	var names []string
	for i, l := range s.Lines {
		at := plotter.XY{X: l.BytesPerToken, Y: l.Loss}
		if l.Pareto {
			front = append(front, at)
		}
		dot, err := plotter.NewScatter(plotter.XYs{at})
		if err != nil {
			return "", err
		}
		dot.GlyphStyle = draw.GlyphStyle{Color: picture.Colours[i%len(picture.Colours)], Radius: vg.Points(4), Shape: draw.CircleGlyph{}}
		p.Add(dot)
		if l.Pareto {
			ring, err := plotter.NewScatter(plotter.XYs{at})
			if err != nil {
				return "", err
			}
			ring.GlyphStyle = draw.GlyphStyle{Color: color.Gray{90}, Radius: vg.Points(7), Shape: draw.RingGlyph{}}
			p.Add(ring)
		}
		if l.Seeds > 1 {
			bars, err := plotter.NewYErrorBars(errorBar{at, l.Spread})
			if err != nil {
				return "", err
			}
			bars.Color = picture.Colours[i%len(picture.Colours)]
			p.Add(bars)
		}
		points, names = append(points, at), append(names, l.Design)
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
	picture.Labels(p, points, names)
	widen(p)
	return picture.SVG(p, s.size())
}

// size is larger for many lines.
func (s *Summary) size() float64 {
	if len(s.Lines) > 10 {
		return 1.6
	}
	return 1
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
	p := picture.New("tokens trained on (millions)", "validation loss (nats per token)")
	p.Legend.Top = true
	for i, l := range s.Lines {
		var dots plotter.XYs
		for _, d := range s.of(l.Design)[0].Curve {
			dots = append(dots, plotter.XY{X: float64(d.Tokens) / 1e6, Y: d.Loss})
		}
		if len(dots) < 2 {
			continue
		}
		if err := picture.Line(p, l.Design, dots, picture.Colours[i%len(picture.Colours)], vg.Points(1.2)); err != nil {
			return "", err
		}
	}
	return picture.SVG(p, s.size())
}
