package kernel

// Mixing of q8 and q4 values as they lie in a page, a block of 32 columns at a time.

// pvBlocksFast gives the bits of expanding the rows first: it mixes columns [0, width) of n rows v of codec q8 or q4, size bytes from row to row, by the weights p [m, TileRows]; width is whole blocks, which those of q8 may end short of.
func pvBlocksFast(c Codec, o []float32, ldo int, p []float32, v []byte, size, m, n, width int) bool {
	short := width % RowBlock
	if vecLevel == vecPlain || !c.Blocks() || short > 0 && c == CodecQ4 || width == 0 || m == 0 || n == 0 {
		return false
	}
	whole := width - short
	if whole > 0 {
		pvBlocks(c, o, ldo, p, v, size, m, n, whole)
	}
	if short == 0 {
		return true
	}
	// As a whole block; what the columns behind it become is dropped. Memory may end with the rows: the last ones are taken from a copy.
	v = v[RowBytes(c, whole):]
	var copied [2 + RowBlock]byte
	ahead := 0
	if len(v) >= len(copied) {
		ahead = min(n, (len(v)-len(copied))/size+1)
	}
	for i := range m {
		var row [RowBlock]float32
		to := o[i*ldo+whole:][:short]
		copy(row[:], to)
		if ahead > 0 {
			pvBlocks(c, row[:], RowBlock, p[i*TileRows:], v, size, 1, ahead, RowBlock)
		}
		for j := ahead; j < n; j++ {
			copy(copied[:], v[j*size:])
			pvBlocks(c, row[:], RowBlock, p[i*TileRows+j:], copied[:], len(copied), 1, 1, RowBlock)
		}
		copy(to, row[:])
	}
	return true
}

func pvBlocks(c Codec, o []float32, ldo int, p []float32, v []byte, size, m, n, width int) {
	blocks := width / RowBlock
	wide, step := vecLevel == vecAVX512, RowBytes(c, RowBlock)
	_, _, _ = o[(m-1)*ldo+width-1], p[(m-1)*TileRows+n-1], v[(n-1)*size+blocks*step-1]
	var scales [TileRows]float32
	for b := 0; b < blocks; b++ {
		to, from := &o[b*RowBlock], &v[b*step+2]
		if wide {
			scalesAVX512(&scales[0], &v[b*step], size, n)
		} else {
			scalesAVX2(&scales[0], &v[b*step], size, n)
		}
		switch {
		case c == CodecQ8 && wide:
			pvBlockQ8AVX512(to, ldo, &p[0], &scales[0], from, size, m, n)
		case c == CodecQ8:
			pvBlockQ8AVX2(to, ldo, &p[0], &scales[0], from, size, m, n)
		case wide:
			pvBlockQ4AVX512(to, ldo, &p[0], &scales[0], from, size, m, n)
		default:
			pvBlockQ4AVX2(to, ldo, &p[0], &scales[0], from, size, m, n)
		}
	}
}

// mixCodesFast is mixCodes in assembly; it asks for next meanwhile.
func mixCodesFast(c Codec, w *weightCodes, o []float32, ldo int, p []float32, v, next []byte, size, m, n, width int) bool {
	blocks, even := width/RowBlock, n+n%2 // a row past the last has no weight; a page has an even number of rows
	if vecLevel == vecPlain || blocks == 0 || m == 0 || n == 0 || n > TileRows {
		return false
	}
	wide, step := vecLevel == vecAVX512, RowBytes(c, RowBlock)
	_, _, _ = o[(m-1)*ldo+width-1], p[m*TileRows-1], v[(even-1)*size+blocks*step-1]
	_, _ = w.codes[m*TileRows-1], w.unit[m-1]
	ask, each := &v[0], len(next)/(blocks*TileRows/2)
	if each > 0 {
		ask = &next[0]
	}
	var scales [TileRows]float32
	for b := 0; b < blocks; b++ {
		to, from := &o[b*RowBlock], &v[b*step+2]
		if wide {
			scalesAVX512(&scales[0], &v[b*step], size, n)
			weightCodesAVX512(&w.codes[0], &w.unit[0], &p[0], &scales[0], m)
		} else {
			scalesAVX2(&scales[0], &v[b*step], size, n)
			weightCodesAVX2(&w.codes[0], &w.unit[0], &p[0], &scales[0], m)
		}
		switch {
		case c == CodecQ8 && wide:
			pvCodesQ8AVX512(to, ldo, &w.codes[0], &w.unit[0], from, ask, each, size, m, even)
		case c == CodecQ8:
			pvCodesQ8AVX2(to, ldo, &w.codes[0], &w.unit[0], from, ask, each, size, m, even)
		case wide:
			pvCodesQ4AVX512(to, ldo, &w.codes[0], &w.unit[0], from, ask, each, size, m, even)
		default:
			pvCodesQ4AVX2(to, ldo, &w.codes[0], &w.unit[0], from, ask, each, size, m, even)
		}
		if each > 0 && b+1 < blocks {
			ask = &next[(b+1)*each*TileRows/2]
		}
	}
	return true
}
