package kernel

// Columns: codecs whose scale belongs to a column of a tile of TileRows rows instead of to a row. Keys have channels that are large in every row; a scale for each of them
// keeps the others fine (KIVI, arXiv 2402.02750; KVQuant, 2401.18079).
//
//	value = minimum_c + scale_c code      code 0 .. 15 (q4c), 0 .. 3 (q2c); scale and minimum f16
//
// A row can be stored only together with its tile. So a page is open at first, its rows lie in the codec's staging type elsewhere (Codec.Staging), and it is sealed as a whole when
// it is full (Plane.Seal).
//
// Sealed rows lie as those of q4 do, in either order, and take as many bytes (q2c: 2 + 8 instead of 2 + 16 for a block of 32). Where q4 has the scale of a row's block, the 64 rows
// of a tile carry the table of the block's columns: row r < 32 the scale of column r of the block, row 32 + c the minimum of column c. q2c packs four codes in a byte: byte i has those
// of q4's byte i in bits 0-1 and 4-5, those of q4's byte i + 8 (half of a short block's) in bits 2-3 and 6-7.
//
// With ones in place of the table, and 6 added to codes of 2 bits, a tile is a q4 tile whose values are code - z, z being 8 (2 bits: 2), and what reads q4 reads it. Scores never see
// decoded keys: the scales go into the query,
//
//	q . k = sum_c (q_c scale_c)(code_c - z) + sum_c q_c (minimum_c + z scale_c)
//
// once for a query and a tile; a z in the middle keeps small what the rounding of int8 queries is multiplied by. Will not do: windows of rows inside a tile, or tiles that are not full.

import (
	"encoding/binary"
	"math"
	"slices"
)

// Columns reports whether the codec's scales belong to columns.
func (c Codec) Columns() bool { return c == CodecQ4C || c == CodecQ2C }

// Staging is the codec of rows whose page is still open: f16, whose rounding is a hundredth of a step of q4c; c itself where rows are stored at once.
func (c Codec) Staging() Codec {
	if c.Columns() {
		return CodecF16
	}
	return c
}

// Open is where the plane's rows lie in the stage of an open page.
func (p Plane) Open() Plane {
	return Plane{Codec: p.Codec.Staging(), Order: p.Order, Heads: p.Heads, Width: p.Width, PageRows: p.PageRows, Offset: p.Stage}
}

// Sealer is scratch for Plane.Seal.
type Sealer struct {
	rows, panel []float32 // a staged tile, as rows and in panels
	code        []byte    // the same, sealed: TileRows canonical rows
}

// Seal encodes the rows of stage, which must all be there, into page.
func (p Plane) Seal(page, stage []byte, w *Sealer) {
	open, size := p.Open(), RowBytes(p.Codec, p.Width)
	from := RowBytes(open.Codec, p.Width)
	if len(w.code) < TileRows*size {
		w.code = make([]byte, TileRows*size)
	}
	w.panel = grow(w.panel, TileRows*p.Width)
	for h := range p.Heads {
		for r := 0; r < p.PageRows; r += TileRows {
			tile := open.Head(stage, h)[r*from:][:TileRows*from]
			if p.Order == Panels {
				expandPanels(open.Codec, w.panel, tile, p.Width)
			} else {
				w.rows = grow(w.rows, TileRows*p.Width)
				expandRows(open.Codec, w.rows, tile, TileRows, p.Width)
				toPanels(w.panel, w.rows, p.Width, TileRows, p.Width)
			}
			sealTile(p.Codec, w.code, w.panel, p.Width)
			for j := range TileRows {
				p.PutCode(page, r+j, h, w.code[j*size:][:size])
			}
		}
	}
}

// sealTile encodes panels [TileRows/16][width][16] as TileRows canonical rows.
func sealTile(c Codec, dst []byte, panel []float32, width int) {
	size := RowBytes(c, width)
	clear(dst[:TileRows*size])
	var x [TileRows]float32
	var code [TileRows]uint8
	for d := range width {
		for g := range TileRows / PanelRows {
			copy(x[g*PanelRows:], panel[(g*width+d)*PanelRows:][:PanelRows])
		}
		scale, low := fitColumn(c, &code, &x)
		block, i := d/RowBlock*RowBytes(c, RowBlock), d%RowBlock
		binary.LittleEndian.PutUint16(dst[i*size+block:], scale)
		binary.LittleEndian.PutUint16(dst[(RowBlock+i)*size+block:], low)
		at, shift := columnCode(c, min(width-d/RowBlock*RowBlock, RowBlock), i)
		for j, v := range code {
			dst[j*size+block+2+at] |= v << shift
		}
	}
}

// columnCode says where the code of element i of a block of n lies: the byte behind the two of the table, and the bit.
func columnCode(c Codec, n, i int) (at, shift int) {
	half := (n + 1) / 2
	if i >= half {
		i, shift = i-half, 4
	}
	if quarter := (half + 1) / 2; c == CodecQ2C && i >= quarter {
		i, shift = i-quarter, shift+2
	}
	return i, shift
}

// The shares of a column's range that are tried, about its middle; the one with the least squared error is taken, the first of equals. With 4 bits the ends are worth their share of
// the codes; with 2 they are not.
var (
	spansQ4C = []float32{1, 0.94, 0.88, 0.82}
	spansQ2C = []float32{1, 0.9, 0.8, 0.72, 0.64, 0.56}
)

// fitColumn quantises a column and returns its scale and minimum in f16. NaN counts as 0, infinity as the largest f16.
func fitColumn(c Codec, code *[TileRows]uint8, x *[TileRows]float32) (scale, low uint16) {
	lo, hi := x[0], x[0]
	for _, v := range x {
		if v < lo {
			lo = v
		}
		if v > hi {
			hi = v
		}
	}
	if !(lo >= -65504 && hi <= 65504 && hi-lo >= 0) || hasNaN(x) {
		for i, v := range x {
			if v != v {
				v = 0
			}
			x[i] = min(max(v, -65504), 65504)
		}
		lo, hi = slices.Min(x[:]), slices.Max(x[:])
	}
	top, spans := int32(15), spansQ4C
	if c == CodecQ2C {
		top, spans = 3, spansQ2C
	}
	var codes, best [TileRows]uint8
	least := float32(math.Inf(1))
	for _, share := range spans {
		s, l := floatToHalf(float32(hi-lo)*share/float32(top)), floatToHalf(lo+float32(float32(hi-lo)*((1-share)/2)))
		if e := quantiseColumn(&codes, x, halfToFloat(s), halfToFloat(l), top); e < least {
			least, scale, low, best = e, s, l, codes
		}
	}
	*code = best
	return scale, low
}

func hasNaN(x *[TileRows]float32) bool {
	for _, v := range x {
		if v != v {
			return true
		}
	}
	return false
}

// quantiseColumn finds the codes for a scale and a minimum, and their squared error: of every fourth row, in order, then the four sums in pairs.
func quantiseColumn(code *[TileRows]uint8, x *[TileRows]float32, scale, low float32, top int32) float32 {
	inv := float32(0)
	if scale != 0 {
		inv = 1 / scale
	}
	var sums [4]float32
	for i := 0; i < TileRows; i += 4 {
		for j := range sums {
			v := x[i+j] - low
			q := min(max(int32(float32(v*inv)+0.5), 0), top)
			e := v - float32(scale*float32(q))
			sums[j] += float32(e * e)
			code[i+j] = uint8(q)
		}
	}
	return (sums[0] + sums[2]) + (sums[1] + sums[3])
}

// columnTile is a sealed tile made ready to be read: q4 codes with scales of one, in the order in which they lay, and what multiplies and shifts the values of each column.
type columnTile struct {
	q4            []byte
	scale, offset []float32 // number = scale value + offset
	table         []byte    // the columns' f16, block by block: 32 scales, 32 minima
	floats        []float32 // the same in f32
}

// middle is z.
func middle(c Codec) float32 {
	if c == CodecQ2C {
		return 2
	}
	return 8
}

const oneF16 = 0x3c00

// open makes a tile of TileRows sealed rows ready.
func (t *columnTile) open(c Codec, o Order, tile []byte, width int) {
	blocks := (width + RowBlock - 1) / RowBlock
	if n := TileRows * RowBytes(CodecQ4, width); cap(t.q4) < n {
		t.q4, t.table = make([]byte, n), make([]byte, 4*RowBlock*blocks)
	}
	t.q4, t.table = t.q4[:TileRows*RowBytes(CodecQ4, width)], t.table[:4*RowBlock*blocks]
	if o == Panels {
		t.openPanels(c, tile, blocks)
	} else {
		t.openRows(c, tile, width)
	}
	t.floats, t.scale, t.offset = grow(t.floats, 2*RowBlock*blocks), grow(t.scale, RowBlock*blocks), grow(t.offset, RowBlock*blocks)
	DecodeRow(CodecF16, t.floats, t.table)
	for b := range blocks {
		copy(t.scale[b*RowBlock:], t.floats[2*b*RowBlock:][:RowBlock])
		copy(t.offset[b*RowBlock:], t.floats[(2*b+1)*RowBlock:][:RowBlock])
	}
	AddScaled(t.offset, t.scale, middle(c))
}

// onesF16 are the scales of 16 rows of a block.
var onesF16 = [32]byte{1: 0x3c, 3: 0x3c, 5: 0x3c, 7: 0x3c, 9: 0x3c, 11: 0x3c, 13: 0x3c, 15: 0x3c, 17: 0x3c, 19: 0x3c, 21: 0x3c, 23: 0x3c, 25: 0x3c, 27: 0x3c, 29: 0x3c, 31: 0x3c}

// openPanels: the table lies behind the codes of each block of 16 rows, two of them its scales, two its minima.
func (t *columnTile) openPanels(c Codec, tile []byte, blocks int) {
	const size4 = PanelRows * (2 + 16)
	size := PanelRows * RowBytes(c, RowBlock)
	if c == CodecQ4C {
		copy(t.q4, tile)
	}
	for i := range TileRows / PanelRows * blocks {
		from, to := tile[i*size:][:size], t.q4[i*size4:][:size4]
		if c == CodecQ2C {
			widenCodes(to[:size4-32], from[:size-32])
		}
		g, b := i/blocks, i%blocks
		*(*[32]byte)(t.table[4*RowBlock*b+32*g:]) = *(*[32]byte)(from[size-32:])
		*(*[32]byte)(to[size4-32:]) = onesF16
	}
}

// openRows: the table lies before the codes of each row's block.
func (t *columnTile) openRows(c Codec, tile []byte, width int) {
	size, size4 := RowBytes(c, width), RowBytes(CodecQ4, width)
	if c == CodecQ4C {
		copy(t.q4, tile)
	}
	step, step4 := RowBytes(c, RowBlock), RowBytes(CodecQ4, RowBlock)
	for j := range TileRows {
		from, to := tile[j*size:][:size], t.q4[j*size4:][:size4]
		for b := 0; b*RowBlock < width; b++ {
			f, g := from[b*step:], to[b*step4:]
			*(*[2]byte)(t.table[4*RowBlock*b+2*j:]) = *(*[2]byte)(f)
			binary.LittleEndian.PutUint16(g, oneF16)
			if c == CodecQ2C {
				widenCodes(g[2:min(len(g), step4)], f[2:min(len(f), step)])
			}
		}
	}
}

// widenCodes turns codes of 2 bits into nibbles 6 to 9: the first half of dst (rounded up) takes the lower ones of each byte.
func widenCodes(dst, src []byte) {
	high := dst[len(src):]
	for ; len(high) >= 8; dst, high, src = dst[8:], high[8:], src[8:] {
		x := binary.LittleEndian.Uint64(src)
		binary.LittleEndian.PutUint64(dst, x&0x3333333333333333+0x6666666666666666)
		binary.LittleEndian.PutUint64(high, x>>2&0x3333333333333333+0x6666666666666666)
	}
	for i, x := range src {
		dst[i] = x&0x33 + 0x66
		if i < len(high) {
			high[i] = x>>2&0x33 + 0x66
		}
	}
}

// rows decodes n rows of a tile that lie one after the other into dst [n, width].
func (t *columnTile) rows(c Codec, dst []float32, tile []byte, n, width int) {
	if !c.Columns() {
		expandRows(c, dst, tile, n, width)
		return
	}
	t.open(c, Rows, tile, width)
	expandRows(CodecQ4, dst, t.q4, n, width)
	for j := range n {
		row := dst[j*width:][:width]
		MulInto(row, t.scale)
		Add(row, t.offset)
	}
}

// panels decodes a tile in panels into f32 panels.
func (t *columnTile) panels(c Codec, dst []float32, tile []byte, width int) {
	if !c.Columns() {
		expandPanels(c, dst, tile, width)
		return
	}
	t.open(c, Panels, tile, width)
	expandPanels(CodecQ4, dst, t.q4, width)
	for i := range TileRows / PanelRows * width {
		scale, offset := t.scale[i%width], t.offset[i%width]
		for j, v := range dst[i*PanelRows:][:PanelRows] {
			dst[i*PanelRows+j] = float32(v*scale) + offset
		}
	}
}

// fold takes queries q [m, width] (distance ld) to what meets the tile's values, [m, width], and the sums over the offsets.
func (t *columnTile) fold(folded, sums, q []float32, ld, m, width int) {
	for i := range m {
		x, y := q[i*ld:][:width], folded[i*width:][:width]
		sums[i] = Dot(x, t.offset)
		copy(y, x)
		MulInto(y, t.scale)
	}
}

// scoreColumns scores a sealed tile that lies in panels. byInt8: the scaled queries in int8 blocks, in the integer order of q4; add does not go with that.
func (w *tileScratch) scoreColumns(c Codec, s []float32, tile []byte, at, ld, rows, width int, byInt8, add bool) {
	t := &w.columns
	t.open(c, Panels, tile, width)
	w.folded, w.sums = grow(w.folded, rows*width), grow(w.sums, rows)
	t.fold(w.folded, w.sums, w.q[at:], ld, rows, width)
	if byInt8 {
		w.q8.set(w.folded, rows, width)
		scorePanelsInt8(CodecQ4, s, &w.q8, t.q4, w.next.values, rows, width)
		add = true
	}
	for i, sum := range w.sums {
		row := s[i*TileRows:][:TileRows]
		if !add {
			clear(row)
		}
		for j := range row {
			row[j] += sum
		}
	}
	if !byInt8 {
		w.panel = grow(w.panel, TileRows*width)
		expandPanels(CodecQ4, w.panel, t.q4, width)
		scoreF32(s, w.folded, width, w.panel, rows, width, true)
	}
}
