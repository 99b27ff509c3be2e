package mmap

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

func TestMap(t *testing.T) {
	page := os.Getpagesize()
	want := bytes.Repeat([]byte("0123456789abcdef"), 64*page/16)
	want = append(want, "tail"...)
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range [][2]int{{0, len(want)}, {1, len(want) - 1}, {page - 1, 2}, {-1, 5}, {0, -1}, {len(want), 1}, {5, 1 << 62}, {len(want) - 1, 1}} {
		m.Release(r[0], r[1])
		if !bytes.Equal(m.Bytes(), want) {
			t.Fatalf("bytes changed after Release(%d, %d)", r[0], r[1])
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if m.Bytes() != nil || m.Close() != nil {
		t.Fatal("not closed")
	}
	m.Release(0, 10)
}

// resident reads this process's file-backed memory in bytes, as Linux counts it.
func resident(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssFile:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Skip("no RssFile line")
	return 0
}

func TestReleaseLeavesMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads Linux's own count of memory")
	}
	const size = 64 << 20
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, bytes.Repeat([]byte{1}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	sum := 0
	for i := 0; i < size; i += 1024 {
		sum += int(m.Bytes()[i])
	}
	full := resident(t)
	m.Release(0, size)
	if after := resident(t); full-after < size*9/10 {
		t.Errorf("resident %d, after Release %d (sum %d)", full, after, sum)
	}
}
