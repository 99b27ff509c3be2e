// This file holds the vocabulary: the bytes and the kind of every token, and a hash table from bytes to ids that is built in a
// few milliseconds for a quarter of a million tokens. It knows nothing of merges or scores.

package tokenizer

import (
	"hash/maphash"
	"math/bits"
)

// kind is what a token is for.
type kind uint8

const (
	normal      kind = iota
	unknown          // stands for what the vocabulary cannot say
	control          // steers the model: start, end, roles; parsed from text only where special tokens are asked for
	userDefined      // matched in every text before anything else
	unused
	byteToken // one byte of a text, written <0x0A>
)

// vocab maps ids to bytes and kinds. It is not changed after loading.
type vocab struct {
	text []string // by id: the bytes that the token stands for, as they appear in the text that the model cuts
	kind []kind   // by id
	own  []bool   // by id: the model may make it from plain text; the others are only matched as added tokens, or are bytes
	ids  stringTable
}

// id gives the token whose bytes are s, among those that the model may make from plain text.
func (v *vocab) id(s string) (int32, bool) { return v.ids.get(s) }

// stringTable is an open-addressing hash table from strings to ids. A slot holds the upper half of the hash and id + 1, so
// that almost every miss is seen without reading a string.
type stringTable struct {
	seed  maphash.Seed
	slots []uint64
	text  []string // shared with the owner
	n     int
}

func newStringTable(text []string, n int) stringTable {
	size := 1 << bits.Len(uint(max(n, 4)*2-1))
	return stringTable{seed: maphash.MakeSeed(), slots: make([]uint64, size), text: text}
}

// put adds text[id]; the id that came first stays if the string is there already, and put says false.
func (t *stringTable) put(id int32) bool {
	s := t.text[id]
	h := maphash.String(t.seed, s)
	mask := uint64(len(t.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		slot := t.slots[i]
		if slot == 0 {
			t.slots[i] = h&^0xffffffff | uint64(id+1)
			t.n++
			return true
		}
		if (slot^h)>>32 == 0 && t.text[uint32(slot)-1] == s {
			return false
		}
	}
}

func (t *stringTable) get(s string) (int32, bool) {
	if t.n == 0 {
		return 0, false
	}
	h := maphash.String(t.seed, s)
	mask := uint64(len(t.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		slot := t.slots[i]
		if slot == 0 {
			return 0, false
		}
		if (slot^h)>>32 == 0 {
			if id := uint32(slot) - 1; t.text[id] == s {
				return int32(id), true
			}
		}
	}
}

// getBytes is get for bytes, without making a string of them.
func (t *stringTable) getBytes(s []byte) (int32, bool) {
	h := maphash.Bytes(t.seed, s)
	mask := uint64(len(t.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		slot := t.slots[i]
		if slot == 0 {
			return 0, false
		}
		if (slot^h)>>32 == 0 {
			if id := uint32(slot) - 1; t.text[id] == string(s) {
				return int32(id), true
			}
		}
	}
}

// byteAlphabet is GPT-2's way to write bytes as printable characters: every byte has one code point below U+0144.
// letters[b] is the code point of byte b; bytes[r] the byte of code point r, or -1.
var byteAlphabet = func() (a struct {
	letters [256]rune
	bytes   [0x144]int16
}) {
	for r := range a.bytes {
		a.bytes[r] = -1
	}
	next := rune(0x100)
	for b := range 256 {
		r := rune(b)
		if b < 0x21 || b > 0x7e && b < 0xa1 || b == 0xad {
			r = next
			next++
		}
		a.letters[b] = r
		a.bytes[r] = int16(b)
	}
	return a
}()

// appendBytes appends the bytes that s spells in GPT-2's alphabet; ok is false if s has a character outside it.
func appendBytes(dst []byte, s string) (out []byte, ok bool) {
	base := len(dst)
	for _, r := range s {
		if r < 0 || int(r) >= len(byteAlphabet.bytes) || byteAlphabet.bytes[r] < 0 {
			return dst[:base], false
		}
		dst = append(dst, byte(byteAlphabet.bytes[r]))
	}
	return dst, true
}

// hexByte reads the text of a byte token, <0x0A>.
func hexByte(s string) (byte, bool) {
	if len(s) != 6 || s[:3] != "<0x" || s[5] != '>' {
		return 0, false
	}
	hi, ok1 := hexDigit(s[3])
	lo, ok2 := hexDigit(s[4])
	return hi<<4 | lo, ok1 && ok2
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
