// This file widens tensors to float32 and int64 slices.

package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/lowkeylm/lowkey/fault"
)

// Float32s copies an F32, F16, BF16 or F64 tensor to float32, len = t.Elems(); F64 is rounded to nearest.
// Another type is a *fault.Error of kind Unsupported.
func Float32s(t Tensor) ([]float32, error) {
	switch t.DType {
	case F32, F16, BF16, F64:
	default:
		return nil, fault.New(fault.Unsupported, fmt.Sprintf("tensor %q", clip(t.Name)), "dtype "+string(t.DType), "F32, F16, BF16 and F64 are read as floats", "store it in one of them")
	}
	if err := t.sized(); err != nil {
		return nil, err
	}
	out := make([]float32, t.Elems())
	data := t.Data
	switch t.DType {
	case F32:
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
	case F16:
		for i := range out {
			out[i] = halfToFloat32(binary.LittleEndian.Uint16(data[2*i:]))
		}
	case BF16:
		for i := range out {
			out[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(data[2*i:])) << 16)
		}
	case F64:
		for i := range out {
			out[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:])))
		}
	}
	return out, nil
}

// Int64s copies a tensor of any integer type, or BOOL as 0 and 1, to int64, len = t.Elems().
// Another type is a *fault.Error of kind Unsupported; a U64 over the largest int64, or a BOOL over 1, is BadFile.
func Int64s(t Tensor) ([]int64, error) {
	switch t.DType {
	case I8, I16, I32, I64, U8, U16, U32, U64, BOOL:
	default:
		return nil, fault.New(fault.Unsupported, fmt.Sprintf("tensor %q", clip(t.Name)), "dtype "+string(t.DType), "integer types and BOOL are read as integers", "store it as I32 or I64")
	}
	if err := t.sized(); err != nil {
		return nil, err
	}
	out := make([]int64, t.Elems())
	data := t.Data
	switch t.DType {
	case I8:
		for i := range out {
			out[i] = int64(int8(data[i]))
		}
	case U8:
		for i := range out {
			out[i] = int64(data[i])
		}
	case BOOL:
		for i := range out {
			if data[i] > 1 {
				return nil, fault.New(fault.BadFile, fmt.Sprintf("tensor %q", clip(t.Name)), fmt.Sprintf("element %d is %d", i, data[i]), "a BOOL is 0 or 1", "")
			}
			out[i] = int64(data[i])
		}
	case I16:
		for i := range out {
			out[i] = int64(int16(binary.LittleEndian.Uint16(data[2*i:])))
		}
	case U16:
		for i := range out {
			out[i] = int64(binary.LittleEndian.Uint16(data[2*i:]))
		}
	case I32:
		for i := range out {
			out[i] = int64(int32(binary.LittleEndian.Uint32(data[4*i:])))
		}
	case U32:
		for i := range out {
			out[i] = int64(binary.LittleEndian.Uint32(data[4*i:]))
		}
	case I64, U64:
		for i := range out {
			v := binary.LittleEndian.Uint64(data[8*i:])
			if t.DType == U64 && v > math.MaxInt64 {
				return nil, fault.New(fault.BadFile, fmt.Sprintf("tensor %q", clip(t.Name)), fmt.Sprintf("element %d is %d", i, v), fmt.Sprintf("the largest is %d", int64(math.MaxInt64)), "")
			}
			out[i] = int64(v)
		}
	}
	return out, nil
}

// halfToFloat32 widens an IEEE binary16 exactly; a NaN keeps its payload's top bits.
func halfToFloat32(h uint16) float32 {
	sign := uint32(h>>15) << 31
	exponent := uint32(h >> 10 & 0x1f)
	fraction := uint32(h & 0x3ff)
	switch exponent {
	case 0: // zero or subnormal: fraction * 2^-24 is exact in float32
		return math.Float32frombits(sign | math.Float32bits(float32(fraction)*0x1p-24))
	case 0x1f:
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}
