package kernel

// Rows: how a vector of float32 lies in memory under each codec of the KV cache. This is the canonical order, in which saved files keep rows too.
//
//	f32, f16, bf16   little-endian elements, rounded to nearest even
//	q8               per block of 32 (the last one at its true size n): f16 scale, then n signed codes. scale = max|x| / 127, rounded to f16
//	q4               per block of 32 (the last one at its true size n): f16 scale, then ceil(n/2) bytes; element i in the low nibble of byte i, element i+ceil(n/2) in the high one.
//	                 code 0..15 stands for -8..7. scale = (the value of largest magnitude) / -8 or near it: see q4Divisors
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
	CodecQ4C // q4c, q2c: scales by column, of tiles of rows; see columns.go
	CodecQ2C
	numCodecs
)

// RowBlock is the number of elements that share a scale in q8 and q4.
const RowBlock = 32

var codecNames = [numCodecs]string{"f32", "f16", "bf16", "q8", "q4", "q4c", "q2c"}

func (c Codec) String() string {
	if c < numCodecs {
		return codecNames[c]
	}
	return fmt.Sprintf("Codec(%d)", uint8(c))
}

// Blocks reports whether the codec's scales belong to blocks of a row.
func (c Codec) Blocks() bool { return c == CodecQ8 || c == CodecQ4 }

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
	case CodecQ4, CodecQ4C:
		n := full * 18
		if rest > 0 {
			n += 2 + (rest+1)/2
		}
		return n
	case CodecQ2C:
		n := full * 10
		if rest > 0 {
			n += 2 + (rest+3)/4
		}
		return n
	}
	return 0
}

// EncodeRow writes src into dst, which holds at least RowBytes(c, len(src)) bytes. A codec of columns has no rows of its own: nothing is written.
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

// q4Divisors are what the value of largest magnitude is divided by to get the scales that are tried for a q4 block: the one with the least squared error is taken, the first of
// equals. -8 keeps that value; a smaller divisor spends nothing on the 8 that the other sign has not, a larger one cuts the largest off and is finer in the middle. More of them, or a
// step of least squares after, gain less than 1 % of the error, which for blocks of 32 normal numbers is 10 % below that of -8 alone.
var q4Divisors = [8]float64{-8, -7, -7.25, -7.75, -8.25, -8.5, -8.75, -9}

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
	var half uint16
	var inv, least float32
	for k, d := range q4Divisors {
		h, i := rowScale(extreme * float32(1/d))
		if e := q4Error(src, halfToFloat(h), i); k == 0 || e < least {
			half, inv, least = h, i, e
		}
	}
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

// q4Error is the squared error of a block: the squares of even elements, in order, plus those of odd ones.
func q4Error(src []float32, scale, inv float32) float32 {
	var sums [2]float32
	for i, v := range src {
		e := v - float32(scale*float32(rowCode(v, inv, -8, 7)))
		sums[i&1] += float32(e * e)
	}
	return sums[0] + sums[1]
}
