// This file compiles the regular expressions of pre-tokenizers to chains of small functions over UTF-8: literals, classes with
// Unicode properties, greedy and possessive repetition, groups and lookahead, with the meaning (leftmost, first alternative
// first, backtracking) of the usual engines, at many times the speed of a general one. What it does not read
// (backreferences, lookbehind, lazy repetition, unlimited groups, patterns that match the empty text) goes to regex.go.

package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// matcher gives the end of a match of the rest of the pattern at i, or -1.
type matcher func(s string, i int) int

// pattern is a compiled expression: its top-level alternatives, each with the characters it can start with.
type pattern struct {
	alts  []alternative
	first planeBits // what any alternative can start with
	layer layer     // the same as a layer, if it can be one
}

type alternative struct {
	first planeBits
	match matcher
}

// planeBits is a set of code points of the Basic Multilingual Plane; all others count as members.
type planeBits [1 << 10]uint64

func (p *planeBits) has(r rune) bool { return uint32(r) > 0xffff || p[uint16(r)>>6]>>(r&63)&1 != 0 }

func (p *planeBits) add(q *planeBits) {
	for i := range p {
		p[i] |= q[i]
	}
}

// next gives the first match at or after i; to is -1 and from the length of s if there is none.
func (p *pattern) next(s string, i int) (from, to int) {
	for i < len(s) {
		if b := s[i]; b < utf8.RuneSelf && p.first[b>>6&1]>>(b&63)&1 == 0 {
			i++
			continue
		}
		r, n := decode(s, i)
		if p.first.has(r) {
			for k := range p.alts {
				a := &p.alts[k]
				if !a.first.has(r) {
					continue
				}
				if end := a.match(s, i); end >= 0 {
					return i, end
				}
			}
		}
		i += n
	}
	return len(s), -1
}

// decode is utf8.DecodeRuneInString(s[i:]) with short ways for what is common. i must be inside s.
func decode(s string, i int) (rune, int) {
	b := s[i]
	switch {
	case b < utf8.RuneSelf:
		return rune(b), 1
	case b >= 0xc2 && b < 0xe0 && i+1 < len(s) && s[i+1]&0xc0 == 0x80:
		return rune(b&0x1f)<<6 | rune(s[i+1]&0x3f), 2
	case b > 0xe0 && b < 0xed && i+2 < len(s) && s[i+1]&0xc0 == 0x80 && s[i+2]&0xc0 == 0x80:
		return rune(b&0xf)<<12 | rune(s[i+1]&0x3f)<<6 | rune(s[i+2]&0x3f), 3
	}
	return utf8.DecodeRuneInString(s[i:])
}

// patternSplitter cuts at the matches of a pattern.
type patternSplitter struct {
	*pattern
	how    behavior
	invert bool
}

func (o *patternSplitter) split(ends []int, s string) []int {
	if o.how == isolated {
		start := 0
		for start < len(s) {
			from, to := o.next(s, start)
			if from > start {
				ends = append(ends, from)
			}
			if to < 0 {
				break
			}
			ends = append(ends, to)
			start = to
		}
		return ends
	}
	return join(ends, o.spans(s), o.how)
}

// spans gives the matches and what lies between them.
func (o *patternSplitter) spans(s string) []span {
	var spans []span
	start := 0
	for start < len(s) {
		from, to := o.next(s, start)
		if from > start {
			spans = append(spans, span{start, from, o.invert})
		}
		if to < 0 {
			break
		}
		spans = append(spans, span{from, to, !o.invert})
		start = to
	}
	return spans
}

func accept(_ string, i int) int { return i }

// node is a part of an expression.
type node interface {
	compile(next matcher) matcher
	canBeEmpty() bool
	starts(p *planeBits) // adds a superset of what a match that is not empty can start with
}

// set is a class of code points.
type set struct {
	ascii   [2]uint64
	classes class // of code points beyond ASCII
	ranges  []runeRange
	tables  []*unicode.RangeTable
	negated bool // beyond ASCII; the ASCII bits are negated already
	plane   *planeBits
}

type runeRange struct{ lo, hi rune }

// finish makes the bits of the plane from the parts.
func (c *set) finish() {
	if c.plane != nil {
		return
	}
	t := classTables()
	c.plane = new(planeBits)
	for r := range rune(1 << 16) {
		if c.classes != 0 && t[r]&c.classes != 0 {
			c.plane[r>>6] |= 1 << (r & 63)
		}
	}
	for _, x := range c.ranges {
		for r := x.lo; r <= x.hi && r <= 0xffff; r++ {
			c.plane[r>>6] |= 1 << (r & 63)
		}
	}
	for _, x := range c.tables {
		for _, y := range x.R16 {
			for r := uint32(y.Lo); r <= uint32(y.Hi); r += uint32(y.Stride) {
				c.plane[r>>6] |= 1 << (r & 63)
			}
		}
	}
	if c.negated {
		for i := range c.plane {
			c.plane[i] = ^c.plane[i]
		}
	}
	c.plane[0], c.plane[1] = c.ascii[0], c.ascii[1]
}

// hasBeyond says whether the set holds r, which is beyond the plane.
func (c *set) hasBeyond(r rune) bool {
	if c.classes != 0 && classTables().of(r)&c.classes != 0 {
		return !c.negated
	}
	for _, x := range c.ranges {
		if r >= x.lo && r <= x.hi {
			return !c.negated
		}
	}
	for _, x := range c.tables {
		if unicode.Is(x, r) {
			return !c.negated
		}
	}
	return c.negated
}

// step gives the length of the code point of s at i if the set holds it, else 0.
func (c *set) step(s string, i int) int {
	if i >= len(s) {
		return 0
	}
	r, n := decode(s, i)
	if uint32(r) <= 0xffff {
		if c.plane[uint16(r)>>6]>>(r&63)&1 == 0 {
			return 0
		}
		return n
	}
	if !c.hasBeyond(r) {
		return 0
	}
	return n
}

func (c *set) addASCII(f func(b byte) bool) {
	for b := range byte(utf8.RuneSelf) {
		if f(b) {
			c.ascii[b>>6] |= 1 << (b & 63)
		}
	}
}

func (c *set) addRange(lo, hi rune) {
	c.addASCII(func(b byte) bool { return rune(b) >= lo && rune(b) <= hi })
	if hi >= utf8.RuneSelf {
		c.ranges = append(c.ranges, runeRange{max(lo, utf8.RuneSelf), hi})
	}
}

// addFold adds a character and all that it is equal to when case does not count.
func (c *set) addFold(r rune) {
	c.addRange(r, r)
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		c.addRange(f, f)
	}
}

func (c *set) addClass(k class) {
	t := classTables()
	c.addASCII(func(b byte) bool { return t[b]&k != 0 })
	c.classes |= k
}

func (c *set) negate() {
	c.ascii[0], c.ascii[1] = ^c.ascii[0], ^c.ascii[1]
	c.negated = !c.negated
}

func (c *set) compile(next matcher) matcher { return (&repeat{node: c, min: 1, max: 1}).compile(next) }
func (c *set) canBeEmpty() bool             { return false }

func (c *set) starts(p *planeBits) {
	c.finish()
	p.add(c.plane)
}

// repeat is a quantified node.
type repeat struct {
	node       node
	min, max   int
	possessive bool // never gives back
}

func (q *repeat) canBeEmpty() bool { return q.min == 0 || q.node.canBeEmpty() }

func (q *repeat) starts(p *planeBits) { q.node.starts(p) }

func (q *repeat) compile(next matcher) matcher {
	c, isSet := q.node.(*set)
	if !isSet {
		return q.compileGroup(next)
	}
	c.finish()
	low, high := q.min, q.max
	if low == 1 && high == 1 {
		return func(s string, i int) int {
			n := c.step(s, i)
			if n == 0 {
				return -1
			}
			return next(s, i+n)
		}
	}
	return func(s string, i int) int {
		floor, j, count := i, i, 0
		for count < high {
			n := 0
			if j < len(s) && s[j] < utf8.RuneSelf {
				n = int(c.plane[s[j]>>6&1] >> (s[j] & 63) & 1)
			} else {
				n = c.step(s, j)
			}
			if n == 0 {
				break
			}
			j += n
			count++
			if count == low {
				floor = j
			}
		}
		if count < low {
			return -1
		}
		for {
			if end := next(s, j); end >= 0 {
				return end
			}
			if j <= floor || q.possessive {
				return -1
			}
			_, n := utf8.DecodeLastRuneInString(s[:j])
			j -= n
		}
	}
}

// compileGroup repeats a node that is no plain set, by one copy for every round.
func (q *repeat) compileGroup(next matcher) matcher {
	if q.possessive {
		inner := (&repeat{node: q.node, min: q.min, max: q.max}).compileGroup(accept)
		return func(s string, i int) int {
			if end := inner(s, i); end >= 0 {
				return next(s, end)
			}
			return -1
		}
	}
	m := next
	for range q.max - q.min {
		body := q.node.compile(m)
		m = func(s string, i int) int {
			if end := body(s, i); end >= 0 {
				return end
			}
			return next(s, i)
		}
	}
	for range q.min {
		m = q.node.compile(m)
	}
	return m
}

// group is a list of alternatives.
type group []sequenceNode

func (g group) canBeEmpty() bool {
	for _, seq := range g {
		if seq.canBeEmpty() {
			return true
		}
	}
	return len(g) == 0
}

func (g group) starts(p *planeBits) {
	for _, seq := range g {
		seq.starts(p)
	}
}

func (g group) compile(next matcher) matcher {
	var alts []matcher
	for _, seq := range g {
		alts = append(alts, seq.compile(next))
	}
	if len(alts) == 1 {
		return alts[0]
	}
	match := func(s string, i int) int {
		for _, m := range alts {
			if end := m(s, i); end >= 0 {
				return end
			}
		}
		return -1
	}
	if g.canBeEmpty() {
		return match
	}
	first := new(planeBits)
	g.starts(first)
	return func(s string, i int) int {
		if i >= len(s) {
			return -1
		}
		if r, _ := decode(s, i); !first.has(r) {
			return -1
		}
		return match(s, i)
	}
}

// sequenceNode is a list of nodes that follow each other.
type sequenceNode []node

func (q sequenceNode) canBeEmpty() bool {
	for _, n := range q {
		if !n.canBeEmpty() {
			return false
		}
	}
	return true
}

func (q sequenceNode) starts(p *planeBits) {
	for _, n := range q {
		n.starts(p)
		if !n.canBeEmpty() {
			return
		}
	}
}

func (q sequenceNode) compile(next matcher) matcher {
	for k := len(q) - 1; k >= 0; k-- {
		next = q[k].compile(next)
	}
	return next
}

// look is a lookahead: (?=...) or (?!...).
type look struct {
	inner   group
	negated bool
}

func (l *look) canBeEmpty() bool    { return true }
func (l *look) starts(_ *planeBits) {}

func (l *look) compile(next matcher) matcher {
	inner := l.inner.compile(accept)
	return func(s string, i int) int {
		if (inner(s, i) >= 0) == l.negated {
			return -1
		}
		return next(s, i)
	}
}

// textEnd is $: the end of the text, or before a newline that ends it.
type textEnd struct{}

func (textEnd) canBeEmpty() bool    { return true }
func (textEnd) starts(_ *planeBits) {}

func (textEnd) compile(next matcher) matcher {
	return func(s string, i int) int {
		if i == len(s) || i == len(s)-1 && s[i] == '\n' {
			return next(s, i)
		}
		return -1
	}
}
