package template

// Operators, attributes, subscripts and slices. Integers are 64 bits wide: a result beyond is an error, never a wrong number.

import (
	"math"
	"math/big"
	"strings"
	"unicode/utf8"
)

func (r *renderer) unary(op string, x Value) Value {
	if i, ok := asInt(x); ok {
		if op == "-" {
			if i == math.MinInt64 {
				r.unsupported("an integer beyond 64 bits")
			}
			return -i
		}
		return i
	}
	if f, ok := x.(float64); ok {
		if op == "-" {
			return -f
		}
		return f
	}
	if b, ok := x.(*big.Int); ok {
		if op == "-" {
			return new(big.Int).Neg(b)
		}
		return b
	}
	r.fail("%s is not supported for %s", op, r.kindOf(x))
	return nil
}

func (r *renderer) binary(op string, a, b Value) Value {
	if isNumber(a) && isNumber(b) {
		x, ok1 := asInt(a)
		y, ok2 := asInt(b)
		if ok1 && ok2 {
			return r.intOp(op, x, y)
		}
		_, big1 := a.(*big.Int)
		_, big2 := b.(*big.Int)
		if big1 || big2 {
			r.unsupported("%s of integers beyond 64 bits", op)
		}
		f, _ := asFloat(a)
		g, _ := asFloat(b)
		return r.floatOp(op, f, g)
	}
	switch op {
	case "+":
		if v, ok := r.add(a, b); ok {
			return v
		}
	case "*":
		if n, ok := asInt(b); ok {
			if v, ok := r.repeat(a, n); ok {
				return v
			}
		}
		if n, ok := asInt(a); ok {
			if v, ok := r.repeat(b, n); ok {
				return v
			}
		}
	case "%":
		switch a := a.(type) {
		case string:
			return r.formatPercent(a, b)
		case markup:
			return markup(r.formatPercent(string(a), r.escapeArg(b)))
		}
	}
	r.fail("%s is not supported between %s and %s", op, r.kindOf(a), r.kindOf(b))
	return nil
}

// add joins strings and lists. A string marked safe escapes the other one.
func (r *renderer) add(a, b Value) (Value, bool) {
	switch x := a.(type) {
	case string:
		switch y := b.(type) {
		case string:
			return r.joinText([]string{x, y}, ""), true
		case markup:
			return markup(r.joinText([]string{r.escapeHTML(x), string(y)}, "")), true
		}
	case markup:
		if y, ok := b.(string); ok {
			return markup(r.joinText([]string{string(x), r.escapeHTML(y)}, "")), true
		}
		if y, ok := b.(markup); ok {
			return markup(r.joinText([]string{string(x), string(y)}, "")), true
		}
	case *List:
		if y, ok := b.(*List); ok && x.tuple == y.tuple {
			r.chargeItems(len(x.items) + len(y.items))
			items := make([]Value, 0, len(x.items)+len(y.items))
			return &List{items: append(append(items, x.items...), y.items...), tuple: x.tuple}, true
		}
	}
	return nil, false
}

// repeat is v * n for strings and lists.
func (r *renderer) repeat(v Value, n int64) (Value, bool) {
	n = max(n, 0)
	times := func(size int) int {
		if size > 0 && n > int64(math.MaxInt32)/int64(size) {
			r.overLimit("bytes in one text", int64(r.limits.Output))
		}
		return int(n) * size
	}
	switch v := v.(type) {
	case string:
		r.charge(times(len(v)))
		if v == "" {
			return "", true
		}
		return strings.Repeat(v, int(n)), true
	case markup:
		r.charge(times(len(v)))
		if v == "" {
			return v, true
		}
		return markup(strings.Repeat(string(v), int(n))), true
	case *List:
		size := times(len(v.items))
		r.chargeItems(size)
		items := make([]Value, 0, size)
		for len(items) < size {
			items = append(items, v.items...)
		}
		return &List{items: items, tuple: v.tuple}, true
	}
	return nil, false
}

// joinText joins strings, charging the result first.
func (r *renderer) joinText(parts []string, between string) string {
	size := max(0, len(parts)-1) * len(between)
	for _, p := range parts {
		size += len(p)
		if size > r.limits.Output {
			break
		}
	}
	r.charge(size)
	return strings.Join(parts, between)
}

func (r *renderer) intOp(op string, x, y int64) Value {
	overflow := func(ok bool) {
		if !ok {
			r.unsupported("an integer beyond 64 bits")
		}
	}
	switch op {
	case "+":
		s := x + y
		overflow((s > x) == (y > 0))
		return s
	case "-":
		d := x - y
		overflow((d < x) == (y > 0))
		return d
	case "*":
		v, ok := mulInt(x, y)
		overflow(ok)
		return v
	case "/":
		if y == 0 {
			r.fail("division by zero")
		}
		return float64(x) / float64(y)
	case "//", "%":
		if y == 0 {
			r.fail("division by zero")
		}
		overflow(x != math.MinInt64 || y != -1)
		q, m := x/y, x%y
		if m != 0 && (m < 0) != (y < 0) {
			q, m = q-1, m+y
		}
		if op == "%" {
			return m
		}
		return q
	}
	// **
	if y < 0 {
		if x == 0 {
			r.fail("division by zero")
		}
		return math.Pow(float64(x), float64(y))
	}
	v := int64(1)
	for ok := true; y > 0; y >>= 1 {
		if y&1 == 1 {
			v, ok = mulInt(v, x)
			overflow(ok)
		}
		if y > 1 {
			x, ok = mulInt(x, x)
			overflow(ok)
		}
	}
	return v
}

func mulInt(x, y int64) (int64, bool) {
	if x == 0 || y == 0 {
		return 0, true
	}
	p := x * y
	if p/y != x || x == math.MinInt64 && y == -1 || y == math.MinInt64 && x == -1 {
		return 0, false
	}
	return p, true
}

func (r *renderer) floatOp(op string, x, y float64) Value {
	if y == 0 && (op == "/" || op == "//" || op == "%") {
		r.fail("division by zero")
	}
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "/":
		return x / y
	case "//", "%":
		// as CPython's float_divmod: the remainder takes the sign of the divisor
		m := math.Mod(x, y)
		q := (x - m) / y
		if m != 0 {
			if (m < 0) != (y < 0) {
				m += y
				q--
			}
		} else {
			m = math.Copysign(0, y)
		}
		if op == "%" {
			return m
		}
		if q == 0 {
			return math.Copysign(0, x/y)
		}
		f := math.Floor(q)
		if q-f > 0.5 {
			f++
		}
		return f
	}
	if x == 0 && y < 0 {
		r.fail("division by zero")
	}
	v := math.Pow(x, y)
	if math.IsInf(v, 0) && !math.IsInf(x, 0) && !math.IsInf(y, 0) {
		r.fail("the result of ** is too large")
	}
	if math.IsNaN(v) && !math.IsNaN(x) && !math.IsNaN(y) {
		r.unsupported("a complex number, the result of **")
	}
	return v
}

func (r *renderer) compareOp(op string, a, b Value) bool {
	switch op {
	case "==":
		return r.equal(a, b)
	case "!=":
		return !r.equal(a, b)
	case "in":
		return r.contains(b, a)
	case "not in":
		return !r.contains(b, a)
	case "<":
		return r.less(a, b, op)
	case ">":
		return r.less(b, a, op)
	}
	// <= and >= are not the negation of the other order where one side is NaN
	if isNumber(a) && isNumber(b) {
		c := compareNumbers(a, b)
		return c == 0 || op == "<=" && c == -1 || op == ">=" && c == 1
	}
	if op == "<=" {
		return !r.less(b, a, op)
	}
	return !r.less(a, b, op)
}

// contains is Python's item in box.
func (r *renderer) contains(box, item Value) bool {
	if s, ok := asText(box); ok {
		sub, ok := asText(item)
		if !ok {
			r.fail("in a string only strings can be looked for, not %s", r.kindOf(item))
		}
		r.step(1 + len(s)/64)
		return strings.Contains(s, sub)
	}
	switch b := box.(type) {
	case *Dict:
		_, ok := b.get(r.hash(item))
		return ok
	case *view:
		if b.kind == "keys" {
			_, ok := b.dict.get(r.hash(item))
			return ok
		}
	}
	next := r.iterate(box)
	for v, ok := next(); ok; v, ok = next() {
		if r.equal(v, item) {
			return true
		}
	}
	return false
}

// getAttr is obj.name as Jinja2 reads it: an attribute or method of the Python object first, then the item of this key, else undefined.
func (r *renderer) getAttr(obj Value, name string) Value {
	if u, ok := obj.(*undefined); ok {
		r.fail("%s, so it has no attribute %q", u.what, name)
	}
	if v, ok := r.attribute(obj, name); ok {
		return v
	}
	if v, ok := r.index(obj, name); ok {
		return v
	}
	return r.missing(obj, name)
}

// getItem is obj[arg]: the item first, then, for a string, the attribute, else undefined.
func (r *renderer) getItem(obj, arg Value) Value {
	if u, ok := obj.(*undefined); ok {
		r.fail("%s, so it has no item %s", u.what, r.short(arg))
	}
	if v, ok := r.index(obj, arg); ok {
		return v
	}
	if name, ok := asText(arg); ok {
		if v, ok := r.attribute(obj, name); ok {
			return v
		}
	}
	return r.missing(obj, arg)
}

func (r *renderer) missing(obj, arg Value) Value {
	return &undefined{"a value of type " + r.kindOf(obj) + " has no " + r.short(arg)}
}

// short is the text of a key for an error.
func (r *renderer) short(v Value) string {
	if s, ok := asText(v); ok {
		if len(s) > 40 {
			return "long key"
		}
		return "\"" + s + "\""
	}
	if i, ok := asInt(v); ok {
		return "item " + r.str(i)
	}
	return r.kindOf(v)
}

// index is the item of a list, string or range at a position, or of a dict under a key; false where there is none.
func (r *renderer) index(obj, arg Value) (Value, bool) {
	if d, ok := obj.(*Dict); ok {
		if l, ok := arg.(*List); ok && !l.tuple {
			return nil, false
		}
		if _, ok := arg.(*Dict); ok {
			return nil, false
		}
		return d.get(r.hash(arg))
	}
	i, ok := asInt(arg)
	if !ok {
		return nil, false
	}
	if s, ok := asText(obj); ok {
		n := utf8.RuneCountInString(s)
		r.step(len(s) / 64)
		if i < 0 {
			i += int64(n)
		}
		if i < 0 || i >= int64(n) {
			return nil, false
		}
		c := string(r.runesBetween(s, n, int(i), int(i)+1))
		if _, ok := obj.(markup); ok {
			return markup(c), true
		}
		return c, true
	}
	n, ok := r.lengthOf(obj)
	if !ok {
		return nil, false
	}
	if i < 0 {
		i += int64(n)
	}
	if i < 0 || i >= int64(n) {
		return nil, false
	}
	switch o := obj.(type) {
	case *List:
		return o.items[i], true
	case *span:
		return o.at(i), true
	}
	return nil, false
}

// runesBetween is the part of s, n characters long, from character a to b.
func (r *renderer) runesBetween(s string, n, a, b int) string {
	if n == len(s) {
		return s[a:b]
	}
	from, at := 0, 0
	for i := range s {
		if at == a {
			from = i
		}
		if at == b {
			return s[from:i]
		}
		at++
	}
	if a >= n {
		return ""
	}
	return s[from:]
}

// slice is obj[start:stop:step]; nil parts are absent.
func (r *renderer) slice(obj, start, stop, step Value) Value {
	if u, ok := obj.(*undefined); ok {
		r.fail("%s, so it has no slice", u.what)
	}
	s, isText := asText(obj)
	list, isList := obj.(*List)
	sp, isSpan := obj.(*span)
	if !isText && !isList && !isSpan {
		r.fail("a value of type %s has no slices", r.kindOf(obj))
	}
	length, _ := r.lengthOf(obj)
	part := func(v Value, otherwise int64) int64 {
		if v == nil {
			return otherwise
		}
		i, ok := asInt(v)
		if !ok {
			r.fail("a slice needs integers, not %s", r.kindOf(v))
		}
		return i
	}
	n := int64(length)
	by := part(step, 1)
	if by == 0 {
		r.fail("the step of a slice cannot be zero")
	}
	by = max(by, -math.MaxInt64)
	low, high := int64(0), n
	if by < 0 {
		low, high = -1, n-1
	}
	clamp := func(i int64) int64 {
		if i < 0 {
			i += n
		}
		return min(max(i, low), high)
	}
	from, to := low, high
	if by < 0 {
		from, to = high, low
	}
	if start != nil {
		from = clamp(part(start, 0))
	}
	if stop != nil {
		to = clamp(part(stop, 0))
	}
	count := int64(0)
	if by > 0 && from < to {
		count = (to-from-1)/by + 1
	} else if by < 0 && from > to {
		count = (from-to-1)/(-by) + 1
	}
	switch {
	case isSpan:
		st, _ := mulInt(sp.step, by)
		return &span{start: sp.start + from*sp.step, stop: sp.start + to*sp.step, step: st, n: count}
	case isList:
		r.chargeItems(int(count))
		out := &List{items: make([]Value, count), tuple: list.tuple}
		for i := range count {
			out.items[i] = list.items[from+i*by]
		}
		return out
	}
	text := ""
	switch {
	case count == 0:
	case by == 1:
		text = r.runesBetween(s, length, int(from), int(from+count))
		r.step(len(s) / 64)
	default:
		r.chargeItems(length)
		runes := []rune(s)
		var b strings.Builder
		for i := range count {
			b.WriteRune(runes[from+i*by])
		}
		text = b.String()
	}
	r.charge(len(text))
	if _, ok := obj.(markup); ok {
		return markup(text)
	}
	return text
}
