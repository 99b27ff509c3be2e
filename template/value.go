package template

// The values a template computes with, and their making from Go values. This file will not print, compare or convert them between each other: see python.go and operators.go.

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"sort"
	"unicode/utf8"
)

// Value is one value of a template: nil (None), bool, int64, *big.Int (an integer beyond int64, to be shown but not computed with), float64, string, *List, *Dict, or one of the package's own kinds (undefined, functions, loops, views,
// generators). Make values with ToValue or FromJSON.
type Value = any

// undefined is a name, key or attribute that is not there. It prints as nothing, is false and empty, and fails on any other use.
type undefined struct{ what string }

// markup is a string marked by the filters safe and escape: joined with + it escapes the other side, otherwise it behaves as a string.
type markup string

// List is a Python list or tuple. It is not changed after it was made.
type List struct {
	items []Value
	tuple bool
	names []string // names of the items, for the pairs that groupby makes
}

// NewList makes a list of values.
func NewList(items ...Value) *List { return &List{items: items} }

// Len is the number of items.
func (l *List) Len() int { return len(l.items) }

// At is item i, 0 <= i < Len.
func (l *List) At(i int) Value { return l.items[i] }

// Dict is a map that keeps the order in which its keys were first set. Once it was given to Render it must not be changed.
type Dict struct {
	keys, vals []Value
	index      map[any]int
}

// NewDict makes an empty map.
func NewDict() *Dict { return &Dict{index: map[any]int{}} }

// Set sets a key; a key set before keeps its place.
func (d *Dict) Set(key string, v Value) { d.set(key, key, v) }

// Get is the value of a key, and whether it is there.
func (d *Dict) Get(key string) (Value, bool) { return d.get(key) }

// Len is the number of keys.
func (d *Dict) Len() int { return len(d.keys) }

// Key is key i in order, 0 <= i < Len.
func (d *Dict) Key(i int) Value { return d.keys[i] }

func (d *Dict) set(hash any, key, v Value) {
	if i, ok := d.index[hash]; ok {
		d.vals[i] = v
		return
	}
	d.index[hash] = len(d.keys)
	d.keys = append(d.keys, key)
	d.vals = append(d.vals, v)
}

func (d *Dict) get(hash any) (Value, bool) {
	if i, ok := d.index[hash]; ok {
		return d.vals[i], true
	}
	return nil, false
}

// view is what dict.keys(), dict.values() and dict.items() give: countable and iterable, not indexable.
type view struct {
	dict *Dict
	kind string // keys, values or items
}

func (v *view) at(i int) Value {
	switch v.kind {
	case "keys":
		return v.dict.keys[i]
	case "values":
		return v.dict.vals[i]
	}
	return &List{items: []Value{v.dict.keys[i], v.dict.vals[i]}, tuple: true}
}

// span is range(start, stop, step), never zero step; n is its length.
type span struct{ start, stop, step, n int64 }

func (s *span) at(i int64) Value { return s.start + i*s.step }

// generator gives its values once: what filters such as map and select return.
type generator struct{ next iterator }

// iterator gives the next value, or false at the end.
type iterator func() (Value, bool)

// namespace is the one object whose attributes a template may set.
type namespace struct{ attrs *Dict }

// function is anything callable: a builtin, a bound method, a macro.
type function struct {
	name string
	call func(r *renderer, a *arguments) Value
}

// arguments of one call: positional ones, then keywords in order.
type arguments struct {
	pos []Value
	kw  []keyword
}

type keyword struct {
	name  string
	value Value
}

// maxValueDepth bounds the nesting of values given from outside.
const maxValueDepth = 500

// ToValue makes a template value of a Go value: nil, bool, integers, floats, strings, json.Number, []any, []string, []Message, Message, map[string]any (keys sorted, since Go maps have no order) and template values themselves, nested
// at will. It refuses other types, strings that are not UTF-8, and nesting deeper than 500.
func ToValue(v any) (Value, error) { return toValue(v, 0) }

func toValue(v any, depth int) (Value, error) {
	if depth > maxValueDepth {
		return nil, fmt.Errorf("values nest deeper than %d", maxValueDepth)
	}
	list := func(n int, at func(int) any) (Value, error) {
		l := &List{items: make([]Value, n)}
		for i := range l.items {
			item, err := toValue(at(i), depth+1)
			if err != nil {
				return nil, fmt.Errorf("item %d: %w", i, err)
			}
			l.items[i] = item
		}
		return l, nil
	}
	switch v := v.(type) {
	case nil, bool, int64, *big.Int, float64, *undefined, markup, *view, *span, *namespace, *function:
		return v, nil
	case *List:
		return v, nil
	case *Dict:
		return v, nil
	case string:
		if !utf8.ValidString(v) {
			return nil, fmt.Errorf("text is not valid UTF-8")
		}
		return v, nil
	case int:
		return int64(v), nil
	case int32:
		return int64(v), nil
	case uint32:
		return int64(v), nil
	case uint64:
		if v > math.MaxInt64 {
			return new(big.Int).SetUint64(v), nil
		}
		return int64(v), nil
	case float32:
		return float64(v), nil
	case json.Number:
		return numberFromText(string(v))
	case Message:
		if !utf8.ValidString(v.Role) || !utf8.ValidString(v.Content) {
			return nil, fmt.Errorf("text is not valid UTF-8")
		}
		d := NewDict()
		d.Set("role", v.Role)
		d.Set("content", v.Content)
		return d, nil
	case []Message:
		return list(len(v), func(i int) any { return v[i] })
	case []string:
		return list(len(v), func(i int) any { return v[i] })
	case []any:
		return list(len(v), func(i int) any { return v[i] })
	case []map[string]any:
		return list(len(v), func(i int) any { return v[i] })
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			if !utf8.ValidString(k) {
				return nil, fmt.Errorf("a key is not valid UTF-8")
			}
			keys = append(keys, k)
		}
		sort.Strings(keys)
		d := NewDict()
		for _, k := range keys {
			item, err := toValue(v[k], depth+1)
			if err != nil {
				return nil, fmt.Errorf("key %q: %w", k, err)
			}
			d.Set(k, item)
		}
		return d, nil
	}
	return nil, fmt.Errorf("a Go value of type %T has no template form", v)
}
