//go:build !amd64

package kernel

// Where there is no assembly, the references do the work.

func scoreF32Fast(_, _ []float32, _ int, _ []float32, _, _ int, _ bool) bool { return false }
func scorePanelsFast(_ Codec, _, _ []float32, _ int, _, _ []byte, _, _ int, _ bool) bool {
	return false
}
func pvFast(_ []float32, _ int, _ []float32, _ int, _ []float32, _, _, _, _ int) int { return 0 }
func softmaxFast(_ []float32, _ int, _, _, _ []float32) bool                         { return false }
func toPanelsFast(_, _ []float32, _, _, _ int) int                                   { return 0 }
func scoreInt8Fast(_ Codec, _ []float32, _ []int8, _ []float32, _ []int32, _, _ []byte, _, _ int) bool {
	return false
}
func expandPanelsFast(_ Codec, _ []float32, _ []byte, _ int) bool                { return false }
func rotateFast(_ []float32, _, _, _, _ int, _, _, _, _ []float32) bool          { return false }
func weighFast(_, _, _ []float32, _, _, _, _ int, _ bool) bool                   { return false }
func gateRowsFast(_ []float32, _, _ int, _ [][]float32, _ int, _ []float32) bool { return false }
func pvRowsFast(_ Codec, _ []float32, _ int, _ []float32, _ int, _, _ []byte, _, _, _, _ int) bool {
	return false
}
func pvBlocksFast(_ Codec, _ []float32, _ int, _ []float32, _ []byte, _, _, _, _ int) bool {
	return false
}
func mixCodesFast(_ Codec, _ *weightCodes, _ []float32, _ int, _ []float32, _, _ []byte, _, _, _, _ int) bool {
	return false
}

func prefetchBytes(_ []byte) {}
