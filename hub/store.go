package hub

// This file is the cache on disk: blobs by hash, snapshots of links, refs. It will not speak to the network.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/internal/atomicfile"
)

var commitName = regexp.MustCompile(`^[0-9a-f]{40}$`)

// store is the folder of one repository in the cache:
//
//	blobs/HASH                       contents
//	blobs/HASH.incomplete            what has arrived of one
//	snapshots/COMMIT/NAME            links into blobs (on systems without links, files)
//	refs/REVISION                    the commit that a branch or tag meant when last asked
//	../.locks/models--O--N/HASH.lock held while a blob is being fetched
type store struct {
	cache  string
	folder string // models--OWNER--NAME
}

func newStore(cache, repo string) store {
	return store{cache, "models--" + strings.ReplaceAll(repo, "/", "--")}
}

func (s store) in(parts ...string) string {
	return filepath.Join(append([]string{s.cache, s.folder}, parts...)...)
}

func (s store) blob(hash string) string { return s.in("blobs", hash) }

func (s store) lockFile(hash string) string {
	return filepath.Join(s.cache, ".locks", s.folder, hash+".lock")
}

// path is where a file of a snapshot lies; name "" is the snapshot itself.
func (s store) path(commit, name string) string {
	return s.in("snapshots", commit, filepath.FromSlash(name))
}

// has reports whether the file is complete, in blobs or (as on systems without links) only in its snapshot.
func (s store) has(commit string, f file) bool {
	return isFile(s.blob(f.hash), f.size) || isFile(s.path(commit, f.name), f.size)
}

func isFile(path string, size int64) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() == size
}

// link makes a file of a snapshot point to its blob: a relative symbolic link, else a hard link, else a copy.
func (s store) link(commit string, f file) error {
	target, name := s.blob(f.hash), s.path(commit, f.name)
	if isFile(name, f.size) {
		if to, err := os.Readlink(name); err != nil || filepath.Base(to) == f.hash {
			return nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return diskFault(name, err)
	}
	rel, err := filepath.Rel(filepath.Dir(name), target)
	if err != nil {
		return diskFault(name, err)
	}
	fresh := freshName(name)
	os.Remove(fresh)
	if os.Symlink(rel, fresh) != nil && os.Link(target, fresh) != nil {
		if err := copyFile(fresh, target); err != nil {
			os.Remove(fresh)
			return diskFault(name, err)
		}
	}
	if err := os.Rename(fresh, name); err != nil {
		os.Remove(fresh)
		return diskFault(name, err)
	}
	return nil
}

func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		return err
	}
	return dst.Close()
}

var freshNames atomic.Int64

// freshName is beside name, and no other pull's, of this process or another.
func freshName(name string) string {
	return fmt.Sprintf("%s.%d-%d.new", name, os.Getpid(), freshNames.Add(1))
}

// setRef remembers the commit that a branch or tag means.
func (s store) setRef(revision, commit string) error {
	if revision == commit {
		return nil
	}
	name := s.in("refs", filepath.FromSlash(revision))
	if old, err := os.ReadFile(name); err == nil && string(old) == commit {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return diskFault(name, err)
	}
	if err := atomicfile.WriteBytes(name, []byte(commit)); err != nil {
		return diskFault(name, err)
	}
	return nil
}

// snapshot lists what the cache holds of a revision. Links to blobs that are gone do not count.
func (s store) snapshot(revision string) (commit string, files []file, err error) {
	commit = revision
	if !commitName.MatchString(revision) {
		data, err := os.ReadFile(s.in("refs", filepath.FromSlash(revision)))
		if err != nil {
			return "", nil, err
		}
		commit = strings.TrimSpace(string(data))
		if !commitName.MatchString(commit) {
			return "", nil, fmt.Errorf("refs/%s: not a commit", revision)
		}
	}
	root := s.in("snapshots", commit)
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		files = append(files, file{name: filepath.ToSlash(rel), size: info.Size()})
		return nil
	})
	return commit, files, err
}

// diskFault turns trouble with the cache folder into one line with a way out.
func diskFault(name string, err error) error {
	switch {
	case isFull(err):
		return &fault.Error{Kind: fault.OverBudget, Thing: name, Value: "the disk is full", WayOut: "free some space, or set HF_HOME to a folder on another disk; what has arrived is kept and the next pull goes on from there", Err: err}
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS):
		return &fault.Error{Kind: fault.BadInput, Thing: name, Value: "may not be written", WayOut: "set HF_HOME to a folder you may write to", Err: err}
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	return &fault.Error{Kind: fault.BadInput, Thing: name, Value: "cannot be written", WayOut: "set HF_HOME to another folder", Err: err}
}
