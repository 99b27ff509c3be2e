package kernel

import "golang.org/x/sys/unix"

func adviseHuge(b []byte) {
	if len(b) >= 2<<20 {
		_ = unix.Madvise(b, unix.MADV_HUGEPAGE)
	}
}
