package template

// The tests of Jinja2: what may follow "is".

import "math"

// testFunc is one test: the value before "is", and the arguments.
type testFunc func(r *renderer, v Value, a *arguments) bool

var tests map[string]testFunc

func init() {
	plain := func(f func(r *renderer, v Value) bool) testFunc {
		return func(r *renderer, v Value, a *arguments) bool {
			r.bind(a, "test", 0)
			return f(r, v)
		}
	}
	compare := func(op string) testFunc {
		return func(r *renderer, v Value, a *arguments) bool {
			return r.compareOp(op, v, r.bind(a, "test", 1, "other")[0])
		}
	}
	rest := func(r *renderer, v Value, by int64) Value { return r.binary("%", v, by) }
	isText := func(r *renderer, v Value) bool { _, ok := asText(v); return ok }
	isInteger := func(r *renderer, v Value) bool {
		_, isBool := v.(bool)
		_, isFloat := v.(float64)
		return isNumber(v) && !isBool && !isFloat
	}
	tests = map[string]testFunc{
		"boolean": plain(func(r *renderer, v Value) bool { _, ok := v.(bool); return ok }),
		"callable": plain(func(r *renderer, v Value) bool {
			switch v.(type) {
			case *function, *loopState, *undefined: // calling undefined fails, but Python finds it callable
				return true
			}
			return false
		}),
		"defined": plain(func(r *renderer, v Value) bool { _, missing := v.(*undefined); return !missing }),
		"divisibleby": func(r *renderer, v Value, a *arguments) bool {
			return r.equal(r.binary("%", v, r.bind(a, "divisibleby", 1, "num")[0]), int64(0))
		},
		"escaped": plain(func(r *renderer, v Value) bool { _, ok := v.(markup); return ok }),
		"even":    plain(func(r *renderer, v Value) bool { return r.equal(rest(r, v, 2), int64(0)) }),
		"odd":     plain(func(r *renderer, v Value) bool { return r.equal(rest(r, v, 2), int64(1)) }),
		"false":   plain(func(r *renderer, v Value) bool { return v == false }),
		"true":    plain(func(r *renderer, v Value) bool { return v == true }),
		"filter":  plain(func(r *renderer, v Value) bool { name, _ := r.hash(v).(string); return filters[name] != nil }), // as a key, so a list fails
		"test":    plain(func(r *renderer, v Value) bool { name, _ := r.hash(v).(string); return tests[name] != nil }),
		"float":   plain(func(r *renderer, v Value) bool { _, ok := v.(float64); return ok }),
		"integer": plain(isInteger),
		"number":  plain(func(r *renderer, v Value) bool { return isNumber(v) }),
		"in": func(r *renderer, v Value, a *arguments) bool {
			return r.contains(r.bind(a, "in", 1, "seq")[0], v)
		},
		"iterable": plain(func(r *renderer, v Value) bool { return r.tryIterate(v) != nil }),
		"lower":    plain(func(r *renderer, v Value) bool { s := r.str(v); return lowerText(s) == s && upperText(s) != s }),
		"upper":    plain(func(r *renderer, v Value) bool { s := r.str(v); return upperText(s) == s && lowerText(s) != s }),
		"mapping":  plain(func(r *renderer, v Value) bool { _, ok := v.(*Dict); return ok }),
		"none":     plain(func(r *renderer, v Value) bool { return v == nil }),
		"sameas": func(r *renderer, v Value, a *arguments) bool {
			other := r.bind(a, "sameas", 1, "other")[0]
			if f, ok := v.(float64); ok && math.IsNaN(f) {
				return false
			}
			return v == other
		},
		"sequence": plain(func(r *renderer, v Value) bool {
			switch v.(type) {
			case *undefined, string, markup, *List, *Dict, *span:
				return true
			}
			return false
		}),
		"string":    plain(isText),
		"undefined": plain(func(r *renderer, v Value) bool { _, missing := v.(*undefined); return missing }),
	}
	for op, names := range map[string][]string{
		"==": {"==", "eq", "equalto"},
		"!=": {"!=", "ne"},
		">":  {">", "gt", "greaterthan"},
		">=": {">=", "ge"},
		"<":  {"<", "lt", "lessthan"},
		"<=": {"<=", "le"},
	} {
		for _, name := range names {
			tests[name] = compare(op)
		}
	}
}
