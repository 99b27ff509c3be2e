package hub

// This file fetches one blob after the other into the cache: resumes, checks, renames. It will not choose what to fetch.

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/internal/filelock"
)

// download fetches every file that the cache lacks, after checking that the disk has room for all of them.
func (p *puller) download(ctx context.Context, commit string, files []file) error {
	if err := os.MkdirAll(p.store.in("blobs"), 0o755); err != nil {
		return diskFault(p.store.in("blobs"), err)
	}
	var need int64
	for _, f := range files {
		p.allTotal += f.size
		if p.store.has(commit, f) {
			continue
		}
		need += f.size
		if info, err := os.Stat(p.store.blob(f.hash) + ".incomplete"); err == nil && info.Size() <= f.size {
			need -= info.Size()
		}
	}
	if free, err := p.free(p.store.cache); err == nil && need > free {
		return fault.New(fault.OverBudget, p.repo, bytesText(need)+" still to fetch", p.store.cache+" has "+bytesText(free)+" free", "free some space, or set HF_HOME to a folder on another disk")
	}
	for _, f := range files {
		if !p.store.has(commit, f) {
			if err := p.fetch(ctx, commit, f); err != nil {
				return err
			}
		}
		p.report(f, f.size)
		p.allDone += f.size
	}
	return nil
}

func (p *puller) report(f file, done int64) {
	p.progress(Progress{File: f.name, Done: done, Total: f.size, AllDone: p.allDone + done, AllTotal: p.allTotal})
}

// fetch makes one blob whole. Only one process at a time works on a blob.
func (p *puller) fetch(ctx context.Context, commit string, f file) error {
	unlock, err := lock(ctx, p.store.lockFile(f.hash), func() {
		p.progress(Progress{File: f.name, Note: printable(f.name) + ": another process is fetching it; waiting"})
	})
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("pull %s: %w", p.repo, ctx.Err())
		}
		return diskFault(p.store.lockFile(f.hash), err)
	}
	defer unlock()
	if p.store.has(commit, f) { // the other process was done first
		return nil
	}
	blob := p.store.blob(f.hash)
	part, err := openPartial(blob+".incomplete", f)
	if err != nil {
		return diskFault(blob+".incomplete", err)
	}
	defer part.file.Close()
	address := p.address(commit, f.name)
	err = p.retry(ctx, f.name, fileTries, func() int64 { return part.high }, func() error { return p.attempt(ctx, address, f, part) })
	if err != nil {
		return p.lost(f.name, err)
	}
	if err := errors.Join(part.file.Sync(), part.file.Close()); err != nil {
		return diskFault(part.file.Name(), err)
	}
	if err := os.Rename(part.file.Name(), blob); err != nil {
		return diskFault(blob, err)
	}
	return nil
}

// partial is a file on its way, with the hash of what it holds.
type partial struct {
	file  *os.File
	f     file
	n     int64 // bytes in the file, all of them in sum
	sum   hash.Hash
	high  int64  // the largest n so far
	etag  string // strong validator of the server's copy, once known
	mixed bool   // the bytes came in more than one answer
	again bool   // a mixed file was wrong and fetched anew
}

// openPartial goes on from what an earlier try left.
func openPartial(name string, f file) (*partial, error) {
	h, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	p := &partial{file: h, f: f}
	p.start()
	info, err := h.Stat()
	if err == nil && info.Size() > f.size {
		err = p.reset()
	} else if err == nil {
		p.n, err = io.Copy(p.sum, h)
		p.mixed = p.n > 0
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	p.high = p.n
	return p, nil
}

// start begins the hash anew: SHA-256 for large files, git's SHA-1 over a header and the content for others.
func (p *partial) start() {
	if len(p.f.hash) == sha256.Size*2 {
		p.sum = sha256.New()
	} else {
		p.sum = sha1.New()
		fmt.Fprintf(p.sum, "blob %d\x00", p.f.size)
	}
	p.n, p.mixed, p.etag = 0, false, ""
}

func (p *partial) reset() error {
	p.start()
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return p.file.Truncate(0)
}

func (p *partial) write(b []byte) error {
	n, err := p.file.Write(b)
	p.sum.Write(b[:n])
	p.n += int64(n)
	p.high = max(p.high, p.n)
	return err
}

// attempt asks once for what is missing, and checks the whole when it has arrived.
func (p *puller) attempt(ctx context.Context, address string, f file, part *partial) error {
	if part.n < f.size {
		if err := p.receive(ctx, address, f, part); err != nil {
			return err
		}
	}
	got := hex.EncodeToString(part.sum.Sum(nil))
	if got == f.hash {
		return nil
	}
	if part.mixed && !part.again { // the pieces may be of different origin: once more, from the start
		if err := part.reset(); err != nil {
			return diskFault(part.file.Name(), err)
		}
		part.again = true
		p.progress(Progress{File: f.name, Note: printable(f.name) + ": the pieces do not make the right whole; fetching it anew"})
		return p.attempt(ctx, address, f, part)
	}
	part.discard()
	return fault.New(fault.BadFile, p.repo+" "+printable(f.name), "its hash is "+got, "the hub names "+f.hash, "the bytes were damaged on the way and are removed: pull again, without the proxy or mirror if it happens twice")
}

// discard removes a file that is of no use. Where open files cannot be removed it is at least empty.
func (p *partial) discard() {
	if p.reset() == nil && p.file.Close() == nil {
		os.Remove(p.file.Name())
	}
}

// receive appends to the partial file what one answer brings.
func (p *puller) receive(ctx context.Context, address string, f file, part *partial) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := errors.New("no byte came for " + p.stall.String())
	dead := time.AfterFunc(p.stall, func() { cancel(stalled) })
	defer dead.Stop()

	headers := map[string]string{}
	if part.n > 0 {
		headers["Range"] = fmt.Sprintf("bytes=%d-", part.n)
		if part.etag != "" { // else the hash of the whole is the validator
			headers["If-Range"] = part.etag
		}
	}
	resp, err := p.web.do(ctx, p.web.client, http.MethodGet, address, headers)
	if context.Cause(ctx) == stalled {
		err = &temporary{err: stalled}
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()

	start := int64(0)
	switch resp.StatusCode {
	case http.StatusOK:
		if resp.ContentLength >= 0 && resp.ContentLength != f.size {
			return p.wrongSize(f, bytesOf(resp.ContentLength))
		}
	case http.StatusPartialContent:
		var end int64
		if n, _ := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/", &start, &end); n != 2 || start != part.n {
			if err := part.reset(); err != nil {
				return diskFault(part.file.Name(), err)
			}
			return &temporary{err: fmt.Errorf("the server sent range %.60q", resp.Header.Get("Content-Range"))}
		}
	case http.StatusRequestedRangeNotSatisfiable:
		if err := part.reset(); err != nil {
			return diskFault(part.file.Name(), err)
		}
		return &temporary{err: errors.New("the server refused to continue the file")}
	default:
		return p.refusal(resp, f.name)
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return fault.New(fault.BadFile, p.repo+" "+printable(f.name), "sent with encoding "+printable(e), "it was asked for as it is", "pull without the proxy that compresses it")
	}
	if start == 0 && part.n > 0 { // the server sends the whole again
		if err := part.reset(); err != nil {
			return diskFault(part.file.Name(), err)
		}
	}
	part.mixed = part.n > 0
	if tag := resp.Header.Get("ETag"); strings.HasPrefix(tag, `"`) {
		part.etag = tag
	}
	p.report(f, part.n)
	buf := make([]byte, 256<<10)
	for {
		n, err := resp.Body.Read(buf)
		dead.Reset(p.stall)
		if int64(n) > f.size-part.n {
			part.discard()
			return p.wrongSize(f, "more than "+bytesOf(f.size))
		}
		if werr := part.write(buf[:n]); werr != nil {
			return diskFault(part.file.Name(), werr)
		}
		if n > 0 {
			p.report(f, part.n)
		}
		if err != nil && part.n < f.size {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			if context.Cause(ctx) == stalled {
				err = stalled
			}
			return &temporary{err: fmt.Errorf("the connection ended at %s of %s (%w)", bytesText(part.n), bytesText(f.size), err)}
		}
		if err != nil { // the end, or trouble after the last byte: the hash decides
			return nil
		}
	}
}

func (p *puller) wrongSize(f file, got string) error {
	return fault.New(fault.BadFile, p.repo+" "+printable(f.name), "the server sends "+got, "the hub names "+bytesOf(f.size), "pull again, without the proxy or mirror if it happens twice")
}

func bytesOf(n int64) string { return fmt.Sprintf("%d bytes", n) }

// lock holds a lock file, so that two processes do not write one blob. Where the file system has no locks it goes on without: the hash check still stands.
func lock(ctx context.Context, name string, waiting func()) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		f, held, err := filelock.Try(name)
		if f == nil {
			return nil, err
		}
		if held || err != nil {
			return func() { f.Close() }, nil
		}
		f.Close()
		if first {
			waiting()
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
}
