package attention

import "github.com/lowkeylm/lowkey/tensor"

// Memory is a bank of retrieved vectors that a sequence reads beside its tokens: the third level of MKA and FastMKA. Token t reads row min(t, M-1) of the M rows, so a bank is repeated or cut to
// the length of the text. Vectors stand for inputs of a layer's attention, that is, normed hidden states. Rows in the cache depend on them: a bank belongs to a sequence from its first token on.
type Memory struct {
	Layers [][]float32 // by layer: [M, hidden], row after row; nil where a layer has none
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
		var m *Memory
		if i < len(s.Memory) {
			m = s.Memory[i]
		}
		for j := range s.Counts[i] {
			clear(x[:width])
			copy(x[:width], m.row(s.Layer, seq.Rows()+j, width))
			x = x[width:]
		}
	}
	return y
}
