// Every op's backward against central differences in float64, on odd shapes; recomputation and checkpointing against keeping everything.
package tensor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/lowkeylm/lowkey/kernel"
)

// input makes a tracked leaf with storage of its own.
func input[T float](shape []int, data []T) *node[T] {
	return &node[T]{op: "input", shape: shape, value: data, grad: make([]T, len(data)), tracked: true}
}

func normal(seed uint64, n int) []float64 {
	r := rand.New(rand.NewPCG(seed, 11))
	out := make([]float64, n)
	for i := range out {
		out[i] = r.NormFloat64()
	}
	return out
}

// opCase is a function of inputs of these shapes.
type opCase struct {
	name   string
	shapes [][]int
	f      func(t recorder, in []Tensor) Tensor
}

// recorder is a Tape of either precision.
type recorder interface {
	Ops
	Checkpointer
	Documents(starts []int)
	SetZLoss(weight float64)
	CrossEntropy(logits Tensor, targets []int32, ignore int32, sum bool) Tensor
}

func opCases() []opCase {
	type tape = recorder
	freq := []float64{1, 0.3, 0.01}
	pos := []int{0, 3, 4, 9, 2}
	attend := func(spec Attend, extra string) func(t tape, in []Tensor) Tensor {
		return func(t tape, in []Tensor) Tensor {
			s := spec
			for i, c := range extra {
				if c == 's' {
					s.Sinks = in[3+i]
				} else {
					s.Bias = in[3+i]
				}
			}
			return t.Attend(in[0], in[1], in[2], s)
		}
	}
	documents := func(f func(t tape, in []Tensor) Tensor, starts ...int) func(t tape, in []Tensor) Tensor {
		return func(t tape, in []Tensor) Tensor {
			t.Documents(starts)
			return f(t, in)
		}
	}
	conv := func(groups int) func(t tape, in []Tensor) Tensor {
		return func(t tape, in []Tensor) Tensor { return t.CausalConv(in[0], in[1], groups) }
	}
	s := func(shapes ...[]int) [][]int { return shapes }
	return []opCase{
		{"Embed", s([]int{5, 3}), func(t tape, in []Tensor) Tensor { return t.Embed(in[0], []int32{1, 4, 1, 0}) }},
		{"MatMul", s([]int{3, 5}, []int{7, 5}), func(t tape, in []Tensor) Tensor { return t.MatMul(in[0], in[1]) }},
		{"MatMul, same input", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.MatMul(in[0], in[0]) }},
		{"AddBias", s([]int{3, 5}, []int{5}), func(t tape, in []Tensor) Tensor { return t.AddBias(in[0], in[1]) }},
		{"MulRow", s([]int{3, 5}, []int{5}), func(t tape, in []Tensor) Tensor { return t.MulRow(in[0], in[1]) }},
		{"Add", s([]int{3, 5}, []int{3, 5}), func(t tape, in []Tensor) Tensor { return t.Add(in[0], in[1]) }},
		{"Add, same input", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.Add(in[0], in[0]) }},
		{"Mul", s([]int{3, 5}, []int{3, 5}), func(t tape, in []Tensor) Tensor { return t.Mul(in[0], in[1]) }},
		{"Mul, same input", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.Mul(in[0], in[0]) }},
		{"Scale", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.Scale(in[0], -1.7) }},
		{"RMSNorm", s([]int{3, 5}, []int{5}), func(t tape, in []Tensor) Tensor { return t.RMSNorm(in[0], in[1], Norm{Eps: 1e-5}) }},
		{"RMSNorm, 1 + w", s([]int{3, 5}, []int{5}), func(t tape, in []Tensor) Tensor { return t.RMSNorm(in[0], in[1], Norm{Eps: 1e-5, PlusOne: true}) }},
		{"RMSNorm, no weight", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.RMSNorm(in[0], nil, Norm{Eps: 0.1}) }},
		{"RMSNorm, groups", s([]int{3, 6}, []int{2}), func(t tape, in []Tensor) Tensor { return t.RMSNorm(in[0], in[1], Norm{Eps: 1e-5, Groups: 3}) }},
		{"RMSNorm, groups of their own", s([]int{3, 6}, []int{6}), func(t tape, in []Tensor) Tensor { return t.RMSNorm(in[0], in[1], Norm{Eps: 1e-5, Groups: 3}) }},
		{"LayerNorm", s([]int{3, 5}, []int{5}, []int{5}), func(t tape, in []Tensor) Tensor { return t.LayerNorm(in[0], in[1], in[2], 1e-5) }},
		{"LayerNorm, no weight", s([]int{3, 5}, []int{5}), func(t tape, in []Tensor) Tensor { return t.LayerNorm(in[0], nil, in[1], 1e-5) }},
		{"LayerNorm, bare", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.LayerNorm(in[0], nil, nil, 1e-5) }},
		{"RoPE", s([]int{5, 12}), func(t tape, in []Tensor) Tensor {
			return t.RoPE(in[0], Rotary{Heads: 2, InvFreq: freq, Factor: 1.1}, pos)
		}},
		{"RoPE, pairs, part", s([]int{5, 16}), func(t tape, in []Tensor) Tensor {
			return t.RoPE(in[0], Rotary{Heads: 2, From: 2, To: 8, Pairs: true, Sign: -1, InvFreq: freq}, pos)
		}},
		{"Cols", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.Cols(in[0], 1, 4) }},
		{"Concat", s([]int{3, 5}, []int{3, 2}), func(t tape, in []Tensor) Tensor { return t.Concat(in[0], in[1], in[0]) }},
		{"HeadSlice", s([]int{3, 10}), func(t tape, in []Tensor) Tensor { return t.HeadSlice(in[0], 2, 1, 4) }},
		{"HeadConcat", s([]int{3, 6}, []int{3, 4}), func(t tape, in []Tensor) Tensor { return t.HeadConcat(2, in[0], in[1]) }},
		{"HeadRepeat", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.HeadRepeat(in[0], 3) }},
		{"Outer", s([]int{3, 6}, []int{3, 10}), func(t tape, in []Tensor) Tensor { return t.Outer(in[0], in[1], 3, 2, 0.7) }},
		{"Attend, GQA, wide keys", s([]int{6, 20}, []int{6, 10}, []int{6, 6}), attend(Attend{Heads: 4, KVHeads: 2, Scale: 0.4}, "")},
		{"Attend, MQA, wide values, window", s([]int{7, 9}, []int{7, 3}, []int{7, 5}), attend(Attend{Heads: 3, KVHeads: 1, Scale: 0.6, Window: 3}, "")},
		{"Attend, softcap, sinks", s([]int{5, 6}, []int{5, 6}, []int{5, 4}, []int{2}), attend(Attend{Heads: 2, KVHeads: 2, Scale: 1.5, Softcap: 2}, "s")},
		{"Attend, bias by head, sinks", s([]int{5, 12}, []int{5, 6}, []int{5, 4}, []int{5, 4}, []int{4}), attend(Attend{Heads: 4, KVHeads: 2, Scale: 1.5, Softcap: 2}, "bs")},
		{"Attend, bias by group", s([]int{5, 12}, []int{5, 6}, []int{5, 4}, []int{5, 2}), attend(Attend{Heads: 4, KVHeads: 2, Scale: 0.5}, "b")},
		{"Attend, documents", s([]int{9, 8}, []int{9, 4}, []int{9, 4}), documents(attend(Attend{Heads: 2, KVHeads: 1, Scale: 0.5, Window: 4}, ""), 0, 2, 3)},
		{"Attend, private tokens", s([]int{6, 8}, []int{6, 4}, []int{6, 4}), documents(attend(Attend{Heads: 2, KVHeads: 1, Scale: 0.5, Private: []bool{true, false, true, true, false, true}}, ""), 0, 2)},
		{"Recur", s([]int{6, 3}), func(t tape, in []Tensor) Tensor { return t.Recur(in[0], []float64{0, 0.9, 0.4, 0, 1, 0.9}, 0.3) }},
		{"Attend, q = k = v", s([]int{5, 6}), func(t tape, in []Tensor) Tensor {
			return t.Attend(in[0], in[0], in[0], Attend{Heads: 2, KVHeads: 2, Scale: 0.5})
		}},
		{"SwiGLU", s([]int{3, 5}, []int{3, 5}), func(t tape, in []Tensor) Tensor { return t.SwiGLU(in[0], in[1]) }},
		{"SwiGLU, same input", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.SwiGLU(in[0], in[0]) }},
		{"SiLU", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.SiLU(in[0]) }},
		{"Sigmoid", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.Sigmoid(in[0]) }},
		{"GELU", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.GELU(in[0], false) }},
		{"GELU, tanh", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.GELU(in[0], true) }},
		{"Softcap", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.Softcap(in[0], 1.3) }},
		{"Clamp", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.Clamp(in[0], -0.4, 0.7) }},
		{"Excess", s([]int{3, 7}), func(t tape, in []Tensor) Tensor { return t.Excess(in[0], -0.3) }},
		{"Match", s([]int{3, 5}, []int{3, 5}), func(t tape, in []Tensor) Tensor { return t.Match(in[0], in[1], 1e-5) }},
		{"Match, floor", s([]int{3, 5}, []int{3, 5}), func(t tape, in []Tensor) Tensor { return t.Match(in[0], in[1], 1e5) }},
		{"Match, like itself", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.Match(t.Scale(in[0], 2), t.Mul(in[0], in[0]), 1e-5) }},
		{"Softmax", s([]int{3, 5}), func(t tape, in []Tensor) Tensor { return t.Softmax(in[0]) }},
		{"Route, softmax", s([]int{5, 6}), func(t tape, in []Tensor) Tensor { return t.Route(in[0], nil, Route{TopK: 2, Scale: 1.7}) }},
		{"Route, softmax, norm", s([]int{5, 6}), func(t tape, in []Tensor) Tensor { return t.Route(in[0], nil, Route{TopK: 3, Norm: true, Scale: 1}) }},
		{"Route, sigmoid, groups, norm", s([]int{5, 6}), func(t tape, in []Tensor) Tensor {
			return t.Route(in[0], t.Leaf([]int{6}, []float32{.1, -.2, .3, 0, .2, -.1}), Route{TopK: 2, Sigmoid: true, Groups: 3, TopGroups: 2, GroupTop: 2, Norm: true, Scale: 2})
		}},
		{"Delay", s([]int{4, 3}), func(t tape, in []Tensor) Tensor { return t.Delay(in[0]) }},
		{"Delay, documents", s([]int{6, 3}), documents(func(t tape, in []Tensor) Tensor { return t.Mul(t.Delay(in[0]), in[0]) }, 0, 2, 3)},
		{"CausalConv, depthwise", s([]int{6, 3}, []int{3, 4}), conv(3)},
		{"CausalConv, groups", s([]int{6, 6}, []int{4, 9}), conv(2)},
		{"CausalConv, one tap", s([]int{5, 6}, []int{4, 3}), conv(2)},
		{"CausalConv, one token", s([]int{1, 3}, []int{3, 4}), conv(3)},
		{"CausalConv, documents", s([]int{6, 3}, []int{3, 3}), documents(conv(3), 0, 1, 4)},
		{"CrossEntropy", s([]int{4, 7}), func(t tape, in []Tensor) Tensor { return t.CrossEntropy(in[0], []int32{1, -1, 6, 0}, -1, false) }},
		{"CrossEntropy, sum, z", s([]int{4, 7}), func(t tape, in []Tensor) Tensor {
			t.SetZLoss(0.3)
			defer t.SetZLoss(0)
			return t.CrossEntropy(in[0], []int32{1, 2, 6, 0}, -1, true)
		}},
		{"CrossEntropy, of what others read", s([]int{4, 7}), func(t tape, in []Tensor) Tensor {
			x := t.Scale(in[0], 2)
			loss := t.CrossEntropy(x, []int32{1, 2, 6, 0}, -1, true)
			return t.Concat(t.Embed(t.Mul(x, x), []int32{2}), t.Embed(t.HeadRepeat(loss2(t, loss), 3), []int32{0}))
		}},
		{"CrossEntropy, over an activation", s([]int{4, 7}), func(t tape, in []Tensor) Tensor {
			return t.CrossEntropy(t.Softcap(t.Scale(in[0], 3), 2), []int32{1, 2, 6, 0}, -1, false)
		}},
		{"a block", s([]int{5, 6}, []int{6}, []int{9, 6}, []int{9, 6}, []int{6, 9}), func(t tape, in []Tensor) Tensor {
			x := in[0]
			for range 3 {
				x = t.Checkpoint(x, func(x Tensor) Tensor {
					n := t.RMSNorm(x, in[1], Norm{Eps: 1e-5})
					a := t.Attend(n, n, t.SiLU(n), Attend{Heads: 3, KVHeads: 3, Scale: 0.5})
					h := t.Add(x, t.Scale(a, 0.7))
					m := t.RMSNorm(h, nil, Norm{Eps: 1e-5})
					return t.Add(h, t.MatMul(t.SwiGLU(t.MatMul(m, in[2]), t.MatMul(m, in[3])), in[4]))
				})
			}
			return x
		}},
	}
}

// loss2 makes a matrix of a one-element vector, by way of a product of rows.
func loss2(t recorder, loss Tensor) Tensor {
	one := t.Leaf([]int{1, 1}, []float32{1})
	return t.MulRow(one, loss)
}

// run evaluates a case: y, and with dy given the gradients of the inputs.
func run[T float](c opCase, t *Tape[T], data [][]float64, dy []float64) (y []float64, grads [][]float64) {
	in := make([]Tensor, len(data))
	nodes := make([]*node[T], len(data))
	for i, x := range data {
		nodes[i] = input(c.shapes[i], convert[T](x))
		in[i] = nodes[i]
	}
	out := c.f(t, in)
	y = t.Values(out)
	if dy != nil {
		t.backward(out.(*node[T]), convert[T](dy))
		for _, n := range nodes {
			grads = append(grads, convert[float64](n.grad))
		}
	}
	t.Reset()
	return y, grads
}

func convert[To, From float](x []From) []To {
	out := make([]To, len(x))
	for i, v := range x {
		out[i] = To(v)
	}
	return out
}

func (c opCase) data() (data [][]float64) {
	for i, s := range c.shapes {
		data = append(data, normal(uint64(7+i), size(s)))
	}
	return data
}

func TestGradients(t *testing.T) {
	for _, c := range opCases() {
		t.Run(c.name, func(t *testing.T) {
			tape := NewTape64()
			defer tape.Close()
			data := c.data()
			y, _ := run(c, tape, data, nil)
			dy := normal(99, len(y))
			_, grads := run(c, tape, data, dy)
			loss := func() (sum float64) {
				y, _ := run(c, tape, data, nil)
				for i, v := range y {
					sum += v * dy[i]
				}
				return sum
			}
			const h = 1e-4
			for i := range data {
				for j, v := range data[i] {
					at := func(d float64) float64 {
						data[i][j] = v + d*h
						return loss()
					}
					want := (8*(at(1)-at(-1)) - (at(2) - at(-2))) / (12 * h) // error h^4
					data[i][j] = v
					if got := grads[i][j]; !(math.Abs(got-want) <= 1e-8*(1+math.Abs(want))) {
						t.Fatalf("input %d, element %d: gradient %.10g, by differences %.10g", i, j, got, want)
					}
				}
			}
		})
	}
}

// large is blocks of a model with all that is common, wide and long enough for several parts of work: T tokens in three documents.
func large() opCase {
	const tokens, d, ff, vocab = 450, 40, 72, 50
	ids, targets := make([]int32, tokens), make([]int32, tokens)
	pos := make([]int, tokens)
	for i := range ids {
		ids[i], targets[i], pos[i] = int32(i*i%vocab), int32(i*7%vocab), i%300
	}
	freq := []float64{1, 0.3, 0.1, 0.03, 0.01}
	return opCase{"large", [][]int{{vocab, d}, {d}, {d, d}, {d / 2, d}, {d / 2, d}, {d, d}, {ff, d}, {ff, d}, {d, ff}, {d / 2, 2}, {10}}, func(t recorder, in []Tensor) Tensor {
		t.Documents([]int{0, 150, 151})
		x := t.Embed(in[0], ids)
		for range 2 {
			x = t.Checkpoint(x, func(x Tensor) Tensor {
				n := t.RMSNorm(x, in[1], Norm{Eps: 1e-5})
				q := t.RoPE(t.RMSNorm(t.MatMul(n, in[2]), in[10], Norm{Eps: 1e-5, Groups: 4}), Rotary{Heads: 4, InvFreq: freq}, pos)
				k := t.RoPE(t.MatMul(n, in[3]), Rotary{Heads: 2, InvFreq: freq}, pos)
				v := t.CausalConv(t.MatMul(n, in[4]), in[9], d/2)
				h := t.Add(x, t.MatMul(t.Attend(q, k, v, Attend{Heads: 4, KVHeads: 2, Scale: 0.3, Window: 400}), in[5]))
				m := t.LayerNorm(h, in[1], nil, 1e-5)
				return t.Add(h, t.Scale(t.MatMul(t.SwiGLU(t.MatMul(m, in[6]), t.MatMul(m, in[7])), in[8]), 0.2))
			})
		}
		return t.CrossEntropy(t.Softcap(t.MatMul(t.RMSNorm(x, in[1], Norm{Eps: 1e-5}), in[0]), 30), targets, 3, false)
	}}
}

// TestFast: the vector kernels and the plain float32 loops against float64, and the same bits on any number of threads and on a second run.
func TestFast(t *testing.T) {
	for _, c := range append(opCases(), large()) {
		data := c.data()
		for i := range data { // what both precisions hold exactly
			data[i] = convert[float64](convert[float32](data[i]))
		}
		exact := NewTape64()
		y, _ := run(c, exact, data, nil)
		dy := convert[float64](convert[float32](normal(99, len(y))))
		want, wantGrads := run(c, exact, data, dy)
		exact.Close()
		compare := func(t *testing.T, what string, got, want []float64) {
			diff, sum := 0.0, 0.0
			for i, v := range got {
				diff, sum = diff+(v-want[i])*(v-want[i]), sum+want[i]*want[i]
			}
			if !(math.Sqrt(diff) <= 3e-5*math.Sqrt(sum)+1e-7) {
				t.Errorf("%s: off by %.2g", what, math.Sqrt(diff/sum))
			}
		}
		first := ""
		for _, threads := range []int{0, 1, 2, 3} {
			t.Run(fmt.Sprintf("%s/%d threads", c.name, threads), func(t *testing.T) {
				tape := NewTape32Plain()
				if threads > 0 {
					pool := kernel.NewPool(threads)
					defer pool.Close()
					tape = NewTape(pool)
				}
				defer tape.Close()
				y, grads := run(c, tape, data, dy)
				compare(t, "y", y, want)
				for i, g := range grads {
					compare(t, fmt.Sprintf("gradient %d", i), g, wantGrads[i])
				}
				again, gradsAgain := run(c, tape, data, dy)
				got := fmt.Sprint(y, grads)
				if got != fmt.Sprint(again, gradsAgain) {
					t.Error("the second run gave other bits")
				}
				switch {
				case threads == 1:
					first = got
				case threads > 1 && got != first:
					t.Error("other bits than on one thread")
				}
			})
		}
	}
}

// TestRecompute: whatever is dropped and when, values and gradients have the same bits.
func TestRecompute(t *testing.T) {
	defer func(old int) { window = old }(window)
	for _, c := range opCases() {
		var want string
		for _, w := range []int{100, 8, 2, 1} {
			for _, saving := range []bool{false, true} {
				window = w
				tape := NewTape64()
				tape.SetCheckpointing(saving)
				y, _ := run(c, tape, c.data(), nil)
				_, grads := run(c, tape, c.data(), normal(99, len(y)))
				got := fmt.Sprint(y, grads)
				if want == "" {
					want = got
				}
				if got != want {
					t.Errorf("%s: other values with window %d, checkpointing %v", c.name, w, saving)
				}
				tape.Close()
			}
		}
	}
}

// TestTapeIsEager: the tape's forward has the bits of the eager Ops.
func TestTapeIsEager(t *testing.T) {
	x := random(1, 40)
	run := func(o Ops) []float64 {
		a, w := o.Leaf([]int{5, 8}, x), o.Leaf([]int{8, 8}, random(2, 64))
		n := o.RMSNorm(a, nil, Norm{Eps: 1e-5})
		q := o.RoPE(o.MatMul(n, w), Rotary{Heads: 2, InvFreq: []float64{1, 0.1}}, []int{0, 1, 2, 3, 4})
		y := o.Attend(q, n, a, Attend{Heads: 2, KVHeads: 2, Scale: 0.5})
		y = o.Add(y, o.CausalConv(o.Softmax(y), o.Leaf([]int{8, 3}, random(3, 24)), 8))
		return o.Values(o.SwiGLU(o.GELU(y, true), o.LayerNorm(y, nil, nil, 1e-5)))
	}
	got, want := run(NewTape64()), run(NewEager64())
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= 1e-14*(1+math.Abs(want[i]))) {
			t.Fatalf("value %d is %v, eager %v", i, got[i], want[i])
		}
	}
}

func bytesOf(x []float32) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*len(x)) }

// TestParam: a weight is known by its place, row slices and tied uses add to one gradient, and other weights are constants.
func TestParam(t *testing.T) {
	tape := NewTape32Plain()
	defer tape.Close()
	data, grad := random(1, 12), make([]float32, 12)
	tape.Param("w", bytesOf(data), data, grad)
	w := Weight{Name: "w", Shape: []int{4, 3}, Data: bytesOf(data)}
	x := tape.Leaf([]int{1, 3}, []float32{1, 2, 3})
	y := tape.Add(tape.MatMul(x, tape.Weight(w.Slice(1, 3))), tape.MatMul(x, tape.Weight(w.Slice(2, 4))))
	other := random(5, 2)
	y = tape.MulRow(y, tape.Weight(Weight{Shape: []int{2}, Data: bytesOf(other)}))
	tape.Param("idle", bytesOf(make([]float32, 2)), make([]float32, 2), nil)
	if u := tape.Unused(); len(u) != 1 || u[0] != "idle" {
		t.Errorf("unused: %v", u)
	}
	tape.backward(y.(*node[float32]), []float32{1, 10})
	o0, o1 := other[0], other[1]
	for r, f := range []float32{0, o0, 10*o1 + o0, 10 * o1} {
		for c := range 3 {
			if want := f * float32(c+1); math.Abs(float64(grad[r*3+c]-want)) > 1e-5 {
				t.Errorf("row %d, column %d: gradient %v, want %v", r, c, grad[r*3+c], want)
			}
		}
	}
}

// TestPicked: elements picked from a parameter, rows of groups or columns, are that parameter's: their gradients come back to their places, and what nothing picks has none.
func TestPicked(t *testing.T) {
	const rows, cols = 6, 4
	data := random(2, rows*cols)
	stored := Weight{Name: "w", Shape: []int{rows, cols}, Data: bytesOf(data)}
	for _, w := range []Weight{stored.Groups(1, 3, 3), stored.Columns(1, 2), stored.Slice(2, 5).Columns(0, 2), stored.Slice(3, 6).Groups(0, 1, 1)} {
		tape := NewTape32Plain()
		grad := make([]float32, len(data))
		tape.Param("w", bytesOf(data), data, grad)
		up := random(3, size(w.Shape))
		y := tape.Mul(tape.Weight(w), tape.Leaf(w.Shape, up))
		values := convert[float32](tape.Values(y))
		tape.backward(y.(*node[float32]), convert[float32](slices.Repeat([]float64{1}, len(up))))
		seen := 0
		for i, g := range grad {
			if g == 0 {
				continue
			}
			at := slices.Index(up, g)
			if seen++; at < 0 || values[at] != data[i]*g {
				t.Errorf("%v: element %d of the parameter has gradient %v", w.Shape, i, g)
			}
		}
		if seen != len(up) {
			t.Errorf("%v: %d elements have gradients, %d were picked", w.Shape, seen, len(up))
		}
		tape.Close()
	}
}

// TestMemory: later steps take nothing new, and checkpointing takes less.
func TestMemory(t *testing.T) {
	c := large()
	peak := func(saving bool) int64 {
		tape := NewTape(nil)
		defer tape.Close()
		tape.SetCheckpointing(saving)
		run(c, tape, c.data(), []float64{1})
		first := tape.PeakBytes()
		for range 2 {
			run(c, tape, c.data(), []float64{1})
		}
		if p := tape.PeakBytes(); p != first {
			t.Errorf("%d bytes after a step, %d after three", first, p)
		}
		return first
	}
	if all, saved := peak(false), peak(true); !(saved < all*3/4) {
		t.Errorf("checkpointing takes %d bytes, keeping all %d", saved, all)
	}
}
