package atomicfile

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/lowkeylm/lowkey/fault"
)

// Folder makes dir by filling a folder beside it, syncing that and renaming it. On any error nothing is left.
func Folder(ctx context.Context, dir string, fill func(temp string) error) (err error) {
	dir = filepath.Clean(dir)
	if _, err := os.Lstat(dir); err == nil {
		return fault.New(fault.BadInput, dir, "exists already", "nothing is written over", "give a new folder, or remove that one")
	}
	parent := filepath.Dir(dir)
	temp, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+".*.part")
	if err != nil {
		return fault.New(fault.BadInput, dir, "cannot be written", "", "name a folder in one that exists and may be written").Because(err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(temp)
			var known *fault.Error
			if !errors.As(err, &known) && !errors.Is(err, context.Canceled) {
				err = fault.New(fault.BadInput, dir, "cannot be written", "", "name a folder in one that exists and may be written").Because(err)
			}
		}
	}()
	if err := os.Chmod(temp, 0o755); err != nil { // MkdirTemp's folders are their owner's alone
		return err
	}
	if err := fill(temp); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := os.Lstat(dir); err == nil { // rename would replace an empty folder
		return fault.New(fault.BadInput, dir, "exists already", "it was made meanwhile", "give a new folder")
	}
	if err := os.Rename(temp, dir); err != nil {
		return err
	}
	if d, err := os.Open(parent); err == nil { // so that the rename lasts through a power cut
		_ = d.Sync()
		d.Close()
	}
	return nil
}
