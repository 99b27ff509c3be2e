// Package filelock keeps two processes from writing the same thing. A lock ends with its process, however that ends.
package filelock

import "os"

// Try opens the file of that name (it is made, empty, where it is missing) and takes an exclusive lock on it; held is false if someone else has it. Closing the file lets go; the file stays. An error says that the
// file cannot be made, or that the file system has no locks: then the file is open all the same.
func Try(name string) (f *os.File, held bool, err error) {
	if f, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return nil, false, err
	}
	held, err = try(f)
	return f, held, err
}
