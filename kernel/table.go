package kernel

// Table is a matrix [N, K] of which single rows are read, in file order: embeddings by token id. It shares the caller's bytes.
type Table struct {
	N, K   int
	format Format
	data   []byte
	row    int // bytes
}

// NewTable makes a table of src, n rows of k elements.
func NewTable(f Format, n, k int, src []byte) (*Table, error) {
	if _, err := PackedBytes(f, n, k, ArithF32); err != nil {
		return nil, err
	}
	elems, size := f.Block()
	return &Table{n, k, f, src, k / elems * size}, nil
}

// Row expands row i into dst [K].
func (t *Table) Row(dst []float32, i int) {
	row := t.data[i*t.row:][:t.row]
	switch t.format {
	case F32:
		DecodeRow(CodecF32, dst, row)
	case F16:
		DecodeRow(CodecF16, dst, row)
	case BF16:
		DecodeRow(CodecBF16, dst, row)
	default:
		Dequantize(t.format, dst, row)
	}
}
