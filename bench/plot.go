package bench

// The picture of a report: milliseconds a token against depth, one colour a cache type, points as measured, a dashed line for the floor. Decoding has a full line fitted
// through its points; prompts, below it where they were measured at several depths, have their points joined.

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	_ "gonum.org/v1/plot/vg/vgimg" // png
	_ "gonum.org/v1/plot/vg/vgsvg"

	"github.com/lowkeylm/lowkey/fault"
)

// colours that colour-blind readers can tell apart (Okabe and Ito), black last.
var colours = []color.RGBA{{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {230, 159, 0, 255}, {86, 180, 233, 255}, {0, 0, 0, 255}}

// CheckPlot refuses a file name that Plot could not write, before anything is measured.
func CheckPlot(path string) error {
	if ext := strings.ToLower(filepath.Ext(path)); ext != ".png" && ext != ".svg" {
		return fault.New(fault.BadInput, "--plot "+path, "unknown kind of picture", "png and svg can be written", "name it FILE.png or FILE.svg")
	}
	return nil
}

// Plot draws the decode rows of a report, and the prompts of the first length, into a .png or .svg file. Other reports may be drawn with it: another engine's, say.
func Plot(r *Report, path string) error {
	if err := CheckPlot(path); err != nil {
		return err
	}
	var panels [][]*plot.Plot
	var curves []curve
	for _, res := range r.KV {
		c := curve{name: res.KV, points: res.Decode}
		if l := res.Line; l != nil {
			c.fit = l
			c.name += fmt.Sprintf("  %.0f ns a row", l.NsPerRow)
			if l.FloorNsPerRow > 0 {
				c.name += fmt.Sprintf(", floor %.0f (%.0f %%)", l.FloorNsPerRow, 100*l.Share)
			}
		}
		curves = append(curves, c)
	}
	if p, err := panel("Decoding "+filepath.Base(r.Model), curves, 1); err != nil {
		return err
	} else if p != nil {
		panels = append(panels, []*plot.Plot{p})
	}
	curves, tokens := nil, 0
	for _, res := range r.KV {
		c := curve{name: res.KV}
		for _, s := range res.Prefill {
			if tokens == 0 {
				tokens = s.Tokens
			}
			if s.Tokens == tokens {
				c.points = append(c.points, s)
			}
		}
		curves = append(curves, c)
	}
	if p, err := panel(fmt.Sprintf("Prompts of %d tokens", tokens), curves, 2); err != nil {
		return err
	} else if p != nil {
		panels = append(panels, []*plot.Plot{p})
	}
	if len(panels) == 0 {
		return fault.New(fault.BadInput, "--plot "+path, "nothing was measured by depth", "", "leave --depths and --tg as they are")
	}
	if last := panels[len(panels)-1][0]; r.Machine != nil && r.Machine.CPU != "" {
		last.X.Label.Text += fmt.Sprintf("    (%s, %d threads, %s)", r.Machine.CPU, r.Threads, r.Machine.Level)
	}
	return save(panels, path)
}

// curve is what one cache type has in a panel.
type curve struct {
	name   string
	points []Speed
	fit    *Slope // a line through the points; nil joins them
}

// panel draws curves of at least so many points. It is nil where there is none.
func panel(title string, curves []curve, least int) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = title
	p.X.Label.Text = "tokens in the cache"
	p.Y.Label.Text = "ms per token"
	p.Title.TextStyle.Font.Size, p.Title.Padding = vg.Points(13), vg.Points(6)
	p.Y.Min, p.X.Min = 0, 0
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Points(2)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{225}, color.Gray{225}
	p.Add(grid)
	drawn := 0
	var dashed *plotter.Line
	for _, one := range curves {
		if len(one.points) < least {
			continue
		}
		c := colours[drawn%len(colours)]
		drawn++
		var points, floor plotter.XYs
		for _, s := range one.points {
			x := float64(s.Depth) + float64(s.Tokens+1)/2
			points = append(points, plotter.XY{X: x, Y: s.MsPerToken})
			if s.Floor != nil {
				floor = append(floor, plotter.XY{X: x, Y: s.Floor.MsPerToken})
			}
		}
		dots, err := plotter.NewScatter(points)
		if err != nil {
			return nil, err
		}
		dots.GlyphStyle = draw.GlyphStyle{Color: c, Radius: vg.Points(2.5), Shape: draw.CircleGlyph{}}
		p.Add(dots)
		label := []plot.Thumbnailer{dots}
		through := points
		if l := one.fit; l != nil {
			last := points[len(points)-1].X
			through = plotter.XYs{{X: 0, Y: l.MsAtZero}, {X: last, Y: l.MsAtZero + l.NsPerRow*last/1e6}}
		}
		if len(through) > 1 {
			line, err := plotter.NewLine(through)
			if err != nil {
				return nil, err
			}
			line.LineStyle = draw.LineStyle{Color: c, Width: vg.Points(1.2)}
			p.Add(line)
			label = append(label, line)
		}
		p.Legend.Add(one.name, label...)
		if len(floor) > 1 {
			line, err := plotter.NewLine(floor)
			if err != nil {
				return nil, err
			}
			line.LineStyle = draw.LineStyle{Color: c, Width: vg.Points(1), Dashes: []vg.Length{vg.Points(4), vg.Points(3)}}
			p.Add(line)
			if drawn == 1 {
				dashed = &plotter.Line{LineStyle: line.LineStyle}
				dashed.Color = color.Gray{90}
			}
		}
	}
	if drawn == 0 {
		return nil, nil
	}
	if dashed != nil {
		p.Legend.Add("dashed: the machine's floor", dashed)
	}
	p.Y.Max *= 1.25 // room for the legend
	p.X.Max *= 1.02 // and for the last points
	return p, nil
}

// save draws panels below each other, their axes aligned.
func save(panels [][]*plot.Plot, path string) error {
	canvas, err := draw.NewFormattedCanvas(vg.Points(640), vg.Points(400*float64(len(panels))), strings.ToLower(filepath.Ext(path)[1:]))
	if err != nil {
		return err
	}
	tiles := draw.Tiles{Rows: len(panels), Cols: 1, PadY: vg.Points(10)}
	for i, row := range plot.Align(panels, tiles, draw.New(canvas)) {
		panels[i][0].Draw(row[0])
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err = canvas.WriteTo(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
