// This file reads the header of a safetensors file and proves that its tensors tile the data exactly.

package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/lowkeylm/lowkey/fault"
)

const (
	maxHeader   = 100_000_000 // bytes; the reference implementation's limit
	metadataKey = "__metadata__"
	maxInt      = math.MaxInt
)

// Parse reads a file's bytes; tensors share data. Errors are *fault.Error: BadFile for what the format forbids,
// Unsupported for an element type not known here.
func Parse(data []byte) (*File, error) { return parse("safetensors file", data) }

// parse is Parse with the name that errors give to the file.
func parse(thing string, data []byte) (*File, error) {
	p := &parser{thing: thing}
	header, body, err := p.split(data)
	if err != nil {
		return nil, err
	}
	f := &File{entries: map[string]entry{}}
	if err := p.header(f, header, body); err != nil {
		return nil, err
	}
	for name, e := range f.entries {
		e.offset += len(data) - len(body)
		f.entries[name] = e
		f.names = append(f.names, name)
	}
	sort.Strings(f.names)
	return f, nil
}

type parser struct {
	thing string
	json  *json.Decoder
}

func (p *parser) bad(value, limit string) error {
	return fault.New(fault.BadFile, p.thing, value, limit, "download or convert it again")
}

// split cuts the file into header and data.
func (p *parser) split(data []byte) (header, body []byte, err error) {
	if len(data) < 8 {
		return nil, nil, p.bad(fmt.Sprintf("%d bytes", len(data)), "a safetensors file starts with 8 bytes of header length")
	}
	n := binary.LittleEndian.Uint64(data)
	rest := data[8:]
	if n > maxHeader {
		return nil, nil, p.bad(fmt.Sprintf("header of %d bytes", n), fmt.Sprintf("at most %d are allowed", maxHeader))
	}
	if n > uint64(len(rest)) {
		return nil, nil, p.bad(fmt.Sprintf("header of %d bytes", n), fmt.Sprintf("the file has %d left", len(rest)))
	}
	header, body = rest[:n], rest[n:]
	if n == 0 || header[0] != '{' {
		return nil, nil, p.bad(fmt.Sprintf("header begins with %q", header[:min(n, 8)]), "it must begin with '{'")
	}
	// Both checks come before decoding, which would mend bad UTF-8 and is loose about what follows the object.
	if !utf8.Valid(header) || !json.Valid(header) {
		return nil, nil, p.bad("the header is not valid JSON", "")
	}
	return header, body, nil
}

// span is where a tensor says its bytes are.
type span struct {
	name       string
	begin, end uint64
}

func (p *parser) header(f *File, header, body []byte) error {
	p.json = json.NewDecoder(bytes.NewReader(header))
	p.json.UseNumber()
	var spans []span
	seenMetadata := false
	err := p.object("the header", func(name string) error {
		if name == metadataKey {
			if seenMetadata {
				return p.bad(metadataKey+" appears twice", "")
			}
			seenMetadata = true
			return p.metadata(f)
		}
		if why := badName(name); why != "" {
			return p.bad(fmt.Sprintf("tensor name %q", clip(name)), why)
		}
		if _, twice := f.entries[name]; twice {
			return p.bad(fmt.Sprintf("tensor %q appears twice", clip(name)), "")
		}
		t, s, err := p.tensor(name, uint64(len(body)))
		if err != nil {
			return err
		}
		t.Data = body[s.begin:s.end:s.end]
		f.entries[name] = entry{Tensor: t, offset: int(s.begin)}
		spans = append(spans, s)
		return nil
	})
	if err != nil {
		return err
	}
	return p.tile(spans, uint64(len(body)))
}

// tile checks that the spans cover all bytes once: no holes, no overlaps, nothing after the last.
func (p *parser) tile(spans []span, size uint64) error {
	sort.Slice(spans, func(a, b int) bool {
		if spans[a].begin != spans[b].begin {
			return spans[a].begin < spans[b].begin
		}
		return spans[a].end < spans[b].end
	})
	at := uint64(0)
	for _, s := range spans {
		if s.begin != at {
			return p.bad(fmt.Sprintf("tensor %q begins at byte %d of the data", clip(s.name), s.begin), fmt.Sprintf("byte %d is the next: holes and overlaps are not allowed", at))
		}
		at = s.end
	}
	if at != size {
		return p.bad(fmt.Sprintf("%d bytes of data belong to no tensor", size-at), "holes are not allowed")
	}
	return nil
}

func (p *parser) metadata(f *File) error {
	f.Metadata = map[string]string{}
	return p.object(metadataKey, func(key string) error {
		if _, twice := f.Metadata[key]; twice {
			return p.bad(fmt.Sprintf("%s key %q appears twice", metadataKey, clip(key)), "")
		}
		value, err := p.text(metadataKey + " " + strconv.Quote(clip(key)))
		f.Metadata[key] = value
		return err
	})
}

// tensor reads one entry and checks it by itself. Fields that the format does not name are skipped.
func (p *parser) tensor(name string, size uint64) (Tensor, span, error) {
	t := Tensor{Name: name, Shape: []int{}}
	what := fmt.Sprintf("tensor %q", clip(name))
	var dims, offsets []uint64
	var dtype string
	seen := map[string]bool{}
	err := p.object(what, func(field string) (err error) {
		if seen[field] {
			return p.bad(fmt.Sprintf("%s gives %q twice", what, clip(field)), "")
		}
		seen[field] = true
		switch field {
		case "dtype":
			dtype, err = p.text(what + " dtype")
		case "shape":
			dims, err = p.numbers(what + " shape")
		case "data_offsets":
			offsets, err = p.numbers(what + " data_offsets")
		default:
			err = p.skip()
		}
		return err
	})
	if err != nil {
		return t, span{}, err
	}
	for _, field := range []string{"dtype", "shape", "data_offsets"} {
		if !seen[field] {
			return t, span{}, p.bad(fmt.Sprintf("%s has no %q", what, field), "")
		}
	}
	t.DType = DType(dtype)
	if t.DType.Size() == 0 {
		return t, span{}, fault.New(fault.Unsupported, p.thing, fmt.Sprintf("%s has dtype %q", what, clip(dtype)), "this version does not know that type", "convert it to F32, F16 or BF16")
	}
	if len(offsets) != 2 || offsets[0] > offsets[1] || offsets[1] > size {
		return t, span{}, p.bad(fmt.Sprintf("%s has data_offsets %v", what, clip(fmt.Sprint(offsets))), fmt.Sprintf("begin and end within %d bytes are needed", size))
	}
	for _, d := range dims {
		if d > maxInt {
			return t, span{}, p.bad(fmt.Sprintf("%s has a dimension of %d", what, d), "")
		}
		t.Shape = append(t.Shape, int(d))
	}
	if want, ok := byteSize(t.DType, t.Shape); !ok || uint64(want) != offsets[1]-offsets[0] {
		return t, span{}, p.bad(fmt.Sprintf("%s has %d bytes", what, offsets[1]-offsets[0]), needs(t.DType, t.Shape))
	}
	return t, span{name, offsets[0], offsets[1]}, nil
}

// object reads a JSON object, calling each for every key with the decoder in front of its value.
func (p *parser) object(what string, each func(key string) error) error {
	token, err := p.json.Token()
	if err != nil || token != json.Delim('{') {
		return p.bad(what+" is not a JSON object", "")
	}
	for p.json.More() {
		token, err := p.json.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			return p.bad(what+" is not a JSON object", "")
		}
		if err := each(key); err != nil {
			return err
		}
	}
	if _, err := p.json.Token(); err != nil {
		return p.bad(what+" is not a JSON object", "")
	}
	return nil
}

func (p *parser) text(what string) (string, error) {
	token, err := p.json.Token()
	s, ok := token.(string)
	if err != nil || !ok {
		return "", p.bad(what+" is not a string", "")
	}
	return s, nil
}

// numbers reads an array of integers >= 0, written plainly: 1e3 and 2.0 are refused.
func (p *parser) numbers(what string) ([]uint64, error) {
	if token, err := p.json.Token(); err != nil || token != json.Delim('[') {
		return nil, p.bad(what+" is not a list", "")
	}
	var out []uint64
	for p.json.More() {
		token, err := p.json.Token()
		number, ok := token.(json.Number)
		if err != nil || !ok {
			return nil, p.bad(what+" holds something that is not a number", "")
		}
		v, err := strconv.ParseUint(string(number), 10, 64)
		if err != nil {
			return nil, p.bad(fmt.Sprintf("%s holds %s", what, clip(string(number))), "whole numbers from 0 to 2^64-1 are allowed")
		}
		out = append(out, v)
	}
	_, err := p.json.Token()
	return out, err
}

// skip reads one value of any kind away.
func (p *parser) skip() error {
	for depth := 0; ; {
		token, err := p.json.Token()
		if err != nil {
			return p.bad("the header is not valid JSON", "")
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// badName says what is wrong with a tensor's name, or "". Names get printed, so control characters are refused.
func badName(name string) string {
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c >= 0x7f && c < 0xa0 }) {
		return "names are UTF-8 without control characters"
	}
	return ""
}

// clip keeps a hostile name or list from filling the screen.
func clip(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
