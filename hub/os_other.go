//go:build !linux && !darwin && !windows

package hub

import (
	"errors"
	"syscall"
)

func freeBytes(string) (int64, error) { return 0, errors.ErrUnsupported }

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }
