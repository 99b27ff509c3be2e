package kernel

// Rows: how a vector of float32 lies in memory under each codec of the KV cache. This is the canonical order, in which saved files keep rows too.
//
//	f32, f16, bf16   little-endian elements, rounded to nearest even
//	q8               per block of 32 (the last one at its true size n): f16 scale, then n signed codes. scale = max|x| / 127, rounded to f16
//	q4               per block of 32 (the last one at its true size n): f16 scale, then ceil(n/2) bytes; element i in the low nibble of byte i, element i+ceil(n/2) in the high one.
//	                 code 0..15 stands for -8..7. scale = (the value of largest magnitude) / -8, rounded to f16, so that this value is kept
//
// Codes are computed with the rounded scale, x * (1/scale) rounded to nearest even, then clamped; a decoded value is float32(scale) * float32(code), one rounding. A scale too large for
// f16 becomes the largest finite one; NaN is coded as 0 and infinity as the largest code. All levels give the same bytes and the same values.

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Codec is a way to store a row.
type Codec uint8

const (
	CodecF32 Codec = iota
	CodecF16
	CodecBF16
	CodecQ8
	CodecQ4
	numCodecs
)

// RowBlock is the number of elements that share a scale in q8 and q4.
const RowBlock = 32

var codecNames = [numCodecs]string{"f32", "f16", "bf16", "q8", "q4"}

func (c Codec) String() string {
	if c < numCodecs {
		return codecNames[c]
	}
	return fmt.Sprintf("Codec(%d)", uint8(c))
}

// CodecOf finds a codec by its name.
func CodecOf(name string) (Codec, bool) {
	for c, n := range codecNames {
		if n == name {
			return Codec(c), true
		}
	}
	return 0, false
}

// RowBytes is the number of bytes a row of so many elements takes; 0 for an unknown codec.
func RowBytes(c Codec, width int) int {
	full, rest := width/RowBlock, width%RowBlock
	switch c {
	case CodecF32:
		return 4 * width
	case CodecF16, CodecBF16:
		return 2 * width
	case CodecQ8:
		n := full * 34
		if rest > 0 {
			n += 2 + rest
		}
		return n
	case CodecQ4:
		n := full * 18
		if rest > 0 {
			n += 2 + (rest+1)/2
		}
		return n
	}
	return 0
}

// EncodeRow writes src into dst, which holds at least RowBytes(c, len(src)) bytes.
func EncodeRow(c Codec, dst []byte, src []float32) {
	dst = dst[:RowBytes(c, len(src))]
	done := encodeFast(c, dst, src)
	encodeRowPlain(c, dst[RowBytes(c, done):], src[done:])
}

func encodeRowPlain(c Codec, dst []byte, src []float32) {
	switch c {
	case CodecF32:
		for i, v := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
		}
	case CodecF16:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], floatToHalf(v))
		}
	case CodecBF16:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], floatToBF16(v))
		}
	case CodecQ8:
		for len(src) > 0 {
			n := min(len(src), RowBlock)
			encodeQ8(dst[:2+n], src[:n])
			dst, src = dst[2+n:], src[n:]
		}
	case CodecQ4:
		for len(src) > 0 {
			n := min(len(src), RowBlock)
			encodeQ4(dst[:2+(n+1)/2], src[:n])
			dst, src = dst[2+(n+1)/2:], src[n:]
		}
	}
}

// DecodeRow reads a row of len(dst) elements from src, which holds at least RowBytes(c, len(dst)) bytes.
func DecodeRow(c Codec, dst []float32, src []byte) {
	src = src[:RowBytes(c, len(dst))]
	done := decodeFast(c, dst, src)
	decodeRowPlain(c, dst[done:], src[RowBytes(c, done):])
}

func decodeRowPlain(c Codec, dst []float32, src []byte) {
	switch c {
	case CodecF32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case CodecF16:
		for i := range dst {
			dst[i] = halfToFloat(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case CodecBF16:
		for i := range dst {
			dst[i] = bf16ToFloat(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case CodecQ8:
		for len(dst) > 0 {
			n := min(len(dst), RowBlock)
			scale := halfToFloat(binary.LittleEndian.Uint16(src))
			for i, v := range src[2 : 2+n] {
				dst[i] = scale * float32(int8(v))
			}
			dst, src = dst[n:], src[2+n:]
		}
	case CodecQ4:
		for len(dst) > 0 {
			n := min(len(dst), RowBlock)
			half := (n + 1) / 2
			scale := halfToFloat(binary.LittleEndian.Uint16(src))
			for i, v := range src[2 : 2+half] {
				dst[i] = scale * float32(int(v&15)-8)
				if i+half < n {
					dst[i+half] = scale * float32(int(v>>4)-8)
				}
			}
			dst, src = dst[n:], src[2+half:]
		}
	}
}

// rowScale rounds a scale to f16 (saturating) and returns it with its reciprocal; a scale of zero has reciprocal zero.
func rowScale(d float32) (half uint16, inv float32) {
	d = min(max(d, -65504), 65504)
	half = floatToHalf(d)
	if half&0x7fff == 0 {
		return 0, 0
	}
	return half, 1 / halfToFloat(half)
}

// rowCode rounds x*inv to the nearest integer, ties to even, inside [lo, hi]; NaN gives 0.
func rowCode(x, inv, lo, hi float32) int {
	v := float32(x * inv)
	if v != v {
		return 0
	}
	return int(math.RoundToEven(float64(min(max(v, lo), hi))))
}

func encodeQ8(dst []byte, src []float32) {
	var top float32
	for _, v := range src {
		if v < 0 {
			v = -v
		}
		if v > top {
			top = v
		}
	}
	half, inv := rowScale(top / 127)
	binary.LittleEndian.PutUint16(dst, half)
	for i, v := range src {
		dst[2+i] = byte(rowCode(v, inv, -127, 127))
	}
}

func encodeQ4(dst []byte, src []float32) {
	var lo, hi float32
	for _, v := range src {
		if v < lo {
			lo = v
		}
		if v > hi {
			hi = v
		}
	}
	extreme := hi
	if -lo >= hi {
		extreme = lo
	}
	half, inv := rowScale(extreme / -8)
	binary.LittleEndian.PutUint16(dst, half)
	n := (len(src) + 1) / 2
	for i := 0; i < n; i++ {
		b := byte(rowCode(src[i], inv, -8, 7) + 8)
		if i+n < len(src) {
			b |= byte(rowCode(src[i+n], inv, -8, 7)+8) << 4
		}
		dst[2+i] = b
	}
}
