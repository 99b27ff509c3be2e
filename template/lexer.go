package template

// The lexer: template text to tokens, with whitespace control as Jinja2 does it under trim_blocks and lstrip_blocks. It will not check that tags are balanced; the parser does.

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lowkeylm/lowkey/fault"
)

type tokenKind uint8

const (
	tokEnd      tokenKind = iota // end of the template
	tokText                      // text to copy
	tokPrint                     // {{
	tokPrintEnd                  // }}
	tokTag                       // {%
	tokTagEnd                    // %}
	tokName                      // identifier
	tokString                    // string literal, unescaped
	tokInt                       // integer literal
	tokFloat                     // float literal
	tokOperator                  // one of operators
)

type token struct {
	kind  tokenKind
	line  int
	text  string
	value Value // of tokInt and tokFloat
}

func (t token) String() string {
	switch t.kind {
	case tokEnd:
		return "the end of the template"
	case tokText:
		return "text"
	case tokPrint:
		return "{{"
	case tokPrintEnd:
		return "}}"
	case tokTag:
		return "{%"
	case tokTagEnd:
		return "%}"
	case tokString:
		return "a string"
	}
	return strconv.Quote(t.text)
}

// operators, longest first.
var operators = []string{"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"}

type lexer struct {
	src       string
	pos       int
	line      int // line of pos, from 1
	tokens    []token
	lineStart bool // the text at pos begins a line, also where the line break before it was cut
}

func lex(source string) []token {
	if !utf8.ValidString(source) {
		panic(&failure{kind: fault.BadFile, text: "the text is not valid UTF-8"})
	}
	source = strings.ReplaceAll(source, "\r\n", "\n")
	source = strings.ReplaceAll(source, "\r", "\n")
	source = strings.TrimSuffix(source, "\n")
	l := &lexer{src: source, line: 1, lineStart: true}
	for l.pos < len(l.src) {
		l.lexText()
	}
	l.add(tokEnd, "")
	return l.tokens
}

func (l *lexer) fail(format string, args ...any) {
	panic(&failure{kind: fault.BadFile, line: l.line, text: fmt.Sprintf(format, args...)})
}

func (l *lexer) add(kind tokenKind, text string) {
	l.tokens = append(l.tokens, token{kind: kind, line: l.line, text: text})
}

// skip moves n bytes on and counts their lines.
func (l *lexer) skip(n int) {
	l.line += strings.Count(l.src[l.pos:l.pos+n], "\n")
	l.pos += n
}

func (l *lexer) skipSpace() { l.skip(spaceLen(l.src[l.pos:])) }

// lexText takes the text up to the next tag, and that tag.
func (l *lexer) lexText() {
	rest := l.src[l.pos:]
	at := 0
	for {
		i := strings.IndexByte(rest[at:], '{')
		if i < 0 || at+i+1 >= len(rest) {
			l.add(tokText, rest)
			l.skip(len(rest))
			return
		}
		at += i
		if c := rest[at+1]; c == '{' || c == '%' || c == '#' {
			break
		}
		at++
	}
	text, kind := rest[:at], rest[at+1]
	sign := byte(0)
	if at+2 < len(rest) && (rest[at+2] == '-' || rest[at+2] == '+') {
		sign = rest[at+2]
	}
	l.addText(text, sign, kind != '{')
	l.skip(at + 2)
	if sign != 0 {
		l.skip(1)
	}
	l.lineStart = false
	switch kind {
	case '#':
		l.lexComment()
	case '{':
		l.add(tokPrint, "")
		l.lexTag("}}")
	case '%':
		if n := rawTagLen(l.src[l.pos:], "raw"); n > 0 {
			l.lexRaw(n)
			return
		}
		l.add(tokTag, "")
		l.lexTag("%}")
	}
}

// addText adds text that stands before a tag with this sign; lstrip says that white space from the start of the line to the tag is cut.
func (l *lexer) addText(text string, sign byte, lstrip bool) {
	if sign == '-' {
		text = trimSpaceRight(text)
	} else if sign != '+' && lstrip {
		from := strings.LastIndexByte(text, '\n') + 1
		if (from > 0 || l.lineStart) && spaceLen(text[from:]) == len(text)-from {
			text = text[:from]
		}
	}
	if text != "" {
		l.add(tokText, text)
	}
}

// closeTag takes the end of a tag and the white space its sign swallows: -%} all, %} one line break (not after }}).
func (l *lexer) closeTag(sign byte, end string, trimBreak bool) {
	from := l.pos
	if sign != 0 {
		l.skip(1)
	}
	l.skip(len(end))
	if sign == '-' {
		l.skipSpace()
	} else if sign == 0 && trimBreak && strings.HasPrefix(l.src[l.pos:], "\n") {
		l.skip(1)
	}
	l.lineStart = strings.HasSuffix(l.src[from:l.pos], "\n")
}

func (l *lexer) lexComment() {
	i := strings.Index(l.src[l.pos:], "#}")
	if l.pos == len(l.src) {
		return // Jinja2 takes an opening at the very end for a closed one
	}
	if i < 0 {
		l.fail("a comment {# does not end")
	}
	sign := byte(0)
	if i > 0 {
		if c := l.src[l.pos+i-1]; c == '-' || c == '+' {
			sign = c
			i--
		}
	}
	l.skip(i)
	l.closeTag(sign, "#}", true)
}

// rawTagLen is the length of `\s*word\s*` and a tag end at the start of s (after {% and its sign), 0 where there is none.
func rawTagLen(s, word string) int {
	n := spaceLen(s)
	if !strings.HasPrefix(s[n:], word) {
		return 0
	}
	n += len(word)
	n += spaceLen(s[n:])
	if strings.HasPrefix(s[n:], "%}") || len(s) > n && (s[n] == '-' || s[n] == '+') && strings.HasPrefix(s[n+1:], "%}") {
		return n
	}
	return 0
}

// lexRaw takes {% raw %} ... {% endraw %}; n is the length up to the end of the opening tag. The opening tag swallows no line break.
func (l *lexer) lexRaw(n int) {
	l.skip(n)
	sign := l.src[l.pos]
	if sign == '%' {
		sign = 0
	} else if sign == '+' {
		l.fail("{%% raw +%%} is no tag")
	}
	l.closeTag(sign, "%}", false)
	rest := l.src[l.pos:]
	if rest == "" {
		return // as for comments
	}
	for at := 0; ; at += 2 {
		i := strings.Index(rest[at:], "{%")
		if i < 0 {
			l.fail("{%% raw %%} does not end")
		}
		at += i
		inner := at + 2
		sign := byte(0)
		if inner < len(rest) && (rest[inner] == '-' || rest[inner] == '+') {
			sign = rest[inner]
			inner++
		}
		n := rawTagLen(rest[inner:], "endraw")
		if n == 0 {
			continue
		}
		l.addText(rest[:at], sign, true)
		l.skip(inner + n)
		end := l.src[l.pos]
		if end == '%' {
			end = 0
		}
		l.closeTag(end, "%}", true)
		return
	}
}

// lexTag takes the tokens of one tag up to its end, which is }} or %}.
func (l *lexer) lexTag(end string) {
	var open []byte // brackets not yet closed: inside them the tag cannot end
	for l.pos < len(l.src) {
		rest := l.src[l.pos:]
		if len(open) == 0 {
			sign := byte(0)
			if rest[0] == '-' || rest[0] == '+' && end == "%}" {
				sign = rest[0]
			}
			if sign != 0 && strings.HasPrefix(rest[1:], end) || sign == 0 && strings.HasPrefix(rest, end) {
				if end == "}}" {
					l.add(tokPrintEnd, "")
				} else {
					l.add(tokTagEnd, "")
				}
				l.closeTag(sign, end, end == "%}")
				return
			}
		}
		if n := spaceLen(rest); n > 0 {
			l.skip(n)
			continue
		}
		c, _ := utf8.DecodeRuneInString(rest)
		switch {
		case c >= '0' && c <= '9':
			l.lexNumber()
		case c == '_' || unicode.IsLetter(c):
			n := 0
			for i, c := range rest {
				if c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c) && !unicode.Is(unicode.Mn, c) && !unicode.Is(unicode.Mc, c) {
					break
				}
				n = i + utf8.RuneLen(c)
			}
			l.add(tokName, rest[:n])
			l.skip(n)
		case c == '"' || c == '\'':
			l.lexString(byte(c))
		default:
			op := ""
			for _, o := range operators {
				if strings.HasPrefix(rest, o) {
					op = o
					break
				}
			}
			switch op {
			case "":
				l.fail("unexpected character %q", c)
			case "(", "[", "{":
				open = append(open, op[0])
			case ")", "]", "}":
				if len(open) == 0 || (op == ")" && open[len(open)-1] != '(') || (op == "]" && open[len(open)-1] != '[') || (op == "}" && open[len(open)-1] != '{') {
					l.fail("unexpected %q", op)
				}
				open = open[:len(open)-1]
			}
			l.add(tokOperator, op)
			l.skip(len(op))
		}
	}
	l.fail("a tag does not end with %s", end)
}

// lexNumber takes an integer or a float, in decimal or with the prefix 0b, 0o or 0x; underscores may stand between digits.
func (l *lexer) lexNumber() {
	rest := l.src[l.pos:]
	digits := func(i int, ok func(byte) bool) int {
		for i < len(rest) && (ok(rest[i]) || rest[i] == '_' && i+1 < len(rest) && ok(rest[i+1])) {
			i++
		}
		return i
	}
	decimal := func(c byte) bool { return c >= '0' && c <= '9' }
	n := digits(0, decimal)
	float := n
	afterDot := l.pos > 0 && l.src[l.pos-1] == '.'
	if !afterDot {
		if float+1 < len(rest) && rest[float] == '.' && decimal(rest[float+1]) {
			float = digits(float+1, decimal)
		}
		if float < len(rest) && (rest[float] == 'e' || rest[float] == 'E') {
			i := float + 1
			if i < len(rest) && (rest[i] == '+' || rest[i] == '-') {
				i++
			}
			if i < len(rest) && decimal(rest[i]) {
				float = digits(i, decimal)
			}
		}
	}
	if float > n {
		f, err := strconv.ParseFloat(strings.ReplaceAll(rest[:float], "_", ""), 64)
		if err != nil && !math.IsInf(f, 0) {
			l.fail("bad number %q", rest[:float])
		}
		l.tokens = append(l.tokens, token{kind: tokFloat, line: l.line, text: rest[:float], value: f})
		l.skip(float)
		return
	}
	base := 10
	text := rest[:n]
	if rest[0] == '0' && len(rest) > 2 {
		prefix := func(b int, ok func(byte) bool) {
			if i := digits(2, ok); i > 2 && ok(rest[2]) {
				base, n, text = b, i, rest[2:i]
			}
		}
		switch rest[1] {
		case 'x', 'X':
			prefix(16, func(c byte) bool { return decimal(c) || c|32 >= 'a' && c|32 <= 'f' })
		case 'o', 'O':
			prefix(8, func(c byte) bool { return c >= '0' && c <= '7' })
		case 'b', 'B':
			prefix(2, func(c byte) bool { return c == '0' || c == '1' })
		}
	}
	text = strings.ReplaceAll(text, "_", "")
	if base == 10 && len(text) > 1 && text[0] == '0' && strings.Trim(text, "0") != "" {
		l.fail("bad number %q", text)
	}
	i, err := strconv.ParseInt(text, base, 64)
	if err != nil {
		panic(&failure{kind: fault.Unsupported, line: l.line, text: "integer " + rest[:n] + " does not fit in 64 bits"})
	}
	l.tokens = append(l.tokens, token{kind: tokInt, line: l.line, text: rest[:n], value: i})
	l.skip(n)
}

// lexString takes a string literal with Python's escapes.
func (l *lexer) lexString(quote byte) {
	rest := l.src[l.pos:]
	i := 1
	for i < len(rest) && rest[i] != quote {
		if rest[i] == '\\' {
			i++
		}
		i++
	}
	if i >= len(rest) {
		l.fail("a string does not end")
	}
	l.add(tokString, l.unescape(rest[1:i]))
	l.skip(i + 1)
}

func (l *lexer) unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 >= len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case '\n':
		case '\\', '\'', '"':
			b.WriteByte(c)
		case 'a':
			b.WriteByte('\a')
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'v':
			b.WriteByte('\v')
		case 'x', 'u', 'U':
			n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
			if i+n >= len(s) {
				l.fail("a \\%c escape is cut short", c)
			}
			code, err := strconv.ParseUint(s[i+1:i+1+n], 16, 32)
			if err != nil || code > unicode.MaxRune || code >= 0xD800 && code < 0xE000 {
				l.fail("bad escape \\%s", s[i:i+1+n])
			}
			b.WriteRune(rune(code))
			i += n
		case 'N':
			panic(&failure{kind: fault.Unsupported, line: l.line, text: "string escape \\N{...}"})
		case '0', '1', '2', '3', '4', '5', '6', '7':
			code := rune(0)
			n := 0
			for n < 3 && i+n < len(s) && s[i+n] >= '0' && s[i+n] <= '7' {
				code = code*8 + rune(s[i+n]-'0')
				n++
			}
			b.WriteRune(code)
			i += n - 1
		default: // an unknown escape stays as it is
			b.WriteByte('\\')
			b.WriteByte(c)
		}
	}
	return b.String()
}

// isSpace says what Python's str.isspace says of one character.
func isSpace(c rune) bool { return unicode.IsSpace(c) || c >= 0x1c && c <= 0x1f }

// spaceLen is the length in bytes of the white space s begins with.
func spaceLen(s string) int {
	for i, c := range s {
		if !isSpace(c) {
			return i
		}
	}
	return len(s)
}

func trimSpaceRight(s string) string { return strings.TrimRightFunc(s, isSpace) }
