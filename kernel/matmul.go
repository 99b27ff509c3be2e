package kernel

// Products of activations with packed weights: the left operand, how work is shared out, and the plain Go reference of the assembly, which is also the path of machines
// without it.

import (
	"encoding/binary"
	"math"
)

func putF32(b []byte, v float32) { binary.LittleEndian.PutUint32(b, math.Float32bits(v)) }
func getF32(b []byte) float32    { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }

// Input is the left operand of products: activations x [M, K], and their int8 form, made once and shared by every product that reads it. One product at a time.
type Input struct {
	m, k  int
	x     []float32
	ready bool       // the int8 form is there
	acts  []actBlock // [m/rowTile][k/32][rowTile]: see tileOf

	// The products that are being computed, for work.
	products []product
	panels   int // of all products
	groups   int // a part is one group of panels by one chunk of rows
	chunk    int // rows
	work     func(part, worker int)
	edge     []edgeTile // of each worker
	quant    func(part, worker int)
	parts    int // of quant
}

// actBlock is the int8 form of 32 activations.
type actBlock struct {
	q     [32]int8
	scale float32 // sa
	smin  float32 // sa * float32(sum of q)
	sum   int32   // minus the sum of q
	low   int32   // minus the sum of the first 16
}

type product struct {
	y   []float32
	ldy int
	w   *Matrix
}

// edgeTile takes what a kernel writes of a panel with fewer than 16 columns.
type edgeTile [rowTile * PanelRows]float32

// rowTile is the number of rows whose activations lie side by side. Rows past the last whole tile are in tiles of 4, 2 and 1.
const rowTile = 8

// tileOf is the tile of a row: its first row and how many it has.
func tileOf(m, row int) (first, rows int) {
	first = m &^ (rowTile - 1)
	if row < first {
		return row &^ (rowTile - 1), rowTile
	}
	for rows = rowTile / 2; ; rows /= 2 {
		if (m-first)&rows == 0 {
			continue
		}
		if row < first+rows {
			return first, rows
		}
		first += rows
	}
}

// block is the b-th block of a row.
func (in *Input) block(row, b int) *actBlock {
	first, rows := tileOf(in.m, row)
	return &in.acts[first*(in.k/32)+b*rows+row-first]
}

// Set makes x [m, k] the operand; x must not change while products read it.
func (in *Input) Set(_ *Pool, x []float32, m, k int) {
	in.x, in.m, in.k, in.ready = x[:m*k], m, k, false
	if in.work == nil {
		in.work, in.quant = in.multiply, in.quantize
	}
}

// needInt8 makes the int8 form unless it is there. K must be a multiple of 32.
func (in *Input) needInt8(pool *Pool) {
	if in.ready {
		return
	}
	in.ready = true
	n := in.m * in.k / 32
	if cap(in.acts) < n {
		in.acts = make([]actBlock, n)
	}
	in.acts, in.parts = in.acts[:n], 1
	if in.m*in.k >= 1<<14 {
		in.parts = min(in.m, 4*pool.Threads())
	}
	pool.Run(in.parts, in.quant)
}

// quantize makes the int8 form of one part of the rows.
func (in *Input) quantize(part, _ int) {
	blocks := in.k / 32
	for row := part * in.m / in.parts; row < (part+1)*in.m/in.parts; row++ {
		x := in.x[row*in.k:][:in.k]
		first, rows := tileOf(in.m, row)
		quantizeRow(in.acts[first*blocks+row-first:], rows, x)
	}
}

// set quantises 32 activations. Blocks whose largest is below 127 times the smallest normal number are zero.
func (a *actBlock) set(x []float32) {
	top := float32(0)
	for _, v := range x {
		top = max(top, float32(math.Abs(float64(v))))
	}
	a.scale = top / 127
	inv := float32(0)
	if a.scale >= 0x1p-126 {
		inv = 1 / a.scale
	}
	a.low, a.sum = 0, 0
	for k, v := range x {
		c := int32(math.RoundToEven(float64(v * inv)))
		a.q[k] = int8(c)
		a.sum -= c
		if k < 16 {
			a.low -= c
		}
	}
	a.smin = a.scale * float32(-a.sum)
}

// MatMul writes y = x Wᵀ: y [m, ldy], of which the first N columns are written.
func MatMul(pool *Pool, y []float32, ldy int, in *Input, w *Matrix) {
	in.products = append(in.products[:0], product{y, ldy, w})
	in.run(pool)
}

// MatMulMany multiplies one input by several weights in one parallel region.
func MatMulMany(pool *Pool, in *Input, ys [][]float32, ldy []int, ws []*Matrix) {
	in.products = in.products[:0]
	for i, w := range ws {
		in.products = append(in.products, product{ys[i], ldy[i], w})
	}
	in.run(pool)
}

// run computes in.products. A part is a group of panels of all weights by a chunk of rows: the panels stay in cache while the rows pass, and the activations of a chunk stay in
// the second-level cache while panels pass.
func (in *Input) run(pool *Pool) {
	in.panels = 0
	for _, p := range in.products {
		if p.w.K != in.k {
			panic("kernel: a product of different K")
		}
		if p.w.format.Quantised() {
			in.needInt8(pool)
		}
		in.panels += p.w.panels()
	}
	threads := pool.Threads()
	for len(in.edge) < threads {
		in.edge = append(in.edge, edgeTile{})
	}
	const cacheBytes, partsPerThread = 1 << 20, 8
	in.chunk = max(4*rowTile, cacheBytes/(4*in.k)) &^ (2*rowTile - 1) // some kernels take two tiles at once
	for in.chunk > 2*rowTile && in.panels*((in.m+in.chunk-1)/in.chunk) < partsPerThread*threads {
		in.chunk = in.chunk / 2 &^ (2*rowTile - 1)
	}
	chunks := (in.m + in.chunk - 1) / in.chunk
	in.groups = min(in.panels, (partsPerThread*threads+chunks-1)/max(chunks, 1))
	pool.Run(chunks*in.groups, in.work)
}

// multiply computes one part.
func (in *Input) multiply(part, worker int) {
	group, row := part%in.groups, part/in.groups*in.chunk
	from, to := group*in.panels/in.groups, (group+1)*in.panels/in.groups
	last := min(row+in.chunk, in.m)
	for i := range in.products {
		p := &in.products[i]
		n := p.w.panels()
		if from < n {
			p.w.mul(p.y, p.ldy, in, max(from, 0), min(to, n), row, last, worker)
		}
		from, to = from-n, to-n
		if to <= 0 {
			return
		}
	}
}

func (w *Matrix) panels() int { return (w.N + PanelRows - 1) / PanelRows }

// mul computes the columns of panels [from, to) for rows [row, last); row begins a tile.
func (w *Matrix) mul(y []float32, ldy int, in *Input, from, to, row, last, worker int) {
	if panels, rows := w.mulAMX(y, ldy, in, from, to, row, last); rows > row {
		if rows < last { // the rows left of the panels done
			w.mulRest(y, ldy, in, from, panels, rows, last, worker)
		}
		from = panels
	}
	w.mulRest(y, ldy, in, from, to, row, last, worker)
}

// mulRest is mul without AMX.
func (w *Matrix) mulRest(y []float32, ldy int, in *Input, from, to, row, last, worker int) {
	if from >= to {
		return
	}
	if w.mulFast(y, ldy, in, from, to, row, last, &in.edge[worker]) {
		return
	}
	if !w.format.Quantised() && w.mulFloatFast(y, ldy, in, from, to, row, last) {
		return
	}
	for p := from; p < to; p++ {
		panel, cols := w.data[p*w.panel:][:w.panel], min(PanelRows, w.N-p*PanelRows)
		if w.format.Quantised() {
			w.panelInt8(y, ldy, in, panel, p*PanelRows, cols, row, last)
		} else {
			w.panelFloat(y, ldy, in, panel, p*PanelRows, cols, row, last)
		}
	}
}

func (w *Matrix) panelFloat(y []float32, ldy int, in *Input, panel []byte, col, cols, from, to int) {
	var row [PanelRows]float32
	for i := from; i < to; i++ {
		var acc [PanelRows]float32
		for k, x := range in.x[i*in.k:][:in.k] {
			w.floats(&row, panel, k)
			for j := range acc {
				acc[j] += float32(x * row[j])
			}
		}
		copy(y[i*ldy+col:][:cols], acc[:])
	}
}

func (w *Matrix) floats(row *[PanelRows]float32, panel []byte, k int) {
	switch w.format {
	case F32:
		for j := range row {
			row[j] = getF32(panel[(k*PanelRows+j)*4:])
		}
	case F16:
		for j := range row {
			row[j] = halfAt(panel[(k*PanelRows+j)*2:])
		}
	case BF16:
		for j := range row {
			row[j] = bf16ToFloat(binary.LittleEndian.Uint16(panel[(k*PanelRows+j)*2:]))
		}
	}
}

func (w *Matrix) panelInt8(y []float32, ldy int, in *Input, panel []byte, col, cols, from, to int) {
	zero := w.format.zeroPoint()
	var u unpacked
	for r := 0; r < cols; r++ {
		for i := from; i < to; i++ {
			y[i*ldy+col+r] = 0
		}
		for b := 0; b < w.K/32; b++ {
			w.unpackAt(&u, panel, r, b)
			for i := from; i < to; i++ {
				x := in.block(i, b)
				low, high := zero*x.low, zero*(x.sum-x.low)
				for k := 0; k < 16; k++ {
					low += int32(u.code[k]) * int32(x.q[k])
					high += int32(u.code[16+k]) * int32(x.q[16+k])
				}
				sum := u.scale[0]*low + u.scale[1]*high
				acc := &y[i*ldy+col+r]
				*acc += float32(float32(sum) * float32(u.d*x.scale))
				if u.min != 0 {
					*acc += float32(u.min * x.smin)
				}
			}
		}
	}
}
