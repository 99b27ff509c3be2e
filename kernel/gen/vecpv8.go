package main

// Family pv8: mixing of values in q8 and q4 rows without expanding them first, 32 columns (one block) at a time. A value is scale * code, rounded, as DecodeRow gives it.

import (
	"math"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func genPV8(c *build.Context) {
	s := newShared()
	both(c, s, func(v isa) {
		genScales(v)
		for _, e := range codeElements {
			genPVBlock(v, e)
		}
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
}

// genScales: f16 numbers some bytes apart, as float32 side by side.
func genScales(v isa) {
	v.begin("scales", "(dst *float32, src *byte, ld, n int)",
		"scales"+v.suffix()+" writes n <= 64 f16 numbers, ld bytes apart, as float32; dst has room for 64, and those past n are zero.")
	scratch := v.AllocLocal(128)
	dst, src, ld, n := v.ptr("dst"), v.ptr("src"), v.ptr("ld"), v.ptr("n")
	z := v.zero()
	for i := 0; i < 128; i += v.bytes() {
		v.VMOVUPS(z, scratch.Offset(i))
	}
	to, h := v.GP64(), v.GP32()
	v.LEAQ(scratch, to)
	rows := rowPtrs{base: []reg.GPVirtual{src}, ld: ld}
	v.loop(n, 2, func() {
		for i := range 2 {
			v.MOVWLZX(rows.at(i, 0), h)
			v.MOVW(h.As16(), mem(to, 2*i))
		}
		v.LEAQ(operand.Mem{Base: src, Index: ld, Scale: 2}, src)
		v.ADDQ(operand.I32(4), to)
	})
	v.ifAny(n, func() {
		v.MOVWLZX(mem(src, 0), h)
		v.MOVW(h.As16(), mem(to, 0))
	})
	for i := 0; i < 64; i += v.lanes() {
		d := v.r()
		v.VCVTPH2PS(scratch.Offset(2*i), d)
		v.VMOVUPS(d, mem(dst, 4*i))
	}
	v.end()
}

// genPVBlock: o[i][d] += sum over j of p[i][j] * (scale[j] * code[j][d]), d < 32.
func genPVBlock(v isa, e codeElement) {
	v.begin("pvBlock"+e.name, "(o *float32, ldo int, p *float32, scales *float32, val *byte, ldv, m, n int)",
		"pvBlock"+e.name+v.suffix()+" mixes 32 columns of n rows of codes (ldv bytes apart) with their scales by the weights p [m, 64] into m rows of o (ldo floats apart); n > 0.")
	o, ldo, p, ldv, m := v.ptr("o"), v.ptr("ldo"), v.ptr("p"), v.ptr("ldv"), v.ptr("m")
	v.SHLQ(operand.U8(2), ldo)
	k := e.consts(v)
	steps := rowSteps
	if !v.wide {
		steps = []int{2, 1}
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
			pp, scale, row, n := v.GP64(), v.ptr("scales"), v.ptr("val"), v.ptr("n")
			v.MOVQ(p, pp)
			v.loop(n, 1, func() {
				var s reg.VecVirtual
				if !v.wide {
					s = v.r()
					v.VBROADCASTSS(mem(scale, 0), s)
				}
				v.outer(acc, func(i int) operand.Mem { return mem(pp, i*sRow) }, func(j int, d reg.VecVirtual) {
					e.load(v, k, row, j, d)
					if v.wide {
						v.VMULPS_BCST(mem(scale, 0), d, d)
					} else {
						v.VMULPS(s, d, d)
					}
				})
				v.ADDQ(operand.I32(4), pp)
				v.ADDQ(operand.I32(4), scale)
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
			v.ADDQ(operand.I32(int32(rows*sRow)), p)
		})
	}
	v.end()
}
