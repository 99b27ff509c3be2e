package kernel

// Gemm's way to its assembly: tiles by level and rows, and the packing of panels.

type gemmTile func(y *float32, ldy uintptr, a *float32, lda, stepA uintptr, b *float32, ldb, stepB, k, n, onto uintptr)

var (
	gemmWideAVX512 = []gemmTile{gemm_1x2_AVX512, gemm_2x2_AVX512, gemm_3x2_AVX512, gemm_4x2_AVX512, gemm_5x2_AVX512, gemm_6x2_AVX512, gemm_7x2_AVX512,
		gemm_8x2_AVX512, gemm_9x2_AVX512, gemm_10x2_AVX512, gemm_11x2_AVX512, gemm_12x2_AVX512, gemm_13x2_AVX512, gemm_14x2_AVX512}
	gemmAVX512 = []gemmTile{gemm_1_AVX512, gemm_2_AVX512, gemm_3_AVX512, gemm_4_AVX512, gemm_5_AVX512, gemm_6_AVX512, gemm_7_AVX512,
		gemm_8_AVX512, gemm_9_AVX512, gemm_10_AVX512, gemm_11_AVX512, gemm_12_AVX512, gemm_13_AVX512, gemm_14_AVX512}
	gemmAVX2 = []gemmTile{gemm_1_AVX2, gemm_2_AVX2, gemm_3_AVX2, gemm_4_AVX2, gemm_5_AVX2, gemm_6_AVX2}
)

// gemmTileRows is the rows of the largest tile.
func gemmTileRows() int {
	switch vecLevel {
	case vecAVX512:
		return len(gemmAVX512)
	case vecAVX2:
		return len(gemmAVX2)
	}
	return 1
}

// mulTilesFast reports whether there is assembly for the product of mulTiles, and if so has computed it.
func mulTilesFast(y []float32, ldy int, a []float32, lda, stepA int, b []float32, ldb, stepB int, m, n, k int, onto bool, edge *gemmEdge) bool {
	tiles, wide := gemmAVX512, gemmWideAVX512
	switch vecLevel {
	case vecAVX2:
		tiles, wide = gemmAVX2, nil
	case vecPlain:
		return false
	}
	from := uintptr(0)
	if onto {
		from = 1
	}
	most := max(1, vecSpan/k) // panels of one call
	for i, rows := 0, 0; i < m; i += rows {
		rows = evenTile(m-i, len(tiles))
		pa := &a[i*lda]
		for j := 0; j < n; {
			tile, columns := tiles[rows-1], PanelRows
			if wide != nil && n-j > PanelRows {
				tile, columns = wide[rows-1], 2*PanelRows
			}
			pb := &b[j/PanelRows*ldb]
			if count := min((n-j)/columns, most); count > 0 {
				tile(&y[i*ldy+j], uintptr(4*ldy), pa, uintptr(4*lda), uintptr(4*stepA), pb, uintptr(4*ldb), uintptr(4*stepB), uintptr(k), uintptr(count), from)
				j += count * columns
				continue
			}
			// The last panel has fewer columns: compute it aside.
			const ld = 2 * PanelRows
			if onto {
				for r := range rows {
					copy(edge[r*ld:], y[(i+r)*ldy+j:][:n-j])
				}
			}
			tile(&edge[0], 4*ld, pa, uintptr(4*lda), uintptr(4*stepA), pb, uintptr(4*ldb), uintptr(4*stepB), uintptr(k), 1, from)
			for r := range rows {
				copy(y[(i+r)*ldy+j:][:n-j], edge[r*ld:])
			}
			j += columns
		}
	}
	return true
}

// packCopyFast is packCopy in assembly, if there is any.
func packCopyFast(dst []float32, panel int, src []float32, lds, k, n, width int) bool {
	if vecLevel == vecPlain {
		return false
	}
	span := max(1, vecSpan/n) // rows in one call
	for p := 0; p < k; p += span {
		rows := uintptr(min(span, k-p))
		if vecLevel == vecAVX512 {
			gemmCopyAVX512(&dst[p*PanelRows], uintptr(4*panel), &src[p*lds], uintptr(4*lds), rows, uintptr(n), uintptr(width))
		} else {
			gemmCopyAVX2(&dst[p*PanelRows], uintptr(4*panel), &src[p*lds], uintptr(4*lds), rows, uintptr(n), uintptr(width))
		}
	}
	return true
}

// packTransposedFast packs 16 rows of k values, k a multiple of 16, if there is assembly for it.
func packTransposedFast(dst, src []float32, lds, k int) bool {
	switch vecLevel {
	case vecAVX512:
		gemmTransposeAVX512(&dst[0], &src[0], uintptr(4*lds), uintptr(k))
	case vecAVX2:
		gemmTransposeAVX2(&dst[0], &src[0], uintptr(4*lds), uintptr(k))
		gemmTransposeAVX2(&dst[8], &src[8*lds], uintptr(4*lds), uintptr(k))
	default:
		return false
	}
	return true
}
