// This file bounds from below how many tokens a text has, from its length alone: so a text that is far too long is known before it is read to the end. It gives no bound for rules that may drop or
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
	longest := int64(1)
	for _, text := range t.voc.text {
		longest = max(longest, int64(len(text)))
	}
	for _, a := range []*addedTokens{&t.added, &t.late} {
		longest = max(longest, int64(a.most))
		for _, tok := range a.tokens {
			if tok.lstrip || tok.rstrip { // it swallows any number of spaces
				return 0
			}
		}
	}
	return (bytes/kept + longest - 1) / longest
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

// says reports whether the model has a token for each byte that UTF-8 has, so that nothing is lost or becomes one unknown with its neighbours.
func (t *Tokenizer) says() bool {
	var bytes *[256]int32
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
