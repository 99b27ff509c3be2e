package kernel

import "fmt"

func peakRound(what string) (func(n int), float64) {
	switch {
	case vecLevel == vecAVX512 && what == "f32":
		return peakF32AVX512, 24 * 16 * 2
	case vecLevel == vecAVX512 && what == "int8":
		return peakInt8AVX512, 24 * 64 * 2
	case vecLevel == vecAVX2 && what == "f32":
		return peakF32AVX2, 12 * 8 * 2
	case vecLevel == vecAVX2 && what == "int8":
		return peakInt8AVX2, 12 * 32 * 2
	}
	return peakPlain(what)
}

// readBytes reads b, whose length is a multiple of 512.
func readBytes(b []byte) {
	switch vecLevel {
	case vecAVX512:
		readAllAVX512(&b[0], len(b))
	case vecAVX2:
		readAllAVX2(&b[0], len(b))
	default:
		readPlain(b)
	}
}

// kernelShape is the instructions and the tile that most of m rows pass through.
func kernelShape(f Format, m int) string {
	if vecLevel == vecPlain {
		return "go"
	}
	name := levels[vecLevel]
	if f.Quantised() {
		if useAMX(f, m) {
			return fmt.Sprintf("amx int8 %dx%d", amxRows, PanelRows)
		}
		tiles := int8TilesAVX512[f]
		if vecLevel == vecAVX2 {
			tiles = int8TilesAVX2[f]
		}
		return fmt.Sprintf("%s int8 %dx%d", name, 1<<min(log2floor(max(m, 1)), len(tiles)-1), PanelRows)
	}
	k := &floatAVX512[f]
	if vecLevel == vecAVX2 {
		k = &floatAVX2[f]
	}
	rows, panels := k.rowsOf(max(m, 1)), k.panels
	if rows <= len(k.wide) {
		panels = widePanels
	}
	return fmt.Sprintf("%s f32 %dx%d", name, rows, panels*PanelRows)
}

func log2floor(n int) int {
	l := 0
	for ; n > 1; n >>= 1 {
		l++
	}
	return l
}
