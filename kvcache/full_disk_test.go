//go:build linux

package kvcache

import (
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// saveFails saves over an older file where there is no room, and expects one clear error, the older file as it was, and nothing beside it.
func saveFails(t *testing.T, dir string, limit func() (lift func())) {
	t.Helper()
	cfg := fuzzConfig(t)
	cfg.Layers = layersOf(2, gqa(2, 32, 0)) // 40 kB for 150 rows
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	q := s.NewSequence("")
	fill(t, q, make([]int32, 150))
	path := filepath.Join(dir, "session")
	if err := os.WriteFile(path, []byte("older"), 0o600); err != nil {
		t.Fatal(err)
	}
	lift := limit()
	err = q.Save(path, nil)
	lift()
	if err == nil {
		t.Fatal("saved without room")
	}
	t.Log(err)
	if !fault.Is(err, fault.BadInput) {
		t.Errorf("%T", err)
	}
	if text, err := os.ReadFile(path); string(text) != "older" {
		t.Errorf("the older file is now %d bytes, %v", len(text), err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files are left, want the older one alone", len(files))
	}
	if err := q.Save(filepath.Join(t.TempDir(), "session"), nil); err != nil {
		t.Errorf("with room: %v", err)
	}
}

// A file that may not grow further: the write in the middle fails as on a full disk, without privileges.
func TestSaveCutShort(t *testing.T) {
	saveFails(t, t.TempDir(), func() func() {
		var old syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Skip(err)
		}
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 10000, Max: old.Max}); err != nil {
			t.Skip(err)
		}
		return func() {
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
				t.Fatal(err)
			}
			signal.Reset(syscall.SIGXFSZ)
		}
	})
}

// A disk that is full: a small one in memory, where the test may mount it.
func TestSaveFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	saveFails(t, dir, func() func() { return func() {} })
}
