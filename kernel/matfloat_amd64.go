package kernel

// Products of float weights on assembly: the walk over tiles of rows and panels, in the order that keeps most in cache and in calls short enough not to hold up the
// scheduler. Where K is cut, the next call goes on with the sums that the last one left in y: the chain of operations is the same.

import (
	"sync"
	"unsafe"
)

// floatTile multiplies its rows of x by its panels of w over n values of k: y (+)= x Wᵀ. Distances are in bytes; ldw leads to the next panel; onto != 0 starts from y.
type floatTile func(y *float32, ldy uintptr, x *byte, ldx uintptr, w *byte, ldw, n, onto uintptr)

// floatTiles are the kernels of one level and one format, by rows: wide ones of 4 panels (some rows), narrow ones of the fewest panels (all rows up to the tile's most).
type floatTiles struct {
	wide   []floatTile // of widePanels; index rows-1; nil: use narrow
	narrow []floatTile
	panels int // of narrow
	span   int // values of k a call takes
}

var floatAVX512 = [...]floatTiles{
	F32: {
		wide: []floatTile{matF32_1x4_AVX512, matF32_2x4_AVX512, matF32_3x4_AVX512, matF32_4x4_AVX512, matF32_5x4_AVX512, matF32_6x4_AVX512},
		narrow: []floatTile{matF32_1x2_AVX512, matF32_2x2_AVX512, matF32_3x2_AVX512, matF32_4x2_AVX512, matF32_5x2_AVX512, matF32_6x2_AVX512, matF32_7x2_AVX512,
			matF32_8x2_AVX512, matF32_9x2_AVX512, matF32_10x2_AVX512, matF32_11x2_AVX512, matF32_12x2_AVX512, matF32_13x2_AVX512, matF32_14x2_AVX512},
		panels: 2, span: 512,
	},
	F16: {
		wide: []floatTile{matF16_1x4_AVX512, matF16_2x4_AVX512, matF16_3x4_AVX512, matF16_4x4_AVX512, matF16_5x4_AVX512, matF16_6x4_AVX512},
		narrow: []floatTile{matF16_1x2_AVX512, matF16_2x2_AVX512, matF16_3x2_AVX512, matF16_4x2_AVX512, matF16_5x2_AVX512, matF16_6x2_AVX512, matF16_7x2_AVX512,
			matF16_8x2_AVX512, matF16_9x2_AVX512, matF16_10x2_AVX512, matF16_11x2_AVX512, matF16_12x2_AVX512, matF16_13x2_AVX512, matF16_14x2_AVX512},
		panels: 2, span: 512,
	},
	BF16: {
		wide: []floatTile{matBF16_1x4_AVX512, matBF16_2x4_AVX512, matBF16_3x4_AVX512, matBF16_4x4_AVX512, matBF16_5x4_AVX512, matBF16_6x4_AVX512},
		narrow: []floatTile{matBF16_1x2_AVX512, matBF16_2x2_AVX512, matBF16_3x2_AVX512, matBF16_4x2_AVX512, matBF16_5x2_AVX512, matBF16_6x2_AVX512, matBF16_7x2_AVX512,
			matBF16_8x2_AVX512, matBF16_9x2_AVX512, matBF16_10x2_AVX512, matBF16_11x2_AVX512, matBF16_12x2_AVX512, matBF16_13x2_AVX512, matBF16_14x2_AVX512},
		panels: 2, span: 512,
	},
}

var floatAVX2 = [...]floatTiles{
	F32: {
		wide:   []floatTile{matF32_1x4_AVX2},
		narrow: []floatTile{matF32_1_AVX2, matF32_2_AVX2, matF32_3_AVX2, matF32_4_AVX2, matF32_5_AVX2, matF32_6_AVX2},
		panels: 1, span: 512,
	},
	F16: {
		wide:   []floatTile{matF16_1x4_AVX2},
		narrow: []floatTile{matF16_1_AVX2, matF16_2_AVX2, matF16_3_AVX2, matF16_4_AVX2, matF16_5_AVX2, matF16_6_AVX2},
		panels: 1, span: 512,
	},
	BF16: {
		wide:   []floatTile{matBF16_1x4_AVX2},
		narrow: []floatTile{matBF16_1_AVX2, matBF16_2_AVX2, matBF16_3_AVX2, matBF16_4_AVX2, matBF16_5_AVX2, matBF16_6_AVX2},
		panels: 1, span: 512,
	},
}

// floatEdge takes what a kernel writes where a panel has fewer than 16 columns, or a kernel more panels than there are.
type floatEdge [16 * 2 * PanelRows]float32

var floatEdges = sync.Pool{New: func() any { return new(floatEdge) }}

// mulFloatFast reports whether there is assembly for this product of a float weight, and if so has computed panels [from, to) for rows [row, last).
func (w *Matrix) mulFloatFast(y []float32, ldy int, in *Input, from, to, row, last int) bool {
	var k *floatTiles
	switch vecLevel {
	case vecAVX512:
		k = &floatAVX512[w.format]
	case vecAVX2:
		k = &floatAVX2[w.format]
	default:
		return false
	}
	if row >= last || from >= to {
		return true
	}
	_, _ = y[(last-1)*ldy+min(to*PanelRows, w.N)-1], in.x[last*in.k-1]
	full := min(to, w.N/PanelRows)             // past the last panel with 16 columns
	single := from + (full-from)&^(k.panels-1) // from here on panel by panel, through an edge
	span := k.span
	if last-row == 1 {
		span *= 4 // no rows to keep in cache
	}
	for k0 := 0; k0 < w.K; k0 += span {
		for i := row; i < last; {
			rows := k.rowsOf(last - i)
			for p := from; p < single; {
				f, n := k.narrow[rows-1], k.panels
				if rows <= len(k.wide) && p+widePanels <= single {
					f, n = k.wide[rows-1], widePanels
				}
				w.callFloat(f, &y[i*ldy+p*PanelRows], ldy, in, i, p, k0, min(span, w.K-k0))
				p += n
			}
			i += rows
		}
	}
	for p := max(single, from); p < to; p++ {
		w.mulFloatEdge(k, y, ldy, in, p, row, last)
	}
	return true
}

// rowsOf is the rows of the next tile of n rows: as even as can be.
func (k *floatTiles) rowsOf(n int) int {
	tiles := (n + len(k.narrow) - 1) / len(k.narrow)
	return (n + tiles - 1) / tiles
}

func (w *Matrix) callFloat(f floatTile, y *float32, ldy int, in *Input, row, panel, k0, n int) {
	_, size := w.format.Block()
	x := (*byte)(unsafe.Pointer(&in.x[row*in.k+k0]))
	f(y, uintptr(4*ldy), x, uintptr(4*in.k), &w.data[panel*w.panel+k0*size*PanelRows], uintptr(w.panel), uintptr(n), uintptr(k0))
}

// mulFloatEdge computes one panel alone. A kernel of two panels is given the same one twice.
func (w *Matrix) mulFloatEdge(k *floatTiles, y []float32, ldy int, in *Input, p, row, last int) {
	edge := floatEdges.Get().(*floatEdge)
	cols := min(PanelRows, w.N-p*PanelRows)
	_, size := w.format.Block()
	ld := k.panels * PanelRows
	for i := row; i < last; {
		rows := k.rowsOf(last - i)
		for k0 := 0; k0 < w.K; k0 += k.span {
			x := (*byte)(unsafe.Pointer(&in.x[i*in.k+k0]))
			k.narrow[rows-1](&edge[0], uintptr(4*ld), x, uintptr(4*in.k), &w.data[p*w.panel+k0*size*PanelRows], 0, uintptr(min(k.span, w.K-k0)), uintptr(k0))
		}
		for r := range rows {
			copy(y[(i+r)*ldy+p*PanelRows:][:cols], edge[r*ld:])
		}
		i += rows
	}
	floatEdges.Put(edge)
}
