package kernel

// Matrix: a weight [N, K] packed in panels of 16 rows, so that one vector register holds one number of each row and no product needs a horizontal sum.
//
//	f32, f16, bf16          [K][16] elements a panel
//	int8 arithmetic         for each 32-block of K: codes of the 16 rows, then their scales
//	  nibbles (q4_0 q4_1 q4_K, and the low bits of q5 and q6)
//	                        4 vectors of 64 bytes; byte 4r+i of vector v = code[r][4v+i] | code[r][16+4v+i] << 4
//	  high bits             q5: a vector of 64 bytes; bit g of byte 4r+i = bit 4 of code[r][4g+i], g < 8
//	                        q6: two vectors; bits 2g and 2g+1 of byte 4r+i of vector h = bits 4 and 5 of code[r][16h+4g+i], g < 4
//	  bytes (q8_0)          8 vectors of 64 bytes; byte 4r+i of vector v = code[r][4v+i], counted from -128
//	  scales                f16 d[16], and f16 min[16] for q4_1 and q5_1
//	  K-quants              before every eighth block f16 d[16] (and f16 dmin[16]); after the codes u8 scale[16] and u8 min[16] (q4_K, q5_K), or i8 scale[2][16] (q6_K)
//
// Rows past N are zero. The order of sums is written in docs/design.md, section 5; every path here keeps to it.

import (
	"encoding/binary"
	"fmt"

	"github.com/lowkeylm/lowkey/fault"
)

// Arith is the arithmetic of a weight, chosen once when it is packed.
type Arith uint8

const (
	ArithF32  Arith = iota // activations stay f32; quantised weights are expanded to f32 when packed
	ArithInt8              // quantised weights meet activations in int8, by blocks of 32; float weights stay in f32 arithmetic
)

// Matrix is y = x Wᵀ with W [N, K].
type Matrix struct {
	N, K   int
	format Format // of the packed form
	data   []byte
	panel  int // bytes
}

// geometry of the int8 packing of a format, in bytes.
type geometry struct {
	codes int // of a 32-block
	block int // of a 32-block: codes and its scales
	head  int // before each superblock; 0 without superblocks
}

func (f Format) geometry() geometry {
	switch f {
	case Q8_0:
		return geometry{512, 512 + 32, 0}
	case Q4_0:
		return geometry{256, 256 + 32, 0}
	case Q4_1:
		return geometry{256, 256 + 64, 0}
	case Q5_0:
		return geometry{256 + 64, 256 + 64 + 32, 0}
	case Q5_1:
		return geometry{256 + 64, 256 + 64 + 64, 0}
	case Q4_K:
		return geometry{256, 256 + 32, 64}
	case Q5_K:
		return geometry{256 + 64, 256 + 64 + 32, 64}
	case Q6_K:
		return geometry{256 + 128, 256 + 128 + 32, 32}
	}
	panic("kernel: no int8 form of " + f.String())
}

// packedFormat is the format a weight has once packed.
func packedFormat(f Format, a Arith) Format {
	if f.Quantised() && a == ArithF32 {
		return F32
	}
	return f
}

func panelBytes(f Format, k int) int {
	if !f.Quantised() {
		_, size := f.Block()
		return PanelRows * size * k
	}
	g := f.geometry()
	n := k / 32 * g.block
	if g.head > 0 {
		n += k / 256 * g.head
	}
	return n
}

// PackedBytes is what Pack needs, before anything is allocated. It refuses a K that is not a multiple of the format's block.
func PackedBytes(f Format, n, k int, a Arith) (int64, error) {
	if elems, _ := f.Block(); k%elems != 0 || k <= 0 || n <= 0 {
		return 0, fault.New(fault.BadFile, f.String()+" matrix", fmt.Sprintf("%d rows of %d", n, k), fmt.Sprintf("rows must be a positive multiple of %d", elems), "leave --weights out, or choose f16, bf16 or f32")
	}
	panels := int64(n+PanelRows-1) / PanelRows
	return panels * int64(panelBytes(packedFormat(f, a), k)), nil
}

// Pack lays out src, n rows of k elements in file order, in dst, which is PackedBytes long and aligned to 64 bytes.
func Pack(dst []byte, f Format, n, k int, src []byte, a Arith, pool *Pool) (*Matrix, error) {
	elems, size := f.Block()
	row := k / elems * size
	if len(src) < n*row {
		return nil, fault.New(fault.BadFile, f.String()+" matrix", fmt.Sprintf("%d bytes", len(src)), fmt.Sprintf("%d rows of %d need %d", n, k, n*row), "")
	}
	return PackFrom(dst, f, n, k, func(from, to int) []byte { return src[from*row : to*row] }, a, pool)
}

// PackFrom is Pack of rows that are made as they are packed, so that the whole matrix never lies in memory twice: file gives rows [from, to) in file order, a panel's
// at a time, from several threads at once.
func PackFrom(dst []byte, f Format, n, k int, file func(from, to int) []byte, a Arith, pool *Pool) (*Matrix, error) {
	need, err := PackedBytes(f, n, k, a)
	if err != nil {
		return nil, err
	}
	if int64(len(dst)) < need {
		return nil, fault.New(fault.BadInput, f.String()+" matrix", fmt.Sprintf("%d bytes to pack it into", len(dst)), fmt.Sprintf("%d rows of %d need %d", n, k, need), "")
	}
	w := &Matrix{N: n, K: k, format: packedFormat(f, a), data: dst[:need]}
	w.panel = panelBytes(w.format, k)
	pool.Run((n+PanelRows-1)/PanelRows, func(p, _ int) {
		from := p * PanelRows
		to := min(n, from+PanelRows)
		w.packPanel(p, f, file(from, to), to-from)
	})
	return w, nil
}

func (w *Matrix) packPanel(p int, f Format, src []byte, rows int) {
	dst := w.data[p*w.panel:][:w.panel]
	row := len(src) / rows
	if w.format.Quantised() {
		clear(dst)
		for r := 0; r < rows; r++ {
			w.packRow(dst, r, src[r*row:][:row])
		}
		return
	}
	_, size := w.format.Block()
	var floats []float32
	if f.Quantised() {
		floats = make([]float32, w.K)
	}
	if rows < PanelRows {
		clear(dst)
	}
	for r := 0; r < rows; r++ {
		b := src[r*row:][:row]
		if floats != nil {
			Dequantize(f, floats, b)
			for k, v := range floats {
				putF32(dst[(k*PanelRows+r)*4:], v)
			}
			continue
		}
		if size == 2 {
			for k := 0; k < w.K; k++ {
				o := (k*PanelRows + r) * 2
				dst[o], dst[o+1] = b[2*k], b[2*k+1]
			}
			continue
		}
		for k := 0; k < w.K; k++ {
			copy(dst[(k*PanelRows+r)*4:][:4], b[4*k:][:4])
		}
	}
}

// blockAt is where the i-th 32-block of a panel starts, and where its superblock's head does.
func (g geometry) blockAt(i int) (block, head int) {
	if g.head == 0 {
		return i * g.block, 0
	}
	super := 8*g.block + g.head
	return i/8*super + g.head + i%8*g.block, i / 8 * super
}

// packRow puts row r of a panel, in its file's blocks, into the panel. Four codes go at a time, as the bytes of a 32-bit word: they lie side by side in both.
func (w *Matrix) packRow(dst []byte, r int, src []byte) {
	f, g := w.format, w.format.geometry()
	elems, size := f.Block()
	var u unpacked
	for i := 0; i < w.K/32; i++ {
		at, head := g.blockAt(i)
		b, file := dst[at:][:g.block], src[i*32/elems*size:]
		tail := b[g.codes:]
		switch f {
		case Q8_0:
			for v := 0; v < 8; v++ {
				word := binary.LittleEndian.Uint32(file[2+4*v:]) ^ 0x80808080
				binary.LittleEndian.PutUint32(b[64*v+4*r:], word)
			}
			copy(tail[2*r:][:2], file)
		case Q4_0:
			packNibbles(b, r, file[2:18])
			copy(tail[2*r:][:2], file)
		case Q4_1:
			packNibbles(b, r, file[4:20])
			copy(tail[2*r:][:2], file)
			copy(tail[32+2*r:][:2], file[2:])
		case Q5_0:
			packNibbles(b, r, file[6:22])
			packFifth(b[256:], r, binary.LittleEndian.Uint32(file[2:]))
			copy(tail[2*r:][:2], file)
		case Q5_1:
			packNibbles(b, r, file[8:24])
			packFifth(b[256:], r, binary.LittleEndian.Uint32(file[4:]))
			copy(tail[2*r:][:2], file)
			copy(tail[32+2*r:][:2], file[2:])
		default:
			f.unpack(&u, src, i)
			packCodes(b, r, &u.code, (g.codes-256)/64)
			if f == Q6_K {
				copy(dst[head+2*r:][:2], file[208:])
				tail[r], tail[16+r] = byte(u.scale[0]), byte(u.scale[1])
			} else {
				copy(dst[head+2*r:][:2], file)
				copy(dst[head+32+2*r:][:2], file[2:])
				tail[r], tail[16+r] = scaleMinK(file[4:16], i%8)
			}
		}
	}
}

// packNibbles copies a block's 16 bytes of nibbles: files pair element i with i+16 as panels do.
func packNibbles(b []byte, r int, nibbles []byte) {
	for v := 0; v < 4; v++ {
		copy(b[64*v+4*r:][:4], nibbles[4*v:][:4])
	}
}

// packFifth packs 32 fifth bits.
func packFifth(high []byte, r int, bits uint32) {
	word := uint32(0)
	for g := range 8 {
		word |= bits >> (4 * g) & 15 * 0x00204081 & 0x01010101 << g // bit i of four to byte i
	}
	binary.LittleEndian.PutUint32(high[4*r:], word)
}

// packCodes packs 32 codes of 4 + planes bits.
func packCodes(b []byte, r int, code *[32]uint8, planes int) {
	var high [2]uint32
	for v := 0; v < 4; v++ {
		a, c := binary.LittleEndian.Uint32(code[4*v:]), binary.LittleEndian.Uint32(code[16+4*v:])
		binary.LittleEndian.PutUint32(b[64*v+4*r:], a&0x0f0f0f0f|c&0x0f0f0f0f<<4)
		if planes == 1 {
			high[0] |= a>>4&0x01010101<<v | c>>4&0x01010101<<(4+v)
		} else {
			high[0] |= a >> 4 & 0x03030303 << (2 * v)
			high[1] |= c >> 4 & 0x03030303 << (2 * v)
		}
	}
	for p := range planes {
		binary.LittleEndian.PutUint32(b[256+64*p+4*r:], high[p])
	}
}

// Bytes is what the packed form takes.
func (w *Matrix) Bytes() int64 { return int64(len(w.data)) }

// Row expands row i into dst [K]: the embedding of a token from a tied matrix.
func (w *Matrix) Row(dst []float32, i int) {
	panel, r := w.data[i/PanelRows*w.panel:][:w.panel], i%PanelRows
	switch w.format {
	case F32:
		for k := range dst {
			dst[k] = getF32(panel[(k*PanelRows+r)*4:])
		}
	case F16:
		for k := range dst {
			dst[k] = halfAt(panel[(k*PanelRows+r)*2:])
		}
	case BF16:
		for k := range dst {
			dst[k] = bf16ToFloat(binary.LittleEndian.Uint16(panel[(k*PanelRows+r)*2:]))
		}
	default:
		var u unpacked
		zero := w.format.zeroPoint()
		for b := 0; b < w.K/32; b++ {
			w.unpackAt(&u, panel, r, b)
			for k, c := range u.code {
				dst[32*b+k] = float32(u.d*float32(u.scale[k/16])*float32(int32(c)-zero)) + u.min
			}
		}
	}
}

// unpackAt reads block i of row r back from a packed panel.
func (w *Matrix) unpackAt(u *unpacked, panel []byte, r, i int) {
	f, g := w.format, w.format.geometry()
	at, head := g.blockAt(i)
	b := panel[at:][:g.block]
	for k := range u.code {
		v, j := k/4, 4*r+k%4
		if f == Q8_0 {
			u.code[k] = b[64*v+j]
			continue
		}
		c := b[64*(v%4)+j] >> (k / 16 * 4) & 15
		switch g.codes {
		case 256 + 64:
			c |= b[256+j] >> v & 1 << 4
		case 256 + 128:
			c |= b[256+64*(v/4)+j] >> (2 * (v % 4)) & 3 << 4
		}
		u.code[k] = c
	}
	tail := b[g.codes:]
	u.scale, u.min = [2]int32{1, 1}, 0
	switch f {
	case Q8_0, Q4_0, Q5_0:
		u.d = halfAt(tail[2*r:])
	case Q4_1, Q5_1:
		u.d, u.min = halfAt(tail[2*r:]), halfAt(tail[32+2*r:])
	case Q4_K, Q5_K:
		u.d, u.scale = halfAt(panel[head+2*r:]), [2]int32{int32(tail[r]), int32(tail[r])}
		u.min = -(halfAt(panel[head+32+2*r:]) * float32(tail[16+r]))
	case Q6_K:
		u.d, u.scale = halfAt(panel[head+2*r:]), [2]int32{int32(int8(tail[r])), int32(int8(tail[16+r]))}
	}
}
