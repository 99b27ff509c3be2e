package tensor

// SetZLoss adds weight * logsumexp² of every kept row to the losses recorded from now on (arXiv 2204.02311); 0 is off.
func (t *Tape[T]) SetZLoss(weight float64) { t.zloss = weight }

// CrossEntropy is the mean, or the sum, over the targets that are not ignore, of logsumexp(row) - row[target]: logits [T, n], targets [T] -> [1]. Where all targets
// are ignored it is 0. Backward makes the gradient in the logits' own memory where it can: no second softmax is
// ever held.
func (t *Tape[T]) CrossEntropy(logits Tensor, targets []int32, ignore int32, sum bool) Tensor {
	a := t.open("CrossEntropy", logits)
	rows, cols := checkLoss(a.shape, targets, ignore)
	kept := 0
	for _, id := range targets {
		if id != ignore {
			kept++
		}
	}
	each, z := 1.0, t.zloss
	if !sum {
		each = 1 / float64(max(kept, 1))
	}
	y := &node[T]{op: "CrossEntropy", shape: []int{1}, auxLen: 2 * rows, in: list(a)}
	lse := func(i int) float64 { return float64(y.aux[2*i]) + float64(y.aux[2*i+1]) } // in two parts: float32 alone would cost the probabilities digits
	y.reads = list(y, a)
	y.forward = func() {
		t.byRows(rows, cols, func(from, to int) {
			for i := from; i < to; i++ {
				if targets[i] != ignore {
					v := t.k.logSumExp(a.value[i*cols : (i+1)*cols])
					y.aux[2*i] = T(v)
					y.aux[2*i+1] = T(v - float64(y.aux[2*i]))
				}
			}
		})
		total := 0.0
		for i, id := range targets {
			if id != ignore {
				total += lse(i) - float64(a.value[i*cols+int(id)]) + z*lse(i)*lse(i)
			}
		}
		y.value[0] = T(total * each)
	}
	y.backward = func() {
		up := float64(y.grad[0]) * each
		var g []T
		over := a.grad == nil && a.readers == 1 && !a.light && a.owned // nobody else reads the logits: write over them
		if over {
			g = a.value
		} else {
			g = t.arena.take(rows * cols)
		}
		t.byRows(rows, cols, func(from, to int) {
			for i := from; i < to; i++ {
				d := g[i*cols : (i+1)*cols]
				if targets[i] == ignore {
					clear(d)
					continue
				}
				t.k.lossBack(d, a.value[i*cols:(i+1)*cols], lse(i), up, 2*z, int(targets[i]))
			}
		})
		switch {
		case over:
			a.grad, a.value = a.value, nil
		case a.grad == nil:
			a.grad = g
		default:
			t.accumulate(a.grad, g, true)
			t.arena.give(g)
		}
	}
	return t.record(y)
}
