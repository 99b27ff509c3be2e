// This file writes GGUF version 3 files. It does not quantise: tensor data comes as bytes of its type.

package gguf

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/internal/atomicfile"
)

// Pair is one metadata entry. Value is one of the Go types that File.Value returns: uint8 ... float64, bool, string, or a slice of one
// (a plain int is refused: its width in the file would be a guess).
type Pair struct {
	Key   string
	Value any
}

// Source is one tensor to write. Its bytes are Data, or where Data is nil whatever Fill writes, which must be as many as
// Dims and Type take: so a large model can be written without holding it.
type Source struct {
	Name string
	Type Type
	Dims []uint64 // fastest first
	Data []byte
	Fill func(io.Writer) error
}

// Write makes a GGUF file at path, whole or not at all: written beside, synced, renamed over what was there.
// Pairs and tensors keep their order; a general.alignment pair (a power of two from 8) is obeyed. What cannot be written is a
// *fault.Error of kind BadInput.
func Write(path string, pairs []Pair, tensors []Source) error {
	return atomicfile.Write(path, func(w io.Writer) error { return Encode(w, pairs, tensors) })
}

// Encode writes the bytes of a GGUF file.
func Encode(w io.Writer, pairs []Pair, tensors []Source) error {
	header, sizes, alignment, err := encodeHeader(pairs, tensors)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	padding := make([]byte, alignment)
	if _, err := w.Write(padding[:pad(uint64(len(header)), alignment)]); err != nil {
		return err
	}
	for i, t := range tensors {
		if err := writeTensor(w, t, sizes[i]); err != nil {
			return err
		}
		if _, err := w.Write(padding[:pad(sizes[i], alignment)]); err != nil {
			return err
		}
	}
	return nil
}

func writeTensor(w io.Writer, t Source, size uint64) error {
	counted := &counter{w: w}
	var err error
	if t.Data != nil || t.Fill == nil {
		_, err = counted.Write(t.Data)
	} else {
		err = t.Fill(counted)
	}
	if err != nil {
		return err
	}
	if counted.n != size {
		return unwritable(t.Name, fmt.Sprintf("%d bytes of data", counted.n), fmt.Sprintf("%s %v takes %d", t.Type, t.Dims, size))
	}
	return nil
}

type counter struct {
	w io.Writer
	n uint64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += uint64(n)
	return n, err
}

// pad is the number of bytes from n to the next multiple of alignment.
func pad(n, alignment uint64) uint64 { return -n & (alignment - 1) }

func unwritable(name, value, limit string) error {
	return fault.New(fault.BadInput, fmt.Sprintf("%q in a GGUF file", clip(name)), value, limit, "")
}

// encodeHeader gives everything before the padding and the data, and the size of each tensor.
func encodeHeader(pairs []Pair, tensors []Source) (header []byte, sizes []uint64, alignment uint64, err error) {
	le := binary.LittleEndian
	b := append([]byte{}, magic...)
	b = le.AppendUint32(b, 3)
	b = le.AppendUint64(b, uint64(len(tensors)))
	b = le.AppendUint64(b, uint64(len(pairs)))

	alignment = defaultAlignment
	seen := map[string]bool{}
	for _, p := range pairs {
		if why := badName(p.Key); why != "" || seen[p.Key] {
			return nil, nil, 0, unwritable(p.Key, "is given twice, or is no key", why)
		}
		seen[p.Key] = true
		b = appendString(b, p.Key)
		var ok bool
		if b, ok = appendValue(b, p.Value); !ok {
			return nil, nil, 0, unwritable(p.Key, fmt.Sprintf("value of Go type %T", p.Value), "no metadata value type of GGUF")
		}
		if p.Key == "general.alignment" {
			a, ok := p.Value.(uint32)
			if !ok || !goodAlignment(uint64(a)) {
				return nil, nil, 0, unwritable(p.Key, fmt.Sprint(p.Value), fmt.Sprintf("a uint32, a power of two from 8 to %d, is needed", maxAlignment))
			}
			alignment = uint64(a)
		}
	}

	clear(seen)
	at := uint64(0)
	for _, t := range tensors {
		if why := badName(t.Name); why != "" || seen[t.Name] {
			return nil, nil, 0, unwritable(t.Name, "is given twice, or is no name", why)
		}
		seen[t.Name] = true
		measured := Tensor{Name: t.Name, Type: t.Type, Dims: t.Dims}
		if err := measured.Supported(); err != nil {
			return nil, nil, 0, err
		}
		if len(t.Dims) > maxDims {
			return nil, nil, 0, unwritable(t.Name, fmt.Sprintf("%d dimensions", len(t.Dims)), fmt.Sprintf("at most %d are allowed", maxDims))
		}
		if why := measured.measure(); why != "" {
			return nil, nil, 0, unwritable(t.Name, why, "")
		}
		b = appendString(b, t.Name)
		b = le.AppendUint32(b, uint32(len(t.Dims)))
		for _, d := range t.Dims {
			b = le.AppendUint64(b, d)
		}
		b = le.AppendUint32(b, uint32(t.Type))
		b = le.AppendUint64(b, at)
		sizes = append(sizes, measured.Size)
		if measured.Size > math.MaxInt64-maxAlignment-at {
			return nil, nil, 0, unwritable(t.Name, "the tensors together are too large", "")
		}
		at += measured.Size + pad(measured.Size, alignment)
	}
	return b, sizes, alignment, nil
}

func appendString(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
	return append(b, s...)
}

// appendValue writes the value's type and the value; ok is false for a Go type that GGUF has no type for.
func appendValue(b []byte, value any) (_ []byte, ok bool) {
	switch v := value.(type) {
	case []uint8:
		return appendArray(b, Uint8, v), true
	case []int8:
		return appendArray(b, Int8, v), true
	case []uint16:
		return appendArray(b, Uint16, v), true
	case []int16:
		return appendArray(b, Int16, v), true
	case []uint32:
		return appendArray(b, Uint32, v), true
	case []int32:
		return appendArray(b, Int32, v), true
	case []float32:
		return appendArray(b, Float32, v), true
	case []bool:
		return appendArray(b, Bool, v), true
	case []string:
		return appendArray(b, String, v), true
	case []uint64:
		return appendArray(b, Uint64, v), true
	case []int64:
		return appendArray(b, Int64, v), true
	case []float64:
		return appendArray(b, Float64, v), true
	}
	kind, ok := kindOf(value)
	if !ok {
		return b, false
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(kind))
	return appendPlain(b, value), true
}

func appendArray[T any](b []byte, kind ValueType, values []T) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(Array))
	b = binary.LittleEndian.AppendUint32(b, uint32(kind))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(values)))
	for _, v := range values {
		b = appendPlain(b, v)
	}
	return b
}

func kindOf(value any) (ValueType, bool) {
	switch value.(type) {
	case uint8:
		return Uint8, true
	case int8:
		return Int8, true
	case uint16:
		return Uint16, true
	case int16:
		return Int16, true
	case uint32:
		return Uint32, true
	case int32:
		return Int32, true
	case float32:
		return Float32, true
	case bool:
		return Bool, true
	case string:
		return String, true
	case uint64:
		return Uint64, true
	case int64:
		return Int64, true
	case float64:
		return Float64, true
	}
	return 0, false
}

// appendPlain writes one value without its type; value is of a type that kindOf knows.
func appendPlain(b []byte, value any) []byte {
	le := binary.LittleEndian
	switch v := value.(type) {
	case uint8:
		return append(b, v)
	case int8:
		return append(b, uint8(v))
	case uint16:
		return le.AppendUint16(b, v)
	case int16:
		return le.AppendUint16(b, uint16(v))
	case uint32:
		return le.AppendUint32(b, v)
	case int32:
		return le.AppendUint32(b, uint32(v))
	case float32:
		return le.AppendUint32(b, math.Float32bits(v))
	case uint64:
		return le.AppendUint64(b, v)
	case int64:
		return le.AppendUint64(b, uint64(v))
	case float64:
		return le.AppendUint64(b, math.Float64bits(v))
	case bool:
		if v {
			return append(b, 1)
		}
		return append(b, 0)
	}
	return appendString(b, value.(string))
}
