// This file finds added tokens (special tokens, user-defined ones) in a text: the leftmost first, the longest of those that
// start there, with the side conditions of Hugging Face's added_tokens.

package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// addedToken is one token that is matched before the model sees the text.
type addedToken struct {
	id             int32
	special        bool // only where special tokens are asked for
	lstrip, rstrip bool // it swallows the white space on that side
	singleWord     bool // not inside a word
}

// addedTokens is a trie over bytes. Nodes list their children as siblings.
type addedTokens struct {
	tokens []addedToken
	nodes  []trieNode
	root   [256]int32 // node of a first byte; 0 for none (node 0 is not used)
	most   int        // bytes of the longest text
}

type trieNode struct {
	child, sibling int32 // 0 for none
	token          int32 // index into tokens + 1; 0 for none
	b              byte
}

// match is an added token in a text, with the white space it swallows.
type match struct {
	from, to int
	id       int32
}

func (a *addedTokens) empty() bool { return len(a.tokens) == 0 }

// add enters a token; an empty text is not entered, of two with one text the first stays.
func (a *addedTokens) add(text string, tok addedToken) {
	if text == "" {
		return
	}
	a.most = max(a.most, len(text))
	if len(a.nodes) == 0 {
		a.nodes = append(a.nodes, trieNode{})
	}
	n := a.root[text[0]]
	if n == 0 {
		n = a.newNode(text[0])
		a.root[text[0]] = n
	}
	for i := 1; i < len(text); i++ {
		c := a.child(n, text[i])
		if c == 0 {
			c = a.newNode(text[i])
			a.nodes[c].sibling = a.nodes[n].child
			a.nodes[n].child = c
		}
		n = c
	}
	if a.nodes[n].token == 0 {
		a.tokens = append(a.tokens, tok)
		a.nodes[n].token = int32(len(a.tokens))
	}
}

func (a *addedTokens) newNode(b byte) int32 {
	a.nodes = append(a.nodes, trieNode{b: b})
	return int32(len(a.nodes) - 1)
}

func (a *addedTokens) child(n int32, b byte) int32 {
	c := a.nodes[n].child
	for c != 0 && a.nodes[c].b != b {
		c = a.nodes[c].sibling
	}
	return c
}

// exact finds the token whose text is s.
func (a *addedTokens) exact(s string) (int32, bool) {
	if s == "" || a.empty() {
		return 0, false
	}
	n := a.root[s[0]]
	for i := 1; i < len(s) && n != 0; i++ {
		n = a.child(n, s[i])
	}
	if n == 0 || a.nodes[n].token == 0 {
		return 0, false
	}
	return a.tokens[a.nodes[n].token-1].id, true
}

// find gives the first added token in s at or after start. Special ones count only if special is set.
func (a *addedTokens) find(s string, start int, special bool) (match, bool) {
	if a.empty() {
		return match{}, false
	}
	for i := start; i < len(s); i++ {
		n := a.root[s[i]]
		if n == 0 {
			continue
		}
		best, end := int32(0), 0
		for j := i + 1; ; j++ {
			if k := a.nodes[n].token; k != 0 && (special || !a.tokens[k-1].special) {
				best, end = k, j
			}
			if j >= len(s) {
				break
			}
			if n = a.child(n, s[j]); n == 0 {
				break
			}
		}
		if best == 0 {
			continue
		}
		tok := a.tokens[best-1]
		if tok.singleWord && (endsInWord(s[:i]) || startsInWord(s[end:])) {
			continue
		}
		m := match{from: i, to: end, id: tok.id}
		if tok.lstrip {
			for m.from > start {
				r, n := utf8.DecodeLastRuneInString(s[start:m.from])
				if !unicode.IsSpace(r) {
					break
				}
				m.from -= n
			}
		}
		if tok.rstrip {
			for m.to < len(s) {
				r, n := utf8.DecodeRuneInString(s[m.to:])
				if !unicode.IsSpace(r) {
					break
				}
				m.to += n
			}
		}
		return m, true
	}
	return match{}, false
}

func endsInWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWord(r)
}

func startsInWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}

// isWord is \w of Rust's regular expressions.
func isWord(r rune) bool {
	return r == '_' || unicode.IsLetter(r) || unicode.IsMark(r) || unicode.In(r, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Join_Control, unicode.Other_Alphabetic)
}
