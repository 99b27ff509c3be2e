package template

// The filters that order, group and choose items. Those that Python gives as generators give a generator here too: it runs once, and only as far as it is asked.

import (
	"slices"
	"sort"
	"strings"
)

func filterSort(r *renderer, v Value, a *arguments) Value {
	p := r.bind(a, "sort", 0, "reverse", "case_sensitive", "attribute")
	reverse, caseSensitive := r.optionalBool(p[0], false), r.optionalBool(p[1], false)
	paths := []Value{p[2]}
	if s, ok := asText(p[2]); ok {
		paths = nil
		for _, path := range strings.Split(s, ",") {
			paths = append(paths, path)
		}
	}
	key := func(item Value) Value { // a list even of one key: equal keys, also those without an order such as None, stay as they are
		r.chargeItems(len(paths))
		l := &List{}
		for _, path := range paths {
			l.items = append(l.items, r.sortKey(path, caseSensitive, absent)(item))
		}
		return l
	}
	return &List{items: r.sorted(r.items(v), reverse, key)}
}

// sorted is a stable sort by a key.
func (r *renderer) sorted(items []Value, reverse bool, key func(Value) Value) []Value {
	type row struct{ item, key Value }
	r.chargeItems(3 * len(items))
	rows := make([]row, len(items))
	for i, item := range items {
		rows[i] = row{item, key(item)}
	}
	sort.SliceStable(rows, func(i, j int) bool {
		if reverse {
			i, j = j, i
		}
		return r.less(rows[i].key, rows[j].key, "<")
	})
	out := make([]Value, len(rows))
	for i := range rows {
		out[i] = rows[i].item
	}
	return out
}

func filterDictsort(r *renderer, v Value, a *arguments) Value {
	p := r.bind(a, "dictsort", 0, "case_sensitive", "by", "reverse")
	d, ok := v.(*Dict)
	if !ok {
		r.fail("dictsort needs a mapping, not %s", r.kindOf(v))
	}
	part := int64(0)
	switch by := r.optionalText(p[1], "key"); by {
	case "key":
	case "value":
		part = 1
	default:
		r.fail("dictsort: by is key or value, not %q", by)
	}
	key := r.sortKey(part, r.optionalBool(p[0], false), absent)
	return &List{items: r.sorted(r.items(&view{d, "items"}), r.optionalBool(p[2], false), key)}
}

func filterUnique(r *renderer, v Value, a *arguments) Value {
	p := r.bind(a, "unique", 0, "case_sensitive", "attribute")
	return r.generate(func() iterator {
		key := r.sortKey(p[1], r.optionalBool(p[0], false), absent)
		next := r.iterate(v)
		seen := map[any]bool{}
		return func() (Value, bool) {
			for {
				item, ok := next()
				if !ok {
					return nil, false
				}
				h := r.hash(key(item))
				if !seen[h] {
					r.chargeItems(2)
					seen[h] = true
					return item, true
				}
			}
		}
	})
}

func (r *renderer) extreme(v Value, a *arguments, which string) Value {
	p := r.bind(a, which, 0, "case_sensitive", "attribute")
	key := r.sortKey(p[1], r.optionalBool(p[0], false), absent)
	next := r.iterate(v)
	best, ok := next()
	if !ok {
		return &undefined{which + " of nothing"}
	}
	bestKey := key(best)
	for item, ok := next(); ok; item, ok = next() {
		k := key(item)
		if which == "min" && r.less(k, bestKey, "<") || which == "max" && r.less(bestKey, k, ">") {
			best, bestKey = item, k
		}
	}
	return best
}

func filterGroupby(r *renderer, v Value, a *arguments) Value {
	p := r.bind(a, "groupby", 1, "attribute", "default", "case_sensitive")
	caseSensitive := r.optionalBool(p[2], false)
	key := r.sortKey(p[0], caseSensitive, p[1])
	plain := r.getter(p[0], p[1])
	out := &List{}
	var group *List
	var last Value
	for _, item := range r.sorted(r.items(v), false, key) {
		k := key(item)
		if group == nil || !r.equal(k, last) {
			r.chargeItems(4)
			group, last = &List{}, k
			out.items = append(out.items, &List{items: []Value{plain(item), group}, tuple: true, names: []string{"grouper", "list"}})
		}
		group.items = append(group.items, item)
	}
	return out
}

func filterBatch(r *renderer, v Value, a *arguments) Value {
	p := r.bind(a, "batch", 1, "linecount", "fill_with")
	return r.generate(func() iterator {
		size := r.needInt(p[0])
		next := r.iterate(v)
		ended := false
		var held []Value
		return func() (Value, bool) {
			row := held
			held = nil
			for !ended {
				item, ok := next()
				if !ok {
					ended = true
					break
				}
				r.chargeItems(1)
				if int64(len(row)) == size {
					held = []Value{item}
					return &List{items: row}, true
				}
				row = append(row, item)
			}
			if len(row) == 0 {
				return nil, false
			}
			if p[1] != absent && p[1] != nil {
				for int64(len(row)) < size {
					r.chargeItems(1)
					row = append(row, p[1])
				}
			}
			return &List{items: row}, true
		}
	})
}

func filterSlice(r *renderer, v Value, a *arguments) Value {
	p := r.bind(a, "slice", 1, "slices", "fill_with")
	return r.generate(func() iterator {
		items := r.items(v)
		n := r.needInt(p[0])
		if n == 0 {
			r.fail("slice: zero slices")
		}
		number, at := int64(0), 0
		return func() (Value, bool) {
			if number >= n {
				return nil, false
			}
			size := int(int64(len(items)) / n)
			extra := number < int64(len(items))%n
			if extra {
				size++
			}
			r.chargeItems(size + 1)
			part := slices.Clone(items[at : at+size])
			if !extra && p[1] != absent && p[1] != nil {
				part = append(part, p[1])
			}
			number++
			at += size
			return &List{items: part}, true
		}
	})
}

func filterMap(r *renderer, v Value, a *arguments) Value {
	return r.generate(func() iterator {
		if !r.truth(v) {
			return noItems
		}
		var apply func(Value) Value
		if _, byAttr := a.keyword("attribute"); len(a.pos) == 0 && byAttr {
			p := r.bind(a, "map", 0, "attribute", "default")
			apply = r.getter(p[0], p[1])
		} else {
			if len(a.pos) == 0 {
				r.fail("map needs a filter or an attribute")
			}
			name := r.needText(a.pos[0])
			f := filters[name]
			if f == nil {
				panic(unknownName("filter", name, r.line))
			}
			rest := &arguments{pos: a.pos[1:], kw: a.kw}
			apply = func(item Value) Value { return f(r, item, rest) }
		}
		next := r.iterate(v)
		return func() (Value, bool) {
			item, ok := next()
			if !ok {
				return nil, false
			}
			r.step(1)
			return apply(item), true
		}
	})
}

// selectItems is select, reject, selectattr and rejectattr.
func (r *renderer) selectItems(v Value, a *arguments, byAttr, want bool) Value {
	return r.generate(func() iterator {
		if !r.truth(v) {
			return noItems
		}
		rest := a.pos
		get := func(v Value) Value { return v }
		if byAttr {
			if len(rest) == 0 {
				r.fail("an attribute is missing")
			}
			get = r.getter(rest[0], absent)
			rest = rest[1:]
		}
		holds := r.truth
		if len(rest) > 0 {
			name := r.needText(rest[0])
			t := tests[name]
			if t == nil {
				panic(unknownName("test", name, r.line))
			}
			args := &arguments{pos: rest[1:], kw: a.kw}
			holds = func(v Value) bool { return t(r, v, args) }
		}
		next := r.iterate(v)
		return func() (Value, bool) {
			for {
				item, ok := next()
				if !ok {
					return nil, false
				}
				r.step(1)
				if holds(get(item)) == want {
					return item, true
				}
			}
		}
	})
}

// generate makes a generator. As in Python nothing of it runs before its first item is asked for, not even the complaint about what it goes through. Generators over generators nest, so each step counts one level.
func (r *renderer) generate(start func() iterator) *generator {
	var next iterator
	return &generator{func() (Value, bool) {
		r.enter()
		defer r.leave()
		if next == nil {
			next = start()
		}
		return next()
	}}
}

func noItems() (Value, bool) { return nil, false }
