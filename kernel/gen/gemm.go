package main

// Family gemm: products of dense float32 matrices, and the packing of their panels.
//
// Nothing is assumed about where an operand lies: its rows (or panels) and its values of k each have a distance of their own, so that a matrix, its transpose and a packed panel are
// read by the same kernel. One fused multiply-add for each k, in ascending order.

import (
	"fmt"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Tiles: AVX-512 1..14 rows x 1 or 2 panels of 16 columns, of 32 registers; AVX2 1..6 rows x 1 panel, of 16.
func genGemm(c *build.Context) {
	s := newShared()
	for rows := 1; rows <= 14; rows++ {
		gemmTile(newISA(c, true, s), rows, 2)
		gemmTile(newISA(c, true, s), rows, 1)
	}
	for rows := 1; rows <= 6; rows++ {
		gemmTile(newISA(c, false, s), rows, 1)
	}
	both(c, s, gemmCopy)
	gemmTranspose16(newISA(c, true, s))
	gemmTranspose8(newISA(c, false, s))
}

func gemmTile(v isa, rows, panels int) {
	v.begin(tileName("gemm", rows, panels)+"_", "(y *float32, ldy uintptr, a *float32, lda uintptr, stepA uintptr, b *float32, ldb uintptr, stepB uintptr, k uintptr, n uintptr, onto uintptr)",
		fmt.Sprintf("%s_%s: y [%d, %d n] (+)= A B over k values; distances in bytes: A's rows lda, its values of k stepA; B's panels of 16 columns ldb, its values of k stepB. n > 0.",
			tileName("gemm", rows, panels), v.suffix(), rows, 16*panels))
	y, lda, stepA, b, ldb, stepB := v.ptr("y"), v.ptr("lda"), v.ptr("stepA"), v.ptr("b"), v.ptr("ldb"), v.ptr("stepB")
	a := rowPointers(v, v.ptr("a"), lda, rows)
	per := 64 / v.bytes()
	acc := make([][]reg.VecVirtual, rows)
	for r := range acc {
		for range panels * per {
			acc[r] = append(acc[r], v.r())
		}
	}
	eachOutput := func(f func(m operand.Mem, acc reg.VecVirtual)) {
		at, ldy := v.GP64(), v.ptr("ldy")
		v.MOVQ(y, at)
		for r := range acc {
			if r > 0 {
				v.ADDQ(ldy, at)
			}
			for j := range acc[r] {
				f(mem(at, j*v.bytes()), acc[r][j])
			}
		}
	}
	step := func() {
		w := make([]reg.VecVirtual, panels*per)
		for j := range w {
			w[j] = v.r()
			v.VMOVUPS(strided(b, ldb, j/per, j%per*v.bytes()), w[j])
		}
		for r := range rows {
			x := v.r()
			v.VBROADCASTSS(strided(a[r/3], lda, r%3, 0), x)
			for j := range acc[r] {
				v.VFMADD231PS(x, w[j], acc[r][j])
			}
		}
		for _, p := range a {
			v.ADDQ(stepA, p)
		}
		v.ADDQ(stepB, b)
	}

	again, zero, ready := v.newLabel("again"), v.newLabel("zero"), v.newLabel("ready")
	v.Label(again)
	onto := v.ptr("onto")
	v.TESTQ(onto, onto)
	v.JEQ(operand.LabelRef(zero))
	eachOutput(func(m operand.Mem, acc reg.VecVirtual) { v.VMOVUPS(m, acc) })
	v.JMP(operand.LabelRef(ready))
	v.Label(zero)
	for r := range acc {
		for j := range acc[r] {
			v.clear(acc[r][j])
		}
	}
	v.Label(ready)
	k := v.ptr("k")
	v.loop(k, 2, func() {
		step()
		step()
	})
	v.ifAny(k, step)
	eachOutput(func(m operand.Mem, acc reg.VecVirtual) { v.VMOVUPS(acc, m) })
	// Back to k = 0, and on to the next panels.
	back := v.ptr("k")
	v.IMULQ(stepA, back)
	for _, p := range a {
		v.SUBQ(back, p)
	}
	back = v.ptr("k")
	v.IMULQ(stepB, back)
	v.SUBQ(back, b)
	for range panels {
		v.ADDQ(ldb, b)
	}
	v.ADDQ(operand.I32(int32(64*panels)), y)
	left, err := v.Param("n").Resolve()
	if err != nil {
		panic(err)
	}
	v.DECQ(left.Addr)
	v.JNE(operand.LabelRef(again))
	v.end()
}

// gemmCopy packs values that lie side by side: B as it is, or A's transpose.
func gemmCopy(v isa) {
	v.begin("gemmCopy", "(dst *float32, panel uintptr, src *float32, lds uintptr, k uintptr, n uintptr, width uintptr)",
		"gemmCopy"+v.suffix()+" packs k rows of n values, lds bytes apart, as panels [k][16], panel bytes apart: each begins width values, at most 16, after the last. Zeros stand past value n. n > 0.")
	dst, panel, src, lds, k, width := v.ptr("dst"), v.ptr("panel"), v.ptr("src"), v.ptr("lds"), v.ptr("k"), v.ptr("width")
	per := 64 / v.bytes()
	v.loop(k, 1, func() {
		n, d, s := v.ptr("n"), v.GP64(), v.GP64()
		v.MOVQ(dst, d)
		v.MOVQ(src, s)
		next := func() {
			v.ADDQ(panel, d)
			v.LEAQ(operand.Mem{Base: s, Index: width, Scale: 4}, s)
			v.SUBQ(width, n)
		}
		full, last, out := v.newLabel("full"), v.newLabel("last"), v.newLabel("out")
		v.Label(full)
		v.CMPQ(n, operand.I32(16))
		v.JLT(operand.LabelRef(last))
		for i := range per {
			r := v.r()
			v.VMOVUPS(mem(s, i*v.bytes()), r)
			v.VMOVUPS(r, mem(d, i*v.bytes()))
		}
		next()
		v.JMP(operand.LabelRef(full))
		v.Label(last)
		v.CMPQ(n, operand.I32(0))
		v.JLE(operand.LabelRef(out))
		left := v.GP64()
		v.MOVQ(n, left)
		for i := range per {
			r := v.r()
			v.laneMask(left).load(mem(s, i*v.bytes()), r)
			v.VMOVUPS(r, mem(d, i*v.bytes()))
			if i+1 < per { // what is left for the next register
				zero := v.GP64()
				v.XORQ(zero, zero)
				v.SUBQ(operand.I32(int32(v.lanes())), left)
				v.CMOVQLT(zero, left)
			}
		}
		next()
		v.JMP(operand.LabelRef(last))
		v.Label(out)
		v.ADDQ(lds, src)
		v.ADDQ(operand.I32(64), dst)
	})
	v.end()
}

// laneMask is tailMask for any number of elements.
func (v isa) laneMask(n reg.GPVirtual) tail {
	if v.wide {
		return v.tailMask(n)
	}
	m, most := v.GP64(), v.GP64()
	v.MOVQ(n, m)
	v.MOVQ(operand.I32(int32(v.lanes())), most)
	v.CMPQ(m, most)
	v.CMOVQGT(most, m)
	return v.tailMask(m)
}

// gemmTranspose16 packs 16 rows of Bᵀ as one panel, 16 x 16 values at a time: loads bring quarters of rows to their lanes, two rounds of pairs do the rest.
func gemmTranspose16(v isa) {
	v.begin("gemmTranspose", "(dst *float32, src *float32, lds uintptr, k uintptr)",
		"gemmTransposeAVX512 packs 16 rows of k values, lds bytes apart, as a panel [k][16]. k is a multiple of 16.")
	dst, src, lds, k := v.ptr("dst"), v.ptr("src"), v.ptr("lds"), v.ptr("k")
	rows := rowPointers(v, src, lds, 16)
	row := func(r, disp int) operand.Mem { return strided(rows[r/3], lds, r%3, disp) }
	v.loop(k, 16, func() {
		for q := range 4 {
			var x [4]reg.VecVirtual // x[i] holds, in quarter g, columns 4q .. 4q+3 of row 4g+i
			for i := range 4 {
				x[i] = v.ZMM()
				v.VBROADCASTF32X4(row(i, 16*q), x[i])
				for g := 1; g < 4; g++ {
					v.VINSERTF32X4(operand.U8(uint8(g)), row(4*g+i, 16*q), x[i], x[i])
				}
			}
			lo, hi, lo2, hi2 := v.ZMM(), v.ZMM(), v.ZMM(), v.ZMM()
			v.VUNPCKLPS(x[1], x[0], lo)
			v.VUNPCKHPS(x[1], x[0], hi)
			v.VUNPCKLPS(x[3], x[2], lo2)
			v.VUNPCKHPS(x[3], x[2], hi2)
			for i, pair := range [][2]reg.VecVirtual{{lo, lo2}, {hi, hi2}} {
				a, b := v.ZMM(), v.ZMM()
				v.VUNPCKLPD(pair[1], pair[0], a)
				v.VUNPCKHPD(pair[1], pair[0], b)
				v.VMOVUPS(a, mem(dst, 64*(4*q+2*i)))
				v.VMOVUPS(b, mem(dst, 64*(4*q+2*i+1)))
			}
		}
		for _, p := range rows {
			v.ADDQ(operand.I32(64), p)
		}
		v.ADDQ(operand.I32(1024), dst)
	})
	v.end()
}

// gemmTranspose8 is the same with 8 lanes: 8 rows by 8 columns at a time.
func gemmTranspose8(v isa) {
	v.begin("gemmTranspose", "(dst *float32, src *float32, lds uintptr, k uintptr)",
		"gemmTransposeAVX2 packs 8 rows of k values, lds bytes apart, as half a panel: 8 of every 16 values of dst. k is a multiple of 8.")
	dst, src, lds, k := v.ptr("dst"), v.ptr("src"), v.ptr("lds"), v.ptr("k")
	rows := rowPointers(v, src, lds, 8)
	row := func(r, disp int) operand.Mem { return strided(rows[r/3], lds, r%3, disp) }
	v.loop(k, 8, func() {
		for q := range 2 {
			var x [4]reg.VecVirtual
			for i := range 4 {
				x[i] = v.YMM()
				v.VBROADCASTF128(row(i, 16*q), x[i])
				v.VINSERTF128(operand.U8(1), row(4+i, 16*q), x[i], x[i])
			}
			lo, hi, lo2, hi2 := v.YMM(), v.YMM(), v.YMM(), v.YMM()
			v.VUNPCKLPS(x[1], x[0], lo)
			v.VUNPCKHPS(x[1], x[0], hi)
			v.VUNPCKLPS(x[3], x[2], lo2)
			v.VUNPCKHPS(x[3], x[2], hi2)
			for i, pair := range [][2]reg.VecVirtual{{lo, lo2}, {hi, hi2}} {
				a, b := v.YMM(), v.YMM()
				v.VUNPCKLPD(pair[1], pair[0], a)
				v.VUNPCKHPD(pair[1], pair[0], b)
				v.VMOVUPS(a, mem(dst, 64*(4*q+2*i)))
				v.VMOVUPS(b, mem(dst, 64*(4*q+2*i+1)))
			}
		}
		for _, p := range rows {
			v.ADDQ(operand.I32(32), p)
		}
		v.ADDQ(operand.I32(512), dst)
	})
	v.end()
}

// rowPointers are pointers to rows 0, 3, 6 ... of n.
func rowPointers(v isa, first, ld reg.GPVirtual, n int) []reg.GPVirtual {
	rows := []reg.GPVirtual{first}
	for r := 3; r < n; r += 3 {
		p := v.GP64()
		v.LEAQ(operand.Mem{Base: rows[len(rows)-1], Index: ld, Scale: 2}, p)
		v.ADDQ(ld, p)
		rows = append(rows, p)
	}
	return rows
}
