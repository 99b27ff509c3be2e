// This file bounds from below how many tokens a text has, by the longest token. From its length alone, where the rules lose nothing: so a text that is far too long is known before it is read to the end.
// And from its letters, where rules may lose something else: spaces beside a special token (Phi-3), bytes that the vocabulary lacks (SmolLM2, StarCoder). It gives no bound for rules that may drop or
// join any amount of text.

package tokenizer

import "golang.org/x/text/unicode/norm"

// AtLeast is a number of tokens that no UTF-8 text of so many bytes has fewer of: by the longest token, where the rules lose nothing of a text. It is 0 where they may.
func (t *Tokenizer) AtLeast(bytes int64) int64 {
	t.model.wait()
	kept := t.kept()
	if kept == 0 {
		return 0
	}
	for _, a := range []*addedTokens{&t.added, &t.late} {
		for _, tok := range a.tokens {
			if tok.lstrip || tok.rstrip { // it swallows any number of spaces
				return 0
			}
		}
	}
	return ceil(bytes/kept, t.longest())
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }

// longest is the bytes of the longest token.
func (t *Tokenizer) longest() int64 {
	longest := int64(1)
	for _, text := range t.voc.text {
		longest = max(longest, int64(len(text)))
	}
	for _, a := range []*addedTokens{&t.added, &t.late} {
		longest = max(longest, int64(a.most))
	}
	return longest
}

// AtLeastIn is AtLeast of a text that is at hand: its visible ASCII characters count too, of which no rule that is known here loses one.
func (t *Tokenizer) AtLeastIn(text string) int64 {
	least := t.AtLeast(int64(len(text)))
	has := t.bytes()
	if least > 0 || has == nil {
		return least
	}
	for _, s := range t.stages {
		if s.rewrite != nil && !keepsASCII(s.rewrite) || drops(s.cut) {
			return 0
		}
	}
	for _, n := range t.norm {
		if !keepsASCII(n) {
			return 0
		}
	}
	visible := int64(0)
	for _, c := range []byte(text) {
		if c > ' ' && c < 0x7f && uint32(has[c]) < uint32(len(t.voc.text)) {
			visible++
		}
	}
	return ceil(visible, t.longest())
}

// keepsASCII says that each visible ASCII character is still a byte or more, of its own, in what r makes of a text: forms of Unicode join it with marks at most, to a character of two bytes or more.
func keepsASCII(r normalizer) bool {
	_, form := r.(unicodeForm)
	return form || shrinks(r) == 1
}

// kept says that of n bytes of a text at least n / kept reach the vocabulary; 0 if that is not sure.
func (t *Tokenizer) kept() int64 {
	shrink := int64(1)
	for _, n := range t.norm {
		shrink *= shrinks(n)
	}
	for _, s := range t.stages {
		if s.rewrite != nil {
			shrink *= shrinks(s.rewrite)
		}
		if drops(s.cut) {
			return 0
		}
	}
	if !t.says() {
		return 0
	}
	return shrink
}

// bytes are the tokens of single bytes, where the model has such; nil where it has not.
func (t *Tokenizer) bytes() (bytes *[256]int32) {
	switch m := t.model.(type) {
	case *mergeModel:
		if m.byteLevel || m.fallback {
			bytes = &m.bytes
		}
	case *lineModel:
		if m.byteLevel || m.fallback {
			bytes = &m.bytes
		}
	case *unigram:
		if m.fallback {
			bytes = &m.bytes
		}
	}
	return bytes
}

// says reports whether the model has a token for each byte that UTF-8 has, so that nothing is lost or becomes one unknown with its neighbours.
func (t *Tokenizer) says() bool {
	bytes := t.bytes()
	if bytes == nil {
		return false
	}
	for b, id := range bytes {
		if utf8Byte := b < 0xc0 || b > 0xc1 && b < 0xf5; utf8Byte && uint32(id) >= uint32(len(t.voc.text)) {
			return false
		}
	}
	return true
}

// shrinks says that a text of n bytes has at least n / shrinks(r) when r has rewritten it; 0 if that is not sure.
func shrinks(r normalizer) int64 {
	switch r := r.(type) {
	case escapeSpaces, prefixSpace, byteLevelMark, growing:
		return 1
	case metaspace:
		return int64(min(len(r.mark), 1))
	case unicodeForm:
		if norm.Form(r) == norm.NFC {
			return nfcShrinks
		}
	}
	return 0
}

// nfcShrinks is above what a test finds for all characters: the kelvin sign's three bytes become K, nine bytes of Hangul letters a syllable of three, and with both at once a little more.
const nfcShrinks = 4

// drops says whether a splitter may leave text out.
func drops(s splitter) bool {
	switch s := s.(type) {
	case mappedSplitter:
		return drops(s.splitter)
	case *patternSplitter:
		return s.how == removed
	case *regexSplitter:
		return s.how == removed
	}
	return false
}
