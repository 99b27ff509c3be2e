package picture

import (
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Labels names points, each beside its dot where nothing else stands, and with a thin line to the dot where that is not close by. Points must be in the picture already: labels do not widen it.
func Labels(p *plot.Plot, points plotter.XYs, names []string) { p.Add(labels{points, names}) }

type labels struct {
	points plotter.XYs
	names  []string
}

const dotRadius = 9 // points, with the ring round it

func (l labels) Plot(c draw.Canvas, p *plot.Plot) {
	style := p.X.Tick.Label
	style.XAlign, style.YAlign = draw.XLeft, draw.YBottom
	x, y := p.Transforms(&c)
	var dots, sizes []vg.Point
	for i, at := range l.points {
		dots = append(dots, vg.Point{X: x(at.X), Y: y(at.Y)})
		sizes = append(sizes, vg.Point{X: style.Width(l.names[i]), Y: style.Font.Size})
	}
	for i, at := range place(dots, sizes, c.Rectangle) {
		near := vg.Point{X: min(max(dots[i].X, at.X), at.X+sizes[i].X), Y: min(max(dots[i].Y, at.Y), at.Y+sizes[i].Y)} // of the label's edge
		if math.Hypot(float64(near.X-dots[i].X), float64(near.Y-dots[i].Y)) > 1.5*dotRadius {
			c.StrokeLine2(draw.LineStyle{Color: color.Gray{170}, Width: vg.Points(0.5)}, dots[i].X, dots[i].Y, near.X, near.Y)
		}
		c.FillText(style, at, l.names[i])
	}
}

// place finds the lower left corner of every label: the nearest place to its dot, to the right before the left, that covers no dot and no label before it and lies inside; where there is none, the right of the dot.
func place(dots, sizes []vg.Point, inside vg.Rectangle) (corners []vg.Point) {
	var taken []vg.Rectangle
	for _, d := range dots {
		taken = append(taken, vg.Rectangle{Min: vg.Point{X: d.X - dotRadius/2, Y: d.Y - dotRadius/2}, Max: vg.Point{X: d.X + dotRadius/2, Y: d.Y + dotRadius/2}})
	}
	free := func(r vg.Rectangle) bool {
		for _, t := range taken {
			if r.Min.X < t.Max.X && t.Min.X < r.Max.X && r.Min.Y < t.Max.Y && t.Min.Y < r.Max.Y {
				return false
			}
		}
		return r.Min.X >= inside.Min.X && r.Max.X <= inside.Max.X && r.Min.Y >= inside.Min.Y && r.Max.Y <= inside.Max.Y
	}
	for i, d := range dots {
		at := func(dx, dy vg.Length) vg.Rectangle { // dx, dy: from the dot to the label's middle left, or right for dx < 0
			low := vg.Point{X: d.X + dx, Y: d.Y + dy - sizes[i].Y/2}
			if dx < 0 {
				low.X -= sizes[i].X
			}
			return vg.Rectangle{Min: low, Max: low.Add(sizes[i])}
		}
		best := at(dotRadius, 0)
	search:
		for away := vg.Length(0); away < 80; away += 3 {
			for _, to := range []vg.Point{{X: dotRadius, Y: away}, {X: dotRadius, Y: -away}, {X: -dotRadius, Y: away}, {X: -dotRadius, Y: -away}, {X: dotRadius + away, Y: away}, {X: dotRadius + away, Y: -away}} {
				if r := at(to.X, to.Y); free(r) {
					best = r
					break search
				}
			}
		}
		corners, taken = append(corners, best.Min), append(taken, best)
	}
	return corners
}
