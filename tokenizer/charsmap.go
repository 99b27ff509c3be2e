// This file applies SentencePiece's precompiled character map: a double-array trie from byte sequences to their normalised
// spelling, as stored in unigram models (T5, XLM-R). The longest entry at each place is replaced. It does not build such maps.

package tokenizer

import (
	"encoding/binary"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
)

// charsmap is a trie of packed units and the strings that its leaves point to, each ended by a zero byte.
type charsmap struct {
	units []uint32
	texts string
}

// newCharsmap reads the blob: its first four bytes give the size of the trie in bytes (little endian), the trie follows, then
// the strings.
func newCharsmap(blob []byte) (*charsmap, error) {
	bad := func(what string) error {
		return fault.New(fault.BadFile, "precompiled_charsmap", what, "a size, a trie and its strings", "download the file again")
	}
	if len(blob) < 4 {
		return nil, bad("truncated")
	}
	size := int64(binary.LittleEndian.Uint32(blob))
	if size%4 != 0 || size > int64(len(blob)-4) || size == 0 {
		return nil, bad("wrong size of the trie")
	}
	m := &charsmap{units: make([]uint32, size/4), texts: string(blob[4+size:])}
	for i := range m.units {
		m.units[i] = binary.LittleEndian.Uint32(blob[4+4*i:])
	}
	return m, nil
}

// longest gives the length of the longest entry at the start of s and its replacement; 0 if there is none.
// A unit holds: bits 0-7 the label (with bit 31), bit 8 whether a value follows, bits 10-30 the offset, bit 9 its scale; a
// value unit has bit 31 set and the place of its string below.
func (m *charsmap) longest(s string) (n int, text string) {
	offset := func(u uint32) uint32 { return u >> 10 << (u & (1 << 9) >> 6) }
	pos := offset(m.units[0])
	for i := range len(s) {
		c := uint32(s[i])
		if c == 0 {
			break
		}
		pos ^= c
		if pos >= uint32(len(m.units)) {
			break
		}
		u := m.units[pos]
		if u&(1<<31|0xff) != c {
			break
		}
		pos ^= offset(u)
		if pos >= uint32(len(m.units)) {
			break
		}
		if u>>8&1 != 0 {
			at := m.units[pos] &^ (1 << 31)
			if int64(at) < int64(len(m.texts)) {
				out, _, _ := strings.Cut(m.texts[at:], "\x00")
				n, text = i+1, out
			}
		}
	}
	return n, text
}

func (m *charsmap) normalize(s string, _ place) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		if n, text := m.longest(s[i:]); n > 0 {
			b.WriteString(text)
			i += n
			continue
		}
		n := runeLen(s, i)
		b.WriteString(s[i : i+n])
		i += n
	}
	return b.String()
}
