package kernel

// The way from row codecs and 16-bit conversions to their assembly. Each function does the first part of its input, a whole number of blocks or registers, and
// returns how many elements that was; the caller does the rest in plain Go, with the same bits.

import "unsafe"

// encodeFast encodes the first elements of src.
func encodeFast(c Codec, dst []byte, src []float32) int {
	if vecLevel == vecPlain || c > CodecQ4 || len(src) < RowBlock {
		return 0
	}
	if c == CodecF32 {
		copy(dst, unsafe.Slice((*byte)(unsafe.Pointer(&src[0])), 4*len(src)))
		return len(src)
	}
	done := len(src) &^ (RowBlock - 1)
	for at := 0; at < done; at += vecSpan {
		d, s, n := &dst[RowBytes(c, at)], &src[at], min(done-at, vecSpan)
		wide := vecLevel == vecAVX512
		switch {
		case c == CodecF16 && wide:
			f32ToF16AVX512(d, s, n)
		case c == CodecF16:
			f32ToF16AVX2(d, s, n)
		case c == CodecBF16 && wide:
			f32ToBF16AVX512(d, s, n)
		case c == CodecBF16:
			f32ToBF16AVX2(d, s, n)
		case c == CodecQ8 && wide:
			encodeQ8AVX512(d, s, n/RowBlock)
		case c == CodecQ8:
			encodeQ8AVX2(d, s, n/RowBlock)
		case c == CodecQ4 && wide:
			encodeQ4AVX512(d, s, n/RowBlock)
		case c == CodecQ4:
			encodeQ4AVX2(d, s, n/RowBlock)
		}
	}
	return done
}

// decodeFast decodes the first elements of dst.
func decodeFast(c Codec, dst []float32, src []byte) int {
	if vecLevel == vecPlain || c > CodecQ4 || len(dst) < RowBlock {
		return 0
	}
	if c == CodecF32 {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), 4*len(dst)), src)
		return len(dst)
	}
	done := len(dst) &^ (RowBlock - 1)
	for at := 0; at < done; at += vecSpan {
		d, s, n := &dst[at], &src[RowBytes(c, at)], min(done-at, vecSpan)
		wide := vecLevel == vecAVX512
		switch {
		case c == CodecF16 && wide:
			f16ToF32AVX512(d, s, n)
		case c == CodecF16:
			f16ToF32AVX2(d, s, n)
		case c == CodecBF16 && wide:
			bf16ToF32AVX512(d, s, n)
		case c == CodecBF16:
			bf16ToF32AVX2(d, s, n)
		case c == CodecQ8 && wide:
			decodeQ8AVX512(d, s, n/RowBlock)
		case c == CodecQ8:
			decodeQ8AVX2(d, s, n/RowBlock)
		case c == CodecQ4 && wide:
			decodeQ4AVX512(d, s, n/RowBlock)
		case c == CodecQ4:
			decodeQ4AVX2(d, s, n/RowBlock)
		}
	}
	return done
}

// decodeOver decodes the first of n q8 rows that end in a short block, each of them as if it were whole: what that writes behind a row, the next one writes over. It returns how many it did:
// those behind which memory goes on.
func decodeOver(c Codec, dst []float32, src []byte, n, width int) int {
	if vecLevel == vecPlain || c != CodecQ8 {
		return 0
	}
	blocks, size := (width+RowBlock-1)/RowBlock, RowBytes(c, width)
	for j := range n {
		to, from := j*width, j*size
		if to+blocks*RowBlock > len(dst) || from+RowBytes(c, blocks*RowBlock) > len(src) {
			return j
		}
		if vecLevel == vecAVX512 {
			decodeQ8AVX512(&dst[to], &src[from], blocks)
		} else {
			decodeQ8AVX2(&dst[to], &src[from], blocks)
		}
	}
	return n
}

// halfBytes is x as bytes; the row codecs for f16 and bf16 are the machine's own order here.
func halfBytes(x []uint16) []byte {
	if len(x) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 2*len(x))
}

func toHalvesFast(c Codec, dst []uint16, src []float32) int {
	return encodeFast(c, halfBytes(dst), src)
}
func fromHalvesFast(c Codec, dst []float32, src []uint16) int {
	return decodeFast(c, dst, halfBytes(src))
}

// scatterFast copies n elements of 2 or 4 bytes to every 16th place of dst.
func scatterFast(dst, src []byte, n, size int) bool {
	if n == 0 {
		return false
	}
	_, _ = dst[(n-1)*16*size+size-1], src[n*size-1]
	if size == 2 {
		scatter16(&dst[0], &src[0], n)
	} else {
		scatter32(&dst[0], &src[0], n)
	}
	return true
}
