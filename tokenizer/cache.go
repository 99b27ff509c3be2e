// This file remembers the tokens of words already cut, within fixed bounds. A cache belongs to one call at a time (it lives in
// a pooled scratch), so it needs no lock.

package tokenizer

import (
	"hash/maphash"
	"sync"
)

const (
	maxCached  = 64      // bytes of the longest word that is remembered
	cacheSlots = 1 << 14 // words remembered at most
	cacheBytes = 1 << 19 // bytes of their texts
	cacheIDs   = 1 << 17 // ids of their tokens
)

type cacheSlot struct {
	hash   uint64
	text   uint32 // offset
	ids    uint32 // offset
	length uint16 // of the text; 0 is an empty slot
	count  uint16 // of ids
}

// wordCache is direct-mapped; when a store is full everything is forgotten.
type wordCache struct {
	seed  maphash.Seed
	slots []cacheSlot
	text  []byte
	ids   []int32
}

// find gives the ids of a word, or nil and where put may store them.
func (c *wordCache) find(word string) (slot int, hash uint64, ids []int32) {
	if c.slots == nil {
		c.seed = maphash.MakeSeed()
		c.slots = make([]cacheSlot, cacheSlots)
	}
	hash = maphash.String(c.seed, word)
	slot = int(hash & (cacheSlots - 1))
	s := &c.slots[slot]
	if s.hash == hash && int(s.length) == len(word) && string(c.text[s.text:int(s.text)+len(word)]) == word {
		return slot, hash, c.ids[s.ids : s.ids+uint32(s.count)]
	}
	return slot, hash, nil
}

func (c *wordCache) put(slot int, hash uint64, word string, ids []int32) {
	if len(ids) == 0 || len(word) == 0 {
		return
	}
	if len(c.text)+len(word) > cacheBytes || len(c.ids)+len(ids) > cacheIDs {
		clear(c.slots)
		c.text, c.ids = c.text[:0], c.ids[:0]
	}
	c.slots[slot] = cacheSlot{hash: hash, text: uint32(len(c.text)), ids: uint32(len(c.ids)), length: uint16(len(word)), count: uint16(len(ids))}
	c.text = append(c.text, word...)
	c.ids = append(c.ids, ids...)
}

// scratch is the working memory of one call of Encode.
type scratch struct {
	sym   symbols
	words wordCache // whole words
	parts wordCache // parts of words
	chars []uint64  // parts that are one character of the plane
	ends  []int
	lat   lattice
	tmp   []int32
}

type scratchPool struct{ pool sync.Pool }

func (p *scratchPool) take() *scratch {
	if sc, ok := p.pool.Get().(*scratch); ok {
		return sc
	}
	return new(scratch)
}

// give keeps a scratch for the next call, unless one huge text has blown it up.
func (p *scratchPool) give(sc *scratch) {
	if cap(sc.sym.id) <= 1<<16 && cap(sc.ends) <= 1<<20 && cap(sc.lat.best) <= 1<<16 {
		p.pool.Put(sc)
	}
}
