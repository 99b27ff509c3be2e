// The tape's ops that move columns and turn or make heads. A row of heads [T, heads*width] is T*heads rows of width to the loops here.
package tensor

import "slices"

// columns is a rectangle of n columns from column `at` of rows `width` wide.
type columns[T float] struct {
	data      []T
	width, at int
}

func (b columns[T]) row(i, n int) []T { return b.data[i*b.width+b.at:][:n] }

// move copies or adds rows of n columns.
func (t *Tape[T]) move(dst, src columns[T], rows, n int, add bool) {
	t.byRows(rows, n, func(from, to int) {
		for i := from; i < to; i++ {
			if add {
				t.k.add(dst.row(i, n), src.row(i, n))
			} else {
				copy(dst.row(i, n), src.row(i, n))
			}
		}
	})
}

func (t *Tape[T]) Cols(x Tensor, from, to int) Tensor { return t.slice("Cols", x, 1, from, to) }

func (t *Tape[T]) HeadSlice(x Tensor, heads, from, to int) Tensor {
	return t.slice("HeadSlice", x, heads, from, to)
}

func (t *Tape[T]) slice(op string, x Tensor, heads, from, to int) Tensor {
	a := t.open(op, x)
	rows, width := checkSlice(op, a.shape, heads, from, to)
	n := to - from
	y := &node[T]{op: op, shape: []int{rows, heads * n}, in: list(a)}
	y.forward = func() {
		t.move(columns[T]{y.value, n, 0}, columns[T]{a.value, width, from}, rows*heads, n, false)
	}
	y.backward = func() {
		t.move(columns[T]{t.zeroed(a), width, from}, columns[T]{y.grad, n, 0}, rows*heads, n, true)
	}
	return t.record(y)
}

func (t *Tape[T]) Concat(xs ...Tensor) Tensor { return t.join("Concat", 1, xs) }

func (t *Tape[T]) HeadConcat(heads int, xs ...Tensor) Tensor { return t.join("HeadConcat", heads, xs) }

func (t *Tape[T]) join(op string, heads int, xs []Tensor) Tensor {
	if len(xs) == 0 {
		bad(op, "nothing to join")
	}
	parts := make([]*node[T], len(xs))
	widths := make([]int, len(xs))
	total, rows := 0, 0
	for i, x := range xs {
		parts[i] = t.open(op, x)
		r, width := headsOf(op, parts[i].shape, heads)
		if i > 0 && r != rows {
			bad(op, "rows differ: %v, %v", parts[0].shape, parts[i].shape)
		}
		rows, widths[i] = r, width
		total += width
	}
	y := &node[T]{op: op, shape: []int{rows, heads * total}, in: parts}
	y.forward = func() {
		at := 0
		for i, p := range parts {
			t.move(columns[T]{y.value, total, at}, columns[T]{p.value, widths[i], 0}, rows*heads, widths[i], false)
			at += widths[i]
		}
	}
	y.backward = func() {
		at := 0
		for i, p := range parts {
			if g, add := t.gradient(p); g != nil {
				t.move(columns[T]{g, widths[i], 0}, columns[T]{y.grad, total, at}, rows*heads, widths[i], add)
			}
			at += widths[i]
		}
	}
	return t.record(y)
}

func (t *Tape[T]) HeadRepeat(x Tensor, heads int) Tensor {
	a := t.open("HeadRepeat", x)
	rows, width := matrix("HeadRepeat", a.shape)
	if heads < 1 {
		bad("HeadRepeat", "x %v to %d heads", a.shape, heads)
	}
	y := &node[T]{op: "HeadRepeat", shape: []int{rows, heads * width}, in: list(a)}
	y.forward = func() {
		for h := range heads {
			t.move(columns[T]{y.value, heads * width, h * width}, columns[T]{a.value, width, 0}, rows, width, false)
		}
	}
	y.backward = func() {
		g, add := t.gradient(a)
		for h := range heads {
			t.move(columns[T]{g, width, 0}, columns[T]{y.grad, heads * width, h * width}, rows, width, add || h > 0)
		}
	}
	return t.record(y)
}

func (t *Tape[T]) Outer(a, b Tensor, heads, rank int, scale float64) Tensor {
	x, z := t.open("Outer", a), t.open("Outer", b)
	rows, width := checkOuter(x.shape, z.shape, heads, rank)
	y := &node[T]{op: "Outer", shape: []int{rows, heads * width}, in: list(x, z), reads: list(x, z), light: true}
	// pairs visits the factor and the two vectors of every token, head and rank.
	pairs := func(f func(t, h, r int)) {
		t.byRows(rows, heads*rank*width, func(from, to int) {
			for i := from; i < to; i++ {
				for h := range heads {
					for r := range rank {
						f(i, h, r)
					}
				}
			}
		})
	}
	head := func(x []T, i, h int) []T { return x[(i*heads+h)*width:][:width] }
	channel := func(x []T, i, r int) []T { return x[(i*rank+r)*width:][:width] }
	y.forward = func() {
		pairs(func(i, h, r int) {
			t.k.scale(head(y.value, i, h), channel(z.value, i, r), scale*float64(x.value[(i*heads+h)*rank+r]), r > 0)
		})
	}
	y.backward = func() {
		if g, add := t.gradient(x); g != nil {
			pairs(func(i, h, r int) {
				put(&g[(i*heads+h)*rank+r], scale*float64(dot(head(y.grad, i, h), channel(z.value, i, r))), add)
			})
		}
		if g, add := t.gradient(z); g != nil {
			pairs(func(i, h, r int) {
				t.k.scale(channel(g, i, r), head(y.grad, i, h), scale*float64(x.value[(i*heads+h)*rank+r]), add || h > 0)
			})
		}
	}
	return t.record(y)
}

// turns are the cosines and sines of one list of positions, kept from step to step.
type turns[T float] struct {
	freq           []float64
	pos            []int
	factor         float64
	bf16           bool
	used           bool // since Reset
	cos, sin, back []T  // [len(pos), len(freq)]; back is -sin
}

// angles finds or makes the turns of a rotation.
func (t *Tape[T]) angles(spec Rotary, pos []int) *turns[T] {
	freq, factor := spec.InvFreq, spec.Factor
	var free *turns[T]
	for _, a := range t.turns {
		if a.factor == factor && a.bf16 == spec.BF16 && slices.Equal(a.freq, freq) && slices.Equal(a.pos, pos) {
			a.used = true
			return a
		}
		if !a.used {
			free = a
		}
	}
	if free == nil {
		free = new(turns[T])
		t.turns = append(t.turns, free)
	}
	n := len(pos) * len(freq)
	free.freq, free.pos, free.factor, free.bf16, free.used = append(free.freq[:0], freq...), append(free.pos[:0], pos...), factor, spec.BF16, true
	free.cos, free.sin, free.back = slices.Grow(free.cos[:0], n)[:n], slices.Grow(free.sin[:0], n)[:n], slices.Grow(free.back[:0], n)[:n]
	t.byRows(len(pos), len(freq), func(from, to int) {
		for r := from; r < to; r++ {
			for i, f := range freq {
				c, s := turn(pos[r], f, spec.BF16)
				at := r*len(freq) + i
				free.cos[at], free.sin[at], free.back[at] = T(c*factor), T(s*factor), -T(s*factor)
			}
		}
	})
	return free
}

func (t *Tape[T]) RoPE(x Tensor, spec Rotary, pos []int) Tensor {
	a := t.open("RoPE", x)
	spec, width := checkRotary(a.shape, spec, pos)
	angles := t.angles(spec, pos)
	rows, half := len(pos), len(spec.InvFreq)
	y := &node[T]{op: "RoPE", shape: a.shape, in: list(a)}
	rotate := func(x, sin []T, from, to int) {
		for r := from; r < to; r++ {
			for h := range spec.Heads {
				head := x[(r*spec.Heads+h)*width:]
				t.k.rope(head[spec.From:spec.To], angles.cos[r*half:(r+1)*half], sin[r*half:(r+1)*half], spec.Pairs)
			}
		}
	}
	there, back := angles.sin, angles.back
	if spec.Sign < 0 {
		there, back = back, there
	}
	cols := a.cols()
	y.forward = func() {
		t.byRows(rows, cols, func(from, to int) {
			copy(y.value[from*cols:to*cols], a.value[from*cols:])
			rotate(y.value, there, from, to)
		})
	}
	y.backward = func() {
		t.byRows(rows, cols, func(from, to int) { rotate(y.grad, back, from, to) })
		t.pass(y, a)
	}
	return t.record(y)
}
