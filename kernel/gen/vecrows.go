package main

// Family rows: conversions between float32 and 16-bit formats, and whole blocks of the q8 and q4 row codecs (rows.go in package kernel fixes their bytes).

import (
	"math"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func genRows(c *build.Context) {
	s := newShared()
	for _, size := range []int{2, 4} {
		genScatter(newISA(c, false, s), size)
	}
	both(c, s, func(v isa) {
		genHalves(v)
		genDecodeQ8(v)
		genDecodeQ4(v)
		genEncodeQ8(v)
		genEncodeQ4(v)
	})
}

// genScatter: elements of a row to their places in a panel of 16 rows.
func genScatter(v isa, size int) {
	name := map[int]string{2: "scatter16", 4: "scatter32"}[size]
	v.Function(name)
	v.Attributes(attr.NOSPLIT)
	v.Pragma("noescape")
	v.SignatureExpr("func(dst, src *byte, n int)")
	v.Doc(name + " copies n elements, 16 elements apart at dst.")
	dst, src, n := v.ptr("dst"), v.ptr("src"), v.ptr("n")
	for _, unroll := range []int{4, 1} {
		v.loop(n, unroll, func() {
			for u := range unroll {
				t := v.GP32()
				if size == 2 {
					v.MOVWLZX(mem(src, 2*u), t)
					v.MOVW(t.As16(), mem(dst, 32*u))
				} else {
					v.MOVL(mem(src, 4*u), t)
					v.MOVL(t, mem(dst, 64*u))
				}
			}
			v.ADDQ(operand.I32(int32(size*unroll)), src)
			v.ADDQ(operand.I32(int32(16*size*unroll)), dst)
		})
	}
	v.RET()
}

// half is the low half of a register.
func (v isa) half(r reg.VecVirtual) reg.Register {
	if v.wide {
		return r.AsY()
	}
	return r.AsX()
}

// convert emits a loop over n (a multiple of the lanes) from src to dst, of sizes from and to bytes an element.
func (v isa) convert(name, sig, doc string, from, to int, prepare func() func(src, dst operand.Mem)) {
	v.begin(name, sig, name+v.suffix()+" "+doc+" n is a multiple of the lanes.")
	dst, src, n := v.ptr("dst"), v.ptr("src"), v.ptr("n")
	body := prepare()
	v.loop(n, v.lanes(), func() {
		body(mem(src, 0), mem(dst, 0))
		v.ADDQ(operand.I32(int32(from*v.lanes())), src)
		v.ADDQ(operand.I32(int32(to*v.lanes())), dst)
	})
	v.end()
}

func simply(f func(src, dst operand.Mem)) func() func(src, dst operand.Mem) {
	return func() func(src, dst operand.Mem) { return f }
}

func genHalves(v isa) {
	v.convert("f16ToF32", "(dst *float32, src *byte, n int)", "expands halves.", 2, 4, simply(func(src, dst operand.Mem) {
		x := v.r()
		v.VCVTPH2PS(src, x)
		v.VMOVUPS(x, dst)
	}))
	v.convert("f32ToF16", "(dst *byte, src *float32, n int)", "rounds to halves.", 4, 2, simply(func(src, dst operand.Mem) {
		x := v.r()
		v.VMOVUPS(src, x)
		v.VCVTPS2PH(operand.U8(0), x, dst)
	}))
	v.convert("bf16ToF32", "(dst *float32, src *byte, n int)", "expands bfloat16.", 2, 4, simply(func(src, dst operand.Mem) {
		x := v.r()
		v.VPMOVZXWD(src, x)
		v.VPSLLD(operand.U8(16), x, x)
		v.VMOVUPS(x, dst)
	}))
	v.convert("f32ToBF16", "(dst *byte, src *float32, n int)", "rounds to bfloat16.", 4, 2, func() func(src, dst operand.Mem) {
		one, bias, quiet := v.kBits(1), v.kBits(0x7fff), v.kBits(0x40)
		return func(src, dst operand.Mem) {
			x, r, nan := v.r(), v.r(), v.r()
			v.VMOVUPS(src, x)
			v.VPSRLD(operand.U8(16), x, nan)
			v.and(one, nan, r)
			v.VPADDD(bias, r, r)
			v.VPADDD(x, r, r)
			v.VPSRLD(operand.U8(16), r, r)
			v.or(quiet, nan, nan)
			const unordered = 3
			if v.wide {
				k := v.K()
				v.VCMPPS(operand.U8(unordered), x, x, k)
				v.VMOVDQU32(nan, k, r)
				v.VPMOVDW(r, dst)
				return
			}
			k := v.r()
			v.VCMPPS(operand.U8(unordered), x, x, k)
			v.VBLENDVPS(k, nan, r, r)
			v.VPACKUSDW(r, r, r)
			v.VPERMQ(operand.U8(0xd8), r, r)
			v.VMOVUPS(r.AsX(), dst)
		}
	})
}

// loadScale broadcasts the f16 at m as float32.
func (v isa) loadScale(m operand.Mem) reg.VecVirtual {
	d := v.r()
	v.VPBROADCASTW(m, v.half(d))
	v.VCVTPH2PS(v.half(d), d)
	return d
}

func genDecodeQ8(v isa) {
	v.begin("decodeQ8", "(dst *float32, src *byte, blocks int)", "decodeQ8"+v.suffix()+" decodes whole q8 blocks of 34 bytes.")
	dst, src, n := v.ptr("dst"), v.ptr("src"), v.ptr("blocks")
	v.loop(n, 1, func() {
		d := v.loadScale(mem(src, 0))
		for i := 0; i < 32; i += v.lanes() {
			x := v.r()
			v.VPMOVSXBD(mem(src, 2+i), x)
			v.VCVTDQ2PS(x, x)
			v.VMULPS(d, x, x)
			v.VMOVUPS(x, mem(dst, 4*i))
		}
		v.ADDQ(operand.I32(34), src)
		v.ADDQ(operand.I32(128), dst)
	})
	v.end()
}

func genDecodeQ4(v isa) {
	v.begin("decodeQ4", "(dst *float32, src *byte, blocks int)", "decodeQ4"+v.suffix()+" decodes whole q4 blocks of 18 bytes.")
	dst, src, n := v.ptr("dst"), v.ptr("src"), v.ptr("blocks")
	low, eight := v.kBits(15), v.kBits(8)
	v.loop(n, 1, func() {
		d := v.loadScale(mem(src, 0))
		for i := 0; i < 16; i += v.lanes() {
			lo, hi := v.r(), v.r()
			v.VPMOVZXBD(mem(src, 2+i), lo)
			v.VPSRLD(operand.U8(4), lo, hi)
			v.and(low, lo, lo)
			for _, x := range []struct {
				r  reg.VecVirtual
				at int
			}{{lo, i}, {hi, 16 + i}} {
				v.VPSUBD(eight, x.r, x.r)
				v.VCVTDQ2PS(x.r, x.r)
				v.VMULPS(d, x.r, x.r)
				v.VMOVUPS(x.r, mem(dst, 4*x.at))
			}
		}
		v.ADDQ(operand.I32(18), src)
		v.ADDQ(operand.I32(128), dst)
	})
	v.end()
}

// rowScale rounds the scale in lane 0 of d to f16 (saturating), stores it at m and returns its reciprocal in every lane; a zero scale has reciprocal zero.
func (v isa) rowScale(d reg.VecVirtual, m operand.Mem) reg.VecVirtual {
	v.VMINSS(v.bitsMem(0x477fe000), d, d) // 65504
	v.VMAXSS(v.bitsMem(0xc77fe000), d, d)
	h, s, nonzero, inv := v.XMM(), v.XMM(), v.XMM(), v.XMM()
	v.VCVTPS2PH(operand.U8(0), d, h)
	v.VCVTPH2PS(h, s)
	v.VXORPS(inv, inv, inv)
	const notEqual = 4
	v.VCMPPS(operand.U8(notEqual), inv, s, nonzero)
	v.VANDPS(nonzero, h, h)
	bits := v.GP32()
	v.VMOVD(h, bits)
	v.MOVW(bits.As16(), m)
	v.VMOVSS(v.bitsMem(0x3f800000), inv)
	v.VDIVSS(s, inv, inv)
	v.VANDPS(nonzero, inv, inv)
	all := v.r()
	v.VBROADCASTSS(inv, all)
	return all
}

// codes returns x*inv rounded to integers inside [lo, hi], NaN as 0.
func (v isa) codes(x, inv reg.VecVirtual, lo, hi op) reg.VecVirtual {
	y := v.r()
	v.VMULPS(inv, x, y)
	const ordered = 7
	if v.wide {
		k := v.K()
		v.VCMPPS(operand.U8(ordered), y, y, k)
		v.VMINPS(hi, y, y)
		v.VMAXPS(lo, y, y)
		v.VCVTPS2DQ_Z(y, k, y)
		return y
	}
	k := v.r()
	v.VCMPPS(operand.U8(ordered), y, y, k)
	v.VANDPS(k, y, y)
	v.VMINPS(hi, y, y)
	v.VMAXPS(lo, y, y)
	v.VCVTPS2DQ(y, y)
	return y
}

func (v isa) loadBlock(src reg.Register) []reg.VecVirtual {
	var x []reg.VecVirtual
	for i := 0; i < 32; i += v.lanes() {
		r := v.r()
		v.VMOVUPS(mem(src, 4*i), r)
		x = append(x, r)
	}
	return x
}

func genEncodeQ8(v isa) {
	v.begin("encodeQ8", "(dst *byte, src *float32, blocks int)", "encodeQ8"+v.suffix()+" encodes whole q8 blocks of 34 bytes.")
	dst, src, n := v.ptr("dst"), v.ptr("src"), v.ptr("blocks")
	abs, lo, hi := v.kBits(0x7fffffff), v.k(-127), v.k(127)
	v.loop(n, 1, func() {
		x := v.loadBlock(src)
		top := v.zero()
		for _, r := range x {
			a := v.r()
			v.and(abs, r, a)
			v.VMAXPS(top, a, top) // NaN loses: the second operand wins
		}
		d := v.foldMax(top)
		v.VDIVSS(v.bitsMem(0x42fe0000), d, d) // 127
		inv := v.rowScale(d, mem(dst, 0))
		if v.wide {
			for i, r := range x {
				v.VPMOVDB(v.codes(r, inv, lo, hi), mem(dst, 2+16*i))
			}
		} else {
			var q []reg.VecVirtual
			for _, r := range x {
				q = append(q, v.codes(r, inv, lo, hi))
			}
			v.VPACKSSDW(q[1], q[0], q[0])
			v.VPACKSSDW(q[3], q[2], q[2])
			v.VPACKSSWB(q[2], q[0], q[0])
			order := v.YMM()
			v.VMOVUPS(v.table("packOrder", []uint32{0, 4, 1, 5, 2, 6, 3, 7}), order)
			v.VPERMD(q[0], order, q[0])
			v.VMOVUPS(q[0], mem(dst, 2))
		}
		v.ADDQ(operand.I32(128), src)
		v.ADDQ(operand.I32(34), dst)
	})
	v.end()
}

// q4Divisors is the list of rows.go in package kernel.
var q4Divisors = []float64{-8, -7, -7.25, -7.75, -8.25, -8.5, -8.75, -9}

// searchQ4 finds the scale with the least squared error of the block at src, given its extreme in lane 0; it stores the scale at dst and returns its reciprocal in every lane.
// Each scale has two lanes, one for even elements and one for odd.
func (v isa) searchQ4(src, dst reg.Register, extreme reg.VecVirtual, lo, hi op, stack operand.Mem) reg.VecVirtual {
	var factors []uint32
	for _, d := range q4Divisors {
		bits := math.Float32bits(float32(1 / d))
		factors = append(factors, bits, bits)
	}
	table := v.table("q4Factors", factors)
	one, integer, top, bottom := v.k(1), v.k(3<<22), v.k(65504), v.k(-65504)
	inverses, halves := stack, stack.Offset(64)
	type scales struct{ scale, inv, sum reg.VecVirtual }
	var all []scales
	for at := 0; at < len(factors); at += v.lanes() {
		s := scales{v.r(), v.r(), v.zero()}
		v.VBROADCASTSS(extreme.AsX(), s.scale)
		v.VMULPS(table.Offset(4*at), s.scale, s.scale)
		v.VMINPS(top, s.scale, s.scale)
		v.VMAXPS(bottom, s.scale, s.scale)
		v.VCVTPS2PH(operand.U8(0), s.scale, v.half(s.scale))
		v.VCVTPH2PS(v.half(s.scale), s.scale)
		const notEqual = 4
		if v.wide { // a scale of zero is +0 and has reciprocal zero
			nonzero := v.K()
			v.VCMPPS(operand.U8(notEqual), s.sum, s.scale, nonzero)
			v.VMOVAPS_Z(s.scale, nonzero, s.scale)
			v.VDIVPS_Z(s.scale, one, nonzero, s.inv)
		} else {
			nonzero := v.r()
			v.VCMPPS(operand.U8(notEqual), s.sum, s.scale, nonzero)
			v.VANDPS(nonzero, s.scale, s.scale)
			v.VDIVPS(s.scale, v.inReg(one), s.inv)
			v.VANDPS(nonzero, s.inv, s.inv)
		}
		v.VMOVUPS(s.inv, inverses.Offset(4*at))
		v.VCVTPS2PH(operand.U8(0), s.scale, halves.Offset(2*at))
		all = append(all, s)
	}
	for i := 0; i < 32; i += 2 {
		x := v.r()
		v.VBROADCASTSD(mem(src, 4*i), x)
		for _, s := range all {
			e := v.r()
			v.VMULPS(s.inv, x, e)
			v.VMINPS(hi, e, e)
			v.VMAXPS(lo, e, e)
			v.VADDPS(integer, e, e) // adding and taking off 3 * 2^22 rounds to nearest even
			v.VSUBPS(integer, e, e)
			v.VFNMADD213PS(x, s.scale, e) // x - scale*code; the product is exact
			v.VMULPS(e, e, e)
			v.VADDPS(e, s.sum, s.sum)
		}
	}
	var low reg.VecVirtual
	for i, s := range all {
		odd := v.r()
		v.VPERMILPS(operand.U8(0xb1), s.sum, odd)
		v.VADDPS(odd, s.sum, s.sum)
		if i == 0 {
			low = v.inReg(s.sum)
		} else {
			v.VMINPS(s.sum, low, low)
		}
	}
	least, which := v.r(), v.GP32()
	v.VBROADCASTSS(v.foldMin(low), least)
	const notGreater = 26 // true of NaN, which is the sum of all scales or of none
	if v.wide {
		k := v.K()
		v.VCMPPS(operand.U8(notGreater), least, all[0].sum, k)
		v.KMOVW(k, which)
	} else {
		m, bits := v.r(), v.GP32()
		v.VCMPPS(operand.U8(notGreater), least, all[1].sum, m)
		v.VMOVMSKPS(m, which)
		v.SHLL(operand.U8(8), which)
		v.VCMPPS(operand.U8(notGreater), least, all[0].sum, m)
		v.VMOVMSKPS(m, bits)
		v.ORL(bits, which)
	}
	v.TZCNTL(which, which)
	inv, half := v.r(), v.GP32()
	v.VBROADCASTSS(inverses.Idx(which.As64(), 4), inv)
	v.MOVWLZX(halves.Idx(which.As64(), 2), half)
	v.MOVW(half.As16(), mem(dst, 0))
	return inv
}

func genEncodeQ4(v isa) {
	v.begin("encodeQ4", "(dst *byte, src *float32, blocks int)", "encodeQ4"+v.suffix()+" encodes whole q4 blocks of 18 bytes.")
	dst, src, n := v.ptr("dst"), v.ptr("src"), v.ptr("blocks")
	lo, hi, eight, stack := v.k(-8), v.k(7), v.kBits(8), v.AllocLocal(96)
	v.loop(n, 1, func() {
		x := v.loadBlock(src)
		top, bottom := v.zero(), v.zero()
		for _, r := range x {
			v.VMAXPS(top, r, top)
			v.VMINPS(bottom, r, bottom)
		}
		t, b := v.foldMax(top), v.foldMin(bottom)
		neg, lower := v.XMM(), v.XMM()
		v.VXORPS(v.bitsMem(0x80000000), b, neg)
		const greaterOrEqual = 13
		v.VCMPPS(operand.U8(greaterOrEqual), t, neg, lower)
		v.VBLENDVPS(lower, b, t, t)
		inv := v.searchQ4(src, dst, t, lo, hi, stack)
		var q []reg.VecVirtual
		for _, r := range v.loadBlock(src) {
			c := v.codes(r, inv, lo, hi)
			v.VPADDD(eight, c, c)
			q = append(q, c)
		}
		for i := range len(q) / 2 {
			high := q[len(q)/2+i]
			v.VPSLLD(operand.U8(4), high, high)
			v.or(high, q[i], q[i])
		}
		if v.wide {
			v.VPMOVDB(q[0], mem(dst, 2))
		} else {
			v.VPACKUSDW(q[1], q[0], q[0])
			v.VPERMQ(operand.U8(0xd8), q[0], q[0])
			h := v.XMM()
			v.VEXTRACTI128(operand.U8(1), q[0], h)
			v.VPACKUSWB(h, q[0].AsX(), h)
			v.VMOVUPS(h, mem(dst, 2))
		}
		v.ADDQ(operand.I32(128), src)
		v.ADDQ(operand.I32(18), dst)
	})
	v.end()
}
