package kernel

// Conversions between float32 and the two 16-bit formats: IEEE half (f16) and bfloat16 (bf16). To 16 bits they round to nearest, ties to even; NaN stays NaN (quiet); f16 overflow is
// infinity. All levels give the same bits.

import "math"

// halfToFloat is the value of an IEEE half. Exact.
func halfToFloat(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp, man := uint32(h>>10&31), uint32(h&0x3ff)
	switch exp {
	case 0: // zero or subnormal: man * 2^-24
		return math.Float32frombits(sign | math.Float32bits(float32(man)*0x1p-24))
	case 31:
		if man != 0 {
			man |= 0x200 // quiet
		}
		return math.Float32frombits(sign | 0xff<<23 | man<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | man<<13)
}

// floatToHalf rounds to the nearest IEEE half.
func floatToHalf(f float32) uint16 {
	b := math.Float32bits(f)
	sign, a := uint16(b>>16&0x8000), b&0x7fffffff
	switch {
	case a > 0x7f800000: // NaN
		return sign | 0x7e00 | uint16(a>>13&0x1ff)
	case a >= 0x477ff000: // 65520 and above round to infinity
		return sign | 0x7c00
	case a < 0x38800000: // below 2^-14: subnormal; the sum with 2^-1 rounds at 2^-24
		return sign | uint16(math.Float32bits(math.Float32frombits(a)+0.5)-0x3f000000)
	}
	a += 0xfff + a>>13&1 // may carry into the exponent, rightly
	return sign | uint16((a-112<<23)>>13)
}

func bf16ToFloat(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

func floatToBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// F16ToF32 expands halves; dst is at least as long as src.
func F16ToF32(dst []float32, src []uint16) {
	dst = dst[:len(src)]
	done := fromHalvesFast(CodecF16, dst, src)
	dst, src = dst[done:], src[done:]
	for i, v := range src {
		dst[i] = halfToFloat(v)
	}
}

// F32ToF16 rounds to halves; dst is at least as long as src.
func F32ToF16(dst []uint16, src []float32) {
	dst = dst[:len(src)]
	done := toHalvesFast(CodecF16, dst, src)
	dst, src = dst[done:], src[done:]
	for i, v := range src {
		dst[i] = floatToHalf(v)
	}
}

// BF16ToF32 expands bfloat16; dst is at least as long as src.
func BF16ToF32(dst []float32, src []uint16) {
	dst = dst[:len(src)]
	done := fromHalvesFast(CodecBF16, dst, src)
	dst, src = dst[done:], src[done:]
	for i, v := range src {
		dst[i] = bf16ToFloat(v)
	}
}

// F32ToBF16 rounds to bfloat16; dst is at least as long as src.
func F32ToBF16(dst []uint16, src []float32) {
	dst = dst[:len(src)]
	done := toHalvesFast(CodecBF16, dst, src)
	dst, src = dst[done:], src[done:]
	for i, v := range src {
		dst[i] = floatToBF16(v)
	}
}
