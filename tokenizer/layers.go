// This file does several stages of a pre-tokenizer in one pass, where each stage isolates the runs of one set of characters C:
// C+, C, \s?C+ or \s+$ in what the stages before it left (the lists of DeepSeek LLM and DeepSeek Coder). Whether a text is cut
// between two characters then depends on these two, but for spaces, where what follows them decides. Other stages stay as they are.

package tokenizer

import (
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// layer is a stage of this kind.
type layer struct {
	set  *set // C, its plane made
	kind layerKind
}

type layerKind uint8

const (
	eachOf    layerKind = iota + 1 // C
	runsOf                         // C+
	wordsOf                        // \s?C+
	endSpaces                      // \s+$
)

// layerOf reads an alternative of a compiled pattern; ok is false if it is not of this kind.
func layerOf(seq sequenceNode) (l layer, ok bool) {
	quantified := func(n node, least, most int) *set {
		if q, ok := n.(*repeat); ok && q.min == least && q.max == most && !q.possessive {
			c, _ := q.node.(*set)
			return c
		}
		return nil
	}
	switch len(seq) {
	case 1:
		if c, ok := seq[0].(*set); ok {
			return layer{c, eachOf}, true
		}
		c := quantified(seq[0], 1, math.MaxInt32)
		return layer{c, runsOf}, c != nil
	case 2:
		if c := quantified(seq[1], 1, math.MaxInt32); c != nil {
			return layer{c, wordsOf}, quantified(seq[0], 0, 1).isSpaces()
		}
		if c := quantified(seq[0], 1, math.MaxInt32); c.isSpaces() {
			return layer{c, endSpaces}, seq[1] == textEnd{}
		}
	}
	return l, false
}

// isSpaces says whether c is \s.
func (c *set) isSpaces() bool {
	return c != nil && c.classes == cSpace && !c.negated && c.ranges == nil && c.tables == nil && c.ascii == spaceBits
}

// spaceBits are the ASCII characters of \s.
var spaceBits = func() [2]uint64 {
	c := new(set)
	c.addClass(cSpace)
	return c.ascii
}()

// layers is a splitter that does up to maxLayers stages at once.
type layers struct {
	sets                      []*set
	each, runs, words, spaces mask // the layers of each kind; of spaces one at most
	plane                     [1 << 16]mask
}

// mask is a set of layers, the first in bit 1. That of a character holds the layers whose C it is in; bit 0 says that it is a space.
type mask uint8

const (
	isSpace   mask = 1
	textEdge  mask = 1 // in a set of layers that cut: the text ends here, before any layer
	maxLayers      = 7
)

// layered joins stages that follow each other into layers wherever two or more can be.
func layered(stages []stage) []stage {
	var out []stage
	for len(stages) > 0 {
		o, n := newLayers(stages)
		if n < 2 {
			out, stages = append(out, stages[0]), stages[1:]
			continue
		}
		out, stages = append(out, stage{cut: o}), stages[n:]
	}
	return out
}

// newLayers does the first n stages, as many as can be.
func newLayers(stages []stage) (o *layers, n int) {
	var all []layer
	spaces := 0
	for _, s := range stages[:min(len(stages), maxLayers)] {
		l, ok := s.layer()
		if l.kind == endSpaces {
			spaces++
		}
		if !ok || spaces > 1 {
			break
		}
		all = append(all, l)
	}
	if len(all) < 2 {
		return nil, len(all)
	}
	o = new(layers)
	for i, c := range classTables()[:len(o.plane)] {
		o.plane[i] = mask(c&cSpace/cSpace) * isSpace
	}
	var of [endSpaces + 1]mask
	for k, l := range all {
		bit := mask(2) << k
		of[l.kind] |= bit
		o.sets = append(o.sets, l.set)
		for i, w := range l.set.plane {
			for ; w != 0; w &= w - 1 {
				o.plane[i<<6|bits.TrailingZeros64(w)] |= bit
			}
		}
	}
	o.each, o.runs, o.words, o.spaces = of[eachOf], of[runsOf], of[wordsOf], of[endSpaces]
	return o, len(all)
}

// layer gives a stage as a layer, if it is one.
func (s stage) layer() (l layer, ok bool) {
	switch o := s.cut.(type) {
	case *patternSplitter:
		return o.layer, o.layer.kind != 0 && o.how == isolated && !o.invert
	case runSplitter:
		c := new(set)
		c.addClass(o.class)
		c.finish()
		if o.max == 1 {
			return layer{c, eachOf}, !o.fromRight
		}
		return layer{c, runsOf}, o.max == 0
	}
	return l, false
}

// at gives the mask and length in bytes of the code point of s at i, which must be inside s.
func (o *layers) at(s string, i int) (mask, int) {
	if b := s[i]; b < utf8.RuneSelf {
		return o.plane[b], 1
	}
	r, n := decode(s, i)
	if uint32(r) < uint32(len(o.plane)) {
		return o.plane[r], n
	}
	var m mask
	for k, c := range o.sets {
		if c.hasBeyond(r) {
			m |= 2 << k
		}
	}
	return m, n
}

// between gives the layers that cut between two characters whatever stands around them. A space goes to the word behind it.
func (o *layers) between(left, right mask) mask {
	cuts := (left^right)&(o.runs|o.words) | (left|right)&o.each
	if left&isSpace != 0 {
		cuts &^= right & o.words
	}
	return cuts
}

func (o *layers) split(ends []int, s string) []int {
	var left mask
	for i := 0; i < len(s); {
		m, n := o.at(s, i)
		if m&isSpace != 0 {
			ends, i, left = o.cutSpaces(ends, s, i, left)
			continue
		}
		if i > 0 && (m != left || m&o.each != 0) && o.between(left, m) != 0 {
			ends = append(ends, i)
		}
		left = m
		i += n
	}
	if len(s) > 0 {
		ends = append(ends, len(s))
	}
	return ends
}

// cutSpaces cuts before each of the spaces that stand at i, behind a character of mask left, and gives their end and the mask
// of the last. From the last to the first: a layer takes a space to the word behind it unless a layer before has cut there.
func (o *layers) cutSpaces(ends []int, s string, i int, left mask) (_ []int, end int, last mask) {
	last, n := o.at(s, i)
	end = i + n
	behind, cuts := mask(0), textEdge // what stands behind the space at hand, and the layers that cut there
	for c := last; end < len(s); end += n {
		if c, n = o.at(s, end); c&isSpace == 0 {
			behind, cuts = c, o.between(last, c)
			break
		}
		last = c
	}
	base := len(ends)
	seen := mask(0) // the layers that cut behind one of the spaces
	for m, at := last, end; at > i; {
		_, n = utf8.DecodeLastRuneInString(s[i:at])
		at -= n
		before := left
		if at > i {
			r, _ := utf8.DecodeLastRuneInString(s[i:at])
			before = o.plane[r]
		}
		seen |= cuts
		first := cuts & -cuts
		cuts = o.between(before, m) | behind&^m&o.words&(first|(first-1))
		if at == i && seen&(o.spaces-1) != 0 && o.spaces != 0 {
			cuts |= o.spaces
		}
		if cuts != 0 && at > 0 {
			ends = append(ends, at)
		}
		behind, m = m, before
	}
	slices.Reverse(ends[base:])
	return ends, end, last
}
