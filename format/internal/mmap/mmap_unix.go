//go:build unix

package mmap

import (
	"os"

	"golang.org/x/sys/unix"
)

func mapFile(file *os.File, size int) (*Map, error) {
	data, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return &Map{data: data, mapped: true}, nil
}

func unmap(data []byte) error { return os.NewSyscallError("munmap", unix.Munmap(data)) }

// release ignores an error: the advice is an optimisation, and a system that refuses it loses nothing.
func release(pages []byte) { _ = unix.Madvise(pages, unix.MADV_DONTNEED) }
