// Package picture is how the project's line drawings look: axes, grid, colours, and the way to SVG text. What is drawn is the callers' business.
package picture

import (
	"bytes"
	"image/color"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	_ "gonum.org/v1/plot/vg/vgsvg"
)

// Colours that colour-blind readers can tell apart (Okabe and Ito).
var Colours = []color.RGBA{{0, 0, 0, 255}, {0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {230, 159, 0, 255}, {86, 180, 233, 255}}

// New is an empty picture with a grid and these labels of its axes.
func New(x, y string) *plot.Plot {
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

// Line adds a line to the picture and its legend.
func Line(p *plot.Plot, name string, points plotter.XYs, c color.Color, width vg.Length) error {
	line, err := plotter.NewLine(points)
	if err != nil {
		return err
	}
	line.Color, line.Width = c, width
	p.Add(line)
	p.Legend.Add(name, line)
	return nil
}

// SVG draws, size times as large as a picture beside others is, and leaves only the element that a page can hold.
func SVG(p *plot.Plot, size float64) (string, error) {
	w, err := p.WriterTo(vg.Points(430*size), vg.Points(320*size), "svg")
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

// precise labels ticks with as many digits as they need: the usual ones are cut where 1.5 stands between 0 and 3.
type precise struct{}

func (precise) Ticks(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	digits := 0
	for _, t := range ticks {
		if !t.IsMinor() {
			for digits < 12 && math.Abs(t.Value-rounded(t.Value, digits)) > 1e-6*(high-low) {
				digits++
			}
		}
	}
	for i := range ticks {
		if !ticks[i].IsMinor() {
			ticks[i].Label = strconv.FormatFloat(ticks[i].Value, 'f', digits, 64)
		}
	}
	return ticks
}

func rounded(x float64, digits int) float64 {
	unit := math.Pow(10, float64(digits))
	return math.Round(x*unit) / unit
}
