package kvcache

// The arena: one reservation of the whole budget, cut into equal chunks; a chunk is given to a size class (the page size of some lanes) when that class
// runs dry, and comes back when its last page does. Address space is reserved at once; memory is taken when pages are written.

import (
	"slices"

	"github.com/lowkeylm/lowkey/kernel"
)

type arena struct {
	mem       *kernel.Mem
	buf       []byte
	chunkSize int
	chunks    []chunk
	free      []int32 // chunks without a class
	classes   map[int]*class
	sizes     []*class // the same, in the order of first use
	inUse     int64    // bytes of pages that are referenced
	minPage   int
	refs      []int32 // one per possible page: chunk * maxPages + page
	maxPages  int
}

type chunk struct {
	class *class
	used  int
}

type class struct {
	pageBytes int
	perChunk  int
	free      []uint32 // offsets in kernel.PageUnit
}

// ChunkSize is the size of an arena's chunks: some 2 MiB (64 KiB where the budget is below smallBudget), whole pages where all have one size, larger where a page is.
func ChunkSize(budget int64, pageSizes []int) int {
	size := 64 << 10
	if budget >= smallBudget {
		size = 2 << 20
	}
	most := slices.Max(pageSizes)
	if slices.Min(pageSizes) == most {
		return max(1, size/most) * most
	}
	return max(size, (most+65535)>>16<<16)
}

const smallBudget = 64 << 20

// newArena reserves budget bytes for pages of these sizes.
func newArena(budget int64, pageSizes []int) (*arena, error) {
	chunkSize, minPage := ChunkSize(budget, pageSizes), slices.Min(pageSizes)
	n := int(budget / int64(chunkSize))
	mem, err := kernel.Alloc(int64(n) * int64(chunkSize))
	if err != nil {
		return nil, err
	}
	a := &arena{mem: mem, buf: mem.Bytes(), chunkSize: chunkSize, chunks: make([]chunk, n), classes: map[int]*class{}, minPage: minPage}
	a.maxPages = chunkSize / minPage
	a.refs = make([]int32, n*a.maxPages)
	for i := n - 1; i >= 0; i-- {
		a.free = append(a.free, int32(i))
	}
	for _, size := range pageSizes {
		if a.classes[size] == nil {
			c := a.newClass(size)
			c.free = make([]uint32, 0, n*c.perChunk)
			a.classes[size] = c
			a.sizes = append(a.sizes, c)
		}
	}
	return a, nil
}

// newClass makes a class whose chunks hold nothing else.
func (a *arena) newClass(size int) *class {
	return &class{pageBytes: size, perChunk: a.chunkSize / size}
}

// get takes a page of the class of its size; ok is false when the budget is spent.
func (a *arena) get(size int) (page uint32, ok bool) { return a.take(a.classes[size]) }

func (a *arena) take(c *class) (page uint32, ok bool) {
	if len(c.free) == 0 {
		if len(a.free) == 0 {
			return 0, false
		}
		i := a.free[len(a.free)-1]
		a.free = a.free[:len(a.free)-1]
		a.chunks[i] = chunk{class: c}
		for p := c.perChunk - 1; p >= 0; p-- {
			c.free = append(c.free, uint32((int(i)*a.chunkSize+p*c.pageBytes)/kernel.PageUnit))
		}
	}
	page = c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	ch, ref := a.locate(page)
	ch.used++
	*ref = 1
	a.inUse += int64(c.pageBytes)
	return page, true
}

func (a *arena) locate(page uint32) (*chunk, *int32) {
	off := int(page) * kernel.PageUnit
	i := off / a.chunkSize
	ch := &a.chunks[i]
	return ch, &a.refs[i*a.maxPages+(off-i*a.chunkSize)/ch.class.pageBytes]
}

func (a *arena) share(page uint32) {
	_, ref := a.locate(page)
	*ref++
}

func (a *arena) shared(page uint32) bool {
	_, ref := a.locate(page)
	return *ref > 1
}

// put gives one reference back; the page is free when none is left.
func (a *arena) put(page uint32) {
	ch, ref := a.locate(page)
	*ref--
	if *ref > 0 {
		return
	}
	c := ch.class
	a.inUse -= int64(c.pageBytes)
	c.free = append(c.free, page)
	ch.used--
	if ch.used > 0 {
		return
	}
	i := int(page) * kernel.PageUnit / a.chunkSize
	lo, hi := uint32(i*a.chunkSize/kernel.PageUnit), uint32((i+1)*a.chunkSize/kernel.PageUnit)
	kept := c.free[:0]
	for _, p := range c.free {
		if p < lo || p >= hi {
			kept = append(kept, p)
		}
	}
	c.free = kept
	*ch = chunk{}
	a.free = append(a.free, int32(i))
	a.mem.Release(i*a.chunkSize, (i+1)*a.chunkSize)
}

func (a *arena) page(p uint32, size int) []byte { return a.buf[int(p)*kernel.PageUnit:][:size] }

// held is what the chunks given to classes take; waste the part of it that no page can use.
func (a *arena) held() (held, waste int64) {
	for i := range a.chunks {
		if c := a.chunks[i].class; c != nil {
			held += int64(a.chunkSize)
			waste += int64(a.chunkSize - c.perChunk*c.pageBytes)
		}
	}
	return held, waste
}
