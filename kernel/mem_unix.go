//go:build unix

package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/lowkeylm/lowkey/fault"
)

func reserve(n int) (*Mem, error) {
	buf, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fault.New(fault.OverBudget, "memory", fmt.Sprintf("%d bytes cannot be reserved", n), "", "lower --ctx or --memory").Because(err)
	}
	adviseHuge(buf)
	return &Mem{buf}, nil
}

// Free gives the memory back; the bytes must not be touched again.
func (m *Mem) Free() {
	if m != nil && m.buf != nil {
		_ = unix.Munmap(m.buf)
		m.buf = nil
	}
}

// Release gives whole pages of bytes [from, to) back; they read as zero afterwards.
func (m *Mem) Release(from, to int) {
	const page = 4096
	from, to = (from+page-1)&^(page-1), to&^(page-1)
	if from < to {
		_ = unix.Madvise(m.buf[from:to], unix.MADV_DONTNEED)
	}
}
