package main

// The exponential and its kin as macros over registers; the numbers are those of vec_exp.go in package kernel.

import (
	"math"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

type expConsts struct {
	min, max, log2e, hi, lo, one op
	q                            [5]op
}

func (v isa) expConsts() expConsts {
	return expConsts{
		min: v.k(-86.6), max: v.k(89), log2e: v.k(1.44269504088896341), hi: v.k(0.693359375), lo: v.k(-2.12194440054690583e-4), one: v.k(1),
		q: [5]op{v.k(0.49999994), v.k(0.166665196), v.k(0.0416683927), v.k(0.00836878084), v.k(0.00138144672)},
	}
}

// exp returns e^x in a fresh register; x is kept.
func (v isa) exp(k expConsts, x reg.VecVirtual) reg.VecVirtual {
	n, r, q, e := v.r(), v.inReg(k.max), v.inReg(k.q[4]), v.r()
	v.VMINPS(x, r, r) // NaN comes through: the second operand wins
	v.VMULPS(k.log2e, r, n)
	if v.wide {
		v.VRNDSCALEPS(operand.U8(8), n, n)
	} else {
		v.VROUNDPS(operand.U8(8), n, n)
	}
	v.VFNMADD231PS(k.hi, n, r)
	v.VFNMADD231PS(k.lo, n, r)
	for i := 3; i >= 0; i-- {
		v.VFMADD213PS(k.q[i], r, q)
	}
	v.VMULPS(r, r, e)
	v.VFMADD213PS(r, q, e)
	v.VADDPS(k.one, e, e)
	const notLess = 5
	if v.wide {
		keep := v.K()
		v.VCMPPS(operand.U8(notLess), k.min, x, keep)
		v.VSCALEFPS_Z(n, e, keep, e)
		return e
	}
	// 2^n = 2 * 2^(n-1), as n may be 128
	keep := v.r()
	v.VCMPPS(operand.U8(notLess), k.min, x, keep)
	v.VCVTPS2DQ(n, n)
	v.VPADDD(v.bitsMem(126), n, n)
	v.VPSLLD(operand.U8(23), n, n)
	v.VADDPS(e, e, e)
	v.VMULPS(n, e, e)
	v.VANDPS(keep, e, e)
	return e
}

type gateConsts struct {
	exp  expConsts
	sign op
}

func (v isa) gateConsts() gateConsts { return gateConsts{v.expConsts(), v.kBits(0x80000000)} }

// gate returns x / (1 + e^-u) * up; a nil up means none.
func (v isa) gate(k gateConsts, u, x, up reg.VecVirtual) reg.VecVirtual {
	neg := v.r()
	v.xor(k.sign, u, neg)
	e := v.exp(k.exp, neg)
	v.VADDPS(k.exp.one, e, e)
	d := v.r()
	v.VDIVPS(e, x, d)
	if up != nil {
		v.VMULPS(up, d, d)
	}
	return d
}

func (v isa) xor(a op, b, d reg.Register) {
	if v.wide {
		v.VPXORD(a, b, d)
	} else {
		v.VXORPS(a, b, d)
	}
}

type geluConsts struct {
	gate gateConsts
	a, b op
}

func (v isa) geluConsts() geluConsts {
	return geluConsts{v.gateConsts(), v.k(2 * 0.7978845608028654), v.k(0.044715)}
}

// geluArg returns 2 sqrt(2/pi) (x + 0.044715 x³).
func (v isa) geluArg(k geluConsts, x reg.VecVirtual) reg.VecVirtual {
	t := v.r()
	v.VMULPS(x, x, t)
	v.VMULPS(k.b, t, t)
	v.VADDPS(k.gate.exp.one, t, t)
	v.VMULPS(x, t, t)
	v.VMULPS(k.a, t, t)
	return t
}

type tanhConsts struct {
	exp                            expConsts
	abs, sign, split, minus1, neg2 op
	t                              [5]op
}

func (v isa) tanhConsts() tanhConsts {
	return tanhConsts{
		exp: v.expConsts(), abs: v.kBits(0x7fffffff), sign: v.kBits(0x80000000), split: v.k(0.625), minus1: v.k(-1), neg2: v.k(-2),
		t: [5]op{v.k(-0.333332837), v.k(0.133314908), v.k(-0.0537434965), v.k(0.0206505861), v.k(-0.0057170433)},
	}
}

// tanh returns tanh(x) in a fresh register; x is kept.
func (v isa) tanh(k tanhConsts, x reg.VecVirtual) reg.VecVirtual {
	a, z, t, y := v.r(), v.r(), v.inReg(k.t[4]), v.r()
	v.and(k.abs, x, a)
	v.VMULPS(x, x, z)
	for i := 3; i >= 0; i-- {
		v.VFMADD213PS(k.t[i], z, t)
	}
	v.VMULPS(x, z, z)
	v.VFMADD213PS(x, z, t) // near zero: x³ T + x
	v.VMULPS(k.neg2, a, y)
	e := v.exp(k.exp, y)
	v.VADDPS(k.minus1, e, y)
	v.VADDPS(k.exp.one, e, e)
	v.VDIVPS(e, y, y)
	v.and(k.abs, y, y)
	s := v.r()
	v.and(k.sign, x, s)
	v.or(s, y, y)
	const less = 1
	if v.wide {
		near := v.K()
		v.VCMPPS(operand.U8(less), k.split, a, near)
		v.VMOVUPS(t, near, y)
		return y
	}
	near := v.r()
	v.VCMPPS(operand.U8(less), k.split, a, near)
	v.VBLENDVPS(near, t, y, y)
	return y
}

type erfConsts struct {
	exp                           expConsts
	abs, t, uMul, uAdd, minusHalf op
	p                             [10]operand.Mem // too many for registers
}

// erfConsts: half the complementary error function of |x|/sqrt(2) is t exp(P(u) - x²/2), t = 1/(1 + |x|/sqrt(8)), u = t brought to [-1, 1]; P fitted by minimax (4e-8) for |x| < 13.
func (v isa) erfConsts() erfConsts {
	k := erfConsts{exp: v.expConsts(), abs: v.kBits(0x7fffffff), t: v.k(0.35355339059327373), uMul: v.k(2.41666667), uAdd: v.k(-1.41666667), minusHalf: v.k(-0.5)}
	for i, c := range []float64{-1.24780869, 0.566585422, 0.0149290385, -0.0288910214, -0.000909217051, 0.00356873847, -0.000243112023, -0.000500680238, 7.29445674e-05, 4.94271044e-05} {
		k.p[i] = v.bitsMem(math.Float32bits(float32(c)))
	}
	return k
}

// here is a constant for one use: a memory operand, or a register freshly loaded where operands are wider than the constant.
func (v isa) here(m operand.Mem) op {
	if !v.wide {
		return m
	}
	r := v.r()
	v.VBROADCASTSS(m, r)
	return r
}

// gelu returns x Phi(x) in a fresh register; x is kept.
func (v isa) gelu(k erfConsts, x reg.VecVirtual) reg.VecVirtual {
	y := v.phi(k, x)
	v.VMULPS(x, y, y)
	return y
}

// phi returns the normal distribution's Phi(x) in a fresh register; x is kept.
func (v isa) phi(k erfConsts, x reg.VecVirtual) reg.VecVirtual {
	t, one, u, p, y := v.r(), v.inReg(k.exp.one), v.r(), v.r(), v.r()
	v.VBROADCASTSS(k.p[9], p)
	v.and(k.abs, x, t)
	v.VMULPS(k.t, t, t)
	v.VADDPS(one, t, t)
	v.VDIVPS(t, one, t)
	v.VMULPS(k.uMul, t, u)
	v.VADDPS(k.uAdd, u, u)
	for i := 8; i >= 0; i-- {
		v.VFMADD213PS(v.here(k.p[i]), u, p)
	}
	v.VMULPS(k.minusHalf, x, y)
	v.VFMADD231PS(x, y, p)
	h := v.exp(k.exp, p)
	v.VMULPS(t, h, h)
	v.VSUBPS(h, one, one) // 1 - h, for x >= 0
	zero := v.zero()
	const less = 1
	if v.wide {
		neg := v.K()
		v.VCMPPS(operand.U8(less), zero, x, neg)
		v.VMOVUPS(h, neg, one)
	} else {
		v.VCMPPS(operand.U8(less), zero, x, zero)
		v.VBLENDVPS(zero, h, one, one)
	}
	return one
}
