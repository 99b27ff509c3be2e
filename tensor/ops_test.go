// Every op against values worked out by hand or by a formula written here another way, in float32 and float64.
package tensor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// both runs a test on each implementation with the tolerance its type allows.
func both(t *testing.T, f func(t *testing.T, o Ops, tol float64)) {
	t.Run("f32", func(t *testing.T) { f(t, NewEager32(), 2e-6) })
	t.Run("f64", func(t *testing.T) { f(t, NewEager64(), 1e-12) })
	plain, wide, fast := NewTape32Plain(), NewTape64(), NewTape(nil)
	defer plain.Close()
	defer wide.Close()
	defer fast.Close()
	t.Run("tape of f32", func(t *testing.T) { f(t, plain, 2e-6) })
	t.Run("tape of f64", func(t *testing.T) { f(t, wide, 1e-12) })
	t.Run("tape on kernels", func(t *testing.T) { f(t, fast, 2e-6) })
}

// near compares a tensor with the wanted shape and values; tol is relative to the largest wanted value, at least 1.
func near(t *testing.T, o Ops, name string, got Tensor, shape []int, want []float64, tol float64) {
	t.Helper()
	if !sameShape(got.Shape(), shape) {
		t.Fatalf("%s: shape %v, want %v", name, got.Shape(), shape)
	}
	top := 1.0
	for _, v := range want {
		top = max(top, math.Abs(v))
	}
	values := o.Values(got)
	if len(values) != len(want) {
		t.Fatalf("%s: %d values, want %d", name, len(values), len(want))
	}
	for i, v := range values {
		if !(math.Abs(v-want[i]) <= tol*top) {
			t.Fatalf("%s: value %d is %.9g, want %.9g (difference %.3g, allowed %.3g)", name, i, v, want[i], v-want[i], tol*top)
		}
	}
}

func f32s(v ...float32) []float32 { return v }

// random values that float32 holds exactly, so that both types start from the same numbers.
func random(seed uint64, n int) []float32 {
	r := rand.New(rand.NewPCG(seed, 7))
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(r.NormFloat64())
	}
	return out
}

func TestByHand(t *testing.T) {
	both(t, func(t *testing.T, o Ops, tol float64) {
		x := o.Leaf([]int{2, 4}, f32s(1, 2, 3, 4, -1, 0, 2, -3))
		r := o.Leaf([]int{4}, f32s(2, 3, 4, 5))
		w := o.Leaf([]int{3, 4}, f32s(1, 0, 0, 0, 1, 1, 1, 1, 0, 2, 0, -1))
		half := o.Leaf([]int{2}, f32s(1, 2))
		s5, s30 := math.Sqrt(5), math.Sqrt(30)
		rms := func(a, b float64) float64 { return math.Sqrt((a*a + b*b) / 2) }
		sig := func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }
		for _, c := range []struct {
			name  string
			got   Tensor
			shape []int
			want  []float64
		}{
			{"Leaf", x, []int{2, 4}, []float64{1, 2, 3, 4, -1, 0, 2, -3}},
			{"Embed", o.Embed(w, []int32{2, 0, 2}), []int{3, 4}, []float64{0, 2, 0, -1, 1, 0, 0, 0, 0, 2, 0, -1}},
			{"MatMul", o.MatMul(x, w), []int{2, 3}, []float64{1, 10, 0, -1, -2, 3}},
			{"AddBias", o.AddBias(x, r), []int{2, 4}, []float64{3, 5, 7, 9, 1, 3, 6, 2}},
			{"MulRow", o.MulRow(x, r), []int{2, 4}, []float64{2, 6, 12, 20, -2, 0, 8, -15}},
			{"Recur", o.Recur(o.Leaf([]int{5, 2}, f32s(1, 2, 3, -4, 1, 1, 2, 0, 8, 1)), []float64{0, 0.5, 2, 0, 1}, 3), []int{5, 2}, []float64{3, 6, 10.5, -9, 24, -15, 6, 0, 30, 3}},
			{"Add", o.Add(x, x), []int{2, 4}, []float64{2, 4, 6, 8, -2, 0, 4, -6}},
			{"Mul", o.Mul(x, x), []int{2, 4}, []float64{1, 4, 9, 16, 1, 0, 4, 9}},
			{"Mul of vectors", o.Mul(r, r), []int{4}, []float64{4, 9, 16, 25}},
			{"Outer", o.Outer(x, x, 2, 2, 0.5), []int{2, 4}, []float64{3.5, 5, 7.5, 11, .5, 0, -4, 4.5}},
			{"Scale", o.Scale(x, -0.5), []int{2, 4}, []float64{-.5, -1, -1.5, -2, .5, 0, -1, 1.5}},
			{"RMSNorm", o.RMSNorm(o.Cols(x, 1, 4), nil, Norm{Eps: 1.0 / 3}), []int{2, 3},
				[]float64{2 / math.Sqrt(10), 3 / math.Sqrt(10), 4 / math.Sqrt(10), 0, 2 / math.Sqrt(14.0/3), -3 / math.Sqrt(14.0/3)}},
			{"RMSNorm w", o.RMSNorm(x, r, Norm{}), []int{2, 4},
				[]float64{2 * 2 / s30, 2 * 6 / s30, 2 * 12 / s30, 2 * 20 / s30, -4 / math.Sqrt(14), 0, 16 / math.Sqrt(14), -30 / math.Sqrt(14)}},
			{"RMSNorm 1+w", o.RMSNorm(o.Leaf([]int{1, 2}, f32s(3, 1)), half, Norm{PlusOne: true}), []int{1, 2}, []float64{6 / s5, 3 / s5}},
			{"RMSNorm groups", o.RMSNorm(x, half, Norm{Groups: 2}), []int{2, 4}, []float64{
				1 / rms(1, 2), 4 / rms(1, 2), 3 / rms(3, 4), 8 / rms(3, 4), -math.Sqrt2, 0, 2 / rms(2, 3), -6 / rms(2, 3)}},
			{"RMSNorm groups, whole w", o.RMSNorm(x, r, Norm{Groups: 2}), []int{2, 4}, []float64{
				2 / rms(1, 2), 6 / rms(1, 2), 12 / rms(3, 4), 20 / rms(3, 4), -2 * math.Sqrt2, 0, 8 / rms(2, 3), -15 / rms(2, 3)}},
			{"LayerNorm", o.LayerNorm(o.Leaf([]int{1, 2}, f32s(1, 5)), half, half, 0), []int{1, 2}, []float64{-1 + 1, 2 + 2}},
			{"LayerNorm bare", o.LayerNorm(o.Leaf([]int{1, 2}, f32s(1, 5)), nil, nil, 12), []int{1, 2}, []float64{-.5, .5}},
			{"Cols", o.Cols(x, 1, 3), []int{2, 2}, []float64{2, 3, 0, 2}},
			{"Concat", o.Concat(o.Cols(x, 3, 4), x), []int{2, 5}, []float64{4, 1, 2, 3, 4, -3, -1, 0, 2, -3}},
			{"HeadSlice", o.HeadSlice(x, 2, 1, 2), []int{2, 2}, []float64{2, 4, 0, -3}},
			{"HeadConcat", o.HeadConcat(2, o.Cols(x, 0, 2), x), []int{2, 6}, []float64{1, 1, 2, 2, 3, 4, -1, -1, 0, 0, 2, -3}},
			{"HeadRepeat", o.HeadRepeat(o.Cols(x, 2, 4), 2), []int{2, 4}, []float64{3, 4, 3, 4, 2, -3, 2, -3}},
			{"SiLU", o.SiLU(o.Cols(x, 0, 2)), []int{2, 2}, []float64{sig(1), 2 * sig(2), -sig(-1), 0}},
			{"Sigmoid", o.Sigmoid(o.Cols(x, 0, 2)), []int{2, 2}, []float64{sig(1), sig(2), sig(-1), .5}},
			{"Softcap", o.Softcap(o.Cols(x, 0, 2), 2), []int{2, 2}, []float64{2 * math.Tanh(.5), 2 * math.Tanh(1), -2 * math.Tanh(.5), 0}},
			{"Clamp", o.Clamp(x, -1, 2), []int{2, 4}, []float64{1, 2, 2, 2, -1, 0, 2, -1}},
			{"Clamp, above", o.Clamp(x, -Unbounded, 2), []int{2, 4}, []float64{1, 2, 2, 2, -1, 0, 2, -3}},
			{"Excess", o.Excess(x, 0.2), []int{2, 4}, []float64{0, 0, .5 - math.Sqrt(1.25)/5, 1.5 - math.Sqrt(1.25)/5, 0, .5 - math.Sqrt(3.25)/5, 2.5 - math.Sqrt(3.25)/5, 0}},
			{"Match", o.Match(x, o.Leaf([]int{2, 4}, f32s(2, 0, 0, 0, 0, 0, 3, -4)), 9), []int{2, 4}, []float64{1 / 3., 2 / 3., 1, 4 / 3., -2.5 / 3, 0, 5 / 3., -2.5}},
			// The normal distribution's table: Phi(1) = 0.841344746, Phi(2) = 0.977249868.
			{"Softmax", o.Softmax(o.Cols(x, 0, 2)), []int{2, 2}, []float64{sig(-1), sig(1), sig(-1), sig(1)}},
			{"CausalConv, depthwise", o.CausalConv(o.Cols(x, 2, 4), o.Leaf([]int{2, 3}, f32s(5, 10, 1, 7, -1, 2)), 2), []int{2, 2},
				[]float64{3, 8, 30 + 2, -4 - 6}},
			{"CausalConv, groups", o.CausalConv(x, o.Leaf([]int{2, 4}, f32s(1, 2, 3, 4, 5, 6, 7, 8)), 2), []int{2, 2},
				[]float64{2 + 8, 18 + 32, 1 - 2 + 6 + 0, 15 + 12 + 28 - 24}},
			{"Attend, bias", o.Attend(o.Scale(x, 0), x, x, Attend{Heads: 2, KVHeads: 2, Scale: 1, Bias: o.Leaf([]int{2, 2}, f32s(1, 2, 2, 0))}), []int{2, 4},
				[]float64{1, 2, 3, 4, sig(-1) - sig(1), 2 * sig(-1), 3*sig(2) + 2*sig(-2), 4*sig(2) - 3*sig(-2)}},
			{"GELU", o.GELU(o.Scale(o.Cols(x, 0, 2), 1), false), []int{2, 2},
				[]float64{0.8413447460685429, 2 * 0.9772498680518208, -0.15865525393145707, 0}},
			// torch.nn.functional.gelu(x, approximate="tanh") prints 0.8412, 1.9546, -0.1588.
			{"GELU tanh", o.GELU(o.Cols(x, 0, 2), true), []int{2, 2}, []float64{
				0.8411919906082768, 1.954597694087775, -0.15880800939172324, 0}},
		} {
			near(t, o, c.name, c.got, c.shape, c.want, tol)
		}
	})
}

// A tail value of GELU keeps its relative precision, where 1 + erf would give zero.
func TestGELUTail(t *testing.T) {
	o := NewEager64()
	got := o.Values(o.GELU(o.Leaf([]int{1}, f32s(-10)), false))[0]
	if want := -7.619853024160525e-23; math.Abs(got/want-1) > 1e-9 { // -10 Phi(-10)
		t.Fatalf("GELU(-10) = %g, want %g", got, want)
	}
}

// Large inputs saturate and do not become NaN.
func TestActivationsSaturate(t *testing.T) {
	both(t, func(t *testing.T, o Ops, tol float64) {
		x := o.Leaf([]int{1, 2}, f32s(1e4, -1e4))
		near(t, o, "SiLU", o.SiLU(x), []int{1, 2}, []float64{1e4, 0}, tol)
		near(t, o, "Sigmoid", o.Sigmoid(x), []int{1, 2}, []float64{1, 0}, tol)
		near(t, o, "GELU", o.GELU(x, true), []int{1, 2}, []float64{1e4, 0}, tol)
		near(t, o, "Softcap", o.Softcap(x, 30), []int{1, 2}, []float64{30, -30}, tol)
	})
}

// MatMul at sizes around its blocks, against the plain triple loop in float64.
func TestMatMulSizes(t *testing.T) {
	both(t, func(t *testing.T, o Ops, tol float64) {
		for i, c := range [][3]int{{1, 1, 1}, {1, 7, 5}, {2, 4, 4}, {3, 5, 257}, {33, 35, 256}, {65, 34, 513}, {5, 3, 0}, {0, 3, 4}, {31, 129, 1000}} {
			rows, n, k := c[0], c[1], c[2]
			x, w := random(uint64(i), rows*k), random(uint64(i+100), n*k)
			want := make([]float64, rows*n)
			for r := range rows {
				for j := range n {
					for l := range k {
						want[r*n+j] += float64(x[r*k+l]) * float64(w[j*k+l])
					}
				}
			}
			got := o.MatMul(o.Leaf([]int{rows, k}, x), o.Leaf([]int{n, k}, w))
			near(t, o, fmt.Sprint("MatMul ", c), got, []int{rows, n}, want, tol)
		}
	})
}

// A row's product has the same bits alone and among others: the reference must not depend on how many tokens run together.
func TestMatMulRowAlone(t *testing.T) {
	both(t, func(t *testing.T, o Ops, _ float64) {
		const rows, n, k = 35, 37, 300
		x := o.Leaf([]int{rows, k}, random(1, rows*k))
		w := o.Leaf([]int{n, k}, random(2, n*k))
		all := o.Values(o.MatMul(x, w))
		for r := range rows {
			alone := o.Values(o.MatMul(o.Embed(x, []int32{int32(r)}), w))
			for j, v := range alone {
				if v != all[r*n+j] {
					t.Fatalf("row %d column %d: %g alone, %g together", r, j, v, all[r*n+j])
				}
			}
		}
	})
}

// RoPE against complex multiplication: (x1 + i x2) e^(i sign angle), in both layouts, on a slice of each head.
func TestRoPE(t *testing.T) {
	both(t, func(t *testing.T, o Ops, tol float64) {
		const heads, width, from, to, rows = 3, 9, 2, 8, 5
		pos := []int{0, 1, 2, 17, 300}
		freq := []float64{1, 0.1, 0.013}
		x := random(3, rows*heads*width)
		for _, pairs := range []bool{false, true} {
			for _, sign := range []float64{0, 1, -1} {
				want := make([]float64, len(x))
				for i, v := range x {
					want[i] = float64(v)
				}
				turn := 1.25
				direction := sign
				if sign == 0 {
					direction = 1
				}
				for r := range rows {
					for h := range heads {
						head := want[(r*heads+h)*width+from:]
						for i, f := range freq {
							a, b := i, i+3
							if pairs {
								a, b = 2*i, 2*i+1
							}
							angle := direction * float64(pos[r]) * f
							z := complex(head[a], head[b]) * complex(turn*math.Cos(angle), turn*math.Sin(angle))
							head[a], head[b] = real(z), imag(z)
						}
					}
				}
				got := o.RoPE(o.Leaf([]int{rows, heads * width}, x), Rotary{Heads: heads, From: from, To: to, Pairs: pairs, Sign: sign, InvFreq: freq, Factor: turn}, pos)
				near(t, o, fmt.Sprintf("RoPE pairs=%v sign=%v", pairs, sign), got, []int{rows, heads * width}, want, tol)
			}
		}
		// The whole head by default: a quarter turn takes (1, 0 | 0, 1) of half split to (0, -1 | 1, 0).
		got := o.RoPE(o.Leaf([]int{1, 4}, f32s(1, 0, 0, 1)), Rotary{Heads: 1, InvFreq: []float64{math.Pi / 2, math.Pi / 2}}, []int{1})
		near(t, o, "RoPE quarter turn", got, []int{1, 4}, []float64{0, -1, 1, 0}, tol)
	})
}

// What RoPE is for: the product of a rotated query and key depends on the distance alone.
func TestRoPERelative(t *testing.T) {
	o := NewEager64()
	spec := Rotary{Heads: 1, InvFreq: []float64{1, 0.3}}
	q, k := o.Leaf([]int{1, 4}, random(1, 4)), o.Leaf([]int{1, 4}, random(2, 4))
	product := func(i, j int) float64 {
		return o.Values(o.MatMul(o.RoPE(q, spec, []int{i}), o.RoPE(k, spec, []int{j})))[0]
	}
	if a, b, c := product(5, 2), product(105, 102), product(5, 3); math.Abs(a-b) > 1e-12 || math.Abs(a-c) < 1e-3 {
		t.Fatalf("distance 3: %g and %g; distance 2: %g", a, b, c)
	}
}

// slowAttend is the definition, straight from the formula, over a full mask.
func slowAttend(q, k, v []float32, t, dk, dv int, spec Attend, sinks []float32) []float64 {
	out := make([]float64, t*spec.Heads*dv)
	for h := range spec.Heads {
		g := h * spec.KVHeads / spec.Heads
		for i := range t {
			weights := make([]float64, t)
			sum := 0.0
			if sinks != nil {
				sum = math.Exp(float64(sinks[h]))
			}
			for j := range t {
				if j > i || (spec.Window > 0 && i-j >= spec.Window) || (spec.Private != nil && spec.Private[j] && i != j) {
					continue
				}
				s := 0.0
				for c := range dk {
					s += float64(q[(i*spec.Heads+h)*dk+c]) * float64(k[(j*spec.KVHeads+g)*dk+c])
				}
				s *= spec.Scale
				if spec.Softcap > 0 {
					s = spec.Softcap * math.Tanh(s/spec.Softcap)
				}
				weights[j] = math.Exp(s)
				sum += weights[j]
			}
			for j, w := range weights {
				for c := range dv {
					out[(i*spec.Heads+h)*dv+c] += w / sum * float64(v[(j*spec.KVHeads+g)*dv+c])
				}
			}
		}
	}
	return out
}

func TestAttend(t *testing.T) {
	sinks := f32s(0.5, -1, 2, 0, 3, -0.25)
	for _, c := range []struct {
		name     string
		t, dk    int
		dv       int
		spec     Attend
		withSink bool
	}{
		{"one head", 7, 5, 5, Attend{Heads: 1, KVHeads: 1, Scale: 0.4}, false},
		{"groups of three", 35, 7, 7, Attend{Heads: 6, KVHeads: 2, Scale: 0.38}, false},
		{"one key head, wider keys", 40, 9, 3, Attend{Heads: 6, KVHeads: 1, Scale: 0.3}, false},
		{"window 1", 9, 4, 6, Attend{Heads: 2, KVHeads: 2, Scale: 0.5, Window: 1}, false},
		{"window 5", 33, 4, 4, Attend{Heads: 2, KVHeads: 1, Scale: 0.5, Window: 5}, false},
		{"softcap", 33, 6, 2, Attend{Heads: 2, KVHeads: 2, Scale: 3, Softcap: 2.5}, false},
		{"private tokens", 7, 4, 3, Attend{Heads: 2, KVHeads: 1, Scale: 0.7, Private: []bool{true, true, false, true, false, false, true}}, false},
		{"sinks", 10, 6, 5, Attend{Heads: 6, KVHeads: 3, Scale: 0.4}, true},
		{"everything", 65, 11, 13, Attend{Heads: 6, KVHeads: 3, Scale: 0.9, Softcap: 4, Window: 33}, true},
		{"no tokens", 0, 3, 3, Attend{Heads: 1, KVHeads: 1, Scale: 1}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, func(t *testing.T, o Ops, tol float64) {
				spec := c.spec
				q := random(1, c.t*spec.Heads*c.dk)
				k := random(2, c.t*spec.KVHeads*c.dk)
				v := random(3, c.t*spec.KVHeads*c.dv)
				var s []float32
				if c.withSink {
					s = sinks[:spec.Heads]
					spec.Sinks = o.Leaf([]int{spec.Heads}, s)
				}
				got := o.Attend(o.Leaf([]int{c.t, spec.Heads * c.dk}, q), o.Leaf([]int{c.t, spec.KVHeads * c.dk}, k),
					o.Leaf([]int{c.t, spec.KVHeads * c.dv}, v), spec)
				near(t, o, c.name, got, []int{c.t, spec.Heads * c.dv}, slowAttend(q, k, v, c.t, c.dk, c.dv, spec, s), tol)
			})
		})
	}
}

// By hand: two tokens, equal scores, so the second token's output is the mean of the values; a sink of the same logit takes a third.
func TestAttendByHand(t *testing.T) {
	both(t, func(t *testing.T, o Ops, tol float64) {
		q := o.Leaf([]int{2, 1}, f32s(0, 0))
		v := o.Leaf([]int{2, 2}, f32s(1, 2, 3, 8))
		spec := Attend{Heads: 1, KVHeads: 1, Scale: 1}
		near(t, o, "mean", o.Attend(q, q, v, spec), []int{2, 2}, []float64{1, 2, 2, 5}, tol)
		spec.Sinks = o.Leaf([]int{1}, f32s(0))
		near(t, o, "sink", o.Attend(q, q, v, spec), []int{2, 2}, []float64{.5, 1, 4. / 3, 10. / 3}, tol)
		// Scores far beyond exp's range: the largest takes all.
		big := o.Leaf([]int{2, 1}, f32s(200, 1000))
		near(t, o, "large scores", o.Attend(big, big, v, Attend{Heads: 1, KVHeads: 1, Scale: 1}), []int{2, 2}, []float64{1, 2, 3, 8}, tol)
	})
}

// Inputs stay as they were: a tape may replay from them.
func TestInputsUnchanged(t *testing.T) {
	o := NewEager32()
	data := random(9, 6*8)
	kept := append([]float32(nil), data...)
	x := o.Leaf([]int{6, 8}, data)
	v := o.Leaf([]int{8}, random(10, 8))
	o.RoPE(x, Rotary{Heads: 2, InvFreq: []float64{1, .5}}, []int{0, 1, 2, 3, 4, 5})
	o.RMSNorm(x, v, Norm{Eps: 1e-6, PlusOne: true})
	o.LayerNorm(x, v, v, 1e-6)
	o.AddBias(x, v)
	o.Add(x, x)
	o.Scale(x, 3)
	o.SiLU(x)
	o.Attend(x, x, x, Attend{Heads: 2, KVHeads: 2, Scale: 1})
	for i, got := range data {
		if got != kept[i] {
			t.Fatalf("value %d changed from %g to %g", i, kept[i], got)
		}
	}
}

// A block of a transformer in both types: the whole chain agrees to float32's precision.
func TestTypesAgree(t *testing.T) {
	run := func(o Ops) []float64 {
		const rows, d, heads, kv, width, ff = 37, 45, 6, 2, 10, 77
		pos := make([]int, rows)
		for i := range pos {
			pos[i] = i
		}
		leaf := func(seed uint64, r, c int) Tensor { // variance 1/c keeps activations near one
			return o.Scale(o.Leaf([]int{r, c}, random(seed, r*c)), 1/math.Sqrt(float64(c)))
		}
		rot := func(heads int) Rotary { return Rotary{Heads: heads, InvFreq: []float64{1, .5, .2, .1, .01}} }
		x := o.Leaf([]int{rows, d}, random(1, rows*d))
		h := o.RMSNorm(x, nil, Norm{Eps: 1e-5})
		q := o.RoPE(o.MatMul(h, leaf(2, heads*width, d)), rot(heads), pos)
		k := o.RoPE(o.MatMul(h, leaf(3, kv*width, d)), rot(kv), pos)
		v := o.MatMul(h, leaf(4, kv*width, d))
		x = o.Add(x, o.MatMul(o.Attend(q, k, v, Attend{Heads: heads, KVHeads: kv, Scale: .3, Window: 20}), leaf(5, d, heads*width)))
		h = o.RMSNorm(x, nil, Norm{Eps: 1e-5})
		h = o.Mul(o.SiLU(o.MatMul(h, leaf(6, ff, d))), o.MatMul(h, leaf(7, ff, d)))
		return o.Values(o.Add(x, o.MatMul(h, leaf(8, d, ff))))
	}
	a, b := run(NewEager32()), run(NewEager64())
	for i := range a {
		if math.Abs(a[i]-b[i]) > 1e-5 {
			t.Fatalf("value %d: %g in float32, %g in float64", i, a[i], b[i])
		}
	}
}

func TestPanicsNameOpAndShapes(t *testing.T) {
	t.Run("eager", func(t *testing.T) { panics(t, NewEager32()) })
	t.Run("tape", func(t *testing.T) { panics(t, NewTape32Plain()) })
}

func panics(t *testing.T, o Ops) {
	x := o.Leaf([]int{2, 6}, make([]float32, 12))
	y := o.Leaf([]int{3, 4}, make([]float32, 12))
	v := o.Leaf([]int{5}, make([]float32, 5))
	spec := Attend{Heads: 2, KVHeads: 2, Scale: 1}
	for _, c := range []struct {
		want string // parts of the message, separated by |
		f    func()
	}{
		{"Leaf|[2 6]|3 values", func() { o.Leaf([]int{2, 6}, make([]float32, 3)) }},
		{"Leaf|[-1 -2]", func() { o.Leaf([]int{-1, -2}, make([]float32, 2)) }},
		{"Leaf|[1 1 1]", func() { o.Leaf([]int{1, 1, 1}, make([]float32, 1)) }},
		{"Embed|id 3|[3 4]", func() { o.Embed(y, []int32{0, 3}) }},
		{"Embed|id -1", func() { o.Embed(y, []int32{-1}) }},
		{"MatMul|[2 6]|[3 4]", func() { o.MatMul(x, y) }},
		{"MatMul|[5]", func() { o.MatMul(x, v) }},
		{"Add|[2 6]|[3 4]", func() { o.Add(x, y) }},
		{"Mul|[2 6]|[5]", func() { o.Mul(x, v) }},
		{"AddBias|[2 6]|[5]", func() { o.AddBias(x, v) }},
		{"MulRow|[2 6]|[5]", func() { o.MulRow(x, v) }},
		{"RMSNorm|[2 6]|[5]", func() { o.RMSNorm(x, v, Norm{}) }},
		{"RMSNorm|[2 6]|4 groups", func() { o.RMSNorm(x, nil, Norm{Groups: 4}) }},
		{"LayerNorm|[2 6]|[5]", func() { o.LayerNorm(x, nil, v, 0) }},
		{"RoPE|[2 6]|4 heads", func() { o.RoPE(x, Rotary{Heads: 4}, []int{0, 1}) }},
		{"RoPE|[2 6]|2 frequencies", func() { o.RoPE(x, Rotary{Heads: 1, InvFreq: []float64{1, 1}}, []int{0, 1}) }},
		{"RoPE|[2 6]|1 positions", func() { o.RoPE(x, Rotary{Heads: 1, InvFreq: []float64{1, 1, 1}}, []int{0}) }},
		{"RoPE|[2 6]|[0, 3)", func() { o.RoPE(x, Rotary{Heads: 2, To: 3, InvFreq: []float64{1}}, []int{0, 1}) }},
		{"RoPE|Sign 2", func() { o.RoPE(x, Rotary{Heads: 1, Sign: 2, InvFreq: []float64{1, 1, 1}}, []int{0, 1}) }},
		{"Cols|[2 6]|[3, 7)", func() { o.Cols(x, 3, 7) }},
		{"HeadSlice|[2 6]|[2, 1)", func() { o.HeadSlice(x, 2, 2, 1) }},
		{"Concat|[2 6]|[3 4]", func() { o.Concat(x, y) }},
		{"Concat|nothing", func() { o.Concat() }},
		{"HeadConcat|[2 6]|4 heads", func() { o.HeadConcat(4, x) }},
		{"HeadRepeat|0 heads", func() { o.HeadRepeat(x, 0) }},
		{"Outer|4 heads, rank 2", func() { o.Outer(x, x, 4, 2, 1) }},
		{"Attend|[2 6]|[3 4]", func() { o.Attend(x, x, y, spec) }},
		{"Attend|3 heads over 2", func() { o.Attend(x, x, x, Attend{Heads: 3, KVHeads: 2, Scale: 1}) }},
		{"Attend|Scale 0", func() { o.Attend(x, x, x, Attend{Heads: 2, KVHeads: 2}) }},
		{"Attend|[5]", func() { o.Attend(x, x, x, Attend{Heads: 2, KVHeads: 2, Scale: 1, Sinks: v}) }},
		{"Attend|bias [2 6]", func() { o.Attend(x, x, x, Attend{Heads: 2, KVHeads: 2, Scale: 1, Bias: x}) }},
		{"CausalConv|[2 6]|4 groups", func() { o.CausalConv(x, y, 4) }},
		{"CausalConv|[2 6]|[3 5]|3 groups", func() { o.CausalConv(x, o.Leaf([]int{3, 5}, make([]float32, 15)), 3) }},
		{"Route|[2 6]|TopK:7", func() { o.Route(x, nil, Route{TopK: 7, Scale: 1}) }},
		{"Route|[2 6]|TopGroups:1", func() { o.Route(x, nil, Route{TopK: 4, Groups: 2, TopGroups: 1, GroupTop: 1, Scale: 1}) }},
		{"Softmax|[5]", func() { o.Softmax(v) }},
		{"Softcap|c = 0", func() { o.Softcap(x, 0) }},
		{"Clamp|low 1, high 1", func() { o.Clamp(x, 1, 1) }},
		{"Excess|[5]", func() { o.Excess(v, 1) }},
		{"Match|[2 6]|[3 4]", func() { o.Match(x, y, 1) }},
		{"Match|floor 0", func() { o.Match(x, x, 0) }},
		{"SiLU|<nil>", func() { o.SiLU(nil) }},
		{"SiLU|float64", func() { o.SiLU(NewEager64().Leaf([]int{1}, f32s(1))) }},
	} {
		t.Run(c.want, func(t *testing.T) {
			defer func() {
				message := fmt.Sprint(recover())
				for _, part := range append(strings.Split(c.want, "|"), "tensor: ") {
					if !strings.Contains(message, part) {
						t.Fatalf("panic %q lacks %q", message, part)
					}
				}
			}()
			c.f()
		})
	}
}
