package template

// What Python says of values: their text, truth, equality, order, hash, length and items. It will not change any of them.

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kindOf is Python's name of a value's type.
func (r *renderer) kindOf(v Value) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case *undefined:
		return "undefined (" + v.what + ")"
	case bool:
		return "bool"
	case int64, *big.Int:
		return "int"
	case float64:
		return "float"
	case string, markup:
		return "string"
	case *List:
		if v.tuple {
			return "tuple"
		}
		return "list"
	case *Dict:
		return "dict"
	case *view:
		return "dict_" + v.kind
	case *span:
		return "range"
	case *generator:
		return "generator"
	case *namespace:
		return "namespace"
	case *loopState:
		return "loop"
	}
	return "function"
}

func asText(v Value) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case markup:
		return string(v), true
	}
	return "", false
}

// asInt is the value of an int or a bool.
func asInt(v Value) (int64, bool) {
	switch v := v.(type) {
	case int64:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	}
	return 0, false
}

// asFloat is the value of any number.
func asFloat(v Value) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		return f, true
	}
	i, ok := asInt(v)
	return float64(i), ok
}

func (r *renderer) truth(v Value) bool {
	switch v := v.(type) {
	case nil, *undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case markup:
		return v != ""
	}
	if n, ok := r.lengthOf(v); ok {
		return n > 0
	}
	return true
}

// lengthOf is len(v) where v has one.
func (r *renderer) lengthOf(v Value) (int, bool) {
	switch v := v.(type) {
	case *undefined:
		return 0, true
	case string:
		return utf8.RuneCountInString(v), true
	case markup:
		return utf8.RuneCountInString(string(v)), true
	case *List:
		return len(v.items), true
	case *Dict:
		return len(v.keys), true
	case *view:
		return len(v.dict.keys), true
	case *span:
		return int(v.n), true
	case *loopState:
		return v.count(r), true
	}
	return 0, false
}

// tryIterate gives the items of v one by one, or nil where it has none to give.
func (r *renderer) tryIterate(v Value) iterator {
	indexed := func(n int, at func(int) Value) iterator {
		i := -1
		return func() (Value, bool) {
			i++
			if i >= n {
				return nil, false
			}
			r.step(1)
			return at(i), true
		}
	}
	switch v := v.(type) {
	case *undefined:
		return func() (Value, bool) { return nil, false }
	case string, markup:
		s, _ := asText(v)
		return func() (Value, bool) {
			if s == "" {
				return nil, false
			}
			r.step(1)
			_, n := utf8.DecodeRuneInString(s)
			c := s[:n]
			s = s[n:]
			return c, true
		}
	case *List:
		return indexed(len(v.items), v.At)
	case *Dict:
		return indexed(len(v.keys), v.Key)
	case *view:
		return indexed(len(v.dict.keys), v.at)
	case *span:
		return indexed(int(v.n), func(i int) Value { return v.at(int64(i)) })
	case *generator:
		return v.next
	case *loopState:
		return func() (Value, bool) {
			if !v.advance() {
				return nil, false
			}
			return &List{items: []Value{v.current, v}, tuple: true}, true
		}
	}
	return nil
}

func (r *renderer) iterate(v Value) iterator {
	next := r.tryIterate(v)
	if next == nil {
		r.fail("a value of type %s has no items to go through", r.kindOf(v))
	}
	return next
}

// items collects all items of v.
func (r *renderer) items(v Value) []Value {
	if l, ok := v.(*List); ok {
		return l.items
	}
	var out []Value
	next := r.iterate(v)
	for item, ok := next(); ok; item, ok = next() {
		r.chargeItems(1)
		out = append(out, item)
	}
	return out
}

// str is Python's str(v).
func (r *renderer) str(v Value) string {
	switch v := v.(type) {
	case string:
		return v
	case markup:
		return string(v)
	case *undefined:
		return ""
	}
	var b strings.Builder
	r.repr(&b, v)
	return b.String()
}

// repr appends Python's repr(v).
func (r *renderer) repr(b *strings.Builder, v Value) {
	put := func(s string) {
		if b.Len()+len(s) > r.limits.Output {
			r.overLimit("bytes in one text", int64(r.limits.Output))
		}
		r.charge(len(s))
		b.WriteString(s)
	}
	r.step(1)
	r.enter()
	defer r.leave()
	sequence := func(open, end string, n int, item func(int)) {
		put(open)
		for i := range n {
			if i > 0 {
				put(", ")
			}
			item(i)
		}
		put(end)
	}
	switch v := v.(type) {
	case nil:
		put("None")
	case bool:
		if v {
			put("True")
		} else {
			put("False")
		}
	case int64:
		put(strconv.FormatInt(v, 10))
	case *big.Int:
		put(v.String())
	case float64:
		put(floatText(v))
	case string:
		put(r.quote(v))
	case markup:
		put("Markup(" + r.quote(string(v)) + ")")
	case *undefined:
		put("Undefined")
	case *List:
		item := func(i int) { r.repr(b, v.items[i]) }
		switch {
		case !v.tuple:
			sequence("[", "]", len(v.items), item)
		case len(v.items) == 1:
			sequence("(", ",)", 1, item)
		default:
			sequence("(", ")", len(v.items), item)
		}
	case *Dict:
		sequence("{", "}", len(v.keys), func(i int) {
			r.repr(b, v.keys[i])
			put(": ")
			r.repr(b, v.vals[i])
		})
	case *view:
		sequence("dict_"+v.kind+"([", "])", len(v.dict.keys), func(i int) { r.repr(b, v.at(i)) })
	case *span:
		put("range(" + strconv.FormatInt(v.start, 10) + ", " + strconv.FormatInt(v.stop, 10))
		if v.step != 1 {
			put(", " + strconv.FormatInt(v.step, 10))
		}
		put(")")
	case *namespace:
		put("<Namespace ")
		r.repr(b, v.attrs)
		put(">")
	case *loopState:
		put("<LoopContext " + strconv.Itoa(v.index+1) + "/" + strconv.Itoa(v.count(r)) + ">")
	case *function:
		put("<function " + v.name + ">")
	default:
		put("<" + r.kindOf(v) + " object>")
	}
}

// floatText is repr of a Python float: the shortest digits that read back the same, with an exponent below 1e-4 and from 1e16.
func floatText(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	s := strconv.FormatFloat(f, 'e', -1, 64)
	exp, _ := strconv.Atoi(s[strings.IndexByte(s, 'e')+1:])
	if exp < -4 || exp >= 16 {
		return s // Go writes at least two digits of the exponent, as Python does
	}
	s = strconv.FormatFloat(f, 'f', -1, 64)
	if strings.IndexByte(s, '.') < 0 {
		s += ".0"
	}
	return s
}

// quote is repr of a Python string.
func (r *renderer) quote(s string) string {
	r.charge(len(s))
	q := byte('\'')
	if strings.IndexByte(s, '\'') >= 0 && strings.IndexByte(s, '"') < 0 {
		q = '"'
	}
	var b strings.Builder
	b.WriteByte(q)
	for _, c := range s {
		switch {
		case c == rune(q) || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(c):
			b.WriteRune(c)
		default:
			b.WriteString(escapeRune(c))
		}
	}
	b.WriteByte(q)
	return b.String()
}

// escapeRune is the escape of a character that repr or ascii does not show.
func escapeRune(c rune) string {
	switch {
	case c < 0x100:
		return `\x` + hex(uint32(c), 2)
	case c < 0x10000:
		return `\u` + hex(uint32(c), 4)
	}
	return `\U` + hex(uint32(c), 8)
}

func hex(n uint32, width int) string {
	s := strconv.FormatUint(uint64(n), 16)
	return strings.Repeat("0", max(0, width-len(s))) + s
}

// equal is Python's ==.
func (r *renderer) equal(a, b Value) bool {
	r.step(1)
	if x, ok := asText(a); ok {
		y, ok := asText(b)
		return ok && x == y
	}
	if x, ok := asInt(a); ok {
		if y, ok := asInt(b); ok {
			return x == y
		}
	}
	if isNumber(a) {
		return isNumber(b) && compareNumbers(a, b) == 0
	}
	switch a := a.(type) {
	case *undefined:
		_, ok := b.(*undefined)
		return ok
	case *List:
		b, ok := b.(*List)
		if !ok || a.tuple != b.tuple || len(a.items) != len(b.items) {
			return false
		}
		if a == b {
			return true
		}
		r.enter()
		defer r.leave()
		for i := range a.items {
			if !r.equal(a.items[i], b.items[i]) {
				return false
			}
		}
		return true
	case *Dict:
		b, ok := b.(*Dict)
		if !ok || len(a.keys) != len(b.keys) {
			return false
		}
		if a == b {
			return true
		}
		r.enter()
		defer r.leave()
		for i, k := range a.keys {
			v, ok := b.get(r.hash(k))
			if !ok || !r.equal(a.vals[i], v) {
				return false
			}
		}
		return true
	case *span:
		b, ok := b.(*span)
		return ok && a.n == b.n && (a.n == 0 || a.start == b.start && (a.n == 1 || a.step == b.step))
	}
	return a == b
}

func isNumber(v Value) bool {
	switch v.(type) {
	case bool, int64, float64, *big.Int:
		return true
	}
	return false
}

// compareNumbers is -1, 0 or 1; 2 where one is no number (NaN). Integers and floats compare by their exact values.
func compareNumbers(a, b Value) int {
	if x, ok := asInt(a); ok {
		if y, ok := asInt(b); ok {
			switch {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return 0
		}
	}
	if f, ok := a.(float64); ok {
		if g, ok := b.(float64); ok {
			switch {
			case f == g:
				return 0
			case f < g:
				return -1
			case f > g:
				return 1
			}
			return 2
		}
	}
	exact := func(v Value) (*big.Float, bool) {
		f := new(big.Float).SetPrec(15000)
		switch v := v.(type) {
		case float64:
			if math.IsNaN(v) {
				return nil, false
			}
			return f.SetFloat64(v), true
		case *big.Int:
			return f.SetInt(v), true
		}
		i, _ := asInt(v)
		return f.SetInt64(i), true
	}
	x, ok1 := exact(a)
	y, ok2 := exact(b)
	if !ok1 || !ok2 {
		return 2
	}
	return x.Cmp(y)
}

// less is Python's a < b, for numbers, strings, and lists or tuples of them.
func (r *renderer) less(a, b Value, op string) bool {
	r.step(1)
	if isNumber(a) && isNumber(b) {
		return compareNumbers(a, b) == -1
	}
	if x, ok := asText(a); ok {
		if y, ok := asText(b); ok {
			return x < y // UTF-8 keeps the order of code points
		}
	}
	x, ok1 := a.(*List)
	y, ok2 := b.(*List)
	if ok1 && ok2 && x.tuple == y.tuple {
		r.enter()
		defer r.leave()
		for i := range min(len(x.items), len(y.items)) {
			if !r.equal(x.items[i], y.items[i]) {
				return r.less(x.items[i], y.items[i], op)
			}
		}
		return len(x.items) < len(y.items)
	}
	r.fail("%s is not supported between %s and %s", op, r.kindOf(a), r.kindOf(b))
	return false
}

type (
	noneKey  struct{}
	undefKey struct{}
	textKey  string // tuples and large integers, encoded
)

// hash is the form of a key in a Dict: equal values have equal forms. Lists and dicts have none.
func (r *renderer) hash(v Value) any {
	r.step(1)
	switch v := v.(type) {
	case nil:
		return noneKey{}
	case string:
		return v
	case markup:
		return string(v)
	case bool, int64:
		i, _ := asInt(v)
		return i
	case float64:
		if i := int64(v); v == math.Trunc(v) && math.Abs(v) < 1<<62 {
			return i
		}
		return v
	case *big.Int:
		return textKey("int " + v.String())
	case *undefined:
		return undefKey{}
	case *List:
		if v.tuple {
			r.enter()
			defer r.leave()
			var b strings.Builder
			b.WriteString("tuple")
			for _, item := range v.items {
				part := ""
				switch h := r.hash(item).(type) {
				case string:
					part = "s" + h
				case int64:
					part = "i" + strconv.FormatInt(h, 10)
				case float64:
					part = "f" + strconv.FormatFloat(h, 'x', -1, 64)
				case textKey:
					part = "t" + string(h)
				case noneKey:
					part = "n"
				case undefKey:
					part = "u"
				default:
					r.unsupported("a value of type %s inside a tuple as a key", r.kindOf(item))
				}
				r.charge(len(part) + 8)
				b.WriteString(strconv.Itoa(len(part)))
				b.WriteByte(':')
				b.WriteString(part)
			}
			return textKey(b.String())
		}
	case *span, *function, *namespace, *generator, *loopState:
		return v
	}
	r.fail("a value of type %s cannot be a key", r.kindOf(v))
	return nil
}
