package template

// The statement half of the parser: {% if %}, for, set, macro, call, filter, with, raw, generation, break and continue. Tags that load or define other templates, and autoescape, are refused by name.

// parseTemplate parses all tokens.
func (p *parser) parseTemplate() []stmt {
	body := p.parseBody()
	if t := p.peek(); t.kind != tokEnd {
		p.at++
		p.fail(t.line, "unexpected tag %s", p.peek())
	}
	if len(p.unknown) > 0 {
		panic(p.unknown[0])
	}
	return body
}

// parseBody parses statements up to the end of the template, or up to a tag with one of these names; then the opening of that tag is consumed and its name is the next token.
func (p *parser) parseBody(ends ...string) []stmt {
	p.enter()
	defer p.leave()
	var body []stmt
	for {
		t := p.next()
		switch t.kind {
		case tokEnd:
			if len(ends) > 0 {
				p.fail(t.line, "the template ends where {%% %s %%} is expected", ends[len(ends)-1])
			}
			return body
		case tokText:
			body = append(body, &textStmt{t.text})
		case tokPrint:
			value := p.parseTuple(true, false, "")
			if end := p.next(); end.kind != tokPrintEnd {
				p.fail(end.line, "expected }}, found %s", end)
			}
			body = append(body, &outputStmt{value: value, line: t.line})
		case tokTag:
			for _, end := range ends {
				if p.isName(end) {
					return body
				}
			}
			if len(ends) == 0 && p.peek().kind == tokName && len(p.peek().text) > 3 && p.peek().text[:3] == "end" {
				p.fail(t.line, "unexpected tag %s", p.peek())
			}
			body = append(body, p.parseStatement())
		default:
			p.fail(t.line, "unexpected %s", t)
		}
	}
}

func (p *parser) endTag() {
	if t := p.next(); t.kind != tokTagEnd {
		p.fail(t.line, "expected %%}, found %s", t)
	}
}

// parseBlock parses the rest of an opening tag, a body, and its closing tag.
func (p *parser) parseBlock(end string) []stmt {
	p.endTag()
	body := p.parseBody(end)
	p.next()
	p.endTag()
	return body
}

func (p *parser) parseStatement() stmt {
	t := p.next()
	if t.kind != tokName {
		p.fail(t.line, "expected the name of a tag, found %s", t)
	}
	switch t.text {
	case "if":
		return p.parseIf(t.line)
	case "for":
		return p.parseFor(t.line)
	case "set":
		return p.parseSet(t.line)
	case "macro":
		return p.parseMacro(t.line)
	case "call":
		return p.parseCallBlock(t.line)
	case "filter":
		f := p.parseFilters(p.parseFilter(&blockValue{}))
		return &filterStmt{filter: f, body: p.parseBlock("endfilter"), line: t.line}
	case "with":
		return p.parseWith(t.line)
	case "print":
		e := &outputStmt{value: p.parseTuple(true, false, ""), line: t.line}
		p.endTag()
		return e
	case "generation":
		loops := p.loops
		p.loops = 0
		g := &generationStmt{body: p.parseBlock("endgeneration")}
		p.loops = loops
		return g
	case "break", "continue":
		if p.loops == 0 {
			p.fail(t.line, "{%% %s %%} outside a loop", t.text)
		}
		p.endTag()
		if t.text == "break" {
			return &breakStmt{}
		}
		return &continueStmt{}
	case "include", "import", "from", "extends", "block", "autoescape", "do", "trans", "debug":
		p.unsupported(t.line, "tag {%% %s %%}", t.text)
	case "elif", "else", "endif", "endfor", "endset", "endmacro", "endcall", "endfilter", "endwith", "endgeneration":
		p.fail(t.line, "unexpected tag {%% %s %%}", t.text)
	}
	p.unsupported(t.line, "unknown tag {%% %s %%}", t.text)
	return nil
}

func (p *parser) parseIf(line int) stmt {
	p.branch++
	s := &ifStmt{test: p.parseTuple(false, false, ""), line: line}
	p.endTag()
	s.body = p.parseBody("elif", "else", "endif")
	p.enter() // a chain of elif nests
	defer p.leave()
	switch t := p.next(); t.text {
	case "elif":
		s.otherwise = []stmt{p.parseIf(t.line)}
	case "else":
		s.otherwise = p.parseBlock("endif")
	default:
		p.endTag()
	}
	p.branch--
	return s
}

func (p *parser) parseFor(line int) stmt {
	s := &forStmt{line: line, target: p.parseTarget(false, "in")}
	if !p.skipName("in") {
		p.fail(line, "expected in, found %s", p.peek())
	}
	s.iter = p.parseTuple(false, false, "recursive")
	if p.skipName("if") {
		s.test = p.parseExpr(true)
	}
	s.recursive = p.skipName("recursive")
	p.endTag()
	p.loops++
	s.body = p.parseBody("endfor", "else")
	p.loops--
	if t := p.next(); t.text == "else" {
		s.otherwise = p.parseBlock("endfor")
	} else {
		p.endTag()
	}
	return s
}

func (p *parser) parseSet(line int) stmt {
	to := p.parseTarget(true, "")
	if p.skipOp("=") {
		s := &setStmt{target: to, value: p.parseTuple(true, false, ""), line: line}
		p.endTag()
		return s
	}
	s := &setBlockStmt{target: to, line: line}
	if p.skipOp("|") {
		s.filter = p.parseFilters(p.parseFilter(&blockValue{}))
	}
	s.body = p.parseBlock("endset")
	return s
}

// parseTarget parses what is assigned to: a name, several with commas between, in parentheses or not; attributes of namespaces where attrs is set. stop is a name that ends it.
func (p *parser) parseTarget(attrs bool, stop string) target {
	line := p.peek().line
	var items []target
	multi := false
	for {
		t := p.peek()
		if t.kind == tokTagEnd || p.isOp(")") || p.isOp("=") || stop != "" && p.isName(stop) {
			break
		}
		if p.skipOp("(") {
			p.enter()
			items = append(items, p.parseTarget(attrs, ""))
			p.leave()
			p.expectOp(")")
		} else {
			items = append(items, p.parseTargetName(attrs))
		}
		if !p.skipOp(",") {
			break
		}
		multi = true
	}
	if !multi && len(items) == 1 {
		return items[0]
	}
	if len(items) == 0 {
		p.fail(line, "expected a name to assign to, found %s", p.peek())
	}
	return target{tuple: items, multi: true, line: line}
}

func (p *parser) parseTargetName(attrs bool) target {
	line := p.peek().line
	t := target{name: p.expectName(), line: line}
	switch t.name {
	case "true", "True", "false", "False", "none", "None":
		p.fail(line, "cannot assign to %s", t.name)
	}
	if attrs && p.skipOp(".") {
		t.attr = p.expectName()
	}
	return t
}

// parseParams parses the parameters of a macro in parentheses.
func (p *parser) parseParams(m *macroDef) {
	p.expectOp("(")
	for !p.isOp(")") {
		if len(m.params) > 0 {
			p.expectOp(",")
			if p.isOp(")") {
				break
			}
		}
		line := p.peek().line
		m.params = append(m.params, p.expectName())
		if p.skipOp("=") {
			m.defaults = append(m.defaults, p.parseExpr(true))
		} else if m.defaults != nil {
			p.fail(line, "a parameter without a default after one with a default")
		}
	}
	p.expectOp(")")
}

// parseMacroBody parses the rest of a macro after its parameters.
func (p *parser) parseMacroBody(m *macroDef, end string) {
	loops := p.loops
	p.loops = 0
	p.macros = append(p.macros, m)
	m.body = p.parseBlock(end)
	p.macros = p.macros[:len(p.macros)-1]
	p.loops = loops
}

func (p *parser) parseMacro(line int) stmt {
	s := &macroStmt{line: line}
	s.macro.name = p.expectName()
	p.parseParams(&s.macro)
	p.parseMacroBody(&s.macro, "endmacro")
	return s
}

func (p *parser) parseCallBlock(line int) stmt {
	s := &callStmt{line: line}
	s.caller.name = "caller"
	if p.isOp("(") {
		p.parseParams(&s.caller)
	}
	call, ok := p.parseExpr(true).(*callExpr)
	if !ok {
		p.fail(line, "expected a call after {%% call")
	}
	s.call = call
	p.parseMacroBody(&s.caller, "endcall")
	return s
}

func (p *parser) parseWith(line int) stmt {
	s := &withStmt{line: line}
	for p.peek().kind != tokTagEnd {
		if len(s.targets) > 0 {
			p.expectOp(",")
		}
		s.targets = append(s.targets, p.parseTarget(false, ""))
		p.expectOp("=")
		s.values = append(s.values, p.parseExpr(true))
	}
	s.body = p.parseBlock("endwith")
	return s
}
