// Package mmap gives a whole file as one read-only byte slice: mapped where the system can (unix), read into memory elsewhere.
//
// It will not write, and it will not follow a file that changes: another process that truncates a mapped file
// can crash a reader of it, as with every program that maps files.
package mmap

import (
	"fmt"
	"math"
	"os"

	"github.com/lowkeylm/lowkey/fault"
)

// Map is one open file. Bytes stays valid until Close. Its methods may be called from several goroutines, Close apart.
type Map struct {
	data   []byte
	mapped bool // data must be unmapped, not just dropped
}

// Open opens path, which must be a regular file (or a link to one). An empty file gives empty Bytes.
// The error is a *fault.Error of kind BadInput that wraps the system's (errors.Is with fs.ErrNotExist works).
func Open(path string) (*Map, error) {
	m, err := open(path)
	if err == nil {
		return m, nil
	}
	if _, ok := err.(*fault.Error); ok {
		return nil, err
	}
	return nil, &fault.Error{Kind: fault.BadInput, Thing: path, Value: "cannot be opened", WayOut: "name a file that exists and may be read", Err: err}
}

func open(path string) (*Map, error) {
	// Stat comes first: opening a pipe would wait for a writer.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fault.New(fault.BadInput, path, "is a folder", "a file is needed here", "name the file in it")
	}
	if !info.Mode().IsRegular() {
		return nil, fault.New(fault.BadInput, path, fmt.Sprintf("is not a regular file (%s)", info.Mode()), "a file is needed here", "write it to a file first")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil {
		return nil, err
	}
	size := info.Size()
	if size == 0 {
		return &Map{}, nil
	}
	if size < 0 || size > math.MaxInt {
		return nil, fault.New(fault.Unsupported, path, fmt.Sprintf("%d bytes", size), fmt.Sprintf("this build can address %d", math.MaxInt), "use a 64-bit build")
	}
	return mapFile(file, int(size))
}

// Bytes is the whole file. It must not be written to.
func (m *Map) Bytes() []byte { return m.data }

// Release tells the system that bytes [off, off+n) are not needed soon, so that they leave this process's memory.
// Only whole pages inside the range go. The bytes stay valid: reading them again reads the file.
// Without a mapping (see the package comment) it does nothing.
func (m *Map) Release(off, n int) {
	if !m.mapped || off < 0 || n <= 0 || off > len(m.data) || n > len(m.data)-off {
		return
	}
	page := os.Getpagesize()
	first := (off + page - 1) / page * page
	last := (off + n) / page * page
	if first < last {
		release(m.data[first:last])
	}
}

// Close gives the memory back; Bytes and every slice of it are invalid afterwards. Closing twice is harmless.
func (m *Map) Close() error {
	data, mapped := m.data, m.mapped
	m.data, m.mapped = nil, false
	if !mapped {
		return nil
	}
	return unmap(data)
}
