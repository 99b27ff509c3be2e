package kernel

import "golang.org/x/sys/unix"

// allowAMX asks the system to let this process use tile data; the answer holds for all its threads.
func allowAMX() bool {
	const reqXcompPerm, xtileData = 0x1023, 18
	_, _, errno := unix.RawSyscall(unix.SYS_ARCH_PRCTL, reqXcompPerm, xtileData, 0)
	return errno == 0
}
