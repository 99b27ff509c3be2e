package template

// The evaluator: statements, scopes, loops and macros. Errors travel as panics of *failure up to Render. Every loop over data counts steps, every string and list made counts bytes, so that Limits hold.

import (
	"fmt"
	"strings"
	"time"

	"github.com/lowkeylm/lowkey/fault"
)

// renderer is the state of one Render.
type renderer struct {
	limits Limits
	now    time.Time
	out    *strings.Builder
	steps  int64
	memory int64
	depth  int // nested macro calls and recursive loops
	nodes  int // nested expressions, a bound on the stack
	line   int // of the last node entered, for errors
}

// maxNodes bounds the depth of expressions under evaluation, over all macro calls.
const maxNodes = 20_000

// scope holds the variables of one level: a template, a loop round, a macro call, a block.
type scope struct {
	vars   map[string]Value
	parent *scope
}

func (s *scope) set(name string, v Value) {
	if s.vars == nil {
		s.vars = map[string]Value{}
	}
	s.vars[name] = v
}

func (s *scope) get(name string) (Value, bool) {
	for ; s != nil; s = s.parent {
		if v, ok := s.vars[name]; ok {
			return v, true
		}
	}
	return nil, false
}

// fail ends the render with a complaint about the template's values.
func (r *renderer) fail(format string, args ...any) {
	panic(&failure{kind: fault.BadInput, line: r.line, text: fmt.Sprintf(format, args...)})
}

func (r *renderer) unsupported(format string, args ...any) {
	panic(&failure{kind: fault.Unsupported, line: r.line, text: fmt.Sprintf(format, args...)})
}

func (r *renderer) overLimit(what string, limit int64) {
	panic(&failure{kind: fault.OverBudget, line: r.line, text: "the render needs too much", hint: fmt.Sprintf("at most %d %s", limit, what)})
}

// step counts n units of work.
func (r *renderer) step(n int) {
	r.steps += int64(n)
	if r.steps > r.limits.Steps || n < 0 {
		r.overLimit("steps", r.limits.Steps)
	}
}

// charge counts a new string of n bytes, before it is made.
func (r *renderer) charge(n int) {
	if n > r.limits.Output || n < 0 {
		r.overLimit("bytes in one text", int64(r.limits.Output))
	}
	r.memory += int64(n)
	if r.memory > r.limits.Memory {
		r.overLimit("bytes in all", r.limits.Memory)
	}
}

// itemBytes is what one item of a list counts for: two words, the room a growing list holds in reserve, and a small value behind them.
const itemBytes = 48

// chargeItems counts a new list of n values, before it is made.
func (r *renderer) chargeItems(n int) {
	if n < 0 || n > r.limits.Output/itemBytes {
		r.overLimit("values in one list", int64(r.limits.Output/itemBytes))
	}
	r.step(n)
	r.charge(itemBytes * n)
}

// enter counts one level of macro calls, recursive loops or nested values; leave ends it.
func (r *renderer) enter() {
	r.depth++
	if r.depth > r.limits.Depth {
		r.overLimit("nested calls or values", int64(r.limits.Depth))
	}
}

func (r *renderer) leave() { r.depth-- }

// write appends to the output.
func (r *renderer) write(s string) {
	if len(s) > r.limits.Output-r.out.Len() {
		r.overLimit("bytes in one text", int64(r.limits.Output))
	}
	r.charge(len(s))
	r.out.WriteString(s)
}

// capture runs f and returns what it wrote.
func (r *renderer) capture(f func()) string {
	outer := r.out
	var b strings.Builder
	r.out = &b
	f()
	r.out = outer
	return b.String()
}

// captureBody is the text of a body in a scope of its own; a break or continue in it drops the text.
func (r *renderer) captureBody(body []stmt, sc *scope) (text string, f flow) {
	text = r.capture(func() { f = r.execBody(body, &scope{parent: sc}) })
	return text, f
}

// flow says how a statement ended.
type flow uint8

const (
	flowNext flow = iota
	flowBreak
	flowContinue
)

func (r *renderer) execBody(body []stmt, sc *scope) flow {
	for _, s := range body {
		if f := r.exec(s, sc); f != flowNext {
			return f
		}
	}
	return flowNext
}

func (r *renderer) exec(s stmt, sc *scope) flow {
	r.step(1)
	switch s := s.(type) {
	case *textStmt:
		r.write(s.text)
	case *outputStmt:
		r.line = s.line
		r.write(r.str(r.eval(s.value, sc)))
	case *ifStmt:
		r.line = s.line
		if r.truth(r.eval(s.test, sc)) {
			return r.execBody(s.body, sc)
		}
		return r.execBody(s.otherwise, sc)
	case *forStmt:
		r.line = s.line
		return r.execFor(s, r.eval(s.iter, sc), sc, 0)
	case *setStmt:
		r.line = s.line
		r.assign(s.target, r.eval(s.value, sc), sc)
	case *setBlockStmt:
		text, f := r.captureBody(s.body, sc)
		if f != flowNext {
			return f
		}
		r.line = s.line
		var v Value = text
		if s.filter != nil {
			v = r.evalBlockFilter(s.filter, text, sc)
		}
		r.assign(s.target, v, sc)
	case *macroStmt:
		r.line = s.line
		sc.set(s.macro.name, r.makeMacro(&s.macro, sc))
	case *callStmt:
		r.line = s.line
		caller := r.makeMacro(&s.caller, sc)
		r.write(r.str(r.evalCall(s.call, sc, &keyword{"caller", caller})))
	case *filterStmt:
		text, f := r.captureBody(s.body, sc)
		if f != flowNext {
			return f
		}
		r.line = s.line
		r.write(r.str(r.evalBlockFilter(s.filter, text, sc)))
	case *withStmt:
		r.line = s.line
		inner := &scope{parent: sc}
		for i, t := range s.targets {
			r.assign(t, r.eval(s.values[i], sc), inner)
		}
		return r.execBody(s.body, inner)
	case *generationStmt:
		r.execBody(s.body, &scope{parent: sc})
	case *breakStmt:
		return flowBreak
	case *continueStmt:
		return flowContinue
	}
	return flowNext
}

// evalBlockFilter applies the filters of a block to its text.
func (r *renderer) evalBlockFilter(filter expr, text string, sc *scope) Value {
	inner := &scope{parent: sc}
	inner.set(blockName, text)
	return r.eval(filter, inner)
}

// blockName is the variable a blockValue reads; no template can write such a name.
const blockName = "{block}"

func (r *renderer) assign(t target, v Value, sc *scope) {
	r.line = t.line
	if !t.multi {
		if t.attr == "" {
			sc.set(t.name, v)
			return
		}
		holder, _ := r.lookup(t.name, sc).(*namespace)
		if holder == nil {
			r.fail("cannot set attribute %q of %s: only a namespace allows it", t.attr, r.kindOf(r.lookup(t.name, sc)))
		}
		holder.attrs.Set(t.attr, v)
		return
	}
	next := r.iterate(v)
	for _, part := range t.tuple {
		item, ok := next()
		if !ok {
			r.fail("not enough values to unpack, %d expected", len(t.tuple))
		}
		r.assign(part, item, sc)
	}
	if _, more := next(); more {
		r.fail("too many values to unpack, %d expected", len(t.tuple))
	}
}

// loopState is the variable loop. Items are taken one by one, so that a filter in the loop's head sees what the body changed.
type loopState struct {
	next    iterator
	ahead   []Value // taken from next already, not yet given
	index   int     // of the current item, from 0
	length  int     // -1 while unknown
	current Value
	prev    Value // undefined in the first round
	depth   int
	recurse func(iter Value, depth int) Value // nil in a loop that is not recursive
	changed Value                             // arguments of the last call of loop.changed, nil before it
}

func (l *loopState) advance() bool {
	var v Value
	if len(l.ahead) > 0 {
		v, l.ahead = l.ahead[0], l.ahead[1:]
	} else {
		var ok bool
		if v, ok = l.next(); !ok {
			return false
		}
	}
	if l.index >= 0 {
		l.prev = l.current
	}
	l.current = v
	l.index++
	return true
}

// peek is the next item, without going there.
func (l *loopState) peek() (Value, bool) {
	if len(l.ahead) == 0 {
		v, ok := l.next()
		if !ok {
			return nil, false
		}
		l.ahead = append(l.ahead, v)
	}
	return l.ahead[0], true
}

// count is the number of items in all; it takes the rest if it must.
func (l *loopState) count(r *renderer) int {
	if l.length < 0 {
		for {
			v, ok := l.next()
			if !ok {
				break
			}
			r.chargeItems(1)
			l.ahead = append(l.ahead, v)
		}
		l.length = l.index + 1 + len(l.ahead)
	}
	return l.length
}

func (r *renderer) execFor(s *forStmt, iterable Value, sc *scope, depth int) flow {
	items := r.iterate(iterable)
	loop := &loopState{next: items, index: -1, length: -1, prev: &undefined{"there is no previous item"}, depth: depth}
	if s.test == nil {
		if n, ok := r.lengthOf(iterable); ok {
			loop.length = n
		}
	} else {
		loop.next = func() (Value, bool) {
			for {
				v, ok := items()
				if !ok {
					return nil, false
				}
				r.step(1)
				inner := &scope{parent: sc}
				r.assign(s.target, v, inner)
				if r.truth(r.eval(s.test, inner)) {
					return v, true
				}
			}
		}
	}
	if s.recursive {
		loop.recurse = func(iter Value, depth int) Value {
			r.enter()
			defer r.leave()
			return r.capture(func() { r.execFor(s, iter, sc, depth) })
		}
	}
	whole := false // one round ran to its end: as in Jinja2, rounds that all left by break or continue leave the else to run
	for loop.advance() {
		r.step(1)
		inner := &scope{parent: sc, vars: make(map[string]Value, 4)}
		inner.vars["loop"] = loop
		r.assign(s.target, loop.current, inner)
		f := r.execBody(s.body, inner)
		if f == flowBreak {
			break
		}
		whole = whole || f == flowNext
	}
	if whole {
		return flowNext
	}
	return r.execBody(s.otherwise, &scope{parent: sc})
}

// attr is loop.name; the second result is false where a loop has no such attribute.
func (l *loopState) attr(r *renderer, name string) (Value, bool) {
	switch name {
	case "index":
		return int64(l.index + 1), true
	case "index0":
		return int64(l.index), true
	case "revindex":
		return int64(l.count(r) - l.index), true
	case "revindex0":
		return int64(l.count(r) - l.index - 1), true
	case "first":
		return l.index == 0, true
	case "last":
		_, more := l.peek()
		return !more, true
	case "length":
		return int64(l.count(r)), true
	case "depth":
		return int64(l.depth + 1), true
	case "depth0":
		return int64(l.depth), true
	case "previtem":
		return l.prev, true
	case "nextitem":
		if v, ok := l.peek(); ok {
			return v, true
		}
		return &undefined{"there is no next item"}, true
	case "cycle":
		return &function{"loop.cycle", func(r *renderer, a *arguments) Value {
			if len(a.pos) == 0 {
				r.fail("loop.cycle needs values")
			}
			return a.pos[l.index%len(a.pos)]
		}}, true
	case "changed":
		return &function{"loop.changed", func(r *renderer, a *arguments) Value {
			now := &List{items: a.pos, tuple: true}
			if l.changed != nil && r.equal(l.changed, now) {
				return false
			}
			l.changed = now
			return true
		}}, true
	}
	return nil, false
}

// makeMacro binds a macro to the scope it stands in: its body sees that scope as it is when the macro is called.
func (r *renderer) makeMacro(m *macroDef, sc *scope) *function {
	return &function{m.name, func(r *renderer, a *arguments) Value {
		r.enter()
		defer r.leave()
		r.step(1 + len(a.pos) + len(a.kw))
		line := r.line
		inner := &scope{parent: sc, vars: make(map[string]Value, len(m.params)+1)}
		given := min(len(a.pos), len(m.params))
		if len(a.pos) > given && !m.usesVarargs {
			r.fail("macro %s takes at most %d arguments, %d given", m.name, len(m.params), len(a.pos))
		}
		for i, v := range a.pos[:given] {
			inner.vars[m.params[i]] = v
		}
		extra := NewDict()
		var caller Value = &undefined{"there is no caller"}
	keywords:
		for _, k := range a.kw {
			for i, name := range m.params {
				if name == k.name {
					if i < given {
						r.fail("macro %s got two values for %q", m.name, name)
					}
					inner.vars[name] = k.value
					continue keywords
				}
			}
			switch {
			case k.name == "caller" && m.usesCaller:
				caller = k.value
			case m.usesKwargs:
				extra.Set(k.name, k.value)
			default:
				r.fail("macro %s takes no argument %q", m.name, k.name)
			}
		}
		for i := given; i < len(m.params); i++ {
			name := m.params[i]
			if _, ok := inner.vars[name]; ok {
				continue
			}
			if d := i - (len(m.params) - len(m.defaults)); d >= 0 {
				inner.vars[name] = r.eval(m.defaults[d], inner)
			} else {
				inner.vars[name] = &undefined{fmt.Sprintf("parameter %q was not given", name)}
			}
		}
		if _, ok := inner.vars["caller"]; m.usesCaller && !ok {
			inner.vars["caller"] = caller
		}
		if m.usesVarargs {
			inner.vars["varargs"] = &List{items: a.pos[given:], tuple: true}
		}
		if m.usesKwargs {
			inner.vars["kwargs"] = extra
		}
		text := r.capture(func() { r.execBody(m.body, inner) })
		r.line = line
		return text
	}}
}
