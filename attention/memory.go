package attention

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/tensor"
)

// Memory is a bank of retrieved vectors that a sequence reads beside its tokens: the third level of MKA and FastMKA. Token t reads row min(t, M-1) of the M rows, so a bank is repeated or cut to
// the length of the text. Vectors stand for inputs of a layer's attention, that is, normed hidden states. Rows in the cache depend on them: a bank is given to a sequence before its first token (kvcache.Sequence.Give).
type Memory struct {
	Layers [][]float32 // by layer: [M, hidden], row after row; nil where a layer has none
}

// MemoryReader is a design that may read a bank.
type MemoryReader interface {
	// MemoryWidth is the width of a bank's vectors; 0: this layer reads none.
	MemoryWidth() int
}

// Check refuses a bank that the layers cannot read: of another number of layers, of vectors of another width, with numbers that are not finite.
func (m *Memory) Check(designs []Design) error {
	no := func(value, limit string) error {
		return fault.New(fault.BadInput, "retrieved memory", value, limit, "give a list of vectors for each layer that has a third memory level, and none for the others")
	}
	if len(m.Layers) > len(designs) {
		return no(fmt.Sprintf("%d layers", len(m.Layers)), fmt.Sprintf("the model has %d", len(designs)))
	}
	for i, bank := range m.Layers {
		width := 0
		if r, ok := designs[i].(MemoryReader); ok {
			width = r.MemoryWidth()
		}
		switch {
		case len(bank) > 0 && width == 0:
			return no(fmt.Sprintf("%d numbers for layer %d", len(bank), i), "this layer reads no memory")
		case len(bank) > 0 && len(bank)%width != 0:
			return no(fmt.Sprintf("%d numbers for layer %d", len(bank), i), fmt.Sprintf("vectors have %d", width))
		}
		for j, v := range bank {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return no(fmt.Sprintf("number %d of layer %d is %v", j, i, v), "all must be finite")
			}
		}
	}
	return nil
}

// Digest tells banks apart; "" for none.
func (m *Memory) Digest() string {
	if m == nil {
		return ""
	}
	h := sha256.New()
	for _, bank := range m.Layers {
		binary.Write(h, binary.LittleEndian, int64(len(bank)))
		binary.Write(h, binary.LittleEndian, bank)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// row is what the token at a position reads in a layer; nil: zeros.
func (m *Memory) row(layer, pos, width int) []float32 {
	if m == nil || layer >= len(m.Layers) || len(m.Layers[layer]) < width {
		return nil
	}
	bank := m.Layers[layer]
	return bank[min(pos, len(bank)/width-1)*width:][:width]
}

// bank is the vectors that the new tokens read: [rows, width].
func (s *Step) bank(width int) tensor.Buf {
	rows := 0
	for _, n := range s.Counts {
		rows += n
	}
	y := s.New(rows, width)
	x := y.Float32s()
	for i, seq := range s.Sequences {
		m, _ := seq.Given().(*Memory)
		for j := range s.Counts[i] {
			clear(x[:width])
			copy(x[:width], m.row(s.Layer, seq.Rows()+j, width))
			x = x[width:]
		}
	}
	return y
}
