package kernel

// The way from products to their assembly: mulFast walks tiles of rows and panels in the order that keeps most in cache, in calls short enough not to hold up the scheduler.

import (
	"math/bits"
	"unsafe"
)

// tileFunc multiplies a tile of activations by n panels; the steps, in bytes, lead from a row's block to its next and from one panel to the next.
type tileFunc func(y *float32, ldy int, act, panel *byte, blocks, blockStep, n, panelStep int)

// The kernels of 1, 2, 4 .. rows.
var int8TilesAVX512 = [...][]tileFunc{
	Q8_0: {mulQ80x1AVX512, mulQ80x2AVX512, mulQ80x4AVX512, mulQ80x8AVX512, mulQ80x16AVX512},
	Q4_0: {mulQ40x1AVX512, mulQ40x2AVX512, mulQ40x4AVX512, mulQ40x8AVX512, mulQ40x16AVX512},
	Q4_1: {mulQ41x1AVX512, mulQ41x2AVX512, mulQ41x4AVX512, mulQ41x8AVX512, mulQ41x16AVX512},
	Q5_0: {mulQ50x1AVX512, mulQ50x2AVX512, mulQ50x4AVX512, mulQ50x8AVX512, mulQ50x16AVX512},
	Q5_1: {mulQ51x1AVX512, mulQ51x2AVX512, mulQ51x4AVX512, mulQ51x8AVX512, mulQ51x16AVX512},
	Q4_K: {mulQ4Kx1AVX512, mulQ4Kx2AVX512, mulQ4Kx4AVX512, mulQ4Kx8AVX512, mulQ4Kx16AVX512},
	Q5_K: {mulQ5Kx1AVX512, mulQ5Kx2AVX512, mulQ5Kx4AVX512, mulQ5Kx8AVX512, mulQ5Kx16AVX512},
	Q6_K: {mulQ6Kx1AVX512, mulQ6Kx2AVX512, mulQ6Kx4AVX512, mulQ6Kx8AVX512},
}

var int8TilesAVX2 = [...][]tileFunc{
	Q8_0: {mulQ80x1AVX2, mulQ80x2AVX2, mulQ80x4AVX2},
	Q4_0: {mulQ40x1AVX2, mulQ40x2AVX2, mulQ40x4AVX2},
	Q4_1: {mulQ41x1AVX2, mulQ41x2AVX2, mulQ41x4AVX2},
	Q5_0: {mulQ50x1AVX2, mulQ50x2AVX2, mulQ50x4AVX2},
	Q5_1: {mulQ51x1AVX2, mulQ51x2AVX2, mulQ51x4AVX2},
	Q4_K: {mulQ4Kx1AVX2, mulQ4Kx2AVX2, mulQ4Kx4AVX2},
	Q5_K: {mulQ5Kx1AVX2, mulQ5Kx2AVX2, mulQ5Kx4AVX2},
	Q6_K: {mulQ6Kx1AVX2, mulQ6Kx2AVX2},
}

// quantizeRowFast writes to dst actBlocks, step bytes from one to the next.
func quantizeRowFast(dst *byte, step int, x []float32) bool {
	switch vecLevel {
	case vecAVX512:
		quantizeRowAVX512(dst, step, &x[0], len(x)/32)
	case vecAVX2:
		quantizeRowAVX2(dst, step, &x[0], len(x)/32)
	default:
		return false
	}
	return true
}

// callBytes bounds the panel bytes that one call reads: a call stays well below 100 us, and the panels in the second-level cache while all rows pass.
const callBytes = 1 << 18

// mulFast reports whether there is assembly for this product, and if so has computed it.
func (w *Matrix) mulFast(y []float32, ldy int, in *Input, from, to, row, last int, edge *edgeTile) bool {
	if !w.format.Quantised() || vecLevel == vecPlain {
		return false
	}
	kernels := int8TilesAVX2[:]
	if vecLevel == vecAVX512 {
		kernels = int8TilesAVX512[:]
	}
	batch := max(1, callBytes/w.panel)
	for p := from; p < to; {
		n := min(batch, to-p)
		cols := PanelRows
		if (p+n)*PanelRows > w.N { // the last panel is not full: alone, by way of edge
			if n--; n == 0 {
				n, cols = 1, w.N-p*PanelRows
			}
		}
		w.mulInt8(kernels[w.format], y, ldy, in, p, n, cols, row, last, edge)
		p += n
	}
	return true
}

// mulInt8 computes n panels from p on; cols < 16 only for a single one. Tiles are the outer loop: their activations stay in the first-level cache while panels, fetched ahead, pass.
func (w *Matrix) mulInt8(kernels []tileFunc, y []float32, ldy int, in *Input, p, n, cols, row, last int, edge *edgeTile) {
	for row < last {
		_, rows := tileOf(in.m, row)
		if rows == rowTile && len(kernels) > 4 && cols == PanelRows && last-row >= 2*rowTile { // two tiles as one
			rows = 2 * rowTile
		}
		// A kernel takes as many of the rows as it can.
		i := min(log2(rows), len(kernels)-1)
		f, step := kernels[i], 1<<i
		for sub := row; sub < row+rows; sub += step {
			w.mulTile(f, step, y, ldy, in, p, n, cols, sub, edge)
		}
		row += rows
	}
}

// mulTile computes n panels for rows of a tile, or of two; row is the first.
func (w *Matrix) mulTile(f tileFunc, rows int, y []float32, ldy int, in *Input, p, n, cols, row int, edge *edgeTile) {
	first, tileRows := tileOf(in.m, row)
	blocks, blockStep := w.K/32, tileRows*actBytes
	act := (*byte)(unsafe.Pointer(&in.acts[first*blocks+row-first]))
	if cols < PanelRows {
		f(&edge[0], PanelRows, act, &w.data[p*w.panel], blocks, blockStep, 1, 0)
		for i := range rows {
			copy(y[(row+i)*ldy+p*PanelRows:][:cols], edge[i*PanelRows:])
		}
		return
	}
	out := y[row*ldy+p*PanelRows:][:(rows-1)*ldy+n*PanelRows]
	f(&out[0], ldy, act, &w.data[p*w.panel], blocks, blockStep, n, w.panel)
}

// log2 of 1, 2, 4, 8 or 16.
func log2(n int) int { return bits.TrailingZeros(uint(n)) }
