package template

// An ordered JSON decoder: maps keep the order of their keys (a repeated key keeps its first place and its last value, as in Python), integers stay integers. It will not accept anything outside RFC 8259, nor lone surrogates.

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/lowkeylm/lowkey/fault"
)

// FromJSON decodes one JSON document into a template value. The error is a *fault.Error of kind BadInput with the byte offset.
func FromJSON(data []byte) (Value, error) {
	if !utf8.Valid(data) {
		return nil, fault.New(fault.BadInput, "JSON", "not valid UTF-8", "", "convert it to UTF-8 first")
	}
	d := &jsonReader{src: string(data)}
	d.space()
	v, err := d.value(0)
	if err == nil {
		d.space()
		if d.pos != len(d.src) {
			err = d.errorf("text after the value")
		}
	}
	if err != nil {
		return nil, fault.New(fault.BadInput, "JSON", err.Error(), "", "write messages as [{\"role\": \"user\", \"content\": \"Hello\"}]")
	}
	return v, nil
}

type jsonReader struct {
	src string
	pos int
}

func (d *jsonReader) errorf(format string, args ...any) error {
	return fmt.Errorf("at byte %d: %s", d.pos, fmt.Sprintf(format, args...))
}

func (d *jsonReader) space() {
	for d.pos < len(d.src) && strings.IndexByte(" \t\r\n", d.src[d.pos]) >= 0 {
		d.pos++
	}
}

// peek is the next byte, 0 at the end.
func (d *jsonReader) peek() byte {
	if d.pos < len(d.src) {
		return d.src[d.pos]
	}
	return 0
}

func (d *jsonReader) value(depth int) (Value, error) {
	if depth > maxValueDepth {
		return nil, d.errorf("values nest deeper than %d", maxValueDepth)
	}
	switch c := d.peek(); {
	case c == '{':
		return d.object(depth)
	case c == '[':
		return d.array(depth)
	case c == '"':
		return d.text()
	case c == '-' || c >= '0' && c <= '9':
		return d.number()
	}
	for _, word := range []struct {
		text  string
		value Value
	}{{"true", true}, {"false", false}, {"null", nil}} {
		if strings.HasPrefix(d.src[d.pos:], word.text) {
			d.pos += len(word.text)
			return word.value, nil
		}
	}
	if d.pos >= len(d.src) {
		return nil, d.errorf("a value is missing, the text ends")
	}
	return nil, d.errorf("a value is missing")
}

func (d *jsonReader) array(depth int) (Value, error) {
	d.pos++
	l := &List{}
	for d.space(); d.peek() != ']'; d.space() {
		if len(l.items) > 0 {
			if d.peek() != ',' {
				return nil, d.errorf("expected , or ]")
			}
			d.pos++
			d.space()
		}
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		l.items = append(l.items, v)
	}
	d.pos++
	return l, nil
}

func (d *jsonReader) object(depth int) (Value, error) {
	d.pos++
	m := NewDict()
	for first := true; ; first = false {
		d.space()
		if d.peek() == '}' {
			d.pos++
			return m, nil
		}
		if !first {
			if d.peek() != ',' {
				return nil, d.errorf("expected , or }")
			}
			d.pos++
			d.space()
		}
		if d.peek() != '"' {
			return nil, d.errorf("expected a key in quotes")
		}
		key, err := d.text()
		if err != nil {
			return nil, err
		}
		d.space()
		if d.peek() != ':' {
			return nil, d.errorf("expected :")
		}
		d.pos++
		d.space()
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		m.Set(key, v)
		d.space()
		if c := d.peek(); c != ',' && c != '}' {
			return nil, d.errorf("expected , or }")
		}
		if d.peek() == ',' {
			ahead := d.pos
			d.pos++
			d.space()
			if d.peek() == '}' {
				return nil, d.errorf("a comma before }")
			}
			d.pos = ahead
		}
	}
}

func (d *jsonReader) number() (Value, error) {
	start := d.pos
	digits := func() bool {
		from := d.pos
		for c := d.peek(); c >= '0' && c <= '9'; c = d.peek() {
			d.pos++
		}
		return d.pos > from
	}
	if d.peek() == '-' {
		d.pos++
	}
	if d.peek() == '0' {
		d.pos++
	} else if !digits() {
		return nil, d.errorf("a digit is missing")
	}
	if d.peek() == '.' {
		d.pos++
		if !digits() {
			return nil, d.errorf("a digit is missing")
		}
	}
	if c := d.peek(); c == 'e' || c == 'E' {
		d.pos++
		if c := d.peek(); c == '+' || c == '-' {
			d.pos++
		}
		if !digits() {
			return nil, d.errorf("a digit is missing")
		}
	}
	v, err := numberFromText(d.src[start:d.pos])
	if err != nil {
		return nil, d.errorf("%v", err)
	}
	return v, nil
}

// numberFromText reads a JSON number: an integer where it has neither fraction nor exponent, else a float (infinite where it is too large, as in Python).
func numberFromText(s string) (Value, error) {
	if !strings.ContainsAny(s, ".eE") {
		if i, err := strconv.ParseInt(s, 10, 64); err == nil {
			return i, nil
		}
		if len(s) > 4300 { // Python's own bound on the digits of an integer
			return nil, fmt.Errorf("an integer of %d digits; at most 4300 are read", len(s))
		}
		b, ok := new(big.Int).SetString(s, 10)
		if !ok {
			return nil, fmt.Errorf("%q is no number", s)
		}
		return b, nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return nil, fmt.Errorf("%q is no number", s)
	}
	return f, nil
}

func (d *jsonReader) text() (string, error) {
	d.pos++
	start := d.pos
	for d.pos < len(d.src) && d.src[d.pos] != '"' && d.src[d.pos] != '\\' && d.src[d.pos] >= 0x20 {
		d.pos++
	}
	if d.peek() == '"' {
		d.pos++
		return d.src[start : d.pos-1], nil
	}
	var b strings.Builder
	b.WriteString(d.src[start:d.pos])
	for d.pos < len(d.src) {
		c := d.src[d.pos]
		switch {
		case c == '"':
			d.pos++
			return b.String(), nil
		case c < 0x20:
			return "", d.errorf("a control character inside a string")
		case c != '\\':
			b.WriteByte(c)
			d.pos++
			continue
		}
		if d.pos+1 >= len(d.src) {
			break
		}
		d.pos += 2
		switch e := d.src[d.pos-1]; e {
		case '"', '\\', '/':
			b.WriteByte(e)
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			c, err := d.hex4()
			if err != nil {
				return "", err
			}
			if utf16.IsSurrogate(c) {
				var low rune
				if strings.HasPrefix(d.src[d.pos:], `\u`) {
					d.pos += 2
					if low, err = d.hex4(); err != nil {
						return "", err
					}
				}
				if c = utf16.DecodeRune(c, low); c == utf8.RuneError {
					return "", d.errorf("half of a surrogate pair")
				}
			}
			b.WriteRune(c)
		default:
			return "", d.errorf("unknown escape \\%c", e)
		}
	}
	return "", d.errorf("a string does not end")
}

func (d *jsonReader) hex4() (rune, error) {
	if d.pos+4 > len(d.src) {
		return 0, d.errorf("a string does not end")
	}
	n, err := strconv.ParseUint(d.src[d.pos:d.pos+4], 16, 32)
	if err != nil {
		return 0, d.errorf("bad \\u escape")
	}
	d.pos += 4
	return rune(n), nil
}
