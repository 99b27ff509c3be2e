// This file writes safetensors files: the same tensors and metadata always give the same bytes.

package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/internal/atomicfile"
)

// Write makes a file of the tensors at path, whole or not at all: written beside, synced, renamed over what was there.
// Tensors in any order; metadata may be nil. Errors are *fault.Error of kind BadInput.
func Write(path string, tensors []Tensor, metadata map[string]string) error {
	return atomicfile.Write(path, func(w io.Writer) error { return Encode(w, tensors, metadata) })
}

// WriteOne makes a file of one tensor whose bytes data writes, for what is more than memory should hold; else it is Write.
func WriteOne(path, name string, dtype DType, shape []int, data func(w io.Writer) error) error {
	t := Tensor{Name: name, DType: dtype, Shape: shape}
	return atomicfile.Write(path, func(w io.Writer) error {
		header, _, err := encodeHeader([]Tensor{t}, nil)
		if err != nil {
			return err
		}
		if _, err := w.Write(header); err != nil {
			return err
		}
		c := &counter{w: w}
		if err := data(c); err != nil {
			return err
		}
		if want, _ := byteSize(dtype, shape); c.n != want {
			return unwritable(t, fmt.Sprintf("got %d bytes of data; %s", c.n, needs(dtype, shape)))
		}
		return nil
	})
}

// counter counts the bytes that pass.
type counter struct {
	w io.Writer
	n int
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += n
	return n, err
}

// Encode writes the bytes of a file. Header entries are sorted by name; data lies widest type first, then by name,
// so that every tensor is aligned to its own element size; the header is padded with spaces to a multiple of 8 bytes.
func Encode(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	header, order, err := encodeHeader(tensors, metadata)
	if err != nil {
		return err
	}
	for _, i := range order {
		if err := tensors[i].sized(); err != nil {
			return err
		}
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, i := range order {
		if _, err := w.Write(tensors[i].Data); err != nil {
			return err
		}
	}
	return nil
}

// encodeHeader gives everything before the data, and the order of tensors in the data.
func encodeHeader(tensors []Tensor, metadata map[string]string) (header []byte, order []int, err error) {
	order = make([]int, len(tensors))
	for i := range order {
		order[i] = i
	}
	sort.Slice(order, func(a, b int) bool {
		x, y := tensors[order[a]], tensors[order[b]]
		if x.DType.Size() != y.DType.Size() {
			return x.DType.Size() > y.DType.Size()
		}
		return x.Name < y.Name
	})
	type field struct {
		DType   DType  `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	fields := make(map[string]any, len(tensors)+1)
	at := 0
	for _, i := range order {
		t := tensors[i]
		if err := checkWritable(t); err != nil {
			return nil, nil, err
		}
		if _, twice := fields[t.Name]; twice {
			return nil, nil, unwritable(t, "is given twice")
		}
		size, _ := byteSize(t.DType, t.Shape)
		fields[t.Name] = field{t.DType, append([]int{}, t.Shape...), [2]int{at, at + size}}
		at += size
	}
	if metadata != nil {
		for key, value := range metadata {
			if !utf8.ValidString(key) || !utf8.ValidString(value) {
				return nil, nil, fault.New(fault.BadInput, fmt.Sprintf("metadata %q", clip(key)), "is not valid UTF-8", "", "")
			}
		}
		fields[metadataKey] = metadata
	}
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	encoder := json.NewEncoder(&b) // maps are written with sorted keys
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(fields); err != nil {
		return nil, nil, err
	}
	b.Truncate(b.Len() - 1) // the encoder's line end
	b.WriteString(strings.Repeat(" ", -b.Len()&7))
	header = b.Bytes()
	if len(header)-8 > maxHeader {
		return nil, nil, fault.New(fault.BadInput, "safetensors header", fmt.Sprintf("%d bytes", len(header)-8), fmt.Sprintf("at most %d are allowed", maxHeader), "write several files")
	}
	binary.LittleEndian.PutUint64(header, uint64(len(header)-8))
	return header, order, nil
}

func checkWritable(t Tensor) error {
	if why := badName(t.Name); why != "" {
		return unwritable(t, why)
	}
	if t.Name == metadataKey {
		return unwritable(t, "has the name kept for metadata")
	}
	if t.DType.Size() == 0 {
		return unwritable(t, fmt.Sprintf("has the unknown dtype %q", string(t.DType)))
	}
	if _, ok := byteSize(t.DType, t.Shape); !ok {
		return t.sized()
	}
	return nil
}

func unwritable(t Tensor, why string) error {
	return fault.New(fault.BadInput, fmt.Sprintf("tensor %q", clip(t.Name)), why, "", "")
}
