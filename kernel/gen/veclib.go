package main

// What the vector families share: one description of a kernel gives its AVX2 (8 lanes) and its AVX-512 (16 lanes) form.

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

type op = operand.Op

// isa is a context and a register width.
type isa struct {
	*build.Context
	wide   bool
	label  *int
	shared *sharedData
}

// sharedData holds the constants of one family's file, each once.
type sharedData struct {
	consts map[uint32]operand.Mem
	tables map[string]operand.Mem
}

func newISA(c *build.Context, wide bool, s *sharedData) isa {
	return isa{Context: c, wide: wide, label: new(int), shared: s}
}

func newShared() *sharedData {
	return &sharedData{consts: map[uint32]operand.Mem{}, tables: map[string]operand.Mem{}}
}

// both calls f for AVX2 and AVX-512.
func both(c *build.Context, s *sharedData, f func(v isa)) {
	f(newISA(c, false, s))
	f(newISA(c, true, s))
}

func (v isa) suffix() string {
	if v.wide {
		return "AVX512"
	}
	return "AVX2"
}

func (v isa) lanes() int {
	if v.wide {
		return 16
	}
	return 8
}

func (v isa) bytes() int { return 4 * v.lanes() }

func (v isa) r() reg.VecVirtual {
	if v.wide {
		return v.ZMM()
	}
	return v.YMM()
}

// begin opens a function; sig is its parameter list.
func (v isa) begin(name, sig, doc string) {
	v.Function(name + v.suffix())
	v.Attributes(attr.NOSPLIT)
	v.Pragma("noescape")
	v.SignatureExpr("func" + sig)
	v.Doc(doc)
}

func (v isa) end() {
	v.VZEROUPPER()
	v.RET()
}

func (v isa) ptr(name string) reg.GPVirtual { return v.Load(v.Param(name), v.GP64()).(reg.GPVirtual) }

func (v isa) newLabel(what string) string {
	*v.label++
	return fmt.Sprintf("%s%d", what, *v.label)
}

// table is a named read-only block of 32-bit words.
func (v isa) table(name string, words []uint32) operand.Mem {
	if m, ok := v.shared.tables[name]; ok {
		return m
	}
	m := v.StaticGlobal(name)
	v.DataAttributes(attr.RODATA | attr.NOPTR)
	for i, w := range words {
		v.AddDatum(4*i, operand.U32(w))
	}
	v.shared.tables[name] = m
	return m
}

func (v isa) bitsMem(bits uint32) operand.Mem {
	if m, ok := v.shared.consts[bits]; ok {
		return m
	}
	w := make([]uint32, 8)
	for i := range w {
		w[i] = bits
	}
	m := v.table(fmt.Sprintf("k%08x", bits), w)
	v.shared.consts[bits] = m
	return m
}

// k is a constant in every lane: a register (AVX-512, which has plenty) or a memory operand (AVX2).
func (v isa) k(f float64) op { return v.kBits(math.Float32bits(float32(f))) }

func (v isa) kBits(bits uint32) op {
	m := v.bitsMem(bits)
	if !v.wide {
		return m
	}
	r := v.r()
	v.VBROADCASTSS(m, r)
	return r
}

// inReg is a fresh register holding constant or register x, free to be overwritten.
func (v isa) inReg(x op) reg.VecVirtual {
	r := v.r()
	v.VMOVUPS(x, r)
	return r
}

// param broadcasts a float32 parameter.
func (v isa) param(name string) reg.VecVirtual {
	b, err := v.Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	r := v.r()
	v.VBROADCASTSS(b.Addr, r)
	return r
}

func (v isa) zero() reg.VecVirtual {
	r := v.r()
	v.clear(r)
	return r
}

func (v isa) clear(r reg.VecVirtual) { v.VXORPS(r, r, r) }

func (v isa) and(a op, b, d reg.Register) {
	if v.wide {
		v.VPANDD(a, b, d)
	} else {
		v.VANDPS(a, b, d)
	}
}

func (v isa) or(a op, b, d reg.Register) {
	if v.wide {
		v.VPORD(a, b, d)
	} else {
		v.VORPS(a, b, d)
	}
}

// tail loads and stores the last 1..lanes-1 elements.
type tail struct {
	v isa
	m reg.Register
}

// tailMask makes the mask for rem elements, 0 < rem < lanes.
func (v isa) tailMask(rem reg.GPVirtual) tail {
	if v.wide {
		t, k := v.GP64(), v.K()
		v.MOVQ(operand.I32(-1), t)
		v.BZHIQ(rem, t, t)
		v.KMOVW(t.As32(), k)
		return tail{v, k}
	}
	words := make([]uint32, 16)
	for i := range 8 {
		words[i] = math.MaxUint32
	}
	tab := v.table("tailMasks", words)
	p, r := v.GP64(), v.YMM()
	v.LEAQ(tab.Offset(32), p)
	n := v.GP64()
	v.MOVQ(rem, n)
	v.SHLQ(operand.U8(2), n)
	v.SUBQ(n, p)
	v.VMOVUPS(operand.Mem{Base: p}, r)
	return tail{v, r}
}

func (t tail) load(m operand.Mem, d reg.Register) {
	if t.v.wide {
		t.v.VMOVUPS_Z(m, t.m, d)
	} else {
		t.v.VMASKMOVPS(m, t.m, d)
	}
}

func (t tail) store(s reg.Register, m operand.Mem) {
	if t.v.wide {
		t.v.VMOVUPS(s, t.m, m)
	} else {
		t.v.VMASKMOVPS(s, t.m, m)
	}
}

// loop emits `for n >= step { body; n -= step }`.
func (v isa) loop(n reg.GPVirtual, step int, body func()) {
	top, out := v.newLabel("loop"), v.newLabel("done")
	v.CMPQ(n, operand.I32(int32(step)))
	v.JLT(operand.LabelRef(out))
	v.Label(top)
	body()
	v.SUBQ(operand.I32(int32(step)), n)
	v.CMPQ(n, operand.I32(int32(step)))
	v.JGE(operand.LabelRef(top))
	v.Label(out)
}

// ifAny emits `if n != 0 { body }`.
func (v isa) ifAny(n reg.GPVirtual, body func()) {
	out := v.newLabel("none")
	v.TESTQ(n, n)
	v.JEQ(operand.LabelRef(out))
	body()
	v.Label(out)
}

func mem(p reg.Register, disp int) operand.Mem { return operand.Mem{Base: p, Disp: disp} }

// fold reduces a register to lane 0 in pairs 8, 4, 2, 1 apart by f (d = f(a, b)); the result is an XMM whose other lanes hold the rest.
func (v isa) fold(x reg.VecVirtual, f func(a, b, d op)) reg.VecVirtual {
	y := x
	if v.wide {
		hi := v.YMM()
		v.VEXTRACTF64X4(operand.U8(1), x, hi)
		y = v.YMM()
		f(hi, x.AsY(), y)
	}
	hi, a := v.XMM(), v.XMM()
	if v.wide {
		v.VEXTRACTF32X4(operand.U8(1), y.AsY(), hi)
	} else {
		v.VEXTRACTF128(operand.U8(1), y.AsY(), hi)
	}
	f(hi, y.AsX(), a)
	b, d := v.XMM(), v.XMM()
	v.VPERMILPS(operand.U8(0x4e), a, b)
	f(b, a, d)
	e, g := v.XMM(), v.XMM()
	v.VPERMILPS(operand.U8(0xb1), d, e)
	f(e, d, g)
	return g
}

func (v isa) foldAdd(x reg.VecVirtual) reg.VecVirtual {
	return v.fold(x, func(a, b, d op) { v.VADDPS(a, b, d) })
}

func (v isa) foldMax(x reg.VecVirtual) reg.VecVirtual {
	return v.fold(x, func(a, b, d op) { v.VMAXPS(a, b, d) })
}

func (v isa) foldMin(x reg.VecVirtual) reg.VecVirtual {
	return v.fold(x, func(a, b, d op) { v.VMINPS(a, b, d) })
}
