// This file finds the most probable tokens of a text under a unigram model (SentencePiece's other kind): the path through the
// text with the highest sum of scores, by Viterbi. It does not train, sample or give n-best lists.

package tokenizer

import "math"

// unigram is the model. It is not changed after loading.
type unigram struct {
	voc      *vocab
	scores   []float64 // by id
	trie     pairTable // (node, byte) -> token + 1 and next node
	unkScore float64
	unk      int32
	fallback bool // unknown characters become byte tokens if every byte has one
	bytes    [256]int32
	adjacent *adjacency
}

// unkPenalty is how far below the worst token an unknown character scores, in SentencePiece and Hugging Face alike.
const unkPenalty = 10

// newUnigram builds the model; scores are by id for the first len(scores) ids.
func newUnigram(v *vocab, scores []float64, unk int32, fallback bool) *unigram {
	m := &unigram{voc: v, scores: scores, unk: unk, fallback: fallback, adjacent: new(adjacency)}
	for b := range m.bytes {
		m.bytes[b] = noToken
	}
	size := 0
	v.ids = newStringTable(v.text, len(v.text))
	low := math.Inf(1)
	for id, text := range v.text {
		if v.kind[id] == byteToken {
			if b, ok := hexByte(text); ok {
				m.bytes[b] = int32(id)
			}
		}
		if id < len(scores) {
			low = math.Min(low, scores[id])
		}
		if m.usable(id) && v.ids.put(int32(id)) {
			size += len(text)
			m.adjacent.add(text)
		}
	}
	m.unkScore = low - unkPenalty
	m.trie = newPairTable(size)
	nodes := int32(1)
	for id, text := range v.text {
		if !m.usable(id) {
			continue
		}
		node := int32(0)
		for i := range len(text) {
			slot := m.trie.slot(node, int32(text[i]))
			if slot.value == absent {
				slot.value = uint64(uint32(nodes))
				nodes++
			}
			node = int32(uint32(slot.value))
			if i+1 == len(text) && slot.value>>32 == 0 {
				slot.value |= uint64(id+1) << 32
			}
		}
	}
	return m
}

// wait returns at once: the tables are built at loading.
func (m *unigram) wait() {}

func (m *unigram) usable(id int) bool {
	return id < len(m.scores) && m.voc.own[id] && m.voc.text[id] != ""
}

// lattice holds the best way to every place of a text.
type lattice struct {
	best []latticeEnd
}

type latticeEnd struct {
	score float64
	from  int32
	token int32
}

func (m *unigram) encode(sc *scratch, out []int32, text string) []int32 {
	// Where no token reaches across, the best path has a boundary: the parts can be solved alone.
	start, last := 0, -1
	var before uint32
	from := len(out)
	for i := 0; i < len(text); {
		char, n := packed(text, i)
		if last >= 0 && !m.adjacent.mayJoin(before, i-last, char, n) {
			out = m.encodePart(sc, out, text[start:i], from)
			start = i
		}
		before, last = char, i
		i += n
	}
	if start < len(text) {
		out = m.encodePart(sc, out, text[start:], from)
	}
	return out
}

// encodePart solves one part; from is where the text that it belongs to starts in out.
func (m *unigram) encodePart(sc *scratch, out []int32, part string, from int) []int32 {
	if len(part) > maxCached {
		return m.join(out, m.solve(sc, nil, part), from)
	}
	slot, hash, ids := sc.parts.find(part)
	if ids == nil {
		// What is not a token stands in the cache as ^byte: bytes or the unknown token depend on what is around.
		sc.tmp = m.solve(sc, sc.tmp[:0], part)
		ids = sc.tmp
		sc.parts.put(slot, hash, part, ids)
	}
	return m.join(out, ids, from)
}

// join appends solved tokens, unknown characters as byte tokens or as one unknown token for a row of them.
func (m *unigram) join(out, ids []int32, from int) []int32 {
	for i := 0; i < len(ids); {
		if ids[i] >= 0 {
			out = append(out, ids[i])
			i++
			continue
		}
		// A row of unknown characters of this part.
		end := i
		all := m.fallback
		for end < len(ids) && ids[end] < 0 {
			all = all && m.bytes[^ids[end]] != noToken
			end++
		}
		switch {
		case all:
			for _, b := range ids[i:end] {
				out = append(out, m.bytes[^b])
			}
		case m.unk != noToken && (len(out) == from || out[len(out)-1] != m.unk):
			out = append(out, m.unk)
		}
		i = end
	}
	return out
}

// solve appends the tokens of the best path; unknown characters as ^byte for each of their bytes.
func (m *unigram) solve(sc *scratch, out []int32, s string) []int32 {
	l := &sc.lat
	if cap(l.best) < len(s)+1 {
		l.best = make([]latticeEnd, len(s)+1, 2*len(s)+2)
	}
	best := l.best[:len(s)+1]
	for i := range best {
		best[i] = latticeEnd{score: math.Inf(-1), token: noToken}
	}
	best[0].score = 0
	for i := 0; i < len(s); {
		n := runeLen(s, i)
		single := false
		node := int32(0)
		for j := i; j < len(s); j++ {
			v := m.trie.get(node, int32(s[j]))
			if v == absent {
				break
			}
			node = int32(uint32(v))
			if v>>32 == 0 {
				continue
			}
			id := int32(v>>32) - 1
			if j+1-i == n {
				single = true
			}
			score := best[i].score
			if m.voc.kind[id] != userDefined { // those count as certain
				score += m.scores[id]
			}
			if score > best[j+1].score {
				best[j+1] = latticeEnd{score, int32(i), id}
			}
		}
		if !single {
			if score := best[i].score + m.unkScore; score > best[i+n].score {
				best[i+n] = latticeEnd{score, int32(i), noToken}
			}
		}
		i += n
	}
	// Walk back, then turn round.
	from := len(out)
	for i := len(s); i > 0; i = int(best[i].from) {
		if id := best[i].token; id != noToken {
			out = append(out, id)
			continue
		}
		for k := i - 1; k >= int(best[i].from); k-- {
			out = append(out, ^int32(s[k]))
		}
	}
	for a, b := from, len(out)-1; a < b; a, b = a+1, b-1 {
		out[a], out[b] = out[b], out[a]
	}
	return out
}
