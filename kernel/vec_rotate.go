package kernel

// Rotation of cached keys on reading, for designs that store keys before RoPE (MFA-KR).
//
// The angle of row r and pair i is r f(i). It is put together from three tables by the addition theorem: the row inside its tile, the tile inside 64 tiles, and
// the group of 64 tiles inside 64 of those; rows beyond 262,144 take the sine of the last part directly. So no table grows with the context and no sine is taken per row.

import "math"

const (
	rotateFan   = 64  // entries of each table
	rotateBatch = 128 // pairs whose base angles are held at once
)

// Rotation rotates keys on reading.
type Rotation struct {
	Pairs    bool         // (2i, 2i+1), else (i, i + width/2)
	freq     []float64    // inverse frequencies, one a pair
	cos, sin []float32    // [pair][TileRows]: rows inside a tile
	tile     []complex128 // [rotateFan][pair]: tiles inside a group
	group    []complex128 // [rotateFan][pair]: groups
}

// NewRotation makes the tables. freq holds width/2 inverse frequencies.
func NewRotation(freq []float64, pairs bool) *Rotation {
	r := &Rotation{Pairs: pairs, freq: freq}
	for _, f := range freq {
		for j := 0; j < TileRows; j++ {
			s, c := math.Sincos(float64(j) * f)
			r.cos, r.sin = append(r.cos, float32(c)), append(r.sin, float32(s))
		}
	}
	for j := 0; j < rotateFan; j++ {
		for _, f := range freq {
			r.tile = append(r.tile, turn(float64(j*TileRows)*f))
			r.group = append(r.group, turn(float64(j*TileRows*rotateFan)*f))
		}
	}
	return r
}

// turn is e^(i angle).
func turn(angle float64) complex128 {
	s, c := math.Sincos(angle)
	return complex(c, s)
}

// base writes the cosine and sine of the angles of row r0, a multiple of TileRows, for pairs from .. from+len(c).
func (r *Rotation) base(c, s []float32, r0, from int) {
	t := r0 / TileRows
	tile := r.tile[t%rotateFan*len(r.freq)+from:][:len(c)]
	if g := t / rotateFan; g < rotateFan {
		group := r.group[g*len(r.freq)+from:][:len(c)]
		for i, a := range tile {
			z := a * group[i]
			c[i], s[i] = float32(real(z)), float32(imag(z))
		}
		return
	}
	for i, a := range tile {
		z := a * turn(float64(t/rotateFan*rotateFan*TileRows)*r.freq[from+i])
		c[i], s[i] = float32(real(z)), float32(imag(z))
	}
}

// rotateTile writes rows x [n, width] (distance ld) of a tile that starts at row r0, rotated, into panels; rows past n are zero and columns past the last pair stay as they are.
func (r *Rotation) rotateTile(panel, x []float32, ld, r0, n, width int) {
	toPanels(panel, x, ld, n, width)
	var c, s [rotateBatch]float32
	for from := 0; from < len(r.freq); from += rotateBatch {
		pairs := min(rotateBatch, len(r.freq)-from)
		r.base(c[:pairs], s[:pairs], r0, from)
		cos, sin := r.cos[from*TileRows:][:pairs*TileRows], r.sin[from*TileRows:][:pairs*TileRows]
		a, b, step := r.columns(from)
		if !rotateFast(panel, a, b, step, width, c[:pairs], s[:pairs], cos, sin) {
			rotatePanels(panel, a, b, step, width, c[:pairs], s[:pairs], cos, sin)
		}
	}
}

// columns says where pair `from` stands in a row, and how far the next one is.
func (r *Rotation) columns(from int) (a, b, step int) {
	if r.Pairs {
		return 2 * from, 2*from + 1, 2
	}
	return from, from + len(r.freq), 1
}

// rotatePanels rotates columns a + i step and b + i step, i < len(c0), of a tile in panels [4][width][16].
func rotatePanels(panel []float32, a, b, step, width int, c0, s0, cos, sin []float32) {
	for i := range c0 {
		for j := 0; j < TileRows; j++ {
			rotateOne(panel, j, a+i*step, b+i*step, width, c0[i], s0[i], cos[i*TileRows+j], sin[i*TileRows+j])
		}
	}
}

// rotateOne rotates columns a and b of row j of the tile by the sum of two angles: (c0, s0) of the tile, (cj, sj) of the row in it.
func rotateOne(panel []float32, j, a, b, width int, c0, s0, cj, sj float32) {
	c := float32(c0*cj) - float32(s0*sj)
	s := float32(s0*cj) + float32(c0*sj)
	o := j/PanelRows*PanelRows*width + j%PanelRows
	u, v := panel[o+a*PanelRows], panel[o+b*PanelRows]
	panel[o+a*PanelRows] = float32(u*c) - float32(v*s)
	panel[o+b*PanelRows] = float32(u*s) + float32(v*c)
}
