// This file reads JSON step by step, for the two huge members of a tokenizer.json (vocabulary and merges) that encoding/json
// would take seconds for. It checks what it reads; it does not decode into Go structures.

package tokenizer

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

var errJSON = errors.New("malformed JSON")

// jsonScanner stands at a place in a JSON text.
type jsonScanner struct {
	s   string
	i   int
	buf []byte
}

// space skips white space and gives the byte that follows, 0 at the end.
func (j *jsonScanner) space() byte {
	for j.i < len(j.s) {
		switch c := j.s[j.i]; c {
		case ' ', '\n', '\t', '\r':
			j.i++
		default:
			return c
		}
	}
	return 0
}

// take reads the byte c after white space.
func (j *jsonScanner) take(c byte) bool {
	if j.space() != c {
		return false
	}
	j.i++
	return true
}

// object calls f for every member, standing at its value; f must read the value.
func (j *jsonScanner) object(f func(key string) error) error {
	if !j.take('{') {
		return errJSON
	}
	if j.take('}') {
		return nil
	}
	for {
		key, err := j.string()
		if err != nil {
			return err
		}
		if !j.take(':') {
			return errJSON
		}
		if err := f(key); err != nil {
			return err
		}
		if j.take('}') {
			return nil
		}
		if !j.take(',') {
			return errJSON
		}
	}
}

// array calls f for every element, standing at it; f must read it.
func (j *jsonScanner) array(f func() error) error {
	if !j.take('[') {
		return errJSON
	}
	if j.take(']') {
		return nil
	}
	for {
		if err := f(); err != nil {
			return err
		}
		if j.take(']') {
			return nil
		}
		if !j.take(',') {
			return errJSON
		}
	}
}

// string reads a string. Without escapes it shares the memory of the text.
func (j *jsonScanner) string() (string, error) {
	if !j.take('"') {
		return "", errJSON
	}
	start := j.i
	for j.i < len(j.s) {
		switch c := j.s[j.i]; {
		case c == '"':
			j.i++
			return j.s[start : j.i-1], nil
		case c == '\\':
			return j.escaped(start)
		case c < ' ':
			return "", errJSON
		}
		j.i++
	}
	return "", errJSON
}

// escaped reads the rest of a string whose first escape is at hand.
func (j *jsonScanner) escaped(start int) (string, error) {
	out := append(j.buf[:0], j.s[start:j.i]...)
	for j.i < len(j.s) {
		c := j.s[j.i]
		j.i++
		switch {
		case c == '"':
			j.buf = out
			return string(out), nil
		case c < ' ':
			return "", errJSON
		case c != '\\':
			out = append(out, c)
			continue
		}
		if j.i >= len(j.s) {
			return "", errJSON
		}
		c = j.s[j.i]
		j.i++
		if k := strings.IndexByte(`"\/bfnrt`, c); k >= 0 {
			out = append(out, "\"\\/\b\f\n\r\t"[k])
			continue
		}
		if c != 'u' {
			return "", errJSON
		}
		r, ok := j.hex4()
		if !ok {
			return "", errJSON
		}
		if utf16.IsSurrogate(r) {
			r2 := rune(utf8.RuneError)
			if strings.HasPrefix(j.s[j.i:], `\u`) {
				mark := j.i
				j.i += 2
				if r2, ok = j.hex4(); !ok {
					return "", errJSON
				}
				if utf16.DecodeRune(r, r2) == utf8.RuneError {
					j.i = mark
				}
			}
			r = utf16.DecodeRune(r, r2)
		}
		out = utf8.AppendRune(out, r)
	}
	return "", errJSON
}

func (j *jsonScanner) hex4() (rune, bool) {
	if j.i+4 > len(j.s) {
		return 0, false
	}
	v, err := strconv.ParseUint(j.s[j.i:j.i+4], 16, 16)
	j.i += 4
	return rune(v), err == nil
}

// number gives the text of a number.
func (j *jsonScanner) number() (string, error) {
	j.space()
	start := j.i
	for j.i < len(j.s) && strings.IndexByte("+-.eE0123456789", j.s[j.i]) >= 0 {
		j.i++
	}
	if j.i == start {
		return "", errJSON
	}
	return j.s[start:j.i], nil
}

// raw skips a value of any kind and gives its text.
func (j *jsonScanner) raw() (string, error) {
	j.space()
	start := j.i
	depth := 0
	for {
		switch c := j.space(); c {
		case '{', '[':
			depth++
			j.i++
		case '}', ']':
			depth--
			j.i++
		case ',', ':':
			if depth == 0 {
				return "", errJSON
			}
			j.i++
		case '"':
			if _, err := j.string(); err != nil {
				return "", err
			}
		case 0:
			return "", errJSON
		default: // a number, true, false or null; whoever reads the text checks it
			from := j.i
			for j.i < len(j.s) && strings.IndexByte(" \n\t\r,:]}[{\"", j.s[j.i]) < 0 {
				j.i++
			}
			if j.i == from {
				return "", errJSON
			}
		}
		if depth < 0 {
			return "", errJSON
		}
		if depth == 0 {
			return j.s[start:j.i], nil
		}
	}
}
