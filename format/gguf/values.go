// This file gives metadata values by Go type. Getters widen (any integer type serves as an integer) but never guess:
// a value of another kind, or one that does not fit, is reported as absent.

package gguf

import "math"

// Value is the metadata value of key as read: uint8 ... float64, bool, string, or a slice of one of them; nil if absent.
func (f *File) Value(key string) any { return f.values[key] }

// String gives a string value.
func (f *File) String(key string) (string, bool) {
	s, ok := f.values[key].(string)
	return s, ok
}

// Bool gives a bool value.
func (f *File) Bool(key string) (bool, bool) {
	b, ok := f.values[key].(bool)
	return b, ok
}

// Uint gives a value of any integer type that is not negative.
func (f *File) Uint(key string) (uint64, bool) {
	if v, ok := f.values[key].(uint64); ok {
		return v, true
	}
	v, ok := f.Int(key)
	if !ok || v < 0 {
		return 0, false
	}
	return uint64(v), true
}

// Int gives a value of any integer type that fits int64.
func (f *File) Int(key string) (int64, bool) {
	switch v := f.values[key].(type) {
	case uint8:
		return int64(v), true
	case int8:
		return int64(v), true
	case uint16:
		return int64(v), true
	case int16:
		return int64(v), true
	case uint32:
		return int64(v), true
	case int32:
		return int64(v), true
	case int64:
		return v, true
	case uint64:
		return int64(v), v <= math.MaxInt64
	}
	return 0, false
}

// Float gives a float32 or float64 value.
func (f *File) Float(key string) (float64, bool) {
	switch v := f.values[key].(type) {
	case float32:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// Strings gives an array of strings; nil if absent or another kind. It must not be written to.
func (f *File) Strings(key string) []string {
	s, _ := f.values[key].([]string)
	return s
}

// Floats gives an array of float32 or float64 (rounded to float32); nil if absent or another kind.
// It must not be written to.
func (f *File) Floats(key string) []float32 {
	switch v := f.values[key].(type) {
	case []float32:
		return v
	case []float64:
		out := make([]float32, len(v))
		for i, x := range v {
			out[i] = float32(x)
		}
		return out
	}
	return nil
}

// Bools gives an array of bools; nil if absent or another kind. It must not be written to.
func (f *File) Bools(key string) []bool {
	b, _ := f.values[key].([]bool)
	return b
}

// Ints gives an array of any integer type; nil if absent, of another kind, or if a uint64 does not fit int64.
// It must not be written to.
func (f *File) Ints(key string) []int64 {
	switch v := f.values[key].(type) {
	case []uint8:
		return widen(v)
	case []int8:
		return widen(v)
	case []uint16:
		return widen(v)
	case []int16:
		return widen(v)
	case []uint32:
		return widen(v)
	case []int32:
		return widen(v)
	case []int64:
		return v
	case []uint64:
		for _, x := range v {
			if x > math.MaxInt64 {
				return nil
			}
		}
		return widen(v)
	}
	return nil
}

func widen[T uint8 | int8 | uint16 | int16 | uint32 | int32 | uint64](v []T) []int64 {
	out := make([]int64, len(v))
	for i, x := range v {
		out[i] = int64(x)
	}
	return out
}
