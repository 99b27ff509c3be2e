package main

// Family flash: what attention of a training step does to rows of scores between its products. A row of total scores, a multiple of 16, is seen in [from, to); beside that it
// comes out as zeros.

import (
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func genFlash(c *build.Context) {
	s := newShared()
	both(c, s, func(v isa) {
		genFlashRow(v)
		genFlashGrad(v)
		genFlashDot(v)
	})
}

// flashSpan is a row's part [low, high), whole blocks of 16 around what is seen.
type flashSpan struct {
	low, high reg.GPVirtual
}

// flashSeen writes -Inf in what is not seen of the blocks around [from, to), and returns their bounds.
func (v isa) flashSeen(x reg.GPVirtual) flashSpan {
	s := flashSpan{v.ptr("from"), v.ptr("to")}
	iota := make([]uint32, 16)
	for i := range iota {
		iota[i] = uint32(i)
	}
	lanes, neg := v.table("flashIota", iota), v.r()
	v.VBROADCASTSS(v.bitsMem(0xff800000), neg)
	// edge writes -Inf at the lanes of the block that holds column at: those below it, or those from it on.
	edge := func(at reg.GPVirtual, below bool) {
		none := v.newLabel("whole")
		lane := v.GP64()
		v.MOVQ(at, lane)
		v.ANDQ(operand.I32(15), lane)
		v.JEQ(operand.LabelRef(none))
		block := v.GP64()
		v.MOVQ(at, block)
		v.SUBQ(lane, block)
		v.LEAQ(operand.Mem{Base: x, Index: block, Scale: 4}, block)
		if !below {
			v.DECQ(lane)
		}
		for i := range 64 / v.bytes() {
			number, limit := v.r(), v.r()
			v.VMOVUPS(lanes.Offset(i*v.bytes()), number)
			v.VMOVD(lane.As32(), limit.AsX())
			v.VPBROADCASTD(limit.AsX(), limit)
			var m reg.Register = v.r()
			if v.wide {
				m = v.K()
			}
			if below {
				v.VPCMPGTD(number, limit, m)
			} else {
				v.VPCMPGTD(limit, number, m)
			}
			tail{v, m}.store(neg, mem(block, i*v.bytes()))
		}
		v.Label(none)
	}
	edge(s.low, true)
	edge(s.high, false)
	v.ANDQ(operand.I32(-16), s.low)
	v.ADDQ(operand.I32(15), s.high)
	v.ANDQ(operand.I32(-16), s.high)
	return s
}

// flashClear writes zeros to x beside the span.
func (v isa) flashClear(s flashSpan, x reg.GPVirtual) {
	zero := v.zero()
	clear := func(p, n reg.GPVirtual) {
		v.loop(n, 16, func() {
			for i := range 64 / v.bytes() {
				v.VMOVUPS(zero, mem(p, i*v.bytes()))
			}
			v.ADDQ(operand.I32(64), p)
		})
	}
	p, n := v.GP64(), v.GP64()
	v.MOVQ(x, p)
	v.MOVQ(s.low, n)
	clear(p, n)
	v.LEAQ(operand.Mem{Base: x, Index: s.high, Scale: 4}, p)
	n = v.ptr("total")
	v.SUBQ(s.high, n)
	clear(p, n)
}

func genFlashRow(v isa) {
	v.begin("flashRow", "(x *float32, total int, from int, to int, scale float32, top float32) (newTop float32, sum float32)",
		"flashRow"+v.suffix()+": newTop = max(top, scale x[i]), x[i] = e^(scale x[i] - newTop), and their sum, over [from, to), of which not all and top are -Inf.")
	row, scale := v.ptr("x"), v.param("scale")
	seen := v.flashSeen(row)
	v.flashClear(seen, row)
	x, n := v.GP64(), v.GP64()
	begin := func() {
		v.LEAQ(operand.Mem{Base: row, Index: seen.low, Scale: 4}, x)
		v.MOVQ(seen.high, n)
		v.SUBQ(seen.low, n)
	}
	begin()
	acc := make([]reg.VecVirtual, 4)
	for i := range acc {
		acc[i] = v.r()
		v.VBROADCASTSS(v.bitsMem(0xff800000), acc[i])
	}
	step := func(count int) func() {
		return func() {
			for u := range count {
				v.VMAXPS(mem(x, u*v.bytes()), acc[u], acc[u])
			}
			v.ADDQ(operand.I32(int32(count*v.bytes())), x)
		}
	}
	v.loop(n, 4*v.lanes(), step(4))
	v.loop(n, v.lanes(), step(1))
	v.VMAXPS(acc[1], acc[0], acc[0])
	v.VMAXPS(acc[3], acc[2], acc[2])
	v.VMAXPS(acc[2], acc[0], acc[0])
	best := v.foldMax(acc[0])
	v.VMULSS(scale.AsX(), best, best)
	top, err := v.Param("top").Resolve()
	if err != nil {
		panic(err)
	}
	v.VMAXSS(top.Addr, best, best)
	v.Store(best, v.Return("newTop"))
	shift := v.r()
	v.VBROADCASTSS(best, shift)

	begin()
	k := v.expConsts()
	sums := []reg.VecVirtual{v.zero(), v.zero()}
	turn := func(count int) func() {
		return func() {
			for u := range count {
				t := v.r()
				v.VMOVUPS(mem(x, u*v.bytes()), t)
				v.VFMSUB213PS(shift, scale, t)
				e := v.exp(k, t)
				v.VMOVUPS(e, mem(x, u*v.bytes()))
				v.VADDPS(e, sums[u], sums[u])
			}
			v.ADDQ(operand.I32(int32(count*v.bytes())), x)
		}
	}
	if v.wide {
		v.loop(n, 2*v.lanes(), turn(2))
	}
	v.loop(n, v.lanes(), turn(1))
	v.VADDPS(sums[1], sums[0], sums[0])
	v.Store(v.foldAdd(sums[0]), v.Return("sum"))
	v.end()
}

func genFlashGrad(v isa) {
	v.begin("flashGrad", "(p *float32, dp *float32, total int, from int, to int, scale float32, lse float32, delta float32, times float32)",
		"flashGrad"+v.suffix()+": p[i] = e^(scale p[i] - lse), dp[i] = p[i] (dp[i] - delta) times, over [from, to).")
	p, dp := v.ptr("p"), v.ptr("dp")
	seen := v.flashSeen(p)
	v.flashClear(seen, p)
	v.flashClear(seen, dp)
	n := v.GP64()
	v.MOVQ(seen.high, n)
	v.SUBQ(seen.low, n)
	v.LEAQ(operand.Mem{Base: p, Index: seen.low, Scale: 4}, p)
	v.LEAQ(operand.Mem{Base: dp, Index: seen.low, Scale: 4}, dp)
	scale, lse, delta, times := v.param("scale"), v.param("lse"), v.param("delta"), v.param("times")
	k := v.expConsts()
	v.loop(n, v.lanes(), func() {
		t, d := v.r(), v.r()
		v.VMOVUPS(mem(p, 0), t)
		v.VFMSUB213PS(lse, scale, t)
		e := v.exp(k, t)
		v.VMOVUPS(e, mem(p, 0))
		v.VMOVUPS(mem(dp, 0), d)
		v.VSUBPS(delta, d, d)
		v.VMULPS(times, e, e)
		v.VMULPS(e, d, d)
		v.VMOVUPS(d, mem(dp, 0))
		v.ADDQ(operand.I32(int32(v.bytes())), p)
		v.ADDQ(operand.I32(int32(v.bytes())), dp)
	})
	v.end()
}

func genFlashDot(v isa) {
	v.begin("flashDot", "(x *float32, y *float32, n int) float32", "flashDot"+v.suffix()+" is the sum of x[i] y[i], i < n.")
	x, y, n := v.ptr("x"), v.ptr("y"), v.ptr("n")
	acc := []reg.VecVirtual{v.zero(), v.zero()}
	next := func(u int, load func(m operand.Mem, d reg.Register)) {
		a, b := v.r(), v.r()
		load(mem(x, u*v.bytes()), a)
		load(mem(y, u*v.bytes()), b)
		v.VFMADD231PS(a, b, acc[u])
	}
	plain := func(m operand.Mem, d reg.Register) { v.VMOVUPS(m, d) }
	for count := 2; count > 0; count-- {
		v.loop(n, count*v.lanes(), func() {
			for u := range count {
				next(u, plain)
			}
			v.ADDQ(operand.I32(int32(count*v.bytes())), x)
			v.ADDQ(operand.I32(int32(count*v.bytes())), y)
		})
	}
	v.ifAny(n, func() { next(0, v.tailMask(n).load) })
	v.VADDPS(acc[1], acc[0], acc[0])
	v.Store(v.foldAdd(acc[0]), v.ReturnIndex(0))
	v.end()
}
