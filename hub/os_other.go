//go:build !linux && !darwin && !windows

package hub

import (
	"errors"
	"os"
	"syscall"
)

// tryLock holds nothing here: two processes that pull the same file at once may damage it, which the hash check finds.
func tryLock(*os.File) (bool, error) { return true, nil }

func freeBytes(string) (int64, error) { return 0, errors.ErrUnsupported }

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }
