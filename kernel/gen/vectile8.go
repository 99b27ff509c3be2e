package main

// Family tile8: keys in q8 and q4 panels. A block is 32 dimensions of 16 keys: vectors of 64 bytes, byte 4r+i of vector v being the code of key r and dimension
// 4v+i (q4: low nibble; high nibble dimension 16+4v+i), then 16 f16 scales. Codes are unsigned: value = scale * (code - zero).

import (
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

type blockCodec struct {
	name    string
	vectors int    // of 64 bytes
	shift   uint64 // log2 of the zero point
}

func (b blockCodec) bytes() int { return b.vectors*64 + 32 }

var blockCodecs = []blockCodec{{"Q8", 8, 7}, {"Q4", 4, 3}}

func genTile8(c *build.Context) {
	s := newShared()
	both(c, s, func(v isa) {
		for _, b := range blockCodecs {
			genExpandPanels(v, b)
			if v.wide {
				genScoreInt8VNNI(v, b)
			} else {
				genScoreInt8AVX2(v, b)
			}
		}
	})
}

// genExpandPanels: blocks of panels to float32 panels.
func genExpandPanels(v isa, b blockCodec) {
	v.begin("expand"+b.name, "(dst *float32, src *byte, blocks int)", "expand"+b.name+v.suffix()+" expands blocks of panels to [32][16] float32 each.")
	dst, src, n := v.ptr("dst"), v.ptr("src"), v.ptr("blocks")
	flip, low, eight := v.kBits(0x80808080), v.kBits(15), v.kBits(8)
	v.loop(n, 1, func() {
		for part := 0; part < 16; part += v.lanes() {
			d := v.r()
			v.VCVTPH2PS(mem(src, b.vectors*64+2*part), d)
			for i := range b.vectors {
				x := v.r()
				v.VMOVUPS(mem(src, 64*i+4*part), x)
				out := func(dim int, y reg.VecVirtual) {
					v.VCVTDQ2PS(y, y)
					v.VMULPS(d, y, y)
					v.VMOVUPS(y, mem(dst, 64*dim+4*part))
				}
				if b.vectors == 8 {
					v.xor(flip, x, x) // signed now
					for k := range 4 {
						y := v.r()
						v.VPSLLD(operand.U8(uint8(24-8*k)), x, y)
						v.VPSRAD(operand.U8(24), y, y)
						out(4*i+k, y)
					}
					continue
				}
				for k := range 8 { // nibbles: byte k/2, low or high
					y := v.r()
					v.VPSRLD(operand.U8(uint8(4*k)), x, y)
					v.and(low, y, y)
					v.VPSUBD(eight, y, y)
					out(16*(k%2)+4*i+k/2, y)
				}
			}
		}
		v.ADDQ(operand.I32(int32(b.bytes())), src)
		v.ADDQ(operand.I32(2048), dst)
	})
	v.end()
}

// scoreInt8 opens the function and walks rows, panels (as many at a time as given) and blocks; block emits one block of keys.
//
// Per block and output: an exact int32 sum, then acc = fma(float32(sum), d*sa, acc).
func scoreInt8(v isa, b blockCodec, steps []int, panels int, block func(acc [][]reg.VecVirtual, q, scale, sum rowPtrs, k, panel, next reg.GPVirtual)) {
	v.begin("score"+b.name, "(s *float32, q *int8, scale *float32, sum *int32, k, next *byte, blocks, m int)",
		"score"+b.name+v.suffix()+" scores m rows of int8 queries (32 codes, a scale and a sum of codes for each block) against a tile of 64 keys in panels, and asks (AVX-512) for what lies at next; blocks > 0.")
	s, q, m := v.ptr("s"), v.ptr("q"), v.ptr("m")
	scale, sum := v.ptr("scale"), v.ptr("sum")
	var panel reg.GPVirtual // bytes of one, where more than one is read at a time
	if panels > 1 {
		panel = v.GP64()
		v.IMUL3Q(operand.I32(int32(b.bytes())), v.ptr("blocks"), panel)
	}
	for _, rows := range steps {
		v.loop(m, rows, func() {
			k, next := v.ptr("k"), v.ptr("next")
			for g := 0; g < 4; g += panels { // k ends a group where the next begins
				acc := v.accs(rows, panels*16/v.lanes())
				for i := range acc {
					for j := range acc[i] {
						v.clear(acc[i][j])
					}
				}
				ld := v.ptr("blocks")
				v.SHLQ(operand.U8(2), ld)
				scales, sums := v.rowPtrs(scale, ld, rows), v.rowPtrs(sum, ld, rows)
				ldq := v.ptr("blocks")
				v.SHLQ(operand.U8(5), ldq)
				qs := v.rowPtrs(q, ldq, rows)
				n := v.ptr("blocks")
				v.loop(n, 1, func() {
					block(acc, qs, scales, sums, k, panel, next)
					v.advance(qs, 32)
					v.advance(scales, 4)
					v.advance(sums, 4)
					v.ADDQ(operand.I32(int32(b.bytes())), k)
				})
				for i := range acc {
					for j := range acc[i] {
						v.VMOVUPS(acc[i][j], mem(s, i*sRow+g*64+j*v.bytes()))
					}
				}
			}
			v.ADDQ(operand.I32(int32(rows*sRow)), s)
			blocks := v.ptr("blocks")
			v.IMUL3Q(operand.I32(int32(rows)), blocks, blocks)
			v.LEAQ(operand.Mem{Base: scale, Index: blocks, Scale: 4}, scale)
			v.LEAQ(operand.Mem{Base: sum, Index: blocks, Scale: 4}, sum)
			v.SHLQ(operand.U8(5), blocks)
			v.ADDQ(blocks, q)
		})
	}
	v.end()
}

// join ends a block: acc += float32(sums) * (d * sa), d being the 16 scales at m.
func (v isa) join(acc, ints [][]reg.VecVirtual, scales rowPtrs, at func(j int) operand.Mem) {
	d := make([]reg.VecVirtual, len(acc[0]))
	for j := range d {
		d[j] = v.r()
		v.VCVTPH2PS(at(j), d[j])
	}
	for i := range acc {
		sa := v.r()
		v.VBROADCASTSS(scales.at(i, 0), sa)
		for j := range d {
			t := v.r()
			v.VMULPS(d[j], sa, t)
			v.VCVTDQ2PS(ints[i][j], ints[i][j])
			v.VFMADD231PS(t, ints[i][j], acc[i][j])
		}
	}
}

func genScoreInt8VNNI(v isa, b blockCodec) {
	scoreInt8(v, b, []int{3, 2, 1}, 4, func(acc [][]reg.VecVirtual, q, scales, sums rowPtrs, k, panel, next reg.GPVirtual) {
		panels := len(acc[0])
		third := v.GP64()
		v.LEAQ(operand.Mem{Base: k, Index: panel, Scale: 2}, third)
		at := func(p, disp int) operand.Mem {
			m := operand.Mem{Base: k, Disp: disp}
			if p >= 2 {
				m.Base = third
			}
			if p%2 == 1 {
				m.Index, m.Scale = panel, 1
			}
			return m
		}
		ints := v.accs(len(acc), panels)
		for i := range ints {
			z := v.r()
			v.VPBROADCASTD(sums.at(i, 0), z)
			v.VPSLLD(operand.U8(uint8(b.shift)), z, z)
			v.clear(ints[i][0])
			v.VPSUBD(z, ints[i][0], ints[i][0]) // minus zero point times the sum of the query's codes
			for p := 1; p < panels; p++ {
				v.VMOVDQA32(ints[i][0], ints[i][p])
			}
		}
		dot := func(code reg.VecVirtual, p, dim int) {
			for i := range ints {
				v.VPDPBUSD_BCST(q.at(i, dim), code, ints[i][p])
			}
		}
		low := v.r()
		if b.vectors == 4 {
			v.VPBROADCASTD(v.bitsMem(0x0f0f0f0f), low)
		}
		for x := range b.vectors {
			for p := range panels {
				c := v.r()
				v.VMOVDQU32(at(p, 64*x), c)
				if p%2 == 0 { // half as much as is read
					v.PREFETCHT0(mem(next, 32*(x*panels+p)))
				}
				if b.vectors == 8 {
					dot(c, p, 4*x)
					continue
				}
				h := v.r()
				v.VPSRLD(operand.U8(4), c, h)
				v.VPANDD(low, c, c)
				v.VPANDD(low, h, h)
				dot(c, p, 4*x)
				dot(h, p, 16+4*x)
			}
		}
		v.ADDQ(operand.I32(int32(32*b.vectors*panels)), next)
		v.join(acc, ints, scales, func(j int) operand.Mem { return at(j, 64*b.vectors) })
	})
}

// genScoreInt8AVX2: VPMADDUBSW adds two products in 16 bits. q4 codes are at most 15, so that all eight vectors' sums fit 16 bits (8 * 2 * 15 * 127 < 32768); for q8 the
// unsigned side is |code - 128| <= 128 and the sign goes to the query (2 * 128 * 127 < 32768).
func genScoreInt8AVX2(v isa, b blockCodec) {
	scoreInt8(v, b, []int{2, 1}, 1, func(acc [][]reg.VecVirtual, q, scales, sums rowPtrs, k, panel, next reg.GPVirtual) {
		ints := v.accs(len(acc), 2)
		for i := range ints {
			for j := range ints[i] {
				v.clear(ints[i][j])
			}
		}
		ones := v.bitsMem(0x00010001)
		for j := range 2 {
			for x := range b.vectors {
				c := v.r()
				v.VMOVUPS(mem(k, 64*x+32*j), c)
				if b.vectors == 8 {
					v.VXORPS(v.bitsMem(0x80808080), c, c)
					a := v.r()
					v.VPABSB(c, a)
					for i := range ints {
						t := v.r()
						v.VPBROADCASTD(q.at(i, 4*x), t)
						v.VPSIGNB(c, t, t)
						v.VPMADDUBSW(t, a, t)
						v.VPMADDWD(ones, t, t)
						v.VPADDD(t, ints[i][j], ints[i][j])
					}
					continue
				}
				h := v.r()
				v.VPSRLD(operand.U8(4), c, h)
				v.VANDPS(v.bitsMem(0x0f0f0f0f), c, c)
				v.VANDPS(v.bitsMem(0x0f0f0f0f), h, h)
				for i := range ints {
					for n, code := range []reg.VecVirtual{c, h} {
						t := v.r()
						v.VPBROADCASTD(q.at(i, 16*n+4*x), t)
						v.VPMADDUBSW(t, code, t)
						v.VPADDW(t, ints[i][j], ints[i][j])
					}
				}
			}
			if b.vectors == 4 {
				for i := range ints {
					v.VPMADDWD(ones, ints[i][j], ints[i][j])
					z := v.r()
					v.VPBROADCASTD(sums.at(i, 0), z)
					v.VPSLLD(operand.U8(uint8(b.shift)), z, z)
					v.VPSUBD(z, ints[i][j], ints[i][j])
				}
			}
		}
		v.join(acc, ints, scales, func(j int) operand.Mem { return mem(k, 64*b.vectors+16*j) })
	})
}
