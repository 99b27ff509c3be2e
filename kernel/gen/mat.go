package main

// What the families of matrix products share: where rows and panels lie, and the order in which a tile is walked.
//
// A tile is R rows of the input by P panels of 16 columns. All its outputs are chains of their own, so that R and P never change a bit.

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tile is the state of one product kernel while it is generated.
type tile struct {
	isa
	rows, panels int
	x            []reg.GPVirtual // pointers to rows 0, 3, 6 ...
	ldx          reg.GPVirtual
	w            []reg.GPVirtual // pointers to panels 0 and 3
	ldw          reg.GPVirtual
	acc          [][]reg.VecVirtual // [row][register]
}

const tileSig = "(y *float32, ldy uintptr, x *byte, ldx uintptr, w *byte, ldw uintptr, n uintptr, onto uintptr)"

func tileName(what string, rows, panels int) string {
	if panels == 1 {
		return fmt.Sprintf("%s_%d", what, rows)
	}
	return fmt.Sprintf("%s_%dx%d", what, rows, panels)
}

// newTile opens a kernel: y [rows, 16 panels] (+)= x times panels of w over n steps; distances between rows and panels are in bytes.
func newTile(c *build.Context, s *sharedData, wide bool, what string, rows, panels int) *tile {
	t := &tile{isa: newISA(c, wide, s), rows: rows, panels: panels}
	t.Function(tileName(what, rows, panels) + "_" + t.suffix())
	t.Attributes(attr.NOSPLIT)
	t.Pragma("noescape")
	t.SignatureExpr("func" + tileSig)
	t.ldx = t.ptr("ldx")
	t.x = []reg.GPVirtual{t.ptr("x")}
	for r := 3; r < rows; r += 3 {
		p := t.GP64()
		t.LEAQ(operand.Mem{Base: t.x[len(t.x)-1], Index: t.ldx, Scale: 2}, p)
		t.ADDQ(t.ldx, p)
		t.x = append(t.x, p)
	}
	t.w = []reg.GPVirtual{t.ptr("w")}
	if panels > 1 {
		t.ldw = t.ptr("ldw")
	}
	if panels > 3 {
		p := t.GP64()
		t.LEAQ(operand.Mem{Base: t.w[0], Index: t.ldw, Scale: 2}, p)
		t.ADDQ(t.ldw, p)
		t.w = append(t.w, p)
	}
	t.start()
	return t
}

// perPanel is the number of registers that hold 16 floats.
func (t *tile) perPanel() int { return 64 / t.bytes() }

// start makes the sums: zero, or what y holds.
func (t *tile) start() {
	for range t.rows {
		row := make([]reg.VecVirtual, t.panels*t.perPanel())
		for j := range row {
			row[j] = t.r()
		}
		t.acc = append(t.acc, row)
	}
	zero, ready := t.newLabel("zero"), t.newLabel("ready")
	onto := t.ptr("onto")
	t.TESTQ(onto, onto)
	t.JEQ(operand.LabelRef(zero))
	t.eachOutput(func(m operand.Mem, a reg.VecVirtual) { t.VMOVUPS(m, a) })
	t.JMP(operand.LabelRef(ready))
	t.Label(zero)
	for _, row := range t.acc {
		for _, a := range row {
			t.clear(a)
		}
	}
	t.Label(ready)
}

func (t *tile) eachOutput(f func(m operand.Mem, a reg.VecVirtual)) {
	y := t.ptr("y")
	var ldy reg.GPVirtual
	if t.rows > 1 {
		ldy = t.ptr("ldy")
	}
	for r, row := range t.acc {
		if r > 0 {
			t.ADDQ(ldy, y)
		}
		for j, a := range row {
			f(mem(y, j*t.bytes()), a)
		}
	}
}

// finish stores the sums and returns.
func (t *tile) finish() {
	t.eachOutput(func(m operand.Mem, a reg.VecVirtual) { t.VMOVUPS(a, m) })
	t.end()
}

// at is a place in row r of the input.
func (t *tile) at(r, disp int) operand.Mem { return strided(t.x[r/3], t.ldx, r%3, disp) }

// weight is a place in panel p.
func (t *tile) weight(p, disp int) operand.Mem { return strided(t.w[p/3], t.ldw, p%3, disp) }

func strided(base, ld reg.GPVirtual, times, disp int) operand.Mem {
	m := operand.Mem{Base: base, Disp: disp}
	if times > 0 {
		m.Index, m.Scale = ld, uint8(times)
	}
	return m
}

// advance moves all rows and panels on.
func (t *tile) advance(x, w int) {
	for _, p := range t.x {
		t.ADDQ(operand.I32(int32(x)), p)
	}
	for _, p := range t.w {
		t.ADDQ(operand.I32(int32(w)), p)
	}
}
