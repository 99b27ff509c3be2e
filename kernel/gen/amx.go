package main

// Family amx: products of int8 activations by quantised weights with AMX tiles, to the bits of family mm: the tiles make the exact integer sums of a 32-block, the
// float operations after them are the same in the same order.
//
// Neither the assembler nor avo knows AMX, so its instructions go in as bytes, on fixed registers. Tiles are configured and released inside each call: a goroutine may
// go on on another thread between calls.

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Prefixes of VEX.
const (
	vexNone = 0
	vexF3   = 2
	vexF2   = 3
)

// raw emits the bytes of one instruction that reads registers in.
func (v isa) raw(in []reg.Register, code ...byte) {
	for i, b := range code {
		x := &ir.Instruction{Opcode: "BYTE", Operands: []operand.Op{operand.U8(b)}}
		if i == 0 {
			for _, r := range in {
				x.Inputs = append(x.Inputs, r)
			}
		}
		v.Instruction(x)
	}
}

// number is what an instruction calls a 64-bit register.
func number(r reg.GPPhysical) byte {
	for i, x := range []reg.GPPhysical{reg.RAX, reg.RCX, reg.RDX, reg.RBX, reg.RSP, reg.RBP, reg.RSI, reg.RDI, reg.R8, reg.R9, reg.R10, reg.R11, reg.R12, reg.R13, reg.R14, reg.R15} {
		if x == r {
			return byte(i)
		}
	}
	panic("not a 64-bit register")
}

// tileMove is a load (vexF2) or store (vexF3) of a tile, rows `stride` bytes apart.
func (v isa) tileMove(pp, tile byte, base, stride reg.GPPhysical, disp int) {
	b, s := number(base), number(stride)
	v.raw([]reg.Register{base, stride}, 0xc4, 0x80|(^s>>3&1)<<6|(^b>>3&1)<<5|0x02, 0x78|pp, 0x4b, 0x84|tile<<3, s&7<<3|b&7, byte(disp), byte(disp>>8), byte(disp>>16), byte(disp>>24))
}

func (v isa) tileLoad(tile byte, base, stride reg.GPPhysical, disp int) {
	v.tileMove(vexF2, tile, base, stride, disp)
}

func (v isa) tileStore(tile byte, base, stride reg.GPPhysical, disp int) {
	v.tileMove(vexF3, tile, base, stride, disp)
}

func (v isa) tileZero(tile byte) { v.raw(nil, 0xc4, 0xe2, 0x78|vexF2, 0x49, 0xc0|tile<<3) }

// tileDot adds the products of signed bytes of a by unsigned bytes of b to the integers of c.
func (v isa) tileDot(c, a, b byte) {
	v.raw(nil, 0xc4, 0xe2, (^b&15)<<3|vexF3, 0x5e, 0xc0|c<<3|a)
}

func (v isa) tileConfig(base reg.GPPhysical) {
	b := number(base)
	v.raw([]reg.Register{base}, 0xc4, 0xc0|(^b>>3&1)<<5|0x02, 0x78|vexNone, 0x49, b&7)
}

func (v isa) tileRelease() { v.raw(nil, 0xc4, 0xe2, 0x78|vexNone, 0x49, 0xc0) }

// configTable is a tile configuration from (rows, bytes of a row) of tiles 0, 1, ...
func (v isa) configTable(name string, shapes [][2]int) operand.Mem {
	words := make([]uint32, 16)
	words[0] = 1 // palette
	for i, s := range shapes {
		words[4+i/2] |= uint32(s[1]) << (i % 2 * 16)
		words[12+i/4] |= uint32(s[0]) << (i % 4 * 8)
	}
	return v.table(name, words)
}

func genAMX(c *build.Context) {
	s := newShared()
	v := newISA(c, true, s)
	for _, f := range weightFormats {
		if f.halves { // two tiles a block would be half empty: slower than VNNI
			continue
		}
		if f.planes >= 0 {
			genUnpackCodes(v, f)
		}
		genAMXProduct(v, f)
	}
}

// genUnpackCodes: the codes of a panel as bytes, 8 vectors of 64 for each 32-block: what a tile of weights is.
func genUnpackCodes(v isa, f weightFormat) {
	v.begin("unpack"+f.name, "(dst, panel *byte, blocks int)", fmt.Sprintf("unpack%s%s writes the codes of 16 rows as bytes, 512 for each 32-block.", f.name, v.suffix()))
	dst, panel := v.ptr("dst"), v.ptr("panel")
	codes := newCodesVNNI(v, f, panel)
	n := v.ptr("blocks")
	one := func() {
		codes.rawVector = -1
		for _, g := range []int{0, 4, 1, 5, 2, 6, 3, 7} {
			v.VMOVDQU32(codes.group(g), mem(dst, 64*g))
		}
		v.ADDQ(operand.I32(512), dst)
		v.ADDQ(operand.I32(int32(f.block())), panel)
	}
	if f.super {
		v.loop(n, 8, func() {
			v.ADDQ(operand.I32(int32(f.head())), panel)
			inner := v.GP64()
			v.MOVQ(operand.U32(8), inner)
			v.loop(inner, 1, one)
		})
	} else {
		v.loop(n, 1, one)
	}
	v.end()
}

const amxRows = 16

// amx is a product while it is generated. Its general registers are fixed: RDI y, R8 the row tiles' start, RCX and R12 and R15 loops, RAX and RBX the distance between rows
// of activations and of everything else.
type amx struct {
	isa
	f     weightFormat
	acc   []reg.VecVirtual
	codes reg.GPPhysical    // the block's codes
	panel reg.GPPhysical    // the block in the packed panel, for its scales
	act   [2]reg.GPPhysical // blocks of the two row tiles
	slot  reg.GPPhysical    // where tiles of sums are stored
	d, dm reg.VecVirtual
}

// genAMXProduct: n tiles of 16 rows (two row tiles of 8) by one panel.
func genAMXProduct(v isa, f weightFormat) {
	v.Function("amx" + f.name)
	v.Attributes(attr.NOSPLIT)
	v.Pragma("noescape")
	v.SignatureExpr("func(y *float32, ldy int, act, panel, codes *byte, codeStep, actTile, blocks, n, onto int, slots *byte)")
	v.Doc(fmt.Sprintf("amx%s multiplies n times 16 rows by one panel over `blocks` 32-blocks; codes are its codes as bytes, codeStep from block to block; actTile leads from one row tile to the next; onto != 0 starts from y. slots is scratch of 2048 bytes.", f.name))
	t := &amx{isa: v, f: f, codes: reg.R10, panel: reg.R11, act: [2]reg.GPPhysical{reg.RSI, reg.R9}, slot: reg.R13}
	shapes := [][2]int{{8, 64}, {8, 64}, {8, 32}, {8, 32}, {8, 64}, {8, 64}, {8, 64}, {8, 64}}
	p := func(name string, r reg.GPPhysical) { v.Load(v.Param(name), r) }
	arg := func(name string) operand.Mem {
		b, err := v.Param(name).Resolve()
		if err != nil {
			panic(err)
		}
		return b.Addr
	}
	v.LEAQ(v.configTable("tiles", shapes), reg.RDX)
	v.tileConfig(reg.RDX)
	v.MOVQ(operand.I32(mmActSize), reg.RAX)
	v.MOVQ(operand.I32(64), reg.RBX)
	p("y", reg.RDI)
	p("act", reg.R8) // start of the two row tiles
	p("n", reg.RCX)
	p("slots", reg.R13)
	for range amxRows {
		t.acc = append(t.acc, v.ZMM())
	}
	v.loopFixed(reg.RCX, func() {
		zero, ready := v.newLabel("zero"), v.newLabel("ready")
		v.CMPQ(arg("onto"), operand.I32(0))
		v.JEQ(operand.LabelRef(zero))
		t.outputs(arg, func(m operand.Mem, a reg.VecVirtual) { v.VMOVUPS(m, a) })
		v.JMP(operand.LabelRef(ready))
		v.Label(zero)
		for _, a := range t.acc {
			v.clear(a)
		}
		v.Label(ready)
		v.MOVQ(reg.R8, reg.RSI)
		v.MOVQ(reg.R8, reg.R9)
		v.ADDQ(arg("actTile"), reg.R9)
		p("codes", reg.R10)
		p("panel", reg.R11)
		p("blocks", reg.R12)
		t.sums(arg, 0, 0)
		t.storeSums(0)
		skip := v.newLabel("skip")
		t.CMPQ(reg.R12, operand.I32(1))
		t.JEQ(operand.LabelRef(skip))
		t.sums(arg, 1, 1)
		t.Label(skip)
		out := v.newLabel("out")
		two := func() {
			for phase := range 2 {
				t.block(arg, phase)
				v.DECQ(reg.R12)
				if phase == 0 && !f.super {
					v.JEQ(operand.LabelRef(out))
				}
			}
		}
		top := v.newLabel("pair")
		v.Label(top)
		if !f.super {
			two()
		} else {
			t.d = v.ZMM()
			v.VCVTPH2PS(mem(reg.R11, 0), t.d)
			if f.min {
				t.dm = v.ZMM()
				v.VCVTPH2PS(mem(reg.R11, 32), t.dm)
				v.VXORPS_BCST(v.bitsMem(1<<31), t.dm, t.dm)
			}
			v.ADDQ(operand.I32(int32(f.head())), reg.R11)
			v.MOVQ(operand.I32(4), reg.R15)
			v.loopFixed(reg.R15, two)
			v.TESTQ(reg.R12, reg.R12)
		}
		v.JNE(operand.LabelRef(top))
		v.Label(out)
		t.outputs(arg, func(m operand.Mem, a reg.VecVirtual) { v.VMOVUPS(a, m) })
		v.MOVQ(arg("ldy"), reg.RDX)
		v.SHLQ(operand.U8(6), reg.RDX) // 16 rows of floats
		v.ADDQ(reg.RDX, reg.RDI)
		v.MOVQ(arg("actTile"), reg.RDX)
		v.LEAQ(operand.Mem{Base: reg.R8, Index: reg.RDX, Scale: 2}, reg.R8)
	})
	v.tileRelease()
	v.end()
}

// loopFixed emits `do { body } while --n != 0`; n > 0.
func (v isa) loopFixed(n reg.GPPhysical, body func()) {
	top := v.newLabel("again")
	v.Label(top)
	body()
	v.DECQ(n)
	v.JNE(operand.LabelRef(top))
}

// outputs visits the sums of the tile of rows at RDI.
func (t *amx) outputs(arg func(string) operand.Mem, f func(m operand.Mem, a reg.VecVirtual)) {
	t.MOVQ(reg.RDI, reg.RDX)
	t.MOVQ(arg("ldy"), reg.R14)
	for i, a := range t.acc {
		if i > 0 {
			t.LEAQ(operand.Mem{Base: reg.RDX, Index: reg.R14, Scale: 4}, reg.RDX)
		}
		f(mem(reg.RDX, 0), a)
	}
}

// sums begins the integers of the block that codes points to, `ahead` blocks on from act, in the tiles of this phase.
func (t *amx) sums(arg func(string) operand.Mem, phase, ahead int) {
	b := byte(4 + phase)
	t.tileLoad(b, t.codes, reg.RBX, 0)
	for i, a := range t.act {
		c := sumTiles[phase][i]
		t.tileZero(c)
		t.tileLoad(byte(2+i), a, reg.RAX, 8*mmActSize*ahead)
		t.tileDot(c, byte(2+i), b)
	}
	t.ADDQ(arg("codeStep"), t.codes)
}

// sumTiles are the tiles of sums of even and odd blocks.
var sumTiles = [2][2]byte{{0, 1}, {6, 7}}

// storeSums writes the sums of a phase to its slot: [16 rows][16]. A block after they were begun: a store that waits for its tile holds up everything behind it.
func (t *amx) storeSums(phase int) {
	for i := range t.act {
		t.tileStore(sumTiles[phase][i], t.slot, reg.RBX, 1024*phase+512*i)
	}
}

// small is 16 bytes of the panel as floats.
func (t *amx) small(disp int) reg.VecVirtual {
	x := t.r()
	t.VPMOVZXBD(mem(t.panel, disp), x)
	t.VCVTDQ2PS(x, x)
	return x
}

func (t *amx) half(disp int) reg.VecVirtual {
	x := t.r()
	t.VCVTPH2PS(mem(t.panel, disp), x)
	return x
}

// block has the tiles store the next block's integers and begin those of the one after, where there are such, and adds this one's to the sums as genInt8VNNI does.
func (t *amx) block(arg func(string) operand.Mem, phase int) {
	f, tail := t.f, t.f.codes()
	last := t.newLabel("last")
	t.CMPQ(reg.R12, operand.I32(2))
	t.JLT(operand.LabelRef(last))
	t.storeSums(1 - phase)
	t.JEQ(operand.LabelRef(last))
	t.sums(arg, phase, 2)
	t.Label(last)
	slot := 1024 * phase
	scale := t.d
	if !f.super {
		scale = t.half(tail)
	}
	var small, least reg.VecVirtual
	if f.super {
		small = t.small(tail)
	}
	switch {
	case f.min && f.super:
		least = t.small(tail + 16)
		t.VMULPS(t.dm, least, least)
	case f.min:
		least = t.half(tail + 32)
	}
	for i, acc := range t.acc {
		at := func(disp int) operand.Mem { return mem(t.act[i/8], i%8*mmActSize+disp) }
		x, s := t.r(), t.r()
		switch {
		case f.zero >= 0:
			t.VPSLLD_BCST(operand.U8(uint8(f.zero)), at(mmActSum), x)
			t.VPADDD(mem(t.slot, slot+64*i), x, x)
			t.VCVTDQ2PS(x, x)
		default:
			t.VCVTDQ2PS(mem(t.slot, slot+64*i), x)
			if f.super {
				t.VMULPS(small, x, x)
			}
		}
		t.VMULPS_BCST(at(mmActScale), scale, s)
		t.VFMADD231PS(s, x, acc)
		if f.min {
			t.VFMADD231PS_BCST(at(mmActMin), least, acc)
		}
	}
	for _, a := range t.act {
		t.ADDQ(operand.I32(8*mmActSize), a)
	}
	t.ADDQ(operand.I32(int32(f.block())), t.panel)
}
