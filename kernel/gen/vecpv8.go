package main

// Family pv8: mixing of values in q8 and q4 rows without expanding them first, 32 columns (one block) at a time: with float32 weights, a value being scale * code, rounded, as DecodeRow
// gives it; and with weights that the scales are multiplied into and that are then rounded to 16 bits, so that codes meet codes.

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
		genWeightCodes(v)
		for _, e := range codeElements {
			genPVBlock(v, e)
			genPVCodes(v, e)
		}
	})
}

// codeElement gives register j of a block's 32 codes as float32; or the codes of two rows as pairs of 16 bits, in the order of columns that sort undoes for registers of sums.
type codeElement struct {
	name   string
	consts func(v isa) []op
	load   func(v isa, k []op, row reg.GPVirtual, j int, d reg.VecVirtual)

	pairConsts func(v isa) []op
	pairs      func(v isa, k []op, a, b func(disp int) operand.Mem) []reg.VecVirtual
	sort       func(v isa, x []reg.VecVirtual)
}

var codeElements = []codeElement{
	{"Q8", func(v isa) []op { return nil }, func(v isa, _ []op, row reg.GPVirtual, j int, d reg.VecVirtual) {
		v.VPMOVSXBD(mem(row, j*v.lanes()), d)
		v.VCVTDQ2PS(d, d)
	}, func(v isa) []op { return nil }, pairsQ8, sortPairs},
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
	}, func(v isa) []op { return []op{v.kBits(0x000f000f), v.kBits(0x00080008)} }, pairsQ4, func(isa, []reg.VecVirtual) {}},
}

// pairsQ8 interleaves two rows within lanes of 128 bits, which leaves the columns in groups of four: see sortPairs.
func pairsQ8(v isa, _ []op, a, b func(disp int) operand.Mem) []reg.VecVirtual {
	var out []reg.VecVirtual
	for at := 0; at < 32; at += v.bytes() / 2 {
		x, y, low, high := v.r(), v.r(), v.r(), v.r()
		v.VPMOVSXBW(a(at), x)
		v.VPMOVSXBW(b(at), y)
		v.VPUNPCKLWD(y, x, low)
		v.VPUNPCKHWD(y, x, high)
		out = append(out, low, high)
	}
	return out
}

// sortPairs: of each two registers the first has columns 0-3, 8-11, ... and the second 4-7, 12-15, ...
func sortPairs(v isa, x []reg.VecVirtual) {
	for i := 0; i < len(x); i += 2 {
		low, high := x[i], x[i+1]
		x[i], x[i+1] = v.r(), v.r()
		if !v.wide {
			v.VPERM2I128(operand.U8(0x20), high, low, x[i])
			v.VPERM2I128(operand.U8(0x31), high, low, x[i+1])
			continue
		}
		for half, d := range x[i:][:2] {
			first := uint32(8 * half)
			var w []uint32
			for _, from := range []uint32{first, first + 16, first + 4, first + 20} {
				w = append(w, from, from+1, from+2, from+3)
			}
			v.VMOVDQU32(v.table([]string{"sortLow", "sortHigh"}[half], w), d)
			v.VPERMI2D(high, low, d)
		}
	}
}

// pairsQ4: a byte holds columns c and 16+c.
func pairsQ4(v isa, k []op, a, b func(disp int) operand.Mem) []reg.VecVirtual {
	var low, high []reg.VecVirtual
	for at := 0; at < 16; at += v.lanes() {
		x, y := v.r(), v.r()
		v.VPMOVZXBD(a(at), x)
		v.VPMOVZXBD(b(at), y)
		v.VPSLLD(operand.U8(16), y, y)
		v.or(y, x, x)
		v.VPSRLD(operand.U8(4), x, y)
		v.and(k[0], x, x)
		v.and(k[0], y, y)
		v.VPSUBW(k[1], x, x)
		v.VPSUBW(k[1], y, y)
		low, high = append(low, x), append(high, y)
	}
	return append(low, high...)
}

// genScales: f16 numbers some bytes apart, as float32 side by side.
func genScales(v isa) {
	v.begin("scales", "(dst *float32, src *byte, ld, n int)",
		"scales"+v.suffix()+" writes n <= 64 f16 numbers, ld bytes apart, as float32; dst has room for 64, and those past n are zero.")
	if v.wide {
		v.gatherScales()
		return
	}
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

// gatherScales reads 16 rows at a time; two bytes of codes come along with each number and are cut off.
func (v isa) gatherScales() {
	dst, src, ld, n := v.ptr("dst"), v.ptr("src"), v.ptr("ld"), v.ptr("n")
	rest := v.GP64()
	v.MOVQ(operand.I32(-1), rest)
	v.BZHIQ(n, rest, rest) // all of them where n = 64
	var w []uint32
	for i := range uint32(16) {
		w = append(w, i)
	}
	index := v.r()
	v.VPBROADCASTD(ld.As32(), index)
	v.VPMULLD(v.table("rowNumbers", w), index, index)
	v.SHLQ(operand.U8(4), ld)
	for i := range 4 {
		keep, d := v.K(), v.zero()
		v.KMOVW(rest.As32(), keep)
		v.VPGATHERDD(operand.Mem{Base: src, Index: index, Scale: 1}, keep, d)
		v.VPMOVDW(d, d.AsY())
		v.VCVTPH2PS(d.AsY(), d)
		v.VMOVUPS(d, mem(dst, 64*i))
		if i < 3 {
			v.SHRQ(operand.U8(16), rest)
			v.ADDQ(ld, src)
		}
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

// genWeightCodes: x = p * scale, the largest |x| of a row being 32767 units.
func genWeightCodes(v isa) {
	v.begin("weightCodes", "(codes *int16, unit, p, scales *float32, m int)",
		"weightCodes"+v.suffix()+" multiplies m rows of 64 weights by 64 scales and writes them as codes of 16 bits, with a unit for each row.")
	codes, unit, p, scales, m := v.ptr("codes"), v.ptr("unit"), v.ptr("p"), v.ptr("scales"), v.ptr("m")
	magnitude := v.kBits(0x7fffffff)
	most, least, inverse := v.bitsMem(math.Float32bits(32767)), v.bitsMem(math.Float32bits(1e-30)), v.bitsMem(math.Float32bits(1.0/32767))
	v.loop(m, 1, func() {
		x, top := make([]reg.VecVirtual, 64/v.lanes()), v.zero()
		for j := range x {
			x[j] = v.r()
			t := v.r()
			v.VMOVUPS(mem(p, j*v.bytes()), x[j])
			v.VMULPS(mem(scales, j*v.bytes()), x[j], x[j])
			v.and(magnitude, x[j], t)
			v.VMAXPS(t, top, top)
		}
		high := v.foldMax(top).AsX()
		v.VMAXSS(least, high, high)
		u, up := v.XMM(), v.XMM()
		v.VMULSS(inverse, high, u)
		v.VMOVSS(u, mem(unit, 0))
		v.VMOVSS(most, up)
		v.VDIVSS(high, up, up)
		scale := v.r()
		v.VBROADCASTSS(up, scale)
		for j := range x {
			v.VMULPS(scale, x[j], x[j])
			v.VCVTPS2DQ(x[j], x[j])
			if v.wide {
				v.VPMOVSDW(x[j], mem(codes, 32*j))
			}
		}
		if !v.wide {
			for j := 0; j < len(x); j += 2 {
				v.VPACKSSDW(x[j+1], x[j], x[j])
				v.VPERMQ(operand.U8(0xd8), x[j], x[j])
				v.VMOVDQU(x[j], mem(codes, 16*j))
			}
		}
		v.ADDQ(operand.I32(sRow), p)
		v.ADDQ(operand.I32(sRow/2), codes)
		v.ADDQ(operand.I32(4), unit)
	})
	v.end()
}

// genPVCodes: o[i][d] = fma(float32(sum over j of codes[i][j] * code[j][d]), unit[i], o[i][d]), d < 32.
func genPVCodes(v isa, e codeElement) {
	v.begin("pvCodes"+e.name, "(o *float32, ldo int, codes *int16, unit *float32, val, next *byte, step, ldv, m, n int)",
		"pvCodes"+e.name+v.suffix()+" mixes 32 columns of n rows of codes (ldv bytes apart) by the weights codes [m, 64] into m rows of o (ldo floats apart), and asks for what lies at next, step bytes on for each two rows; n > 0 is even.")
	o, ldo, codes, unit, step, ldv, m := v.ptr("o"), v.ptr("ldo"), v.ptr("codes"), v.ptr("unit"), v.ptr("step"), v.ptr("ldv"), v.ptr("m")
	v.SHLQ(operand.U8(2), ldo)
	k := e.pairConsts(v)
	steps := []int{12, 6, 3, 2, 1}
	if !v.wide {
		steps = []int{2, 1}
	}
	for _, rows := range steps {
		v.loop(m, rows, func() {
			acc := v.accs(rows, 32/v.lanes())
			for i := range acc {
				for j := range acc[i] {
					v.clear(acc[i][j])
				}
			}
			weight, row, next, n := v.GP64(), v.ptr("val"), v.ptr("next"), v.ptr("n")
			v.MOVQ(codes, weight)
			v.loop(n, 2, func() {
				pairs := e.pairs(v, k, func(disp int) operand.Mem { return mem(row, disp) }, func(disp int) operand.Mem { return operand.Mem{Base: row, Index: ldv, Scale: 1, Disp: disp} })
				for i := range acc {
					at := mem(weight, i*sRow/2)
					if v.wide {
						for j, x := range pairs {
							v.VPDPWSSD_BCST(at, x, acc[i][j])
						}
						continue
					}
					w := v.r()
					v.VPBROADCASTD(at, w)
					for j, x := range pairs {
						t := v.r()
						v.VPMADDWD(w, x, t)
						v.VPADDD(t, acc[i][j], acc[i][j])
					}
				}
				v.PREFETCHT0(mem(next, 0))
				v.ADDQ(step, next)
				v.ADDQ(operand.I32(4), weight)
				v.LEAQ(operand.Mem{Base: row, Index: ldv, Scale: 2}, row)
			})
			for i := range acc {
				e.sort(v, acc[i])
				u := v.r()
				v.VBROADCASTSS(mem(unit, 4*i), u)
				for j, x := range acc[i] {
					v.VCVTDQ2PS(x, x)
					to := mem(o, j*v.bytes())
					v.VFMADD213PS(to, u, x)
					v.VMOVUPS(x, to)
				}
				v.ADDQ(ldo, o)
			}
			v.ADDQ(operand.I32(int32(rows*sRow/2)), codes)
			v.ADDQ(operand.I32(int32(4*rows)), unit)
		})
	}
	v.end()
}
