package main

// Products of float32 inputs with panels of f32, f16 or bf16: one fused multiply-add for each k, in ascending order.

import (
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Tiles: AVX-512 1..6 rows x 4 panels and 1..14 rows x 2 panels, of 32 registers; AVX2 1..6 rows x 1 panel, and few rows x more panels, of 16.
func genMatFloat(c *build.Context) {
	s := newShared()
	for _, kind := range []string{"matF32", "matF16", "matBF16"} {
		for rows := 1; rows <= 6; rows++ {
			matFloat(c, s, true, kind, rows, 4)
		}
		for rows := 1; rows <= 14; rows++ {
			matFloat(c, s, true, kind, rows, 2)
		}
		matFloat(c, s, false, kind, 1, 4)
		matFloat(c, s, false, kind, 2, 2)
		for rows := 1; rows <= 6; rows++ {
			matFloat(c, s, false, kind, rows, 1)
		}
	}
}

func matFloat(c *build.Context, s *sharedData, wide bool, kind string, rows, panels int) {
	t := newTile(c, s, wide, kind, rows, panels)
	size := 64
	if kind != "matF32" {
		size = 32
	}
	n := t.ptr("n")
	step := func(u int) {
		w := make([]reg.VecVirtual, panels*t.perPanel())
		for j := range w {
			w[j] = t.r()
			per := t.perPanel()
			t.loadFloats(kind, t.weight(j/per, u*size+j%per*size/per), w[j])
		}
		for r := range rows {
			x := t.r()
			t.VBROADCASTSS(t.at(r, 4*u), x)
			for j, a := range t.acc[r] {
				t.VFMADD231PS(x, w[j], a)
			}
		}
	}
	const unroll = 2
	t.loop(n, unroll, func() {
		for u := range unroll {
			step(u)
		}
		t.advance(4*unroll, size*unroll)
	})
	t.ifAny(n, func() { step(0) })
	t.finish()
}

// loadFloats widens one register of weights, exactly.
func (t *tile) loadFloats(kind string, m operand.Mem, d reg.VecVirtual) {
	switch kind {
	case "matF32":
		t.VMOVUPS(m, d)
	case "matF16":
		t.VCVTPH2PS(m, d)
	case "matBF16":
		t.VPMOVZXWD(m, d)
		t.VPSLLD(operand.U8(16), d, d)
	}
}
