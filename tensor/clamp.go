// Clamp, and the clamped gate of GPT-OSS that is made of it. Eager, recorded, and in the cached step.
package tensor

import (
	"math"

	"github.com/lowkeylm/lowkey/kernel"
)

func checkClamp(low, high float64) {
	if !(low < high) {
		bad("Clamp", "low %v, high %v", low, high)
	}
}

func (eager[T]) Clamp(x Tensor, low, high float64) Tensor {
	checkClamp(low, high)
	a := arr[T]("Clamp", x)
	y := like(a)
	for i, v := range a.data {
		y.data[i] = min(max(v, T(low)), T(high))
	}
	return y
}

func (t *Tape[T]) Clamp(x Tensor, low, high float64) Tensor {
	checkClamp(low, high)
	a := t.open("Clamp", x)
	y := &node[T]{op: "Clamp", shape: a.shape, in: list(a), reads: list(a), light: true}
	y.forward = func() {
		t.elements(len(y.value), func(from, to int) {
			for i := from; i < to; i++ {
				y.value[i] = min(max(a.value[i], T(low)), T(high))
			}
		})
	}
	y.backward = func() { // dx = dy within the bounds, 0 outside
		g, add := t.gradient(a)
		t.elements(len(g), func(from, to int) {
			for i := from; i < to; i++ {
				d := 0.0
				if v := float64(a.value[i]); low <= v && v <= high {
					d = float64(y.grad[i])
				}
				put(&g[i], d, add)
			}
		})
	}
	return t.record(y)
}

// ClampedGate is (u + 1) g sigmoid(alpha g) with g = min(gate, limit) and u = up within +-limit, written over gate; up is spent.
func (w *Workspace) ClampedGate(gate, up Buf, alpha, limit float64) Buf {
	if w.spread(gate) {
		w.share(gate.Rows, func(from, to int) { clampedGate(gate, up, float32(alpha), float32(limit), from, to) })
	} else {
		clampedGate(gate, up, float32(alpha), float32(limit), 0, gate.Rows)
	}
	return gate
}

func clampedGate(gate, up Buf, alpha, limit float32, from, to int) {
	n := gate.Cols
	for r := from; r < to; r++ {
		g, u := gate.x[r*n:][:n], up.x[r*n:][:n]
		for i, v := range g {
			v = min(v, limit)
			u[i] = (min(max(u[i], -limit), limit) + 1) * v
			g[i] = alpha * v
		}
		kernel.SigmoidMul(g, g, u)
	}
}

// Unbounded is a bound of Clamp that is none.
var Unbounded = math.Inf(1)
