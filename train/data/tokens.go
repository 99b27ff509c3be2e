// This file tokenises a corpus once, into a folder that lies ready for the next run:
//
//	train.ids, valid.ids   token ids, little-endian, two bytes each (four for vocabularies above 65536); every document ends with end-of-text
//	tokens.json            what they are made from, and their sizes; written last, so a folder with it is complete
//
// The folder's name is a hash of the corpus' manifest and the tokenizer. It is made beside its place and renamed.

package data

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/tokenizer"
)

// Set is a tokenised corpus with its two sides open for reading. Any number of goroutines may read it.
type Set struct {
	Corpus       *Corpus
	Train, Valid *Side
	Folder       string // of the token files

	end int32
}

// Progress hears how many bytes of how many are tokenised. It may be nil.
type Progress func(done, all int64)

// tokensVersion changes when the same corpus and tokenizer would give other files.
const tokensVersion = 1

// manifest is tokens.json.
type manifest struct {
	Version   int       `json:"version"`
	Corpus    string    `json:"corpus"`
	Manifest  string    `json:"manifest"`
	Tokenizer string    `json:"tokenizer"` // hash
	Width     int       `json:"bytes_per_id"`
	End       int32     `json:"end_of_text"`
	Sides     [2]counts `json:"sides"` // training, validation
}

type counts struct {
	Tokens int64 `json:"tokens"` // with one end-of-text a document
	Count
}

var sideFiles = [2]string{"train.ids", "valid.ids"}

// Open finds a corpus and opens its tokens; where they are not yet in dir it tokenises first. dir "" is the user's cache folder.
// Errors are *fault.Error, or the context's.
func Open(ctx context.Context, spec Spec, t *tokenizer.Tokenizer, dir string, progress Progress) (*Set, error) {
	c, err := Find(spec)
	if err != nil {
		return nil, err
	}
	return c.Open(ctx, t, dir, progress)
}

// Open is Open for a corpus at hand.
func (c *Corpus) Open(ctx context.Context, t *tokenizer.Tokenizer, dir string, progress Progress) (*Set, error) {
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fault.New(fault.BadInput, "cache folder", "none", "token files need a place", "set XDG_CACHE_HOME or HOME").Because(err)
		}
		dir = filepath.Join(cache, "lowkey", "tokens")
	}
	end, err := endOfText(t)
	if err != nil {
		return nil, err
	}
	m := manifest{Version: tokensVersion, Corpus: c.Name, Manifest: c.Manifest, Width: 2, End: end}
	if t.Vocab() > 1<<16 {
		m.Width = 4
	}
	if m.Tokenizer, err = c.fingerprint(t); err != nil {
		return nil, err
	}
	key := sha256.Sum256(fmt.Append(nil, m.Version, m.Manifest, m.Tokenizer, c.border))
	folder := filepath.Join(dir, hex.EncodeToString(key[:10]))
	if s, err := c.open(folder, t, m); s != nil || err != nil {
		return s, err
	}
	if err := c.tokenise(ctx, folder, t, m, progress); err != nil {
		return nil, err
	}
	s, err := c.open(folder, t, m)
	if s == nil && err == nil {
		err = fault.New(fault.BadFile, folder, "not what was just written", "", "delete the folder, check the disk")
	}
	return s, err
}

// endOfText is the token between documents.
func endOfText(t *tokenizer.Tokenizer) (int32, error) {
	if end := t.EOS(); end >= 0 {
		return end, nil
	}
	if end, ok := t.ID(tokenizer.EndOfText); ok {
		return end, nil
	}
	return 0, fault.New(fault.BadInput, "tokenizer", "no end-of-text token", "it stands between documents", "add "+tokenizer.EndOfText+", or make one with lowkey tokenizer train")
}

// fingerprint tells tokenizers apart: by all their tokens, and by how they cut the start of this corpus.
func (c *Corpus) fingerprint(t *tokenizer.Tokenizer) (string, error) {
	sum := sha256.New()
	for id := range t.Vocab() {
		text, special := t.Token(int32(id))
		fmt.Fprintf(sum, "%q %v\n", text, special)
	}
	left := 256 << 10
	enough := errors.New("enough")
	err := c.Each(func(p Part) error {
		_ = binary.Write(sum, binary.LittleEndian, t.Encode(p.Text, tokenizer.EncodeOptions{}))
		if left -= len(p.Text); left <= 0 {
			return enough
		}
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// open opens a complete folder; both results are nil where there is none.
func (c *Corpus) open(folder string, t *tokenizer.Tokenizer, want manifest) (*Set, error) {
	raw, err := os.ReadFile(filepath.Join(folder, "tokens.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var m manifest
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil {
		return nil, fault.New(fault.BadFile, folder, "tokens.json cannot be read", "", "delete the folder").Because(err)
	}
	sides := m.Sides
	m.Sides = want.Sides
	want.Corpus = m.Corpus // the same files under another path are the same corpus
	if m != want {
		return nil, fault.New(fault.Mismatch, folder, "made from another corpus or tokenizer", "", "delete the folder")
	}
	s := &Set{Corpus: c, Folder: folder, end: m.End}
	sizes := tokenSizes(t)
	for k, side := range []**Side{&s.Train, &s.Valid} {
		if *side, err = openSide(filepath.Join(folder, sideFiles[k]), m.Width, sides[k].Tokens, m.End, t.Vocab(), sizes); err != nil {
			s.Close()
			return nil, err
		}
		(*side).name = c.Name + [2]string{", training side", ", validation side"}[k]
	}
	return s, nil
}

// tokenSizes gives the bytes of text that each token stands for; none for special tokens.
func tokenSizes(t *tokenizer.Tokenizer) []int32 {
	sizes := make([]int32, t.Vocab())
	for id := range sizes {
		if text, special := t.Token(int32(id)); !special {
			sizes[id] = int32(len(text))
		}
	}
	return sizes
}

func (c *Corpus) tokenise(ctx context.Context, folder string, t *tokenizer.Tokenizer, m manifest, progress Progress) (err error) {
	temp := fmt.Sprintf("%s.%s.part", folder, rand.Text()[:10])
	defer func() {
		if err == nil {
			return
		}
		os.RemoveAll(temp)
		var known *fault.Error
		if !errors.As(err, &known) && ctx.Err() == nil {
			wayOut := ""
			if errors.Is(err, syscall.ENOSPC) {
				wayOut = "free some space"
			}
			err = fault.New(fault.BadInput, folder, "token files cannot be written", fmt.Sprintf("some %d MB are needed", c.Bytes()*int64(m.Width)/3e6+1), wayOut).Because(err)
		}
	}()
	if err := os.MkdirAll(temp, 0o777); err != nil {
		return err
	}
	var out [2]*idWriter
	for k, name := range sideFiles {
		f, err := os.Create(filepath.Join(temp, name))
		if err != nil {
			return err
		}
		defer f.Close() // what counts is the Close in finish
		out[k] = &idWriter{file: f, w: bufio.NewWriterSize(f, 1<<18), width: m.Width}
	}
	var ids []int32
	done := int64(0)
	err = c.Each(func(p Part) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		side := 0
		if p.Valid {
			side = 1
		}
		ids = t.AppendEncode(ids[:0], p.Text, tokenizer.EncodeOptions{})
		if p.End {
			ids = append(ids, m.End)
		}
		m.Sides[side].Tokens += int64(len(ids))
		m.Sides[side].add(p)
		if done += int64(len(p.Text)); progress != nil {
			progress(done, c.Bytes())
		}
		return out[side].write(ids)
	})
	if err != nil {
		return err
	}
	if m.Sides[0].Count != c.Train || m.Sides[1].Count != c.Valid {
		return fault.New(fault.Mismatch, c.Name, "changed while it was read", "a corpus must hold still", "start again")
	}
	for _, w := range out {
		if err := w.finish(); err != nil {
			return err
		}
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := writeSynced(filepath.Join(temp, "tokens.json"), append(raw, '\n')); err != nil {
		return err
	}
	if err := os.Rename(temp, folder); err != nil {
		if _, e := os.Stat(filepath.Join(folder, "tokens.json")); e != nil {
			return err
		}
		os.RemoveAll(temp) // another process was quicker, with the same files
	}
	return nil
}

func writeSynced(path string, content []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := &idWriter{file: f, w: bufio.NewWriter(f)}
	if _, err := w.w.Write(content); err != nil {
		f.Close()
		return err
	}
	return w.finish()
}

// idWriter writes ids to a file.
type idWriter struct {
	file  *os.File
	w     *bufio.Writer
	width int
	buf   []byte
}

func (w *idWriter) write(ids []int32) error {
	w.buf = w.buf[:0]
	for _, id := range ids {
		if w.width == 2 {
			w.buf = binary.LittleEndian.AppendUint16(w.buf, uint16(id))
		} else {
			w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(id))
		}
	}
	_, err := w.w.Write(w.buf)
	return err
}

// finish makes sure that everything is on the disk.
func (w *idWriter) finish() error {
	err := w.w.Flush()
	if err == nil {
		err = w.file.Sync()
	}
	if e := w.file.Close(); err == nil {
		err = e
	}
	return err
}

// EndOfText is the token behind every document.
func (s *Set) EndOfText() int { return int(s.end) }

// Manifest is the corpus' identity.
func (s *Set) Manifest() string { return s.Corpus.Manifest }

// Close closes the token files.
func (s *Set) Close() error {
	var all []error
	for _, side := range []*Side{s.Train, s.Valid} {
		if side != nil {
			all = append(all, side.file.Close())
		}
	}
	return errors.Join(all...)
}
