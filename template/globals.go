package template

// The functions a template finds without being given them: range, dict, namespace, cycler, joiner, raise_exception, strftime_now. lipsum is left out.

import (
	"fmt"

	"github.com/lowkeylm/lowkey/fault"
)

// maxRange is the longest range, as in Jinja2's sandbox.
const maxRange = 100_000

var globals map[string]*function

func init() {
	globals = map[string]*function{}
	for name, call := range map[string]func(r *renderer, a *arguments) Value{
		"range":     makeRange,
		"dict":      makeDict,
		"namespace": func(r *renderer, a *arguments) Value { return &namespace{makeDict(r, a).(*Dict)} },
		"cycler":    makeCycler,
		"joiner":    makeJoiner,
		"raise_exception": func(r *renderer, a *arguments) Value {
			text := r.str(r.bind(a, "raise_exception", 1, "message")[0])
			panic(&failure{kind: fault.BadInput, text: text})
		},
		"strftime_now": func(r *renderer, a *arguments) Value {
			return r.strftime(r.needText(r.bind(a, "strftime_now", 1, "format")[0]))
		},
		"lipsum": func(r *renderer, a *arguments) Value {
			r.unsupported("function lipsum")
			return nil
		},
	} {
		globals[name] = &function{name, call}
	}
}

func makeRange(r *renderer, a *arguments) Value {
	if len(a.kw) > 0 || len(a.pos) == 0 || len(a.pos) > 3 {
		r.fail("range takes one to three numbers")
	}
	s := &span{step: 1}
	s.stop = r.needInt(a.pos[0])
	if len(a.pos) > 1 {
		s.start, s.stop = s.stop, r.needInt(a.pos[1])
	}
	if len(a.pos) > 2 {
		s.step = r.needInt(a.pos[2])
	}
	const far = 1 << 62
	if s.step == 0 {
		r.fail("the step of range cannot be zero")
	}
	if min(s.start, s.stop, s.step) < -far || max(s.start, s.stop, s.step) > far {
		r.overLimit("numbers in a range", maxRange)
	}
	if s.step > 0 && s.stop > s.start {
		s.n = int64((uint64(s.stop-s.start)-1)/uint64(s.step)) + 1
	} else if s.step < 0 && s.stop < s.start {
		s.n = int64((uint64(s.start-s.stop)-1)/uint64(-s.step)) + 1
	}
	if s.n > maxRange {
		r.overLimit("numbers in a range", maxRange)
	}
	return s
}

// makeDict is dict(mapping or pairs, key=value, ...).
func makeDict(r *renderer, a *arguments) Value {
	d := NewDict()
	if len(a.pos) > 1 {
		r.fail("dict takes one mapping at most")
	}
	if len(a.pos) == 1 {
		switch from := a.pos[0].(type) {
		case *Dict:
			r.chargeItems(4 * len(from.keys))
			for i, k := range from.keys {
				d.set(r.hash(k), k, from.vals[i])
			}
		default:
			next := r.iterate(from)
			for v, ok := next(); ok; v, ok = next() {
				pair := r.items(v)
				if len(pair) != 2 {
					r.fail("dict needs pairs")
				}
				r.chargeItems(4)
				d.set(r.hash(pair[0]), pair[0], pair[1])
			}
		}
	}
	r.chargeItems(4 * len(a.kw))
	for _, k := range a.kw {
		d.Set(k.name, k.value)
	}
	return d
}

// makeCycler gives an object that goes through its values in turn.
func makeCycler(r *renderer, a *arguments) Value {
	if len(a.pos) == 0 || len(a.kw) > 0 {
		r.fail("cycler needs values")
	}
	at := 0
	d := NewDict()
	set := func() { d.Set("current", a.pos[at]) }
	set()
	d.Set("next", &function{"cycler.next", func(r *renderer, _ *arguments) Value {
		v := a.pos[at]
		at = (at + 1) % len(a.pos)
		set()
		return v
	}})
	d.Set("reset", &function{"cycler.reset", func(r *renderer, _ *arguments) Value {
		at = 0
		set()
		return nil
	}})
	return &namespace{d}
}

// makeJoiner gives a function that returns nothing the first time, then the separator.
func makeJoiner(r *renderer, a *arguments) Value {
	sep := r.optionalText(r.bind(a, "joiner", 0, "sep")[0], ", ")
	used := false
	return &function{fmt.Sprintf("joiner(%q)", sep), func(r *renderer, _ *arguments) Value {
		if !used {
			used = true
			return ""
		}
		return sep
	}}
}
