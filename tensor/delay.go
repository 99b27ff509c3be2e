// Delay, the rows of the tokens before: what a layer sees that must not see a token's own row. Eager and recorded.
package tensor

func (eager[T]) Delay(x Tensor) Tensor {
	a := mat[T]("Delay", x)
	y := like(a)
	delay(y.data, a.data, a.cols(), 0, a.rows(), nil)
	return y
}

// delay fills rows [from, to) of y [rows, cols]: the row before of x, zeros where a document begins. first is the first row of each row's document; nil: 0.
func delay[T float](y, x []T, cols, from, to int, first []int32) {
	for i := from; i < to; i++ {
		row := y[i*cols : (i+1)*cols]
		if i == 0 || first != nil && int(first[i]) == i {
			clear(row)
		} else {
			copy(row, x[(i-1)*cols:])
		}
	}
}

func (t *Tape[T]) Delay(x Tensor) Tensor {
	a := t.open("Delay", x)
	rows, cols := a.rows(), a.cols()
	first := t.firsts(rows)
	y := &node[T]{op: "Delay", shape: a.shape, in: list(a)}
	y.forward = func() {
		t.byRows(rows, cols, func(from, to int) { delay(y.value, a.value, cols, from, to, first) })
	}
	y.backward = func() {
		g := t.zeroed(a)
		t.byRows(rows, cols, func(from, to int) {
			for i := max(1, from); i < to; i++ {
				if first == nil || int(first[i]) != i {
					t.k.add(g[(i-1)*cols:i*cols], y.grad[i*cols:(i+1)*cols])
				}
			}
		})
	}
	return t.record(y)
}
