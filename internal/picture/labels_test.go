package picture

import (
	"testing"

	"gonum.org/v1/plot/vg"
)

// Labels of points that lie close together, some of them the same, stand apart, inside, and off the dots.
func TestPlace(t *testing.T) {
	inside := vg.Rectangle{Max: vg.Point{X: 400, Y: 300}}
	var dots, sizes []vg.Point
	for i := range 24 {
		dots, sizes = append(dots, vg.Point{X: 150 + vg.Length(i*37%60), Y: 120 + vg.Length(i/2*11%70)}), append(sizes, vg.Point{X: 20 + vg.Length(i*13%60), Y: 10})
	}
	dots[3], dots[20] = dots[2], vg.Point{X: 399, Y: 1}
	corners := place(dots, sizes, inside)
	for i, a := range corners {
		b := a.Add(sizes[i])
		if a.X < 0 || a.Y < 0 || b.X > 400 || b.Y > 300 {
			t.Errorf("label %d stands at %v", i, a)
		}
		for j, c := range corners[:i] {
			if d := c.Add(sizes[j]); a.X < d.X && c.X < b.X && a.Y < d.Y && c.Y < b.Y {
				t.Errorf("labels %d and %d lie on each other", j, i)
			}
		}
		for j, d := range dots {
			if d.X > a.X && d.X < b.X && d.Y > a.Y && d.Y < b.Y {
				t.Errorf("label %d lies on dot %d", i, j)
			}
		}
	}
}
