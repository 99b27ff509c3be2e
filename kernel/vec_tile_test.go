package kernel

import (
	"fmt"
	"math"
	"testing"
)

var tileWidths = []int{4, 16, 20, 32, 64, 80, 96, 128, 192, 576}

// atPlain runs f at the plain level: the reference.
func atPlain(f func()) {
	now := vecLevel
	vecLevel = vecPlain
	defer func() { vecLevel = now }()
	f()
}

func widen(x []float32) []float64 { return wide(x, func(_ int, v float64) float64 { return v }) }

// makePanels encodes TileRows random rows of a codec into panel order.
func makePanels(c Codec, rows []float32, width int) []byte {
	p := Plane{Codec: c, Order: Panels, Heads: 1, Width: width, PageRows: TileRows}
	tile, code := make([]byte, p.Bytes()), make([]byte, RowBytes(c, width))
	for j := 0; j < TileRows; j++ {
		p.Put(tile, j, rows[j*width:][:width], code)
	}
	return tile
}

func TestScoreTile(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(21)
		for _, width := range tileWidths {
			const most = 13
			ldq := width + 5
			q, k := randVec(r, most*ldq, 1), randVec(r, TileRows*width, 1)
			start := randVec(r, most*TileRows, 1)
			for _, c := range []Codec{CodecF32, CodecF16, CodecBF16} {
				tile := makePanels(c, k, width)
				for _, add := range []bool{false, true} {
					want := append([]float32(nil), start...)
					atPlain(func() { scorePanels(c, want, q, ldq, tile, nil, most, width, add) })
					var all []float32
					for m := most; m > 0; m-- {
						s, check := guarded(t, start[:m*TileRows])
						scorePanels(c, s, q, ldq, tile, nil, m, width, add)
						check()
						near(t, fmt.Sprintf("%v scores, width %d, %d rows", c, width, m), s, widen(want[:m*TileRows]), 1e-5, 1e-5*math.Sqrt(float64(width)))
						if all == nil {
							all = s
						}
						sameBits(t, fmt.Sprintf("%v scores, width %d, %d rows or %d", c, width, m, most), s, all[:m*TileRows])
					}
				}
			}
		}
	})
}

func TestWeigh(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(27)
		for _, c := range []struct{ width, col, step, m int }{{1, 0, 1, 1}, {10, 1, 2, 5}, {96, 33, 3, 21}} {
			start, x, a := randVec(r, c.m*TileRows, 1), randVec(r, c.m*TileRows, 1), randVec(r, c.width*TileRows, 1)
			for _, add := range []bool{false, true} {
				want := append([]float32(nil), start...)
				atPlain(func() { weigh(want, x, a, c.col, c.step, c.width, c.m, add) })
				got, check := guarded(t, start)
				weigh(got, x, a, c.col, c.step, c.width, c.m, add)
				check()
				near(t, fmt.Sprintf("%+v, add %v", c, add), got, widen(want), 1e-6, 1e-6)
				for i := 0; i < c.m; i++ { // by the definition
					for j := 0; j < TileRows; j++ {
						y := float64(x[i*TileRows+j]) * float64(a[(j/PanelRows*c.width+c.col+i*c.step)*PanelRows+j%PanelRows])
						if add {
							y += float64(start[i*TileRows+j])
						}
						if math.Abs(y-float64(got[i*TileRows+j])) > 1e-6 {
							t.Fatalf("%+v, add %v: row %d, key %d is %v, want %v", c, add, i, j, got[i*TileRows+j], y)
						}
					}
				}
			}
		}
	})
}

// Rows that end in a short block are read as those of the plain path, and nothing before or behind them is written; the last one may end where memory does.
func TestExpandRows(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(29)
		for _, c := range []Codec{CodecQ8, CodecQ4} {
			for _, width := range []int{1, 5, 8, 24, 31, 32, 33, 40, 56, 127} {
				const n = 5
				var src []byte
				want := make([]float32, n*width)
				for j := range n {
					code := make([]byte, RowBytes(c, width))
					encodeRowPlain(c, code, randVec(r, width, 1))
					decodeRowPlain(c, want[j*width:][:width], code)
					src = append(src, code...)
				}
				for rows := 1; rows <= n; rows++ {
					got, check := guarded(t, make([]float32, rows*width))
					expandRows(c, got, src[:len(src):len(src)], rows, width)
					check()
					sameBits(t, fmt.Sprintf("%v, %d rows of %d", c, rows, width), got, want[:rows*width])
				}
			}
		}
	})
}

func TestGateRows(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(28)
		for _, c := range []struct{ n, rows, at int }{{16, 1, 0}, {22, 3, 5}, {64, 5, 64}, {128, 64, 256}} {
			ldy := c.n + 3
			start, before := randVec(r, c.rows*ldy, 1), randVec(r, 32*c.rows, 1)
			gates := make([][]float32, c.rows)
			for j := range gates {
				gates[j] = randVec(r, c.at+c.n, 1)
			}
			got, check := guarded(t, start)
			sums, checkSums := guarded(t, before)
			gateRows(got, ldy, c.n, gates, c.at, sums)
			check()
			checkSums()
			for j := range c.rows {
				var want [2][16]float64
				for i := range 16 {
					want[0][i], want[1][i] = float64(before[32*j+i]), float64(before[32*j+16+i])
				}
				for i := range ldy {
					y := start[j*ldy+i]
					if i < c.n {
						y *= gates[j][c.at+i]
						want[0][i%16] += float64(y)
						want[1][i%16] += float64(y) * float64(y)
					}
					if got[j*ldy+i] != y {
						t.Fatalf("%+v: row %d, column %d is %v, want %v", c, j, i, got[j*ldy+i], y)
					}
				}
				for i := range 16 {
					for k := range 2 {
						if d := math.Abs(float64(sums[32*j+16*k+i]) - want[k][i]); d > 1e-5 {
							t.Fatalf("%+v: row %d, sum %d of lane %d is off by %v", c, j, k, i, d)
						}
					}
				}
			}
		}
	})
}

func TestAccumulatePV(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(22)
		for _, width := range append([]int{1, 15, 17}, tileWidths...) {
			const most = 13
			ldo, ldv := width+3, width+7
			start, p, v := randVec(r, most*ldo, 1), randVec(r, most*TileRows, 1), randVec(r, TileRows*ldv, 1)
			for i := range p { // as softmax leaves them
				p[i] = float32(math.Abs(float64(p[i])))
			}
			for _, n := range []int{1, 5, 64} {
				want := append([]float32(nil), start...)
				atPlain(func() { accumulatePV(want, ldo, p, TileRows, v, ldv, most, n, width) })
				var all []float32
				for m := most; m > 0; m-- {
					o, check := guarded(t, start[:m*ldo])
					accumulatePV(o, ldo, p, TileRows, v, ldv, m, n, width)
					check()
					near(t, fmt.Sprintf("mix, width %d, %d rows, %d keys", width, m, n), o, widen(want[:m*ldo]), 1e-5, 1e-4)
					if all == nil {
						all = o
					}
					sameBits(t, fmt.Sprintf("mix, width %d, %d rows or %d", width, m, most), o, all[:m*ldo])
				}
				// Masked keys weigh nothing: more of them change no bit.
				if n < 64 {
					masked := append([]float32(nil), p...)
					for i := range masked {
						if i%TileRows >= n {
							masked[i] = 0
						}
					}
					o := append([]float32(nil), start...)
					accumulatePV(o, ldo, masked, TileRows, v, ldv, most, TileRows, width)
					sameBits(t, fmt.Sprintf("mix, width %d, masked past %d", width, n), o[:(most-1)*ldo+width], all[:(most-1)*ldo+width])
				}
			}
		}
	})
}

func TestSoftmaxTile(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(23)
		const m = 9
		scores := randVec(r, m*TileRows, 5)
		mx, sum, alpha := make([]float32, m), make([]float32, m), make([]float32, m)
		for i := range mx {
			mx[i], sum[i] = negInf, 0
			row := scores[i*TileRows:][:TileRows]
			switch i {
			case 1: // nothing seen, nothing here
				for j := range row {
					row[j] = negInf
				}
			case 2: // seen before, nothing here
				mx[i], sum[i] = 3, 2.5
				for j := range row {
					row[j] = negInf
				}
			case 3: // the maximum stays
				mx[i], sum[i] = 1000, 1
			case 4: // the maximum rises far
				mx[i], sum[i] = -1000, 5
			case 5, 6:
				mx[i], sum[i] = 2, 7
				for j := 10 * (i - 4); j < TileRows; j++ {
					row[j] = negInf
				}
			}
		}
		mx0, sum0 := append([]float32(nil), mx...), append([]float32(nil), sum...)
		s := append([]float32(nil), scores...)
		softmaxTile(s, m, mx, sum, alpha)
		for i := 0; i < m; i++ {
			row, top := scores[i*TileRows:][:TileRows], mx0[i]
			for _, v := range row {
				top = max(top, v)
			}
			if mx[i] != top {
				t.Fatalf("row %d: maximum %v, want %v", i, mx[i], top)
			}
			if i == 1 {
				if alpha[i] != 0 || sum[i] != 0 || s[i*TileRows] != 0 {
					t.Fatalf("row of nothing: alpha %v, sum %v, p %v", alpha[i], sum[i], s[i*TileRows])
				}
				continue
			}
			wantAlpha := math.Exp(float64(mx0[i]) - float64(top))
			if math.Abs(float64(alpha[i])-wantAlpha) > 1e-6*wantAlpha || (mx0[i] == top && alpha[i] != 1) {
				t.Fatalf("row %d: alpha %v, want %v", i, alpha[i], wantAlpha)
			}
			p, total := wide(row, func(_ int, v float64) float64 { return math.Exp(v - float64(top)) }), float64(sum0[i])*wantAlpha
			near(t, fmt.Sprintf("row %d", i), s[i*TileRows:][:TileRows], p, 3e-6, 1e-37) // the difference itself is rounded
			for _, v := range p {
				total += v
			}
			if math.Abs(float64(sum[i])-total) > 1e-6*total {
				t.Fatalf("row %d: sum %v, want %v", i, sum[i], total)
			}
			// The same row alone.
			s1, mx1, sum1, alpha1 := append([]float32(nil), row...), []float32{mx0[i]}, []float32{sum0[i]}, []float32{0}
			softmaxTile(s1, 1, mx1, sum1, alpha1)
			sameBits(t, "a row alone", append(append(append(s1, mx1...), sum1...), alpha1...),
				append(append(append(append([]float32(nil), s[i*TileRows:][:TileRows]...), mx[i]), sum[i]), alpha[i]))
		}
	})
}

func TestTileSmall(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(24)
		for _, width := range tileWidths {
			ld := width + 3
			x := randVec(r, TileRows*ld, 1)
			for _, n := range []int{0, 1, 16, 33, 64} {
				panel, check := guarded(t, randVec(r, TileRows*width, 1))
				toPanels(panel, x, ld, n, width)
				check()
				for j := 0; j < TileRows; j++ {
					for d := 0; d < width; d++ {
						want := float32(0)
						if j < n {
							want = x[j*ld+d]
						}
						if got := panel[(j/16*width+d)*16+j%16]; got != want {
							t.Fatalf("width %d, %d rows: row %d column %d is %v, want %v", width, n, j, d, got, want)
						}
					}
				}
			}
			o, check := guarded(t, x[:6*width])
			alpha := []float32{1, 0, 0.5, 1, 0.25, 3}
			scaleRows(o, width, alpha, 6)
			check()
			near(t, "scaleRows", o, wide(x[:6*width], func(i int, v float64) float64 { return v * float64(alpha[i/width]) }), 1e-7, 0)
			a, check := guarded(t, x[:width])
			mergeRow(a, x[width:2*width], 0.3, 0.6)
			check()
			near(t, "mergeRow", a, wide(x[:width], func(i int, v float64) float64 {
				return v*float64(float32(0.3)) + float64(x[width+i])*float64(float32(0.6))
			}), 1e-6, 1e-6)
			for _, c := range allCodecs {
				if c >= CodecQ8 && width%32 != 0 {
					continue
				}
				const n = 37
				code := make([]byte, n*RowBytes(c, width))
				for j := 0; j < n; j++ {
					EncodeRow(c, code[j*RowBytes(c, width):], x[j*width:][:width])
				}
				rows, check := guarded(t, make([]float32, n*width))
				expandRows(c, rows, code, n, width)
				check()
				for j := 0; j < n; j++ {
					one := make([]float32, width)
					DecodeRow(c, one, code[j*RowBytes(c, width):])
					sameBits(t, "expandRows", rows[j*width:][:width], one)
				}
				tile := makePanels(c, x, width)
				want := make([]float32, TileRows*width)
				atPlain(func() { expandPanels(c, want, tile, width) })
				got, check := guarded(t, make([]float32, TileRows*width))
				expandPanels(c, got, tile, width)
				check()
				sameBits(t, "expandPanels "+c.String(), got, want)
			}
		}
	})
}

// TestScoreInt8 holds the int8 scores against the definition in float64 (the integer sums are exact) and against the same rows alone.
func TestScoreInt8(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(25)
		for _, width := range []int{32, 64, 96, 128, 576} {
			const most = 8
			blocks := width / 32
			q, scale, sum := make([]int8, most*width), make([]float32, most*blocks), make([]int32, most*blocks)
			for i := range q {
				q[i] = int8(r.IntN(255) - 127)
				if i < width {
					q[i] = 127 // the largest sums
				}
				sum[i/32] += int32(q[i])
			}
			for i := range scale {
				scale[i] = r.Float32() / 100
			}
			for _, c := range []Codec{CodecQ8, CodecQ4} {
				keys := randVec(r, TileRows*width, 1)
				for i := range width {
					keys[i] = -1 // all codes at one end
					keys[width+i] = 1
				}
				p := Plane{Codec: c, Order: Panels, Heads: 1, Width: width, PageRows: TileRows}
				tile, code, key := makePanels(c, keys, width), make([]byte, RowBytes(c, width)), make([]float32, width)
				want := make([]float64, most*TileRows)
				for j := 0; j < TileRows; j++ {
					p.Code(code, tile, j, 0)
					DecodeRow(c, key, code)
					for i := 0; i < most; i++ {
						for d, v := range key {
							want[i*TileRows+j] += float64(v) * float64(q[i*width+d]) * float64(scale[i*blocks+d/32])
						}
					}
				}
				var all []float32
				for m := most; m > 0; m-- {
					s, check := guarded(t, make([]float32, m*TileRows))
					if !scoreInt8Fast(c, s, q, scale, sum, tile, nil, m, width) {
						if vecLevel != vecPlain {
							t.Fatal("not done")
						}
						return
					}
					check()
					near(t, fmt.Sprintf("int8 scores on %v, width %d, %d rows", c, width, m), s, want[:m*TileRows], 2e-6, 2e-5)
					if all == nil {
						all = s
					}
					sameBits(t, fmt.Sprintf("int8 scores on %v, width %d, %d rows or %d", c, width, m, most), s, all[:m*TileRows])
				}
			}
		}
	})
}

func TestRotateTile(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(26)
		for _, half := range []int{2, 16, 20, 32, 150} {
			freq := make([]float64, half)
			for i := range freq {
				freq[i] = math.Pow(10000, -float64(i)/float64(half))
			}
			width := 2*half + 4 // the last columns are not rotated
			ld := width + 3
			x := randVec(r, TileRows*ld, 1)
			for _, pairs := range []bool{false, true} {
				rot := NewRotation(freq, pairs)
				for _, r0 := range []int{0, 64, 4096, 4096*63 + 640, 4096 * 200} {
					const n = 50
					panel, check := guarded(t, make([]float32, TileRows*width))
					rot.rotateTile(panel, x, ld, r0, n, width)
					check()
					for j := 0; j < TileRows; j++ {
						want := make([]float64, width)
						for d := range want {
							if j < n {
								want[d] = float64(x[j*ld+d])
							}
						}
						for i, f := range freq {
							a, b := i, i+half
							if pairs {
								a, b = 2*i, 2*i+1
							}
							s, c := math.Sincos(float64(r0+j) * f)
							want[a], want[b] = want[a]*c-want[b]*s, want[a]*s+want[b]*c
						}
						got := make([]float32, width)
						for d := range got {
							got[d] = panel[(j/16*width+d)*16+j%16]
						}
						near(t, fmt.Sprintf("row %d of tile %d, %d pairs", j, r0, half), got, want, 1e-6, 2e-6)
					}
				}
			}
		}
	})
}

// TestPVBlocks: values in q8 and q4 rows, mixed as they lie, give the bits of rows expanded first.
func TestPVBlocks(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(27)
		for _, c := range []Codec{CodecQ8, CodecQ4} {
			for _, width := range []int{1, 24, 32, 56, 64, 96, 512} {
				if c == CodecQ4 && width%RowBlock > 0 {
					continue
				}
				const most = 15
				ldo, size := width+3, RowBytes(c, width)+RowBytes(c, 32)
				v, x := make([]byte, (TileRows-1)*size+RowBytes(c, width)), make([]float32, TileRows*width)
				for j := 0; j < TileRows; j++ {
					EncodeRow(c, v[j*size:], randVec(r, width, 1))
					DecodeRow(c, x[j*width:][:width], v[j*size:])
				}
				start, p := randVec(r, most*ldo, 1), randVec(r, most*TileRows, 1)
				for _, n := range []int{1, 2, 37, 64} {
					want := append([]float32(nil), start...)
					accumulatePV(want, ldo, p, TileRows, x, width, most, n, width)
					for m := most; m > 0; m-- {
						o, check := guarded(t, start[:m*ldo])
						if !pvBlocksFast(c, o, ldo, p, v, size, m, n, width) {
							if vecLevel != vecPlain {
								t.Fatal("not done")
							}
							return
						}
						check()
						sameBits(t, fmt.Sprintf("%v mix, width %d, %d rows, %d keys", c, width, m, n), o, want[:m*ldo])
					}
				}
			}
		}
	})
}

// TestMixCodes: the integer sums are those of the plain path at every level, and near the mix in float32; what stands in a page past the last row does not matter.
func TestMixCodes(t *testing.T) {
	const most = 50
	type mixCase struct {
		codec       Codec
		width, n    int
		start, p, o []float32
		v           []byte
	}
	var cases []mixCase
	r := testRand(28)
	for _, codec := range []Codec{CodecQ8, CodecQ4} {
		for _, width := range []int{32, 64, 96, 512} {
			for _, n := range []int{1, 2, 37, 64} {
				c := mixCase{codec: codec, width: width, n: n, start: randVec(r, most*(width+3), 1), p: make([]float32, most*TileRows)}
				size := RowBytes(codec, width)
				c.v = make([]byte, TileRows*size)
				for i := range c.v {
					c.v[i] = byte(r.Uint32())
				}
				x := make([]float32, n*width)
				for j := range n {
					EncodeRow(codec, c.v[j*size:], randVec(r, width, 1))
					DecodeRow(codec, x[j*width:][:width], c.v[j*size:])
				}
				for i := 1; i < most; i++ { // the first sees nothing here
					for j := range n {
						c.p[i*TileRows+j] = float32(math.Exp(-6 * r.Float64()))
					}
				}
				c.o = append(c.o, c.start...)
				accumulatePV(c.o, width+3, c.p, TileRows, x, width, most, n, width)
				cases = append(cases, c)
			}
		}
	}
	eachLevel(t, func(t *testing.T) {
		for i := range cases {
			c := &cases[i]
			what, ldo, rel, abs := fmt.Sprintf("%v mix, width %d, %d keys", c.codec, c.width, c.n), c.width+3, 0.0, 5e-4
			if vecLevel != vecPlain {
				rel, abs = 2e-6, 2e-6
			}
			for _, m := range []int{1, 2, 3, 5, 12, 13, 23, 48, most} {
				o, check := guarded(t, c.start[:m*ldo])
				mixCodes(c.codec, &weightCodes{}, o, ldo, c.p, c.v, nil, RowBytes(c.codec, c.width), m, c.n, c.width)
				check()
				near(t, fmt.Sprintf("%s, %d rows", what, m), o, wide(c.o[:m*ldo], func(_ int, v float64) float64 { return v }), rel, abs)
				if m == most && vecLevel == vecPlain {
					copy(c.o, o) // the other levels come after
				}
			}
		}
	})
}
