package kernel

// The way from the tile functions of attention to their assembly. Each reports whether it did the work; false leaves it to the reference.

import "unsafe"

func bytesOf(x []float32) *byte { return (*byte)(unsafe.Pointer(&x[0])) }

// scoreFast scores m > 0 rows of q against panels of codec f32, f16 or bf16.
func scoreFast(c Codec, s, q []float32, ldq int, k *byte, next []byte, m, width int, add bool) bool {
	if vecLevel == vecPlain || width == 0 {
		return false
	}
	onto := 0
	if add {
		onto = 1
	}
	_, _ = s[m*TileRows-1], q[(m-1)*ldq+width-1]
	wide, ask := vecLevel == vecAVX512, k
	if len(next) > 0 {
		ask = &next[0]
	}
	if !wide {
		prefetchBytes(next[:len(next)/2])
	}
	switch {
	case c == CodecF32 && wide:
		scoreF32AVX512(&s[0], &q[0], ldq, k, ask, width, m, onto)
	case c == CodecF32:
		scoreF32AVX2(&s[0], &q[0], ldq, k, ask, width, m, onto)
	case c == CodecF16 && wide:
		scoreF16AVX512(&s[0], &q[0], ldq, k, ask, width, m, onto)
	case c == CodecF16:
		scoreF16AVX2(&s[0], &q[0], ldq, k, ask, width, m, onto)
	case c == CodecBF16 && wide:
		scoreBF16AVX512(&s[0], &q[0], ldq, k, ask, width, m, onto)
	case c == CodecBF16:
		scoreBF16AVX2(&s[0], &q[0], ldq, k, ask, width, m, onto)
	default:
		return false
	}
	return true
}

func scoreF32Fast(s, q []float32, ldq int, k []float32, m, width int, add bool) bool {
	if m == 0 || width == 0 {
		return false
	}
	return scoreFast(CodecF32, s, q, ldq, bytesOf(k[:TileRows*width]), nil, m, width, add)
}

func scorePanelsFast(c Codec, s, q []float32, ldq int, tile, next []byte, m, width int, add bool) bool {
	if m == 0 || width == 0 {
		return false
	}
	return scoreFast(c, s, q, ldq, &tile[:TileRows*RowBytes(c, width)][0], next, m, width, add)
}

// pvFast mixes the first columns, a multiple of 16, and returns how many.
func pvFast(o []float32, ldo int, p []float32, ldp int, v []float32, ldv, m, n, width int) int {
	done := width &^ 15
	if vecLevel == vecPlain || done == 0 || m == 0 || n == 0 {
		return 0
	}
	_, _, _ = o[(m-1)*ldo+done-1], p[(m-1)*ldp+n-1], v[(n-1)*ldv+done-1]
	if vecLevel == vecAVX512 {
		pvF32AVX512(&o[0], ldo, &p[0], ldp, bytesOf(v), bytesOf(v), 0, 4*ldv, m, n, done)
	} else {
		pvF32AVX2(&o[0], ldo, &p[0], ldp, bytesOf(v), bytesOf(v), 0, 4*ldv, m, n, done)
	}
	return done
}

func softmaxFast(s []float32, m int, mx, sum, alpha []float32) bool {
	if vecLevel == vecPlain || m == 0 {
		return false
	}
	_, _, _, _ = s[m*TileRows-1], mx[m-1], sum[m-1], alpha[m-1]
	if vecLevel == vecAVX512 {
		softmaxAVX512(&s[0], &mx[0], &sum[0], &alpha[0], m)
	} else {
		softmaxAVX2(&s[0], &mx[0], &sum[0], &alpha[0], m)
	}
	return true
}

// toPanelsFast interleaves the first full panels of n rows and returns how many rows that was.
func toPanelsFast(panel, x []float32, ld, n, width int) int {
	if vecLevel == vecPlain || width == 0 || width%4 != 0 {
		return 0
	}
	done := n &^ (PanelRows - 1)
	for r := 0; r < done; r += PanelRows {
		to, from := panel[r*width:][:PanelRows*width], x[r*ld:][:(PanelRows-1)*ld+width]
		if vecLevel == vecAVX512 {
			toPanelAVX512(&to[0], &from[0], ld, width)
		} else {
			toPanelAVX2(&to[0], &from[0], ld, width)
		}
	}
	return done
}

// scoreInt8Fast scores m rows of int8 queries: codes [m, width], and a scale and a sum of codes for each block of 32. next is asked for meanwhile.
func scoreInt8Fast(c Codec, s []float32, q []int8, scale []float32, sum []int32, tile, next []byte, m, width int) bool {
	blocks := width / RowBlock
	if vecLevel == vecPlain || m == 0 || blocks == 0 || !c.Blocks() {
		return false
	}
	_, _, _, _ = s[m*TileRows-1], q[m*width-1], scale[m*blocks-1], sum[m*blocks-1]
	tile = tile[:TileRows*RowBytes(c, width)]
	if vecLevel != vecAVX512 {
		prefetchBytes(next[:len(next)/2])
	}
	if len(next) == 0 {
		next = tile
	}
	switch wide := vecLevel == vecAVX512; {
	case c == CodecQ8 && wide:
		scoreQ8AVX512(&s[0], &q[0], &scale[0], &sum[0], &tile[0], &next[0], blocks, m)
	case c == CodecQ8:
		scoreQ8AVX2(&s[0], &q[0], &scale[0], &sum[0], &tile[0], &next[0], blocks, m)
	case wide:
		scoreQ4AVX512(&s[0], &q[0], &scale[0], &sum[0], &tile[0], &next[0], blocks, m)
	default:
		scoreQ4AVX2(&s[0], &q[0], &scale[0], &sum[0], &tile[0], &next[0], blocks, m)
	}
	return true
}

// expandPanelsFast expands a tile of panels. In f32, f16 and bf16 panels elements keep their order, so that a tile is one long row.
func expandPanelsFast(c Codec, dst []float32, tile []byte, width int) bool {
	if c <= CodecBF16 {
		DecodeRow(c, dst[:TileRows*width], tile)
		return true
	}
	blocks := TileRows / PanelRows * (width / RowBlock)
	if vecLevel == vecPlain || blocks == 0 {
		return false
	}
	dst, tile = dst[:TileRows*width], tile[:TileRows*RowBytes(c, width)]
	switch wide := vecLevel == vecAVX512; {
	case c == CodecQ8 && wide:
		expandQ8AVX512(&dst[0], &tile[0], blocks)
	case c == CodecQ8:
		expandQ8AVX2(&dst[0], &tile[0], blocks)
	case wide:
		expandQ4AVX512(&dst[0], &tile[0], blocks)
	default:
		expandQ4AVX2(&dst[0], &tile[0], blocks)
	}
	return true
}

func rotateFast(panel []float32, a, b, step, width int, c0, s0, cos, sin []float32) bool {
	if vecLevel == vecPlain || len(c0) == 0 {
		return false
	}
	pairs := len(c0)
	_, _, _, _ = panel[TileRows*width-1], s0[pairs-1], cos[pairs*TileRows-1], sin[pairs*TileRows-1]
	_ = panel[(max(a, b)+(pairs-1)*step+1)*PanelRows-1]
	if vecLevel == vecAVX512 {
		rotateAVX512(&panel[a*PanelRows], &panel[b*PanelRows], 64*step, 64*width, &c0[0], &s0[0], &cos[0], &sin[0], pairs)
	} else {
		rotateAVX2(&panel[a*PanelRows], &panel[b*PanelRows], 64*step, 64*width, &c0[0], &s0[0], &cos[0], &sin[0], pairs)
	}
	return true
}

func weighFast(s, x, panel []float32, col, step, width, m int, add bool) bool {
	if vecLevel == vecPlain || m == 0 {
		return false
	}
	_, _, _ = s[m*TileRows-1], x[m*TileRows-1], panel[TileRows*width-1]
	_ = panel[(col+(m-1)*step+1)*PanelRows-1]
	onto := 0
	if add {
		onto = 1
	}
	if vecLevel == vecAVX512 {
		weighAVX512(&s[0], &x[0], &panel[col*PanelRows], 64*step, 64*width, m, onto)
	} else {
		weighAVX2(&s[0], &x[0], &panel[col*PanelRows], 64*step, 64*width, m, onto)
	}
	return true
}

func gateRowsFast(y []float32, ldy, n int, gates [][]float32, at int, sums []float32) bool {
	if vecLevel == vecPlain || len(gates) == 0 || n == 0 || n%16 != 0 {
		return false
	}
	rows := len(gates)
	_, _ = y[(rows-1)*ldy+n-1], sums[2*16*rows-1]
	for _, g := range gates {
		_ = g[at+n-1]
	}
	if vecLevel == vecAVX512 {
		gateRowsAVX512(&y[0], 4*ldy, rows, n, &gates[0], 4*at, &sums[0])
	} else {
		gateRowsAVX2(&y[0], 4*ldy, rows, n, &gates[0], 4*at, &sums[0])
	}
	return true
}

// pvRowsFast mixes values as they lie in a page, size bytes from row to row, if the codec and the width allow. next is asked for meanwhile.
func pvRowsFast(c Codec, o []float32, ldo int, p []float32, ldp int, v, next []byte, size, m, n, width int) bool {
	if vecLevel == vecPlain || c > CodecBF16 || width == 0 || width%16 != 0 || m == 0 || n == 0 {
		return false
	}
	_, _, _ = o[(m-1)*ldo+width-1], p[(m-1)*ldp+n-1], v[(n-1)*size+RowBytes(c, width)-1]
	ask, step := &v[0], len(next)/(n*(width/64+width%64/16))
	if len(next) > 0 {
		ask = &next[0]
	}
	switch wide := vecLevel == vecAVX512; {
	case c == CodecF32 && wide:
		pvF32AVX512(&o[0], ldo, &p[0], ldp, &v[0], ask, step, size, m, n, width)
	case c == CodecF32:
		pvF32AVX2(&o[0], ldo, &p[0], ldp, &v[0], ask, step, size, m, n, width)
	case c == CodecF16 && wide:
		pvF16AVX512(&o[0], ldo, &p[0], ldp, &v[0], ask, step, size, m, n, width)
	case c == CodecF16:
		pvF16AVX2(&o[0], ldo, &p[0], ldp, &v[0], ask, step, size, m, n, width)
	case wide:
		pvBF16AVX512(&o[0], ldo, &p[0], ldp, &v[0], ask, step, size, m, n, width)
	default:
		pvBF16AVX2(&o[0], ldo, &p[0], ldp, &v[0], ask, step, size, m, n, width)
	}
	return true
}

// prefetchBytes brings x closer; it changes nothing else.
func prefetchBytes(x []byte) {
	if len(x) > 0 {
		prefetch(&x[0], len(x))
	}
}
