package main

// Family mm: products of int8 activations by quantised weights. This file: what both levels share, and the form with AVX-512 VNNI; mmavx2.go has the AVX2 form.
//
// The layout of panels is in kernel/matrix.go, of activations in kernel/matmul.go (actBlock), the order of sums in docs/design.md section 5. A tile of 1, 2, 4 or 8 rows
// runs as many chains side by side and changes no bit; one of 16 (two of 8 in memory) unpacks the codes of a block once for all and then takes rows by the handful.

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// weightFormat describes the int8 packing of a format.
type weightFormat struct {
	name   string
	zero   int  // log2 of the zero point, -1 without
	planes int  // high bits over the nibbles, 64 bytes for each; -1: codes are bytes
	min    bool // a minimum for each block
	super  bool // K-quant: 8 blocks share f16 scales, blocks have small integer ones
	halves bool // the small scales are of 16 elements (q6_K)
}

var weightFormats = []weightFormat{
	{name: "Q80", zero: 7, planes: -1},
	{name: "Q40", zero: 3},
	{name: "Q41", zero: -1, min: true},
	{name: "Q50", zero: 4, planes: 1},
	{name: "Q51", zero: -1, planes: 1, min: true},
	{name: "Q4K", zero: -1, min: true, super: true},
	{name: "Q5K", zero: -1, planes: 1, min: true, super: true},
	{name: "Q6K", zero: 5, planes: 2, super: true, halves: true},
}

// codes, block and head are kernel.geometry in bytes.
func (f weightFormat) codes() int {
	if f.planes < 0 {
		return 512
	}
	return 256 + 64*f.planes
}

func (f weightFormat) block() int {
	n := f.codes() + 32
	if f.min && !f.super {
		n += 32
	}
	return n
}

func (f weightFormat) head() int {
	switch {
	case !f.super:
		return 0
	case f.min:
		return 64
	}
	return 32
}

// highBits are the bits over the nibble, in 4 bytes.
func (f weightFormat) highBits() uint32 {
	if f.planes == 2 {
		return 0x30303030
	}
	return 0x10101010
}

// highAt is the vector that holds the high bits of group g, and how far they go to the left to their place in a code.
func (f weightFormat) highAt(g int) (at, left int) {
	if f.planes == 2 {
		return 256 + 64*(g/4), 4 - 2*(g%4)
	}
	return 256, 4 - g
}

// actBlock in bytes: 32 codes, sa, smin, -sum, -low.
const (
	mmActSize  = 48
	mmActScale = 32
	mmActMin   = 36
	mmActSum   = 40
	mmActLow   = 44
)

func genMM(c *build.Context) {
	c.Function("spinPause")
	c.Attributes(attr.NOSPLIT)
	c.SignatureExpr("func()")
	c.Doc("spinPause tells the processor that a thread waits for another.")
	c.PAUSE()
	c.RET()

	s := newShared()
	both(c, s, func(v isa) {
		if v.wide {
			genQuantizeAVX512(v)
		} else {
			genQuantizeAVX2(v)
		}
		for _, f := range weightFormats {
			if !v.wide {
				for _, rows := range f.rowsAVX2() {
					genInt8AVX2(v, f, rows)
				}
				continue
			}
			for _, rows := range []int{1, 2, 4, 8} {
				genInt8VNNI(v, f, rows)
			}
			if !f.halves {
				genInt8VNNI16(v, f)
			}
		}
	})
}

// int8Frame opens a product of a tile of activations by n panels and emits the walk over them; tile computes one from act and panel, which it may move. The activations stay
// in the first-level cache; panels are fetched ahead.
func int8Frame(v isa, f weightFormat, rows int, tile func(y, ld, act, panel reg.GPVirtual)) {
	v.begin(fmt.Sprintf("mul%sx%d", f.name, rows), "(y *float32, ldy int, act, panel *byte, blocks, blockStep, n, panelStep int)",
		fmt.Sprintf("mul%sx%d%s multiplies %d rows by n panels, K being blocks of 32; the steps, in bytes, lead from a row's block to its next and from one panel to the next.", f.name, rows, v.suffix(), rows))
	y, ld, act0, panel0, n := v.ptr("y"), v.ptr("ldy"), v.ptr("act"), v.ptr("panel"), v.ptr("n")
	v.SHLQ(operand.U8(2), ld)
	v.loop(n, 1, func() {
		act, panel := v.GP64(), v.GP64()
		v.MOVQ(act0, act)
		v.MOVQ(panel0, panel)
		tile(y, ld, act, panel)
		v.ADDQ(operand.I32(64), y)
		v.step("panelStep", panel0)
	})
	v.end()
}

// eachBlock walks the blocks of a tile: head at each superblock, body at each block with panel at its start.
func eachBlock(v isa, f weightFormat, act, panel reg.GPVirtual, head, body func()) {
	n := v.ptr("blocks")
	one := func() {
		body()
		v.step("blockStep", act)
		v.ADDQ(operand.I32(int32(f.block())), panel)
	}
	if !f.super {
		v.loop(n, 1, one)
		return
	}
	v.loop(n, 8, func() {
		head()
		v.ADDQ(operand.I32(int32(f.head())), panel)
		inner := v.GP64()
		v.MOVQ(operand.U32(8), inner)
		v.loop(inner, 1, one)
	})
}

// fetchAhead asks for the block 2 KiB ahead. With few rows memory is the limit, and with 16 it would wait for a third of the time without.
func (v isa) fetchAhead(f weightFormat, panel reg.GPVirtual) {
	for i := 0; i < f.block(); i += 64 {
		v.PREFETCHT0(mem(panel, 2048+i))
	}
}

// storeTile writes the accumulators to y and rows ld bytes apart.
func storeTile(v isa, acc [][]reg.VecVirtual, y, ld reg.GPVirtual) {
	p := v.GP64()
	v.MOVQ(y, p)
	for i := range acc {
		for j := range acc[i] {
			v.VMOVUPS(acc[i][j], mem(p, j*v.bytes()))
		}
		if i+1 < len(acc) {
			v.ADDQ(ld, p)
		}
	}
}

// codesVNNI unpacks the codes of a block: group g of 0..7 is dimensions 4g..4g+3 of 16 rows, one to a byte.
type codesVNNI struct {
	v         isa
	f         weightFormat
	panel     reg.GPVirtual
	low       op             // 0x0f bytes; a register, or memory where registers are few
	high      op             // bytes of the high bits
	raw       reg.VecVirtual // the vector that holds groups x and 4+x
	rawVector int
}

func newCodesVNNI(v isa, f weightFormat, panel reg.GPVirtual) *codesVNNI {
	c := &codesVNNI{v: v, f: f, panel: panel, rawVector: -1}
	if f.planes >= 0 {
		c.low = v.kBits(0x0f0f0f0f)
	}
	if f.planes > 0 {
		c.high = v.kBits(f.highBits())
	}
	return c
}

// nibbles is x &= 0x0f bytes.
func (c *codesVNNI) nibbles(from, x reg.VecVirtual) {
	if _, m := c.low.(operand.Mem); m {
		c.v.VPANDD_BCST(c.low, from, x)
	} else {
		c.v.VPANDD(c.low, from, x)
	}
}

// group returns the codes of group g.
func (c *codesVNNI) group(g int) reg.VecVirtual {
	v := c.v
	x := v.r()
	if c.f.planes < 0 {
		v.VMOVDQU32(mem(c.panel, 64*g), x)
		return x
	}
	if c.rawVector != g%4 {
		c.raw, c.rawVector = v.r(), g%4
		v.VMOVDQU32(mem(c.panel, 64*(g%4)), c.raw)
	}
	if g < 4 {
		c.nibbles(c.raw, x)
	} else {
		v.VPSRLD(operand.U8(4), c.raw, x)
		c.nibbles(x, x)
	}
	if c.f.planes > 0 {
		at, left := c.f.highAt(g)
		h := v.r()
		switch m := mem(c.panel, at); {
		case left > 0:
			v.VPSLLD(operand.U8(uint8(left)), m, h)
		case left < 0:
			v.VPSRLD(operand.U8(uint8(-left)), m, h)
		default:
			v.VMOVDQU32(m, h)
		}
		const orAnd = 0xf8 // x |= h & high
		if _, m := c.high.(operand.Mem); m {
			v.VPTERNLOGD_BCST(operand.U8(orAnd), c.high, h, x)
		} else {
			v.VPTERNLOGD(operand.U8(orAnd), c.high, h, x)
		}
	}
	return x
}

func genInt8VNNI(v isa, f weightFormat, rows int) {
	int8Frame(v, f, rows, func(y, ld, act, panel reg.GPVirtual) {
		codes := newCodesVNNI(v, f, panel)
		acc := v.accs(rows, 1)
		for i := range acc {
			v.clear(acc[i][0])
		}
		at := func(row, disp int) operand.Mem { return mem(act, row*mmActSize+disp) }
		dot := func(ints []reg.VecVirtual, g int) {
			x := codes.group(g)
			for i := range ints {
				v.VPDPBUSD_BCST(at(i, 4*g), x, ints[i])
			}
		}
		fresh := func() []reg.VecVirtual {
			x := make([]reg.VecVirtual, rows)
			for i := range x {
				x[i] = v.r()
			}
			return x
		}
		var d, dmin reg.VecVirtual
		small := func(disp int, signed bool) reg.VecVirtual { // 16 bytes as floats
			x := v.r()
			if signed {
				v.VPMOVSXBD(mem(panel, disp), x)
			} else {
				v.VPMOVZXBD(mem(panel, disp), x)
			}
			v.VCVTDQ2PS(x, x)
			return x
		}
		half := func(disp int) reg.VecVirtual {
			x := v.r()
			v.VCVTPH2PS(mem(panel, disp), x)
			return x
		}
		eachBlock(v, f, act, panel, func() {
			d = half(0)
			if f.min {
				dmin = half(32)
				v.VXORPS_BCST(v.bitsMem(1<<31), dmin, dmin)
			}
		}, func() {
			codes.rawVector = -1
			v.fetchAhead(f, panel)
			var product []reg.VecVirtual // float32(i) of each row
			if f.halves {
				ints := fresh()
				for i := range ints {
					v.VPSLLD_BCST(operand.U8(uint8(f.zero)), at(i, mmActLow), ints[i])
				}
				for g := range 4 {
					dot(ints, g)
				}
				product = fresh()
				scale := small(f.codes(), true)
				for i := range ints {
					v.VCVTDQ2PS(ints[i], product[i])
					v.VMULPS(scale, product[i], product[i]) // exact: below 2^24, as is the sum
				}
				ints = fresh()
				codes.rawVector = -1
				for i := range ints {
					t := v.r()
					v.VPBROADCASTD(at(i, mmActSum), t)
					v.VPSUBD_BCST(at(i, mmActLow), t, t)
					v.VPSLLD(operand.U8(uint8(f.zero)), t, ints[i])
				}
				for g := 4; g < 8; g++ {
					dot(ints, g)
				}
				scale = small(f.codes()+16, true)
				for i := range ints {
					v.VCVTDQ2PS(ints[i], ints[i])
					v.VFMADD231PS(scale, ints[i], product[i])
				}
			} else {
				product = fresh()
				for i := range product {
					if f.zero >= 0 {
						v.VPSLLD_BCST(operand.U8(uint8(f.zero)), at(i, mmActSum), product[i])
					} else {
						v.clear(product[i])
					}
				}
				order := []int{0, 4, 1, 5, 2, 6, 3, 7}
				if f.planes < 0 {
					order = []int{0, 1, 2, 3, 4, 5, 6, 7}
				}
				for _, g := range order {
					dot(product, g)
				}
				for i := range product {
					v.VCVTDQ2PS(product[i], product[i])
				}
				if f.super {
					scale := small(f.codes(), false)
					for i := range product {
						v.VMULPS(scale, product[i], product[i]) // exact: below 2^24
					}
				}
			}
			scale := d
			if !f.super {
				scale = half(f.codes())
			}
			for i := range product {
				t := v.r()
				v.VMULPS_BCST(at(i, mmActScale), scale, t)
				v.VFMADD231PS(t, product[i], acc[i][0])
			}
			if !f.min {
				return
			}
			var least reg.VecVirtual
			if f.super {
				least = small(f.codes()+16, false)
				v.VMULPS(dmin, least, least)
			} else {
				least = half(f.codes() + 32)
			}
			for i := range acc {
				v.VFMADD231PS_BCST(at(i, mmActMin), least, acc[i][0])
			}
		})
		storeTile(v, acc, y, ld)
	})
}

// genInt8VNNI16: two tiles of 8 rows. Ports limit these kernels: a row costs 8 dot products and 4 operations of floats a block, unpacking as much as a row more, or less.
func genInt8VNNI16(v isa, f weightFormat) {
	const rows = 16
	int8Frame(v, f, rows, func(y, ld, act, panel reg.GPVirtual) {
		upper := v.GP64() // the second tile
		v.MOVQ(v.ptr("blocks"), upper)
		v.IMULQ(v.ptr("blockStep"), upper)
		v.ADDQ(act, upper)
		at := func(row, disp int) operand.Mem {
			if row < 8 {
				return mem(act, row*mmActSize+disp)
			}
			return mem(upper, (row-8)*mmActSize+disp)
		}
		codes := &codesVNNI{v: v, f: f, panel: panel, low: v.bitsMem(0x0f0f0f0f), high: v.bitsMem(f.highBits())}
		var super operand.Mem // d and minus dmin
		if f.super {
			super = v.AllocLocal(128)
		}
		acc := v.accs(rows, 1)
		for i := range acc {
			v.clear(acc[i][0])
		}
		eachBlock(v, f, act, panel, func() {
			x := v.r()
			v.VCVTPH2PS(mem(panel, 0), x)
			v.VMOVUPS(x, super)
			if f.min {
				v.VCVTPH2PS(mem(panel, 32), x)
				v.VXORPS_BCST(v.bitsMem(1<<31), x, x)
				v.VMOVUPS(x, super.Offset(64))
			}
		}, func() {
			v.fetchAhead(f, panel)
			for i := 0; i < 8*mmActSize; i += 64 { // 16 rows of a long K do not stay in the first-level cache
				v.PREFETCHT0(mem(act, 4*8*mmActSize+i))
				v.PREFETCHT0(mem(upper, 4*8*mmActSize+i))
			}
			order := []int{0, 4, 1, 5, 2, 6, 3, 7}
			if f.planes < 0 {
				order = []int{0, 1, 2, 3, 4, 5, 6, 7}
			}
			var code [8]reg.VecVirtual
			codes.rawVector = -1
			for _, g := range order {
				code[g] = codes.group(g)
			}
			small := func(disp int) reg.VecVirtual { // 16 bytes as floats
				x := v.r()
				v.VPMOVZXBD(mem(panel, disp), x)
				v.VCVTDQ2PS(x, x)
				return x
			}
			scale := v.r()
			var blockScale reg.VecVirtual
			if f.super {
				v.VMOVUPS(super, scale)
				blockScale = small(f.codes())
			} else {
				v.VCVTPH2PS(mem(panel, f.codes()), scale)
			}
			const handful = 4
			for first := 0; first < rows; first += handful {
				var product [handful]reg.VecVirtual // float32(i) of each row
				for i := range product {
					product[i] = v.r()
					if f.zero >= 0 {
						v.VPSLLD_BCST(operand.U8(uint8(f.zero)), at(first+i, mmActSum), product[i])
					} else {
						v.clear(product[i])
					}
				}
				for _, g := range order {
					for i := range product {
						v.VPDPBUSD_BCST(at(first+i, 4*g), code[g], product[i])
					}
				}
				for i := range product {
					v.VCVTDQ2PS(product[i], product[i])
					if f.super {
						v.VMULPS(blockScale, product[i], product[i]) // exact: below 2^24
					}
					t := v.r()
					v.VMULPS_BCST(at(first+i, mmActScale), scale, t)
					v.VFMADD231PS(t, product[i], acc[first+i][0])
				}
			}
			if f.min {
				var least reg.VecVirtual
				if f.super {
					least = small(f.codes() + 16)
					v.VMULPS(super.Offset(64), least, least)
				} else {
					least = v.r()
					v.VCVTPH2PS(mem(panel, f.codes()+32), least)
				}
				for i := range acc {
					v.VFMADD231PS_BCST(at(i, mmActMin), least, acc[i][0])
				}
			}
			v.step("blockStep", upper)
		})
		storeTile(v, acc, y, ld)
	})
}

func beginQuantize(v isa) (dst, step, x, blocks reg.GPVirtual) {
	v.begin("quantizeRow", "(dst *byte, step int, x *float32, blocks int)", "quantizeRow"+v.suffix()+" quantises a row of activations by blocks of 32.")
	return v.ptr("dst"), v.ptr("step"), v.ptr("x"), v.ptr("blocks")
}

// genQuantizeAVX512: one row of activations to actBlocks, step bytes from one to the next.
func genQuantizeAVX512(v isa) {
	dst, step, x, n := beginQuantize(v)
	abs, ones, tiny := v.kBits(1<<31-1), v.r(), v.bitsMem(smallestNormal)
	v.VPBROADCASTD(v.bitsMem(0x01010101), ones)
	top127, one := v.k(127), v.k(1)
	v.loop(n, 1, func() {
		a, b, m, t := v.r(), v.r(), v.r(), v.r()
		v.VMOVUPS(mem(x, 0), a)
		v.VMOVUPS(mem(x, 64), b)
		v.VPANDD(abs, a, m)
		v.VPANDD(abs, b, t)
		v.VPMAXUD(t, m, m) // of the bits: a NaN is the largest and stays
		v.VSHUFF32X4(operand.U8(0x4e), m, m, t)
		v.VPMAXUD(t, m, m)
		v.VSHUFF32X4(operand.U8(0xb1), m, m, t)
		v.VPMAXUD(t, m, m)
		v.VPSHUFD(operand.U8(0x4e), m, t)
		v.VPMAXUD(t, m, m)
		v.VPSHUFD(operand.U8(0xb1), m, t)
		v.VPMAXUD(t, m, m)
		sa, few, inv, k := v.XMM(), v.XMM(), v.r(), v.K() // divisions of four lanes take a quarter of the time
		v.VDIVPS(top127.(reg.VecVirtual).AsX(), m.AsX(), sa)
		v.VCMPPS_BCST(operand.U8(0x0d), tiny, sa, k) // sa >= smallest normal; false for NaN
		v.VDIVPS_Z(sa, one.(reg.VecVirtual).AsX(), k, few)
		v.VBROADCASTSS(few, inv)
		v.VMULPS(inv, a, a)
		v.VMULPS(inv, b, b)
		v.VCVTPS2DQ(a, a)
		v.VCVTPS2DQ(b, b)
		qa, qb, q, sum, u := v.XMM(), v.XMM(), v.YMM(), v.YMM(), v.YMM()
		v.VPMOVSDB(a, qa)
		v.VPMOVSDB(b, qb)
		v.VINSERTI128(operand.U8(1), qb, qa.AsY(), q)
		v.VMOVDQU(q, mem(dst, 0))
		v.VPXOR(sum, sum, sum)
		v.VPDPBUSD(q, ones.AsY(), sum)
		v.VPSHUFD(operand.U8(0x4e), sum, u)
		v.VPADDD(u, sum, sum)
		v.VPSHUFD(operand.U8(0xb1), sum, u)
		v.VPADDD(u, sum, sum) // low in the lower lane, high in the upper
		finishActBlock(v, dst, sum, sa)
		v.ADDQ(operand.I32(128), x)
		v.ADDQ(step, dst)
	})
	v.end()
}

const smallestNormal = 0x00800000

// finishActBlock writes sa, smin, -sum and -low; sums holds low in its lower lane and high in its upper.
func finishActBlock(v isa, dst reg.GPVirtual, sums reg.VecVirtual, sa reg.Register) {
	high, total, f, z := v.XMM(), v.XMM(), v.XMM(), v.XMM()
	v.VEXTRACTI128(operand.U8(1), sums, high)
	v.VPADDD(high, sums.AsX(), total)
	v.VCVTDQ2PS(total, f)
	v.VMULPS(sa, f, f)
	v.VMOVSS(sa, mem(dst, mmActScale))
	v.VMOVSS(f, mem(dst, mmActMin))
	v.VPXOR(z, z, z)
	v.VPSUBD(total, z, total)
	v.VMOVD(total, mem(dst, mmActSum))
	v.VPSUBD(sums.AsX(), z, z)
	v.VMOVD(z, mem(dst, mmActLow))
}

// step adds a parameter to p.
func (v isa) step(param string, p reg.GPVirtual) {
	b, err := v.Param(param).Resolve()
	if err != nil {
		panic(err)
	}
	v.ADDQ(b.Addr, p)
}
