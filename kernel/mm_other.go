//go:build !amd64

package kernel

func quantizeRowFast(*byte, int, []float32) bool { return false }

func (w *Matrix) mulFast([]float32, int, *Input, int, int, int, int, *edgeTile) bool {
	return false
}
