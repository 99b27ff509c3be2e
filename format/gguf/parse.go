// This file reads the bytes of a GGUF file: magic, version, metadata, tensor list. Every length is checked against the
// bytes that are left before anything is allocated by it. It does not open files.

package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/lowkeylm/lowkey/fault"
)

const (
	magic            = "GGUF"
	defaultAlignment = 32
	maxAlignment     = 1 << 20
	maxDims          = 4       // ggml's limit
	maxName          = 1 << 16 // bytes of a key or a tensor's name, exclusive; the format's limit for keys
	minPairBytes     = 8 + 4 + 1
	minTensorBytes   = 8 + 4 + 4 + 8
)

// ValueType is the type of a metadata value, with the format's numbers.
type ValueType uint32

// The value types of the format, in its order.
const (
	Uint8 ValueType = iota
	Int8
	Uint16
	Int16
	Uint32
	Int32
	Float32
	Bool
	String
	Array
	Uint64
	Int64
	Float64
)

var valueTypes = [...]struct {
	name  string
	bytes uint64 // of one value; 0 where it varies
}{
	{"uint8", 1}, {"int8", 1}, {"uint16", 2}, {"int16", 2}, {"uint32", 4}, {"int32", 4}, {"float32", 4},
	{"bool", 1}, {"string", 0}, {"array", 0}, {"uint64", 8}, {"int64", 8}, {"float64", 8},
}

// String is the format's name of the value type.
func (v ValueType) String() string {
	if int(v) < len(valueTypes) {
		return valueTypes[v].name
	}
	return fmt.Sprintf("value type %d", uint32(v))
}

// Parse reads a GGUF file's bytes. The file keeps data and Data returns slices of it; metadata is copied out.
// Errors are *fault.Error: BadFile for what the format forbids, Unsupported for a version, byte order or nesting not done here.
func Parse(data []byte) (*File, error) { return parse("GGUF file", data) }

// parse is Parse with the name that errors give to the file.
func parse(thing string, data []byte) (*File, error) {
	f := &File{path: thing, data: data, values: map[string]any{}, tensors: map[string]int{}}
	r := &reader{thing: thing, data: data}
	tensors, pairs := f.parsePreamble(r)
	if r.err == nil {
		f.parsePairs(r, pairs)
	}
	if r.err == nil {
		f.parseTensors(r, tensors)
	}
	if r.err != nil {
		return nil, r.err
	}
	return f, nil
}

func (f *File) parsePreamble(r *reader) (tensors, pairs uint64) {
	if got := r.take(4, "magic"); r.err == nil && string(got) != magic {
		r.bad(fmt.Sprintf("starts with %q", got), "a GGUF file starts with \"GGUF\"")
	}
	f.Version = r.u32("version")
	if r.err != nil {
		return 0, 0
	}
	swapped := bits.ReverseBytes32(f.Version)
	switch {
	case f.Version == 2 || f.Version == 3:
	case swapped >= 1 && swapped <= 3:
		r.err = fault.New(fault.Unsupported, r.thing, fmt.Sprintf("big-endian GGUF version %d", swapped), "only little-endian files are read", "convert it to little endian")
		return 0, 0
	default:
		r.err = fault.New(fault.Unsupported, r.thing, fmt.Sprintf("GGUF version %d", f.Version), "versions 2 and 3 are read", "convert the model again with a current tool")
		return 0, 0
	}
	tensors = r.u64("tensor count")
	pairs = r.u64("metadata count")
	if r.err != nil {
		return 0, 0
	}
	// Each pair and tensor takes some bytes, so a count cannot exceed what the file could hold.
	if left := r.left(); pairs > left/minPairBytes {
		r.bad(fmt.Sprintf("metadata count %d", pairs), fmt.Sprintf("the %d bytes left cannot hold so many", left))
	} else if tensors > left/minTensorBytes {
		r.bad(fmt.Sprintf("tensor count %d", tensors), fmt.Sprintf("the %d bytes left cannot hold so many", left))
	}
	return tensors, pairs
}

func (f *File) parsePairs(r *reader, count uint64) {
	for range count {
		key := r.name("metadata key")
		if r.err != nil {
			return
		}
		if _, twice := f.values[key]; twice {
			r.bad(fmt.Sprintf("metadata key %q appears twice", clip(key)), "")
			return
		}
		kind := ValueType(r.u32(key))
		value := r.value(key, kind)
		if r.err != nil {
			return
		}
		f.Keys = append(f.Keys, key)
		f.values[key] = value
	}
	f.Alignment = defaultAlignment
	if _, present := f.values["general.alignment"]; present {
		a, ok := f.Uint("general.alignment")
		if !ok || !goodAlignment(a) {
			r.bad(fmt.Sprintf("general.alignment is %s", clip(fmt.Sprint(f.values["general.alignment"]))), fmt.Sprintf("a power of two from 8 to %d is needed", maxAlignment))
			return
		}
		f.Alignment = a
	}
}

func (f *File) parseTensors(r *reader, count uint64) {
	for range count {
		name := r.name("tensor name")
		if r.err != nil {
			return
		}
		if _, twice := f.tensors[name]; twice {
			r.bad(fmt.Sprintf("tensor %q appears twice", clip(name)), "")
			return
		}
		t := Tensor{Name: name}
		n := r.u32(name)
		if n > maxDims {
			r.bad(fmt.Sprintf("tensor %q has %d dimensions", clip(name), n), fmt.Sprintf("at most %d are allowed", maxDims))
			return
		}
		for range n {
			t.Dims = append(t.Dims, r.u64(name))
		}
		t.Type = Type(r.u32(name))
		t.Offset = r.u64(name)
		if r.err != nil {
			return
		}
		if why := t.measure(); why != "" {
			r.bad(fmt.Sprintf("tensor %q: %s", clip(name), why), "")
			return
		}
		f.tensors[name] = len(f.Tensors)
		f.Tensors = append(f.Tensors, t)
	}
	f.placeTensors(r)
}

// measure fills Size from Dims and Type, and says what is wrong with them if anything is. An unknown type keeps Size 0.
func (t *Tensor) measure() string {
	elems := uint64(1)
	for _, d := range t.Dims {
		hi, lo := bits.Mul64(elems, d)
		if hi != 0 || lo > math.MaxInt || d > math.MaxInt {
			return fmt.Sprintf("dimensions %v overflow", t.Dims)
		}
		elems = lo
	}
	blockElems, blockBytes, ok := t.Type.Block()
	if !ok {
		return ""
	}
	row := uint64(1)
	if len(t.Dims) > 0 {
		row = t.Dims[0]
	}
	if row%uint64(blockElems) != 0 {
		return fmt.Sprintf("rows of %d elements do not divide into %s blocks of %d", row, t.Type, blockElems)
	}
	hi, size := bits.Mul64(elems/uint64(blockElems), uint64(blockBytes))
	if hi != 0 || size > math.MaxInt {
		return fmt.Sprintf("dimensions %v overflow", t.Dims)
	}
	t.Size = size
	return ""
}

// placeTensors finds where the data begins and checks that each tensor lies inside it, aligned, and on no other's bytes.
func (f *File) placeTensors(r *reader) {
	start := (r.pos + f.Alignment - 1) / f.Alignment * f.Alignment
	size := uint64(0)
	if total := uint64(len(r.data)); start <= total {
		size = total - start
	} else {
		start = total // no room even for the padding: fine as long as no tensor has bytes
	}
	f.DataStart = start
	order := make([]int, len(f.Tensors))
	for i := range f.Tensors {
		t := &f.Tensors[i]
		order[i] = i
		if t.Offset%f.Alignment != 0 {
			r.bad(fmt.Sprintf("tensor %q at offset %d", clip(t.Name), t.Offset), fmt.Sprintf("the alignment is %d", f.Alignment))
			return
		}
		if t.Offset > size || t.Size > size-t.Offset {
			r.bad(fmt.Sprintf("tensor %q needs bytes %d to %d of the data", clip(t.Name), t.Offset, satAdd(t.Offset, t.Size)), fmt.Sprintf("the file has %d", size))
			return
		}
	}
	sort.Slice(order, func(a, b int) bool {
		x, y := f.Tensors[order[a]], f.Tensors[order[b]]
		if x.Offset != y.Offset {
			return x.Offset < y.Offset
		}
		return x.Size < y.Size
	})
	for i := 1; i < len(order); i++ {
		x, y := f.Tensors[order[i-1]], f.Tensors[order[i]]
		if x.Offset+x.Size > y.Offset {
			r.bad(fmt.Sprintf("tensors %q and %q overlap", clip(x.Name), clip(y.Name)), "")
			return
		}
	}
}

func satAdd(a, b uint64) uint64 {
	if sum, carry := bits.Add64(a, b, 0); carry == 0 {
		return sum
	}
	return math.MaxUint64
}

// reader walks the bytes. The first error sticks: later reads return zeros, and the caller checks err before it acts on them.
type reader struct {
	thing string
	data  []byte
	pos   uint64
	err   error
}

func (r *reader) left() uint64 { return uint64(len(r.data)) - r.pos }

func (r *reader) bad(value, limit string) {
	if r.err == nil {
		r.err = fault.New(fault.BadFile, r.thing, value, limit, "download or convert it again")
	}
}

// take returns the next n bytes (not a copy), or nil when the file ends before.
func (r *reader) take(n uint64, what string) []byte {
	if r.err != nil {
		return nil
	}
	if n > r.left() {
		r.bad(fmt.Sprintf("%q at byte %d needs %d bytes", clip(what), r.pos, n), fmt.Sprintf("the file has %d left", r.left()))
		return nil
	}
	b := r.data[r.pos : r.pos+n]
	r.pos += n
	return b
}

func (r *reader) u32(what string) uint32 {
	if b := r.take(4, what); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64(what string) uint64 {
	if b := r.take(8, what); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// name reads a key or a tensor's name: valid UTF-8 without control characters (it will be printed), 1 to 65535 bytes.
func (r *reader) name(what string) string {
	n := r.u64(what)
	if n >= maxName {
		r.bad(fmt.Sprintf("%s of %d bytes at byte %d", what, n, r.pos), fmt.Sprintf("at most %d are allowed", maxName-1))
	}
	s := string(r.take(n, what))
	if r.err != nil {
		return ""
	}
	if why := badName(s); why != "" {
		r.bad(fmt.Sprintf("%s %q", what, clip(s)), why)
	}
	return s
}

// badName says what is wrong with a key or a tensor's name, or "". Names get printed, so control characters are refused.
func badName(s string) string {
	if len(s) == 0 || len(s) >= maxName {
		return fmt.Sprintf("names have 1 to %d bytes", maxName-1)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c >= 0x7f && c < 0xa0 }) {
		return "names are UTF-8 without control characters"
	}
	return ""
}

func goodAlignment(a uint64) bool { return a >= 8 && a <= maxAlignment && a&(a-1) == 0 }

// clip keeps a hostile name from filling the screen.
func clip(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// value reads one metadata value as its Go type; an array becomes a slice of it.
func (r *reader) value(key string, kind ValueType) any {
	if r.err != nil {
		return nil
	}
	switch kind {
	case String:
		return string(r.take(r.u64(key), key))
	case Array:
		return r.array(key)
	}
	if int(kind) >= len(valueTypes) {
		r.bad(fmt.Sprintf("%q has %s", clip(key), kind), "value types are 0 to 12")
		return nil
	}
	b := r.take(valueTypes[kind].bytes, key)
	if r.err != nil {
		return nil
	}
	switch kind {
	case Uint8:
		return getUint8(b)
	case Int8:
		return getInt8(b)
	case Uint16:
		return binary.LittleEndian.Uint16(b)
	case Int16:
		return getInt16(b)
	case Uint32:
		return binary.LittleEndian.Uint32(b)
	case Int32:
		return getInt32(b)
	case Float32:
		return getFloat32(b)
	case Uint64:
		return binary.LittleEndian.Uint64(b)
	case Int64:
		return getInt64(b)
	case Float64:
		return getFloat64(b)
	}
	r.checkBools(key, b) // Bool is what is left
	return b[0] == 1
}

func (r *reader) array(key string) any {
	kind := ValueType(r.u32(key))
	n := r.u64(key)
	if r.err != nil {
		return nil
	}
	switch {
	case kind == String:
		return r.strings(key, n)
	case kind == Array:
		r.err = fault.New(fault.Unsupported, r.thing, fmt.Sprintf("%q is an array of arrays", clip(key)), "arrays of plain values are read", "use another conversion of this model")
		return nil
	case int(kind) >= len(valueTypes):
		r.bad(fmt.Sprintf("%q is an array of %s", clip(key), kind), "value types are 0 to 12")
		return nil
	}
	size := valueTypes[kind].bytes
	if n > r.left()/size {
		r.bad(fmt.Sprintf("%q is an array of %d %ss at byte %d", clip(key), n, kind, r.pos), fmt.Sprintf("the file has %d bytes left", r.left()))
		return nil
	}
	b := r.take(n*size, key)
	switch kind {
	case Uint8:
		return append([]uint8{}, b...)
	case Int8:
		return decode(b, 1, getInt8)
	case Uint16:
		return decode(b, 2, binary.LittleEndian.Uint16)
	case Int16:
		return decode(b, 2, getInt16)
	case Uint32:
		return decode(b, 4, binary.LittleEndian.Uint32)
	case Int32:
		return decode(b, 4, getInt32)
	case Float32:
		return decode(b, 4, getFloat32)
	case Uint64:
		return decode(b, 8, binary.LittleEndian.Uint64)
	case Int64:
		return decode(b, 8, getInt64)
	case Float64:
		return decode(b, 8, getFloat64)
	}
	r.checkBools(key, b) // Bool is what is left
	return decode(b, 1, func(b []byte) bool { return b[0] == 1 })
}

// strings reads n strings. They share one copy of their bytes: a vocabulary has 10^5 of them.
func (r *reader) strings(key string, n uint64) any {
	if n > r.left()/8 {
		r.bad(fmt.Sprintf("%q is an array of %d strings at byte %d", clip(key), n, r.pos), fmt.Sprintf("the file has %d bytes left", r.left()))
		return nil
	}
	begin := r.pos
	for range n {
		r.take(r.u64(key), key)
		if r.err != nil {
			return nil
		}
	}
	all := string(r.data[begin:r.pos])
	out := make([]string, n)
	at := uint64(0)
	for i := range out {
		size := binary.LittleEndian.Uint64(r.data[begin+at:])
		out[i] = all[at+8 : at+8+size]
		at += 8 + size
	}
	return out
}

func (r *reader) checkBools(key string, b []byte) {
	for _, v := range b {
		if v > 1 {
			r.bad(fmt.Sprintf("%q holds a bool of value %d", clip(key), v), "0 and 1 are allowed")
			return
		}
	}
}

func decode[T any](b []byte, size int, get func([]byte) T) []T {
	out := make([]T, len(b)/size)
	for i := range out {
		out[i] = get(b[i*size:])
	}
	return out
}

func getUint8(b []byte) uint8     { return b[0] }
func getInt8(b []byte) int8       { return int8(b[0]) }
func getInt16(b []byte) int16     { return int16(binary.LittleEndian.Uint16(b)) }
func getInt32(b []byte) int32     { return int32(binary.LittleEndian.Uint32(b)) }
func getInt64(b []byte) int64     { return int64(binary.LittleEndian.Uint64(b)) }
func getFloat32(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }
func getFloat64(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) }
