package kernel

// Mixing of q8 and q4 values on assembly: o += (p scale) code, a block of 32 columns at a time.

// pvBlocksFast mixes columns [0, width) of n rows v of codec q8 or q4, size bytes from row to row; width is whole blocks. w is scratch of m*TileRows floats; codes, of n*width, is
// used where many query rows make it worthwhile to expand the codes once. The choice changes no bit.
func pvBlocksFast(c Codec, o []float32, ldo int, p []float32, ldp int, v []byte, size, m, n, width int, w, codes []float32) bool {
	blocks := width / RowBlock
	if vecLevel == vecPlain || (c != CodecQ8 && c != CodecQ4) || width%RowBlock != 0 || blocks == 0 || m == 0 || n == 0 {
		return false
	}
	wide, step := vecLevel == vecAVX512, RowBytes(c, RowBlock)
	_, _, _, _ = o[(m-1)*ldo+width-1], p[(m-1)*ldp+TileRows-1], v[(n-1)*size+blocks*step-1], w[m*TileRows-1]
	expanded := m > fewRows
	if expanded {
		_ = codes[n*width-1]
		for j := 0; j < n; j++ {
			switch {
			case c == CodecQ8 && wide:
				codesQ8AVX512(&codes[j*width], &v[j*size], blocks)
			case c == CodecQ8:
				codesQ8AVX2(&codes[j*width], &v[j*size], blocks)
			case wide:
				codesQ4AVX512(&codes[j*width], &v[j*size], blocks)
			default:
				codesQ4AVX2(&codes[j*width], &v[j*size], blocks)
			}
		}
	}
	for b := 0; b < blocks; b++ {
		to, from := &o[b*RowBlock], &v[b*step+2]
		if wide {
			scaleWeightsAVX512(&w[0], &p[0], ldp, &v[b*step], size, m, n)
		} else {
			scaleWeightsAVX2(&w[0], &p[0], ldp, &v[b*step], size, m, n)
		}
		switch {
		case expanded && wide:
			pvBlockCodesAVX512(to, ldo, &w[0], bytesOf(codes[b*RowBlock:]), 4*width, m, n)
		case expanded:
			pvBlockCodesAVX2(to, ldo, &w[0], bytesOf(codes[b*RowBlock:]), 4*width, m, n)
		case c == CodecQ8 && wide:
			pvBlockQ8AVX512(to, ldo, &w[0], from, size, m, n)
		case c == CodecQ8:
			pvBlockQ8AVX2(to, ldo, &w[0], from, size, m, n)
		case wide:
			pvBlockQ4AVX512(to, ldo, &w[0], from, size, m, n)
		default:
			pvBlockQ4AVX2(to, ldo, &w[0], from, size, m, n)
		}
	}
	return true
}
