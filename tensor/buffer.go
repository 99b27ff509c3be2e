package tensor

// Handles of the cached step: raw weights as files hold them, packed linear layers, vectors, and buffers of activations. Nothing above this package looks inside.

import (
	"fmt"
	"slices"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
)

// Weight is a tensor as its file holds it: row-major, [out, in] for a linear layer, [n] for a vector.
type Weight struct {
	Name       string
	Format     kernel.Format
	Shape      []int
	Data       []byte
	Transposed bool    // Data is row-major [in, out], Shape still [out, in]; float formats only
	Picked     *Picked // Data is a copy of some of a stored tensor's elements; nil: Data lies as stored
}

// Rows and Cols read the shape of a matrix; a vector is one row.
// Rows counts the rows of Cols values: 1 for a vector, the product of all other dimensions beyond two.
func (w Weight) Rows() int {
	n := 1
	for _, d := range w.Shape[:max(0, len(w.Shape)-1)] {
		n *= d
	}
	return n
}

func (w Weight) Cols() int {
	if len(w.Shape) == 0 {
		return 1
	}
	return w.Shape[len(w.Shape)-1]
}

// Float32s expands the whole tensor.
func (w Weight) Float32s() []float32 {
	out := make([]float32, w.Rows()*w.Cols())
	kernel.Dequantize(w.Format, out, w.Data)
	if w.Transposed {
		return transposed(out, w.Cols(), w.Rows())
	}
	return out
}

// transposed is x [rows, cols] as [cols, rows].
func transposed[T float](x []T, rows, cols int) []T {
	y := make([]T, len(x))
	for i := range rows {
		for j := range cols {
			y[j*rows+i] = x[i*cols+j]
		}
	}
	return y
}

// straight is the weight in float32 with its rows in order.
func (w Weight) straight() Weight {
	x := w.Float32s()
	w.Format, w.Data, w.Transposed = kernel.F32, make([]byte, 4*len(x)), false
	kernel.Quantize(kernel.F32, w.Data, x) // of float32 to float32: cannot fail
	return w
}

// Slice returns rows [from, to) of a matrix, sharing its bytes. It is no Weight for a tape if they are a copy.
func (w Weight) Slice(from, to int) Weight {
	elems, size := w.Format.Block()
	row := w.Cols() / elems * size
	w.Data = w.Data[from*row : to*row]
	w.Shape, w.Picked = []int{to - from, w.Cols()}, nil
	return w
}

// Check refuses a weight whose shape is not the one the configuration asks for.
func (w Weight) Check(shape ...int) error {
	if len(shape) == len(w.Shape) {
		same := true
		for i := range shape {
			same = same && shape[i] == w.Shape[i]
		}
		if same {
			return nil
		}
	}
	return fault.New(fault.BadFile, "tensor "+w.Name, fmt.Sprintf("shape %v", w.Shape), fmt.Sprintf("the configuration asks for %v", shape), "give weights and config.json of the same model")
}

// Missing is the error of a tensor that the configuration needs and the file lacks.
func Missing(name string) *fault.Error {
	return fault.New(fault.BadFile, "tensor "+name, "missing", "the configuration needs it", "fetch the model again; lowkey inspect --tensors lists what it has")
}

// Linear is a packed weight [out, in] with an optional bias.
type Linear struct {
	m    *kernel.Matrix
	bias []float32
}

// Out and In are the widths of the product and of its input.
func (l *Linear) Out() int { return l.m.N }
func (l *Linear) In() int  { return l.m.K }

// Vector is a small weight in f32: a norm, a bias.
type Vector struct{ x []float32 }

// Len is the number of elements; a nil vector has none.
func (v *Vector) Len() int {
	if v == nil {
		return 0
	}
	return len(v.x)
}

// Float32s is what it holds, not to be changed; nil for nil.
func (v *Vector) Float32s() []float32 {
	if v == nil {
		return nil
	}
	return v.x
}

// BufOf views x [rows, cols] as a buffer.
func BufOf(rows, cols int, x []float32) Buf { return Buf{rows, cols, x} }

// Packer packs weights for the kernels and counts what they take.
type Packer struct {
	Pool  *kernel.Pool
	Arith kernel.Arith   // for quantised weights
	To    *kernel.Format // quantise at load to this format; nil keeps the file's
	bytes int64
	slabs []*kernel.Mem
	free  []byte // of the last slab
}

// Free gives back everything that was packed.
func (p *Packer) Free() {
	for _, s := range p.slabs {
		s.Free()
	}
	p.slabs, p.free, p.bytes = nil, nil, 0
}

// slabBytes is what is reserved at once for small matrices, so that they share huge pages; what stays unwritten takes no memory.
const slabBytes = 64 << 20

// take cuts n bytes, aligned to a cache line, from a slab.
func (p *Packer) take(n int64) ([]byte, error) {
	if room := (n + 63) &^ 63; int64(len(p.free)) < room {
		s, err := kernel.Alloc(max(room, slabBytes))
		if err != nil {
			return nil, err
		}
		p.slabs, p.free = append(p.slabs, s), s.Bytes()
	}
	b := p.free[:n:n]
	p.free = p.free[min(int64(len(p.free)), (n+63)&^63):]
	return b, nil
}

// Bytes is what all packed weights take.
func (p *Packer) Bytes() int64 { return p.bytes }

// FloatWeight is a matrix [rows, cols] that was made at load, as a file would hold it in f32.
func FloatWeight(name string, rows, cols int, x []float32) Weight {
	w := Weight{Name: name, Format: kernel.F32, Shape: []int{rows, cols}, Data: make([]byte, 4*len(x))}
	kernel.Quantize(kernel.F32, w.Data, x) // of float32 to float32: cannot fail
	return w
}

// Linear packs a matrix; bias may be nil.
func (p *Packer) Linear(w Weight, bias *Weight) (*Linear, error) {
	if w.Transposed {
		return p.Linear(w.straight(), bias)
	}
	l, err := p.packWeight(w)
	if err != nil {
		return nil, fmt.Errorf("tensor %s: %w", w.Name, err)
	}
	if bias != nil {
		if bias.Cols() != w.Rows() {
			return nil, bias.Check(w.Rows())
		}
		l.bias = bias.Float32s()
		p.bytes += int64(4 * len(l.bias))
	}
	return l, nil
}

// format is what a matrix is packed as: quantising at load needs whole blocks, other matrices stay as they are.
func (p *Packer) format(w Weight) kernel.Format {
	if p.To == nil {
		return w.Format
	}
	if elems, _ := p.To.Block(); w.Cols()%elems != 0 {
		return w.Format
	}
	return *p.To
}

// Rounds reports whether products with w, packed, will round their input to int8.
func (p *Packer) Rounds(w Weight) bool { return p.Arith == kernel.ArithInt8 && p.format(w).Quantised() }

// LinearBytes is what Linear would take, before anything is allocated.
func (p *Packer) LinearBytes(w Weight) (int64, error) {
	return kernel.PackedBytes(p.format(w), w.Rows(), w.Cols(), p.Arith)
}

// Floats packs a matrix [rows, cols] that was made at load (a folded product), in f32.
func (p *Packer) Floats(rows, cols int, x []float32) (*Linear, error) {
	data := make([]byte, 4*len(x))
	if err := kernel.Quantize(kernel.F32, data, x); err != nil {
		return nil, err
	}
	return p.pack(kernel.F32, rows, cols, data)
}

func (p *Packer) pack(f kernel.Format, rows, cols int, data []byte) (*Linear, error) {
	return p.packed(f, rows, cols, func(mem []byte) (*kernel.Matrix, error) {
		return kernel.Pack(mem, f, rows, cols, data, p.Arith, p.Pool)
	})
}

// packWeight packs a matrix as it is or quantised, a panel of rows at a time: the whole of it in float32 would be many times what the budget counts.
func (p *Packer) packWeight(w Weight) (*Linear, error) {
	format := p.format(w)
	if format == w.Format {
		return p.pack(format, w.Rows(), w.Cols(), w.Data)
	}
	if err := quantisable(format); err != nil {
		return nil, err
	}
	return p.packed(format, w.Rows(), w.Cols(), func(mem []byte) (*kernel.Matrix, error) {
		return kernel.PackFrom(mem, format, w.Rows(), w.Cols(), func(from, to int) []byte { return w.Slice(from, to).quantised(nil, format) }, p.Arith, p.Pool)
	})
}

// quantisable refuses formats that are read from files only.
func quantisable(f kernel.Format) error { return kernel.Quantize(f, nil, nil) }

// quantised is the weight in a quantisable format, appended to data.
func (w Weight) quantised(data []byte, f kernel.Format) []byte {
	elems, size := f.Block()
	at, n := len(data), w.Rows()*w.Cols()/elems*size
	data = slices.Grow(data, n)[:at+n]
	kernel.Quantize(f, data[at:], w.Float32s()) // quantisable: cannot fail
	return data
}

func (p *Packer) packed(f kernel.Format, rows, cols int, pack func(mem []byte) (*kernel.Matrix, error)) (*Linear, error) {
	n, err := kernel.PackedBytes(f, rows, cols, p.Arith)
	if err != nil {
		return nil, err
	}
	mem, err := p.take(n)
	if err != nil {
		return nil, err
	}
	m, err := pack(mem)
	if err != nil {
		return nil, err
	}
	p.bytes += n
	return &Linear{m: m}, nil
}

// Table is a weight whose rows are read one at a time, by number.
type Table struct{ t *kernel.Table }

// Table keeps a matrix row after row, in the format that Linear would choose.
func (p *Packer) Table(w Weight) (*Table, error) {
	format := p.format(w)
	if w.Transposed {
		w = w.straight()
		format = kernel.F32
	}
	n := int64(len(w.Data))
	if format != w.Format {
		if err := quantisable(format); err != nil {
			return nil, err
		}
		n = p.TableBytes(w)
	}
	mem, err := p.take(n)
	if err != nil {
		return nil, err
	}
	if format == w.Format {
		copy(mem, w.Data)
	} else {
		const some = 64 // rows at a time
		for from, out := 0, mem[:0]; from < w.Rows(); from += some {
			out = w.Slice(from, min(w.Rows(), from+some)).quantised(out, format)
		}
	}
	t, err := kernel.NewTable(format, w.Rows(), w.Cols(), mem)
	if err != nil {
		return nil, fmt.Errorf("tensor %s: %w", w.Name, err)
	}
	p.bytes += n
	return &Table{t}, nil
}

// TableBytes is what Table would take.
func (p *Packer) TableBytes(w Weight) int64 {
	elems, size := p.format(w).Block()
	return int64(w.Rows()) * int64(w.Cols()) / int64(elems) * int64(size)
}

// Expansion describes keys and values that are rebuilt from plane's rows and token ids, for attention: see kernel.Expansion. bias may be nil.
func Expansion(plane int, up, gate *Linear, table *Table, weight, bias *Vector, eps float64, key, value int) *kernel.Expansion {
	return &kernel.Expansion{Plane: plane, Up: up.m, Gate: gate.m, Table: table.t, Weight: weight.Float32s(), Bias: bias.Float32s(), Eps: float32(eps), Key: key, Value: value}
}

// Vector reads a small weight.
func (p *Packer) Vector(w Weight) *Vector {
	v := &Vector{w.Float32s()}
	p.bytes += int64(4 * len(v.x))
	return v
}

// VectorOf keeps a small weight that was made at load.
func (p *Packer) VectorOf(x []float32) *Vector {
	p.bytes += int64(4 * len(x))
	return &Vector{x}
}

// Buf is a matrix of activations [Rows, Cols] in a workspace. It is valid until the workspace is released below it.
type Buf struct {
	Rows, Cols int
	x          []float32
}

// Row returns a handle to rows [from, to).
func (b Buf) Slice(from, to int) Buf {
	return Buf{to - from, b.Cols, b.x[from*b.Cols : to*b.Cols]}
}

// Split is the same numbers with each of `heads` equal parts of a row as a row of its own; Join undoes it.
func (b Buf) Split(heads int) Buf { return Buf{b.Rows * heads, b.Cols / heads, b.x} }
func (b Buf) Join(heads int) Buf  { return Buf{b.Rows / heads, b.Cols * heads, b.x} }

// Float32s reads a buffer out, without a copy.
func (b Buf) Float32s() []float32 { return b.x }
