// The gradient tape: an Ops that records what it computes, and walks the record back.
//
// A Tape runs the same Forward as the eager Ops. Backward then adds to every parameter's gradient. Each op is defined once, forward and backward side by side, for
// float32 and float64; the loops beneath are either plain (the reference) or the vector kernels (see kernels).
//
// Memory. An op says which values its backward reads. A value that no backward reads goes back to the arena soon after it was made, and so does a light one, that
// is, one that is computed from values which are kept anyway: norms, gated and other non-linear element-wise ops. Linear element-wise ops read nothing in backward:
// their result is kept and their input goes. Whatever has gone is computed again when somebody asks for it, by the op that made it, to the same bits. Gradient
// checkpointing is the same mechanism: Checkpoint lets go of all values inside a block.
//
// Determinism. Work is cut into parts whose size depends on shapes alone, and sums over parts are taken in order: the same bits on any number of threads.
//
// It will not record data-dependent control flow for a second run, differentiate twice, or be used from several goroutines.
package tensor

import (
	"slices"
	"unsafe"

	"github.com/lowkeylm/lowkey/kernel"
)

// Tape implements Ops by recording. Handles live until Reset.
type Tape[T float] struct {
	loops
	k       kernels[T]
	arena   arena[T]
	params  []param[T]
	nodes   []*node[T]
	recent  []*node[T] // values that may go, in the order of their last use
	starts  []int      // first rows of the documents; the first is 0
	first   []int32    // the same by row, made when asked for
	turns   []*turns[T]
	zloss   float64
	balance float64
	saving  bool // Checkpoint lets go of inner values
}

// node is one recorded value. The inputs of an op stand before it on the tape.
type node[T float] struct {
	op       string
	shape    []int
	value    []T // nil: computed again when needed
	aux      []T // what forward leaves for backward beside the value; comes and goes with it
	auxLen   int
	grad     []T
	in       []*node[T] // forward reads these
	reads    []*node[T] // backward reads the values of these; may name the node itself
	forward  func()     // fills value and aux; the values of in are there
	backward func()     // adds grad to the gradients of in; the values of reads are there
	tracked  bool       // a gradient flows through
	owned    bool       // false: storage of the caller, a parameter or a leaf
	light    bool
	readers  int // how many ops want the value kept
	pins     int
}

func (n *node[T]) Shape() []int { return n.shape }

// rows and cols see a vector as one row.
func (n *node[T]) rows() int {
	if len(n.shape) == 1 {
		return 1
	}
	return n.shape[0]
}

func (n *node[T]) cols() int { return n.shape[len(n.shape)-1] }

// array is the value as the eager ops take it.
func (n *node[T]) array() *array[T] { return &array[T]{n.shape, n.value} }

func size(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// param is trainable storage of the caller.
type param[T float] struct {
	name       string
	place      []byte
	data, grad []T
	asked      bool // by Weight
}

// NewTape32Plain records in float32 with plain loops: the reference for the fast one.
func NewTape32Plain() *Tape[float32] { return newTape[float32](plain[float32]{}, loops{}) }

// NewTape64 records in float64 with plain loops: for gradient checks.
func NewTape64() *Tape[float64] { return newTape[float64](plain[float64]{}, loops{}) }

func newTape[T float](k kernels[T], l loops) *Tape[T] {
	return &Tape[T]{loops: l, k: k, starts: []int{0}}
}

// Param registers trainable storage. place is the bytes by which a model names it, the Data of its Weight, and is never read; data is the values in use
// and grad what Backward adds to, both as long as the weight has elements. A nil grad freezes the parameter.
func (t *Tape[T]) Param(name string, place []byte, data, grad []T) {
	if len(data) == 0 || len(place)%len(data) != 0 || len(place) == 0 || grad != nil && len(grad) != len(data) {
		bad("Param", "%s: place of %d bytes, %d values, %d gradients", name, len(place), len(data), len(grad))
	}
	p := param[T]{name: name, place: place, data: data, grad: grad}
	at, taken := t.find(place)
	if taken {
		bad("Param", "%s lies over %s", name, t.params[at].name)
	}
	t.params = slices.Insert(t.params, at, p)
}

// Unused names the parameters that no Weight has asked for yet: after a first step, those that cannot be trained.
func (t *Tape[T]) Unused() []string {
	var names []string
	for _, p := range t.params {
		if !p.asked {
			names = append(names, p.name)
		}
	}
	return names
}

// find returns the parameter that holds the first byte of data, or where one at that address would be inserted.
func (t *Tape[T]) find(data []byte) (int, bool) {
	address := uintptr(unsafe.Pointer(unsafe.SliceData(data)))
	at, same := slices.BinarySearchFunc(t.params, address, func(p param[T], a uintptr) int {
		switch start := uintptr(unsafe.Pointer(unsafe.SliceData(p.place))); {
		case start+uintptr(len(p.place)) <= a:
			return -1
		case start > a:
			return 1
		}
		return 0
	})
	return at, same
}

// Weight knows a parameter, or contiguous rows of one, by the place of w.Data, and elements picked from one by that of what they are from; all such uses add to one gradient. Any other weight is a
// constant.
func (t *Tape[T]) Weight(w Weight) Tensor {
	shape, place := flat(w.Shape), w.Data
	if w.Picked != nil {
		place = w.Picked.Data
	}
	if len(place) > 0 {
		if at, ok := t.find(place); ok {
			p := &t.params[at]
			p.asked = true
			each := len(p.place) / len(p.data)
			from := int(uintptr(unsafe.Pointer(unsafe.SliceData(place)))-uintptr(unsafe.Pointer(unsafe.SliceData(p.place)))) / each
			to := from + len(place)/each
			if to > len(p.data) || len(place)%each != 0 || w.Picked == nil && to-from != size(shape) {
				bad("Weight", "%s %v reaches over the end of parameter %s", w.Name, w.Shape, p.name)
			}
			if w.Transposed {
				shape = []int{shape[1], shape[0]}
			}
			n := &node[T]{op: "Weight", shape: shape, value: p.data[from:to]}
			if w.Picked != nil {
				n.shape = []int{to - from}
			}
			if p.grad != nil {
				n.grad, n.tracked = p.grad[from:to], true
			}
			switch {
			case w.Picked != nil:
				return t.pick(n, shape, w.Picked)
			case w.Transposed:
				return t.transpose(n)
			}
			return n
		}
	}
	w.Shape = shape
	return t.Leaf(shape, w.Float32s())
}

// Leaf is a constant.
func (t *Tape[T]) Leaf(shape []int, data []float32) Tensor {
	a := eager[T]{}.Leaf(shape, data).(*array[T])
	return &node[T]{op: "Leaf", shape: a.shape, value: a.data}
}

// Values reads a tensor out, as a copy.
func (t *Tape[T]) Values(x Tensor) []float64 {
	n := t.open("Values", x)
	t.need(n)
	return eager[T]{}.Values(n.array())
}

// Documents says that the rows of the coming ops are several sequences, one after another, that begin at these rows: attention and convolutions stay inside each.
// None means one sequence.
func (t *Tape[T]) Documents(starts []int) {
	if len(starts) == 0 {
		starts = []int{0}
	}
	if starts[0] != 0 || !slices.IsSorted(starts) {
		bad("Documents", "starts %v: the first is row 0, and they rise", starts)
	}
	t.starts, t.first = slices.Compact(slices.Clone(starts)), nil
}

// open takes a handle back.
func (t *Tape[T]) open(op string, x Tensor) *node[T] {
	n, ok := x.(*node[T])
	if !ok || n == nil {
		bad(op, "a tensor of type %T, which is not of this Ops", x)
	}
	return n
}

// maybe opens a handle that may be nil.
func (t *Tape[T]) maybe(op string, x Tensor) *node[T] {
	if x == nil {
		return nil
	}
	return t.open(op, x)
}

// list leaves out the inputs that an op goes without.
func list[T float](nodes ...*node[T]) []*node[T] {
	return slices.DeleteFunc(nodes, func(n *node[T]) bool { return n == nil })
}

// record computes a node and puts it on the tape.
func (t *Tape[T]) record(n *node[T]) Tensor {
	n.owned = true
	for _, a := range n.in {
		n.tracked = n.tracked || a.tracked
		if n.light {
			a.readers++
		}
	}
	for _, a := range n.reads {
		if !n.light {
			a.readers++
		}
	}
	t.nodes = append(t.nodes, n)
	t.need(n)
	return n
}

// need makes sure that a value is there.
func (t *Tape[T]) need(n *node[T]) {
	if n.value != nil {
		if n.owned {
			t.touch(n)
		}
		return
	}
	for _, a := range n.in {
		t.need(a)
		a.pins++
	}
	n.value = t.arena.take(size(n.shape))
	if n.auxLen > 0 {
		n.aux = t.arena.take(n.auxLen)
	}
	n.forward()
	for _, a := range n.in {
		a.pins--
	}
	t.touch(n)
}

// window is how many values that may go stay at hand, so that the next ops find them; at least 1.
var window = 8

// touch marks a value as just used and lets go of the one not used for longest, if it may go.
func (t *Tape[T]) touch(n *node[T]) {
	if i := slices.Index(t.recent, n); i >= 0 {
		t.recent = append(slices.Delete(t.recent, i, i+1), n)
		return
	}
	t.recent = append(t.recent, n)
	for i := 0; len(t.recent) > window && i < len(t.recent)-1; { // never n itself
		old := t.recent[i]
		if old.pins > 0 {
			i++
			continue
		}
		t.recent = slices.Delete(t.recent, i, i+1)
		if old.light || old.readers == 0 {
			t.drop(old)
		}
	}
}

// drop gives a value's memory back.
func (t *Tape[T]) drop(n *node[T]) {
	if !n.owned {
		return
	}
	t.arena.give(n.value)
	t.arena.give(n.aux)
	n.value, n.aux = nil, nil
}

// gradient is where to add the gradient of an input: add false means that the buffer holds nothing yet and must be written in full. Nil: none is wanted.
func (t *Tape[T]) gradient(n *node[T]) (g []T, add bool) {
	if n == nil || !n.tracked {
		return nil, false
	}
	if n.grad != nil {
		return n.grad, true
	}
	n.grad = t.arena.take(size(n.shape))
	return n.grad, false
}

// zeroed is gradient for ops that only add.
func (t *Tape[T]) zeroed(n *node[T]) []T {
	g, add := t.gradient(n)
	if !add {
		clear(g)
	}
	return g
}

// pass adds the gradient of y, which is not used any more, to that of an input of the same shape, without a copy if it is the first.
func (t *Tape[T]) pass(y, a *node[T]) {
	switch {
	case !a.tracked:
	case a.grad == nil:
		a.grad, y.grad = y.grad, nil
	default:
		t.accumulate(a.grad, y.grad, true)
	}
}

// accumulate is dst += x, or dst = x.
func (t *Tape[T]) accumulate(dst, x []T, add bool) {
	t.elements(len(dst), func(from, to int) {
		if add {
			t.k.add(dst[from:to], x[from:to])
		} else {
			copy(dst[from:to], x[from:to])
		}
	})
}

// Backward adds the gradient of a one-element tensor to that of every parameter it came from. Values and gradients on the tape go as the walk passes them; loss
// itself stays readable.
func (t *Tape[T]) Backward(loss Tensor) {
	n := t.open("Backward", loss)
	if size(n.shape) != 1 {
		bad("Backward", "shape %v, want one element", n.shape)
	}
	t.backward(n, []T{1})
}

func (t *Tape[T]) backward(from *node[T], upstream []T) {
	if !from.tracked {
		return
	}
	g, add := t.gradient(from)
	t.accumulate(g, upstream, add)
	at := slices.Index(t.nodes, from)
	for i := len(t.nodes) - 1; i >= 0; i-- {
		n := t.nodes[i]
		if i <= at && n.tracked && n.grad != nil {
			for _, a := range n.reads {
				t.need(a)
				a.pins++
			}
			n.backward()
			for _, a := range n.reads {
				a.pins--
			}
		}
		t.arena.give(n.grad)
		n.grad = nil
		if n != from {
			t.drop(n)
		}
	}
}

// Checkpointer is an Ops that can trade time for memory: what f computes inside is computed again when backward needs it. f runs once.
type Checkpointer interface {
	Checkpoint(in Tensor, f func(in Tensor) Tensor) Tensor
}

// Checkpoint runs f as a unit to recompute where o knows such, and just runs it elsewhere.
func Checkpoint(o Ops, in Tensor, f func(in Tensor) Tensor) Tensor {
	if c, ok := o.(Checkpointer); ok {
		return c.Checkpoint(in, f)
	}
	return f(in)
}

// SetCheckpointing switches what Checkpoint does.
func (t *Tape[T]) SetCheckpointing(on bool) { t.saving = on }

// Checkpoint runs f and keeps its input and output only, if checkpointing is on.
func (t *Tape[T]) Checkpoint(in Tensor, f func(in Tensor) Tensor) Tensor {
	first := len(t.nodes)
	out := f(in)
	if t.saving {
		for _, n := range t.nodes[first:] {
			if n != out {
				t.drop(n)
			}
		}
	}
	return out
}

// Reset forgets the record. Memory stays for the next step; handles are void.
func (t *Tape[T]) Reset() {
	clear(t.nodes)
	clear(t.recent[:cap(t.recent)])
	t.nodes, t.recent = t.nodes[:0], t.recent[:0]
	t.arena.reset()
	t.Documents(nil)
	for _, a := range t.turns {
		a.used = false
	}
}

// PeakBytes is the most memory that values and gradients took at once.
func (t *Tape[T]) PeakBytes() int64 { return t.arena.peak }

// Close gives the memory back; no handle may be used after it.
func (t *Tape[T]) Close() {
	t.Reset()
	t.arena.free()
}

// loops runs parts of work on the pool, or on the machine's threads where there is none. Parts depend on the size of the work only.
type loops struct{ pool *kernel.Pool }

func (l loops) parts(n int, f func(part int)) {
	if l.pool == nil {
		parallel(n, f)
		return
	}
	l.pool.Run(n, func(part, _ int) { f(part) })
}

// chunked cuts [0, n) into parts of `each`.
func (l loops) chunked(n, each int, f func(from, to int)) {
	l.parts((n+each-1)/each, func(p int) { f(p*each, min((p+1)*each, n)) })
}

// elements cuts element-wise work.
func (l loops) elements(n int, f func(from, to int)) { l.chunked(n, 1<<14, f) }

// byRows cuts work on rows of cols elements.
func (l loops) byRows(rows, cols int, f func(from, to int)) { l.chunked(rows, rowsEach(cols), f) }

// rowsEach is how many rows a part takes: some 16 thousand elements.
func rowsEach(cols int) int { return max(1, (1<<14)/max(cols, 1)) }

// summed runs f on parts of rows, each with partial sums of its own, width wide and zero at first, and adds these to sum in order. A nil sum drops them.
func (t *Tape[T]) summed(rows, cols, width int, sum []T, f func(from, to int, partial []T)) {
	if sum == nil {
		t.byRows(rows, cols, func(from, to int) { f(from, to, nil) })
		return
	}
	each := rowsEach(cols)
	parts := (rows + each - 1) / each
	all := t.arena.take(parts * width)
	clear(all)
	t.byRows(rows, cols, func(from, to int) {
		p := from / each
		f(from, to, all[p*width:(p+1)*width])
	})
	for p := range parts {
		t.k.add(sum[:width], all[p*width:(p+1)*width])
	}
	t.arena.give(all)
}
