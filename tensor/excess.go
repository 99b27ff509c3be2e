// Excess: what of a row exceeds its mean by more than so many standard deviations. Of normally distributed numbers a known share remains, without sorting: the "Gaussian top-k" of Gemma 3n's sparse
// MLPs. Eager, recorded, and in the cached step.
//
//	y_i = max(0, x_i - m - c s)        m = mean(x), s = sqrt(mean((x - m)²)), both of one row
package tensor

// excess of one row; y may be x.
func excess[T float](y, x []T, c float64) {
	mean, inv := spread(x, 0)
	cut := T(mean + c/inv)
	for i, v := range x {
		y[i] = max(0, v-cut)
	}
}

func (eager[T]) Excess(x Tensor, deviations float64) Tensor {
	a := mat[T]("Excess", x)
	y := like(a)
	for r := range a.rows() {
		excess(y.row(r), a.row(r), deviations)
	}
	return y
}

func (t *Tape[T]) Excess(x Tensor, deviations float64) Tensor {
	a := t.open("Excess", x)
	rows, cols := matrix("Excess", a.shape)
	y := &node[T]{op: "Excess", shape: a.shape, in: list(a)}
	y.reads = list(a, y)
	y.forward = func() {
		t.byRows(rows, cols, func(from, to int) {
			for i := from; i < to; i++ {
				excess(y.value[i*cols:(i+1)*cols], a.value[i*cols:(i+1)*cols], deviations)
			}
		})
	}
	// With g = dy where y > 0, 0 elsewhere, and n = (x - m)/s: dx = g - mean(g) (1 + c n).
	y.backward = func() {
		g, add := t.gradient(a)
		if g == nil {
			return
		}
		t.byRows(rows, cols, func(from, to int) {
			for i := from; i < to; i++ {
				in, out, up := a.value[i*cols:(i+1)*cols], y.value[i*cols:(i+1)*cols], y.grad[i*cols:(i+1)*cols]
				mean, inv := spread(in, 0)
				through := func(j int) float64 {
					if out[j] > 0 {
						return float64(up[j])
					}
					return 0
				}
				meanG := 0.0
				for j := range in {
					meanG += through(j)
				}
				meanG /= float64(cols)
				for j, v := range in {
					put(&g[i*cols+j], through(j)-meanG*(1+deviations*(float64(v)-mean)*inv), add)
				}
			}
		})
	}
	return t.record(y)
}

// Excess is Excess in place.
func (w *Workspace) Excess(x Buf, deviations float64) {
	if w.spread(x) {
		w.share(x.Rows, func(from, to int) { excesses(x, deviations, from, to) })
	} else {
		excesses(x, deviations, 0, x.Rows)
	}
}

func excesses(x Buf, deviations float64, from, to int) {
	for r := from; r < to; r++ {
		row := x.x[r*x.Cols:][:x.Cols]
		excess(row, row, deviations)
	}
}
