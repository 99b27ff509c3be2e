// This file builds the tables of a merge model from its vocabulary and merges. Published merges mostly make the tokens in the
// order of their ids, so the next id is tried before the hash table: a quarter of a million tokens load in tens of milliseconds.

package tokenizer

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/lowkeylm/lowkey/fault"
)

// build fills the tables. In byte-level BPE it rewrites the texts of the model's own tokens from GPT-2's alphabet to bytes.
// merges is nil for a model by score. Words may be encoded after wait.
func (m *mergeModel) build(merges mergeSource) error {
	v := m.voc
	if m.byteLevel {
		spellOut(v)
	}
	m.fillIDs()
	if !m.byteLevel {
		m.adjacent = m.newAdjacency()
	}
	if merges == nil {
		m.fillSymbols()
		return nil
	}
	if n := merges.count(); n >= maxVocab {
		return fault.New(fault.BadFile, "merges", fmt.Sprint(n, " merges"), fmt.Sprint("less than ", maxVocab), "")
	}
	// The merges are entered while the caller goes on loading the model; nothing there can fail any more.
	m.ready = make(chan struct{})
	go func() {
		defer close(m.ready)
		m.fillPairs(merges)
		m.fillSymbols()
	}()
	return nil
}

// wait returns when the tables are complete.
func (m *mergeModel) wait() {
	if m.ready != nil {
		<-m.ready
	}
}

// spellOut turns the texts of the model's own tokens into the bytes they spell. A text outside GPT-2's alphabet stays as it is and is no longer the model's: no merge makes it, and the token that its bytes spell is another one.
func spellOut(v *vocab) {
	size := 0
	for id, s := range v.text {
		if v.own[id] {
			size += len(s)
		}
	}
	arena := make([]byte, 0, size)
	ends := make([]int, len(v.text))
	for id, s := range v.text {
		if v.own[id] {
			arena, v.own[id] = appendBytes(arena, s)
		}
		ends[id] = len(arena)
	}
	all := string(arena)
	start := 0
	for id := range v.text {
		if v.own[id] {
			v.text[id] = all[start:ends[id]]
		}
		start = ends[id]
	}
}

// fillIDs builds the table from texts to ids, and the byte tokens.
func (m *mergeModel) fillIDs() {
	v := m.voc
	for b := range m.bytes {
		m.bytes[b] = noToken
	}
	v.ids = newStringTable(v.text, len(v.text))
	for id := range v.text {
		if v.own[id] && v.text[id] != "" {
			v.ids.put(int32(id))
		} else if v.kind[id] == byteToken && !m.byteLevel {
			if b, ok := hexByte(v.text[id]); ok {
				m.bytes[b] = int32(id)
			}
		}
	}
}

// fillPairs enters the merges.
func (m *mergeModel) fillPairs(merges mergeSource) {
	n := merges.count()
	// Finding the symbols waits for memory most of the time, so it is shared out; what the vocabulary lacks is left over.
	list := make([]merge, n)
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), 8, n/4096+1)
	for w := range workers {
		wg.Go(func() { m.findSymbols(merges, list, n*w/workers, n*(w+1)/workers) })
	}
	wg.Wait()
	m.ghostIDs = map[string]int32{}
	var buf []byte
	for rank := range list {
		e := &list[rank]
		if e.left >= 0 && e.right >= 0 && e.result >= 0 {
			continue
		}
		var cut int
		var ok bool
		if buf, cut, ok = m.spellMerge(buf[:0], merges, rank); !ok {
			e.left = noToken
			continue
		}
		e.left, e.right, e.result = m.symbolOrGhost(buf[:cut]), m.symbolOrGhost(buf[cut:]), m.symbolOrGhost(buf)
	}
	m.pairs = newMergeTable(list)
}

// findSymbols fills list[from:to] with the tokens of the merges; noToken for texts outside the vocabulary.
func (m *mergeModel) findSymbols(merges mergeSource, list []merge, from, to int) {
	find := func(text []byte) int32 {
		if id, ok := m.voc.ids.getBytes(text); ok {
			return id
		}
		return noToken
	}
	var buf []byte
	next := int32(0) // the id after the last result
	for rank := from; rank < to; rank++ {
		e := &list[rank]
		var cut int
		var ok bool
		if buf, cut, ok = m.spellMerge(buf[:0], merges, rank); !ok {
			*e = merge{noToken, noToken, noToken}
			continue
		}
		e.left, e.right, e.result = find(buf[:cut]), find(buf[cut:]), next
		if int(next) >= len(m.voc.text) || m.voc.text[next] != string(buf) || !m.voc.own[next] {
			e.result = find(buf)
		}
		next = e.result + 1
	}
}

// spellMerge appends the bytes of both symbols of a merge; cut is where the second starts. ok is false for a merge that can
// never come out of a text.
func (m *mergeModel) spellMerge(buf []byte, merges mergeSource, rank int) (out []byte, cut int, ok bool) {
	left, right, ok := merges.at(rank)
	if !ok {
		return buf, 0, false
	}
	if !m.byteLevel {
		buf = append(buf, left...)
		return append(buf, right...), len(left), true
	}
	if buf, ok = appendBytes(buf, left); !ok {
		return buf, 0, false
	}
	cut = len(buf)
	buf, ok = appendBytes(buf, right)
	return buf, cut, ok
}

// symbolOrGhost gives the token with these bytes, or a new symbol outside the vocabulary.
func (m *mergeModel) symbolOrGhost(text []byte) int32 {
	if id, ok := m.voc.ids.getBytes(text); ok {
		return id
	}
	if id, ok := m.ghostIDs[string(text)]; ok {
		return id
	}
	id := int32(len(m.voc.text) + len(m.ghosts))
	m.ghosts = append(m.ghosts, string(text))
	m.ghostIDs[string(text)] = id
	if m.adjacent != nil {
		m.adjacent.add(string(text))
	}
	return id
}

// fillSymbols finds the symbols that words start from.
func (m *mergeModel) fillSymbols() {
	if !m.byteLevel {
		m.chars = make([]int32, plane)
		for c := range m.chars {
			m.chars[c] = noToken
		}
		for _, texts := range [][]string{m.voc.text, m.ghosts} {
			for _, text := range texts {
				if r, ok := soleChar(text); ok {
					m.chars[r] = m.symbol(text)
				}
			}
		}
		m.asciiPairs = make([]rankedPair, 1<<14)
		s := &symbols{memo: make([]pairSlot, 1<<memoBits)}
		for i := range m.asciiPairs {
			a, b := byte(i>>7), byte(i&127)
			p := &m.asciiPairs[i]
			p.rank, p.result = m.pair(s, m.chars[a], m.chars[b], string([]byte{a, b}))
		}
		return
	}
	for b := range m.bytes {
		m.bytes[b] = m.symbol(string([]byte{byte(b)}))
	}
	m.bytePairs = make([]uint32, 1<<16)
	for a := range 256 {
		for b := range 256 {
			m.bytePairs[a<<8|b] = noRank
			if m.bytes[a] >= 0 && m.bytes[b] >= 0 {
				m.bytePairs[a<<8|b], _ = m.pairs.get(m.bytes[a], m.bytes[b])
			}
		}
	}
}
