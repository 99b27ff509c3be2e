// The tape's ops on whole rows: norms and softmax.
package tensor

import "math"

// value of an input that an op may go without.
func value[T float](n *node[T]) []T {
	if n == nil {
		return nil
	}
	return n.value
}

func (t *Tape[T]) RMSNorm(x, w Tensor, spec Norm) Tensor {
	a, b := t.open("RMSNorm", x), t.maybe("RMSNorm", w)
	var weightShape []int
	if b != nil {
		weightShape = b.shape
	}
	rows, width := checkNorm(a.shape, weightShape, spec)
	cols := a.cols()
	y := &node[T]{op: "RMSNorm", shape: a.shape, in: list(a, b), reads: list(a, b), light: true}
	y.forward = func() {
		t.byRows(rows, cols, func(from, to int) {
			t.k.rmsNorm(y.value[from*cols:to*cols], a.value[from*cols:to*cols], value(b), width, spec)
		})
	}
	y.backward = func() {
		g, add := t.gradient(a)
		var dw []T
		if b != nil && b.tracked {
			dw = t.zeroed(b)
		}
		t.summed(rows, cols, len(dw), dw, func(from, to int, sum []T) {
			t.k.rmsNormBack(part(g, from*cols, to*cols), sum, y.grad[from*cols:to*cols], a.value[from*cols:to*cols], value(b), width, spec, add)
		})
	}
	return t.record(y)
}

func (t *Tape[T]) LayerNorm(x, w, b Tensor, eps float64) Tensor {
	const op = "LayerNorm"
	a, wn, bn := t.open(op, x), t.maybe(op, w), t.maybe(op, b)
	rows, cols := matrix(op, a.shape)
	for _, v := range list(wn, bn) {
		checkVector(op, a.shape, v.shape)
	}
	y := &node[T]{op: op, shape: a.shape, in: list(a, wn, bn), reads: list(a, wn), light: true}
	weight := func(j int) float64 {
		if wn == nil {
			return 1
		}
		return float64(wn.value[j])
	}
	y.forward = func() {
		t.byRows(rows, cols, func(from, to int) {
			for i := from; i < to; i++ {
				layerNormRow(y.value[i*cols:(i+1)*cols], a.value[i*cols:(i+1)*cols], value(wn), value(bn), eps)
			}
		})
	}
	// With n = (x - mean)/deviation and g = dy w: dx = (g - mean(g) - n mean(g n))/deviation, dw += dy n, db += dy.
	y.backward = func() {
		g, add := t.gradient(a)
		both := t.arena.take(2 * cols) // gradients of w and b
		clear(both)
		t.summed(rows, cols, 2*cols, both, func(from, to int, sum []T) {
			for i := from; i < to; i++ {
				in, up := a.value[i*cols:(i+1)*cols], y.grad[i*cols:(i+1)*cols]
				mean, inv := spread(in, eps)
				meanG, meanGN := 0.0, 0.0
				for j, v := range in {
					n, d := (float64(v)-mean)*inv, float64(up[j])
					meanG += d * weight(j)
					meanGN += d * weight(j) * n
					sum[j] += T(d * n)
					sum[cols+j] += up[j]
				}
				meanG, meanGN = meanG/float64(cols), meanGN/float64(cols)
				if g == nil {
					continue
				}
				for j, v := range in {
					n := (float64(v) - mean) * inv
					put(&g[i*cols+j], (float64(up[j])*weight(j)-meanG-n*meanGN)*inv, add)
				}
			}
		})
		for i, v := range []*node[T]{wn, bn} {
			if v != nil && v.tracked {
				t.k.add(t.zeroed(v), both[i*cols:(i+1)*cols])
			}
		}
		t.arena.give(both)
	}
	return t.record(y)
}

func (t *Tape[T]) Softmax(x Tensor) Tensor {
	a := t.open("Softmax", x)
	rows, cols := matrix("Softmax", a.shape)
	y := &node[T]{op: "Softmax", shape: a.shape, in: list(a)}
	y.reads = list(y)
	y.forward = func() {
		t.byRows(rows, cols, func(from, to int) {
			for i := from; i < to; i++ {
				softmax(y.value[i*cols:(i+1)*cols], a.value[i*cols:(i+1)*cols])
			}
		})
	}
	y.backward = func() { // dx = y (dy - sum y dy)
		g, add := t.gradient(a)
		t.byRows(rows, cols, func(from, to int) {
			for i := from; i < to; i++ {
				p, up := y.value[i*cols:(i+1)*cols], y.grad[i*cols:(i+1)*cols]
				sum := 0.0
				for j, v := range p {
					sum += float64(v) * float64(up[j])
				}
				for j, v := range p {
					put(&g[i*cols+j], float64(v)*(float64(up[j])-sum), add)
				}
			}
		})
	}
	return t.record(y)
}

// softmax of one row: e^(x - max) over their sum.
func softmax[T float](y, x []T) {
	top := math.Inf(-1)
	for _, v := range x {
		top = max(top, float64(v))
	}
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	for i, v := range x {
		y[i] = T(math.Exp(float64(v)-top) / sum)
	}
}
