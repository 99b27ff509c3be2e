// This file classifies code points for the pre-tokenizers: letter, number, space, mark, punctuation, symbol and the cases of
// letters, from the Unicode tables of Go's standard library. It will not normalise or fold anything.

package tokenizer

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// class is a set of properties of one code point.
type class uint16

const (
	cLetter    class = 1 << iota // \p{L}
	cNumber                      // \p{N}
	cSpace                       // \s (White_Space)
	cMark                        // \p{M}
	cPunct                       // \p{P}
	cSymbol                      // \p{S}
	cUpper                       // \p{Lu} or \p{Lt}
	cLower                       // \p{Ll}
	cCaseless                    // \p{Lm} or \p{Lo}
	cDigit                       // \p{Nd}, \d
	cHan                         // \p{Han}
	cConnector                   // \p{Pc}
)

// tableRunes covers the Basic and the Supplementary Multilingual Plane (emoji); rarer planes go through the range tables.
const tableRunes = 0x20000

var classTable = sync.OnceValue(func() *[tableRunes]class {
	t := new([tableRunes]class)
	for _, p := range classRanges {
		for _, r := range p.table.R16 {
			for c := uint32(r.Lo); c <= uint32(r.Hi); c += uint32(r.Stride) {
				t[c] |= p.class
			}
		}
		for _, r := range p.table.R32 {
			for c := r.Lo; c <= r.Hi && c < tableRunes; c += r.Stride {
				t[c] |= p.class
			}
		}
	}
	return t
})

var classRanges = []struct {
	table *unicode.RangeTable
	class class
}{
	{unicode.L, cLetter}, {unicode.N, cNumber}, {unicode.White_Space, cSpace}, {unicode.M, cMark},
	{unicode.P, cPunct}, {unicode.S, cSymbol}, {unicode.Lu, cUpper}, {unicode.Lt, cUpper}, {unicode.Ll, cLower},
	{unicode.Lm, cCaseless}, {unicode.Lo, cCaseless}, {unicode.Nd, cDigit}, {unicode.Han, cHan}, {unicode.Pc, cConnector},
}

// of gives the class of r, which may be any int32.
func (c *classes) of(r rune) class {
	if uint32(r) < tableRunes {
		return c[r]
	}
	var out class
	for _, p := range classRanges {
		if unicode.Is(p.table, r) {
			out |= p.class
		}
	}
	return out
}

type classes [tableRunes]class

// at gives the class and length in bytes of the code point of s at i. A byte that is not UTF-8 counts as U+FFFD (a symbol) of
// one byte. i must be inside s.
func (c *classes) at(s string, i int) (class, int) {
	if b := s[i]; b < utf8.RuneSelf {
		return c[b], 1
	}
	r, n := decode(s, i)
	return c.of(r), n
}

func classTables() *classes { return (*classes)(classTable()) }
