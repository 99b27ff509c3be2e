// The eager implementation of Ops: every call computes at once, in plain loops, generic over float32 and float64.
//
// NewEager32 is the project's plain reference on the full forward; NewEager64 is the same arithmetic in float64, against which
// gradients and orders of summation are judged. Precision of the float32 one: matrix products and dot products sum in float32
// (matrix products in blocks, so rounding does not grow with the whole width); norms, softmax and transcendental functions
// compute in float64 and round once at the end, which is closer to the exact value than PyTorch's float32 and differs from it
// by a few units of the last place. Each output depends on its own row and on earlier rows only, and is summed in an order
// that no thread count changes: the same input gives the same bits.
//
// It will not use assembly, keep state, or fuse ops: the fast path is the cached step.
package tensor

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

type float interface{ float32 | float64 }

// array is the eager Tensor: row-major data, one or two dimensions.
type array[T float] struct {
	shape []int
	data  []T
}

func (a *array[T]) Shape() []int { return a.shape }

// rows and cols see a vector as one row.
func (a *array[T]) rows() int {
	if len(a.shape) == 1 {
		return 1
	}
	return a.shape[0]
}

func (a *array[T]) cols() int { return a.shape[len(a.shape)-1] }

func (a *array[T]) row(i int) []T {
	c := a.cols()
	return a.data[i*c : (i+1)*c : (i+1)*c]
}

type eager[T float] struct{}

// NewEager32 computes in float32.
func NewEager32() Ops { return eager[float32]{} }

// NewEager64 computes in float64.
func NewEager64() Ops { return eager[float64]{} }

// bad reports a programmer's error: the op and the shapes that do not fit.
func bad(op, format string, args ...any) {
	panic("tensor: " + op + ": " + fmt.Sprintf(format, args...))
}

// arr opens a handle.
func arr[T float](op string, t Tensor) *array[T] {
	a, ok := t.(*array[T])
	if !ok || a == nil {
		bad(op, "a tensor of type %T, which is not of this Ops", t)
	}
	return a
}

// mat opens a handle that must be [T, cols].
func mat[T float](op string, t Tensor) *array[T] {
	a := arr[T](op, t)
	if len(a.shape) != 2 {
		bad(op, "shape %v, want [T, cols]", a.shape)
	}
	return a
}

// vec opens a handle that must be [n].
func vec[T float](op string, t Tensor, n int, x *array[T]) []T {
	a := arr[T](op, t)
	if len(a.shape) != 1 || a.shape[0] != n {
		bad(op, "x %v with a vector of shape %v, want [%d]", x.shape, a.shape, n)
	}
	return a.data
}

func newMat[T float](rows, cols int) *array[T] {
	return &array[T]{shape: []int{rows, cols}, data: make([]T, rows*cols)}
}

func like[T float](x *array[T]) *array[T] {
	return &array[T]{shape: x.shape, data: make([]T, len(x.data))}
}

// Leaf keeps float32 data as it is and widens it for float64.
func (eager[T]) Leaf(shape []int, data []float32) Tensor {
	n := 1
	for _, d := range shape {
		if d < 0 {
			bad("Leaf", "shape %v", shape)
		}
		n *= d
	}
	if len(shape) < 1 || len(shape) > 2 || n != len(data) {
		bad("Leaf", "shape %v with %d values", shape, len(data))
	}
	a := &array[T]{shape: append([]int(nil), shape...)}
	if same, ok := any(data).([]T); ok {
		a.data = same
		return a
	}
	a.data = make([]T, n)
	for i, v := range data {
		a.data[i] = T(v)
	}
	return a
}

func (o eager[T]) Weight(w Weight) Tensor {
	w.Shape = flat(w.Shape)
	return o.Leaf(w.Shape, w.Float32s())
}

// flat joins the trailing dimensions of a convolution's weight [out, in, taps] to [out, in*taps].
func flat(shape []int) []int {
	if len(shape) <= 2 {
		return shape
	}
	return []int{shape[0], size(shape[1:])}
}

func (eager[T]) Values(t Tensor) []float64 {
	a := arr[T]("Values", t)
	out := make([]float64, len(a.data))
	for i, v := range a.data {
		out[i] = float64(v)
	}
	return out
}

func (eager[T]) Embed(table Tensor, ids []int32) Tensor {
	w := mat[T]("Embed", table)
	y := newMat[T](len(ids), checkEmbed(w.shape, ids))
	for i, id := range ids {
		copy(y.row(i), w.row(int(id)))
	}
	return y
}

// zip combines two tensors of one shape.
func zip[T float](op string, a, b Tensor, f func(a, b T) T) Tensor {
	x, z := arr[T](op, a), arr[T](op, b)
	checkEqual(op, x.shape, z.shape)
	y := like(x)
	for i, v := range x.data {
		y.data[i] = f(v, z.data[i])
	}
	return y
}

func sameShape(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func (eager[T]) Add(a, b Tensor) Tensor { return zip("Add", a, b, func(a, b T) T { return a + b }) }
func (eager[T]) Mul(a, b Tensor) Tensor { return zip("Mul", a, b, func(a, b T) T { return a * b }) }

// zipRow combines every row of x with one vector.
func zipRow[T float](op string, x, r Tensor, f func(x, r T) T) Tensor {
	a := mat[T](op, x)
	v := vec(op, r, a.cols(), a)
	y := like(a)
	for i := range a.rows() {
		in, out := a.row(i), y.row(i)
		for j := range v {
			out[j] = f(in[j], v[j])
		}
	}
	return y
}

func (eager[T]) AddBias(x, b Tensor) Tensor {
	return zipRow("AddBias", x, b, func(x, b T) T { return x + b })
}

func (eager[T]) MulRow(x, r Tensor) Tensor {
	return zipRow("MulRow", x, r, func(x, r T) T { return x * r })
}

func (eager[T]) Scale(x Tensor, s float64) Tensor {
	a := arr[T]("Scale", x)
	y := like(a)
	for i, v := range a.data {
		y.data[i] = v * T(s)
	}
	return y
}

// parallel runs f(0) .. f(n-1), each once, on the machine's threads. f writes only what belongs to its own i.
func parallel(n int, f func(i int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	if workers <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}
