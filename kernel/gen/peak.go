package main

// Family peak: loops that only measure what the machine can do. Nothing that computes a result calls them.

import (
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func genPeak(c *build.Context) {
	s := newShared()
	both(c, s, func(v isa) {
		chains := 12
		if v.wide {
			chains = 24
		}
		many := func() []reg.VecVirtual {
			r := make([]reg.VecVirtual, chains)
			for i := range r {
				r[i] = v.zero()
			}
			return r
		}
		v.begin("peakF32", "(n int)", "peakF32"+v.suffix()+" runs n rounds of fused multiply-adds on registers, as many chains as hide their latency.")
		n, acc, x := v.ptr("n"), many(), v.zero()
		v.loop(n, 1, func() {
			for _, a := range acc {
				v.VFMADD231PS(x, x, a)
			}
		})
		v.end()

		v.begin("peakInt8", "(n int)", "peakInt8"+v.suffix()+" runs n rounds of products of bytes on registers, as products of weights do them.")
		n, acc, x = v.ptr("n"), many(), v.zero()
		v.loop(n, 1, func() {
			for _, a := range acc {
				if v.wide {
					v.VPDPBUSD(x, x, a)
					continue
				}
				t := v.r()
				v.VPMADDUBSW(x, x, t)
				v.VPADDW(t, a, a)
			}
		})
		v.end()

		v.begin("readAll", "(p *byte, n int)", "readAll"+v.suffix()+" reads n bytes, a multiple of 512.")
		p, n := v.ptr("p"), v.ptr("n")
		sums := []reg.VecVirtual{v.zero(), v.zero(), v.zero(), v.zero()}
		v.loop(n, 512, func() {
			for i := range 512 / v.bytes() {
				v.VADDPS(mem(p, i*v.bytes()), sums[i%4], sums[i%4])
			}
			v.ADDQ(operand.I32(512), p)
		})
		v.end()
	})
}
