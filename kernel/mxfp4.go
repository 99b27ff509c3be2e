package kernel

// MXFP4 (OCP Microscaling Formats 1.0): blocks of 32 four-bit floats, 16 bytes with the earlier number in the lower half of a byte, and for each block a byte, its exponent. Only read: expanded when
// a file is loaded, to bfloat16, which holds every value exactly.
//
//	x = 2^(scale - 127) * (1 - 2 s) * {0, 0.5, 1, 1.5, 2, 3, 4, 6}[m]        code = 8 s + m

import (
	"encoding/binary"
	"math"
)

// MXFP4Block and MXFP4Bytes are the numbers of a block and the bytes of its codes.
const (
	MXFP4Block = 32
	MXFP4Bytes = MXFP4Block / 2
)

// ExpandMXFP4 writes len(scales) blocks as bfloat16, 64 bytes each.
func ExpandMXFP4(dst, codes, scales []byte) {
	for b, scale := range scales {
		var values [16]uint16
		for code, m := range [8]float64{0, 0.5, 1, 1.5, 2, 3, 4, 6} {
			x := float32(math.Ldexp(m, int(scale)-127))
			if scale == 255 {
				x = float32(math.NaN())
			}
			values[code] = uint16(math.Float32bits(x) >> 16)
			values[code+8] = values[code] | 1<<15
		}
		to := dst[b*2*MXFP4Block:][:2*MXFP4Block]
		for i, c := range codes[b*MXFP4Bytes:][:MXFP4Bytes] {
			binary.LittleEndian.PutUint16(to[4*i:], values[c&15])
			binary.LittleEndian.PutUint16(to[4*i+2:], values[c>>4])
		}
	}
}
