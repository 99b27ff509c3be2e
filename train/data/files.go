// This file reads plain text: a folder with one document a file, or one file cut into blocks. It knows nothing of formats.

package data

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/lowkeylm/lowkey/fault"
)

const maxPart = 1 << 20 // bytes of a part

// folder is a list of files of text, each a document.
type folder struct {
	root  string
	files []file
}

type file struct {
	name string // path below the root, with slashes
	key  uint64 // decides the side
}

// findFolder lists the files of text below root. Hidden files and folders, links and binary files are skipped.
func (c *Corpus) findFolder(root string, share float64) error {
	f := &folder{root: root}
	binary := 0
	sum := sha256.New()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return fault.New(fault.BadInput, path, "cannot be read", "", "see that it exists and may be read").Because(err)
		}
		if path != root && strings.HasPrefix(e.Name(), ".") {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !e.Type().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		one := sha256.New()
		size := 0
		err = textParts(path, func(text string, _ bool) error {
			size += len(text)
			one.Write([]byte(text))
			return nil
		})
		if errors.Is(err, errBinary) {
			binary++
			return nil
		}
		if err != nil || size == 0 {
			return err
		}
		writeHashed(sum, []byte(name))
		sum.Write(one.Sum(nil))
		f.files = append(f.files, file{name, keyOf(name)})
		return nil
	})
	if err != nil {
		return err
	}
	if binary > 0 {
		c.Notes = append(c.Notes, fmt.Sprintf("%d binary files skipped", binary))
	}
	if len(f.files) == 1 { // no second document to hold out, so blocks of this one are
		path := filepath.Join(root, filepath.FromSlash(f.files[0].name))
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		c.source = &textFile{path, info.Size()}
		return c.count(share)
	}
	c.source = f
	if err := c.count(share); err != nil {
		return err
	}
	c.Manifest = hex.EncodeToString(sum.Sum(nil))
	return nil
}

func (f *folder) parts(valid func(uint64) bool, yield func(Part, uint64) error) error {
	for _, file := range f.files {
		err := textParts(filepath.Join(f.root, filepath.FromSlash(file.name)), func(text string, end bool) error {
			return yield(Part{Name: file.name, Text: text, Valid: valid != nil && valid(file.key), End: end}, file.key)
		})
		if errors.Is(err, errBinary) {
			return fault.New(fault.Mismatch, filepath.Join(f.root, file.name), "changed while it was read", "a corpus must hold still", "start again")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// textFile is one file of text, cut at line ends into blocks; a block is held out by its hash. Blocks of one side that follow each
// other are one document.
type textFile struct {
	path string
	size int64
}

// block is the size to aim at: some 200 blocks, of 1 to 64 KiB.
func (f *textFile) block() int { return int(min(max(f.size/200, 1<<10), 64<<10)) }

func (f *textFile) parts(valid func(uint64) bool, yield func(Part, uint64) error) error {
	var held Part // the block before: whether its document ends is known when the next one is
	var heldKey uint64
	blocks := 0
	give := func(end bool) error {
		if blocks == 0 {
			return nil
		}
		held.End = end
		return yield(held, heldKey)
	}
	block := func(text string) error {
		key := keyOf(text)
		out := valid != nil && valid(key)
		if err := give(out != held.Valid); err != nil {
			return err
		}
		blocks++
		held, heldKey = Part{Name: fmt.Sprintf("%s block %d", f.path, blocks), Text: text, Valid: out}, key
		return nil
	}
	size := f.block()
	err := textParts(f.path, func(text string, _ bool) error {
		for len(text) > 0 {
			n := len(text)
			if n > size+size/2 {
				n = cutAt([]byte(text[:size]))
			}
			if err := block(text[:n]); err != nil {
				return err
			}
			text = text[n:]
		}
		return nil
	})
	if errors.Is(err, errBinary) {
		return fault.New(fault.BadInput, f.path, "binary", "training text is UTF-8 without zero bytes", "give a file of text; iconv converts other encodings")
	}
	if err != nil {
		return err
	}
	return give(true)
}

var errBinary = errors.New("binary")

// textParts reads a file in parts of at most maxPart bytes, cut where cutAt says. end marks the last one; an empty file has none. The
// error is errBinary where a zero byte or invalid UTF-8 comes up.
func textParts(path string, yield func(text string, end bool) error) error {
	in, err := os.Open(path)
	if err != nil {
		return fault.New(fault.BadInput, path, "cannot be read", "", "see that it exists and may be read").Because(err)
	}
	defer in.Close()
	return readParts(in, path, yield)
}

func readParts(in io.Reader, name string, yield func(text string, end bool) error) error {
	buf := make([]byte, 0, 64<<10)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)] // grows, up to what follows
		}
		n, err := in.Read(buf[len(buf):min(cap(buf), maxPart+1)])
		buf = buf[:len(buf)+n]
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return fault.New(fault.BadInput, name, "cannot be read", "", "see that it exists and may be read").Because(err)
		}
		cut := len(buf)
		if !end {
			if len(buf) <= maxPart {
				continue
			}
			cut = cutAt(buf[:maxPart])
		}
		text := buf[:cut]
		if bytes.IndexByte(text, 0) >= 0 || !utf8.Valid(text) {
			return errBinary
		}
		if cut > 0 {
			if err := yield(string(text), end); err != nil {
				return err
			}
		}
		if end {
			return nil
		}
		buf = append(buf[:0], buf[cut:]...)
	}
}

// cutAt gives a good place to cut a text that goes on: before the last run of newlines, so that newlines and the indentation behind
// them stay together; else between two characters. It is never 0 for a text of 8 bytes and more.
func cutAt(text []byte) int {
	for i := bytes.LastIndexByte(text, '\n'); i > 0; i = bytes.LastIndexByte(text[:i], '\n') {
		if c := text[i-1]; c != '\n' && c != '\r' {
			return i
		}
	}
	i := len(text)
	for k := 1; k < utf8.UTFMax && i-k > 0; k++ {
		if utf8.RuneStart(text[i-k]) {
			if !utf8.FullRune(text[i-k:]) {
				return i - k
			}
			break
		}
	}
	return i
}
