// Short causal filters in the cached step: over the rows of one sequence, the earlier rows that they look back on standing before the new ones.
package tensor

import "github.com/lowkeylm/lowkey/kernel"

// Filter runs a filter of its own over each column: x [rows+taps-1, n], w [taps, n] with the newest row's tap last, bias [n] -> [rows, n].
func (w *Workspace) Filter(x Buf, f, bias *Vector, taps int) Buf {
	n := x.Cols
	y := w.New(x.Rows-taps+1, n)
	for i := range y.Rows {
		row := y.x[i*n:][:n]
		copy(row, bias.x)
		for j := range taps {
			in, tap := x.x[(i+j)*n:][:n], f.x[j*n:][:n]
			for c, v := range in {
				row[c] += float32(v * tap[c])
			}
		}
	}
	return y
}

// Unfold puts the taps of every head together: x [rows+taps-1, heads*width] -> y [rows, heads*(taps*width)], so that a filter over whole heads is a product.
func (w *Workspace) Unfold(y, x Buf, heads, taps int) {
	width := x.Cols / heads
	for i := range y.Rows {
		for h := range heads {
			for j := range taps {
				copy(y.x[i*y.Cols+(h*taps+j)*width:][:width], x.x[(i+j)*x.Cols+h*width:])
			}
		}
	}
}

// AddVector adds a bias to every row in place; nil leaves x.
func (w *Workspace) AddVector(x Buf, bias *Vector) {
	if bias == nil {
		return
	}
	for i := range x.Rows {
		kernel.Add(x.x[i*x.Cols:][:x.Cols], bias.x)
	}
}

// MulVector multiplies every row in place.
func (w *Workspace) MulVector(x Buf, scale *Vector) {
	for i := range x.Rows {
		row := x.x[i*x.Cols:][:x.Cols]
		kernel.Product(row, row, scale.x, false)
	}
}
