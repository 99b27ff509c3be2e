// This file holds two open-addressing hash tables from pairs of numbers: the merges of BPE, and the trie of a unigram model.

package tokenizer

import (
	"math"
	"math/bits"
)

// merge is one merge; its rank is its place in the list.
type merge struct{ left, right, result int32 }

// mergeTable finds a merge by its two symbols. A slot holds the place in the list plus one, and 8 bits of the hash above. Most pairs that are looked up do not merge: eight bits of a filter for each merge,
// of which one is set, are small enough for a near cache, and say so for seven of eight.
type mergeTable struct {
	merges []merge
	slots  []uint32
	filter []uint64
	shift  uint
}

func newMergeTable(merges []merge) mergeTable {
	width := bits.Len(uint(max(len(merges), 4)*2 - 1))
	t := mergeTable{merges: merges, slots: make([]uint32, 1<<width), filter: make([]uint64, (1<<width+15)/16), shift: uint(64 - width)}
	for rank := range merges {
		t.put(rank)
	}
	return t
}

func (t *mergeTable) hash(left, right int32) (slot int, tag uint32, bit uint64) {
	h := (uint64(uint32(left))<<32 | uint64(uint32(right))) * 0x9e3779b97f4a7c15
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	return int(h >> t.shift), uint32(h) & (0xff << placeBits), h >> (t.shift - 2)
}

const placeBits = 24 // maxVocab merges at most

// put enters merges[rank]; of two with the same symbols the first stays.
func (t *mergeTable) put(rank int) {
	m := &t.merges[rank]
	if m.left < 0 || m.right < 0 {
		return
	}
	mask := len(t.slots) - 1
	i, tag, bit := t.hash(m.left, m.right)
	t.filter[bit>>6] |= 1 << (bit & 63)
	for ; ; i = (i + 1) & mask {
		v := t.slots[i]
		if v == 0 {
			t.slots[i] = uint32(rank+1) | tag
			return
		}
		if v&^(1<<placeBits-1) == tag {
			if o := &t.merges[v&(1<<placeBits-1)-1]; o.left == m.left && o.right == m.right {
				return
			}
		}
	}
}

// get gives the rank and the result of merging two symbols, or noRank and noToken.
func (t *mergeTable) get(left, right int32) (rank uint32, result int32) {
	mask := len(t.slots) - 1
	i, tag, bit := t.hash(left, right)
	if t.filter[bit>>6]>>(bit&63)&1 == 0 {
		return noRank, noToken
	}
	for ; ; i = (i + 1) & mask {
		v := t.slots[i]
		if v == 0 {
			return noRank, noToken
		}
		if v&^(1<<placeBits-1) == tag {
			rank = v&(1<<placeBits-1) - 1
			if o := &t.merges[rank]; o.left == left && o.right == right {
				return rank, o.result
			}
		}
	}
}

// pairTable is an open-addressing hash table from two symbols to rank<<32 | result.
type pairTable struct {
	slots []pairSlot
	shift uint
}

type pairSlot struct{ key, value uint64 }

// absent is what get gives for a pair that does not merge: noRank and noToken.
const absent = math.MaxUint64

func newPairTable(n int) pairTable {
	width := bits.Len(uint(max(n, 4)*2 - 1))
	return pairTable{slots: make([]pairSlot, 1<<width), shift: uint(64 - width)}
}

func pairKey(left, right int32) uint64 {
	return (uint64(uint32(left))<<32 | uint64(uint32(right))) + 1 // 0 is an empty slot
}

// slot gives the place of a pair, made with the value absent if it is not there.
func (t *pairTable) slot(left, right int32) *pairSlot {
	key := pairKey(left, right)
	mask := len(t.slots) - 1
	for i := int(key * 0x9e3779b97f4a7c15 >> t.shift); ; i = (i + 1) & mask {
		switch t.slots[i].key {
		case 0:
			t.slots[i] = pairSlot{key, absent}
			return &t.slots[i]
		case key:
			return &t.slots[i]
		}
	}
}

func (t *pairTable) get(left, right int32) uint64 {
	key := pairKey(left, right)
	mask := len(t.slots) - 1
	for i := int(key * 0x9e3779b97f4a7c15 >> t.shift); ; i = (i + 1) & mask {
		switch t.slots[i].key {
		case 0:
			return absent
		case key:
			return t.slots[i].value
		}
	}
}
