// Package data turns text into batches of token ids: it finds a corpus (Go's own sources, a folder, a file of text, JSONL), splits it
// into training and validation, tokenises it once into a file, and deals windows of that file in an order that a seed decides.
//
// Memory does not grow with the text: a folder costs its list of files, the rest is read piece by piece. It will not download anything,
// clean text, or mix corpora.
package data

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math"
	"os"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
)

// Spec says which corpus.
type Spec struct {
	Source    string  `json:"source"`               // "go", a folder, a file of text, or a .jsonl file
	TextField string  `json:"text_field,omitempty"` // the member of a JSONL line that holds the text; "" for "text"
	Valid     float64 `json:"valid,omitempty"`      // share of the documents held out, by hash; 0 for 0.025
}

// Count is the size of one side of a corpus.
type Count struct {
	Documents int   `json:"documents"`
	Bytes     int64 `json:"bytes"`
}

// Corpus is a found corpus: counted, split, its identity known; not yet tokenised.
type Corpus struct {
	Name         string // "go1.26.8 sources", or the path
	Manifest     string // SHA-256 in hex over the sorted paths and contents
	Train, Valid Count
	Verbatim     float64  // share of validation's 3-line windows that stand in the training side too; -1: not measured
	Notes        []string // what a person should know: what was skipped, dropped, or differs from the pinned corpus

	source source
	border uint64 // a document is held out if the hash of its key is not above this
}

// Part is a piece of a document, at most about 1 MiB.
type Part struct {
	Name  string // of the document
	Text  string
	Valid bool // held out
	End   bool // the document ends here
}

// source is one way to keep documents.
type source interface {
	// parts goes through all text in a fixed order. Where valid is nil nothing is held out.
	parts(valid func(key uint64) bool, yield func(p Part, key uint64) error) error
}

const defaultValid = 0.025

// Find looks a corpus up: it reads all of it once, counts, hashes and splits. Errors are *fault.Error.
func Find(spec Spec) (*Corpus, error) {
	if spec.Valid == 0 {
		spec.Valid = defaultValid
	}
	if !(spec.Valid > 0 && spec.Valid <= 0.5) {
		return nil, fault.New(fault.BadInput, "validation share", fmt.Sprint(spec.Valid), "above 0, at most 0.5", "use 0.025")
	}
	if spec.Source == "" {
		return nil, fault.New(fault.BadInput, "--data", "missing", "", "give go, a folder, a file of text, or a .jsonl file")
	}
	if spec.Source == "go" {
		root, err := goRoot()
		if err != nil {
			return nil, err
		}
		return findGo(root, spec.Valid)
	}
	info, err := os.Stat(spec.Source)
	if err != nil {
		return nil, fault.New(fault.BadInput, "--data "+spec.Source, "cannot be read", "", "give go, a folder, a file of text, or a .jsonl file").Because(err)
	}
	c := &Corpus{Name: spec.Source, Verbatim: -1}
	switch {
	case info.IsDir():
		return c, c.findFolder(spec.Source, spec.Valid)
	case !info.Mode().IsRegular():
		return nil, fault.New(fault.BadInput, "--data "+spec.Source, "neither a folder nor a plain file", "the text is read more than once", "save it to a file first")
	case strings.HasSuffix(strings.ToLower(spec.Source), ".jsonl"):
		field := spec.TextField
		if field == "" {
			field = "text"
		}
		c.source = &jsonLines{spec.Source, field}
	default:
		c.source = &textFile{spec.Source, info.Size()}
	}
	return c, c.count(spec.Valid)
}

// count reads a corpus for the first time: its manifest, and where to split.
func (c *Corpus) count(share float64) error {
	sum := sha256.New()
	c.border = border(share)
	low, documents := uint64(math.MaxUint64), 0
	err := c.source.parts(nil, func(p Part, key uint64) error {
		writeHashed(sum, []byte(p.Text))
		low = min(low, key)
		p.End = true // blocks of one file become documents only by the split
		if key <= c.border {
			c.Valid.add(p)
		} else {
			c.Train.add(p)
		}
		documents++
		return nil
	})
	if err != nil {
		return err
	}
	c.Manifest = hex.EncodeToString(sum.Sum(nil))
	if c.Bytes() == 0 {
		return empty(c.Name)
	}
	if documents < 2 {
		return tooSmall(c.Name, "one document")
	}
	// A corpus of few documents may fall on one side as a whole: then the one with the lowest hash is held out.
	if c.Valid.Documents == 0 || c.Train.Documents == 0 {
		c.border = low
	}
	c.Train, c.Valid = Count{}, Count{}
	err = c.Each(func(p Part) error {
		if p.Valid {
			c.Valid.add(p)
		} else {
			c.Train.add(p)
		}
		return nil
	})
	if err == nil && c.Train.Documents == 0 {
		err = tooSmall(c.Name, "all documents are equal")
	}
	return err
}

func (n *Count) add(p Part) {
	n.Bytes += int64(len(p.Text))
	if p.End {
		n.Documents++
	}
}

// Each goes through the corpus in its fixed order.
func (c *Corpus) Each(yield func(Part) error) error {
	return c.source.parts(func(key uint64) bool { return key <= c.border }, func(p Part, _ uint64) error { return yield(p) })
}

// Bytes is the size of both sides.
func (c *Corpus) Bytes() int64 { return c.Train.Bytes + c.Valid.Bytes }

// Lines describes the corpus, a line each.
func (c *Corpus) Lines() []string {
	lines := []string{
		fmt.Sprintf("%s: training %d documents, %.2f MB; validation %d documents, %.2f MB", c.Name, c.Train.Documents, float64(c.Train.Bytes)/1e6, c.Valid.Documents, float64(c.Valid.Bytes)/1e6),
		"manifest " + c.Manifest,
	}
	if c.Verbatim >= 0 {
		lines = append(lines, fmt.Sprintf("%.1f %% of the validation side's 3-line windows stand verbatim in the training side", 100*c.Verbatim))
	}
	return append(lines, c.Notes...)
}

// border is the highest hash of a held-out document.
func border(share float64) uint64 { return uint64(share * (1 << 63) * 2) }

// keyOf is the hash that decides the side of a document.
func keyOf(text string) uint64 {
	sum := sha256.Sum256([]byte(text))
	return binary.BigEndian.Uint64(sum[:])
}

// writeHashed adds a text to a sum so that borders between texts count.
func writeHashed(sum hash.Hash, text []byte) {
	inner := sha256.Sum256(text)
	sum.Write(inner[:])
}

func empty(name string) error {
	return fault.New(fault.BadInput, name, "no text", "a corpus needs some text", "empty and binary files are skipped; give files of UTF-8 text")
}

func tooSmall(name, value string) error {
	return fault.New(fault.BadInput, name, value, "training and validation need one each", "give more text")
}
