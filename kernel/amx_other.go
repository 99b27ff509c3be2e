//go:build !amd64

package kernel

func detectAMX() bool { return false }

func (w *Matrix) mulAMX(_ []float32, _ int, _ *Input, from, _, row, _ int) (panels, rows int) {
	return from, row
}
