package tensor

// Weights of other shapes than [out, in] row after row, as some files keep them.

import "github.com/lowkeylm/lowkey/kernel"

// Picked is where the elements of a copy lie in a stored tensor: (i, j, k) of Sizes at From + i Strides[0] + j Strides[1] + k Strides[2], in elements. A tape brings gradients back by it.
type Picked struct {
	Data           []byte
	From           int
	Sizes, Strides [3]int
}

// each tells the place of every element, in order.
func (p *Picked) each(f func(place int)) {
	for i := range p.Sizes[0] {
		for j := range p.Sizes[1] {
			for k := range p.Sizes[2] {
				f(p.From + i*p.Strides[0] + j*p.Strides[1] + k*p.Strides[2])
			}
		}
	}
}

// Groups is rows [from, to) of every `every` rows of a matrix, one group after another: GPT-NeoX keeps queries, keys and values head by head.
func (w Weight) Groups(from, to, every int) Weight {
	elems, size := w.Format.Block()
	cols, groups := w.Cols(), w.Rows()/every
	row := cols / elems * size
	var data []byte
	for i := range groups {
		data = append(data, w.Data[(i*every+from)*row:(i*every+to)*row]...)
	}
	w.Picked = &Picked{Data: w.Data, From: from * cols, Sizes: [3]int{groups, to - from, cols}, Strides: [3]int{every * cols, cols, 1}}
	w.Shape, w.Data = []int{groups * (to - from), cols}, data
	return w
}

// Columns is every step-th column of a matrix, from column `from` on, each as a row: [in, n*step] -> [n, in], in the same format. Float formats only.
func (w Weight) Columns(from, step int) Weight {
	_, size := w.Format.Block()
	in, cols := w.Rows(), w.Cols()
	n := cols / step
	data := make([]byte, n*in*size)
	for i := range in {
		row := w.Data[i*cols*size:][:cols*size]
		for j := range n {
			copy(data[(j*in+i)*size:][:size], row[(from+j*step)*size:])
		}
	}
	w.Picked = &Picked{Data: w.Data, From: from, Sizes: [3]int{1, n, in}, Strides: [3]int{0, step, cols}}
	w.Shape, w.Data = []int{n, in}, data
	return w
}

// MXFP4 is a weight [out, in] of codes [out, in/32, 16] and scales [out, in/32]: every step-th row from row `from` on, expanded to bfloat16.
func MXFP4(name string, out, in int, codes, scales []byte, from, step int) Weight {
	blocks := in / kernel.MXFP4Block
	w := Weight{Name: name, Format: kernel.BF16, Shape: []int{out / step, in}, Data: make([]byte, out/step*in*2)}
	for j := range out / step {
		at := (from + j*step) * blocks
		kernel.ExpandMXFP4(w.Data[j*in*2:][:in*2], codes[at*kernel.MXFP4Bytes:], scales[at:][:blocks])
	}
	return w
}
