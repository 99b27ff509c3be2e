// Stored, rows as a cache gives them back: for models that are trained with the type in which their cache is stored. Eager and recorded.
package tensor

import "github.com/lowkeylm/lowkey/kernel"

// stored fills rows [from, to) of y with those of x after a trip through codec c, each of `heads` equal slices of a row by itself.
func stored[T float](y, x []T, cols, heads, from, to int, c kernel.Codec) {
	width := cols / heads
	code, row := make([]byte, kernel.RowBytes(c, width)), make([]float32, width)
	for at := from * cols; at < to*cols; at += width {
		for i, v := range x[at : at+width] {
			row[i] = float32(v)
		}
		kernel.EncodeRow(c, code, row)
		kernel.DecodeRow(c, row, code)
		for i, v := range row {
			y[at+i] = T(v)
		}
	}
}

func checkStored(shape []int, heads int) {
	if len(shape) != 2 || heads < 1 || shape[1]%heads != 0 {
		bad("Stored", "shape %v in %d heads", shape, heads)
	}
}

func (eager[T]) Stored(x Tensor, heads int, c kernel.Codec) Tensor {
	a := mat[T]("Stored", x)
	checkStored(a.shape, heads)
	y := like(a)
	stored(y.data, a.data, a.cols(), heads, 0, a.rows(), c)
	return y
}

func (t *Tape[T]) Stored(x Tensor, heads int, c kernel.Codec) Tensor {
	a := t.open("Stored", x)
	checkStored(a.shape, heads)
	y := &node[T]{op: "Stored", shape: a.shape, in: list(a)}
	y.forward = func() {
		t.byRows(a.rows(), a.cols(), func(from, to int) { stored(y.value, a.value, a.cols(), heads, from, to, c) })
	}
	y.backward = func() { t.pass(y, a) } // straight through: a rounding has no slope of its own
	return t.record(y)
}
