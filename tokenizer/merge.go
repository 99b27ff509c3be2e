// This file joins the symbols of one word into tokens: byte-pair encoding by merge rank (byte-level, or on characters with
// byte fallback) and SentencePiece's by score. Both merge the best adjacent pair first, the leftmost of equals. It does not
// cut the text into words.

package tokenizer

import (
	"math"
	"sync"
	"unicode/utf8"
)

// noRank is the rank of a pair that does not merge.
const noRank = math.MaxUint32

// noToken stands for a symbol that is no token.
const noToken int32 = -1

// mergeModel is BPE. It is not changed after loading.
type mergeModel struct {
	voc        *vocab
	byteLevel  bool // symbols start as bytes, else as characters
	byScore    bool // a pair merges if its text is a token, the highest score first; else pairs holds the merges
	whole      bool // a word that is a token is not cut further (ignore_merges)
	fuseUnk    bool // neighbouring unknowns are one
	ranks      []uint32
	pairs      mergeTable
	ghosts     []string         // texts of symbols that merges make but the vocabulary lacks; id = len(voc.text) + index
	ghostIDs   map[string]int32 // ... and back
	bytes      [256]int32       // the token of a byte: a symbol in byte-level BPE, the fallback elsewhere; or noToken
	fallback   bool             // characters that are no token become byte tokens
	chars      []int32          // the symbol of a character of the plane where symbols are characters
	unk        int32
	adjacent   *adjacency // which characters stand side by side in a token; byte-level: made when first needed
	once       sync.Once
	ready      chan struct{} // closed when the merges are in; nil if there are none
	asciiPairs []rankedPair  // pair of two ASCII characters, at first<<7 | second, where symbols are characters
	bytePairs  []uint32      // the rank of the symbols of two bytes, at first<<8 | second, or noRank; byte-level only
}

// rankedPair is what pair gives.
type rankedPair struct {
	rank   uint32
	result int32
}

// symbols is the working state of one word: parallel arrays by position.
type symbols struct {
	start      []int32  // byte offset in the word; one more at the end
	id         []int32  // token, ghost or noToken
	rank       []uint32 // of the pair that starts here
	merged     []int32  // what that pair becomes
	prev, next []int32
	heap       []uint64
	memo       []pairSlot // what scored gave, by a hash of the two symbols: their text need not be looked up again. A newer pair takes the place of an older one
}

const memoBits = 14

func (m *mergeModel) encode(sc *scratch, out []int32, text string) []int32 {
	if m.byteLevel {
		if len(text) == 1 {
			if id := m.bytes[text[0]]; uint32(id) < uint32(len(m.voc.text)) {
				return append(out, id)
			}
		}
		if len(text) <= maxWhole || isASCII(text) {
			return m.encodeWord(sc, &sc.words, out, text, m.whole)
		}
		if m.whole {
			if id, ok := m.voc.id(text); ok {
				return append(out, id)
			}
		}
		return m.encodeParts(sc, out, text, m.byteAdjacent())
	}
	if m.whole {
		if id, ok := m.voc.id(text); ok {
			return append(out, id)
		}
	}
	return m.encodeParts(sc, out, text, m.adjacent)
}

// maxWhole is the length in bytes up to which a byte-level word goes to the cache as it is: longer ones seldom come twice.
const maxWhole = 24

// encodeParts cuts a text where two characters meet that stand side by side in no token. No merge ever crosses such a place,
// so cutting there changes nothing, and leaves short words which the cache knows.
func (m *mergeModel) encodeParts(sc *scratch, out []int32, text string, side *adjacency) []int32 {
	from := len(out)
	start, last := 0, -1
	var before uint32
	for i := 0; i < len(text); {
		char, n := packed(text, i)
		if last >= 0 && !side.mayJoin(before, i-last, char, n) {
			out = m.encodePart(sc, out, text[start:i], from)
			start = i
		}
		before, last = char, i
		i += n
	}
	return m.encodePart(sc, out, text[start:], from)
}

// encodePart encodes a part of a text whose tokens start at from: a row of unknowns may go on from part to part.
func (m *mergeModel) encodePart(sc *scratch, out []int32, part string, from int) []int32 {
	at := len(out)
	if r, ok := soleChar(part); ok {
		out = m.encodeChar(sc, out, r, part)
	} else {
		out = m.encodeWord(sc, &sc.parts, out, part, false)
	}
	if m.fuseUnk && at > from && at < len(out) && out[at] == m.unk && out[at-1] == m.unk {
		out = append(out[:at], out[at+1:]...)
	}
	return out
}

// encodeChar encodes a part that is the character r alone, as most of Chinese is. Its tokens are remembered in a place of their own, 21 bits each, the first lowest.
func (m *mergeModel) encodeChar(sc *scratch, out []int32, r rune, char string) []int32 {
	if sc.chars == nil {
		sc.chars = make([]uint64, plane)
	}
	if v := sc.chars[r]; v != 0 {
		for ; v != 0; v >>= 21 {
			out = append(out, int32(v&(1<<21-1))-1)
		}
		return out
	}
	from := len(out)
	out = m.mergeWord(&sc.sym, out, char, false)
	if ids := out[from:]; len(ids) <= 3 {
		v := uint64(0)
		for k, id := range ids {
			if id >= 1<<21-1 {
				return out
			}
			v |= uint64(id+1) << (21 * k)
		}
		sc.chars[r] = v
	}
	return out
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// encodeWord looks a word up among those that came before, else merges it. whole says that a word which is a token is taken as
// it is; it must be the same for all words of one cache.
func (m *mergeModel) encodeWord(sc *scratch, cache *wordCache, out []int32, word string, whole bool) []int32 {
	if len(word) > maxCached {
		return m.mergeWord(&sc.sym, out, word, whole)
	}
	slot, hash, ids := cache.find(word)
	if ids != nil {
		return append(out, ids...)
	}
	from := len(out)
	out = m.mergeWord(&sc.sym, out, word, whole)
	cache.put(slot, hash, word, out[from:])
	return out
}

func (m *mergeModel) mergeWord(s *symbols, out []int32, word string, whole bool) []int32 {
	if whole {
		if id, ok := m.voc.id(word); ok {
			return append(out, id)
		}
	}
	m.start(s, word)
	if len(s.id) <= maxShort {
		m.mergeShort(s, word)
	} else {
		m.mergeLong(s, word)
	}
	return m.emit(s, out, word)
}

// start fills the arrays with the symbols of a word: its bytes or its characters.
func (m *mergeModel) start(s *symbols, word string) {
	if m.byScore && s.memo == nil {
		s.memo = make([]pairSlot, 1<<memoBits)
	}
	s.start, s.id = s.start[:0], s.id[:0]
	if m.byteLevel {
		for i := range len(word) {
			s.start = append(s.start, int32(i))
			s.id = append(s.id, m.bytes[word[i]])
		}
	} else {
		for i := 0; i < len(word); {
			id := noToken
			r, n := decode(word, i)
			if inPlane(r, n) {
				id = m.chars[r]
			} else {
				id = m.symbol(word[i : i+n])
			}
			s.start = append(s.start, int32(i))
			s.id = append(s.id, id)
			i += n
		}
	}
	s.start = append(s.start, int32(len(word)))
	n := len(s.id)
	if cap(s.rank) < n {
		s.rank = make([]uint32, n, 2*n)
		s.merged = make([]int32, n, 2*n)
	}
	s.rank, s.merged = s.rank[:n], s.merged[:n]
	if m.bytePairs != nil {
		for i := 0; i+1 < n; i++ {
			r := m.bytePairs[int(word[i])<<8|int(word[i+1])]
			s.rank[i] = r
			if r != noRank {
				s.merged[i] = m.pairs.merges[r].result
			}
		}
	} else {
		for i := 0; i+1 < n; i++ {
			if a, b := word[s.start[i]], word[s.start[i+1]]; a|b < utf8.RuneSelf {
				p := &m.asciiPairs[int(a)<<7|int(b)]
				s.rank[i], s.merged[i] = p.rank, p.result
				continue
			}
			s.rank[i], s.merged[i] = m.pair(s, s.id[i], s.id[i+1], word[s.start[i]:s.start[i+2]])
		}
	}
	if n > 0 {
		s.rank[n-1] = noRank
	}
}

// symbol gives the token or ghost of a text, or noToken.
func (m *mergeModel) symbol(text string) int32 {
	if id, ok := m.voc.id(text); ok {
		return id
	}
	if id, ok := m.ghostIDs[text]; ok {
		return id
	}
	return noToken
}

// pair gives the rank and the result of merging two neighbours whose texts together are text.
func (m *mergeModel) pair(s *symbols, left, right int32, text string) (uint32, int32) {
	if !m.byScore {
		if left < 0 || right < 0 {
			return noRank, noToken
		}
		return m.pairs.get(left, right)
	}
	if left < 0 || right < 0 {
		return m.scored(text)
	}
	key := pairKey(left, right)
	slot := &s.memo[key*0x9e3779b97f4a7c15>>(64-memoBits)]
	if slot.key != key {
		rank, result := m.scored(text)
		*slot = pairSlot{key, uint64(rank)<<32 | uint64(uint32(result))}
		return rank, result
	}
	return uint32(slot.value >> 32), int32(uint32(slot.value))
}

// scored is pair where a pair merges if its text is a token.
func (m *mergeModel) scored(text string) (uint32, int32) {
	if id, ok := m.voc.id(text); ok {
		return m.ranks[id], id
	}
	return noRank, noToken
}

// maxShort is up to how many symbols mergeShort is faster than mergeLong.
const maxShort = 96

// mergeShort scans for the best pair each time: quadratic, but fastest for words. A key is rank<<32 | position, so that the least one is the leftmost of the best; symbols that were merged away stay
// where they are, with a key that is never least.
func (m *mergeModel) mergeShort(s *symbols, word string) {
	const never = noRank<<32 | noRank
	n := len(s.id)
	keys, prev, next := s.heap[:0], s.prev[:0], s.next[:0]
	for i, r := range s.rank[:n] {
		keys, prev, next = append(keys, uint64(r)<<32|uint64(i)), append(prev, int32(i-1)), append(next, int32(i+1))
	}
	for len(keys)%4 != 0 {
		keys = append(keys, never)
	}
	s.heap, s.prev, s.next = keys, prev, next
	for {
		a, b := uint64(never), uint64(never)
		for k := keys; len(k) >= 4; k = k[4:] {
			a, b = min(a, k[0], k[2]), min(b, k[1], k[3])
		}
		a = min(a, b)
		if a>>32 == noRank {
			break
		}
		i := int(uint32(a))
		gone := next[i]
		after := int(next[gone])
		keys[gone] = never
		next[i] = int32(after)
		s.id[i] = s.merged[i]
		rank := uint32(noRank)
		if after < n {
			prev[after] = int32(i)
			rank, s.merged[i] = m.pair(s, s.id[i], s.id[after], word[s.start[i]:s.start[next[after]]])
		}
		keys[i] = uint64(rank)<<32 | uint64(i)
		if i > 0 {
			p := int(prev[i])
			rank, s.merged[p] = m.pair(s, s.id[p], s.id[i], word[s.start[p]:s.start[after]])
			keys[p] = uint64(rank)<<32 | uint64(p)
		}
	}
	count := 0
	for i := 0; i < n; i = int(next[i]) {
		s.id[count], s.start[count] = s.id[i], s.start[i]
		count++
	}
	s.start[count] = int32(len(word))
	s.id, s.start = s.id[:count], s.start[:count+1]
}

// mergeLong keeps the pairs in a heap and the symbols in a linked list: n log n for any text.
// A heap entry is rank<<32 | position; it is stale if the pair there has another rank by now. A pair that was replaced by one
// of the same rank is the same pair of tokens, so the entry still holds.
func (m *mergeModel) mergeLong(s *symbols, word string) {
	n := len(s.id)
	s.prev, s.next = s.prev[:0], s.next[:0]
	s.heap = s.heap[:0]
	for i := range n {
		s.prev = append(s.prev, int32(i-1))
		s.next = append(s.next, int32(i+1))
		if s.rank[i] != noRank {
			s.heap = append(s.heap, uint64(s.rank[i])<<32|uint64(i))
		}
	}
	heapInit(s.heap)
	// update recomputes the pair at i after a change.
	update := func(i int32) {
		j := s.next[i]
		if int(j) >= n {
			s.rank[i] = noRank
			return
		}
		end := int32(len(word))
		if k := s.next[j]; int(k) < n {
			end = s.start[k]
		}
		s.rank[i], s.merged[i] = m.pair(s, s.id[i], s.id[j], word[s.start[i]:end])
		if s.rank[i] != noRank {
			s.heap = heapPush(s.heap, uint64(s.rank[i])<<32|uint64(i))
		}
	}
	for len(s.heap) > 0 {
		e := s.heap[0]
		s.heap = heapPop(s.heap)
		i := int32(uint32(e))
		if s.rank[i] != uint32(e>>32) {
			continue
		}
		j := s.next[i]
		s.id[i] = s.merged[i]
		s.rank[j] = noRank
		s.next[i] = s.next[j]
		if k := s.next[j]; int(k) < n {
			s.prev[k] = i
		}
		update(i)
		if p := s.prev[i]; p >= 0 {
			update(p)
		}
	}
	// Close the gaps.
	count := 0
	for i := 0; i < n; i = int(s.next[i]) {
		s.id[count], s.start[count] = s.id[i], s.start[i]
		count++
	}
	s.start[count] = int32(len(word))
	s.id, s.start = s.id[:count], s.start[:count+1]
}

// emit appends the tokens of the symbols; what is no token falls back to bytes or to the unknown token.
func (m *mergeModel) emit(s *symbols, out []int32, word string) []int32 {
	from := len(out)
	for i, id := range s.id {
		if uint32(id) < uint32(len(m.voc.text)) {
			out = append(out, id)
			continue
		}
		out = m.spell(out, word[s.start[i]:s.start[i+1]], from)
	}
	return out
}

// spell appends a text that is no token: byte by byte in byte-level BPE, else by characters, bytes or unknowns.
// from is where the word starts in out.
func (m *mergeModel) spell(out []int32, text string, from int) []int32 {
	if m.byteLevel {
		for i := range len(text) {
			if id := m.bytes[text[i]]; uint32(id) < uint32(len(m.voc.text)) {
				out = append(out, id)
			} else {
				out = m.appendUnknown(out, from)
			}
		}
		return out
	}
	for i := 0; i < len(text); {
		n := runeLen(text, i)
		char := text[i : i+n]
		i += n
		if id, ok := m.voc.id(char); ok {
			out = append(out, id)
			continue
		}
		out = m.spellBytes(out, char, from)
	}
	return out
}

// spellBytes appends a character as byte tokens if there is one for every byte, else as unknown.
func (m *mergeModel) spellBytes(out []int32, char string, from int) []int32 {
	if !m.fallback {
		return m.appendUnknown(out, from)
	}
	for i := range len(char) {
		if m.bytes[char[i]] == noToken {
			return m.appendUnknown(out, from)
		}
	}
	for i := range len(char) {
		out = append(out, m.bytes[char[i]])
	}
	return out
}

func (m *mergeModel) appendUnknown(out []int32, from int) []int32 {
	if m.unk == noToken || m.fuseUnk && len(out) > from && out[len(out)-1] == m.unk {
		return out
	}
	return append(out, m.unk)
}

// rankOfScore maps scores to ranks so that the highest score has the lowest rank.
func rankOfScore(score float32) uint32 {
	if score != score {
		return noRank - 1
	}
	b := math.Float32bits(-score)
	if b>>31 != 0 {
		b = ^b
	} else {
		b |= 1 << 31
	}
	return min(b, noRank-1)
}
