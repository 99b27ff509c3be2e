// This file holds the hand-written pre-tokenizers: functions that cut a text into words, equal to the published regular
// expressions of the GPT-2 and the Llama 3 families (and what follows from them: Qwen, SmolLM, DeepSeek V3 ...) but much
// faster than a regular expression engine. Lists of patterns that each isolate runs are done in one pass by layers.go; what is left
// goes through pattern.go, or regex.go.

package tokenizer

import (
	"unicode/utf8"
)

// splitter cuts a text into pieces that follow each other without gaps.
type splitter interface {
	// split appends the end offset of every piece of s to ends; ^offset for a piece that is dropped. Nothing is appended
	// for an empty s.
	split(ends []int, s string) []int
}

// gpt2Splitter cuts like
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
type gpt2Splitter struct{}

func (gpt2Splitter) split(ends []int, s string) []int {
	t := classTables()
	for i := 0; i < len(s); {
		if s[i] == '\'' {
			if n := contraction(s[i:], false); n > 0 {
				i += n
				ends = append(ends, i)
				continue
			}
		}
		j := i
		if s[i] == ' ' && i+1 < len(s) {
			j++
		}
		cl, n := t.at(s, j)
		if cl&cSpace == 0 {
			i = runOf(t, s, j+n, cl&(cLetter|cNumber))
		} else {
			i = endOfSpaces(t, s, i)
		}
		ends = append(ends, i)
	}
	return ends
}

// runOf gives the end of the run of one kind that goes on at i: letters, numbers, or (kind 0) what is neither nor space.
func runOf(t *classes, s string, i int, kind class) int {
	for i < len(s) {
		cl, n := t.at(s, i)
		if cl&(cLetter|cNumber|cSpace) != kind {
			break
		}
		i += n
	}
	return i
}

// endOfSpaces gives the end of \s+(?!\S)|\s+ at i, where a space starts: the whole run at the end of the text, else all but
// its last code point, but at least one.
func endOfSpaces(t *classes, s string, i int) int {
	last := i
	start := i
	for i < len(s) {
		cl, n := t.at(s, i)
		if cl&cSpace == 0 {
			if last > start {
				return last
			}
			return i
		}
		last = i
		i += n
	}
	return i
}

// contraction gives the length of 's 't 're 've 'm 'll 'd at the start of s, which starts with an apostrophe; 0 if none.
func contraction(s string, anyCase bool) int {
	if len(s) < 2 {
		return 0
	}
	a, b := s[1], byte(0)
	if len(s) > 2 {
		b = s[2]
	}
	if anyCase {
		a, b = a|0x20, b|0x20
		// Setting the bit turns some bytes that are no letters into others that are no letters, so nothing false matches.
	}
	switch a {
	case 's', 't', 'm', 'd':
		return 2
	case 0xc5 | 0x20:
		// The long s is an s when case does not count.
		if anyCase && s[1] == 0xc5 && len(s) > 2 && s[2] == 0xbf {
			return 3
		}
	case 'r', 'v':
		if b == 'e' {
			return 3
		}
	case 'l':
		if b == 'l' {
			return 3
		}
	}
	return 0
}

// llama3Splitter cuts like the pattern of Llama 3 and its many variants:
//
//	(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?WORD+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
//
// where WORD is \p{L}, or [\p{L}\p{M}] with marks (the third class then excludes \p{M} too).
type llama3Splitter struct {
	contractions bool // the first alternative is there
	marks        bool // marks belong to words (Qwen 3.5)
	digits       int  // most digits of a piece; 0 for no limit
	noTail       bool // the [\r\n]* after punctuation is absent (Seed-Coder)
	slashTail    bool // it is [\r\n/]*
	indents      bool // \s*[\r\n]+ is [\r\n]+[\t ]*: newlines take what stands behind them, not before (PatternCode)
}

func (o llama3Splitter) split(ends []int, s string) []int {
	t := classTables()
	word := cLetter
	if o.marks {
		word |= cMark
	}
	for i := 0; i < len(s); {
		i = o.next(t, s, i, word)
		ends = append(ends, i)
	}
	return ends
}

// next gives the end of the piece that starts at i.
func (o *llama3Splitter) next(t *classes, s string, i int, word class) int {
	if o.contractions && s[i] == '\'' {
		if n := contraction(s[i:], true); n > 0 {
			return i + n
		}
	}
	cl, n := t.at(s, i)
	if cl&word != 0 {
		return runOfWord(t, s, i+n, word)
	}
	if cl&cNumber != 0 {
		j := i + n
		for k := 1; j < len(s) && (o.digits == 0 || k < o.digits); k++ {
			cl, n := t.at(s, j)
			if cl&cNumber == 0 {
				break
			}
			j += n
		}
		return j
	}
	// One code point that is no letter, number or newline may lead a word.
	if c := s[i]; c != '\r' && c != '\n' && i+n < len(s) {
		if next, m := t.at(s, i+n); next&word != 0 {
			return runOfWord(t, s, i+n+m, word)
		}
	}
	j := i
	if s[i] == ' ' && i+1 < len(s) {
		j++
	}
	if cl, n := t.at(s, j); cl&(cLetter|cNumber|cSpace|word) == 0 {
		for j += n; j < len(s); j += n {
			if cl, n = t.at(s, j); cl&(cLetter|cNumber|cSpace|word) != 0 {
				break
			}
		}
		if !o.noTail {
			for j < len(s) && (s[j] == '\r' || s[j] == '\n' || o.slashTail && s[j] == '/') {
				j++
			}
		}
		return j
	}
	if o.indents {
		return endOfIndent(t, s, i)
	}
	return o.spaces(t, s, i)
}

// endOfIndent gives the end of [\r\n]+[\t ]*|\s+(?!\S)|\s+ at i, where a space starts.
func endOfIndent(t *classes, s string, i int) int {
	j := i
	for j < len(s) && (s[j] == '\r' || s[j] == '\n') {
		j++
	}
	if j == i {
		return endOfSpaces(t, s, i)
	}
	for j < len(s) && (s[j] == '\t' || s[j] == ' ') {
		j++
	}
	return j
}

// spaces gives the end of \s*[\r\n]+|\s+(?!\S)|\s+ at i, where a space starts. The pattern \s*[\r\n] ends at the same place.
func (o *llama3Splitter) spaces(t *classes, s string, i int) int {
	afterNewline, last, j := -1, i, i
	for j < len(s) {
		cl, n := t.at(s, j)
		if cl&cSpace == 0 {
			break
		}
		last = j
		if s[j] == '\r' || s[j] == '\n' {
			afterNewline = j + 1
		}
		j += n
	}
	switch {
	case afterNewline >= 0:
		return afterNewline
	case j < len(s) && last > i:
		return last
	}
	return j
}

func runOfWord(t *classes, s string, i int, word class) int {
	for i < len(s) {
		cl, n := t.at(s, i)
		if cl&word == 0 {
			break
		}
		i += n
	}
	return i
}

// runSplitter makes runs of the code points of a class into pieces of at most max code points (0: no limit); what lies
// between stays whole. It is \p{N}, \p{N}{1,3}, \p{N}+ and the like with the behaviour "isolated".
type runSplitter struct {
	class     class
	max       int
	fromRight bool // a short group comes first: 1234567 -> 1 234 567
	wordEnd   bool // with fromRight: only a run that ends a word is cut, others belong to what lies between
}

func (o runSplitter) split(ends []int, s string) []int {
	t := classTables()
	start := 0
	for i := 0; i < len(s); {
		cl, n := t.at(s, i)
		if cl&o.class == 0 {
			i += n
			continue
		}
		first := o.max
		if o.fromRight {
			count, j := 0, i
			for ; j < len(s); count++ {
				cl, n := t.at(s, j)
				if cl&o.class == 0 {
					break
				}
				j += n
			}
			if o.wordEnd && startsInWord(s[j:]) {
				i = j
				continue
			}
			if first = count % o.max; first == 0 {
				first = o.max
			}
		}
		if i > start {
			ends = append(ends, i)
		}
		limit := first
		for k := 0; i < len(s); k++ {
			cl, n := t.at(s, i)
			if cl&o.class == 0 {
				break
			}
			if limit > 0 && k == limit {
				ends = append(ends, i)
				k, limit = 0, o.max
			}
			i += n
		}
		ends = append(ends, i)
		start = i
	}
	if start < len(s) {
		ends = append(ends, len(s))
	}
	return ends
}

// newlineSplitter cuts like [^\n]+|[\n]+
type newlineSplitter struct{}

func (newlineSplitter) split(ends []int, s string) []int {
	for i := 1; i < len(s); i++ {
		if (s[i] == '\n') != (s[i-1] == '\n') {
			ends = append(ends, i)
		}
	}
	if len(s) > 0 {
		ends = append(ends, len(s))
	}
	return ends
}

// runeLen gives the length in bytes of the code point of s at i; 1 for a byte that is not UTF-8.
func runeLen(s string, i int) int {
	if s[i] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(s[i:])
	return n
}

// plane is the size of the Basic Multilingual Plane.
const plane = 1 << 16

// inPlane says whether what decode gave is a character of the plane, and no byte outside UTF-8.
func inPlane(r rune, n int) bool { return uint32(r) < plane && (n > 1 || r < utf8.RuneSelf) }

// soleChar gives the character that s is, if it is one of the plane.
func soleChar(s string) (r rune, ok bool) {
	if s == "" || len(s) > 3 {
		return 0, false
	}
	r, n := decode(s, 0)
	return r, n == len(s) && inPlane(r, n)
}
