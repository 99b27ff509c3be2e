// Package atomicfile writes a file whole or not at all: beside its place first, synced, then renamed over it.
//
// It will not keep the permissions of a file it replaces, and a link at the path is replaced, not followed.
package atomicfile

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/lowkeylm/lowkey/fault"
)

// Write makes path hold exactly what fill writes. On any error the file beside is removed and path stays as it was.
// A *fault.Error from fill is returned as it is; other errors become a *fault.Error of kind BadInput that wraps them.
func Write(path string, fill func(io.Writer) error) error {
	err := write(path, fill)
	var known *fault.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	wayOut := "name a file in a folder that exists and may be written"
	if errors.Is(err, syscall.ENOSPC) {
		wayOut = "free some space, or write to another disk"
	}
	return &fault.Error{Kind: fault.BadInput, Thing: path, Value: "cannot be written", WayOut: wayOut, Err: err}
}

// WriteBytes is Write of bytes at hand.
func WriteBytes(path string, data []byte) error {
	return Write(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

func write(path string, fill func(io.Writer) error) (err error) {
	dir, base := filepath.Split(path)
	if base == "" || base == "." || base == ".." {
		return errors.New("the path names no file")
	}
	// Not os.CreateTemp: its files are readable by their owner only, whatever the umask says.
	temp := filepath.Join(dir, fmt.Sprintf(".%s.%s.part", base, rand.Text()[:10]))
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			file.Close() // a second Close only returns an error
			os.Remove(temp)
		}
	}()
	w := bufio.NewWriterSize(file, 1<<18)
	if err := fill(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	syncFolder(dir)
	return nil
}

// syncFolder makes the rename last through a power cut, where the system can sync a folder; the file is whole either way.
func syncFolder(dir string) {
	if dir == "" {
		dir = "."
	}
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		d.Close()
	}
}
