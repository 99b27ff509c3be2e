package tensor

import (
	"math"
	"testing"
)

// The gradient of Balance is that of its loss: weight times the mean square, over the choices, of their mean weight less the even share.
func TestBalance(t *testing.T) {
	const rows, n, weight = 5, 3, 0.7
	x := make([]float64, rows*n)
	for i := range x {
		x[i] = math.Abs(math.Sin(float64(3*i + 1)))
	}
	loss := func() float64 {
		sum := 0.0
		for i := range n {
			mean := 0.0
			for r := range rows {
				mean += x[r*n+i] / rows
			}
			sum += (mean - 1.0/n) * (mean - 1.0/n)
		}
		return weight * sum / n
	}
	tape, place, grad := NewTape64(), make([]byte, 4*len(x)), make([]float64, len(x))
	tape.Param("x", place, x, grad)
	run := func(factor float64) {
		clear(grad)
		tape.SetBalance(factor)
		y := Balance(tape, tape.Weight(Weight{Shape: []int{rows, n}, Data: place}), weight)
		tape.Backward(tape.CrossEntropy(tape.Scale(y, 0), make([]int32, rows), -1, false)) // a loss that does not see x
		tape.Reset()
	}
	run(1)
	for i := range x {
		const h = 1e-6
		was := x[i]
		x[i] = was + h
		up := loss()
		x[i] = was - h
		want := (up - loss()) / (2 * h)
		x[i] = was
		if math.Abs(grad[i]-want) > 1e-8 {
			t.Errorf("gradient %d is %v, want %v", i, grad[i], want)
		}
	}
	half := grad[1] / 2
	if run(0.5); math.Abs(grad[1]-half) > 1e-15 {
		t.Errorf("half the factor gives %v, want %v", grad[1], half)
	}
	if run(0); grad[1] != 0 {
		t.Errorf("off, the gradient is %v", grad[1])
	}
}
