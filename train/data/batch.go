// This file deals batches: windows of the token file, in an order that a seed decides. It keeps no state between batches, so that a
// run goes on from its step number alone.
//
// The tokens are one stream, every document followed by end-of-text. A row of a batch is seq tokens of the stream; the target of a token
// is the one behind it. The end-of-text of a document is predicted from the document; what follows an end-of-text is another document
// and is not predicted from it: that target is Ignore. Positions start at 0 at the start of a row and behind every end-of-text, where
// Starts also tells attention to begin anew.

package data

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
	"os"

	"github.com/lowkeylm/lowkey/fault"
)

// Ignore is the target of a token that predicts nothing.
const Ignore = -100

// Side is the tokens of training or validation.
type Side struct {
	file   *os.File
	name   string
	width  int64
	tokens int64
	end    int32
	vocab  int
	sizes  []int32 // bytes of text by id
}

// Batch is rows of tokens one behind another: rows x seq of each of IDs, Targets and Pos.
type Batch struct {
	Rows, Seq    int
	IDs, Targets []int32 // Targets may be Ignore
	Pos          []int   // position within the document, from the start of the row
	Starts       []int   // where in IDs a document starts, ascending; every row starts one
	Counted      int     // targets that are not Ignore
	Bytes        int64   // of text that the counted targets stand for (end-of-text stands for none)
}

func openSide(path string, width int, tokens int64, end int32, vocab int, sizes []int32) (*Side, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.New(fault.BadFile, path, "cannot be read", "", "delete its folder").Because(err)
	}
	info, err := f.Stat()
	if err != nil || info.Size() != tokens*int64(width) {
		f.Close()
		return nil, fault.New(fault.BadFile, path, "not as long as tokens.json says", fmt.Sprint(tokens, " tokens of ", width, " bytes"), "delete its folder").Because(err)
	}
	return &Side{file: f, width: int64(width), tokens: tokens, end: end, vocab: vocab, sizes: sizes}, nil
}

// Tokens is the number of tokens, ends of texts included.
func (s *Side) Tokens() int64 { return s.tokens }

// windows is the number of rows of an epoch. An epoch starts up to seq-1 tokens into the stream, so that rows are cut elsewhere every
// time; a stream of less than 16 rows cannot spare that.
func (s *Side) windows(seq int) (n int64, shifts bool) {
	if shifted := (s.tokens - int64(seq)) / int64(seq); shifted >= 16 {
		return shifted, true
	}
	return (s.tokens - 1) / int64(seq), false
}

// Epoch is the number of rows of seq tokens that one pass over the side has.
func (s *Side) Epoch(seq int) int64 {
	n, _ := s.windows(seq)
	return n
}

// Batch gives the rows of a step: rows step*batch ... of the endless sequence of epochs, each of which deals every window once, in an
// order of its own. The same arguments give the same batch. Errors are *fault.Error: BadInput if there are fewer windows than rows.
func (s *Side) Batch(seed uint64, step, batch, seq int) (*Batch, error) {
	if step < 0 || batch < 1 || seq < 1 {
		return nil, fault.New(fault.BadInput, "batch", fmt.Sprintf("step %d, %d rows of %d tokens", step, batch, seq), "at least one row of one token", "")
	}
	n, shifts := s.windows(seq)
	if n < int64(batch) {
		return nil, fault.New(fault.BadInput, s.name, fmt.Sprintf("%d tokens", s.tokens), fmt.Sprintf("one batch of %d rows needs %d", batch, int64(batch)*int64(seq)+1),
			"give more data, or a smaller --batch or --seq")
	}
	b := newBatch(batch, seq)
	for r := range batch {
		row := int64(step)*int64(batch) + int64(r)
		epoch := uint64(row / n)
		at := permute(uint64(row%n), uint64(n), seed, epoch) * uint64(seq)
		if shifts {
			at += mix(seed^mix(epoch+1)) % uint64(seq)
		}
		if err := s.row(b, r, int64(at)); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Windows goes through the side in order, without overlap, up to limit tokens (0: all): batches of up to batch rows, the last one perhaps
// of fewer, of one row at least if there is a whole one. What is left at the end, less than a row, is not measured.
func (s *Side) Windows(batch, seq, limit int) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		n := (s.tokens - 1) / int64(seq)
		if limit > 0 {
			n = min(n, max(1, int64(limit/seq)))
		}
		for first := int64(0); first < n; first += int64(batch) {
			b := newBatch(int(min(int64(batch), n-first)), seq)
			for r := range b.Rows {
				if err := s.row(b, r, (first+int64(r))*int64(seq)); err != nil {
					yield(nil, err)
					return
				}
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}

func newBatch(rows, seq int) *Batch {
	n := rows * seq
	return &Batch{Rows: rows, Seq: seq, IDs: make([]int32, 0, n), Targets: make([]int32, 0, n), Pos: make([]int, 0, n)}
}

// row appends the row that starts at a token of the stream.
func (s *Side) row(b *Batch, r int, at int64) error {
	raw := make([]byte, int64(b.Seq+1)*s.width)
	if _, err := s.file.ReadAt(raw, at*s.width); err != nil {
		return fault.New(fault.BadFile, s.file.Name(), "cannot be read", "", "").Because(err)
	}
	id := func(i int) int32 {
		if s.width == 2 {
			return int32(binary.LittleEndian.Uint16(raw[2*i:]))
		}
		return int32(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	pos := 0
	for i := range b.Seq {
		token, target := id(i), id(i+1)
		if uint32(token) >= uint32(s.vocab) || uint32(target) >= uint32(s.vocab) {
			return fault.New(fault.BadFile, s.file.Name(), fmt.Sprintf("token %d", max(token, target)), fmt.Sprintf("the vocabulary has %d", s.vocab), "delete its folder")
		}
		if pos == 0 {
			b.Starts = append(b.Starts, len(b.IDs))
		}
		b.IDs = append(b.IDs, token)
		b.Pos = append(b.Pos, pos)
		pos++
		if token == s.end {
			target, pos = Ignore, 0
		} else {
			b.Counted++
			b.Bytes += int64(s.sizes[target])
		}
		b.Targets = append(b.Targets, target)
	}
	return nil
}

// permute gives the place of i in an order of 0 ... n-1 that seed and epoch decide: a Feistel network over the next even number of bits,
// walked until it lands below n. It needs no table.
func permute(i, n, seed, epoch uint64) uint64 {
	half := uint(bits.Len64(n-1)+1) / 2
	mask := uint64(1)<<half - 1
	key := mix(seed + mix(epoch))
	for {
		left, right := i>>half, i&mask
		for round := range uint64(6) {
			left, right = right, left^mix(right^mix(key+round))&mask
		}
		if i = left<<half | right; i < n {
			return i
		}
	}
}

// mix is the finaliser of SplitMix64: every bit of x moves every bit of the result.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
