//go:build !amd64

package kernel

func productFast(_, _, _ []float32, _ bool) bool                         { return false }
func siluGradFast(_, _, _ []float32, _ bool) bool                        { return false }
func geluTanhGradFast(_, _, _ []float32, _ bool) bool                    { return false }
func geluGradFast(_, _, _ []float32, _ bool) bool                        { return false }
func siluMulGradFast(_, _, _, _, _ []float32, _, _ bool) bool            { return false }
func geluTanhMulGradFast(_, _, _, _, _ []float32, _, _ bool) bool        { return false }
func sigmoidFast(_, _ []float32) bool                                    { return false }
func ownGradFast(_, _, _ []float32, _, _, _ float32, _ bool) bool        { return false }
func softmaxGradFast(_, _, _ []float32, _, _ float32) bool               { return false }
func adamFast(_, _, _, _ []float32, _ AdamStep) bool                     { return false }
func rmsNormGradFast(_, _, _, _, _ []float32, _ float32, _, _ bool) bool { return false }
func expSubFast(_, _ []float32, _, _, _ float32) (float32, bool)         { return 0, false }
func expSumFast(_ []float32, _ float32) (float64, bool)                  { return 0, false }
func maxFast(_ []float32) (float32, bool)                                { return 0, false }
func sumSquaresFast(_ []float32) (float64, bool)                         { return 0, false }
func dotLanesFast(_ *[16]float32, _, _ []float32) bool                   { return false }
