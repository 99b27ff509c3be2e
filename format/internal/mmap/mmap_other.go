//go:build !unix

package mmap

import (
	"io"
	"os"
)

// mapFile reads the file: simple, and enough where mapping is not done.
func mapFile(file *os.File, size int) (*Map, error) {
	data := make([]byte, size)
	if _, err := io.ReadFull(file, data); err != nil {
		return nil, err
	}
	return &Map{data: data}, nil
}

func unmap([]byte) error { return nil }

func release([]byte) {}
