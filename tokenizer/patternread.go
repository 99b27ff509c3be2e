// This file reads the text of a regular expression for pattern.go. It takes the subset that means the same to every engine in use
// (Oniguruma, Rust's, .NET's); anything else is left to the general engine.

package tokenizer

import (
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// compilePattern reads an expression; ok is false if it uses what this engine does not do.
func compilePattern(expr string) (p *pattern, ok bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, mine := r.(unreadable); !mine {
				panic(r)
			}
			p, ok = nil, false
		}
	}()
	if !utf8.ValidString(expr) || len(expr) > 1<<16 {
		return nil, false
	}
	r := &patternReader{expr: expr}
	alts := r.alternatives(0)
	r.need(r.at == len(expr))
	p = new(pattern)
	for _, seq := range alts {
		r.need(!seq.canBeEmpty())
		p.alts = append(p.alts, alternative{match: seq.compile(accept)})
		seq.starts(&p.alts[len(p.alts)-1].first)
	}
	for k := range p.alts {
		p.first.add(&p.alts[k].first)
	}
	if l, ok := layerOf(alts[0]); ok && len(alts) == 1 {
		p.layer = l
	}
	return p, true
}

// unreadable is what the reader panics with.
type unreadable struct{}

// patternReader is a recursive-descent parser of expressions.
type patternReader struct {
	expr    string
	at      int
	fold    bool // inside (?i:
	inClass bool // inside brackets
	nodes   int
	copies  int // an upper bound of the copies that repeated groups make
	open    int // repetitions without limit that may give back, in the alternative at hand
}

func (r *patternReader) need(ok bool) {
	if !ok {
		panic(unreadable{})
	}
}

func (r *patternReader) take(text string) bool {
	if strings.HasPrefix(r.expr[r.at:], text) {
		r.at += len(text)
		return true
	}
	return false
}

func (r *patternReader) rune() rune {
	r.need(r.at < len(r.expr))
	c, n := utf8.DecodeRuneInString(r.expr[r.at:])
	r.at += n
	return c
}

// alternatives reads up to the end or a closing parenthesis.
func (r *patternReader) alternatives(depth int) group {
	r.need(depth < 16)
	g := group{nil}
	for r.at < len(r.expr) && r.expr[r.at] != ')' {
		if r.take("|") {
			g = append(g, nil)
			if depth == 0 {
				r.open = 0
			}
			continue
		}
		n := r.quantified(r.atom(depth))
		g[len(g)-1] = append(g[len(g)-1], n)
	}
	return g
}

func (r *patternReader) atom(depth int) node {
	r.nodes++
	r.need(r.nodes < 2000)
	switch {
	case r.take("(?:"):
		return r.closed(r.alternatives(depth + 1))
	case r.take("(?i:"):
		before := r.fold
		r.fold = true
		g := r.closed(r.alternatives(depth + 1))
		r.fold = before
		return g
	case r.take("(?="):
		return &look{inner: r.closed(r.alternatives(depth + 1))}
	case r.take("(?!"):
		return &look{inner: r.closed(r.alternatives(depth + 1)), negated: true}
	case r.take("(?"):
		r.need(false)
	case r.take("("):
		return r.closed(r.alternatives(depth + 1))
	case r.take("["):
		return r.class()
	case r.take("$"):
		return textEnd{}
	case r.take("."):
		c := new(set)
		c.addRange('\n', '\n')
		c.negate()
		return c
	}
	c := new(set)
	switch ch := r.rune(); ch {
	case '\\':
		r.escape(c)
	case '^', '*', '+', '?', '{', '}', ']':
		r.need(false)
	default:
		r.literal(c, ch)
	}
	return c
}

func (r *patternReader) closed(g group) group {
	r.need(r.take(")"))
	return g
}

func (r *patternReader) literal(c *set, ch rune) {
	if r.fold {
		c.addFold(ch)
	} else {
		c.addRange(ch, ch)
	}
}

// quantified reads what may follow an atom: ? * + {n} {n,} {n,m}, each possibly possessive.
func (r *patternReader) quantified(n node) node {
	q := &repeat{node: n, min: 1, max: 1}
	braces := false
	switch {
	case r.take("?"):
		q.min = 0
	case r.take("*"):
		q.min, q.max = 0, math.MaxInt32
	case r.take("+"):
		q.max = math.MaxInt32
	case r.take("{"):
		braces = true
		body, _, found := strings.Cut(r.expr[r.at:], "}")
		r.need(found)
		r.at += len(body) + 1
		low, high, isRange := strings.Cut(body, ",")
		q.min = r.number(low)
		switch {
		case !isRange:
			q.max = q.min
		case high == "":
			q.max = math.MaxInt32
		default:
			q.max = r.number(high)
		}
		r.need(q.min <= q.max && q.max > 0)
	default:
		return n
	}
	if r.at < len(r.expr) && strings.IndexByte("?+*{", r.expr[r.at]) >= 0 {
		// Engines differ on x{2}+, and lazy repetition is not done here.
		r.need(!braces && r.take("+"))
		q.possessive = true
	}
	if q.max > 1000 && !q.possessive {
		// Each one multiplies the ways to try; published patterns have three at most. The engine has a time limit.
		r.open++
		r.need(r.open <= 4)
	}
	_, isSet := n.(*set)
	if !isSet {
		// Groups that can be empty, and many copies of one, are left to the general engine: a group without limit would
		// need a call for every round, too deep for a long text.
		r.need(!n.canBeEmpty() && q.max <= 4)
		r.copies = max(r.copies, 1) * q.max
		r.need(r.copies <= 64) // nested groups multiply
	}
	return q
}

func (r *patternReader) number(s string) int {
	v, err := strconv.Atoi(s)
	r.need(err == nil && v >= 0 && v <= 1000)
	return v
}

// class reads a bracket expression after its [.
func (r *patternReader) class() *set {
	c := new(set)
	r.inClass = true
	negated := r.take("^")
	empty := true
	for !r.take("]") {
		r.need(r.at < len(r.expr))
		empty = false
		if r.expr[r.at] == '[' || strings.HasPrefix(r.expr[r.at:], "&&") {
			r.need(false) // nested classes mean different things to different engines
		}
		lo, single := r.member(c)
		if !single {
			continue
		}
		if r.at+1 < len(r.expr) && r.expr[r.at] == '-' && r.expr[r.at+1] != ']' {
			r.at++
			hi, ok := r.member(nil)
			r.need(ok && lo <= hi && !r.fold)
			c.addRange(lo, hi)
			continue
		}
		r.literal(c, lo)
	}
	r.inClass = false
	r.need(!empty)
	if negated {
		c.negate()
	}
	return c
}

// member reads one member of a class: a character (single is true), or an escape that is added to c.
func (r *patternReader) member(c *set) (ch rune, single bool) {
	ch = r.rune()
	if ch != '\\' {
		return ch, true
	}
	if v, ok := r.escapedRune(); ok {
		return v, true
	}
	r.need(c != nil)
	r.escape(c)
	return 0, false
}

// escapedRune reads an escape that stands for one character, after its backslash; if it is another kind nothing is read.
func (r *patternReader) escapedRune() (rune, bool) {
	r.need(r.at < len(r.expr))
	switch b := r.expr[r.at]; b {
	case 'n', 'r', 't', 'f', 'v':
		r.at++
		return map[byte]rune{'n': '\n', 'r': '\r', 't': '\t', 'f': '\f', 'v': '\v'}[b], true
	case 'u', 'x':
		return r.hexEscape(b)
	default:
		if b < utf8.RuneSelf && !unicode.IsLetter(rune(b)) && !unicode.IsDigit(rune(b)) {
			r.at++
			return rune(b), true
		}
	}
	return 0, false
}

// hexEscape reads \uXXXX, \xXX or \x{X...}, standing on its letter.
func (r *patternReader) hexEscape(b byte) (rune, bool) {
	width := 4
	if b == 'x' {
		width = 2
	}
	rest := r.expr[r.at+1:]
	digits := ""
	if strings.HasPrefix(rest, "{") {
		body, _, found := strings.Cut(rest[1:], "}")
		r.need(found && b == 'x')
		digits = body
		r.at += 3 + len(body)
	} else {
		r.need(len(rest) >= width)
		digits = rest[:width]
		r.at += 1 + width
	}
	v, err := strconv.ParseUint(digits, 16, 32)
	r.need(err == nil && v <= unicode.MaxRune)
	return rune(v), true
}

// escape adds what an escape stands for, after its backslash.
func (r *patternReader) escape(c *set) {
	if v, ok := r.escapedRune(); ok {
		r.literal(c, v)
		return
	}
	switch r.rune() {
	case 's':
		c.addClass(cSpace)
	case 'S':
		r.addNegated(c, cSpace)
	case 'd':
		c.addClass(cDigit)
	case 'D':
		r.addNegated(c, cDigit)
	case 'w':
		c.addClass(cWord)
	case 'W':
		r.addNegated(c, cWord)
	case 'p':
		r.property(c)
	default:
		r.need(false)
	}
}

// addNegated makes c everything outside a class; not inside brackets, since one flag cannot negate a part of a set.
func (r *patternReader) addNegated(c *set, k class) {
	r.need(!r.inClass)
	c.addClass(k)
	c.negate()
}

// cWord is \w as Oniguruma, the engine of Hugging Face's tokenizers, has it.
const cWord = cLetter | cMark | cNumber | cConnector

var properties = map[string]class{
	"L": cLetter, "N": cNumber, "M": cMark, "P": cPunct, "S": cSymbol, "Ll": cLower, "Nd": cDigit, "Han": cHan, "Pc": cConnector,
}

func (r *patternReader) property(c *set) {
	r.need(r.take("{"))
	name, _, found := strings.Cut(r.expr[r.at:], "}")
	r.need(found)
	r.at += len(name) + 1
	// These two pairs stand together in every published pattern.
	if name == "Lu" && r.take(`\p{Lt}`) {
		c.addClass(cUpper)
		return
	}
	if name == "Lm" && r.take(`\p{Lo}`) {
		c.addClass(cCaseless)
		return
	}
	if k, ok := properties[name]; ok {
		c.addClass(k)
		return
	}
	table := unicode.Categories[name]
	if table == nil {
		table = unicode.Scripts[name]
	}
	r.need(table != nil)
	c.addASCII(func(b byte) bool { return unicode.Is(table, rune(b)) })
	c.tables = append(c.tables, table)
}
