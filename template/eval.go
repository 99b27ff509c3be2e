package template

// Evaluation of expressions. Each node counts one step.

// eval is the value of e in a scope.
func (r *renderer) eval(e expr, sc *scope) Value {
	r.step(1)
	r.nodes++
	if r.nodes > maxNodes {
		r.overLimit("nested expressions", maxNodes)
	}
	v := r.evalNode(e, sc)
	r.nodes--
	return v
}

func (r *renderer) evalNode(e expr, sc *scope) Value {
	switch e := e.(type) {
	case *constExpr:
		return e.value
	case *nameExpr:
		return r.lookup(e.name, sc)
	case *blockValue:
		return r.lookup(blockName, sc)
	case *attrExpr:
		obj := r.eval(e.obj, sc)
		r.line = e.line
		return r.getAttr(obj, e.name)
	case *itemExpr:
		obj := r.eval(e.obj, sc)
		arg := r.eval(e.arg, sc)
		r.line = e.line
		return r.getItem(obj, arg)
	case *sliceExpr:
		obj := r.eval(e.obj, sc)
		var parts [3]Value
		for i, x := range []expr{e.start, e.stop, e.step} {
			if x != nil {
				parts[i] = r.eval(x, sc)
			}
		}
		r.line = e.line
		return r.slice(obj, parts[0], parts[1], parts[2])
	case *callExpr:
		return r.evalCall(e, sc, nil)
	case *filterExpr:
		obj := r.eval(e.obj, sc)
		args := r.evalArgs(&e.args, sc)
		r.line = e.line
		if e.filter == nil {
			panic(unknownName("filter", e.name, e.line))
		}
		return e.filter(r, obj, args)
	case *testExpr:
		obj := r.eval(e.obj, sc)
		args := r.evalArgs(&e.args, sc)
		r.line = e.line
		if e.test == nil {
			panic(unknownName("test", e.name, e.line))
		}
		return e.test(r, obj, args)
	case *notExpr:
		return !r.truth(r.eval(e.x, sc))
	case *unaryExpr:
		x := r.eval(e.x, sc)
		r.line = e.line
		return r.unary(e.op, x)
	case *binaryExpr:
		a := r.eval(e.l, sc)
		b := r.eval(e.r, sc)
		r.line = e.line
		return r.binary(e.op, a, b)
	case *concatExpr:
		parts := make([]string, len(e.parts))
		for i, p := range e.parts {
			parts[i] = r.str(r.eval(p, sc))
		}
		r.line = e.line
		return r.joinText(parts, "")
	case *compareExpr:
		a := r.eval(e.first, sc)
		for i, op := range e.ops {
			b := r.eval(e.rest[i], sc)
			r.line = e.line
			if !r.compareOp(op, a, b) {
				return false
			}
			a = b
		}
		return true
	case *logicExpr:
		l := r.eval(e.l, sc)
		if r.truth(l) != e.and {
			return l
		}
		return r.eval(e.r, sc)
	case *condExpr:
		if r.truth(r.eval(e.test, sc)) {
			return r.eval(e.then, sc)
		}
		if e.otherwise == nil {
			return &undefined{"an if without else gave no value"}
		}
		return r.eval(e.otherwise, sc)
	case *listExpr:
		r.chargeItems(len(e.items))
		l := &List{items: make([]Value, len(e.items)), tuple: e.tuple}
		for i, x := range e.items {
			l.items[i] = r.eval(x, sc)
		}
		return l
	case *dictExpr:
		r.chargeItems(4 * len(e.keys))
		d := NewDict()
		for i := range e.keys {
			k := r.eval(e.keys[i], sc)
			d.set(r.hash(k), k, r.eval(e.vals[i], sc))
		}
		return d
	}
	panic("unknown expression")
}

// lookup is the value of a name: a variable, or one of the global functions.
func (r *renderer) lookup(name string, sc *scope) Value {
	if v, ok := sc.get(name); ok {
		return v
	}
	if f, ok := globals[name]; ok {
		return f
	}
	return &undefined{"\"" + name + "\" is undefined"}
}

func (r *renderer) evalArgs(a *callArgs, sc *scope) *arguments {
	out := &arguments{}
	for _, e := range a.pos {
		out.pos = append(out.pos, r.eval(e, sc))
	}
	if a.star != nil {
		next := r.iterate(r.eval(a.star, sc))
		for v, ok := next(); ok; v, ok = next() {
			r.chargeItems(1)
			out.pos = append(out.pos, v)
		}
	}
	for _, k := range a.kw {
		out.kw = append(out.kw, keyword{k.name, r.eval(k.value, sc)})
	}
	if a.starStar != nil {
		d, ok := r.eval(a.starStar, sc).(*Dict)
		if !ok {
			r.fail("** needs a mapping")
		}
		r.chargeItems(2 * d.Len())
		for i, key := range d.keys {
			name, ok := key.(string)
			if !ok {
				r.fail("** needs a mapping whose keys are strings")
			}
			if _, twice := out.keyword(name); twice {
				r.fail("argument %q is given twice", name)
			}
			out.kw = append(out.kw, keyword{name, d.vals[i]})
		}
	}
	return out
}

func (a *arguments) keyword(name string) (Value, bool) {
	for _, k := range a.kw {
		if k.name == name {
			return k.value, true
		}
	}
	return nil, false
}

// evalCall calls a function; extra is one more keyword, or nil.
func (r *renderer) evalCall(e *callExpr, sc *scope, extra *keyword) Value {
	fn := r.eval(e.fn, sc)
	args := r.evalArgs(&e.args, sc)
	if extra != nil {
		args.kw = append(args.kw, *extra)
	}
	r.line = e.line
	return r.call(fn, args)
}

func (r *renderer) call(fn Value, args *arguments) Value {
	switch f := fn.(type) {
	case *function:
		return f.call(r, args)
	case *loopState:
		if f.recurse == nil {
			r.fail("loop() needs a loop marked recursive")
		}
		if len(args.pos) != 1 || len(args.kw) != 0 {
			r.fail("loop() takes one argument")
		}
		return f.recurse(args.pos[0], f.depth+1)
	case *undefined:
		r.fail("%s, so it cannot be called", f.what)
	}
	r.fail("a value of type %s cannot be called", r.kindOf(fn))
	return nil
}

// bind distributes arguments over named parameters; the first required ones must be given. Absent ones are the value absent.
func (r *renderer) bind(a *arguments, what string, required int, names ...string) []Value {
	out := make([]Value, len(names))
	for i := range out {
		out[i] = absent
	}
	if len(a.pos) > len(names) {
		r.fail("%s takes at most %d arguments, %d given", what, len(names), len(a.pos))
	}
	copy(out, a.pos)
keywords:
	for _, k := range a.kw {
		for i, name := range names {
			if name == k.name {
				if i < len(a.pos) {
					r.fail("%s got two values for %q", what, name)
				}
				out[i] = k.value
				continue keywords
			}
		}
		r.fail("%s takes no argument %q", what, k.name)
	}
	for i := range required {
		if out[i] == absent {
			r.fail("%s needs the argument %q", what, names[i])
		}
	}
	return out
}

// absent marks a parameter that was not given.
var absent Value = &undefined{"an argument was not given"}

// optionalInt is an integer argument, or its default.
func (r *renderer) optionalInt(v Value, otherwise int64) int64 {
	if v == absent {
		return otherwise
	}
	return r.needInt(v)
}

func (r *renderer) optionalBool(v Value, otherwise bool) bool {
	if v == absent {
		return otherwise
	}
	return r.truth(v)
}

func (r *renderer) optionalText(v Value, otherwise string) string {
	if v == absent {
		return otherwise
	}
	return r.needText(v)
}

func (r *renderer) needInt(v Value) int64 {
	i, ok := asInt(v)
	if !ok {
		r.fail("an integer is needed, not %s", r.kindOf(v))
	}
	return i
}

func (r *renderer) needText(v Value) string {
	s, ok := asText(v)
	if !ok {
		r.fail("a string is needed, not %s", r.kindOf(v))
	}
	return s
}
