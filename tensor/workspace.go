package tensor

// Workspace: the ops of the cached step, over any number of tokens of any number of sequences. Every op works row by row, so a row's result has the same bits
// however many rows go through together. It will not record gradients (see Ops) and knows no cache: attention over pages is handed to the kernel as it is.

import (
	"github.com/lowkeylm/lowkey/kernel"
)

// Workspace owns scratch memory and the state of one step. Not safe for concurrent use.
type Workspace struct {
	Pool     *kernel.Pool
	attender *kernel.Attender
	slabs    [][]float32
	slab, at int

	input kernel.Input

	route []float64

	pos    []int
	chosen []int // by row of a buffer: its row of pos; nil: the same
	step   int
	angles map[*Rope]*angles

	outs [][]float32
	lds  []int
	ms   []*kernel.Matrix
}

// NewWorkspace makes a workspace for this pool.
func NewWorkspace(p *kernel.Pool) *Workspace {
	return &Workspace{Pool: p, attender: kernel.NewAttender(p), angles: map[*Rope]*angles{}}
}

// Mark and Release bracket temporary buffers: Release frees everything made since its mark.
type Mark struct{ slab, at int }

func (w *Workspace) Mark() Mark     { return Mark{w.slab, w.at} }
func (w *Workspace) Release(m Mark) { w.slab, w.at = m.slab, m.at }

const slabFloats = 1 << 20

// New makes a buffer; its contents are undefined.
func (w *Workspace) New(rows, cols int) Buf {
	n := rows * cols
	room := (n + 15) &^ 15
	for {
		if w.slab == len(w.slabs) {
			w.slabs = append(w.slabs, make([]float32, max(room, slabFloats)))
		}
		if w.at+room <= len(w.slabs[w.slab]) {
			break
		}
		if w.at == 0 && w.slab == len(w.slabs)-1 { // an unused slab too small: replace it
			w.slabs[w.slab] = make([]float32, room)
			continue
		}
		w.slab, w.at = w.slab+1, 0
	}
	b := Buf{rows, cols, w.slabs[w.slab][w.at:][:n:n]}
	w.at += room
	return b
}

// Bytes is the scratch memory held.
func (w *Workspace) Bytes() int64 {
	var n int64
	for _, s := range w.slabs {
		n += int64(4 * len(s))
	}
	return n
}

// Begin starts a step: pos is the position of each row.
func (w *Workspace) Begin(pos []int) {
	w.pos, w.chosen = append(w.pos[:0], pos...), nil
	w.step++
	w.slab, w.at = 0, 0
	if len(w.slabs) > 1 { // one slab that holds all: the next step of this size needs no second
		n := 0
		for _, s := range w.slabs {
			n += len(s)
		}
		w.slabs = append(w.slabs[:0], make([]float32, n))
	}
}

// Choose makes the ops that ask for positions take buffers of some rows of the step alone; nil: of all.
func (w *Workspace) Choose(rows []int) { w.chosen = rows }

// spread reports whether rows are worth sharing out. An op asks first, and only then makes the closure that share runs: a token alone allocates nothing.
func (w *Workspace) spread(x Buf) bool {
	return x.Rows >= 8 && x.Rows*x.Cols >= 1<<14 && w.Pool.Threads() > 1
}

// share calls f for ranges of rows, side by side.
func (w *Workspace) share(rows int, f func(from, to int)) {
	parts := min(rows/4, 4*w.Pool.Threads())
	w.Pool.Run(parts, func(i, _ int) { f(i*rows/parts, (i+1)*rows/parts) })
}

// Embed gathers rows of an embedding, times scale; Lookup those of a table.
func (w *Workspace) Embed(table *Linear, ids []int32, scale float64) Buf {
	return w.lookup(table.m, table.In(), ids, scale)
}

func (w *Workspace) Lookup(table *Table, ids []int32, scale float64) Buf {
	return w.lookup(table.t, table.t.K, ids, scale)
}

func (w *Workspace) lookup(table interface{ Row(dst []float32, i int) }, width int, ids []int32, scale float64) Buf {
	y := w.New(len(ids), width)
	for i, id := range ids {
		row := y.x[i*y.Cols:][:y.Cols]
		table.Row(row, int(id))
		if scale != 1 {
			kernel.Scale(row, float32(scale))
		}
	}
	return y
}

// MatMul is x Wᵀ + bias.
func (w *Workspace) MatMul(x Buf, l *Linear) Buf {
	var out [1]Buf
	w.MatMuls(out[:], x, l)
	return out[0]
}

// MatMuls applies several weights to one input in one parallel region.
func (w *Workspace) MatMuls(out []Buf, x Buf, ls ...*Linear) {
	w.outs, w.lds, w.ms = w.outs[:0], w.lds[:0], w.ms[:0]
	for i, l := range ls {
		out[i] = w.New(x.Rows, l.Out())
		w.outs, w.lds, w.ms = append(w.outs, out[i].x), append(w.lds, l.Out()), append(w.ms, l.m)
	}
	w.input.Set(w.Pool, x.x, x.Rows, x.Cols)
	kernel.MatMulMany(w.Pool, &w.input, w.outs, w.lds, w.ms)
	for i, l := range ls {
		if l.bias == nil {
			continue
		}
		for r := 0; r < x.Rows; r++ {
			kernel.Add(out[i].x[r*l.Out():][:l.Out()], l.bias)
		}
	}
}

// HeadMatMul multiplies each head of x [rows, heads*In] by its own weight -> [rows, heads*Out].
func (w *Workspace) HeadMatMul(x Buf, ls []*Linear) Buf {
	heads, in, out := len(ls), ls[0].In(), ls[0].Out()
	y := w.New(x.Rows, heads*out)
	m := w.Mark()
	defer w.Release(m)
	part := w.New(x.Rows, in)
	prod := w.New(x.Rows, out)
	for h, l := range ls {
		for r := 0; r < x.Rows; r++ {
			copy(part.x[r*in:][:in], x.x[r*heads*in+h*in:])
		}
		w.input.Set(w.Pool, part.x, x.Rows, in)
		kernel.MatMul(w.Pool, prod.x, out, &w.input, l.m)
		for r := 0; r < x.Rows; r++ {
			copy(y.x[r*heads*out+h*out:][:out], prod.x[r*out:][:out])
		}
	}
	return y
}

// Cols takes columns [from, to).
func (w *Workspace) Cols(x Buf, from, to int) Buf { return w.HeadSlice(x, 1, from, to) }

// HeadSlice takes columns [from, to) of every head.
func (w *Workspace) HeadSlice(x Buf, heads, from, to int) Buf {
	y := w.New(x.Rows, heads*(to-from))
	in, n := x.Cols/heads, to-from
	for i := 0; i < x.Rows*heads; i++ {
		copy(y.x[i*n:][:n], x.x[i*in+from:])
	}
	return y
}

// HeadConcat joins a [rows, heads*wa] and b [rows, heads*wb] head by head.
func (w *Workspace) HeadConcat(a, b Buf, heads int) Buf {
	wa, wb := a.Cols/heads, b.Cols/heads
	y := w.New(a.Rows, heads*(wa+wb))
	for i := 0; i < a.Rows*heads; i++ {
		copy(y.x[i*(wa+wb):][:wa], a.x[i*wa:])
		copy(y.x[i*(wa+wb)+wa:][:wb], b.x[i*wb:])
	}
	return y
}

// Outer makes heads from factors: a [rows, heads*rank], b [rows, rank*width] -> y [rows, heads*width], y_h = scale * sum over r of a_hr b_r.
func (w *Workspace) Outer(a, b Buf, heads, rank int, scale float64) Buf {
	width := b.Cols / rank
	y := w.New(a.Rows, heads*width)
	for i := 0; i < a.Rows*heads; i++ {
		row := y.x[i*width:][:width]
		for r := 0; r < rank; r++ {
			x, f := b.x[(i/heads*rank+r)*width:][:width], a.x[i*rank+r]*float32(scale)
			if r == 0 {
				kernel.ScaleTo(row, x, f)
			} else {
				kernel.AddScaled(row, x, f)
			}
		}
	}
	return y
}

// RMSNorm returns x normalised in Groups equal slices of each row.
func (w *Workspace) RMSNorm(x Buf, v *Vector, spec Norm) Buf {
	y := w.New(x.Rows, x.Cols)
	if w.spread(x) {
		w.share(x.Rows, func(from, to int) { rmsNorm(y, x, v, spec, from, to) })
	} else {
		rmsNorm(y, x, v, spec, 0, x.Rows)
	}
	return y
}

func rmsNorm(y, x Buf, v *Vector, spec Norm, from, to int) {
	groups := max(1, spec.Groups)
	n := x.Cols / groups
	for i := from * groups; i < to*groups; i++ {
		var weight []float32
		if v != nil {
			weight = v.x
			if len(v.x) == x.Cols {
				weight = v.x[i%groups*n:][:n]
			}
		}
		kernel.RMSNorm(y.x[i*n:][:n], x.x[i*n:][:n], weight, float32(spec.Eps), spec.PlusOne)
	}
}

// LayerNorm returns x normalised; weight and bias may be nil.
func (w *Workspace) LayerNorm(x Buf, weight, bias *Vector, eps float64) Buf {
	y := w.New(x.Rows, x.Cols)
	if w.spread(x) {
		w.share(x.Rows, func(from, to int) { layerNorm(y, x, weight, bias, eps, from, to) })
	} else {
		layerNorm(y, x, weight, bias, eps, 0, x.Rows)
	}
	return y
}

func layerNorm(y, x Buf, weight, bias *Vector, eps float64, from, to int) {
	n := x.Cols
	for r := from; r < to; r++ {
		kernel.LayerNorm(y.x[r*n:][:n], x.x[r*n:][:n], weight.Float32s(), bias.Float32s(), float32(eps))
	}
}

// Add adds y, times scale, to x in place.
func (w *Workspace) Add(x, y Buf, scale float64) {
	for r := 0; r < x.Rows; r++ {
		a, b := x.x[r*x.Cols:][:x.Cols], y.x[r*x.Cols:][:x.Cols]
		if scale == 1 {
			kernel.Add(a, b)
		} else {
			kernel.AddScaled(a, b, float32(scale))
		}
	}
}

// AddWeighed adds row i of y, times weights[i, at], to row i of x.
func (w *Workspace) AddWeighed(x, y, weights Buf, at int) {
	for r := 0; r < x.Rows; r++ {
		kernel.AddScaled(x.x[r*x.Cols:][:x.Cols], y.x[r*y.Cols:][:y.Cols], weights.x[r*weights.Cols+at])
	}
}

// Scale multiplies x in place.
func (w *Workspace) Scale(x Buf, s float64) {
	if s != 1 {
		for r := 0; r < x.Rows; r++ {
			kernel.Scale(x.x[r*x.Cols:][:x.Cols], float32(s))
		}
	}
}

// Softcap is c tanh(x/c) in place; c = 0 leaves x.
func (w *Workspace) Softcap(x Buf, c float64) {
	if c > 0 {
		for r := 0; r < x.Rows; r++ {
			kernel.Softcap(x.x[r*x.Cols:][:x.Cols], float32(c))
		}
	}
}

// Activation names the functions of MLPs.
type Activation uint8

const (
	SiLU Activation = iota
	GELUTanh
	GELU
	Sigmoid
)

// Gated is act(gate) * up, written over gate.
func (w *Workspace) Gated(gate, up Buf, act Activation) Buf {
	f := kernel.SiLUMul
	switch act {
	case GELUTanh:
		f = kernel.GELUTanhMul
	case GELU:
		f = kernel.GELUMul
	case Sigmoid:
		f = kernel.SigmoidMul
	}
	if w.spread(gate) {
		w.share(gate.Rows, func(from, to int) { gated(f, gate, up, from, to) })
	} else {
		gated(f, gate, up, 0, gate.Rows)
	}
	return gate
}

func gated(f func(dst, gate, up []float32), gate, up Buf, from, to int) {
	n := gate.Cols
	for r := from; r < to; r++ {
		f(gate.x[r*n:][:n], gate.x[r*n:][:n], up.x[r*n:][:n])
	}
}

// Activate applies act in place; Sigmoid is for gates only.
func (w *Workspace) Activate(x Buf, act Activation) {
	f := kernel.SiLU
	switch act {
	case GELUTanh:
		f = kernel.GELUTanh
	case GELU:
		f = kernel.GELU
	}
	for r := 0; r < x.Rows; r++ {
		f(x.x[r*x.Cols:][:x.Cols])
	}
}

// Rope is one way to rotate: inverse frequencies (radians a position), the factor on cos and sin, the pairing and the direction, as in Rotary.
type Rope struct {
	InvFreq []float64
	Factor  float64 // 0 means 1
	Pairs   bool
	Sign    float64 // 0 means +1
	BF16    bool    // cosines and sines are rounded to bfloat16
	Every   int     // > 1: what turns is the number of the block of so many tokens that a position lies in (MTLA)

	parts map[int]*Rope
	back  *Rope
}

// Back is the rotation that undoes r, its factor included. It is made once, so that layers share its angles. Not safe for concurrent use. Tables rounded to bfloat16 it undoes to their rounding.
func (r *Rope) Back() *Rope {
	if r.back == nil {
		b := &Rope{InvFreq: r.InvFreq, Factor: 1, Pairs: r.Pairs, Sign: -1, BF16: r.BF16, Every: r.Every}
		if r.Factor != 0 {
			b.Factor = 1 / r.Factor
		}
		if r.Sign < 0 {
			b.Sign = 1
		}
		r.back = b
	}
	return r.back
}

// Part is the same rotation of n channels, n even and at most those of r: n/2 of its frequencies, evenly spaced. Each part is made once, so that layers share its angles. Not safe for concurrent use.
func (r *Rope) Part(n int) *Rope {
	if n == 2*len(r.InvFreq) {
		return r
	}
	if r.parts[n] == nil {
		p := &Rope{Factor: r.Factor, Pairs: r.Pairs, Sign: r.Sign, BF16: r.BF16}
		for i := range n / 2 {
			p.InvFreq = append(p.InvFreq, r.InvFreq[i*len(r.InvFreq)/(n/2)])
		}
		if r.parts == nil {
			r.parts = map[int]*Rope{}
		}
		r.parts[n] = p
	}
	return r.parts[n]
}

type angles struct {
	step     int
	cos, sin []float32 // [rows, pairs]
}

// table makes the cosines and sines of this step's positions once.
func (w *Workspace) table(r *Rope) *angles {
	a := w.angles[r]
	if a == nil {
		a = &angles{}
		w.angles[r] = a
	}
	if a.step == w.step {
		return a
	}
	factor, sign := r.Factor, r.Sign
	if factor == 0 {
		factor = 1
	}
	if sign == 0 {
		sign = 1
	}
	a.step, a.cos, a.sin = w.step, a.cos[:0], a.sin[:0]
	for _, p := range w.pos {
		p /= max(1, r.Every)
		for _, f := range r.InvFreq {
			c, s := turn(p, f, r.BF16)
			a.cos, a.sin = append(a.cos, float32(c*factor)), append(a.sin, float32(sign*s*factor))
		}
	}
	return a
}

// RoPE rotates columns [from, from+2*len(InvFreq)) of every head in place; nil leaves x.
func (w *Workspace) RoPE(x Buf, heads, from int, r *Rope) {
	if r == nil {
		return
	}
	t := w.table(r)
	if w.spread(x) {
		w.share(x.Rows, func(lo, hi int) { rope(x, heads, from, r, t, w.chosen, lo, hi) })
	} else {
		rope(x, heads, from, r, t, w.chosen, 0, x.Rows)
	}
}

func rope(x Buf, heads, from int, r *Rope, t *angles, chosen []int, lo, hi int) {
	half, n := len(r.InvFreq), x.Cols/heads
	f := kernel.RopeHalf
	if r.Pairs {
		f = kernel.RopePairs
	}
	for i := lo * heads; i < hi*heads; i++ {
		row := i / heads
		if chosen != nil {
			row = chosen[row]
		}
		f(x.x[i*n+from:][:2*half], t.cos[row*half:][:half], t.sin[row*half:][:half])
	}
}

// HadamardCols turns columns [from, to) of every head in place, in blocks of `block` columns, a power of two.
func (w *Workspace) HadamardCols(x Buf, heads, from, to, block int) {
	n := x.Cols / heads
	for i := 0; i < x.Rows*heads; i++ {
		for c := from; c < to; c += block {
			kernel.Hadamard(x.x[i*n+c:][:block])
		}
	}
}

// Copy returns a copy of x.
func (w *Workspace) Copy(x Buf) Buf {
	y := w.New(x.Rows, x.Cols)
	copy(y.x, x.x)
	return y
}

// Attend runs attention over pages: q [rows, heads*key width] -> [rows, heads*value width].
func (w *Workspace) Attend(a *kernel.Attention, q Buf, spans []kernel.Span) Buf {
	out := w.New(q.Rows, a.Groups*a.PerGroup*a.ValueWidth())
	w.AttendInto(a, out, q, spans)
	return out
}

// AttendInto is Attend for the rows of q and out that the spans name.
func (w *Workspace) AttendInto(a *kernel.Attention, out, q Buf, spans []kernel.Span) {
	w.attender.Run(a, out.x, q.x, spans)
}

// Gather copies chosen rows of x.
func (w *Workspace) Gather(x Buf, rows []int) Buf {
	y := w.New(len(rows), x.Cols)
	for i, r := range rows {
		copy(y.x[i*x.Cols:][:x.Cols], x.x[r*x.Cols:])
	}
	return y
}
