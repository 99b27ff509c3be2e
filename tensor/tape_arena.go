package tensor

// The tape's memory: large reservations outside the Go heap, cut from the front, with what came back kept by size. A step that takes the same sizes in the same
// order as the one before takes nothing new.

import (
	"unsafe"

	"github.com/lowkeylm/lowkey/kernel"
)

const arenaSlab = 256 << 20 // bytes of one reservation; what stays unwritten takes no memory

type arena[T float] struct {
	slabs     []*kernel.Mem
	at        []T // the rest of the slab in use
	next      int // slabs[next:] are untouched since reset
	back      map[int][][]T
	cut, peak int64 // bytes cut since reset, and the most of any step
}

// take returns n elements; their contents are undefined.
func (a *arena[T]) take(n int) []T {
	room := (max(n, 1) + 15) &^ 15 // a cache line or two
	if list := a.back[room]; len(list) > 0 {
		x := list[len(list)-1]
		a.back[room] = list[:len(list)-1]
		return x[:n]
	}
	for len(a.at) < room {
		a.grow(room)
	}
	x := a.at[:n:room]
	a.at = a.at[room:]
	a.cut += int64(room) * int64(unsafe.Sizeof(T(0)))
	a.peak = max(a.peak, a.cut)
	return x
}

// grow goes on to the next slab.
func (a *arena[T]) grow(room int) {
	if a.next == len(a.slabs) {
		m, err := kernel.Alloc(max(arenaSlab, int64(room)*int64(unsafe.Sizeof(T(0)))))
		if err != nil {
			panic(err) // the system refuses address space: nothing to be done within a step
		}
		a.slabs = append(a.slabs, m)
	}
	b := a.slabs[a.next].Bytes()
	a.next++
	a.at = unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(T(0))))
}

// give takes elements back.
func (a *arena[T]) give(x []T) {
	if x == nil {
		return
	}
	if a.back == nil {
		a.back = map[int][][]T{}
	}
	a.back[cap(x)] = append(a.back[cap(x)], x)
}

// reset takes everything back at once.
func (a *arena[T]) reset() {
	for n, list := range a.back {
		clear(list)
		a.back[n] = list[:0]
	}
	a.at, a.next, a.cut = nil, 0, 0
}

func (a *arena[T]) free() {
	for _, s := range a.slabs {
		s.Free()
	}
	a.slabs, a.at, a.back, a.next = nil, nil, nil, 0
}
