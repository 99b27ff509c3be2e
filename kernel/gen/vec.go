package main

// Family vec: element-wise operations, RMSNorm, RoPE.

import (
	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func genVec(c *build.Context) {
	s := newShared()
	genFeatures(newISA(c, false, s))
	both(c, s, func(v isa) {
		genElementwise(v)
		genRMSNorm(v)
		genRopeHalf(v)
		genRopePairs(v)
		genNormalize(v)
		genHadamard(v)
		genButterfly(v)
		genMaxOf(v)
		genFind(v)
	})
}

func genFeatures(v isa) {
	v.Function("cpuFeatures")
	v.Attributes(attr.NOSPLIT)
	v.SignatureExpr("func() uint32")
	v.Doc("cpuFeatures is ECX of CPUID leaf 1.")
	v.MOVL(operand.U32(1), reg.EAX)
	v.XORL(reg.ECX, reg.ECX)
	v.CPUID()
	v.Store(reg.ECX, v.ReturnIndex(0))
	v.RET()
}

// elementwise describes dst[i] = body(srcs[i]...).
type elementwise struct {
	name    string
	doc     string
	srcs    []string // pointers read, in order
	scalars []string // float32 parameters
	unroll  int
	body    func(v isa, consts any, scalars []reg.VecVirtual, x []reg.VecVirtual) reg.VecVirtual
	consts  func(v isa) any // loaded before the loop
}

func genElementwise(v isa) {
	none := func(isa) any { return nil }
	for _, e := range []elementwise{
		{"add", "dst[i] += x[i]", []string{"dst", "x"}, nil, 4, func(v isa, _ any, _, x []reg.VecVirtual) reg.VecVirtual {
			v.VADDPS(x[1], x[0], x[0])
			return x[0]
		}, none},
		{"mul", "dst[i] *= x[i]", []string{"dst", "x"}, nil, 4, func(v isa, _ any, _, x []reg.VecVirtual) reg.VecVirtual {
			v.VMULPS(x[1], x[0], x[0])
			return x[0]
		}, none},
		{"addScaled", "dst[i] = fma(a, x[i], dst[i])", []string{"dst", "x"}, []string{"a"}, 4, func(v isa, _ any, s, x []reg.VecVirtual) reg.VecVirtual {
			v.VFMADD231PS(x[1], s[0], x[0])
			return x[0]
		}, none},
		{"scale", "dst[i] *= a", []string{"dst"}, []string{"a"}, 4, func(v isa, _ any, s, x []reg.VecVirtual) reg.VecVirtual {
			v.VMULPS(s[0], x[0], x[0])
			return x[0]
		}, none},
		{"scaleTo", "dst[i] = x[i] * a", []string{"x"}, []string{"a"}, 4, func(v isa, _ any, s, x []reg.VecVirtual) reg.VecVirtual {
			v.VMULPS(s[0], x[0], x[0])
			return x[0]
		}, none},
		{"mergeRow", "dst[i] = fma(x[i], b, dst[i]*a)", []string{"dst", "x"}, []string{"a", "b"}, 4, func(v isa, _ any, s, x []reg.VecVirtual) reg.VecVirtual {
			v.VMULPS(s[0], x[0], x[0])
			v.VFMADD231PS(x[1], s[1], x[0])
			return x[0]
		}, none},
		{"exp", "dst[i] = e^dst[i]", []string{"dst"}, nil, 1, func(v isa, k any, _, x []reg.VecVirtual) reg.VecVirtual {
			return v.exp(k.(expConsts), x[0])
		}, func(v isa) any { return v.expConsts() }},
		{"siluMul", "dst[i] = silu(gate[i]) * up[i]", []string{"gate", "up"}, nil, 1, func(v isa, k any, _, x []reg.VecVirtual) reg.VecVirtual {
			return v.gate(k.(gateConsts), x[0], x[0], x[1])
		}, func(v isa) any { return v.gateConsts() }},
		{"silu", "dst[i] = silu(dst[i])", []string{"dst"}, nil, 1, func(v isa, k any, _, x []reg.VecVirtual) reg.VecVirtual {
			return v.gate(k.(gateConsts), x[0], x[0], nil)
		}, func(v isa) any { return v.gateConsts() }},
		{"geluTanhMul", "dst[i] = geluTanh(gate[i]) * up[i]", []string{"gate", "up"}, nil, 1, func(v isa, k any, _, x []reg.VecVirtual) reg.VecVirtual {
			g := k.(geluConsts)
			return v.gate(g.gate, v.geluArg(g, x[0]), x[0], x[1])
		}, func(v isa) any { return v.geluConsts() }},
		{"geluTanh", "dst[i] = geluTanh(dst[i])", []string{"dst"}, nil, 1, func(v isa, k any, _, x []reg.VecVirtual) reg.VecVirtual {
			g := k.(geluConsts)
			return v.gate(g.gate, v.geluArg(g, x[0]), x[0], nil)
		}, func(v isa) any { return v.geluConsts() }},
		{"geluMul", "dst[i] = gate[i] Phi(gate[i]) * up[i]", []string{"gate", "up"}, nil, 1, func(v isa, k any, _, x []reg.VecVirtual) reg.VecVirtual {
			y := v.gelu(k.(erfConsts), x[0])
			v.VMULPS(x[1], y, y)
			return y
		}, func(v isa) any { return v.erfConsts() }},
		{"gelu", "dst[i] = dst[i] Phi(dst[i])", []string{"dst"}, nil, 1, func(v isa, k any, _, x []reg.VecVirtual) reg.VecVirtual {
			return v.gelu(k.(erfConsts), x[0])
		}, func(v isa) any { return v.erfConsts() }},
		{"softcap", "dst[i] = c tanh(dst[i] inv)", []string{"dst"}, []string{"c", "inv"}, 1, func(v isa, k any, s, x []reg.VecVirtual) reg.VecVirtual {
			v.VMULPS(s[1], x[0], x[0])
			t := v.tanh(k.(tanhConsts), x[0])
			v.VMULPS(s[0], t, t)
			return t
		}, func(v isa) any { return v.tanhConsts() }},
	} {
		genOneElementwise(v, e)
	}
}

func genOneElementwise(v isa, e elementwise) {
	sig := "(dst"
	hasDst := false
	for _, s := range e.srcs {
		if s == "dst" {
			hasDst = true
		} else {
			sig += ", " + s
		}
	}
	sig += " *float32, n int"
	for _, s := range e.scalars {
		sig += ", " + s + " float32"
	}
	v.begin(e.name, sig+")", e.name+v.suffix()+": "+e.doc+", i < n.")
	ptrs := map[string]reg.GPVirtual{}
	for _, s := range e.srcs {
		ptrs[s] = v.ptr(s)
	}
	if !hasDst {
		ptrs["dst"] = v.ptr("dst")
	}
	n := v.ptr("n")
	consts := e.consts(v)
	var scalars []reg.VecVirtual
	for _, s := range e.scalars {
		scalars = append(scalars, v.param(s))
	}
	names := append([]string{}, e.srcs...)
	if !hasDst {
		names = append(names, "dst")
	}
	step := func(count int, load func(m operand.Mem, d reg.Register), store func(s reg.Register, m operand.Mem)) {
		for u := range count {
			var x []reg.VecVirtual
			for _, s := range e.srcs {
				r := v.r()
				load(mem(ptrs[s], u*v.bytes()), r)
				x = append(x, r)
			}
			store(e.body(v, consts, scalars, x), mem(ptrs["dst"], u*v.bytes()))
		}
	}
	advance := func(count int) {
		for _, s := range names {
			v.ADDQ(operand.I32(int32(count*v.bytes())), ptrs[s])
		}
	}
	load := func(m operand.Mem, d reg.Register) { v.VMOVUPS(m, d) }
	store := func(s reg.Register, m operand.Mem) { v.VMOVUPS(s, m) }
	if e.unroll > 1 {
		v.loop(n, e.unroll*v.lanes(), func() {
			step(e.unroll, load, store)
			advance(e.unroll)
		})
	}
	v.loop(n, v.lanes(), func() {
		step(1, load, store)
		advance(1)
	})
	v.ifAny(n, func() {
		t := v.tailMask(n)
		step(1, t.load, t.store)
	})
	v.end()
}

func genRMSNorm(v isa) {
	v.begin("rmsNorm", "(dst, x, w *float32, n int, eps, plus float32)",
		"rmsNorm"+v.suffix()+": dst[i] = x[i] / sqrt(mean(x²) + eps) * (w[i] + plus); w may be nil (no weight). n > 0.")
	x, n := v.ptr("x"), v.ptr("n")
	// The sum of squares: four registers over the whole blocks, single registers and the tail into the first.
	acc := []reg.VecVirtual{v.zero(), v.zero(), v.zero(), v.zero()}
	v.loop(n, 4*v.lanes(), func() {
		for u, a := range acc {
			t := v.r()
			v.VMOVUPS(mem(x, u*v.bytes()), t)
			v.VFMADD231PS(t, t, a)
		}
		v.ADDQ(operand.I32(int32(4*v.bytes())), x)
	})
	v.loop(n, v.lanes(), func() {
		t := v.r()
		v.VMOVUPS(mem(x, 0), t)
		v.VFMADD231PS(t, t, acc[0])
		v.ADDQ(operand.I32(int32(v.bytes())), x)
	})
	v.ifAny(n, func() {
		t := v.r()
		v.tailMask(n).load(mem(x, 0), t)
		v.VFMADD231PS(t, t, acc[0])
	})
	v.VADDPS(acc[1], acc[0], acc[0])
	v.VADDPS(acc[3], acc[2], acc[2])
	v.VADDPS(acc[2], acc[0], acc[0])
	sum := v.foldAdd(acc[0])
	n = v.ptr("n")
	count := v.XMM()
	v.VXORPS(count, count, count)
	v.VCVTSI2SSQ(n, count, count)
	v.VDIVSS(count, sum, sum)
	eps, err := v.Param("eps").Resolve()
	if err != nil {
		panic(err)
	}
	v.VADDSS(eps.Addr, sum, sum)
	v.VSQRTSS(sum, sum, sum)
	one := v.XMM()
	v.VMOVSS(v.bitsMem(0x3f800000), one)
	v.VDIVSS(sum, one, one)
	inv := v.r()
	v.VBROADCASTSS(one, inv)

	dst, w := v.ptr("dst"), v.ptr("w")
	x = v.ptr("x")
	weighted, done := v.newLabel("weighted"), v.newLabel("end")
	v.TESTQ(w, w)
	v.JNE(operand.LabelRef(weighted))
	pass := func(useW bool) {
		var plus reg.VecVirtual
		if useW {
			plus = v.param("plus")
		}
		one := func(load func(m operand.Mem, d reg.Register), store func(s reg.Register, m operand.Mem)) {
			a := v.r()
			load(mem(x, 0), a)
			v.VMULPS(inv, a, a)
			if useW {
				b := v.r()
				load(mem(w, 0), b)
				v.VADDPS(plus, b, b)
				v.VMULPS(b, a, a)
			}
			store(a, mem(dst, 0))
		}
		v.loop(n, v.lanes(), func() {
			one(func(m operand.Mem, d reg.Register) { v.VMOVUPS(m, d) }, func(s reg.Register, m operand.Mem) { v.VMOVUPS(s, m) })
			step := operand.I32(int32(v.bytes()))
			v.ADDQ(step, x)
			v.ADDQ(step, dst)
			if useW {
				v.ADDQ(step, w)
			}
		})
		v.ifAny(n, func() {
			t := v.tailMask(n)
			one(t.load, t.store)
		})
	}
	pass(false)
	v.JMP(operand.LabelRef(done))
	v.Label(weighted)
	pass(true)
	v.Label(done)
	v.end()
}

func genRopeHalf(v isa) {
	v.begin("ropeHalf", "(a, b, cos, sin *float32, n int)", "ropeHalf"+v.suffix()+" rotates the pairs (a[i], b[i]), i < n.")
	a, b, cos, sin, n := v.ptr("a"), v.ptr("b"), v.ptr("cos"), v.ptr("sin"), v.ptr("n")
	one := func(load func(m operand.Mem, d reg.Register), store func(s reg.Register, m operand.Mem)) {
		x, y, c, s, p, q := v.r(), v.r(), v.r(), v.r(), v.r(), v.r()
		load(mem(a, 0), x)
		load(mem(b, 0), y)
		load(mem(cos, 0), c)
		load(mem(sin, 0), s)
		v.VMULPS(s, y, p)
		v.VMULPS(s, x, q)
		v.VFMSUB213PS(p, c, x) // x*c - y*s
		v.VFMADD213PS(q, c, y) // y*c + x*s
		store(x, mem(a, 0))
		store(y, mem(b, 0))
	}
	v.loop(n, v.lanes(), func() {
		one(func(m operand.Mem, d reg.Register) { v.VMOVUPS(m, d) }, func(s reg.Register, m operand.Mem) { v.VMOVUPS(s, m) })
		for _, p := range []reg.GPVirtual{a, b, cos, sin} {
			v.ADDQ(operand.I32(int32(v.bytes())), p)
		}
	})
	v.ifAny(n, func() {
		t := v.tailMask(n)
		one(t.load, t.store)
	})
	v.end()
}

func genRopePairs(v isa) {
	v.begin("ropePairs", "(x, cos, sin *float32, n int)", "ropePairs"+v.suffix()+" rotates the pairs (x[2i], x[2i+1]), i < n, n a multiple of half the lanes.")
	x, cos, sin, n := v.ptr("x"), v.ptr("cos"), v.ptr("sin"), v.ptr("n")
	words := make([]uint32, 16)
	for i := range words {
		words[i] = uint32(i / 2)
	}
	twice := v.r()
	v.VMOVUPS(v.table("twice", words), twice)
	half := v.bytes() / 2
	v.loop(n, v.lanes()/2, func() {
		c, s, u, w := v.r(), v.r(), v.r(), v.r()
		if v.wide {
			v.VMOVUPS(mem(cos, 0), c.AsY())
			v.VMOVUPS(mem(sin, 0), s.AsY())
		} else {
			v.VMOVUPS(mem(cos, 0), c.AsX())
			v.VMOVUPS(mem(sin, 0), s.AsX())
		}
		v.VPERMPS(c, twice, c)
		v.VPERMPS(s, twice, s)
		v.VMOVUPS(mem(x, 0), u)
		v.VPERMILPS(operand.U8(0xb1), u, w)
		v.VMULPS(s, w, w)
		v.VFMADDSUB213PS(w, c, u) // even lanes u*c - w, odd lanes u*c + w
		v.VMOVUPS(u, mem(x, 0))
		v.ADDQ(operand.I32(int32(v.bytes())), x)
		v.ADDQ(operand.I32(int32(half)), cos)
		v.ADDQ(operand.I32(int32(half)), sin)
	})
	v.end()
}

// sumInto adds f of every register of x [n] to four accumulators, and returns their sum in lane 0.
func (v isa) sumInto(x, n reg.GPVirtual, f func(t, acc reg.VecVirtual)) reg.VecVirtual {
	acc := []reg.VecVirtual{v.zero(), v.zero(), v.zero(), v.zero()}
	v.loop(n, 4*v.lanes(), func() {
		for u, a := range acc {
			t := v.r()
			v.VMOVUPS(mem(x, u*v.bytes()), t)
			f(t, a)
		}
		v.ADDQ(operand.I32(int32(4*v.bytes())), x)
	})
	v.loop(n, v.lanes(), func() {
		t := v.r()
		v.VMOVUPS(mem(x, 0), t)
		f(t, acc[0])
		v.ADDQ(operand.I32(int32(v.bytes())), x)
	})
	v.VADDPS(acc[1], acc[0], acc[0])
	v.VADDPS(acc[3], acc[2], acc[2])
	v.VADDPS(acc[2], acc[0], acc[0])
	return v.foldAdd(acc[0])
}

func genNormalize(v isa) {
	v.begin("normalize", "(dst, x *float32, n int, eps float32)",
		"normalize"+v.suffix()+": dst = (x - mean) / sqrt(var + eps); n > 0 is a multiple of the lanes.")
	x, n := v.ptr("x"), v.ptr("n")
	sum := v.sumInto(x, n, func(t, acc reg.VecVirtual) { v.VADDPS(t, acc, acc) })
	count := v.XMM()
	v.VXORPS(count, count, count)
	n = v.ptr("n")
	v.VCVTSI2SSQ(n, count, count)
	v.VDIVSS(count, sum, sum)
	mean := v.r()
	v.VBROADCASTSS(sum, mean)
	x = v.ptr("x")
	sq := v.sumInto(x, n, func(t, acc reg.VecVirtual) {
		v.VSUBPS(mean, t, t)
		v.VFMADD231PS(t, t, acc)
	})
	v.VDIVSS(count, sq, sq)
	eps, err := v.Param("eps").Resolve()
	if err != nil {
		panic(err)
	}
	v.VADDSS(eps.Addr, sq, sq)
	v.VSQRTSS(sq, sq, sq)
	one := v.XMM()
	v.VMOVSS(v.bitsMem(0x3f800000), one)
	v.VDIVSS(sq, one, one)
	inv := v.r()
	v.VBROADCASTSS(one, inv)
	x, n = v.ptr("x"), v.ptr("n")
	dst := v.ptr("dst")
	v.loop(n, v.lanes(), func() {
		t := v.r()
		v.VMOVUPS(mem(x, 0), t)
		v.VSUBPS(mean, t, t)
		v.VMULPS(inv, t, t)
		v.VMOVUPS(t, mem(dst, 0))
		v.ADDQ(operand.I32(int32(v.bytes())), x)
		v.ADDQ(operand.I32(int32(v.bytes())), dst)
	})
	v.end()
}

// genHadamard: the stages inside a register. A stage of distance h is swap(x) + sign x, with the sign minus in the upper half of each 2h lanes.
func genHadamard(v isa) {
	v.begin("hadamardLanes", "(x *float32, n int)", "hadamardLanes"+v.suffix()+" does the stages of distance below the lanes, in place; n is a multiple of the lanes.")
	x, n := v.ptr("x"), v.ptr("n")
	var signs []reg.VecVirtual
	for h := 1; h < v.lanes(); h *= 2 {
		w := make([]uint32, 16)
		for i := range w {
			w[i] = 0x3f800000
			if i&h != 0 {
				w[i] = 0xbf800000
			}
		}
		s := v.r()
		v.VMOVUPS(v.table("signs"+string(rune('0'+h)), w), s)
		signs = append(signs, s)
	}
	v.loop(n, v.lanes(), func() {
		a := v.r()
		v.VMOVUPS(mem(x, 0), a)
		for i, s := range signs {
			b := v.r()
			switch {
			case i == 0:
				v.VPERMILPS(operand.U8(0xb1), a, b)
			case i == 1:
				v.VPERMILPS(operand.U8(0x4e), a, b)
			case v.wide:
				v.VSHUFF32X4(operand.U8([]uint8{0xb1, 0x4e}[i-2]), a, a, b)
			default:
				v.VPERM2F128(operand.U8(1), a, a, b)
			}
			v.VFMADD231PS(s, a, b)
			a = b
		}
		v.VMOVUPS(a, mem(x, 0))
		v.ADDQ(operand.I32(int32(v.bytes())), x)
	})
	v.end()
}

func genButterfly(v isa) {
	v.begin("butterfly", "(a, b *float32, n int)", "butterfly"+v.suffix()+": a, b = a + b, a - b; n is a multiple of the lanes.")
	a, b, n := v.ptr("a"), v.ptr("b"), v.ptr("n")
	v.loop(n, v.lanes(), func() {
		x, y, z := v.r(), v.r(), v.r()
		v.VMOVUPS(mem(a, 0), x)
		v.VMOVUPS(mem(b, 0), y)
		v.VADDPS(y, x, z)
		v.VSUBPS(y, x, x)
		v.VMOVUPS(z, mem(a, 0))
		v.VMOVUPS(x, mem(b, 0))
		v.ADDQ(operand.I32(int32(v.bytes())), a)
		v.ADDQ(operand.I32(int32(v.bytes())), b)
	})
	v.end()
}

func genMaxOf(v isa) {
	v.begin("maxOf", "(x *float32, n int) float32", "maxOf"+v.suffix()+" is the largest of x, NaN left out; -Inf if there is none. n is a multiple of the lanes.")
	x, n := v.ptr("x"), v.ptr("n")
	acc := make([]reg.VecVirtual, 4)
	for i := range acc {
		acc[i] = v.r()
		v.VBROADCASTSS(v.bitsMem(0xff800000), acc[i])
	}
	v.loop(n, 4*v.lanes(), func() {
		for u, a := range acc {
			t := v.r()
			v.VMOVUPS(mem(x, u*v.bytes()), t)
			v.VMAXPS(a, t, a) // the second operand wins where x is NaN
		}
		v.ADDQ(operand.I32(int32(4*v.bytes())), x)
	})
	v.loop(n, v.lanes(), func() {
		t := v.r()
		v.VMOVUPS(mem(x, 0), t)
		v.VMAXPS(acc[0], t, acc[0])
		v.ADDQ(operand.I32(int32(v.bytes())), x)
	})
	v.VMAXPS(acc[1], acc[0], acc[0])
	v.VMAXPS(acc[3], acc[2], acc[2])
	v.VMAXPS(acc[2], acc[0], acc[0])
	v.Store(v.foldMax(acc[0]), v.ReturnIndex(0))
	v.end()
}

func genFind(v isa) {
	v.begin("find", "(x *float32, n int, what float32) int", "find"+v.suffix()+" is the place of the first register of x that holds what, or n; n is a multiple of the lanes.")
	x, n, what := v.ptr("x"), v.ptr("n"), v.param("what")
	at := v.GP64()
	v.XORQ(at, at)
	v.Label("next")
	v.CMPQ(at, n)
	v.JGE(operand.LabelRef("out"))
	here := operand.Mem{Base: x, Index: at, Scale: 4}
	bits := v.GP32()
	const equal = 0
	if v.wide {
		k := v.K()
		v.VCMPPS(operand.U8(equal), here, what, k)
		v.KMOVW(k, bits)
	} else {
		t := v.r()
		v.VCMPPS(operand.U8(equal), here, what, t)
		v.VMOVMSKPS(t, bits)
	}
	v.TESTL(bits, bits)
	v.JNE(operand.LabelRef("out"))
	v.ADDQ(operand.I32(int32(v.lanes())), at)
	v.JMP(operand.LabelRef("next"))
	v.Label("out")
	v.Store(at, v.ReturnIndex(0))
	v.end()
}
