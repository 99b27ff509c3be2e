// Package gguf reads and writes GGUF files, versions 2 and 3, little endian: typed metadata and tensors by name.
//
// It will not decode quantised blocks (tensors are bytes here), and does not know what any key means except general.alignment and
// those of split files.
package gguf

import (
	"errors"
	"fmt"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/internal/mmap"
)

// File is one open GGUF file. All methods but Close may be called from several goroutines.
type File struct {
	Version   uint32
	Alignment uint64   // bytes, general.alignment or 32
	DataStart uint64   // byte of the file where tensor data begins; tensor offsets count from it
	Keys      []string // metadata keys, in the file's order
	Tensors   []Tensor // in the file's order

	path    string
	values  map[string]any
	tensors map[string]int // name to index in Tensors
	data    []byte
	file    *mmap.Map // nil after Parse
	rest    []*File   // the other parts of a split file
}

// Tensor is one entry of the tensor list.
type Tensor struct {
	Name   string
	Type   Type
	Dims   []uint64 // fastest first, as in the file
	Offset uint64   // bytes from DataStart of the file that holds it
	Size   uint64   // bytes; 0 where Type is unknown (see Supported)

	part int // 0, or 1 + index in rest
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
	f.file = m
	return f, nil
}

// Close gives the mapping back. Slices that Data returned are invalid afterwards; metadata stays readable.
func (f *File) Close() error {
	f.data = nil
	var errs []error
	for _, p := range f.rest {
		errs = append(errs, p.Close())
	}
	if f.file != nil {
		errs = append(errs, f.file.Close())
	}
	return errors.Join(errs...)
}

// holder is the file of the parts that holds t.
func (f *File) holder(t Tensor) *File {
	if t.part > 0 && t.part <= len(f.rest) {
		return f.rest[t.part-1]
	}
	return f
}

// Bytes is the size of the file, of all its parts together.
func (f *File) Bytes() int64 {
	n := int64(len(f.data))
	for _, p := range f.rest {
		n += p.Bytes()
	}
	return n
}

// Tensor finds a tensor by its name.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.tensors[name]
	if !ok {
		return Tensor{}, false
	}
	return f.Tensors[i], true
}

// Data is the bytes of a tensor of this file: t.Size of them, blocks in row-major order, not to be written to.
// It is nil for a tensor of unknown type (t.Supported says why), for one that is not of this file, and after Close.
func (f *File) Data(t Tensor) []byte {
	f = f.holder(t)
	begin := f.DataStart + t.Offset
	end := begin + t.Size
	if t.Supported() != nil || begin < f.DataStart || end < begin || end > uint64(len(f.data)) {
		return nil
	}
	return f.data[begin:end:end]
}

// Release lets the tensor's pages leave this process's memory, so that weights packed elsewhere are not held twice.
// Its data stays readable (from the file again). Without a mapping it does nothing.
func (f *File) Release(t Tensor) {
	data := f.Data(t)
	if f = f.holder(t); f.file != nil && data != nil {
		f.file.Release(int(f.DataStart+t.Offset), int(t.Size))
	}
}

// Shape is the dimensions slowest first: [out, in] for a matrix.
func (t Tensor) Shape() []int {
	shape := make([]int, len(t.Dims))
	for i, d := range t.Dims {
		shape[len(shape)-1-i] = int(d)
	}
	return shape
}

// Elems is the number of elements, 1 for a tensor without dimensions.
func (t Tensor) Elems() uint64 {
	n := uint64(1)
	for _, d := range t.Dims {
		n *= d
	}
	return n
}

// Supported is nil where the size of the tensor's type is known, else a *fault.Error of kind Unsupported naming tensor and type.
func (t Tensor) Supported() error {
	if _, _, ok := t.Type.Block(); ok {
		return nil
	}
	return fault.New(fault.Unsupported, fmt.Sprintf("tensor %q", clip(t.Name)), t.Type.String(), "this version does not know that tensor type", "use a file quantised to another type")
}
