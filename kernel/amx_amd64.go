package kernel

// Products of many rows by quantised weights (but q6_K, where AVX-512 is faster) with AMX tiles. The bits are those of the AVX-512 kernels: same integers, same float operations in the same order.

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/cpu"
)

// amxLevel says whether AMX tiles are used; tests turn it off to compare.
var amxLevel = level >= levelAMX

// detectAMX asks whether processor and system allow tiles of bytes.
func detectAMX() bool {
	return cpu.X86.HasAMXTile && cpu.X86.HasAMXInt8 && allowAMX()
}

const (
	amxRows  = 16 // rows of a tile of outputs
	amxSpan  = 64 // 32-blocks of K whose codes are unpacked at once: 32 KiB
	amxLeast = 2  // fewest tiles of 16 rows worth the 0.35 us that setting up and releasing the tiles take
	amxCalls = 24 // most tiles of 16 rows a call: some tens of us
)

// amxScratch is one worker's: the codes of a panel, and where tiles of sums are stored.
type amxScratch struct{ codes, slots []byte }

var amxScratches = sync.Pool{New: func() any {
	const slots = 2048
	buf := make([]byte, amxSpan*512+2*slots)
	off := -int(uintptr(unsafe.Pointer(&buf[0]))) & (slots - 1)
	return &amxScratch{slots: buf[off:][:slots], codes: buf[off+slots:][:amxSpan*512]}
}}

type amxFunc func(y *float32, ldy int, act, panel, codes *byte, codeStep, actTile, blocks, n, onto int, slots *byte)

var amxProducts = [...]amxFunc{Q8_0: amxQ80, Q4_0: amxQ40, Q4_1: amxQ41, Q5_0: amxQ50, Q5_1: amxQ51, Q4_K: amxQ4K, Q5_K: amxQ5K}

var amxUnpack = [...]func(dst, panel *byte, blocks int){
	Q4_0: unpackQ40AVX512, Q4_1: unpackQ41AVX512, Q5_0: unpackQ50AVX512, Q5_1: unpackQ51AVX512, Q4_K: unpackQ4KAVX512, Q5_K: unpackQ5KAVX512,
}

// useAMX says whether rows rows of a product with this format pass through tiles.
func useAMX(f Format, rows int) bool {
	return amxLevel && vecLevel == vecAVX512 && f.Quantised() && int(f) < len(amxProducts) && rows >= amxLeast*amxRows
}

// mulAMX computes what it can of panels [from, to) for rows [row, last): whole panels, rows in tiles of 16. It returns the panels and the rows past those done.
func (w *Matrix) mulAMX(y []float32, ldy int, in *Input, from, to, row, last int) (panels, rows int) {
	n := (min(last, in.m&^(rowTile-1)) - row) / amxRows
	to = min(to, w.N/PanelRows)
	if !useAMX(w.format, n*amxRows) || to <= from {
		return from, row
	}
	blocks, g := w.K/32, w.format.geometry()
	_, _ = y[(row+n*amxRows-1)*ldy+to*PanelRows-1], in.acts[(row+n*amxRows)*blocks-1]
	s := amxScratches.Get().(*amxScratch)
	for p := from; p < to; p++ {
		for b := 0; b < blocks; b += amxSpan {
			count := min(amxSpan, blocks-b)
			at, head := g.blockAt(b)
			if g.head > 0 {
				at = head
			}
			panel := &w.data[p*w.panel+at]
			codes, step := panel, g.block
			if w.format != Q8_0 {
				codes, step = &s.codes[0], 512
				amxUnpack[w.format](codes, panel, count)
			}
			for i := 0; i < n; i += amxCalls {
				first := row + i*amxRows
				act := (*byte)(unsafe.Pointer(&in.acts[first*blocks+b*rowTile]))
				amxProducts[w.format](&y[first*ldy+p*PanelRows], ldy, act, panel, codes, step, rowTile*blocks*actBytes, count, min(amxCalls, n-i), b, &s.slots[0])
			}
		}
	}
	amxScratches.Put(s)
	return to, row + n*amxRows
}
