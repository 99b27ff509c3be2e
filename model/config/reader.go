package config

// reader: checked access to the fields of a config.json object. The first error sticks; later reads return their default, so callers check once at the end.

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
)

// Limits on what a file may claim. They are far above every published model and low enough that no product of three of them overflows int64.
const (
	maxWidth   = 1 << 20 // hidden width, head width, ranks
	maxHeads   = 1 << 14
	maxLayers  = 4096
	maxFFN     = 1 << 22
	maxVocab   = 1 << 24
	maxTokens  = 1 << 40 // context lengths and windows
	maxExperts = 1 << 16
	maxStreams = 64
	maxFloat   = 1e30
	minFloat   = 1e-30 // of a number that must be above zero: it may be divided by
)

type reader struct {
	name   string // what the messages call the file
	prefix string // "text_config." within a nested object
	fields map[string]json.RawMessage
	err    *error // shared with nested readers
}

// newReader decodes one JSON object.
func newReader(data []byte, name string) *reader {
	var err error
	r := &reader{name: name, err: &err}
	if e := json.Unmarshal(data, &r.fields); e != nil {
		err = fault.New(fault.BadFile, name, "not a JSON object", "", "fetch or write it again").Because(e)
	} else if r.fields == nil {
		err = fault.New(fault.BadFile, name, "null", "a JSON object is needed", "fetch the file again")
	}
	return r
}

func (r *reader) fail(key, value, limit string) {
	if *r.err == nil {
		if len(value) > 80 {
			value = value[:77] + "..."
		}
		*r.err = fault.New(fault.BadFile, r.name+": "+r.prefix+key, strings.ToValidUTF8(value, "?"), limit, "correct it there, or fetch the file again")
	}
}

// raw gives a field that is present and not null.
func (r *reader) raw(key string) (json.RawMessage, bool) {
	v, ok := r.fields[key]
	if !ok || bytes.Equal(bytes.TrimSpace(v), []byte("null")) {
		return nil, false
	}
	return v, true
}

func (r *reader) has(key string) bool { _, ok := r.raw(key); return ok }

// number decodes a JSON number or fails.
func (r *reader) number(key string, raw json.RawMessage) (float64, bool) {
	var n json.Number
	if err := json.Unmarshal(raw, &n); err != nil || bytes.HasPrefix(bytes.TrimSpace(raw), []byte(`"`)) {
		r.fail(key, string(raw), "must be a number")
		return 0, false
	}
	f, err := n.Float64()
	if err != nil || math.Abs(f) > maxFloat {
		r.fail(key, n.String(), fmt.Sprintf("must be within +-%g", maxFloat))
		return 0, false
	}
	return f, true
}

func (r *reader) inRange(key string, raw json.RawMessage, low, high int) (int, bool) {
	f, ok := r.number(key, raw)
	if !ok {
		return 0, false
	}
	if f != math.Trunc(f) || f < float64(low) || f > float64(high) {
		r.fail(key, string(raw), fmt.Sprintf("must be a whole number from %d to %d", low, high))
		return 0, false
	}
	return int(f), true
}

// intIn gives a whole number in [low, high], or def where the field is absent or null.
func (r *reader) intIn(key string, def, low, high int) int {
	raw, ok := r.raw(key)
	if !ok {
		return def
	}
	if n, ok := r.inRange(key, raw, low, high); ok {
		return n
	}
	return def
}

// size is intIn for a size that may be absent: from 1.
func (r *reader) size(key string, def, high int) int { return r.intIn(key, def, 1, high) }

// need is size for one that may not be absent.
func (r *reader) need(key string, high int) int {
	if !r.has(key) {
		r.fail(key, "missing", fmt.Sprintf("must be a whole number from 1 to %d", high))
		return 1
	}
	return r.size(key, 1, high)
}

func (r *reader) float(key string, def float64) float64 {
	raw, ok := r.raw(key)
	if !ok {
		return def
	}
	if f, ok := r.number(key, raw); ok {
		return f
	}
	return def
}

// positive is float for a number above zero.
func (r *reader) positive(key string, def float64) float64 {
	f := r.float(key, def)
	if r.has(key) && !(f >= minFloat) {
		r.fail(key, string(r.fields[key]), "must be above 0")
		return def
	}
	return f
}

// fraction is float for a number in [0, 1].
func (r *reader) fraction(key string, def float64) float64 {
	f := r.float(key, def)
	if f < 0 || f > 1 {
		r.fail(key, string(r.fields[key]), "must be from 0 to 1")
		return def
	}
	return f
}

func (r *reader) bool(key string, def bool) bool {
	raw, ok := r.raw(key)
	if !ok {
		return def
	}
	var b bool
	if json.Unmarshal(raw, &b) != nil {
		r.fail(key, string(raw), "must be true or false")
		return def
	}
	return b
}

func (r *reader) text(key, def string) string {
	raw, ok := r.raw(key)
	if !ok {
		return def
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		r.fail(key, string(raw), "must be a string")
		return def
	}
	return s
}

func (r *reader) list(key string) []json.RawMessage {
	raw, ok := r.raw(key)
	if !ok {
		return nil
	}
	var l []json.RawMessage
	if json.Unmarshal(raw, &l) != nil {
		r.fail(key, string(raw), "must be a list")
	}
	return l
}

func (r *reader) texts(key string) []string {
	var out []string
	for i, raw := range r.list(key) {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			r.fail(fmt.Sprintf("%s[%d]", key, i), string(raw), "must be a string")
			return nil
		}
		out = append(out, s)
	}
	return out
}

// ints gives a list of whole numbers in [low, high]; a single number counts as a list of one.
func (r *reader) ints(key string, low, high int) []int {
	raw, ok := r.raw(key)
	if !ok {
		return nil
	}
	if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")) {
		if n, ok := r.inRange(key, raw, low, high); ok {
			return []int{n}
		}
		return nil
	}
	var out []int
	for i, raw := range r.list(key) {
		n, ok := r.inRange(fmt.Sprintf("%s[%d]", key, i), raw, low, high)
		if !ok {
			return nil
		}
		out = append(out, n)
	}
	return out
}

// positives gives a list of numbers above zero.
func (r *reader) positives(key string) []float64 {
	return r.numbers(key, "must be above 0", func(f float64) bool { return f >= minFloat })
}

// shares gives a list of numbers from 0 to below 1; a single number counts as a list of one.
func (r *reader) shares(key string) []float64 {
	if raw, ok := r.raw(key); ok && !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("[")) {
		f := r.fraction(key, 0)
		if f == 1 {
			r.fail(key, string(raw), "must be below 1")
		}
		return []float64{f}
	}
	return r.numbers(key, "must be from 0 to below 1", func(f float64) bool { return f >= 0 && f < 1 })
}

func (r *reader) numbers(key, limit string, good func(float64) bool) []float64 {
	var out []float64
	for i, raw := range r.list(key) {
		at := fmt.Sprintf("%s[%d]", key, i)
		f, ok := r.number(at, raw)
		if ok && !good(f) {
			r.fail(at, string(raw), limit)
			ok = false
		}
		if !ok {
			return nil
		}
		out = append(out, f)
	}
	return out
}

// object gives a nested object, nil if absent.
func (r *reader) object(key string) *reader {
	raw, ok := r.raw(key)
	if !ok {
		return nil
	}
	sub := &reader{name: r.name, prefix: r.prefix + key + ".", err: r.err}
	if json.Unmarshal(raw, &sub.fields) != nil {
		r.fail(key, string(raw), "must be an object")
		return nil
	}
	return sub
}
