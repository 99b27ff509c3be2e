// This file turns ids back into text: whole lists at once, or one by one as a model makes them, without ever cutting a UTF-8
// character in two.

package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// Decode gives the text of ids, special tokens written out. Ids outside the vocabulary add nothing. The text is not valid
// UTF-8 where the tokens are not.
func (t *Tokenizer) Decode(ids []int32) string { return t.decode(ids, true) }

// DecodePlain is Decode without the special tokens.
func (t *Tokenizer) DecodePlain(ids []int32) string { return t.decode(ids, false) }

func (t *Tokenizer) decode(ids []int32, special bool) string {
	out := make([]byte, 0, 4*len(ids))
	some := false
	for _, id := range ids {
		if uint32(id) >= uint32(len(t.voc.text)) || !special && t.special(id) {
			continue
		}
		if some {
			out = append(out, t.between...)
		}
		some = true
		out = t.appendToken(out, id)
	}
	s := string(out)
	for range t.stripHead {
		s = strings.TrimPrefix(s, " ")
	}
	return s
}

// appendToken appends the bytes of one token; id is inside the vocabulary.
func (t *Tokenizer) appendToken(out []byte, id int32) []byte {
	s := t.voc.text[id]
	switch t.voc.kind[id] {
	case byteToken:
		if b, ok := hexByte(s); ok {
			return append(out, b)
		}
	case normal, unused:
		if t.spaceMark {
			return appendSpaces(out, s)
		}
	}
	return append(out, s...)
}

const spaceMark = "▁" // U+2581

// appendSpaces appends s with every U+2581 as a space.
func appendSpaces(out []byte, s string) []byte {
	for {
		before, after, found := strings.Cut(s, spaceMark)
		out = append(out, before...)
		if !found {
			return out
		}
		out = append(out, ' ')
		s = after
	}
}

// A Stream decodes tokens one by one. What it returns is always whole UTF-8 characters: bytes of a character that is not yet
// complete wait for the next token, bytes that can be no character come out as U+FFFD. The zero value is not usable; it is not
// safe for concurrent use.
type Stream struct {
	t           *Tokenizer
	wait        []byte
	some        bool
	SkipSpecial bool // special tokens add nothing
}

// NewStream starts a stream in the middle of a text: a leading space of the first token is kept.
func (t *Tokenizer) NewStream() *Stream { return &Stream{t: t} }

// Add gives the characters that id completes, often none.
func (s *Stream) Add(id int32) string {
	if uint32(id) >= uint32(len(s.t.voc.text)) || s.SkipSpecial && s.t.special(id) {
		return ""
	}
	if s.some {
		s.wait = append(s.wait, s.t.between...)
	}
	s.some = true
	s.wait = s.t.appendToken(s.wait, id)
	n := wholeRunes(s.wait)
	out := replaceInvalid(s.wait[:n])
	s.wait = append(s.wait[:0], s.wait[n:]...)
	return out
}

// Flush gives what waits for bytes that never came, as U+FFFD, and empties the stream.
func (s *Stream) Flush() string {
	out := replaceInvalid(s.wait)
	s.wait = s.wait[:0]
	return out
}

// wholeRunes gives the length of b without an incomplete character at its end.
func wholeRunes(b []byte) int {
	for back := 1; back <= 3 && back <= len(b); back++ {
		c := b[len(b)-back]
		if utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-back:]) {
				return len(b) - back
			}
			break
		}
	}
	return len(b)
}

// replaceInvalid makes every byte that is not part of a character U+FFFD.
func replaceInvalid(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return string([]rune(string(b)))
}
