//go:build !linux && !darwin && !windows

package filelock

import "os"

// try holds nothing here: two processes may write the same thing.
func try(*os.File) (bool, error) { return true, nil }
