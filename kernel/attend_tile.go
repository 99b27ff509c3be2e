package kernel

// The inner functions of attention over one tile of TileRows keys, in plain Go. Each is the reference of a fast one and fixes the order of its floating-point
// operations: one chain per output, so that the number of query rows that share a tile never changes a bit.

import (
	"encoding/binary"
	"math"
)

// scoreF32: s[i][j] = (add ? s[i][j] : 0) + sum over d ascending q[i][d] * k[d][j]; k is [TileRows/16][width][16], s is [m, TileRows].
func scoreF32(s, q []float32, ldq int, k []float32, m, width int, add bool) {
	if scoreF32Fast(s, q, ldq, k, m, width, add) {
		return
	}
	for i := 0; i < m; i++ {
		row := s[i*TileRows:][:TileRows]
		if !add {
			clear(row)
		}
		for g := 0; g < TileRows/PanelRows; g++ {
			acc := row[g*PanelRows:][:PanelRows]
			for d, x := range q[i*ldq:][:width] {
				kd := k[(g*width+d)*PanelRows:][:PanelRows]
				for j := range acc {
					acc[j] += float32(x * kd[j])
				}
			}
		}
	}
}

// scorePanels is scoreF32 on panels as they lie in a page, for codecs f32, f16, bf16.
func scorePanels(c Codec, s, q []float32, ldq int, tile, next []byte, m, width int, add bool) {
	if scorePanelsFast(c, s, q, ldq, tile, next, m, width, add) {
		return
	}
	k := make([]float32, TileRows*width)
	expandPanels(c, k, tile, width)
	scoreF32(s, q, ldq, k, m, width, add)
}

// scorePanelsInt8: s[i][j] in the integer order of MatMul, keys being the weight (q8 as Q8_0, q4 as Q4_0).
func scorePanelsInt8(c Codec, s []float32, q *int8Rows, tile, next []byte, m, width int) {
	if scoreInt8Fast(c, s, q.q, q.scale, q.sum, tile, next, m, width) {
		return
	}
	blocks := width / 32
	blockBytes := 16 * RowBytes(c, 32)
	for g := 0; g < TileRows/PanelRows; g++ {
		for i := 0; i < m; i++ {
			acc := s[i*TileRows+g*PanelRows:][:PanelRows]
			clear(acc)
			for b := 0; b < blocks; b++ {
				blk := tile[(g*blocks+b)*blockBytes:][:blockBytes]
				x := q.q[i*width+b*32:][:32]
				for r := range acc {
					var dot int32
					if c == CodecQ8 {
						for k, v := range x {
							dot += int32(v) * (int32(blk[64*(k/4)+4*r+k%4]) - 128)
						}
					} else {
						for k, v := range x {
							code := blk[64*(k%16/4)+4*r+k%4]
							if k >= 16 {
								code >>= 4
							}
							dot += int32(v) * (int32(code&15) - 8)
						}
					}
					d := halfAt(blk[blockBytes-32+2*r:])
					acc[r] += float32(float32(dot) * float32(d*q.scale[i*blocks+b]))
				}
			}
		}
	}
}

func halfAt(b []byte) float32 { return halfToFloat(binary.LittleEndian.Uint16(b)) }

// expandPanels turns TileRows rows in panel order into f32 panels [TileRows/16][width][16].
func expandPanels(c Codec, dst []float32, tile []byte, width int) {
	if expandPanelsFast(c, dst, tile, width) {
		return
	}
	p := Plane{Codec: c, Order: Panels, Heads: 1, Width: width, PageRows: TileRows}
	code := make([]byte, RowBytes(c, width))
	row := make([]float32, width)
	for j := 0; j < TileRows; j++ {
		p.gather(code, tile, j)
		DecodeRow(c, row, code)
		for d, v := range row {
			dst[(j/PanelRows*width+d)*PanelRows+j%PanelRows] = v
		}
	}
}

// expandRows decodes n rows into dst [n, width].
func expandRows(c Codec, dst []float32, src []byte, n, width int) {
	if width%RowBlock == 0 || c <= CodecBF16 { // without a short block the rows are one long row
		DecodeRow(c, dst[:n*width], src)
		return
	}
	size := RowBytes(c, width)
	var block [RowBlock]float32
	for j := decodeOver(c, dst[:n*width], src, n, width); j < n; j++ {
		decodeShort(c, dst[j*width:][:width], src[j*size:], &block)
	}
}

// decodeShort is DecodeRow of a row that ends in a short block, which it decodes as a whole one where src goes on far enough: what follows the row is read, and dropped.
func decodeShort(c Codec, dst []float32, src []byte, block *[RowBlock]float32) {
	whole := len(dst) &^ (RowBlock - 1)
	at := RowBytes(c, whole)
	if len(src) < at+RowBytes(c, RowBlock) || decodeFast(c, block[:], src[at:]) < RowBlock {
		DecodeRow(c, dst, src)
		return
	}
	decodeFast(c, dst[:whole], src)
	short := dst[whole:]
	if c == CodecQ4 { // a byte holds two elements half a block apart
		n := copy(short[:(len(short)+1)/2], block[:])
		copy(short[n:], block[RowBlock/2:])
		return
	}
	copy(short, block[:])
}

// toPanels writes rows x [n, width] (distance ld) into f32 panels; rows past n are zero.
func toPanels(panel, x []float32, ld, n, width int) {
	for j := toPanelsFast(panel, x, ld, n, width); j < TileRows; j++ {
		o := j/PanelRows*PanelRows*width + j%PanelRows
		if j >= n {
			for d := 0; d < width; d++ {
				panel[o+d*PanelRows] = 0
			}
			continue
		}
		for d, v := range x[j*ld:][:width] {
			panel[o+d*PanelRows] = v
		}
	}
}

// softcapTile: s -> c tanh(s/c).
func softcapTile(s []float32, c float32) {
	Softcap(s, c)
}

// softmaxTile updates m rows of TileRows scores: s becomes exp(s - new max), alpha the factor for what was mixed before (exactly 1 where the maximum stays; 0 while nothing was seen), sum
// the running sum. The sum of a row runs over 16 lanes (column j in lane j mod 16, ascending), then pairwise over lanes 8, 4, 2, 1 apart.
func softmaxTile(s []float32, m int, mx, sum, alpha []float32) {
	if softmaxFast(s, m, mx, sum, alpha) {
		return
	}
	for i := 0; i < m; i++ {
		row := s[i*TileRows:][:TileRows]
		top := mx[i]
		for _, v := range row {
			top = max(top, v)
		}
		if top == negInf { // nothing seen yet, nothing here
			clear(row)
			alpha[i] = 0 // and nothing mixed before
			continue
		}
		alpha[i] = expDiff(mx[i], top)
		mx[i] = top
		var lane [16]float32
		for j, v := range row {
			e := float32(0)
			if v != negInf {
				e = float32(math.Exp(float64(v - top)))
			}
			row[j] = e
			lane[j%16] += e
		}
		for w := 8; w > 0; w /= 2 {
			for j := 0; j < w; j++ {
				lane[j] += lane[j+w]
			}
		}
		sum[i] = float32(sum[i]*alpha[i]) + lane[0]
	}
}

// scaleRows multiplies row i of o [m, width] by alpha[i].
func scaleRows(o []float32, width int, alpha []float32, m int) {
	for i := 0; i < m; i++ {
		if alpha[i] == 1 {
			continue
		}
		Scale(o[i*width:][:width], alpha[i])
	}
}

// accumulatePV: o[i][d] += sum over j ascending p[i][j] * v[j][d].
func accumulatePV(o []float32, ldo int, p []float32, ldp int, v []float32, ldv, m, n, width int) {
	if done := pvFast(o, ldo, p, ldp, v, ldv, m, n, width); done > 0 {
		if done == width || m == 0 {
			return
		}
		o, v, width = o[done:], v[done:], width-done
	}
	if n <= TileRows && width < 16 && pvTail(o, ldo, p, ldp, v, ldv, m, n, width) {
		return
	}
	for i := 0; i < m; i++ {
		row := o[i*ldo:][:width]
		for j := 0; j < n; j++ {
			w := p[i*ldp+j]
			for d, x := range v[j*ldv:][:width] {
				row[d] += float32(w * x)
			}
		}
	}
}

// weightCodes holds the weights of a tile for one block of columns: codes [rows, TileRows], and what a code of a row is worth.
type weightCodes struct {
	codes []int16
	unit  []float32
}

// mixCodes adds the mix of n rows of codec q8 or q4, size bytes from row to row, by the weights p [m, TileRows] (0 past n) to o. The scales of the rows are multiplied into the weights and these
// rounded to 16 bits, of which the largest in the tile takes all, for each block of columns: x_j = p_j scale_j, unit = max|x| / 32767, o_d += unit * sum over j of round(x_j / unit) code_jd. The sum
// is one of integers, so its order is free. The rounding is at most 1/65534 of the largest weight, far below that of the values themselves.
func mixCodes(c Codec, w *weightCodes, o []float32, ldo int, p []float32, v, next []byte, size, m, n, width int) {
	if cap(w.unit) < m {
		w.codes, w.unit = make([]int16, m*TileRows), make([]float32, m)
	}
	w.codes, w.unit = w.codes[:m*TileRows], w.unit[:m]
	if mixCodesFast(c, w, o, ldo, p, v, next, size, m, n, width) {
		return
	}
	var x [TileRows]float32
	var row [RowBlock]int32
	for b := 0; b < width/RowBlock; b++ {
		at := b * RowBytes(c, RowBlock)
		for i := 0; i < m; i++ {
			top := float32(1e-30)
			for j := range n {
				x[j] = float32(p[i*TileRows+j] * halfAt(v[j*size+at:]))
				top = max(top, x[j], -x[j])
			}
			up := float32(32767) / top
			var sum [RowBlock]int32
			for j := range n {
				code := int32(math.RoundToEven(float64(float32(x[j] * up))))
				blockCodes(c, &row, v[j*size+at+2:])
				for d, r := range row {
					sum[d] += code * r
				}
			}
			unit := float32(top * float32(1.0/32767))
			for d, s := range sum {
				o[i*ldo+b*RowBlock+d] += float32(float32(s) * unit)
			}
		}
	}
}

// blockCodes reads the signed codes of a whole block in q8 or q4.
func blockCodes(c Codec, codes *[RowBlock]int32, v []byte) {
	for d := range codes {
		if c == CodecQ8 {
			codes[d] = int32(int8(v[d]))
			continue
		}
		codes[d] = int32(v[d%16]>>(d/16*4)&15) - 8
	}
}

// pvTail mixes fewer than 16 columns as 16, the rest of them zero, where there is a fast way for those: the same chain for each column.
func pvTail(o []float32, ldo int, p []float32, ldp int, v []float32, ldv, m, n, width int) bool {
	var rows [TileRows * 16]float32
	for j := range n {
		copy(rows[j*16:], v[j*ldv:][:width])
	}
	for i := range m {
		var row [16]float32
		copy(row[:], o[i*ldo:][:width])
		if pvFast(row[:], 16, p[i*ldp:], ldp, rows[:], 16, 1, n, 16) == 0 {
			return false
		}
		copy(o[i*ldo:][:width], row[:])
	}
	return true
}

// weigh: s[i][j] = (add ? s[i][j] : 0) + x[i][j] * a[j][col + i*step] for m rows of a tile; s and x are [m, TileRows], a is in panels [TileRows/16][width][16].
func weigh(s, x, panel []float32, col, step, width, m int, add bool) {
	if weighFast(s, x, panel, col, step, width, m, add) {
		return
	}
	for i := 0; i < m; i++ {
		to, from := s[i*TileRows:][:TileRows], x[i*TileRows:][:TileRows]
		for j, v := range from {
			p := float32(v * panel[(j/PanelRows*width+col+i*step)*PanelRows+j%PanelRows])
			if add {
				p += to[j]
			}
			to[j] = p
		}
	}
}

// gateRows: row j of y (distance ldy) times gates[j][at : at+n]. sums [len(gates), 2, 16] collects each row's products and their squares, column i in lane i mod 16.
func gateRows(y []float32, ldy, n int, gates [][]float32, at int, sums []float32) {
	if gateRowsFast(y, ldy, n, gates, at, sums) {
		return
	}
	for j, gate := range gates {
		row, gate, sum, square := y[j*ldy:][:n], gate[at:][:n], sums[32*j:][:16], sums[32*j+16:][:16]
		for i, g := range gate {
			v := row[i] * g
			row[i] = v
			sum[i%16] += v
			square[i%16] += float32(v * v)
		}
	}
}

// mergeRow: a = a fa + b fb.
func mergeRow(a, b []float32, fa, fb float32) {
	if mergeRowFast(a, b, fa, fb) {
		return
	}
	for d, x := range b {
		a[d] = float32(a[d]*fa) + float32(x*fb)
	}
}
