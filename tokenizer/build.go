// This file builds the tables of a merge model from its vocabulary and merges. Published merges mostly make the tokens in the
// order of their ids, so the next id is tried before the hash table: a quarter of a million tokens load in tens of milliseconds.

package tokenizer

import (
	"fmt"

	"github.com/lowkeylm/lowkey/fault"
)

// build fills the tables. In byte-level BPE it rewrites the texts of the model's own tokens from GPT-2's alphabet to bytes.
// merges is nil for a model by score.
func (m *mergeModel) build(merges mergeSource) error {
	v := m.voc
	if m.byteLevel {
		spellOut(v)
	}
	m.fillIDs()
	if !m.byteLevel {
		m.adjacent = m.newAdjacency()
	}
	if merges != nil {
		if err := m.fillPairs(merges); err != nil {
			return err
		}
	}
	m.fillSymbols()
	return nil
}

// spellOut turns the texts of the model's own tokens into the bytes they spell. Texts outside GPT-2's alphabet stay as they are.
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
			arena = appendBytesOrText(arena, s)
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

func appendBytesOrText(dst []byte, s string) []byte {
	out, ok := appendBytes(dst, s)
	if !ok {
		out = append(dst, s...)
	}
	return out
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
func (m *mergeModel) fillPairs(merges mergeSource) error {
	n := merges.count()
	if n > maxVocab {
		return fault.New(fault.BadFile, "merges", fmt.Sprint(n, " merges"), fmt.Sprint("at most ", maxVocab), "")
	}
	m.pairs = newPairTable(n)
	m.ghostIDs = map[string]int32{}
	var buf []byte
	next := int32(0) // the id after the last merge's
	for rank := range n {
		left, right, ok := merges.at(rank)
		if !ok {
			continue
		}
		buf = buf[:0]
		var cut int
		if m.byteLevel {
			var ok1, ok2 bool
			buf, ok1 = appendBytes(buf, left)
			cut = len(buf)
			buf, ok2 = appendBytes(buf, right)
			if !ok1 || !ok2 {
				continue // such a symbol never comes out of a text
			}
		} else {
			buf = append(append(buf, left...), right...)
			cut = len(left)
		}
		a, b := m.symbolOrGhost(buf[:cut]), m.symbolOrGhost(buf[cut:])
		result := next
		if int(next) >= len(m.voc.text) || m.voc.text[next] != string(buf) || !m.voc.own[next] {
			result = m.symbolOrGhost(buf)
		}
		next = result + 1
		m.pairs.put(a, b, uint32(rank), result)
	}
	return nil
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
		for c := range m.ascii {
			m.ascii[c] = m.symbol(string([]byte{byte(c)}))
		}
		return
	}
	for b := range m.bytes {
		m.bytes[b] = m.symbol(string([]byte{byte(b)}))
	}
	m.bytePairs = make([]uint64, 1<<16)
	for a := range 256 {
		for b := range 256 {
			m.bytePairs[a<<8|b] = absent
			if m.bytes[a] >= 0 && m.bytes[b] >= 0 {
				m.bytePairs[a<<8|b] = m.pairs.get(m.bytes[a], m.bytes[b])
			}
		}
	}
}
