package kernel

// Planes: where the rows of one stream lie inside a page of the KV cache, in either of two orders.
//
//	Rows    each head's rows one after the other, as EncodeRow writes them. Any codec, any width; what values (and keys that
//	        are also values, or that are rotated on reading) use.
//	Panels  16 rows interleaved exactly as Matrix interleaves 16 rows of a weight, so that scoring a query against keys is the
//	        product of an activation with a packed weight. Keys, and factors that weigh scores.
//
// Both orders take the same bytes. A plane knows nothing of sequences or of which pages exist.

import "encoding/binary"

// Order is the order of a plane's rows in memory.
type Order uint8

const (
	Rows Order = iota
	Panels
)

// PanelRows is the number of rows interleaved in one panel.
const PanelRows = 16

// widePanels is the number of panels that the widest float tiles take side by side.
const widePanels = 4

// Plane places one stream in a page: Heads heads of Width numbers for each of PageRows rows, from byte Offset on.
type Plane struct {
	Codec    Codec
	Order    Order
	Heads    int
	Width    int
	PageRows int // a multiple of PanelRows
	Offset   int // bytes from the page's start
	Stage    int // bytes from the start of an open page's stage, where rows lie in Codec.Staging until it is full; of codecs of columns alone
}

// PanelsFit reports whether a stream of this codec and width can lie in panels: blocks must be whole.
func PanelsFit(c Codec, width int) bool {
	return c == CodecF32 || c == CodecF16 || c == CodecBF16 || width%32 == 0
}

// HeadBytes is what one head takes in a page.
func (p Plane) HeadBytes() int { return p.PageRows * RowBytes(p.Codec, p.Width) }

// Bytes is what the whole plane takes in a page.
func (p Plane) Bytes() int { return p.Heads * p.HeadBytes() }

// Head returns the bytes of one head's rows.
func (p Plane) Head(page []byte, head int) []byte {
	n := p.HeadBytes()
	return page[p.Offset+head*n:][:n:n]
}

// Put encodes src [Heads*Width] as row `row`. code is scratch of at least RowBytes bytes.
func (p Plane) Put(page []byte, row int, src []float32, code []byte) {
	n := RowBytes(p.Codec, p.Width)
	for h := 0; h < p.Heads; h++ {
		x := src[h*p.Width:][:p.Width]
		if p.Order == Rows {
			EncodeRow(p.Codec, p.Head(page, h)[row*n:][:n], x)
			continue
		}
		EncodeRow(p.Codec, code[:n], x)
		p.scatter(p.Head(page, h), row, code[:n])
	}
}

// PutCode stores the canonical bytes (as EncodeRow writes them) of one head's row.
func (p Plane) PutCode(page []byte, row, head int, code []byte) {
	n := RowBytes(p.Codec, p.Width)
	if p.Order == Rows {
		copy(p.Head(page, head)[row*n:][:n], code)
		return
	}
	p.scatter(p.Head(page, head), row, code[:n])
}

// Code reads the canonical bytes of one head's row into dst.
func (p Plane) Code(dst []byte, page []byte, row, head int) {
	n := RowBytes(p.Codec, p.Width)
	if p.Order == Rows {
		copy(dst[:n], p.Head(page, head)[row*n:][:n])
		return
	}
	p.gather(dst[:n], p.Head(page, head), row)
}

// scatter writes canonical code bytes into the panel order; gather reads them back. The two are each other's inverse.
//
//	f32, f16, bf16   [width][16] elements
//	q8               per 32-block: 8 vectors of 64 bytes, byte 4r+i of vector v = code[4v+i] + 128 of row r, then 16 f16 scales
//	q4, q4c          per 32-block: 4 vectors of 64 bytes, byte 4r+i of vector v = code[4v+i] | code[16+4v+i] << 4, then 16 f16 scales (of q4c two bytes of its table for each row)
//	q2c              per 32-block: 2 vectors of 64 bytes, byte 4r+i of vector v = byte 4v+i of the row's codes, then two bytes of its table for each row
func (p Plane) scatter(head []byte, row int, code []byte) {
	g, r := row/PanelRows, row%PanelRows
	panel := head[g*PanelRows*len(code):][:PanelRows*len(code)]
	if size := RowBytes(p.Codec, 1); p.Codec <= CodecBF16 && scatterFast(panel[r*size:], code, p.Width, size) {
		return
	}
	switch p.Codec {
	case CodecF32:
		for d := 0; d < p.Width; d++ {
			copy(panel[(d*PanelRows+r)*4:][:4], code[d*4:][:4])
		}
	case CodecF16, CodecBF16:
		for d := 0; d < p.Width; d++ {
			o := (d*PanelRows + r) * 2
			panel[o], panel[o+1] = code[2*d], code[2*d+1]
		}
	case CodecQ8:
		for b := 0; b < p.Width/32; b++ {
			blk, c := panel[b*544:][:544], code[b*34:][:34]
			copy(blk[512+2*r:][:2], c[:2])
			for v := 0; v < 8; v++ {
				w := binary.LittleEndian.Uint32(c[2+4*v:]) ^ 0x80808080 // signed code + 128
				binary.LittleEndian.PutUint32(blk[64*v+4*r:], w)
			}
		}
	case CodecQ2C:
		for b := 0; b < p.Width/32; b++ {
			blk, c := panel[b*160:][:160], code[b*10:][:10]
			copy(blk[128+2*r:][:2], c[:2])
			copy(blk[4*r:][:4], c[2:6])
			copy(blk[64+4*r:][:4], c[6:])
		}
	case CodecQ4, CodecQ4C:
		for b := 0; b < p.Width/32; b++ {
			blk, c := panel[b*288:][:288], code[b*18:][:18]
			copy(blk[256+2*r:][:2], c[:2])
			for v := 0; v < 4; v++ {
				copy(blk[64*v+4*r:][:4], c[2+4*v:][:4]) // element i and i+16 share byte i in both orders
			}
		}
	}
}

func (p Plane) gather(code []byte, head []byte, row int) {
	g, r := row/PanelRows, row%PanelRows
	panel := head[g*PanelRows*len(code):][:PanelRows*len(code)]
	switch p.Codec {
	case CodecF32:
		for d := 0; d < p.Width; d++ {
			copy(code[d*4:][:4], panel[(d*PanelRows+r)*4:][:4])
		}
	case CodecF16, CodecBF16:
		for d := 0; d < p.Width; d++ {
			o := (d*PanelRows + r) * 2
			code[2*d], code[2*d+1] = panel[o], panel[o+1]
		}
	case CodecQ8:
		for b := 0; b < p.Width/32; b++ {
			blk, c := panel[b*544:][:544], code[b*34:][:34]
			copy(c[:2], blk[512+2*r:][:2])
			for v := 0; v < 8; v++ {
				w := binary.LittleEndian.Uint32(blk[64*v+4*r:]) ^ 0x80808080
				binary.LittleEndian.PutUint32(c[2+4*v:], w)
			}
		}
	case CodecQ2C:
		for b := 0; b < p.Width/32; b++ {
			blk, c := panel[b*160:][:160], code[b*10:][:10]
			copy(c[:2], blk[128+2*r:][:2])
			copy(c[2:6], blk[4*r:][:4])
			copy(c[6:], blk[64+4*r:][:4])
		}
	case CodecQ4, CodecQ4C:
		for b := 0; b < p.Width/32; b++ {
			blk, c := panel[b*288:][:288], code[b*18:][:18]
			copy(c[:2], blk[256+2*r:][:2])
			for v := 0; v < 4; v++ {
				copy(c[2+4*v:][:4], blk[64*v+4*r:][:4])
			}
		}
	}
}
