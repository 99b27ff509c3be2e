package kernel

// Formats of weights as files hold them: the blocks of GGML's public description, and plain floats. Dequantize is the definition; packing and products are elsewhere.

import (
	"encoding/binary"
	"math"
)

// Format names how the numbers of a weight are stored.
type Format uint8

const (
	F32 Format = iota
	F16
	BF16
	Q8_0 // 32: f16 d, 32 signed bytes            w = d q
	Q4_0 // 32: f16 d, 16 bytes of two nibbles    w = d (q - 8); low nibbles first
	Q4_1 // 32: f16 d, f16 m, 16 bytes            w = d q + m
	Q5_0 // 32: f16 d, 32 high bits, 16 bytes     w = d (q - 16)
	Q5_1 // 32: f16 d, f16 m, 32 high bits, 16 bytes
	Q4_K // 256: f16 d, f16 dmin, 8 x (6-bit scale, 6-bit min), 128 bytes     w = d sc q - dmin m
	Q5_K // 256: as Q4_K with 32 bytes of high bits
	Q6_K // 256: 128 bytes low, 64 bytes high, 16 signed scales, f16 d        w = d sc (q - 32)
)

var formats = [...]struct {
	name         string
	elems, bytes int
}{{"F32", 1, 4}, {"F16", 1, 2}, {"BF16", 1, 2}, {"Q8_0", 32, 34}, {"Q4_0", 32, 18}, {"Q4_1", 32, 20}, {"Q5_0", 32, 22}, {"Q5_1", 32, 24},
	{"Q4_K", 256, 144}, {"Q5_K", 256, 176}, {"Q6_K", 256, 210}}

func (f Format) String() string { return formats[f].name }

// Block is the number of elements that are stored together, and their bytes.
func (f Format) Block() (elems, bytes int) { return formats[f].elems, formats[f].bytes }

// Quantised reports whether elements share scales in blocks.
func (f Format) Quantised() bool { return f > BF16 }

// unpacked is one block of 32 as integers: w = d*scale[i/16]*(code - zero) + min. K-quants are eight such blocks.
type unpacked struct {
	code  [32]uint8
	d     float32
	scale [2]int32 // of elements 0..15 and 16..31; 1 where the format has no second level
	min   float32  // added; 0 where the format has none
}

// zeroPoint is what codes count from.
func (f Format) zeroPoint() int32 {
	switch f {
	case Q8_0:
		return 128
	case Q4_0:
		return 8
	case Q5_0:
		return 16
	case Q6_K:
		return 32
	}
	return 0
}

// unpack reads the i-th 32-block of a row of quantised blocks.
func (f Format) unpack(u *unpacked, row []byte, i int) {
	u.scale, u.min = [2]int32{1, 1}, 0
	elems, size := f.Block()
	per := elems / 32
	b := row[i/per*size:][:size]
	switch f {
	case Q8_0:
		u.d = halfAt(b)
		for k, v := range b[2:34] {
			u.code[k] = v ^ 0x80
		}
	case Q4_0:
		u.d = halfAt(b)
		u.nibbles(b[2:18])
	case Q4_1:
		u.d, u.min = halfAt(b), halfAt(b[2:])
		u.nibbles(b[4:20])
	case Q5_0:
		u.d = halfAt(b)
		u.nibbles(b[6:22])
		u.fifth(binary.LittleEndian.Uint32(b[2:]))
	case Q5_1:
		u.d, u.min = halfAt(b), halfAt(b[2:])
		u.nibbles(b[8:24])
		u.fifth(binary.LittleEndian.Uint32(b[4:]))
	case Q4_K, Q5_K:
		j := i % 8
		sc, m := scaleMinK(b[4:16], j)
		u.d, u.scale, u.min = halfAt(b), [2]int32{int32(sc), int32(sc)}, -(halfAt(b[2:]) * float32(m))
		q := b[size-128+j/2*32:][:32]
		for k, v := range q {
			u.code[k] = v >> (j % 2 * 4) & 15
			if f == Q5_K {
				u.code[k] |= b[16+k] >> j & 1 << 4
			}
		}
	case Q6_K:
		j := i % 8
		h, quarter := j/4, j%4
		u.d = halfAt(b[208:])
		u.scale = [2]int32{int32(int8(b[192+2*j])), int32(int8(b[192+2*j+1]))}
		for k := range u.code {
			low := b[h*64+quarter%2*32+k] >> (quarter / 2 * 4) & 15
			u.code[k] = low | b[128+h*32+k]>>(2*quarter)&3<<4
		}
	}
}

func (u *unpacked) nibbles(b []byte) {
	for k, v := range b {
		u.code[k], u.code[k+16] = v&15, v>>4
	}
}

func (u *unpacked) fifth(bits uint32) {
	for k := range u.code {
		u.code[k] |= uint8(bits>>k&1) << 4
	}
}

// scaleMinK unpacks the j-th 6-bit scale and minimum of a K-quant superblock.
func scaleMinK(b []byte, j int) (scale, min uint8) {
	if j < 4 {
		return b[j] & 63, b[j+4] & 63
	}
	return b[j+4]&15 | b[j-4]>>6<<4, b[j+4]>>4 | b[j]>>6<<4
}

// Dequantize expands whole blocks: len(dst) is a multiple of the format's block.
func Dequantize(f Format, dst []float32, src []byte) {
	switch f {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
		return
	case F16:
		for i := range dst {
			dst[i] = halfAt(src[2*i:])
		}
		return
	case BF16:
		for i := range dst {
			dst[i] = bf16ToFloat(binary.LittleEndian.Uint16(src[2*i:]))
		}
		return
	}
	var u unpacked
	zero := f.zeroPoint()
	for i := 0; i < len(dst)/32; i++ {
		f.unpack(&u, src, i)
		for k, c := range u.code {
			dst[32*i+k] = float32(u.d*float32(u.scale[k/16])*float32(int32(c)-zero)) + u.min
		}
	}
}
