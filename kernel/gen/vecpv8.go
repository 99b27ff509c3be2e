package main

// Family pv8: mixing of values in q8 and q4 rows without expanding them first. The scale of a row's block goes to the weight: o += (p d) code, with one rounding for p d and a
// fused multiply-add. 32 columns, one block, at a time.

import (
	"math"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func genPV8(c *build.Context) {
	s := newShared()
	both(c, s, func(v isa) {
		genScaleWeights(v)
		for _, e := range codeElements {
			genPVBlock(v, e)
		}
		genExpandCodes(v, codeElements[0], 34)
		genExpandCodes(v, codeElements[1], 18)
	})
}

// codeElement gives register j of a block's 32 codes as float32.
type codeElement struct {
	name   string
	consts func(v isa) []op
	load   func(v isa, k []op, row reg.GPVirtual, j int, d reg.VecVirtual)
}

var codeElements = []codeElement{
	{"Q8", func(v isa) []op { return nil }, func(v isa, _ []op, row reg.GPVirtual, j int, d reg.VecVirtual) {
		v.VPMOVSXBD(mem(row, j*v.lanes()), d)
		v.VCVTDQ2PS(d, d)
	}},
	{"Q4", func(v isa) []op {
		if !v.wide {
			return []op{v.kBits(15), v.kBits(8)}
		}
		var w []uint32
		for i := range 16 {
			w = append(w, math.Float32bits(float32(i-8)))
		}
		t := v.r()
		v.VMOVUPS(v.table("q4Values", w), t)
		return []op{t}
	}, func(v isa, k []op, row reg.GPVirtual, j int, d reg.VecVirtual) {
		v.VPMOVZXBD(mem(row, j*v.lanes()%16), d)
		high := j*v.lanes() >= 16
		if high {
			v.VPSRLD(operand.U8(4), d, d)
		}
		if v.wide {
			v.VPERMPS(k[0], d, d) // reads four bits of each index
			return
		}
		if !high {
			v.VANDPS(k[0], d, d)
		}
		v.VPSUBD(k[1], d, d)
		v.VCVTDQ2PS(d, d)
	}},
	{"Codes", func(v isa) []op { return nil }, func(v isa, _ []op, row reg.GPVirtual, j int, d reg.VecVirtual) {
		v.VMOVUPS(mem(row, j*v.bytes()), d)
	}},
}

// genScaleWeights: w[i][j] = p[i][j] * scale[j], the scales being f16 numbers some bytes apart.
func genScaleWeights(v isa) {
	v.begin("scaleWeights", "(w, p *float32, ldp int, scale *byte, ld, m, n int)",
		"scaleWeights"+v.suffix()+": w [m, 64] = p [m, 64] (ldp floats apart) times the f16 scale of each column (ld bytes apart; n of them, the rest count as any number).")
	scratch := v.AllocLocal(128)
	w, p, ldp, scale, ld, m, n := v.ptr("w"), v.ptr("p"), v.ptr("ldp"), v.ptr("scale"), v.ptr("ld"), v.ptr("m"), v.ptr("n")
	v.SHLQ(operand.U8(2), ldp)
	z := v.zero()
	for i := 0; i < 128; i += v.bytes() {
		v.VMOVUPS(z, scratch.Offset(i))
	}
	to, h := v.GP64(), v.GP32()
	v.LEAQ(scratch, to)
	rows := rowPtrs{base: []reg.GPVirtual{scale}, ld: ld}
	v.loop(n, 2, func() {
		for i := range 2 {
			v.MOVWLZX(rows.at(i, 0), h)
			v.MOVW(h.As16(), mem(to, 2*i))
		}
		v.LEAQ(operand.Mem{Base: scale, Index: ld, Scale: 2}, scale)
		v.ADDQ(operand.I32(4), to)
	})
	v.ifAny(n, func() {
		v.MOVWLZX(mem(scale, 0), h)
		v.MOVW(h.As16(), mem(to, 0))
	})
	d := make([]reg.VecVirtual, 64/v.lanes())
	for i := range d {
		d[i] = v.r()
		v.VCVTPH2PS(scratch.Offset(2*i*v.lanes()), d[i])
	}
	v.loop(m, 1, func() {
		for i := range d {
			x := v.r()
			v.VMULPS(mem(p, i*v.bytes()), d[i], x)
			v.VMOVUPS(x, mem(w, i*v.bytes()))
		}
		v.ADDQ(ldp, p)
		v.ADDQ(operand.I32(sRow), w)
	})
	v.end()
}

// genPVBlock: o[i][d] += sum over j of w[i][j] * code[j][d], d < 32.
func genPVBlock(v isa, e codeElement) {
	v.begin("pvBlock"+e.name, "(o *float32, ldo int, w *float32, val *byte, ldv, m, n int)",
		"pvBlock"+e.name+v.suffix()+" mixes 32 columns of n rows of codes (ldv bytes apart) by the weights w [m, 64] into m rows of o (ldo floats apart); n > 0.")
	o, ldo, w, ldv, m := v.ptr("o"), v.ptr("ldo"), v.ptr("w"), v.ptr("ldv"), v.ptr("m")
	v.SHLQ(operand.U8(2), ldo)
	k := e.consts(v)
	steps := rowSteps
	if !v.wide {
		steps = []int{3, 2, 1}
	}
	for _, rows := range steps {
		v.loop(m, rows, func() {
			op := v.rowPtrs(o, ldo, rows)
			acc := v.accs(rows, 32/v.lanes())
			for i := range acc {
				for j := range acc[i] {
					v.VMOVUPS(op.at(i, j*v.bytes()), acc[i][j])
				}
			}
			wp, row, n := v.GP64(), v.ptr("val"), v.ptr("n")
			v.MOVQ(w, wp)
			v.loop(n, 1, func() {
				v.outer(acc, func(i int) operand.Mem { return mem(wp, i*sRow) }, func(j int, d reg.VecVirtual) { e.load(v, k, row, j, d) })
				v.ADDQ(operand.I32(4), wp)
				v.ADDQ(ldv, row)
			})
			for i := range acc {
				for j := range acc[i] {
					v.VMOVUPS(acc[i][j], op.at(i, j*v.bytes()))
				}
			}
			for range rows {
				v.ADDQ(ldo, o)
			}
			v.ADDQ(operand.I32(int32(rows*sRow)), w)
		})
	}
	v.end()
}

// genExpandCodes: blocks of rows to their codes as float32, without the scale.
func genExpandCodes(v isa, e codeElement, size int) {
	v.begin("codes"+e.name, "(dst *float32, src *byte, blocks int)", "codes"+e.name+v.suffix()+" writes the codes of whole blocks, without their scale.")
	dst, src, n := v.ptr("dst"), v.ptr("src"), v.ptr("blocks")
	k := e.consts(v)
	v.ADDQ(operand.I32(2), src)
	v.loop(n, 1, func() {
		for j := range 32 / v.lanes() {
			d := v.r()
			e.load(v, k, src, j, d)
			v.VMOVUPS(d, mem(dst, j*v.bytes()))
		}
		v.ADDQ(operand.I32(int32(size)), src)
		v.ADDQ(operand.I32(128), dst)
	})
	v.end()
}
