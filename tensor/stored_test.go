package tensor

import (
	"math"
	"testing"

	"github.com/lowkeylm/lowkey/kernel"
)

// Stored is what the codec gives back, on every Ops, and its gradient goes straight through.
func TestStored(t *testing.T) {
	const rows, heads, width = 5, 2, 20
	data := normal(4, rows*heads*width)
	x := convert[float32](data)
	want := make([]float64, len(x))
	for at := 0; at < len(x); at += width {
		code, row := make([]byte, kernel.RowBytes(kernel.CodecQ4, width)), make([]float32, width)
		kernel.EncodeRow(kernel.CodecQ4, code, x[at:at+width])
		kernel.DecodeRow(kernel.CodecQ4, row, code)
		for i, v := range row {
			want[at+i] = float64(v)
			if d := math.Abs(float64(v - x[at+i])); d == 0 || d > 0.6 {
				t.Errorf("element %d: %v is stored as %v", at+i, x[at+i], v)
			}
		}
	}
	shape := []int{rows, heads * width}
	same := func(what string, got []float64) {
		for i, v := range got {
			if v != want[i] {
				t.Fatalf("%s: element %d is %v, want %v", what, i, v, want[i])
			}
		}
	}
	o := NewEager32()
	same("eager", o.Values(o.Stored(o.Leaf(shape, x), heads, kernel.CodecQ4)))
	tape := NewTape64()
	defer tape.Close()
	in := input(shape, convert[float64](x))
	y := tape.Stored(in, heads, kernel.CodecQ4)
	same("tape", tape.Values(y))
	dy := normal(5, len(x))
	tape.backward(y.(*node[float64]), dy)
	for i, g := range in.grad {
		if g != dy[i] {
			t.Fatalf("gradient %d is %v, upstream %v", i, g, dy[i])
		}
	}
}
