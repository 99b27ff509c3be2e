package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

func names(t *testing.T, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

func TestWriteReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.bin")
	for _, s := range []string{"first", "second, longer"} {
		if err := Write(path, text(s)); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != s {
			t.Fatalf("file holds %q, want %q", got, s)
		}
	}
	if got := names(t, dir); len(got) != 1 {
		t.Fatalf("files left beside: %v", got)
	}
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.bin")
	if err := Write(path, text("old")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := Write(path, func(w io.Writer) error {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) || !fault.Is(err, fault.BadInput) {
		t.Fatalf("error %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "old" {
		t.Fatalf("the old file was touched: %d bytes", len(got))
	}
	// The rename itself fails: its target is a folder that is not empty.
	if err := Write(filepath.Dir(path), text("x")); err == nil {
		t.Fatal("a folder was replaced")
	}
	if got := names(t, dir); len(got) != 1 || got[0] != "a.bin" {
		t.Fatalf("files left beside: %v", got)
	}
	if got := names(t, filepath.Dir(dir)); len(got) != 1 {
		t.Fatalf("files left beside the folder: %v", got)
	}
}

func TestNoSuchFolder(t *testing.T) {
	err := Write(filepath.Join(t.TempDir(), "none", "a.bin"), text("x"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("error %v", err)
	}
	if err := Write("", text("x")); err == nil {
		t.Fatal("an empty path was accepted")
	}
}
