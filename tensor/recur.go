// Recurrences over tokens that forget by a fixed rule: running averages, and sums that begin anew with each block. The whole-sequence op, its gradient, and the form of the cached step,
// which begins from what an earlier step left. It will not do recurrences whose decay is computed from the data.
package tensor

import "github.com/lowkeylm/lowkey/kernel"

func checkRecur(x []int, keep []float64) (rows, cols int) {
	rows, cols = matrix("Recur", x)
	if len(keep) != rows || rows > 0 && keep[0] != 0 {
		bad("Recur", "x %v, %d factors, the first of which must be 0", x, len(keep))
	}
	return rows, cols
}

func (eager[T]) Recur(x Tensor, keep []float64, take float64) Tensor {
	a := mat[T]("Recur", x)
	checkRecur(a.shape, keep)
	y := like(a)
	recur(y.data, a.data, a.cols(), keep, take)
	return y
}

func recur[T float](y, x []T, cols int, keep []float64, take float64) {
	for i, k := range keep {
		row := y[i*cols : (i+1)*cols]
		for c, v := range x[i*cols : (i+1)*cols] {
			row[c] = T(take) * v
			if k != 0 {
				row[c] += T(T(k) * y[(i-1)*cols+c])
			}
		}
	}
}

// With g_t = dy_t + keep_t+1 g_t+1: dx_t = take g_t.
func (t *Tape[T]) Recur(x Tensor, keep []float64, take float64) Tensor {
	a := t.open("Recur", x)
	rows, cols := checkRecur(a.shape, keep)
	y := &node[T]{op: "Recur", shape: a.shape, in: list(a)}
	y.forward = func() { recur(y.value, a.value, cols, keep, take) }
	y.backward = func() {
		for i := rows - 1; i > 0; i-- {
			if keep[i] != 0 {
				t.k.scale(y.grad[(i-1)*cols:i*cols], y.grad[i*cols:(i+1)*cols], keep[i], true)
			}
		}
		if g, add := t.gradient(a); g != nil {
			t.elements(len(g), func(from, to int) { t.k.scale(g[from:to], y.grad[from:to], take, add) })
		}
	}
	return t.record(y)
}

// Recur is Recur in place over n rows of x from row `at`, the new tokens of one sequence; before [cols] is the result of the token before them. keep is given a token's position.
func (w *Workspace) Recur(x Buf, at, n int, before []float32, keep func(pos int) float64, take float64) {
	for i := at; i < at+n; i++ {
		row := x.x[i*x.Cols:][:x.Cols]
		if take != 1 {
			kernel.Scale(row, float32(take))
		}
		row0 := i
		if w.chosen != nil {
			row0 = w.chosen[i]
		}
		if k := keep(w.pos[row0]); k != 0 {
			kernel.AddScaled(row, before, float32(k))
		}
		before = row
	}
}

// Softmax of every row, in place.
func (w *Workspace) Softmax(x Buf) {
	for r := 0; r < x.Rows; r++ {
		kernel.Softmax(x.x[r*x.Cols:][:x.Cols])
	}
}

// Sigmoid is 1/(1+e^-x), in place.
func (w *Workspace) Sigmoid(x Buf) {
	for r := 0; r < x.Rows; r++ {
		row := x.x[r*x.Cols:][:x.Cols]
		kernel.Sigmoid(row, row)
	}
}
