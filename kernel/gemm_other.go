//go:build !amd64

package kernel

func gemmTileRows() int { return 1 }

func mulTilesFast(y []float32, ldy int, a []float32, lda, stepA int, b []float32, ldb, stepB int, m, n, k int, onto bool, edge *gemmEdge) bool {
	return false
}

func packCopyFast(dst []float32, panel int, src []float32, lds, k, n, width int) bool { return false }

func packTransposedFast(dst, src []float32, lds, k int) bool { return false }
