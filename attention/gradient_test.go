package attention

import (
	"math"
	"testing"

	"github.com/lowkeylm/lowkey/tensor"
)

// checkGradient compares a design's gradients on the float64 tape with finite differences of its loss, over two documents: some numbers of every weight.
func checkGradient(t *testing.T, c testCase) {
	t.Helper()
	const T = 9
	x := input(T, c.hidden)
	pos := []int{0, 1, 2, 3, 0, 1, 2, 3, 4}
	targets := make([]int32, T)
	for i := range targets {
		targets[i] = int32(i * 7 % c.hidden)
	}
	values, grads := map[string][]float64{}, map[string][]float64{}
	for name, w := range c.w {
		for _, v := range w.Float32s() {
			values[name] = append(values[name], float64(v))
		}
		grads[name] = make([]float64, len(values[name]))
	}
	o := tensor.NewTape64()
	defer o.Close()
	for name, w := range c.w {
		o.Param(name, w.Data, values[name], grads[name])
	}
	loss := func(back bool) float64 {
		o.Documents([]int{0, 4})
		y := o.CrossEntropy(c.design.Forward(o, c.w, o.Leaf([]int{T, c.hidden}, x), pos), targets, -100, false)
		if back {
			o.Backward(y)
		}
		defer o.Reset()
		return o.Values(y)[0]
	}
	loss(true)
	for name, v := range values {
		moved := false
		for k := range 5 {
			i := k * (len(v) - 1) / 4
			old, h := v[i], 1e-5
			v[i] = old + h
			up := loss(false)
			v[i] = old - h
			down := loss(false)
			v[i] = old
			want := (up - down) / (2 * h)
			moved = moved || want != 0
			if got := grads[name][i]; !(math.Abs(got-want) <= 1e-7+1e-5*math.Abs(want)) {
				t.Errorf("%s: gradient of %s[%d] is %.9g, the loss changes by %.9g", c.name, name, i, got, want)
			}
		}
		if !moved {
			t.Errorf("%s: %s moves nothing", c.name, name)
		}
	}
}
