package main

// Int8 activations by quantised weights with AVX2. VPMADDUBSW adds two products in 16 bits; as many of its results are added in 16 bits as can never overflow.

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// pairs is how many results of VPMADDUBSW fit 16 bits: codes of 4, 5, 6 bits or, of bytes, at most 128 without their sign; activations at most 127.
func (f weightFormat) pairs() int {
	switch f.planes {
	case 0:
		return 8
	case 1:
		return 4
	case 2:
		return 2
	}
	return 1
}

// rowsAVX2 are the rows that run side by side: 1 and 2 take a panel's 16 columns at once, 4 take 8 columns at a time, reading the panel twice.
func (f weightFormat) rowsAVX2() []int {
	if f.halves { // needs two more registers a row
		return []int{1, 2}
	}
	return []int{1, 2, 4}
}

func genInt8AVX2(v isa, f weightFormat, rows int) {
	int8Frame(v, f, rows, func(y, ld, act, panel reg.GPVirtual) {
		passes := [][]int{{0, 1}}
		if rows > 2 {
			passes = [][]int{{0}, {1}}
		}
		for _, pass := range passes {
			a, p := v.GP64(), v.GP64()
			v.MOVQ(act, a)
			v.MOVQ(panel, p)
			acc := v.accs(rows, len(pass))
			for i := range acc {
				for j := range pass {
					v.clear(acc[i][j])
				}
			}
			var head reg.GPVirtual
			eachBlock(v, f, a, p, func() {
				head = v.GP64()
				v.MOVQ(p, head)
			}, func() {
				for j, half := range pass {
					b := halfBlock{v, f, rows, a, p, head, half}
					sums := make([]reg.VecVirtual, rows)
					for i := range sums {
						sums[i] = acc[i][j]
					}
					b.emit(sums)
				}
			})
			out := v.GP64()
			v.LEAQ(mem(y, pass[0]*32), out)
			storeTile(v, acc, out, ld)
		}
	})
}

// halfBlock is one block of 8 columns.
type halfBlock struct {
	isa
	f                weightFormat
	rows             int
	act, panel, head reg.GPVirtual
	half             int
}

func (b *halfBlock) at(row, disp int) operand.Mem { return mem(b.act, row*mmActSize+disp) }

// codes is 8 columns of group g: bytes are made signed.
func (b *halfBlock) codes(g int) reg.VecVirtual {
	c := b.r()
	if b.f.planes < 0 {
		b.VMOVUPS(mem(b.panel, 64*g+32*b.half), c)
		b.VPXOR(b.kBits(0x80808080), c, c)
		return c
	}
	b.VMOVUPS(mem(b.panel, 64*(g%4)+32*b.half), c)
	if g >= 4 {
		b.VPSRLD(operand.U8(4), c, c)
	}
	b.VPAND(b.kBits(0x0f0f0f0f), c, c)
	if b.f.planes > 0 {
		at, left := b.f.highAt(g)
		h := b.r()
		b.VMOVUPS(mem(b.panel, at+32*b.half), h)
		switch {
		case left > 0:
			b.VPSLLD(operand.U8(uint8(left)), h, h)
		case left < 0:
			b.VPSRLD(operand.U8(uint8(-left)), h, h)
		}
		b.VPAND(b.kBits(b.f.highBits()), h, h)
		b.VPOR(h, c, c)
	}
	return c
}

// dots adds the products of groups [from, to) to ints.
func (b *halfBlock) dots(ints []reg.VecVirtual, from, to int) {
	for g := from; g < to; g += b.f.pairs() {
		short := make([]reg.VecVirtual, b.rows)
		for n := range b.f.pairs() {
			c := b.codes(g + n)
			u := c
			if b.f.planes < 0 { // |code|, the sign going to the activation
				u = b.r()
				b.VPABSB(c, u)
			}
			for i := range short {
				x := b.r()
				b.VPBROADCASTD(b.at(i, 4*(g+n)), x)
				if b.f.planes < 0 {
					b.VPSIGNB(c, x, x)
				}
				b.VPMADDUBSW(x, u, x)
				if n == 0 {
					short[i] = x
				} else {
					b.VPADDW(x, short[i], short[i])
				}
			}
		}
		for i, x := range short {
			b.VPMADDWD(b.kBits(0x00010001), x, x)
			b.VPADDD(x, ints[i], ints[i])
		}
	}
}

// small is 8 of the byte scales at disp as floats.
func (b *halfBlock) small(disp int) reg.VecVirtual {
	x := b.r()
	if b.f.halves {
		b.VPMOVSXBD(mem(b.panel, disp+8*b.half), x)
	} else {
		b.VPMOVZXBD(mem(b.panel, disp+8*b.half), x)
	}
	b.VCVTDQ2PS(x, x)
	return x
}

// fp16 is 8 of the halves at disp.
func (b *halfBlock) fp16(p reg.Register, disp int) reg.VecVirtual {
	x := b.r()
	b.VCVTPH2PS(mem(p, disp+16*b.half), x)
	return x
}

// start makes the sums that take part from..: the zero point times minus the sum of the activations' codes.
func (b *halfBlock) start(part string) []reg.VecVirtual {
	ints := make([]reg.VecVirtual, b.rows)
	for i := range ints {
		ints[i] = b.r()
		if b.f.zero < 0 || b.f.planes < 0 { // bytes are signed here
			b.clear(ints[i])
			continue
		}
		if part == "low" {
			b.VPBROADCASTD(b.at(i, mmActLow), ints[i])
		} else {
			b.VPBROADCASTD(b.at(i, mmActSum), ints[i])
		}
		if part == "high" {
			t := b.r()
			b.VPBROADCASTD(b.at(i, mmActLow), t)
			b.VPSUBD(t, ints[i], ints[i])
		}
		b.VPSLLD(operand.U8(uint8(b.f.zero)), ints[i], ints[i])
	}
	return ints
}

func (b *halfBlock) emit(acc []reg.VecVirtual) {
	f := b.f
	var product []reg.VecVirtual
	scaled := func(ints []reg.VecVirtual, disp int) {
		sc := b.small(disp)
		for _, x := range ints {
			b.VCVTDQ2PS(x, x)
			b.VMULPS(sc, x, x) // exact: below 2^24, as is the sum of two
		}
	}
	if f.halves {
		product = b.start("low")
		b.dots(product, 0, 4)
		scaled(product, f.codes())
		high := b.start("high")
		b.dots(high, 4, 8)
		scaled(high, f.codes()+16)
		for i := range product {
			b.VADDPS(high[i], product[i], product[i])
		}
	} else {
		product = b.start("")
		b.dots(product, 0, 8)
		if f.super {
			scaled(product, f.codes())
		} else {
			for _, x := range product {
				b.VCVTDQ2PS(x, x)
			}
		}
	}
	var d reg.VecVirtual
	if f.super {
		d = b.fp16(b.head, 0)
	} else {
		d = b.fp16(b.panel, f.codes())
	}
	for i := range acc {
		s := b.r()
		b.VBROADCASTSS(b.at(i, mmActScale), s)
		b.VMULPS(d, s, s)
		b.VFMADD231PS(s, product[i], acc[i])
	}
	if !f.min {
		return
	}
	var least reg.VecVirtual
	if f.super {
		least = b.small(f.codes() + 16)
		dmin := b.fp16(b.head, 32)
		b.VMULPS(dmin, least, least)
	} else {
		least = b.fp16(b.panel, f.codes()+32)
	}
	for i := range acc {
		s := b.r()
		b.VBROADCASTSS(b.at(i, mmActMin), s)
		if f.super {
			b.VFNMADD231PS(s, least, acc[i])
		} else {
			b.VFMADD231PS(s, least, acc[i])
		}
	}
}

// genQuantizeAVX2 is genQuantizeAVX512 in registers of 8.
func genQuantizeAVX2(v isa) {
	dst, step, x, n := beginQuantize(v)
	v.loop(n, 1, func() {
		a, m, t := make([]reg.VecVirtual, 4), v.r(), v.r()
		for i := range a {
			a[i] = v.r()
			v.VMOVUPS(mem(x, 32*i), a[i])
			if i == 0 {
				v.VPAND(v.kBits(1<<31-1), a[i], m)
				continue
			}
			v.VPAND(v.kBits(1<<31-1), a[i], t)
			v.VPMAXUD(t, m, m)
		}
		v.VPERM2I128(operand.U8(1), m, m, t)
		v.VPMAXUD(t, m, m)
		v.VPSHUFD(operand.U8(0x4e), m, t)
		v.VPMAXUD(t, m, m)
		v.VPSHUFD(operand.U8(0xb1), m, t)
		v.VPMAXUD(t, m, m)
		sa, inv, ok := v.r(), v.inReg(v.k(1)), v.r()
		v.VDIVPS(v.k(127), m, sa)
		v.VCMPPS(operand.U8(0x0d), v.bitsMem(smallestNormal), sa, ok)
		v.VDIVPS(sa, inv, inv)
		v.VPAND(ok, inv, inv)
		for i := range a {
			v.VMULPS(inv, a[i], a[i])
			v.VCVTPS2DQ(a[i], a[i])
		}
		low, high, q := v.r(), v.r(), v.r()
		v.VPADDD(a[0], a[1], low)
		v.VPADDD(a[2], a[3], high)
		v.VPACKSSDW(a[1], a[0], a[0])
		v.VPACKSSDW(a[3], a[2], a[2])
		v.VPACKSSWB(a[2], a[0], a[0])
		v.VMOVUPS(v.table("unpackOrder", []uint32{0, 4, 1, 5, 2, 6, 3, 7}), q)
		v.VPERMD(a[0], q, q)
		v.VMOVUPS(q, mem(dst, 0))
		v.VPERM2I128(operand.U8(0x20), high, low, t)
		v.VPERM2I128(operand.U8(0x31), high, low, m)
		v.VPADDD(t, m, m)
		v.VPSHUFD(operand.U8(0x4e), m, t)
		v.VPADDD(t, m, m)
		v.VPSHUFD(operand.U8(0xb1), m, t)
		v.VPADDD(t, m, m) // low in the lower lane, high in the upper
		finishActBlock(v, dst, m, sa.AsX())
		v.ADDQ(operand.I32(128), x)
		v.ADDQ(step, dst)
	})
	v.end()
}
