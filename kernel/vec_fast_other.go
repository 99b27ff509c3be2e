//go:build !amd64

package kernel

// Where there is no assembly, plain Go does the work.

func addFast(_, _ []float32) bool                      { return false }
func mulFast(_, _ []float32) bool                      { return false }
func addScaledFast(_, _ []float32, _ float32) bool     { return false }
func scaleFast(_ []float32, _ float32) bool            { return false }
func scaleToFast(_, _ []float32, _ float32) bool       { return false }
func mergeRowFast(_, _ []float32, _, _ float32) bool   { return false }
func expFast(_ []float32) bool                         { return false }
func siluFast(_ []float32) bool                        { return false }
func siluMulFast(_, _, _ []float32) bool               { return false }
func geluTanhFast(_ []float32) bool                    { return false }
func geluTanhMulFast(_, _, _ []float32) bool           { return false }
func softcapFast(_ []float32, _, _ float32) bool       { return false }
func rmsNormFast(_, _, _ []float32, _, _ float32) bool { return false }
func ropeHalfFast(_, _, _, _ []float32) bool           { return false }
func ropePairsFast(_, _, _ []float32) int              { return 0 }
func geluFast(_ []float32) bool                        { return false }
func geluMulFast(_, _, _ []float32) bool               { return false }
func normalizeFast(_, _ []float32, _ float32) bool     { return false }
func hadamardFast(_ []float32) bool                    { return false }
func argMaxFast(_ []float32) int                       { return -1 }
