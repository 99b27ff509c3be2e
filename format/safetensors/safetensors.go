// Package safetensors reads and writes safetensors files, alone or as the shards of a Hugging Face folder.
//
// It will not compute on tensors beyond widening them to float32 or int64, and it leaves out types smaller than a byte.
package safetensors

import (
	"fmt"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/internal/mmap"
)

// DType is the element type of a tensor, by the format's name.
type DType string

// The element types read and written here. Numbers are little endian.
const (
	F64     DType = "F64"
	F32     DType = "F32"
	F16     DType = "F16"
	BF16    DType = "BF16"
	I64     DType = "I64"
	I32     DType = "I32"
	I16     DType = "I16"
	I8      DType = "I8"
	U64     DType = "U64"
	U32     DType = "U32"
	U16     DType = "U16"
	U8      DType = "U8"
	BOOL    DType = "BOOL"
	F8_E4M3 DType = "F8_E4M3"
	F8_E5M2 DType = "F8_E5M2"
)

// Size is the bytes of one element, 0 for a type not known here.
func (d DType) Size() int {
	switch d {
	case F64, I64, U64:
		return 8
	case F32, I32, U32:
		return 4
	case F16, BF16, I16, U16:
		return 2
	case I8, U8, BOOL, F8_E4M3, F8_E5M2:
		return 1
	}
	return 0
}

// Tensor is one named array. Data is row major (last dimension fastest), len = product of Shape times DType.Size;
// a Tensor that was read shares its file's memory: valid until Close, not to be written to.
type Tensor struct {
	Name  string
	DType DType
	Shape []int // slowest first; empty for a scalar
	Data  []byte
}

// Elems is the number of elements, 1 for a scalar.
func (t Tensor) Elems() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// File is one open file, or several shards as one. All methods but Close may be called from several goroutines.
type File struct {
	Metadata map[string]string // "__metadata__"; nil if absent

	names   []string // sorted
	entries map[string]entry
	maps    []*mmap.Map
}

// entry is a tensor and its place, for Release.
type entry struct {
	Tensor
	file   *mmap.Map // nil after Parse
	offset int       // bytes from the start of file
}

// Open maps and reads the file at path. Where mapping is not available the whole file is read into memory.
// Errors are *fault.Error: BadInput where it cannot be opened, else as in Parse.
func Open(path string) (*File, error) {
	m, err := mmap.Open(path)
	if err != nil {
		return nil, err
	}
	f, err := parse(path, m.Bytes())
	if err != nil {
		m.Close()
		return nil, err
	}
	f.maps = []*mmap.Map{m}
	for name, e := range f.entries {
		e.file = m
		f.entries[name] = e
	}
	return f, nil
}

// Names lists the tensors, sorted. It must not be written to.
func (f *File) Names() []string { return f.names }

// Tensor finds a tensor by its name.
func (f *File) Tensor(name string) (Tensor, bool) {
	e, ok := f.entries[name]
	return e.Tensor, ok
}

// Release lets the pages of this file's tensor leave this process's memory, so that weights copied elsewhere are not held twice.
// Its data stays readable (from the file again). Without a mapping it does nothing.
func (f *File) Release(t Tensor) {
	if e, ok := f.entries[t.Name]; ok && e.file != nil {
		e.file.Release(e.offset, len(e.Data))
	}
}

// Close gives the mappings back. The data of every tensor is invalid afterwards, and Tensor finds none.
func (f *File) Close() error {
	var first error
	for _, m := range f.maps {
		if err := m.Close(); err != nil && first == nil {
			first = err
		}
	}
	f.maps, f.entries, f.names = nil, nil, nil
	return first
}

// sized checks the length of data against dtype and shape; it works on shapes of any origin.
func (t Tensor) sized() error {
	want, ok := byteSize(t.DType, t.Shape)
	if !ok || want != len(t.Data) {
		return fault.New(fault.BadInput, fmt.Sprintf("tensor %q", clip(t.Name)), fmt.Sprintf("%d bytes of data", len(t.Data)), needs(t.DType, t.Shape), "")
	}
	return nil
}

// byteSize is the bytes of a tensor; ok is false where a dimension is negative or the product overflows int.
func byteSize(d DType, shape []int) (size int, ok bool) {
	size = d.Size()
	for _, dim := range shape {
		if dim < 0 {
			return 0, false
		}
		if dim != 0 && size > maxInt/dim {
			return 0, false
		}
		size *= dim
	}
	return size, true
}

// needs words byteSize for an error.
func needs(d DType, shape []int) string {
	size, ok := byteSize(d, shape)
	if !ok {
		return fmt.Sprintf("%s %s is beyond what a file can hold", d, clip(fmt.Sprint(shape)))
	}
	return fmt.Sprintf("%s %s takes %d", d, clip(fmt.Sprint(shape)), size)
}
