package main

// Family tile: the inner functions of attention over one tile of 64 keys. attend_tile.go in package kernel holds the reference of each and fixes the order of
// operations: one chain of fused multiply-adds per output. How many rows run side by side is chosen here and changes no bit.

import (
	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const (
	tileKeys = 64
	sRow     = 4 * tileKeys // bytes of a row of scores
)

// rowSteps are the numbers of query rows that run side by side, tried in this order.
var rowSteps = []int{6, 4, 3, 2, 1}

func genTile(c *build.Context) {
	s := newShared()
	genPrefetch(newISA(c, false, s))
	both(c, s, func(v isa) {
		for _, e := range elements {
			genScore(v, e)
		}
		for _, e := range elements {
			genPV(v, e)
		}
		genSoftmax(v)
		genToPanels(v)
		genRotate(v)
		genWeigh(v)
		genGate(v)
	})
}

func genPrefetch(v isa) {
	v.Function("prefetch")
	v.Attributes(attr.NOSPLIT)
	v.Pragma("noescape")
	v.SignatureExpr("func(p *byte, n int)")
	v.Doc("prefetch asks for the cache lines of n > 0 bytes.")
	p, n := v.ptr("p"), v.ptr("n")
	v.Label("line")
	v.PREFETCHT0(mem(p, 0))
	v.ADDQ(operand.I32(64), p)
	v.SUBQ(operand.I32(64), n)
	v.JGT(operand.LabelRef("line"))
	v.RET()
}

// element is a type that keys and values lie in: its size and how one register of it is expanded to float32.
type element struct {
	name   string
	size   int
	expand func(v isa, m operand.Mem, d reg.VecVirtual)
}

var elements = []element{
	{"F32", 4, func(v isa, m operand.Mem, d reg.VecVirtual) { v.VMOVUPS(m, d) }},
	{"F16", 2, func(v isa, m operand.Mem, d reg.VecVirtual) { v.VCVTPH2PS(m, d) }},
	{"BF16", 2, func(v isa, m operand.Mem, d reg.VecVirtual) {
		v.VPMOVZXWD(m, d)
		v.VPSLLD(operand.U8(16), d, d)
	}},
}

// rowPtrs addresses rows p, p+ld, p+2ld ... by few registers: every third row has one.
type rowPtrs struct {
	base []reg.GPVirtual
	ld   reg.GPVirtual
}

func (v isa) rowPtrs(p, ld reg.GPVirtual, rows int) rowPtrs {
	r := rowPtrs{ld: ld}
	for i := 0; i < rows; i += 3 {
		b := v.GP64()
		if i == 0 {
			v.MOVQ(p, b)
		} else {
			prev := r.base[len(r.base)-1]
			v.LEAQ(operand.Mem{Base: prev, Index: ld, Scale: 2}, b)
			v.ADDQ(ld, b)
		}
		r.base = append(r.base, b)
	}
	return r
}

func (r rowPtrs) at(i, disp int) operand.Mem {
	m := operand.Mem{Base: r.base[i/3], Disp: disp}
	if i%3 > 0 {
		m.Index, m.Scale = r.ld, uint8(i%3)
	}
	return m
}

func (v isa) advance(r rowPtrs, by int) {
	for _, b := range r.base {
		v.ADDQ(operand.I32(int32(by)), b)
	}
}

// outer emits acc[i][j] += x[i] * y[j] for broadcasts x of memory and registers y loaded by load, with as few live registers as it can.
func (v isa) outer(acc [][]reg.VecVirtual, x func(i int) operand.Mem, load func(j int, d reg.VecVirtual)) {
	rows, cols := len(acc), len(acc[0])
	if cols <= rows || v.wide {
		y := make([]reg.VecVirtual, cols)
		for j := range y {
			y[j] = v.r()
			load(j, y[j])
		}
		for i := range acc {
			b := v.r()
			v.VBROADCASTSS(x(i), b)
			for j := range y {
				v.VFMADD231PS(y[j], b, acc[i][j])
			}
		}
		return
	}
	b := make([]reg.VecVirtual, rows)
	for i := range b {
		b[i] = v.r()
		v.VBROADCASTSS(x(i), b[i])
	}
	for j := range cols {
		y := v.r()
		load(j, y)
		for i := range acc {
			v.VFMADD231PS(y, b[i], acc[i][j])
		}
	}
}

func (v isa) accs(rows, cols int) [][]reg.VecVirtual {
	a := make([][]reg.VecVirtual, rows)
	for i := range a {
		for range cols {
			a[i] = append(a[i], v.r())
		}
	}
	return a
}

// genScore: s[i][j] = (add ? s[i][j] : 0) + sum over d of q[i][d] * k[d][j], keys in panels of 16.
func genScore(v isa, e element) {
	v.begin("score"+e.name, "(s, q *float32, ldq int, k, next *byte, width, m, add int)",
		"score"+e.name+v.suffix()+" scores m query rows (ldq floats apart) against a tile of 64 keys in panels [4][width][16], and asks (AVX-512) for what lies at next; width > 0.")
	s, q, ldq, m := v.ptr("s"), v.ptr("q"), v.ptr("ldq"), v.ptr("m")
	v.SHLQ(operand.U8(2), ldq)
	panel := v.GP64() // bytes of one panel
	v.IMUL3Q(operand.I32(int32(16*e.size)), v.ptr("width"), panel)
	perPanel := 16 / v.lanes()
	for _, rows := range rowSteps {
		panels := 4 // that run side by side
		if !v.wide {
			panels = map[int]int{1: 4, 2: 2, 3: 2, 4: 1, 6: 1}[rows]
		}
		v.loop(m, rows, func() {
			kp, next, sp, group := v.ptr("k"), v.ptr("next"), v.GP64(), v.GP64()
			v.MOVQ(s, sp)
			v.MOVQ(operand.I32(int32(4/panels)), group)
			v.loop(group, 1, func() {
				acc := v.accs(rows, panels*perPanel)
				fresh, ready := v.newLabel("fresh"), v.newLabel("ready")
				add := v.ptr("add")
				v.TESTQ(add, add)
				v.JEQ(operand.LabelRef(fresh))
				for i := range acc {
					for j := range acc[i] {
						v.VMOVUPS(mem(sp, i*sRow+j*v.bytes()), acc[i][j])
					}
				}
				v.JMP(operand.LabelRef(ready))
				v.Label(fresh)
				for i := range acc {
					for j := range acc[i] {
						v.clear(acc[i][j])
					}
				}
				v.Label(ready)
				qp := v.rowPtrs(q, ldq, rows)
				kps := []reg.GPVirtual{v.GP64()}
				v.MOVQ(kp, kps[0])
				if panels == 4 {
					kps = append(kps, v.GP64())
					v.LEAQ(operand.Mem{Base: kp, Index: panel, Scale: 2}, kps[1])
				}
				n := v.ptr("width")
				for _, unroll := range []int{4, 1} {
					v.loop(n, unroll, func() {
						for u := range unroll {
							v.outer(acc, func(i int) operand.Mem { return qp.at(i, 4*u) }, func(j int, d reg.VecVirtual) {
								p, part := j/perPanel, j%perPanel
								a := operand.Mem{Base: kps[p/2], Disp: (u*16 + part*v.lanes()) * e.size}
								if p%2 == 1 {
									a.Index, a.Scale = panel, 1
								}
								e.expand(v, a, d)
							})
						}
						if v.wide { // a line for each dimension: of 16-bit values half as much as is read
							for u := range unroll {
								v.PREFETCHT0(mem(next, 64*u))
							}
							v.ADDQ(operand.I32(int32(64*unroll)), next)
						}
						v.advance(qp, 4*unroll)
						for _, p := range kps {
							v.ADDQ(operand.I32(int32(unroll*16*e.size)), p)
						}
					})
				}
				for i := range acc {
					for j := range acc[i] {
						v.VMOVUPS(acc[i][j], mem(sp, i*sRow+j*v.bytes()))
					}
				}
				v.ADDQ(operand.I32(int32(panels*64)), sp)
				v.LEAQ(operand.Mem{Base: kp, Index: panel, Scale: uint8(panels)}, kp)
			})
			v.ADDQ(operand.I32(int32(rows*sRow)), s)
			for range rows {
				v.ADDQ(ldq, q)
			}
		})
	}
	v.end()
}

// genPV: o[i][d] += sum over j of p[i][j] * v[j][d].
func genPV(v isa, e element) {
	v.begin("pv"+e.name, "(o *float32, ldo int, p *float32, ldp int, val, next *byte, step, ldv, m, n, width int)",
		"pv"+e.name+v.suffix()+" mixes n rows of values (ldv bytes apart) into m rows of o; ldo and ldp count floats. It asks for what lies at next, step bytes on for each row of up to 64 columns. width is a multiple of 16, n > 0.")
	step, err := v.Param("step").Resolve()
	if err != nil {
		panic(err)
	}
	o, ldo, p, ldp, ldv, m := v.ptr("o"), v.ptr("ldo"), v.ptr("p"), v.ptr("ldp"), v.ptr("ldv"), v.ptr("m")
	v.SHLQ(operand.U8(2), ldo)
	v.SHLQ(operand.U8(2), ldp)
	for _, rows := range rowSteps {
		cols := []int{64, 16}
		if !v.wide {
			cols = map[int][]int{1: {64, 16}, 2: {32, 16}, 3: {32, 16}, 4: {16}, 6: {16}}[rows]
		}
		v.loop(m, rows, func() {
			vp, next, width := v.ptr("val"), v.ptr("next"), v.ptr("width")
			op := v.rowPtrs(o, ldo, rows)
			for _, c := range cols {
				v.loop(width, c, func() {
					acc := v.accs(rows, c/v.lanes())
					for i := range acc {
						for j := range acc[i] {
							v.VMOVUPS(op.at(i, j*v.bytes()), acc[i][j])
						}
					}
					pp := v.rowPtrs(p, ldp, rows)
					row, n := v.GP64(), v.ptr("n")
					v.MOVQ(vp, row)
					v.loop(n, 1, func() {
						v.outer(acc, func(i int) operand.Mem { return pp.at(i, 0) }, func(j int, d reg.VecVirtual) {
							e.expand(v, mem(row, j*v.lanes()*e.size), d)
						})
						v.PREFETCHT0(mem(next, 0))
						v.PREFETCHT0(mem(next, 64))
						v.ADDQ(step.Addr, next)
						v.advance(pp, 4)
						v.ADDQ(ldv, row)
					})
					for i := range acc {
						for j := range acc[i] {
							v.VMOVUPS(acc[i][j], op.at(i, j*v.bytes()))
						}
					}
					v.advance(op, 4*c)
					v.ADDQ(operand.I32(int32(c*e.size)), vp)
				})
			}
			for range rows {
				v.ADDQ(ldo, o)
				v.ADDQ(ldp, p)
			}
		})
	}
	v.end()
}

// genSoftmax: the update of (max, sum) by rows of 64 scores, which become exponentials.
func genSoftmax(v isa) {
	v.begin("softmax", "(s, mx, sum, alpha *float32, m int)", "softmax"+v.suffix()+" updates m rows of 64 scores; see softmaxTile.")
	s, mx, sum, alpha, m := v.ptr("s"), v.ptr("mx"), v.ptr("sum"), v.ptr("alpha"), v.ptr("m")
	k := v.expConsts()
	least := v.bitsMem(0xff800000)
	steps := []int{3, 1} // a row is one long chain: several side by side
	if !v.wide {
		steps = []int{1}
	}
	parts := tileKeys / v.lanes()
	for _, rows := range steps {
		v.loop(m, rows, func() {
			tops := make([]reg.VecVirtual, rows)
			for i := range tops {
				tops[i] = v.r()
				v.VMOVUPS(mem(s, i*sRow), tops[i])
				for j := 1; j < parts; j++ {
					v.VMAXPS(mem(s, i*sRow+j*v.bytes()), tops[i], tops[i])
				}
			}
			all, factor := make([]reg.VecVirtual, rows), make([]reg.VecVirtual, rows)
			for i, top := range tops {
				t, old := v.foldMax(top), v.r()
				v.VBROADCASTSS(mem(mx, 4*i), old)
				v.VMAXSS(old.AsX(), t, t)
				v.VMOVSS(t, mem(mx, 4*i))
				// All -Inf so far: zero instead, so that the row becomes zeros. What was mixed before is zero too.
				all[i] = v.r()
				v.VBROADCASTSS(t, all[i])
				if v.wide {
					seen := v.K()
					v.VCMPPS_BCST(operand.U8(4), least, all[i], seen)
					v.VMOVAPS_Z(all[i], seen, all[i])
				} else {
					seen := v.r()
					v.VCMPPS(operand.U8(4), least, all[i], seen)
					v.VANDPS(seen, all[i], all[i])
				}
				v.VSUBPS(all[i], old, old)
				factor[i] = v.exp(k, old)
				v.VMOVSS(factor[i].AsX(), mem(alpha, 4*i))
			}
			// 16 lanes: one AVX-512 register or two of AVX2, added in ascending order of columns.
			lanes := v.accs(rows, 16/v.lanes())
			for j := range parts {
				for i := range rows {
					x, w := v.r(), j%len(lanes[i])
					v.VMOVUPS(mem(s, i*sRow+j*v.bytes()), x)
					v.VSUBPS(all[i], x, x)
					e := v.exp(k, x)
					v.VMOVUPS(e, mem(s, i*sRow+j*v.bytes()))
					if j < len(lanes[i]) {
						lanes[i][w] = e
					} else {
						v.VADDPS(e, lanes[i][w], lanes[i][w])
					}
				}
			}
			for i, lane := range lanes {
				if !v.wide {
					v.VADDPS(lane[1], lane[0], lane[0])
				}
				total, run := v.foldAdd(lane[0]), v.XMM()
				v.VMOVSS(mem(sum, 4*i), run)
				v.VFMADD213SS(total, factor[i].AsX(), run)
				v.VMOVSS(run, mem(sum, 4*i))
			}
			v.ADDQ(operand.I32(int32(rows*sRow)), s)
			for _, p := range []reg.GPVirtual{mx, sum, alpha} {
				v.ADDQ(operand.I32(int32(4*rows)), p)
			}
		})
	}
	v.end()
}

// genToPanels: 16 rows into one panel [width][16].
func genToPanels(v isa) {
	v.begin("toPanel", "(panel, x *float32, ld, width int)", "toPanel"+v.suffix()+" interleaves 16 rows, ld floats apart, of a width that is a multiple of 4.")
	panel, x, ld, width := v.ptr("panel"), v.ptr("x"), v.ptr("ld"), v.ptr("width")
	v.SHLQ(operand.U8(2), ld)
	// A register holds 4 columns of rows j, j+4 (, j+8, j+12) in its 128-bit lanes; then each lane is transposed by itself.
	lanes := v.lanes() / 4
	rows := v.rowPtrs(x, ld, 16)
	v.loop(width, 4, func() {
		for first := 0; first < 16; first += v.lanes() {
			r := make([]reg.VecVirtual, 4)
			for j := range r {
				r[j] = v.r()
				v.VMOVUPS(rows.at(first+j, 0), r[j].AsX())
				for l := 1; l < lanes; l++ {
					if v.wide {
						v.VINSERTF32X4(operand.U8(uint8(l)), rows.at(first+4*l+j, 0), r[j], r[j])
					} else {
						v.VINSERTF128(operand.U8(1), rows.at(first+4+j, 0), r[j].AsY(), r[j].AsY())
					}
				}
			}
			a, b, c, d := v.r(), v.r(), v.r(), v.r()
			v.VUNPCKLPS(r[1], r[0], a) // 00 10 01 11
			v.VUNPCKHPS(r[1], r[0], b) // 02 12 03 13
			v.VUNPCKLPS(r[3], r[2], c) // 20 30 21 31
			v.VUNPCKHPS(r[3], r[2], d)
			v.VUNPCKLPD(c, a, r[0])
			v.VUNPCKHPD(c, a, r[1])
			v.VUNPCKLPD(d, b, r[2])
			v.VUNPCKHPD(d, b, r[3])
			for j := range r {
				v.VMOVUPS(r[j], mem(panel, 64*j+4*first))
			}
		}
		v.advance(rows, 16)
		v.ADDQ(operand.I32(256), panel)
	})
	v.end()
}

// genRotate: rows in panels, rotated in place. Lane j of panel g is row 16g+j of the tile; its angle is that of the tile's first row (c0, s0) plus its own (cos, sin).
func genRotate(v isa) {
	v.begin("rotate", "(a, b *float32, step, panel int, c0, s0, cos, sin *float32, pairs int)",
		"rotate"+v.suffix()+" rotates pairs of columns a and b (step bytes from pair to pair, panel bytes from panel to panel) of a tile; cos and sin are [pairs][64].")
	a, b, step, panel := v.ptr("a"), v.ptr("b"), v.ptr("step"), v.ptr("panel")
	c0, s0, cos, sin, n := v.ptr("c0"), v.ptr("s0"), v.ptr("cos"), v.ptr("sin"), v.ptr("pairs")
	v.loop(n, 1, func() {
		bc, bs := v.r(), v.r()
		v.VBROADCASTSS(mem(c0, 0), bc)
		v.VBROADCASTSS(mem(s0, 0), bs)
		pa, pb := v.rowPtrs(a, panel, 4), v.rowPtrs(b, panel, 4)
		for g := range 4 {
			for at := 0; at < 64; at += v.bytes() {
				c, s, c1, s1 := v.r(), v.r(), v.r(), v.r()
				v.VMOVUPS(mem(cos, 64*g+at), c1)
				v.VMOVUPS(mem(sin, 64*g+at), s1)
				v.VMULPS(s1, bs, c)
				v.VMULPS(s1, bc, s)
				v.VFMSUB231PS(c1, bc, c) // c0 cos - s0 sin
				v.VFMADD231PS(c1, bs, s) // s0 cos + c0 sin
				x, y, p, q := v.r(), v.r(), v.r(), v.r()
				v.VMOVUPS(pa.at(g, at), x)
				v.VMOVUPS(pb.at(g, at), y)
				v.VMULPS(s, y, p)
				v.VMULPS(s, x, q)
				v.VFMSUB213PS(p, c, x)
				v.VFMADD213PS(q, c, y)
				v.VMOVUPS(x, pa.at(g, at))
				v.VMOVUPS(y, pb.at(g, at))
			}
		}
		v.ADDQ(step, a)
		v.ADDQ(step, b)
		v.ADDQ(operand.I32(4), c0)
		v.ADDQ(operand.I32(4), s0)
		v.ADDQ(operand.I32(256), cos)
		v.ADDQ(operand.I32(256), sin)
	})
	v.end()
}

// genWeigh: rows of 64 scores, each times the 64 elements of one column of a tile in panels.
func genWeigh(v isa) {
	v.begin("weigh", "(s, x, a *float32, step, panel, m, add int)",
		"weigh"+v.suffix()+" sets or adds to m rows of s the rows of x times columns a, a+step, .. (step bytes from row to row, panel bytes from panel to panel).")
	s, x, a, step, panel, m := v.ptr("s"), v.ptr("x"), v.ptr("a"), v.ptr("step"), v.ptr("panel"), v.ptr("m")
	add := v.ptr("add")
	v.loop(m, 1, func() {
		pa := v.rowPtrs(a, panel, 4)
		fresh, next := v.newLabel("fresh"), v.newLabel("next")
		v.TESTQ(add, add)
		v.JEQ(operand.LabelRef(fresh))
		each := func(f func(g, at int, y reg.VecVirtual)) {
			for g := range 4 {
				for at := 0; at < 64; at += v.bytes() {
					y := v.r()
					v.VMOVUPS(mem(x, 64*g+at), y)
					f(g, at, y)
				}
			}
		}
		each(func(g, at int, y reg.VecVirtual) {
			d := v.r()
			v.VMOVUPS(mem(s, 64*g+at), d)
			v.VFMADD231PS(pa.at(g, at), y, d)
			v.VMOVUPS(d, mem(s, 64*g+at))
		})
		v.JMP(operand.LabelRef(next))
		v.Label(fresh)
		each(func(g, at int, y reg.VecVirtual) {
			v.VMULPS(pa.at(g, at), y, y)
			v.VMOVUPS(y, mem(s, 64*g+at))
		})
		v.Label(next)
		v.ADDQ(step, a)
		v.ADDQ(operand.I32(sRow), s)
		v.ADDQ(operand.I32(sRow), x)
	})
	v.end()
}

// genGate: rows times rows found by pointer, and their sums.
func genGate(v isa) {
	v.begin("gateRows", "(y *float32, ldy, rows, n int, gates *[]float32, at int, sums *float32)",
		"gateRows"+v.suffix()+" multiplies n > 0 numbers, a multiple of 16, of each of rows > 0 rows y, ldy bytes apart, by those of slice gates[row] from byte at on, and adds each product and its square to sums[row], two times 16 lanes.")
	y, ldy, rows := v.ptr("y"), v.ptr("ldy"), v.ptr("rows")
	gates, at, sums := v.ptr("gates"), v.ptr("at"), v.ptr("sums")
	parts := 64 / v.bytes()
	v.loop(rows, 1, func() {
		g, to := v.GP64(), v.GP64()
		v.MOVQ(mem(gates, 0), g)
		v.ADDQ(at, g)
		v.MOVQ(y, to)
		sum, square := make([]reg.VecVirtual, parts), make([]reg.VecVirtual, parts)
		for i := range parts {
			sum[i], square[i] = v.r(), v.r()
			v.VMOVUPS(mem(sums, i*v.bytes()), sum[i])
			v.VMOVUPS(mem(sums, 64+i*v.bytes()), square[i])
		}
		n := v.ptr("n")
		v.loop(n, 16, func() {
			for i := range parts {
				t := v.r()
				v.VMOVUPS(mem(to, i*v.bytes()), t)
				v.VMULPS(mem(g, i*v.bytes()), t, t)
				v.VMOVUPS(t, mem(to, i*v.bytes()))
				v.VADDPS(t, sum[i], sum[i])
				v.VFMADD231PS(t, t, square[i])
			}
			v.ADDQ(operand.I32(64), to)
			v.ADDQ(operand.I32(64), g)
		})
		for i := range parts {
			v.VMOVUPS(sum[i], mem(sums, i*v.bytes()))
			v.VMOVUPS(square[i], mem(sums, 64+i*v.bytes()))
		}
		v.ADDQ(ldy, y)
		v.ADDQ(operand.I32(128), sums)
		v.ADDQ(operand.I32(24), gates)
	})
	v.end()
}
