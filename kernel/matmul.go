package kernel

// Products of activations with packed weights, in plain Go: the reference of the assembly and the path of machines without it.

import (
	"encoding/binary"
	"math"
)

func putF32(b []byte, v float32) { binary.LittleEndian.PutUint32(b, math.Float32bits(v)) }
func getF32(b []byte) float32    { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }

// Input is the left operand of products: activations x [M, K], and their int8 form, made once and shared by every product that reads it.
type Input struct {
	m, k  int
	x     []float32
	ready bool      // the int8 form is there
	q     []int8    // [m, k] codes
	scale []float32 // [m, k/32] sa
	low   []int32   // [m, k/32] sum of the first 16 codes of a block
	sum   []int32   // [m, k/32] sum of all
	smin  []float32 // [m, k/32] sa * float32(sum)
}

// Set makes x [m, k] the operand; x must not change while products read it.
func (in *Input) Set(_ *Pool, x []float32, m, k int) {
	in.x, in.m, in.k, in.ready = x[:m*k], m, k, false
}

// needInt8 makes the int8 form unless it is there. K must be a multiple of 32.
func (in *Input) needInt8(pool *Pool) {
	if in.ready {
		return
	}
	in.ready = true
	if n := in.m * in.k; cap(in.q) < n {
		in.q, in.scale, in.low, in.sum, in.smin = make([]int8, n), make([]float32, n/32), make([]int32, n/32), make([]int32, n/32), make([]float32, n/32)
	}
	n := in.m * in.k
	in.q, in.scale, in.low, in.sum, in.smin = in.q[:n], in.scale[:n/32], in.low[:n/32], in.sum[:n/32], in.smin[:n/32]
	if in.m < 8 {
		in.quantize(0, in.m)
		return
	}
	parts := min(in.m/4, 4*pool.Threads())
	pool.Run(parts, func(i, _ int) { in.quantize(i*in.m/parts, (i+1)*in.m/parts) })
}

// quantize makes the int8 form of rows [from, to).
func (in *Input) quantize(from, to int) {
	for b := from * in.k / 32; b < to*in.k/32; b++ {
		x, q := in.x[32*b:][:32], in.q[32*b:][:32]
		top := float32(0)
		for _, v := range x {
			top = max(top, float32(math.Abs(float64(v))))
		}
		sa := top / 127
		inv := float32(0)
		if sa > 0 {
			inv = 1 / sa
		}
		low, sum := int32(0), int32(0)
		for k, v := range x {
			c := int32(math.RoundToEven(float64(v * inv)))
			q[k] = int8(c)
			sum += c
			if k < 16 {
				low += c
			}
		}
		in.scale[b], in.low[b], in.sum[b], in.smin[b] = sa, low, sum, sa*float32(sum)
	}
}

// MatMul writes y = x Wᵀ: y [m, ldy], of which the first N columns are written.
func MatMul(pool *Pool, y []float32, ldy int, in *Input, w *Matrix) {
	if w.format.Quantised() {
		in.needInt8(pool)
	}
	panels := (w.N + PanelRows - 1) / PanelRows
	const group = 4
	pool.Run((panels+group-1)/group, func(part, _ int) {
		for p := part * group; p < min((part+1)*group, panels); p++ {
			w.panelProduct(y, ldy, in, p)
		}
	})
}

// MatMulMany multiplies one input by several weights.
func MatMulMany(pool *Pool, in *Input, ys [][]float32, ldy []int, ws []*Matrix) {
	for i, w := range ws {
		MatMul(pool, ys[i], ldy[i], in, w)
	}
}

// panelProduct computes the columns of one panel for all rows of the input.
func (w *Matrix) panelProduct(y []float32, ldy int, in *Input, p int) {
	panel := w.data[p*w.panel:][:w.panel]
	cols := min(PanelRows, w.N-p*PanelRows)
	if w.format.Quantised() {
		w.panelInt8(y, ldy, in, panel, p*PanelRows, cols)
		return
	}
	var row [PanelRows]float32
	for i := 0; i < in.m; i++ {
		var acc [PanelRows]float32
		for k, x := range in.x[i*in.k:][:in.k] {
			w.floats(&row, panel, k)
			for j := range acc {
				acc[j] += float32(x * row[j])
			}
		}
		copy(y[i*ldy+p*PanelRows:][:cols], acc[:])
	}
}

func (w *Matrix) floats(row *[PanelRows]float32, panel []byte, k int) {
	switch w.format {
	case F32:
		for j := range row {
			row[j] = getF32(panel[(k*PanelRows+j)*4:])
		}
	case F16:
		for j := range row {
			row[j] = halfAt(panel[(k*PanelRows+j)*2:])
		}
	case BF16:
		for j := range row {
			row[j] = bf16ToFloat(binary.LittleEndian.Uint16(panel[(k*PanelRows+j)*2:]))
		}
	}
}

func (w *Matrix) panelInt8(y []float32, ldy int, in *Input, panel []byte, col, cols int) {
	blocks, zero := w.K/32, w.format.zeroPoint()
	var u unpacked
	for r := 0; r < cols; r++ {
		for i := 0; i < in.m; i++ {
			y[i*ldy+col+r] = 0
		}
		for b := 0; b < blocks; b++ {
			w.unpackAt(&u, panel, r, b)
			for i := 0; i < in.m; i++ {
				x := in.q[i*in.k+32*b:][:32]
				var low, high int32
				for k := 0; k < 16; k++ {
					low += int32(u.code[k]) * int32(x[k])
					high += int32(u.code[16+k]) * int32(x[16+k])
				}
				a := i*blocks + b
				low -= zero * in.low[a]
				high -= zero * (in.sum[a] - in.low[a])
				sum := u.scale[0]*low + u.scale[1]*high
				acc := &y[i*ldy+col+r]
				*acc += float32(float32(sum) * float32(u.d*in.scale[a]))
				if u.min != 0 {
					*acc += float32(u.min * in.smin[a])
				}
			}
		}
	}
}
