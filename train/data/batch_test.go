package data

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// stream is a side whose token i is i, but for an end-of-text behind every documents-th token.
func stream(t *testing.T, n, document int) (*Side, []int32) {
	t.Helper()
	const end = 60000
	ids := make([]int32, n)
	raw := make([]byte, 0, 2*n)
	sizes := make([]int32, end+1)
	for i := range ids {
		ids[i] = int32(i)
		sizes[i] = int32(i%5 + 1)
		if document > 0 && i%document == document-1 {
			ids[i] = end
		}
		raw = binary.LittleEndian.AppendUint16(raw, uint16(ids[i]))
	}
	path := filepath.Join(t.TempDir(), "ids")
	if err := os.WriteFile(path, raw, 0o666); err != nil {
		t.Fatal(err)
	}
	s, err := openSide(path, 2, int64(n), end, end+1, sizes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.file.Close() })
	return s, ids
}

// TestEpochs deals every window exactly once an epoch, and the epochs in different orders.
func TestEpochs(t *testing.T) {
	for _, c := range []struct{ tokens, batch, seq int }{{5000, 7, 16}, {4097, 1, 16}, {300, 3, 20}, {101, 4, 25}, {9999, 5, 3}} {
		s, ids := stream(t, c.tokens, 0)
		n := int(s.Epoch(c.seq))
		if n*c.seq > c.tokens-1 || (n+2)*c.seq < c.tokens-1 {
			t.Errorf("%+v: %d windows", c, n)
		}
		var orders [][]int32
		var row int
		for range 3 {
			var order []int32
			for range n {
				b, err := s.Batch(42, row/c.batch, c.batch, c.seq)
				if err != nil {
					t.Fatal(err)
				}
				ids := b.IDs[row%c.batch*c.seq:][:c.seq]
				order = append(order, ids[0])
				row++
			}
			sorted := slices.Sorted(slices.Values(order))
			for k := range sorted {
				if int(sorted[k]-sorted[0]) != k*c.seq {
					t.Fatalf("%+v: window %d of an epoch starts at %d, the first at %d", c, k, sorted[k], sorted[0])
				}
			}
			if sorted[0] >= int32(c.seq) || int(sorted[n-1])+c.seq > len(ids)-1 {
				t.Fatalf("%+v: windows start at %d ... %d", c, sorted[0], sorted[n-1])
			}
			orders = append(orders, order)
		}
		if n > 10 && (slices.Equal(orders[0], orders[1]) || slices.Equal(orders[1], orders[2]) || slices.IsSorted(orders[0])) {
			t.Errorf("%+v: the order is no shuffle", c)
		}
	}
}

// TestBatch checks every field against the definition, token by token.
func TestBatch(t *testing.T) {
	const document, seq, rows = 37, 50, 4
	s, ids := stream(t, 3000, document)
	for step := range 20 {
		b, err := s.Batch(7, step, rows, seq)
		if err != nil {
			t.Fatal(err)
		}
		if again, _ := s.Batch(7, step, rows, seq); !reflect.DeepEqual(b, again) {
			t.Fatal("the same step gave another batch")
		}
		if other, _ := s.Batch(8, step, rows, seq); slices.Equal(b.IDs, other.IDs) {
			t.Error("another seed gave the same batch")
		}
		checkBatch(t, s, b, ids)
	}
	tokens := 0
	for b, err := range s.Windows(rows, seq, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if at := slices.Index(ids, b.IDs[0]); b.IDs[0] != s.end && at != tokens {
			t.Errorf("validation goes on at %d, not at %d", at, tokens)
		}
		tokens += len(b.IDs)
		checkBatch(t, s, b, ids)
	}
	if tokens != 2999/seq*seq {
		t.Errorf("%d tokens of %d measured", tokens, len(ids))
	}
	tokens = 0
	for b := range s.Windows(rows, seq, 10*seq+3) {
		tokens += len(b.IDs)
	}
	if tokens != 10*seq {
		t.Errorf("%d tokens measured, limit %d", tokens, 10*seq+3)
	}
}

func checkBatch(t *testing.T, s *Side, b *Batch, ids []int32) {
	t.Helper()
	n := b.Rows * b.Seq
	if len(b.IDs) != n || len(b.Targets) != n || len(b.Pos) != n {
		t.Fatalf("%d ids, %d targets, %d positions for %d x %d", len(b.IDs), len(b.Targets), len(b.Pos), b.Rows, b.Seq)
	}
	counted, size := 0, int64(0)
	var starts []int
	for i, id := range b.IDs {
		fresh := i%b.Seq == 0 || b.IDs[i-1] == s.end
		if fresh {
			starts = append(starts, i)
			if b.Pos[i] != 0 {
				t.Errorf("a document starts at position %d", b.Pos[i])
			}
		} else if b.Pos[i] != b.Pos[i-1]+1 {
			t.Errorf("position %d follows %d", b.Pos[i], b.Pos[i-1])
		}
		if id == s.end {
			if b.Targets[i] != Ignore {
				t.Errorf("token %d of the next document is predicted from an end-of-text", b.Targets[i])
			}
			continue
		}
		counted++
		if want := ids[id+1]; b.Targets[i] != want { // token i of the stream is i where it is no end
			t.Errorf("target of %d is %d, want %d", id, b.Targets[i], want)
		} else if want != s.end {
			size += int64(want%5 + 1)
		}
	}
	if !slices.Equal(starts, b.Starts) || counted != b.Counted || size != b.Bytes {
		t.Errorf("starts %v, want %v; %d counted, want %d; %d bytes, want %d", b.Starts, starts, b.Counted, counted, b.Bytes, size)
	}
}

func TestTooSmall(t *testing.T) {
	s, _ := stream(t, 100, 0)
	if _, err := s.Batch(1, 0, 4, 25); !fault.Is(err, fault.BadInput) {
		t.Errorf("100 tokens for 4 x 25 and one target: %v", err)
	}
	if _, err := s.Batch(1, 0, 3, 33); err != nil {
		t.Errorf("100 tokens for 3 x 33 and one target: %v", err)
	}
	for _, c := range [][3]int{{-1, 1, 1}, {0, 0, 1}, {0, 1, 0}} {
		if _, err := s.Batch(1, c[0], c[1], c[2]); !fault.Is(err, fault.BadInput) {
			t.Errorf("%v: %v", c, err)
		}
	}
	for b, err := range s.Windows(4, 1000, 0) {
		t.Errorf("a window of 1000 of 100 tokens: %v, %v", b, err)
	}
}

func TestPermute(t *testing.T) {
	for _, n := range []uint64{1, 2, 3, 5, 16, 17, 100, 1023, 4097} {
		seen := make([]bool, n)
		for i := range n {
			at := permute(i, n, 3, 4)
			if seen[at] {
				t.Fatalf("n = %d: %d twice", n, at)
			}
			seen[at] = true
		}
	}
}

// TestBytesAreText sums the bytes of all targets: with the first tokens of the documents they are the corpus.
func TestBytesAreText(t *testing.T) {
	c, err := findGo(fakeGo(t), 0.1)
	if err != nil {
		t.Fatal(err)
	}
	tok := testTokenizer(t, 400)
	s, err := c.Open(context.Background(), tok, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n := int(s.Valid.Tokens())
	for b, err := range s.Valid.Windows(1, n-1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		first := int64(0)
		for _, at := range b.Starts {
			text, _ := tok.Token(b.IDs[at])
			first += int64(len(text))
		}
		if b.Bytes+first != c.Valid.Bytes || len(b.Starts) != c.Valid.Documents || b.Counted != n-c.Valid.Documents {
			t.Errorf("%d + %d bytes of %d, %d documents of %d, %d targets of %d tokens", b.Bytes, first, c.Valid.Bytes, len(b.Starts), c.Valid.Documents, b.Counted, n)
		}
	}
}

func FuzzJSONL(f *testing.F) {
	f.Add("{\"text\": \"a\"}\n\n{\"text\": \"\\ud83d\\ude00\", \"n\": [1]}")
	f.Add("{\"text\": 1}")
	f.Add("\x00\xff{")
	f.Fuzz(func(t *testing.T, text string) {
		last := 0
		err := eachLine(strings.NewReader(text), "x", "text", func(line int, text string) error {
			if line <= last || text == "" {
				return fmt.Errorf("line %d after %d: %q", line, last, text)
			}
			last = line
			return nil
		})
		if err != nil && !fault.Is(err, fault.BadFile) {
			t.Error(err)
		}
	})
}

// FuzzParts cuts any text into parts that are together the text, however the reader hands it out.
func FuzzParts(f *testing.F) {
	f.Add("a\n\n\tb\r\nc", 5)
	f.Add("größer ☃", 3)
	f.Fuzz(func(t *testing.T, text string, size int) {
		size = 8 + size&0xff
		back := ""
		for rest := text; rest != ""; {
			n := len(rest)
			if n > size {
				if n = cutAt([]byte(rest[:size])); n <= 0 || n > size {
					t.Fatalf("%q cut at %d", rest[:size], n)
				}
			}
			if strings.ToValidUTF8(text, "") == text && strings.ToValidUTF8(rest[:n], "") != rest[:n] {
				t.Fatalf("%q cut inside of a character, at %d", rest, n)
			}
			back += rest[:n]
			rest = rest[n:]
		}
		if back != text {
			t.Error("lost text")
		}
	})
}
