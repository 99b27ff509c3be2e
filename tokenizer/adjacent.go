// This file remembers which characters stand side by side in some token of a vocabulary, so that a text can be cut where no
// token could reach across, without changing what the merges make of it.

package tokenizer

import "unicode/utf8"

// adjacency is a set of pairs (end of the left character, start of the right one) kept as hashes: it may say yes wrongly,
// never no. Characters are packed bytes. A token of byte-level BPE may begin or end inside a character; such parts are entered
// as they are, and looked up by every length that was entered.
type adjacency struct {
	bits     [1 << 14]uint64 // 2^20 bits
	tails    [4]bool         // by length: tokens begin with so many bytes of a character that began before
	heads    [4]bool         // by length: tokens end with so many bytes of a character that goes on
	anyParts bool
}

// packed gives the bytes of the character of s at i as a number, and their count; a byte that is not UTF-8 gives noChar.
func packed(s string, i int) (char uint32, n int) {
	b := s[i]
	if b < utf8.RuneSelf {
		return uint32(b), 1
	}
	r, n := decode(s, i)
	if r == utf8.RuneError && n == 1 {
		return noChar, 1
	}
	for k := range n {
		char = char<<8 | uint32(s[i+k])
	}
	return char, n
}

// noChar joins with everything.
const noChar = 1

func adjacencyBit(left, right uint32) uint32 {
	return (left*0x9e3779b1 ^ (right*0x85ebca77)>>7 ^ right*0x27d4eb2f) * 0xc2b2ae3d >> 12
}

func (a *adjacency) set(left, right uint32) {
	h := adjacencyBit(left, right)
	a.bits[h>>6] |= 1 << (h & 63)
}

func (a *adjacency) has(left, right uint32) bool {
	h := adjacencyBit(left, right)
	return a.bits[h>>6]>>(h&63)&1 != 0
}

// add enters the places inside a token where a character starts.
func (a *adjacency) add(token string) {
	start := 0 // of the character, or part, that lies before i
	for i := 1; i < len(token); i++ {
		if !utf8.RuneStart(token[i]) {
			continue
		}
		if i-start <= 4 {
			end := i + 1
			for end < len(token) && end < i+4 && !utf8.RuneStart(token[end]) {
				end++
			}
			if !utf8.RuneStart(token[start]) && i-start < 4 {
				a.tails[i-start], a.anyParts = true, true
			}
			if end == len(token) && end-i < 4 && !utf8.FullRuneInString(token[i:end]) {
				a.heads[end-i], a.anyParts = true, true
			}
			a.set(pack(token[start:i]), pack(token[i:end]))
		}
		start = i
	}
}

func pack(s string) (v uint32) {
	for i := range len(s) {
		v = v<<8 | uint32(s[i])
	}
	return v
}

// mayJoin says whether some token could hold the end of the left character and the start of the right one. ln and rn are the
// lengths of the characters in bytes.
func (a *adjacency) mayJoin(left uint32, ln int, right uint32, rn int) bool {
	if left == noChar || right == noChar || a.has(left, right) {
		return true
	}
	if !a.anyParts {
		return false
	}
	for h := 0; h < rn; h++ { // h bytes of the right character; 0 stands for all
		if h > 0 && !a.heads[h] {
			continue
		}
		part := right
		if h > 0 {
			part = right >> (8 * (rn - h))
			if a.has(left, part) {
				return true
			}
		}
		for t := 1; t < ln; t++ {
			if a.tails[t] && a.has(left&(1<<(8*t)-1), part) {
				return true
			}
		}
	}
	return false
}

// newAdjacency enters every token that the model may make, and the symbols outside the vocabulary that its merges make.
func (m *mergeModel) newAdjacency() *adjacency {
	a := new(adjacency)
	for id, text := range m.voc.text {
		if m.voc.own[id] {
			a.add(text)
		}
	}
	for _, text := range m.ghosts {
		a.add(text)
	}
	return a
}

// byteAdjacent makes the set of byte-level BPE when a long word first needs it.
func (m *mergeModel) byteAdjacent() *adjacency {
	m.once.Do(func() { m.adjacent = m.newAdjacency() })
	return m.adjacent
}
