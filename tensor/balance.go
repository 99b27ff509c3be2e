package tensor

// Balance keeps the weights that a router gives from settling on one choice: to the loss joins the mean square of what each choice gets on average beyond its even share,
//
//	L += weight 1/n sum_i (mean_t x_ti - 1/n)²        x [T, n], rows that sum to 1
//
// The value is x. The loss itself is not part of any result, only its gradient is: so it needs no way from inside a layer to the loss, and stands inside checkpointed blocks.

// Balancer is an Ops that takes part in Balance.
type Balancer interface {
	Balance(x Tensor, weight float64) Tensor
}

// Balance is x; an Ops that trains adds the loss's gradient.
func Balance(o Ops, x Tensor, weight float64) Tensor {
	if b, ok := o.(Balancer); ok {
		return b.Balance(x, weight)
	}
	return x
}

// SetBalance multiplies the weights of Balance in what is recorded from now on; 0, as at first, is off. A batch that is one of several parts of a step gives its share.
func (t *Tape[T]) SetBalance(factor float64) { t.balance = factor }

// Balance records x again, with the loss's gradient added to it: 2 weight / (n T) (mean_t x_ti - 1/n) at every token.
func (t *Tape[T]) Balance(x Tensor, weight float64) Tensor {
	weight *= t.balance
	if weight == 0 {
		return x
	}
	a := t.open("Balance", x)
	rows, n := matrix("Balance", a.shape)
	y := &node[T]{op: "Balance", shape: a.shape, in: list(a), reads: list(a)}
	y.forward = func() { copy(y.value, a.value) }
	y.backward = func() {
		for i := range n {
			mean := 0.0
			for r := range rows {
				mean += float64(a.value[r*n+i])
			}
			d := T(2 * weight / float64(n*rows) * (mean/float64(rows) - 1/float64(n)))
			for r := range rows {
				y.grad[r*n+i] += d
			}
		}
		t.pass(y, a)
	}
	return t.record(y)
}
