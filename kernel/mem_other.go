//go:build !unix

package kernel

import "unsafe"

func reserve(n int) (*Mem, error) {
	buf := make([]byte, n+4095)
	off := -int(uintptr(unsafe.Pointer(&buf[0]))) & 4095
	return &Mem{buf[off:][:n]}, nil
}

// Free lets the collector have the memory.
func (m *Mem) Free() { m.buf = nil }

// Release does nothing here: the memory is the collector's.
func (m *Mem) Release(from, to int) {}
