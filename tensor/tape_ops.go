// The tape's ops on elements and rows: embedding, products, sums, activations.
package tensor

func (t *Tape[T]) Embed(table Tensor, ids []int32) Tensor {
	w := t.open("Embed", table)
	cols := checkEmbed(w.shape, ids)
	y := &node[T]{op: "Embed", shape: []int{len(ids), cols}, in: list(w)}
	y.forward = func() {
		t.byRows(len(ids), cols, func(from, to int) {
			for i := from; i < to; i++ {
				copy(y.value[i*cols:(i+1)*cols], w.value[int(ids[i])*cols:])
			}
		})
	}
	y.backward = func() {
		g := t.zeroed(w)
		for i, id := range ids {
			t.k.add(g[int(id)*cols:int(id+1)*cols], y.grad[i*cols:])
		}
	}
	return t.record(y)
}

func (t *Tape[T]) MatMul(x, w Tensor) Tensor {
	a, b := t.open("MatMul", x), t.open("MatMul", w)
	m, n, k := checkMatMul(a.shape, b.shape)
	y := &node[T]{op: "MatMul", shape: []int{m, n}, in: list(a, b)}
	if b.tracked {
		y.reads = append(y.reads, a)
	}
	if a.tracked {
		y.reads = append(y.reads, b)
	}
	y.forward = func() {
		t.k.gemm(t.loops, dense[T]{y.value, n, false}, dense[T]{a.value, k, false}, dense[T]{b.value, k, true}, m, n, k, false)
	}
	y.backward = func() {
		if g, add := t.gradient(b); g != nil { // dw = dyᵀ x
			t.k.gemm(t.loops, dense[T]{g, k, false}, dense[T]{y.grad, n, true}, dense[T]{a.value, k, false}, n, k, m, add)
		}
		if g, add := t.gradient(a); g != nil { // dx = dy w
			t.k.gemm(t.loops, dense[T]{g, k, false}, dense[T]{y.grad, n, false}, dense[T]{b.value, k, false}, m, k, n, add)
		}
	}
	return t.record(y)
}

func (t *Tape[T]) AddBias(x, b Tensor) Tensor {
	a, r := t.open("AddBias", x), t.open("AddBias", b)
	checkVector("AddBias", a.shape, r.shape)
	rows, cols := a.rows(), a.cols()
	y := &node[T]{op: "AddBias", shape: a.shape, in: list(a, r)}
	y.forward = func() {
		t.byRows(rows, cols, func(from, to int) {
			copy(y.value[from*cols:to*cols], a.value[from*cols:])
			for i := from; i < to; i++ {
				t.k.add(y.value[i*cols:(i+1)*cols], r.value)
			}
		})
	}
	y.backward = func() {
		if r.tracked {
			t.summed(rows, cols, cols, t.zeroed(r), func(from, to int, sum []T) {
				for i := from; i < to; i++ {
					t.k.add(sum, y.grad[i*cols:])
				}
			})
		}
		t.pass(y, a)
	}
	return t.record(y)
}

func (t *Tape[T]) MulRow(x, r Tensor) Tensor {
	a, b := t.open("MulRow", x), t.open("MulRow", r)
	checkVector("MulRow", a.shape, b.shape)
	rows, cols := a.rows(), a.cols()
	y := &node[T]{op: "MulRow", shape: a.shape, in: list(a, b), reads: list(a, b), light: true}
	y.forward = func() {
		t.byRows(rows, cols, func(from, to int) {
			for i := from; i < to; i++ {
				t.k.mul(y.value[i*cols:(i+1)*cols], a.value[i*cols:], b.value, false)
			}
		})
	}
	y.backward = func() {
		if b.tracked {
			t.summed(rows, cols, cols, t.zeroed(b), func(from, to int, sum []T) {
				for i := from; i < to; i++ {
					t.k.mul(sum, y.grad[i*cols:], a.value[i*cols:], true)
				}
			})
		}
		if g, add := t.gradient(a); g != nil {
			t.byRows(rows, cols, func(from, to int) {
				for i := from; i < to; i++ {
					t.k.mul(g[i*cols:(i+1)*cols], y.grad[i*cols:], b.value, add)
				}
			})
		}
	}
	return t.record(y)
}

func (t *Tape[T]) Add(a, b Tensor) Tensor {
	x, z := t.open("Add", a), t.open("Add", b)
	checkEqual("Add", x.shape, z.shape)
	y := &node[T]{op: "Add", shape: x.shape, in: list(x, z)}
	y.forward = func() {
		t.elements(len(y.value), func(from, to int) {
			copy(y.value[from:to], x.value[from:to])
			t.k.add(y.value[from:to], z.value[from:to])
		})
	}
	y.backward = func() {
		if g, add := t.gradient(z); g != nil {
			t.accumulate(g, y.grad, add)
		}
		t.pass(y, x)
	}
	return t.record(y)
}

func (t *Tape[T]) Mul(a, b Tensor) Tensor {
	x, z := t.open("Mul", a), t.open("Mul", b)
	checkEqual("Mul", x.shape, z.shape)
	y := &node[T]{op: "Mul", shape: x.shape, in: list(x, z), reads: list(x, z), light: true}
	product := func(dst, a, b []T, add bool) {
		t.elements(len(dst), func(from, to int) { t.k.mul(dst[from:to], a[from:to], b[from:to], add) })
	}
	y.forward = func() { product(y.value, x.value, z.value, false) }
	y.backward = func() {
		if g, add := t.gradient(x); g != nil {
			product(g, y.grad, z.value, add)
		}
		if g, add := t.gradient(z); g != nil {
			product(g, y.grad, x.value, add)
		}
	}
	return t.record(y)
}

// Scale returns x itself for s = 1.
func (t *Tape[T]) Scale(x Tensor, s float64) Tensor {
	a := t.open("Scale", x)
	if s == 1 {
		return a
	}
	y := &node[T]{op: "Scale", shape: a.shape, in: list(a)}
	y.forward = func() {
		t.elements(len(y.value), func(from, to int) { t.k.scale(y.value[from:to], a.value[from:to], s, false) })
	}
	y.backward = func() {
		g, add := t.gradient(a)
		t.elements(len(g), func(from, to int) { t.k.scale(g[from:to], y.grad[from:to], s, add) })
	}
	return t.record(y)
}

// transpose turns a parameter that is stored [in, out].
func (t *Tape[T]) transpose(a *node[T]) Tensor {
	rows, cols := a.rows(), a.cols()
	y := &node[T]{op: "Transpose", shape: []int{cols, rows}, in: list(a), light: true}
	y.forward = func() {
		t.byRows(cols, rows, func(from, to int) {
			for i := from; i < to; i++ {
				for j := range rows {
					y.value[i*rows+j] = a.value[j*cols+i]
				}
			}
		})
	}
	y.backward = func() {
		if a.tracked {
			g := t.zeroed(a)
			t.byRows(rows, cols, func(from, to int) {
				for i := from; i < to; i++ {
					for j := range cols {
						g[i*cols+j] += y.grad[j*rows+i]
					}
				}
			})
		}
	}
	return t.record(y)
}

// pick gathers elements of a parameter.
func (t *Tape[T]) pick(a *node[T], shape []int, p *Picked) Tensor {
	y := &node[T]{op: "Pick", shape: shape, in: list(a), light: true}
	y.forward = func() {
		at := 0
		p.each(func(place int) { y.value[at] = a.value[place]; at++ })
	}
	y.backward = func() {
		g, at := t.zeroed(a), 0
		if g == nil {
			return
		}
		p.each(func(place int) { g[place] += y.grad[at]; at++ })
	}
	return t.record(y)
}

func (t *Tape[T]) SwiGLU(gate, up Tensor) Tensor {
	a, b := t.open("SwiGLU", gate), t.open("SwiGLU", up)
	checkEqual("SwiGLU", a.shape, b.shape)
	y := &node[T]{op: "SwiGLU", shape: a.shape, in: list(a, b), reads: list(a, b), light: true}
	y.forward = func() {
		t.elements(len(y.value), func(from, to int) { t.k.swiGLU(y.value[from:to], a.value[from:to], b.value[from:to]) })
	}
	y.backward = func() {
		back := func(da, db []T, addA, addB bool) {
			t.elements(len(y.grad), func(from, to int) {
				t.k.swiGLUBack(part(da, from, to), part(db, from, to), y.grad[from:to], a.value[from:to], b.value[from:to], addA, addB)
			})
		}
		da, addA := t.gradient(a)
		if a == b {
			back(da, nil, addA, false)
			back(nil, da, false, true)
			return
		}
		db, addB := t.gradient(b)
		back(da, db, addA, addB)
	}
	return t.record(y)
}

// part slices a gradient that may be nil.
func part[T float](x []T, from, to int) []T {
	if x == nil {
		return nil
	}
	return x[from:to]
}

func (t *Tape[T]) SiLU(x Tensor) Tensor    { return t.curve("SiLU", x, activation(curveSiLU, 0)) }
func (t *Tape[T]) Sigmoid(x Tensor) Tensor { return t.curve("Sigmoid", x, activation(curveSigmoid, 0)) }

func (t *Tape[T]) GELU(x Tensor, tanh bool) Tensor {
	if tanh {
		return t.curve("GELU", x, activation(curveGELUTanh, 0))
	}
	return t.curve("GELU", x, activation(curveGELU, 0))
}

func (t *Tape[T]) Softcap(x Tensor, c float64) Tensor {
	checkCap(c)
	return t.curve("Softcap", x, activation(curveSoftcap, c))
}

func (t *Tape[T]) curve(op string, x Tensor, f curve) Tensor {
	a := t.open(op, x)
	y := &node[T]{op: op, shape: a.shape, in: list(a), light: !f.own}
	v := a
	if f.own {
		v = y
	}
	y.reads = list(v)
	y.forward = func() {
		t.elements(len(y.value), func(from, to int) { t.k.apply(y.value[from:to], a.value[from:to], f) })
	}
	y.backward = func() {
		g, add := t.gradient(a)
		t.elements(len(g), func(from, to int) { t.k.applyBack(g[from:to], y.grad[from:to], v.value[from:to], f, add) })
	}
	return t.record(y)
}
