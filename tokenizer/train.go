// This file learns a byte-level BPE vocabulary from text: it counts words, then joins the most frequent pair of symbols again and
// again. The result is written by trainwrite.go. It reads no files, and learns no unigram or SentencePiece vocabularies.

package tokenizer

import (
	"container/heap"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
)

// EndOfText is the one special token of a trained vocabulary: it stands between documents. Its id is the last one.
const EndOfText = "<|endoftext|>"

const (
	maxTrainWord  = 128     // longer words (base64, long runs of dashes) teach nothing and are not counted
	maxTrainWords = 8 << 20 // different words that are kept while counting; beyond that the rarest go
)

// A Trainer counts the words of a corpus and learns merges from them. The same texts, in the same order, give the same vocabulary.
// Memory grows with the number of different words, not with the text.
type Trainer struct {
	cut   splitter
	words map[string]int64
	ends  []int
	limit int   // different words kept
	floor int64 // words seen so often at most were dropped when there were too many

	// Progress, if set, hears now and then how many of the merges are made.
	Progress func(done, all int)
}

// NewTrainer gives a trainer that cuts texts into words by PatternCode.
func NewTrainer() *Trainer {
	cut, err := splitterFor(PatternCode)
	if err != nil {
		panic(err) // the pattern is a constant
	}
	return &Trainer{cut: cut, words: map[string]int64{}, limit: maxTrainWords}
}

// Add counts the words of a document. Bytes that are not UTF-8 are learned as they are.
func (t *Trainer) Add(text string) {
	t.ends = t.cut.split(t.ends[:0], text)
	start := 0
	for _, end := range t.ends {
		if word := text[start:end]; len(word) > 1 && len(word) <= maxTrainWord {
			if n, ok := t.words[word]; ok {
				t.words[word] = n + 1
			} else {
				t.words[strings.Clone(word)] = 1 // a clone, lest the word keep its document in memory
			}
		}
		start = end
	}
	for len(t.words) > t.limit {
		t.floor++
		maps.DeleteFunc(t.words, func(_ string, n int64) bool { return n <= t.floor })
	}
}

// Words is the number of different words of two bytes and more.
func (t *Trainer) Words() int { return len(t.words) }

// Learned is a vocabulary: 256 bytes, one token a merge in the order of learning, EndOfText.
type Learned struct {
	tokens []string   // by id, without EndOfText
	merges [][2]int32 // merges[i] makes token 256 + i
}

// Vocab is the number of ids with EndOfText.
func (v *Learned) Vocab() int { return len(v.tokens) + 1 }

// Learn makes a vocabulary of the given number of ids; fewer if no pair of symbols comes twice. Equal counts are decided by the
// lower ids. Errors are *fault.Error.
func (t *Trainer) Learn(vocab int) (*Learned, error) {
	if vocab < 257 || vocab >= maxVocab {
		return nil, fault.New(fault.BadInput, "vocabulary", fmt.Sprint(vocab, " tokens"), fmt.Sprint("256 bytes and one special token at least, less than ", maxVocab), "use 4096")
	}
	if len(t.words) == 0 {
		return nil, fault.New(fault.BadInput, "training text", "no words", "a vocabulary is learned from words of two bytes and more", "give more text")
	}
	l := newLearner(t.words)
	for b := range 256 {
		l.out.tokens = append(l.out.tokens, string([]byte{byte(b)}))
	}
	all := vocab - 257
	for len(l.out.merges) < all && l.step() {
		if t.Progress != nil && len(l.out.merges)%64 == 0 {
			t.Progress(len(l.out.merges), all)
		}
	}
	if t.Progress != nil {
		t.Progress(all, all)
	}
	return &l.out, nil
}

// symbolPair is two neighbouring symbols.
type symbolPair struct{ left, right int32 }

// learner is the state between merges. Every word is a run of symbols in place; a pair knows the words it was seen in.
type learner struct {
	symbols []int32 // of all words, one behind another
	words   []learnedWord
	pairs   map[symbolPair]*pairState
	queue   pairQueue
	fresh   []*pairState // pairs first seen during this merge
	out     Learned
}

type learnedWord struct {
	start, n int32 // its symbols; n shrinks
	count    int64
}

// pairState counts a pair. Counts only fall after the merge that made the pair's younger symbol, so the queue corrects itself: what
// comes out with a count that is too high goes back in.
type pairState struct {
	symbolPair
	count, queued int64
	in            []int32 // words, perhaps more than once, perhaps no longer
}

func newLearner(counts map[string]int64) *learner {
	l := &learner{pairs: map[symbolPair]*pairState{}}
	for _, word := range slices.Sorted(maps.Keys(counts)) { // sorted, since the order of a map changes from run to run
		l.words = append(l.words, learnedWord{int32(len(l.symbols)), int32(len(word)), counts[word]})
		for i := range len(word) {
			l.symbols = append(l.symbols, int32(word[i]))
		}
	}
	for w, word := range l.words {
		s := l.symbols[word.start:][:word.n]
		for i := range len(s) - 1 {
			l.change(symbolPair{s[i], s[i+1]}, word.count, int32(w))
		}
	}
	l.enqueue()
	return l
}

// change adds n to the count of a pair, seen in word w.
func (l *learner) change(p symbolPair, n int64, w int32) {
	s := l.pairs[p]
	if s == nil {
		s = &pairState{symbolPair: p}
		l.pairs[p] = s
		l.fresh = append(l.fresh, s)
	}
	s.count += n
	if n > 0 && (len(s.in) == 0 || s.in[len(s.in)-1] != w) {
		s.in = append(s.in, w)
	}
}

// enqueue puts the fresh pairs into the queue.
func (l *learner) enqueue() {
	for _, s := range l.fresh {
		s.queued = s.count
		heap.Push(&l.queue, s)
	}
	l.fresh = l.fresh[:0]
}

// step makes one merge; false if no pair comes twice any more.
func (l *learner) step() bool {
	var best *pairState
	for best == nil {
		if len(l.queue) == 0 {
			return false
		}
		top := l.queue[0]
		switch {
		case top.count < 2:
			heap.Pop(&l.queue)
			delete(l.pairs, top.symbolPair)
		case top.count != top.queued:
			top.queued = top.count
			heap.Fix(&l.queue, 0)
		default:
			best = heap.Pop(&l.queue).(*pairState)
		}
	}
	id := int32(len(l.out.tokens))
	l.out.tokens = append(l.out.tokens, l.out.tokens[best.left]+l.out.tokens[best.right])
	l.out.merges = append(l.out.merges, [2]int32{best.left, best.right})
	for _, w := range best.in {
		l.join(w, best.symbolPair, id)
	}
	delete(l.pairs, best.symbolPair)
	l.enqueue()
	return true
}

// join writes id for every p in word w, from the left, and moves the counts of the pairs around.
func (l *learner) join(w int32, p symbolPair, id int32) {
	word := &l.words[w]
	s := l.symbols[word.start:][:word.n]
	n := 0 // s[:n] is done
	for i := 0; i < len(s); i++ {
		if i+1 == len(s) || s[i] != p.left || s[i+1] != p.right {
			s[n] = s[i]
			n++
			continue
		}
		if n > 0 {
			l.change(symbolPair{s[n-1], p.left}, -word.count, w)
			l.change(symbolPair{s[n-1], id}, word.count, w)
		}
		if i+2 < len(s) {
			l.change(symbolPair{p.right, s[i+2]}, -word.count, w)
			l.change(symbolPair{id, s[i+2]}, word.count, w)
		}
		s[n] = id
		n++
		i++
	}
	word.n = int32(n)
}

// pairQueue is a heap: the highest count first, then the lower ids.
type pairQueue []*pairState

func (q pairQueue) Len() int { return len(q) }
func (q pairQueue) Less(i, j int) bool {
	a, b := q[i], q[j]
	switch {
	case a.queued != b.queued:
		return a.queued > b.queued
	case a.left != b.left:
		return a.left < b.left
	}
	return a.right < b.right
}
func (q pairQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *pairQueue) Push(x any)   { *q = append(*q, x.(*pairState)) }
func (q *pairQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return x
}
