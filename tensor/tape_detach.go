package tensor

// Detacher is an Ops that records for gradients and can compute without: no gradient flows into what f returns, and what f made on the way is let go.
type Detacher interface {
	Detached(f func() []Tensor) []Tensor
}

// Detached runs f on the tape. Its results become constants.
func (t *Tape[T]) Detached(f func() []Tensor) []Tensor {
	from := len(t.nodes)
	out := f()
	kept := map[*node[T]]bool{}
	for _, x := range out {
		n := t.open("Detached", x)
		n.light, n.readers = false, n.readers+1 // never let go: it cannot be made again
		t.need(n)
		kept[n] = true
	}
	for _, n := range t.nodes[from:] {
		n.tracked = false
		if kept[n] {
			n.in, n.reads = nil, nil
		} else {
			t.drop(n)
		}
	}
	return out
}
