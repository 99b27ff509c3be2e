// Package attention holds the designs: what one token leaves behind in a layer, the definition over a whole sequence, and the cached step. One file a design.
// It knows neither models nor files; weights come by the names that a design's own file lists.
package attention

import (
	"fmt"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// Design is one way to attend.
type Design interface {
	// Layout is what a token leaves behind.
	Layout() kvcache.Layout
	// Params lists the weights that the design's file names, as training starts them; biases are left out unless the design needs them.
	Params() []Param
	// Forward is the definition: x [T, hidden] at positions pos -> [T, hidden].
	Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor
	// Bind packs the weights for the cached step, folding what folds.
	Bind(w Weights, p *tensor.Packer) (Cached, error)
}

// ByToken is a design that reads the ids of the tokens too: a whole sequence's are given before its Forward. The cached step finds them in Step.Tokens and in its sequences.
type ByToken interface {
	Of(ids []int32) Design
}

// Of gives a design the ids of the sequence that its Forward is about to see, if it reads them.
func Of(d Design, ids []int32) Design {
	if r, ok := d.(ByToken); ok {
		return r.Of(ids)
	}
	return d
}

// Cached is a design with its weights packed.
type Cached interface {
	// View says how attention reads the rows that Layout describes; planes are filled in by the caller.
	View() kernel.Attention
	// Step projects new tokens x [rows, hidden], puts their rows, attends and projects out -> [rows, hidden].
	Step(s *Step, x tensor.Buf) tensor.Buf
}

// Param is a weight that training makes. Shape is [out, in] or [n].
type Param struct {
	Name  string
	Shape []int
	Init  Init
}

// Init says how a weight starts.
type Init uint8

const (
	Normal Init = iota // normal; its deviation is the trainer's choice, the same rule for every design
	Output             // as Normal, divided by sqrt(2 layers): what writes into the residual stream
	Zeros
	Ones
	Small    // a tenth of Normal: a residual beside something of full size
	Identity // [n, n]: passes its input on
)

// Weights finds a layer's tensors by the design's names ("q", "q.bias", "kv_a_norm").
type Weights interface {
	Get(name string) (tensor.Weight, bool)
}

// leaf brings a weight into Ops; the weight must exist.
func leaf(o tensor.Ops, w Weights, name string) tensor.Tensor {
	t, ok := w.Get(name)
	if !ok {
		panic("attention: no weight " + name)
	}
	return o.Weight(t)
}

// linear is x Wᵀ + bias, where there is a bias.
func linear(o tensor.Ops, w Weights, name string, x tensor.Tensor) tensor.Tensor {
	y := o.MatMul(x, leaf(o, w, name))
	if _, ok := w.Get(name + ".bias"); ok {
		y = o.AddBias(y, leaf(o, w, name+".bias"))
	}
	return y
}

// binder packs a design's weights and keeps the first error.
type binder struct {
	w   Weights
	p   *tensor.Packer
	err error
}

func (b *binder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *binder) get(name string, shape ...int) tensor.Weight {
	w, ok := b.w.Get(name)
	if !ok {
		b.fail(tensor.Missing(name))
		return tensor.Weight{}
	}
	if err := w.Check(shape...); err != nil {
		b.fail(err)
		return tensor.Weight{}
	}
	return w
}

func (b *binder) linear(name string, out, in int) *tensor.Linear {
	w := b.get(name, out, in)
	if b.err != nil {
		return nil
	}
	var bias *tensor.Weight
	if v, ok := b.w.Get(name + ".bias"); ok {
		bias = &v
	}
	l, err := b.p.Linear(w, bias)
	if err != nil {
		b.fail(err)
	}
	return l
}

func (b *binder) vector(name string, n int) *tensor.Vector {
	w := b.get(name, n)
	if b.err != nil {
		return nil
	}
	return b.p.Vector(w)
}

// table is a matrix whose rows are read one at a time.
func (b *binder) table(name string, n, width int) *tensor.Table {
	w := b.get(name, n, width)
	if b.err != nil {
		return nil
	}
	t, err := b.p.Table(w)
	if err != nil {
		b.fail(err)
	}
	return t
}

// vectors joins vectors of n numbers each.
func (b *binder) vectors(names []string, n int) *tensor.Vector {
	var x []float32
	for _, name := range names {
		x = append(x, b.floats(name, n)...)
	}
	if b.err != nil {
		return nil
	}
	return b.p.VectorOf(x)
}

// floats expands a weight for folding, or for the kernel's own use.
func (b *binder) floats(name string, shape ...int) []float32 {
	w := b.get(name, shape...)
	if b.err == nil {
		return w.Float32s()
	}
	n := 1
	for _, s := range shape {
		n *= s
	}
	return make([]float32, n)
}

func (b *binder) folded(rows, cols int, x []float32) *tensor.Linear {
	if b.err != nil {
		return nil
	}
	l, err := b.p.Floats(rows, cols, x)
	if err != nil {
		b.fail(err)
	}
	return l
}

// numbered names the tensors of n latents.
func numbered(name string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s.%d", name, i)
	}
	return out
}

// full is the slice of plane i that is the whole of a stream of this width.
func full(plane, width int, shared bool) kernel.Slice {
	return kernel.Slice{Plane: plane, To: width, Shared: shared}
}

// Step is one layer's share of a step: new tokens of some sequences, whose rows are contiguous in x, sequence after sequence.
type Step struct {
	*tensor.Workspace
	Sequences []*kvcache.Sequence
	Counts    []int             // new tokens of each sequence
	Tokens    []int32           // their ids, in the order of x
	Layer     int               // whose rows are put and read
	Strict    bool              // a token sees the rows before its own: they are a higher layer's (see sharing.go)
	View      *kernel.Attention // with planes
	Types     []kvcache.Type
	Pass      *Pass // nil, or x is some of the step's tokens in one of several passes (see sharing.go)

	first int // the lane's stream that is this step's stream 0: of several attentions in one layer each has its own
	spans []kernel.Span
}

// Put writes the new tokens' rows of one stream.
func (s *Step) Put(stream int, x tensor.Buf) {
	x = s.turnedRows(stream, x)
	if s.Pass != nil && s.Pass.Watch != nil {
		s.Pass.Watch.note(s.first+stream, x, &s.View.Planes[s.first+stream])
	}
	at := 0
	for i, q := range s.Sequences {
		for j := 0; j < s.Counts[i]; j++ {
			q.Put(s.Layer, s.first+stream, s.row(i)+j, x.Slice(at, at+1).Float32s())
			at++
		}
	}
}

// row is where sequence i's first new token stands.
func (s *Step) row(i int) int {
	if s.Pass != nil {
		return s.Sequences[i].Rows() + s.Pass.From[i]
	}
	return s.Sequences[i].Rows()
}

// State is sequence i's recurrent state before this step: zeros for a new one. Not to be changed.
func (s *Step) State(i int) []float32 { return s.Sequences[i].State(s.Layer) }

// PutState gives the state after each new token: x [rows, Layout.State]. The store keeps that of each sequence's last one and of those that end a page.
func (s *Step) PutState(x tensor.Buf) {
	at := 0
	for i, q := range s.Sequences {
		for j := 0; j < s.Counts[i]; j++ {
			if row := q.Rows() + j; j == s.Counts[i]-1 || q.KeepsState(row) {
				q.PutState(s.Layer, row, x.Slice(at, at+1).Float32s())
			}
			at++
		}
	}
}

// turnedRows is x as the rows of a stream are stored.
func (s *Step) turnedRows(stream int, x tensor.Buf) tensor.Buf {
	if s.Types[stream].Hadamard {
		x = s.Copy(x)
		s.HadamardCols(x, 1, 0, x.Cols, s.block(stream))
	}
	return x
}

// Attend lets queries q [rows, heads*key width] see the committed rows and the new ones, causally -> [rows, heads*value width].
func (s *Step) Attend(q tensor.Buf) tensor.Buf {
	if s.Pass != nil && s.Pass.RowsOnly {
		out := s.New(q.Rows, s.View.Groups*s.View.PerGroup*s.View.ValueWidth())
		clear(out.Float32s())
		return out
	}
	s.spans = s.spans[:0]
	at := 0
	for i := range s.Sequences {
		s.see(i, at)
		at += s.Counts[i]
	}
	out := s.Workspace.Attend(s.View, s.turnedQueries(q), s.spans)
	s.turn(out, s.View.Groups*s.View.PerGroup, s.View.Values)
	return out
}

// turnedQueries is q as it meets stored rows.
func (s *Step) turnedQueries(q tensor.Buf) tensor.Buf {
	if s.turned(s.View.Keys) {
		q = s.Copy(q)
		s.turn(q, s.View.Groups*s.View.PerGroup, s.View.Keys)
	}
	return q
}

func (s *Step) turned(slices []kernel.Slice) bool {
	for _, k := range slices {
		if s.Types[k.Plane].Hadamard {
			return true
		}
	}
	return false
}

// turn applies the Hadamard rotation of stored rows to what meets or leaves them. H is its own inverse.
func (s *Step) turn(x tensor.Buf, heads int, slices []kernel.Slice) {
	at := 0
	for _, k := range slices {
		n := k.To - k.From
		if s.Types[k.Plane].Hadamard {
			s.HadamardCols(x, heads, at, at+n, s.block(k.Plane))
		}
		at += n
	}
}

// block is the width of the Hadamard rotations along a plane's rows: the largest power of two that divides the row and every cut of keys and values in it, so that
// a part of a row is turned like the whole.
func (s *Step) block(plane int) int {
	n := s.View.Planes[plane].Width
	for _, slices := range [2][]kernel.Slice{s.View.Keys, s.View.Values} {
		for _, k := range slices {
			if k.Plane == plane {
				n |= k.From | k.To
			}
		}
	}
	return n & -n
}

// unsupported refuses something by name.
func unsupported(design, what string, value any, wayOut string) error {
	return fault.New(fault.Unsupported, "attention design "+design, fmt.Sprintf("%s %v", what, value), "", wayOut)
}
