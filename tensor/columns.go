package tensor

// Weights of other shapes than [out, in] row after row, as some files keep them.

import "github.com/lowkeylm/lowkey/kernel"

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
