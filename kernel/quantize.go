package kernel

// Quantising weights at load, by the usual round-to-nearest rules of each format. K-quants are read, never written.

import (
	"encoding/binary"
	"math"

	"github.com/lowkeylm/lowkey/fault"
)

// Quantize encodes src, a multiple of the format's block, into dst.
func Quantize(f Format, dst []byte, src []float32) error {
	switch f {
	case F32:
		for i, v := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
		}
		return nil
	case F16:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], floatToHalf(v))
		}
		return nil
	case BF16:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], floatToBF16(v))
		}
		return nil
	case Q4_K, Q5_K, Q6_K:
		return fault.New(fault.Unsupported, "quantising to "+f.String(), "K-quants are read from files only", "", "use q8_0, q5_1, q5_0, q4_1 or q4_0")
	}
	_, size := f.Block()
	for i := 0; i < len(src)/32; i++ {
		f.quantizeBlock(dst[i*size:][:size], src[32*i:][:32])
	}
	return nil
}

func (f Format) quantizeBlock(b []byte, x []float32) {
	lo, hi, extreme := x[0], x[0], float32(0)
	for _, v := range x {
		lo, hi = min(lo, v), max(hi, v)
		if math.Abs(float64(v)) > math.Abs(float64(extreme)) {
			extreme = v
		}
	}
	var d, m float32
	top := 15
	codes := b[2:]
	switch f {
	case Q8_0:
		d = float32(math.Abs(float64(extreme))) / 127
	case Q4_0:
		d = extreme / -8
	case Q5_0:
		d, top, codes = extreme/-16, 31, b[6:]
	case Q4_1:
		d, m, codes = (hi-lo)/15, lo, b[4:]
	case Q5_1:
		d, m, top, codes = (hi-lo)/31, lo, 31, b[8:]
	}
	binary.LittleEndian.PutUint16(b, floatToHalf(d))
	if f == Q4_1 || f == Q5_1 {
		binary.LittleEndian.PutUint16(b[2:], floatToHalf(m))
	}
	inv := float32(0)
	if d != 0 {
		inv = 1 / d
	}
	var high uint32
	for k, v := range x {
		q := int(math.RoundToEven(float64((v-m)*inv))) + int(f.zeroPoint())
		if f == Q8_0 {
			codes[k] = uint8(int8(max(-127, min(127, q-128))))
			continue
		}
		q = max(0, min(top, q))
		high |= uint32(q>>4) << k
		if k < 16 {
			codes[k] = uint8(q & 15)
		} else {
			codes[k-16] |= uint8(q&15) << 4
		}
	}
	switch f {
	case Q5_0:
		binary.LittleEndian.PutUint32(b[2:], high)
	case Q5_1:
		binary.LittleEndian.PutUint32(b[4:], high)
	}
}
