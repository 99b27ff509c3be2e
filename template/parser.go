package template

// The expression half of the parser, with the precedences of Jinja2. It will not evaluate anything; names of filters and tests are looked up here so that a misspelt one is found before the first render.

import (
	"fmt"

	"github.com/lowkeylm/lowkey/fault"
)

type parser struct {
	tokens  []token
	at      int
	depth   int         // nesting of what is being parsed
	branch  int         // > 0 inside an if: an unknown filter there is an error only when it is reached, as in Jinja2
	unknown []*failure  // unknown filters and tests outside an if
	loops   int         // loops around the statement within the same macro: break and continue need one
	macros  []*macroDef // macros around the expression
}

// maxNesting bounds the nesting of a template, so that parsing and evaluating it need a bounded stack.
const maxNesting = 200

func (p *parser) peek() token      { return p.tokens[p.at] }
func (p *parser) peekAfter() token { return p.tokens[min(p.at+1, len(p.tokens)-1)] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != tokEnd {
		p.at++
	}
	return t
}

func (p *parser) fail(line int, format string, args ...any) {
	panic(&failure{kind: fault.BadFile, line: line, text: fmt.Sprintf(format, args...)})
}

func (p *parser) unsupported(line int, format string, args ...any) {
	panic(&failure{kind: fault.Unsupported, line: line, text: fmt.Sprintf(format, args...)})
}

func unknownName(what, name string, line int) *failure {
	return &failure{kind: fault.Unsupported, line: line, text: fmt.Sprintf("unknown %s %q", what, name)}
}

// enter counts one level of nesting; leave ends it.
func (p *parser) enter() {
	p.depth++
	if p.depth > maxNesting {
		panic(&failure{kind: fault.Unsupported, line: p.peek().line, text: "too deep nesting", hint: fmt.Sprintf("at most %d levels", maxNesting)})
	}
}

func (p *parser) leave() { p.depth-- }

func (p *parser) isOp(op string) bool {
	t := p.peek()
	return t.kind == tokOperator && t.text == op
}

func (p *parser) isName(name string) bool {
	t := p.peek()
	return t.kind == tokName && t.text == name
}

func (p *parser) skipOp(op string) bool {
	if p.isOp(op) {
		p.at++
		return true
	}
	return false
}

func (p *parser) skipName(name string) bool {
	if p.isName(name) {
		p.at++
		return true
	}
	return false
}

func (p *parser) expectOp(op string) {
	if !p.skipOp(op) {
		p.fail(p.peek().line, "expected %q, found %s", op, p.peek())
	}
}

func (p *parser) expectName() string {
	t := p.next()
	if t.kind != tokName {
		p.fail(t.line, "expected a name, found %s", t)
	}
	return t.text
}

// parseExpr parses one expression; inline if included where cond is set.
func (p *parser) parseExpr(cond bool) expr {
	p.enter()
	defer p.leave()
	if !cond {
		return p.parseOr()
	}
	unknown := len(p.unknown)
	e := p.parseOr()
	for p.skipName("if") {
		p.unknown = p.unknown[:unknown]
		c := &condExpr{then: e, test: p.parseOr()}
		if p.skipName("else") {
			c.otherwise = p.parseExpr(true)
		}
		p.unknown = p.unknown[:unknown]
		e = c
	}
	return e
}

func (p *parser) parseOr() expr {
	e := p.parseAnd()
	for p.skipName("or") {
		e = &logicExpr{and: false, l: e, r: p.parseAnd()}
	}
	return e
}

func (p *parser) parseAnd() expr {
	e := p.parseNot()
	for p.skipName("and") {
		e = &logicExpr{and: true, l: e, r: p.parseNot()}
	}
	return e
}

func (p *parser) parseNot() expr {
	if p.skipName("not") {
		p.enter()
		defer p.leave()
		return &notExpr{p.parseNot()}
	}
	return p.parseCompare()
}

func (p *parser) parseCompare() expr {
	line := p.peek().line
	first := p.parseSum()
	var ops []string
	var rest []expr
	for {
		t := p.peek()
		op := ""
		switch {
		case t.kind == tokOperator && (t.text == "==" || t.text == "!=" || t.text == "<" || t.text == "<=" || t.text == ">" || t.text == ">="):
			op = t.text
			p.at++
		case p.skipName("in"):
			op = "in"
		case p.isName("not") && p.peekAfter().kind == tokName && p.peekAfter().text == "in":
			op = "not in"
			p.at += 2
		}
		if op == "" {
			break
		}
		ops = append(ops, op)
		rest = append(rest, p.parseSum())
	}
	if ops == nil {
		return first
	}
	return &compareExpr{first: first, ops: ops, rest: rest, line: line}
}

func (p *parser) parseSum() expr {
	e := p.parseConcat()
	for p.isOp("+") || p.isOp("-") {
		t := p.next()
		e = &binaryExpr{op: t.text, l: e, r: p.parseConcat(), line: t.line}
	}
	return e
}

func (p *parser) parseConcat() expr {
	line := p.peek().line
	parts := []expr{p.parseProduct()}
	for p.skipOp("~") {
		parts = append(parts, p.parseProduct())
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return &concatExpr{parts: parts, line: line}
}

func (p *parser) parseProduct() expr {
	e := p.parsePower()
	for p.isOp("*") || p.isOp("/") || p.isOp("//") || p.isOp("%") {
		t := p.next()
		e = &binaryExpr{op: t.text, l: e, r: p.parsePower(), line: t.line}
	}
	return e
}

func (p *parser) parsePower() expr {
	e := p.parseUnary(true)
	for p.isOp("**") {
		t := p.next()
		e = &binaryExpr{op: t.text, l: e, r: p.parseUnary(true), line: t.line}
	}
	return e
}

func (p *parser) parseUnary(filters bool) expr {
	p.enter()
	defer p.leave()
	var e expr
	if t := p.peek(); p.skipOp("-") || p.skipOp("+") {
		e = &unaryExpr{op: t.text, x: p.parseUnary(false), line: t.line}
	} else {
		e = p.parsePrimary()
	}
	e = p.parsePostfix(e)
	if filters {
		e = p.parseFilters(e)
	}
	return e
}

func (p *parser) parsePrimary() expr {
	t := p.next()
	switch t.kind {
	case tokName:
		switch t.text {
		case "true", "True":
			return &constExpr{true}
		case "false", "False":
			return &constExpr{false}
		case "none", "None":
			return &constExpr{nil}
		}
		for _, m := range p.macros {
			m.usesCaller = m.usesCaller || t.text == "caller"
			m.usesVarargs = m.usesVarargs || t.text == "varargs"
			m.usesKwargs = m.usesKwargs || t.text == "kwargs"
		}
		return &nameExpr{name: t.text}
	case tokString:
		s := t.text
		for p.peek().kind == tokString {
			s += p.next().text
		}
		return &constExpr{s}
	case tokInt, tokFloat:
		return &constExpr{t.value}
	case tokOperator:
		switch t.text {
		case "(":
			e := p.parseTuple(true, true, "")
			p.expectOp(")")
			return e
		case "[":
			l := &listExpr{}
			for !p.isOp("]") {
				if len(l.items) > 0 {
					p.expectOp(",")
					if p.isOp("]") {
						break
					}
				}
				l.items = append(l.items, p.parseExpr(true))
			}
			p.expectOp("]")
			return l
		case "{":
			d := &dictExpr{}
			for !p.isOp("}") {
				if len(d.keys) > 0 {
					p.expectOp(",")
					if p.isOp("}") {
						break
					}
				}
				d.keys = append(d.keys, p.parseExpr(true))
				p.expectOp(":")
				d.vals = append(d.vals, p.parseExpr(true))
			}
			p.expectOp("}")
			return d
		}
	}
	p.fail(t.line, "unexpected %s", t)
	return nil
}

// parseTuple parses an expression, or several with commas between as a tuple. parens says that empty parentheses are allowed; stop is a name that ends the tuple.
func (p *parser) parseTuple(cond, parens bool, stop string) expr {
	var items []expr
	tuple := false
	for {
		if len(items) > 0 {
			p.expectOp(",")
		}
		t := p.peek()
		if t.kind == tokPrintEnd || t.kind == tokTagEnd || p.isOp(")") || stop != "" && p.isName(stop) {
			break
		}
		items = append(items, p.parseExpr(cond))
		if !p.isOp(",") {
			break
		}
		tuple = true
	}
	if !tuple {
		if len(items) > 0 {
			return items[0]
		}
		if !parens {
			p.fail(p.peek().line, "expected an expression, found %s", p.peek())
		}
	}
	return &listExpr{items: items, tuple: true}
}

func (p *parser) parsePostfix(e expr) expr {
	for {
		switch {
		case p.isOp(".") || p.isOp("["):
			e = p.parseSubscript(e)
		case p.isOp("("):
			e = p.parseCall(e)
		default:
			return e
		}
	}
}

func (p *parser) parseFilters(e expr) expr {
	for {
		switch {
		case p.skipOp("|"):
			e = p.parseFilter(e)
		case p.skipName("is"):
			e = p.parseTest(e)
		case p.isOp("("):
			e = p.parseCall(e)
		default:
			return e
		}
	}
}

func (p *parser) parseSubscript(obj expr) expr {
	t := p.next()
	if t.text == "." {
		a := p.next()
		switch a.kind {
		case tokName:
			return &attrExpr{obj: obj, name: a.text, line: a.line}
		case tokInt:
			return &itemExpr{obj: obj, arg: &constExpr{a.value}, line: a.line}
		}
		p.fail(a.line, "expected a name or number, found %s", a)
	}
	var args []expr
	var slices int
	for !p.isOp("]") {
		if len(args) > 0 {
			p.expectOp(",")
		}
		a := p.parseSlice(t.line)
		if _, ok := a.(*sliceExpr); ok {
			slices++
		}
		args = append(args, a)
	}
	p.expectOp("]")
	if len(args) == 1 {
		if s, ok := args[0].(*sliceExpr); ok {
			s.obj = obj
			return s
		}
		return &itemExpr{obj: obj, arg: args[0], line: t.line}
	}
	if slices > 0 {
		p.unsupported(t.line, "a slice among several subscripts")
	}
	return &itemExpr{obj: obj, arg: &listExpr{items: args, tuple: true}, line: t.line}
}

// parseSlice parses one subscript: an expression, or a slice (with obj to be filled in).
func (p *parser) parseSlice(line int) expr {
	var parts [3]expr
	n := 0
	if !p.isOp(":") {
		e := p.parseExpr(true)
		if !p.isOp(":") {
			return e
		}
		parts[0] = e
	}
	for n < 2 && p.skipOp(":") {
		n++
		if !p.isOp(":") && !p.isOp("]") && !p.isOp(",") {
			parts[n] = p.parseExpr(true)
		}
	}
	return &sliceExpr{start: parts[0], stop: parts[1], step: parts[2], line: line}
}

func (p *parser) parseCall(fn expr) *callExpr {
	line := p.peek().line
	return &callExpr{fn: fn, args: p.parseArgs(), line: line}
}

func (p *parser) parseArgs() callArgs {
	var a callArgs
	line := p.peek().line
	p.expectOp("(")
	for first := true; !p.isOp(")"); first = false {
		if !first {
			p.expectOp(",")
			if p.isOp(")") {
				break
			}
		}
		switch {
		case p.skipOp("*"):
			if a.star != nil || a.starStar != nil {
				p.fail(line, "bad order of the arguments of a call")
			}
			a.star = p.parseExpr(true)
		case p.skipOp("**"):
			if a.starStar != nil {
				p.fail(line, "bad order of the arguments of a call")
			}
			a.starStar = p.parseExpr(true)
		case p.peek().kind == tokName && p.peekAfter().kind == tokOperator && p.peekAfter().text == "=":
			if a.starStar != nil {
				p.fail(line, "bad order of the arguments of a call")
			}
			name := p.next().text
			p.next()
			for _, k := range a.kw {
				if k.name == name {
					p.fail(line, "argument %q is given twice", name)
				}
			}
			a.kw = append(a.kw, keywordExpr{name, p.parseExpr(true)})
		default:
			if a.star != nil || a.starStar != nil || a.kw != nil {
				p.fail(line, "bad order of the arguments of a call")
			}
			a.pos = append(a.pos, p.parseExpr(true))
		}
	}
	p.expectOp(")")
	return a
}

// dottedName takes name.name.name.
func (p *parser) dottedName() string {
	name := p.expectName()
	for p.isOp(".") {
		p.at++
		name += "." + p.expectName()
	}
	return name
}

// parseFilter parses what follows the | of a filter.
func (p *parser) parseFilter(obj expr) expr {
	line := p.peek().line
	f := &filterExpr{obj: obj, name: p.dottedName(), line: line}
	f.filter = filters[f.name]
	if f.filter == nil && p.branch == 0 {
		p.unknown = append(p.unknown, unknownName("filter", f.name, line))
	}
	if p.isOp("(") {
		f.args = p.parseArgs()
	}
	return f
}

// parseTest parses what follows "is".
func (p *parser) parseTest(obj expr) expr {
	line := p.peek().line
	negated := p.skipName("not")
	t := &testExpr{obj: obj, name: p.dottedName(), line: line}
	t.test = tests[t.name]
	if t.test == nil && p.branch == 0 {
		p.unknown = append(p.unknown, unknownName("test", t.name, line))
	}
	next := p.peek()
	switch {
	case p.isOp("("):
		t.args = p.parseArgs()
	case next.kind == tokName && (next.text == "else" || next.text == "or" || next.text == "and"):
	case next.kind == tokName && next.text == "is":
		p.fail(line, "tests cannot be chained with is")
	case next.kind == tokName || next.kind == tokString || next.kind == tokInt || next.kind == tokFloat || p.isOp("(") || p.isOp("[") || p.isOp("{"):
		t.args.pos = []expr{p.parsePostfix(p.parsePrimary())}
	}
	if negated {
		return &notExpr{t}
	}
	return t
}
