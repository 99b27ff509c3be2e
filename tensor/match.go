// Match gives rows the size of other rows: how AltUp's further streams begin and end (Gemma 3n). Eager, recorded, and in the cached step.
//
//	y = x a/b        a = sqrt(mean(like²)), b = sqrt(max(mean(x²), floor)), of each row
package tensor

import "math"

func checkMatch(x, like []int, floor float64) (rows, cols int) {
	rows, cols = matrix("Match", x)
	if r, c := matrix("Match", like); r != rows || c != cols || !(floor > 0) {
		bad("Match", "x %v like %v, floor %v", x, like, floor)
	}
	return rows, cols
}

func meanSquare[T float](x []T) float64 { return meanProduct(x, x) }

// match of one row; y may be x.
func match[T float](y, x, like []T, floor float64) {
	f := math.Sqrt(meanSquare(like)) / math.Sqrt(max(meanSquare(x), floor))
	for i, v := range x {
		y[i] = T(float64(v) * f)
	}
}

func (eager[T]) Match(x, other Tensor, floor float64) Tensor {
	a, b := mat[T]("Match", x), mat[T]("Match", other)
	checkMatch(a.shape, b.shape, floor)
	y := like(a)
	for r := range a.rows() {
		match(y.row(r), a.row(r), b.row(r), floor)
	}
	return y
}

func (t *Tape[T]) Match(x, other Tensor, floor float64) Tensor {
	a, b := t.open("Match", x), t.open("Match", other)
	rows, cols := checkMatch(a.shape, b.shape, floor)
	y := &node[T]{op: "Match", shape: a.shape, in: list(a, b), reads: list(a, b), light: true}
	y.forward = func() {
		t.byRows(rows, cols, func(from, to int) {
			for i := from; i < to; i++ {
				match(y.value[i*cols:(i+1)*cols], a.value[i*cols:(i+1)*cols], b.value[i*cols:(i+1)*cols], floor)
			}
		})
	}
	// With p = sum(dy x)/cols: dx = (a/b) (dy - x p/b²), without the second term where b is the floor; dlike = like p/(a b).
	y.backward = func() {
		dx, addX := t.gradient(a)
		t.byRows(rows, cols, func(from, to int) {
			for i := from; i < to; i++ {
				in, up := a.value[i*cols:(i+1)*cols], y.grad[i*cols:(i+1)*cols]
				size, squares, p := math.Sqrt(meanSquare(b.value[i*cols:(i+1)*cols])), meanSquare(in), meanProduct(up, in)
				if squares < floor {
					squares, p = floor, 0
				}
				if dx != nil {
					for j, v := range in {
						put(&dx[i*cols+j], size/math.Sqrt(squares)*(float64(up[j])-float64(v)*p/squares), addX)
					}
				}
			}
		})
		dlike, addLike := t.gradient(b)
		t.byRows(rows, cols, func(from, to int) {
			for i := from; i < to; i++ {
				in, other := a.value[i*cols:(i+1)*cols], b.value[i*cols:(i+1)*cols]
				f := meanProduct(y.grad[i*cols:(i+1)*cols], in) / math.Sqrt(max(meanSquare(in), floor)) / math.Sqrt(meanSquare(other))
				if dlike != nil {
					for j, v := range other {
						put(&dlike[i*cols+j], float64(v)*f, addLike)
					}
				}
			}
		})
	}
	return t.record(y)
}

// meanProduct is the mean of the products.
func meanProduct[T float](a, b []T) float64 {
	sum := 0.0
	for i, v := range a {
		sum += float64(float64(v) * float64(b[i]))
	}
	return sum / float64(len(a))
}

// Match is Match in place.
func (w *Workspace) Match(x, other Buf, floor float64) {
	if w.spread(x) {
		w.share(x.Rows, func(from, to int) { matches(x, other, floor, from, to) })
	} else {
		matches(x, other, floor, 0, x.Rows)
	}
}

func matches(x, other Buf, floor float64, from, to int) {
	for r := from; r < to; r++ {
		row := x.x[r*x.Cols:][:x.Cols]
		match(row, row, other.x[r*x.Cols:][:x.Cols], floor)
	}
}
