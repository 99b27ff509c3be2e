package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"
)

// column decodes a row of a codec of columns in float64, by the description alone: from the stage, or from the canonical bytes of its tile.
func (s *Span) column(p *Plane, row, head int) []float64 {
	x := make([]float64, p.Width)
	if row >= s.Open {
		open, y := p.Open(), make([]float32, p.Width)
		code := make([]byte, RowBytes(open.Codec, p.Width))
		open.Code(code, s.Arena[int(s.Stage)*PageUnit:], row%p.PageRows, head)
		DecodeRow(open.Codec, y, code)
		return widen(y)
	}
	size := RowBytes(p.Codec, p.Width)
	code := func(row int) []byte {
		b := make([]byte, size)
		p.Code(b, s.page(row, p), row%p.PageRows, head)
		return b
	}
	first := row / TileRows * TileRows
	for d := range x {
		n := min(32, p.Width-d/32*32) // columns of the block
		half := (n + 1) / 2
		block, i := d/32*18, d%32
		if p.Codec == CodecQ2C {
			block = d / 32 * 10
		}
		table := func(r int) float64 { return float64(halfToFloat(binary.LittleEndian.Uint16(code(first + r)[block:]))) }
		b, shift := i%half, 4*(i/half)
		levels := byte(15)
		if p.Codec == CodecQ2C {
			quarter := (half + 1) / 2
			b, shift, levels = b%quarter, shift+2*(b/quarter), 3
		}
		x[d] = table(32+i) + table(i)*float64(code(row)[block+2+b]>>shift&levels)
	}
	return x
}

// A sealed tile is as near as equal steps between the smallest and the largest of each column would be, and costs what it says, in both orders alike.
func TestSeal(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		for _, c := range []Codec{CodecQ4C, CodecQ2C} {
			for _, width := range []int{1, 5, 20, 32, 33, 37, 64, 96} {
				var rows [2][][]float64
				for o, order := range []Order{Rows, Panels} {
					if order == Panels && !PanelsFit(c, width) {
						continue
					}
					p := Plane{Codec: c, Order: order, Heads: 2, Width: width, PageRows: 128}
					if want := map[Codec]int{CodecQ4C: 18, CodecQ2C: 10}[c] * 2 * 128 * (width / 32); width%32 == 0 && p.Bytes() != want {
						t.Errorf("%v, width %d: %d bytes, want %d", c, width, p.Bytes(), want)
					}
					open := p.Open()
					stage, page := make([]byte, open.Bytes()), make([]byte, p.Bytes())
					r, code := testRand(5), make([]byte, 4*width)
					var in [][]float32
					for row := range 128 {
						x := randVec(r, 2*width, 1)
						for d := range x {
							x[d] = x[d]*float32(1+d%7) + float32(20*(d%3))
						}
						open.Put(stage, row, x, code)
						in = append(in, x)
					}
					p.Seal(page, stage, &Sealer{})
					s := Span{Arena: page, Pages: []uint32{0}, PageBytes: len(page), Open: 128}
					for row := range 128 {
						rows[o] = append(rows[o], s.column(&p, row, 1))
					}
					levels := map[Codec]float64{CodecQ4C: 15, CodecQ2C: 3}[c]
					for d := range width {
						for tile := 0; tile < 128; tile += 64 {
							lo, hi, err, plain := math.Inf(1), math.Inf(-1), 0.0, 0.0
							for row := tile; row < tile+64; row++ {
								v := float64(in[row][width+d])
								lo, hi = min(lo, v), max(hi, v)
							}
							for row := tile; row < tile+64; row++ {
								v := float64(in[row][width+d])
								err += (v - rows[o][row][d]) * (v - rows[o][row][d])
								e := v - (lo + (hi-lo)/levels*math.Round((v-lo)/(hi-lo)*levels))
								plain += e * e
							}
							if bound := plain*1.02 + 64*math.Pow(math.Max(-lo, hi)/1000, 2); !(err <= bound) {
								t.Fatalf("%v, width %d, column %d: squared error %v, equal steps have %v", c, width, d, err, plain)
							}
						}
					}
				}
				if rows[1] != nil && fmt.Sprint(rows[0]) != fmt.Sprint(rows[1]) {
					t.Errorf("%v, width %d: the two orders hold different numbers", c, width)
				}
			}
		}
	})
}

// Worked out by hand: columns of a short block of 5, values that 2 bits hold exactly.
func TestSealLayout(t *testing.T) {
	panel := make([]float32, TileRows*5)
	for d := range 5 {
		for j := range TileRows {
			panel[(j/16*5+d)*16+j%16] = float32(d) + float32(j%4)*0.5 // minimum d, scale 1/2, code j mod 4
		}
	}
	code := make([]byte, TileRows*RowBytes(CodecQ2C, 5))
	sealTile(CodecQ2C, code, panel, 5)
	for j := range TileRows {
		row := code[j*4:][:4] // 2 bytes of the table, then elements 0 2 | 3 in byte 0 (bits 0-1, 2-3, 4-5), 1 | 4 shared out alike
		c := byte(j % 4)
		want := []byte{c | c<<4 | c<<2, c | c<<4} // q4's bytes are (0,3) (1,4) (2); those of the first half are bytes 0 and 1, the third goes above byte 0
		if row[2] != want[0] || row[3] != want[1] {
			t.Fatalf("row %d: codes %x, want %x", j, row[2:], want)
		}
		half := uint16(0)
		if j < 5 {
			half = floatToHalf(0.5)
		} else if j >= 32 && j < 37 {
			half = floatToHalf(float32(j - 32))
		}
		if got := binary.LittleEndian.Uint16(row); got != half {
			t.Fatalf("row %d carries %x, want %x", j, got, half)
		}
	}
	var x [TileRows]float32
	x[3], x[7], x[9] = float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))
	var codes [TileRows]uint8
	for _, c := range []Codec{CodecQ4C, CodecQ2C} {
		if s, l := fitColumn(c, &codes, &x); math.IsNaN(float64(halfToFloat(s))) || math.IsInf(float64(halfToFloat(l)), 0) {
			t.Errorf("%v: scale %x, minimum %x of a column with infinities", c, s, l)
		}
	}
	for _, c := range []Codec{CodecQ4C, CodecQ2C} {
		if back, ok := CodecOf(c.String()); !ok || back != c {
			t.Errorf("codec %v is not found by its name", c)
		}
	}
}

func BenchmarkSealTile(b *testing.B) {
	panel := randVec(testRand(1), TileRows*64, 1)
	for _, c := range []Codec{CodecQ4C, CodecQ2C} {
		code := make([]byte, TileRows*RowBytes(c, 64))
		b.Run(c.String(), func(b *testing.B) {
			for range b.N {
				sealTile(c, code, panel, 64)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64/64, "ns/element")
		})
	}
}
