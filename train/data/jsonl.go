// This file reads JSONL: one JSON object a line, one document in one of its members.

package data

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/lowkeylm/lowkey/fault"
)

const maxLine = 64 << 20 // bytes of a line

// jsonLines is a .jsonl file. A document is held out by the hash of its text, so equal documents are on one side.
type jsonLines struct{ path, field string }

func (f *jsonLines) parts(valid func(uint64) bool, yield func(Part, uint64) error) error {
	in, err := os.Open(f.path)
	if err != nil {
		return fault.New(fault.BadInput, f.path, "cannot be read", "", "see that it exists and may be read").Because(err)
	}
	defer in.Close()
	return eachLine(in, f.path, f.field, func(line int, text string) error {
		key := keyOf(text)
		p := Part{Name: fmt.Sprintf("%s:%d", f.path, line), Valid: valid != nil && valid(key)}
		for len(text) > maxPart {
			n := cutAt([]byte(text[:maxPart]))
			p.Text = text[:n]
			if err := yield(p, key); err != nil {
				return err
			}
			text = text[n:]
		}
		p.Text, p.End = text, true
		return yield(p, key)
	})
}

// eachLine gives the text of every line that has one; blank lines and empty texts are passed over.
func eachLine(in io.Reader, name, field string, yield func(line int, text string) error) error {
	bad := func(line int, what string, cause error) error {
		return fault.New(fault.BadFile, fmt.Sprintf("%s line %d", name, line), what, fmt.Sprintf("every line is a JSON object whose member %q is a text", field),
			"--text-field names another member").Because(cause)
	}
	r := bufio.NewReaderSize(in, 256<<10)
	var raw []byte
	for line := 1; ; line++ {
		raw = raw[:0]
		var err error
		for {
			var piece []byte
			piece, err = r.ReadSlice('\n')
			raw = append(raw, piece...)
			if len(raw) > maxLine {
				return bad(line, fmt.Sprintf("more than %d MiB", maxLine>>20), nil)
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				break
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fault.New(fault.BadInput, name, "cannot be read", "", "see that it exists and may be read").Because(err)
		}
		if trimmed := strings.TrimSpace(string(raw)); trimmed != "" {
			if !utf8.ValidString(trimmed) {
				return bad(line, "not UTF-8", nil)
			}
			var members map[string]json.RawMessage
			if err := json.Unmarshal([]byte(trimmed), &members); err != nil {
				return bad(line, "not a JSON object", err)
			}
			value, ok := members[field]
			if !ok {
				return bad(line, fmt.Sprintf("no member %q", field), nil)
			}
			var text *string
			if err := json.Unmarshal(value, &text); err != nil || text == nil {
				return bad(line, fmt.Sprintf("member %q is no text", field), err)
			}
			if *text != "" {
				if err := yield(line, *text); err != nil {
					return err
				}
			}
		}
		if err != nil {
			return nil
		}
	}
}
