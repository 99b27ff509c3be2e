package main

// Family grad: what training adds to the row operations: backward passes of norm and gates, rows of the softmax, the optimiser's update.

import (
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func genGrad(c *build.Context) {
	s := newShared()
	both(c, s, func(v isa) {
		genProduct(v)
		genDotLanes(v)
		genRMSNormGrad(v)
		for _, kind := range []string{"silu", "geluTanh"} {
			genGateGrad(v, kind, false)
			genGateGrad(v, kind, true)
		}
		genGELUGrad(v)
		genSigmoid(v)
		genOwnGrad(v)
		genExpSub(v)
		genExpSum(v)
		genSoftmaxGrad(v)
		genAdam(v)
		genSumSquares(v)
	})
}

type pointers = []reg.GPVirtual

func (v isa) ptrs(names ...string) pointers {
	var p pointers
	for _, n := range names {
		p = append(p, v.ptr(n))
	}
	return p
}

// pass walks over n elements: it loads a register from every pointer of in, calls body, and stores what that returns to the pointers of out. The last elements come
// with a tail, whose other lanes are zero. u counts the registers of one round.
func (v isa) pass(n reg.GPVirtual, in, out pointers, unroll int, body func(u int, x []reg.VecVirtual, t *tail) []reg.VecVirtual) {
	var moving pointers
	for _, p := range append(append(pointers{}, in...), out...) {
		known := false
		for _, q := range moving {
			known = known || q == p
		}
		if !known {
			moving = append(moving, p)
		}
	}
	step := func(u int, t *tail) {
		x := make([]reg.VecVirtual, len(in))
		for i, p := range in {
			x[i] = v.r()
			if t != nil {
				t.load(mem(p, u*v.bytes()), x[i])
			} else {
				v.VMOVUPS(mem(p, u*v.bytes()), x[i])
			}
		}
		for i, y := range body(u, x, t) {
			if t != nil {
				t.store(y, mem(out[i], u*v.bytes()))
			} else {
				v.VMOVUPS(y, mem(out[i], u*v.bytes()))
			}
		}
	}
	round := func(count int) {
		v.loop(n, count*v.lanes(), func() {
			for u := range count {
				step(u, nil)
			}
			for _, p := range moving {
				v.ADDQ(operand.I32(int32(count*v.bytes())), p)
			}
		})
	}
	if unroll > 1 {
		round(unroll)
	}
	round(1)
	v.ifAny(n, func() {
		t := v.tailMask(n)
		step(0, &t)
	})
}

// keep zeroes the lanes of r outside the tail.
func (t *tail) keep(r reg.VecVirtual) {
	switch {
	case t == nil:
	case t.v.wide:
		t.v.VMOVAPS_Z(r, t.m, r)
	default:
		t.v.VANDPS(t.m, r, r)
	}
}

// sums are four accumulators.
func (v isa) sums() []reg.VecVirtual {
	return []reg.VecVirtual{v.zero(), v.zero(), v.zero(), v.zero()}
}

// total folds four accumulators to lane 0.
func (v isa) total(acc []reg.VecVirtual) reg.VecVirtual {
	v.VADDPS(acc[1], acc[0], acc[0])
	v.VADDPS(acc[3], acc[2], acc[2])
	v.VADDPS(acc[2], acc[0], acc[0])
	return v.foldAdd(acc[0])
}

func (v isa) broadcast(x reg.VecVirtual) reg.VecVirtual {
	r := v.r()
	v.VBROADCASTSS(x, r)
	return r
}

func (v isa) scalar(name string) operand.Mem {
	b, err := v.Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// keepMask is a parameter that is 0 or all ones, for dst = keep&dst + more: it writes or it adds.
func (v isa) keepMask(name string) reg.VecVirtual {
	r := v.r()
	v.VBROADCASTSS(v.scalar(name), r)
	return r
}

func genProduct(v isa) {
	v.begin("product", "(dst, x, y *float32, n int, keep uint32)", "product"+v.suffix()+": dst[i] = keep&dst[i] + x[i] * y[i], i < n.")
	p, n := v.ptrs("dst", "x", "y"), v.ptr("n")
	keep := v.keepMask("keep")
	v.pass(n, p, p[:1], 4, func(_ int, x []reg.VecVirtual, _ *tail) []reg.VecVirtual {
		v.and(keep, x[0], x[0])
		v.VFMADD231PS(x[1], x[2], x[0])
		return x[:1]
	})
	v.end()
}

// genDotLanes keeps 16 lanes at every level, so that all give the same bits.
func genDotLanes(v isa) {
	v.begin("dotLanes", "(lane, x, y *float32, n int)", "dotLanes"+v.suffix()+": lane[i mod 16] += x[i] * y[i], i < n, a multiple of 16; product and sum are rounded each.")
	lane, x, y, n := v.ptr("lane"), v.ptr("x"), v.ptr("y"), v.ptr("n")
	var acc []reg.VecVirtual
	for i := range 16 / v.lanes() {
		a := v.r()
		v.VMOVUPS(mem(lane, i*v.bytes()), a)
		acc = append(acc, a)
	}
	v.loop(n, 16, func() {
		for i, a := range acc {
			t := v.r()
			v.VMOVUPS(mem(x, i*v.bytes()), t)
			v.VMULPS(mem(y, i*v.bytes()), t, t)
			v.VADDPS(t, a, a)
		}
		v.ADDQ(operand.I32(64), x)
		v.ADDQ(operand.I32(64), y)
	})
	for i, a := range acc {
		v.VMOVUPS(a, mem(lane, i*v.bytes()))
	}
	v.end()
}

func genRMSNormGrad(v isa) {
	v.begin("rmsNormGrad", "(dx, dw, dy, x, w *float32, n int, eps, plus float32, keep uint32)", "rmsNormGrad"+v.suffix()+
		": with r = 1 / sqrt(mean(x²) + eps) and a = dy (w + plus), dx = keep&dx + r a - r³ x mean(a x) and dw += dy x r. dw may be nil; w may be nil (no weight, no dw). n > 0.")
	n := v.ptr("n")
	w := v.ptr("w")
	weighted, sums, end := "weighted", "sums", "end"
	sq, mix := v.sums(), v.sums()
	v.TESTQ(w, w)
	v.JNE(operand.LabelRef(weighted))
	p := v.ptrs("dy", "x")
	v.pass(n, p, nil, 2, func(u int, x []reg.VecVirtual, _ *tail) []reg.VecVirtual {
		v.VFMADD231PS(x[1], x[1], sq[u])
		v.VFMADD231PS(x[0], x[1], mix[u])
		return nil
	})
	v.JMP(operand.LabelRef(sums))
	v.Label(weighted)
	{
		plus := v.param("plus")
		v.pass(n, append(v.ptrs("dy", "x"), w), nil, 2, func(u int, x []reg.VecVirtual, _ *tail) []reg.VecVirtual {
			v.VADDPS(plus, x[2], x[2])
			v.VMULPS(x[0], x[2], x[2])
			v.VFMADD231PS(x[1], x[1], sq[u])
			v.VFMADD231PS(x[1], x[2], mix[u])
			return nil
		})
	}
	v.Label(sums)
	sum, dot := v.total(sq), v.total(mix)
	n = v.ptr("n")
	count, r := v.XMM(), v.XMM()
	v.VXORPS(count, count, count)
	v.VCVTSI2SSQ(n, count, count)
	v.VDIVSS(count, sum, sum)
	v.VADDSS(v.scalar("eps"), sum, sum)
	v.VSQRTSS(sum, sum, sum)
	v.VMOVSS(v.bitsMem(0x3f800000), r)
	v.VDIVSS(sum, r, r)
	v.VDIVSS(count, dot, dot)
	for range 3 {
		v.VMULSS(r, dot, dot)
	}
	inv, slope := v.broadcast(r), v.broadcast(dot)

	// dx from a and x
	keep := v.keepMask("keep")
	input := func(dx, a, x reg.VecVirtual) {
		v.and(keep, dx, dx)
		v.VFMADD231PS(inv, a, dx)
		v.VFNMADD231PS(slope, x, dx)
	}
	w = v.ptr("w")
	w2, w3 := "weightedInput", "weightedBoth"
	v.TESTQ(w, w)
	v.JNE(operand.LabelRef(w2))
	p = v.ptrs("dx", "dy", "x")
	v.pass(n, p, p[:1], 1, func(_ int, x []reg.VecVirtual, _ *tail) []reg.VecVirtual {
		input(x[0], x[1], x[2])
		return x[:1]
	})
	v.JMP(operand.LabelRef(end))

	v.Label(w2)
	dw := v.ptr("dw")
	v.TESTQ(dw, dw)
	v.JNE(operand.LabelRef(w3))
	{
		plus := v.param("plus")
		p = append(v.ptrs("dx", "dy", "x"), w)
		v.pass(n, p, p[:1], 1, func(_ int, x []reg.VecVirtual, _ *tail) []reg.VecVirtual {
			v.VADDPS(plus, x[3], x[3])
			v.VMULPS(x[1], x[3], x[3])
			input(x[0], x[3], x[2])
			return x[:1]
		})
	}
	v.JMP(operand.LabelRef(end))

	v.Label(w3)
	{
		plus := v.param("plus")
		p = append(v.ptrs("dx", "dy", "x"), w, dw)
		v.pass(n, p, pointers{p[0], dw}, 1, func(_ int, x []reg.VecVirtual, _ *tail) []reg.VecVirtual {
			v.VADDPS(plus, x[3], x[3])
			v.VMULPS(x[1], x[3], x[3])
			input(x[0], x[3], x[2])
			v.VMULPS(x[1], x[2], x[2])
			v.VFMADD231PS(inv, x[2], x[4])
			return []reg.VecVirtual{x[0], x[4]}
		})
	}
	v.Label(end)
	v.end()
}

// genGateGrad: with s the sigmoid of an argument c(x) and f = x s, f' = s + f (1 - s) c'. SiLU has c = x; GELU by tanh c = 2 sqrt(2/pi) (x + 0.044715 x³).
func genGateGrad(v isa, kind string, gated bool) {
	if gated {
		v.begin(kind+"MulGrad", "(dgate, dup, dy, gate, up *float32, n int, keepGate, keepUp uint32)",
			kind+"MulGrad"+v.suffix()+": dgate = keepGate&dgate + dy up f'(gate), dup = keepUp&dup + dy f(gate), i < n.")
	} else {
		v.begin(kind+"Grad", "(dx, dy, x *float32, n int, keep uint32)", kind+"Grad"+v.suffix()+": dx = keep&dx + dy f'(x), i < n.")
	}
	gelu := kind == "geluTanh"
	k := geluConsts{gate: v.gateConsts()}
	var slope op
	if gelu {
		k = v.geluConsts()
		slope = v.k(3 * 2 * 0.7978845608028654 * 0.044715)
	}
	one := k.gate.exp.one
	// of x: the function and its derivative
	both := func(x reg.VecVirtual) (f, d reg.VecVirtual) {
		arg := x
		if gelu {
			arg = v.geluArg(k, x)
		}
		neg := v.r()
		v.xor(k.gate.sign, arg, neg)
		e := v.exp(k.gate.exp, neg)
		v.VADDPS(one, e, e)
		s := v.inReg(one)
		v.VDIVPS(e, s, s)
		f, d = v.r(), v.inReg(one)
		v.VMULPS(s, x, f)
		v.VSUBPS(s, d, d)
		v.VMULPS(f, d, d)
		if gelu { // c' = a + 3 a b x²
			c := v.r()
			v.VMULPS(x, x, c)
			t := v.inReg(k.a)
			v.VFMADD231PS(slope, c, t)
			v.VMULPS(t, d, d)
		}
		v.VADDPS(s, d, d)
		return f, d
	}
	if gated {
		p, n := v.ptrs("dy", "gate", "up", "dgate", "dup"), v.ptr("n")
		keepGate, keepUp := v.keepMask("keepGate"), v.keepMask("keepUp")
		v.pass(n, p, p[3:], 1, func(_ int, x []reg.VecVirtual, _ *tail) []reg.VecVirtual {
			f, d := both(x[1])
			v.and(keepGate, x[3], x[3])
			v.and(keepUp, x[4], x[4])
			v.VFMADD231PS(x[0], f, x[4])
			v.VMULPS(x[0], x[2], x[2])
			v.VFMADD231PS(x[2], d, x[3])
			return x[3:]
		})
	} else {
		p, n := v.ptrs("dx", "dy", "x"), v.ptr("n")
		keep := v.keepMask("keep")
		v.pass(n, p, p[:1], 1, func(_ int, x []reg.VecVirtual, _ *tail) []reg.VecVirtual {
			_, d := both(x[2])
			v.and(keep, x[0], x[0])
			v.VFMADD231PS(x[1], d, x[0])
			return x[:1]
		})
	}
	v.end()
}

func genGELUGrad(v isa) {
	v.begin("geluGrad", "(dx, dy, x *float32, n int, keep uint32)", "geluGrad"+v.suffix()+": dx = keep&dx + dy (Phi(x) + x e^(-x²/2) / sqrt(2 pi)), i < n.")
	p, n := v.ptrs("dx", "dy", "x"), v.ptr("n")
	keep := v.keepMask("keep")
	k, density := v.erfConsts(), v.k(0.3989422804014327)
	v.pass(n, p, p[:1], 1, func(_ int, x []reg.VecVirtual, _ *tail) []reg.VecVirtual {
		d := v.phi(k, x[2])
		h := v.r()
		v.VMULPS(k.minusHalf, x[2], h)
		v.VMULPS(x[2], h, h)
		e := v.exp(k.exp, h)
		v.VMULPS(density, e, e)
		v.VFMADD231PS(x[2], e, d)
		v.and(keep, x[0], x[0])
		v.VFMADD231PS(x[1], d, x[0])
		return x[:1]
	})
	v.end()
}

func genSigmoid(v isa) {
	v.begin("sigmoid", "(dst, x *float32, n int)", "sigmoid"+v.suffix()+": dst[i] = 1 / (1 + e^-x[i]), i < n.")
	dst, x, n := v.ptr("dst"), v.ptr("x"), v.ptr("n")
	k := v.gateConsts()
	v.pass(n, pointers{x}, pointers{dst}, 1, func(_ int, x []reg.VecVirtual, _ *tail) []reg.VecVirtual {
		return []reg.VecVirtual{v.gate(k, x[0], v.inReg(k.exp.one), nil)}
	})
	v.end()
}

func genOwnGrad(v isa) {
	v.begin("ownGrad", "(dx, dy, y *float32, n int, a, b, c float32, keep uint32)", "ownGrad"+v.suffix()+": dx = keep&dx + dy (a + b y + c y²), i < n.")
	p, n := v.ptrs("dx", "dy", "y"), v.ptr("n")
	a, b, c, keep := v.param("a"), v.param("b"), v.param("c"), v.keepMask("keep")
	v.pass(n, p, p[:1], 2, func(_ int, x []reg.VecVirtual, _ *tail) []reg.VecVirtual {
		d := v.r()
		v.VMOVAPS(b, d)
		v.VFMADD231PS(c, x[2], d)
		v.VFMADD213PS(a, x[2], d)
		v.and(keep, x[0], x[0])
		v.VFMADD231PS(x[1], d, x[0])
		return x[:1]
	})
	v.end()
}

func genExpSub(v isa) {
	v.begin("expSub", "(dst, x *float32, n int, scale, sub, times float32) float32", "expSub"+v.suffix()+": dst[i] = times e^(scale x[i] - sub), i < n; returns the sum of these.")
	dst, x, n := v.ptr("dst"), v.ptr("x"), v.ptr("n")
	scale, sub, times := v.param("scale"), v.param("sub"), v.param("times")
	k := v.expConsts()
	acc := v.sums()
	v.pass(n, pointers{x}, pointers{dst}, 2, func(u int, x []reg.VecVirtual, t *tail) []reg.VecVirtual {
		v.VFMSUB213PS(sub, scale, x[0])
		e := v.exp(k, x[0])
		v.VMULPS(times, e, e)
		t.keep(e)
		v.VADDPS(e, acc[u], acc[u])
		return []reg.VecVirtual{e}
	})
	v.Store(v.total(acc), v.ReturnIndex(0))
	v.end()
}

func genExpSum(v isa) {
	v.begin("expSum", "(x *float32, n int, sub float32) float32", "expSum"+v.suffix()+" is the sum of e^(x[i] - sub), i < n.")
	x, n := v.ptr("x"), v.ptr("n")
	sub := v.param("sub")
	k := v.expConsts()
	acc := v.sums()
	v.pass(n, pointers{x}, nil, 2, func(u int, x []reg.VecVirtual, t *tail) []reg.VecVirtual {
		v.VSUBPS(sub, x[0], x[0])
		e := v.exp(k, x[0])
		t.keep(e)
		v.VADDPS(e, acc[u], acc[u])
		return nil
	})
	v.Store(v.total(acc), v.ReturnIndex(0))
	v.end()
}

func genSoftmaxGrad(v isa) {
	v.begin("softmaxGrad", "(dst, p, dp *float32, n int, d, scale float32)", "softmaxGrad"+v.suffix()+": dst[i] = scale p[i] (dp[i] - d), i < n.")
	dst, p, dp, n := v.ptr("dst"), v.ptr("p"), v.ptr("dp"), v.ptr("n")
	d, scale := v.param("d"), v.param("scale")
	v.pass(n, pointers{p, dp}, pointers{dst}, 2, func(_ int, x []reg.VecVirtual, _ *tail) []reg.VecVirtual {
		v.VSUBPS(d, x[1], x[1])
		v.VMULPS(scale, x[0], x[0])
		v.VMULPS(x[1], x[0], x[0])
		return x[:1]
	})
	v.end()
}

func genAdam(v isa) {
	// The assembler keeps the name g to itself.
	v.begin("adam", "(p, m, v, grad *float32, n int, oneB1, b2, oneB2, shrink, rate, root, eps float32)", "adam"+v.suffix()+": one step of Adam on n elements; see Adam.")
	x, n := v.ptrs("p", "m", "v", "grad"), v.ptr("n")
	oneB1, b2, oneB2, shrink, rate, root, eps := v.param("oneB1"), v.param("b2"), v.param("oneB2"), v.param("shrink"), v.param("rate"), v.param("root"), v.param("eps")
	v.pass(n, x, x[:3], 1, func(_ int, x []reg.VecVirtual, _ *tail) []reg.VecVirtual {
		p, m, sq, g := x[0], x[1], x[2], x[3]
		t, d := v.r(), v.r()
		v.VSUBPS(m, g, t)
		v.VFMADD231PS(oneB1, t, m)
		v.VMULPS(oneB2, g, t)
		v.VMULPS(b2, sq, sq)
		v.VFMADD231PS(t, g, sq)
		v.VSQRTPS(sq, d)
		v.VFMADD213PS(eps, root, d)
		v.VMULPS(rate, m, t)
		v.VDIVPS(d, t, t)
		v.VFMSUB213PS(t, shrink, p)
		return x[:3]
	})
	v.end()
}

func genSumSquares(v isa) {
	v.begin("sumSquares", "(x *float32, n int) float64", "sumSquares"+v.suffix()+" is the sum of x[i]² in float64, i < n, a multiple of 32.")
	x, n := v.ptr("x"), v.ptr("n")
	acc := v.sums()
	half := v.bytes() / 2
	v.loop(n, 2*v.lanes(), func() {
		for u, a := range acc {
			t := v.r()
			v.VCVTPS2PD(mem(x, u*half), t)
			v.VFMADD231PD(t, t, a)
		}
		v.ADDQ(operand.I32(int32(4*half)), x)
	})
	v.VADDPD(acc[1], acc[0], acc[0])
	v.VADDPD(acc[3], acc[2], acc[2])
	v.VADDPD(acc[2], acc[0], acc[0])
	hi, lo := v.XMM(), v.XMM()
	if v.wide {
		y := v.YMM()
		v.VEXTRACTF64X4(operand.U8(1), acc[0], y)
		v.VADDPD(y, acc[0].AsY(), y)
		v.VEXTRACTF64X2(operand.U8(1), y, hi)
		v.VADDPD(hi, y.AsX(), lo)
	} else {
		v.VEXTRACTF128(operand.U8(1), acc[0], hi)
		v.VADDPD(hi, acc[0].AsX(), lo)
	}
	v.VPERMILPD(operand.U8(1), lo, hi)
	v.VADDSD(hi, lo, lo)
	v.Store(lo, v.ReturnIndex(0))
	v.end()
}
