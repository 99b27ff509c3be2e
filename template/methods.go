package template

// Methods and attributes of Python's objects: str, dict, list, namespace, loop. Methods that change a list or dict are refused, as in Hugging Face's immutable sandbox.

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// attribute is getattr(obj, name) of Python; false where obj has no such attribute.
func (r *renderer) attribute(obj Value, name string) (Value, bool) {
	method := func(kind string, call func(r *renderer, a *arguments) Value) (Value, bool) {
		return &function{kind + "." + name, call}, true
	}
	refused := func(kind string) (Value, bool) {
		return method(kind, func(r *renderer, a *arguments) Value {
			r.unsupported("method %s.%s", kind, name)
			return nil
		})
	}
	switch o := obj.(type) {
	case string:
		if m := textMethods[name]; m != nil {
			return method("str", func(r *renderer, a *arguments) Value { return m(r, o, a) })
		}
		if slices.Contains(otherTextMethods, name) {
			return refused("str")
		}
	case markup:
		if m := textMethods[name]; m != nil {
			return method("str", func(r *renderer, a *arguments) Value { return markAll(m(r, string(o), a)) })
		}
		if slices.Contains(otherTextMethods, name) {
			return refused("str")
		}
	case *Dict:
		if m := dictMethods[name]; m != nil {
			return method("dict", func(r *renderer, a *arguments) Value { return m(r, o, a) })
		}
		if slices.Contains(otherDictMethods, name) {
			return refused("dict")
		}
	case *List:
		for i, n := range o.names {
			if n == name {
				return o.items[i], true
			}
		}
		if m := listMethods[name]; m != nil {
			return method("list", func(r *renderer, a *arguments) Value { return m(r, o, a) })
		}
		if !o.tuple && slices.Contains(otherListMethods, name) {
			return refused("list")
		}
	case *namespace:
		return o.attrs.Get(name)
	case *loopState:
		return o.attr(r, name)
	case *span:
		switch name {
		case "start":
			return o.start, true
		case "stop":
			return o.stop, true
		case "step":
			return o.step, true
		}
	case *function:
		if name == "name" {
			return o.name, true
		}
	case int64, bool:
		if slices.Contains(otherIntMethods, name) {
			return refused("int")
		}
	case float64:
		if name == "is_integer" {
			return method("float", func(r *renderer, a *arguments) Value {
				r.bind(a, "is_integer", 0)
				return o == float64(int64(o))
			})
		}
		if slices.Contains(otherFloatMethods, name) {
			return refused("float")
		}
	}
	return nil, false
}

// markAll marks the strings of a result.
func markAll(v Value) Value {
	switch v := v.(type) {
	case string:
		return markup(v)
	case *List:
		out := &List{tuple: v.tuple}
		for _, item := range v.items {
			out.items = append(out.items, markAll(item))
		}
		return out
	}
	return v
}

// Attributes that Python has and this package has not: reached by name they must not be mistaken for keys.
var (
	otherTextMethods  = []string{"encode", "expandtabs", "maketrans", "translate"}
	otherDictMethods  = []string{"clear", "fromkeys", "pop", "popitem", "setdefault", "update"}
	otherListMethods  = []string{"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"}
	otherIntMethods   = []string{"as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator", "from_bytes", "imag", "is_integer", "numerator", "real", "to_bytes"}
	otherFloatMethods = []string{"as_integer_ratio", "conjugate", "fromhex", "hex", "imag", "real"}
)

var dictMethods = map[string]func(r *renderer, d *Dict, a *arguments) Value{
	"get": func(r *renderer, d *Dict, a *arguments) Value {
		p := r.bind(a, "get", 1, "key", "default")
		if v, ok := d.get(r.hash(p[0])); ok {
			return v
		}
		if p[1] == absent {
			return nil
		}
		return p[1]
	},
	"items":  func(r *renderer, d *Dict, a *arguments) Value { r.bind(a, "items", 0); return &view{d, "items"} },
	"keys":   func(r *renderer, d *Dict, a *arguments) Value { r.bind(a, "keys", 0); return &view{d, "keys"} },
	"values": func(r *renderer, d *Dict, a *arguments) Value { r.bind(a, "values", 0); return &view{d, "values"} },
	"copy":   func(r *renderer, d *Dict, a *arguments) Value { r.bind(a, "copy", 0); return d },
}

var listMethods = map[string]func(r *renderer, l *List, a *arguments) Value{
	"count": func(r *renderer, l *List, a *arguments) Value {
		p := r.bind(a, "count", 1, "value")
		n := int64(0)
		for _, v := range l.items {
			if r.equal(v, p[0]) {
				n++
			}
		}
		return n
	},
	"index": func(r *renderer, l *List, a *arguments) Value {
		p := r.bind(a, "index", 1, "value")
		for i, v := range l.items {
			if r.equal(v, p[0]) {
				return int64(i)
			}
		}
		r.fail("the value is not in the list")
		return nil
	},
	"copy": func(r *renderer, l *List, a *arguments) Value { r.bind(a, "copy", 0); return l },
}

type textMethod func(r *renderer, s string, a *arguments) Value

var textMethods map[string]textMethod

func init() {
	strip := func(left, right bool) textMethod {
		return func(r *renderer, s string, a *arguments) Value {
			r.step(len(s) / 64)
			p := r.bind(a, "strip", 0, "chars")
			return stripText(s, r.optionalChars(p[0]), left, right)
		}
	}
	// test makes a method such as isdigit: true where s has characters and all satisfy ok.
	test := func(ok func(rune) bool) textMethod {
		return func(r *renderer, s string, a *arguments) Value {
			r.step(len(s) / 8)
			r.bind(a, "str method", 0)
			return s != "" && strings.IndexFunc(s, func(c rune) bool { return !ok(c) }) < 0
		}
	}
	change := func(f func(string) string) textMethod {
		return func(r *renderer, s string, a *arguments) Value {
			r.bind(a, "str method", 0)
			r.charge(3 * len(s))
			r.step(len(s) / 8)
			return f(s)
		}
	}
	affix := func(has func(s, part string) bool) textMethod {
		return func(r *renderer, s string, a *arguments) Value {
			p := r.bind(a, "str method", 1, "prefix", "start", "end")
			_, s, inside := r.sliceBounds(s, p[1], p[2])
			parts := []Value{p[0]}
			if l, ok := p[0].(*List); ok && l.tuple {
				parts = l.items
			}
			for _, part := range parts {
				if has(s, r.needText(part)) && inside {
					return true
				}
			}
			return false
		}
	}
	find := func(name string, at func(s, sub string) int, must bool) textMethod {
		return func(r *renderer, s string, a *arguments) Value {
			p := r.bind(a, name, 1, "sub", "start", "end")
			r.step(len(s) / 64)
			from, part, inside := r.sliceBounds(s, p[1], p[2])
			if i := at(part, r.needText(p[0])); inside && i >= 0 {
				return from + int64(utf8.RuneCountInString(part[:i]))
			}
			if must {
				r.fail("%s: the text was not found", name)
			}
			return int64(-1)
		}
	}
	pad := func(place func(s string, n int, fill string) string) textMethod {
		return func(r *renderer, s string, a *arguments) Value {
			p := r.bind(a, "str method", 1, "width", "fillchar")
			fill := r.optionalText(p[1], " ")
			if utf8.RuneCountInString(fill) != 1 {
				r.fail("the fill must be one character")
			}
			return r.pad(s, r.needInt(p[0]), fill, place)
		}
	}
	partition := func(last bool) textMethod {
		return func(r *renderer, s string, a *arguments) Value {
			sep := r.needText(r.bind(a, "partition", 1, "sep")[0])
			if sep == "" {
				r.fail("the separator is empty")
			}
			r.charge(len(s))
			i := strings.Index(s, sep)
			if last {
				i = strings.LastIndex(s, sep)
			}
			parts := []Value{s[:max(i, 0)], sep, s[min(len(s), max(i, 0)+len(sep)):]}
			if i < 0 {
				parts = []Value{s, "", ""}
				if last {
					parts = []Value{"", "", s}
				}
			}
			return &List{items: parts, tuple: true}
		}
	}
	textMethods = map[string]textMethod{
		"strip":      strip(true, true),
		"lstrip":     strip(true, false),
		"rstrip":     strip(false, true),
		"upper":      change(upperText),
		"lower":      change(lowerText),
		"casefold":   change(func(s string) string { return cases.Fold().String(s) }),
		"capitalize": change(capitalizeText),
		"title":      change(titleText),
		"swapcase": change(func(s string) string {
			var b strings.Builder
			for _, c := range s {
				switch {
				case unicode.IsUpper(c):
					b.WriteString(lowerText(string(c)))
				case unicode.IsLower(c):
					b.WriteString(upperText(string(c)))
				default:
					b.WriteRune(c)
				}
			}
			return b.String()
		}),
		"startswith": affix(strings.HasPrefix),
		"endswith":   affix(strings.HasSuffix),
		"find":       find("find", strings.Index, false),
		"rfind":      find("rfind", strings.LastIndex, false),
		"index":      find("index", strings.Index, true),
		"rindex":     find("rindex", strings.LastIndex, true),
		"ljust":      pad(func(s string, n int, fill string) string { return s + strings.Repeat(fill, n) }),
		"rjust":      pad(func(s string, n int, fill string) string { return strings.Repeat(fill, n) + s }),
		"center":     pad(nil),
		"partition":  partition(false),
		"rpartition": partition(true),
		"isdigit":    test(unicode.IsDigit),
		"isdecimal":  test(unicode.IsDigit),
		"isnumeric":  test(unicode.IsNumber),
		"isalpha":    test(unicode.IsLetter),
		"isalnum":    test(func(c rune) bool { return unicode.IsLetter(c) || unicode.IsNumber(c) }),
		"isspace":    test(isSpace),
		"isupper": func(r *renderer, s string, a *arguments) Value {
			r.bind(a, "isupper", 0)
			return upperText(s) == s && lowerText(s) != s
		},
		"islower": func(r *renderer, s string, a *arguments) Value {
			r.bind(a, "islower", 0)
			return lowerText(s) == s && upperText(s) != s
		},
		"istitle": func(r *renderer, s string, a *arguments) Value {
			r.bind(a, "istitle", 0)
			return titleText(s) == s && lowerText(s) != upperText(s)
		},
		"isascii": func(r *renderer, s string, a *arguments) Value {
			r.bind(a, "isascii", 0)
			return strings.IndexFunc(s, func(c rune) bool { return c >= 0x80 }) < 0
		},
		"isprintable": func(r *renderer, s string, a *arguments) Value {
			r.bind(a, "isprintable", 0)
			return strings.IndexFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) < 0
		},
		"isidentifier": func(r *renderer, s string, a *arguments) Value {
			r.bind(a, "isidentifier", 0)
			for i, c := range s {
				if c != '_' && !unicode.IsLetter(c) && (i == 0 || !unicode.IsDigit(c)) {
					return false
				}
			}
			return s != ""
		},
		"count": func(r *renderer, s string, a *arguments) Value {
			p := r.bind(a, "count", 1, "sub", "start", "end")
			r.step(len(s) / 8)
			_, part, inside := r.sliceBounds(s, p[1], p[2])
			if n := strings.Count(part, r.needText(p[0])); inside {
				return int64(n)
			}
			return int64(0)
		},
		"removeprefix": func(r *renderer, s string, a *arguments) Value {
			return strings.TrimPrefix(s, r.needText(r.bind(a, "removeprefix", 1, "prefix")[0]))
		},
		"removesuffix": func(r *renderer, s string, a *arguments) Value {
			return strings.TrimSuffix(s, r.needText(r.bind(a, "removesuffix", 1, "suffix")[0]))
		},
		"replace": func(r *renderer, s string, a *arguments) Value {
			p := r.bind(a, "replace", 2, "old", "new", "count")
			return r.replaceText(s, r.needText(p[0]), r.needText(p[1]), r.optionalInt(p[2], -1))
		},
		"join": func(r *renderer, s string, a *arguments) Value {
			var parts []string
			for _, v := range r.items(r.bind(a, "join", 1, "iterable")[0]) {
				parts = append(parts, r.needText(v))
			}
			return r.joinText(parts, s)
		},
		"split":  func(r *renderer, s string, a *arguments) Value { return r.splitText(s, a, false) },
		"rsplit": func(r *renderer, s string, a *arguments) Value { return r.splitText(s, a, true) },
		"splitlines": func(r *renderer, s string, a *arguments) Value {
			keep := r.optionalBool(r.bind(a, "splitlines", 0, "keepends")[0], false)
			return r.textList(splitLines(s, keep))
		},
		"zfill": func(r *renderer, s string, a *arguments) Value {
			width := r.needInt(r.bind(a, "zfill", 1, "width")[0])
			sign := ""
			if s != "" && (s[0] == '-' || s[0] == '+') {
				sign, s = s[:1], s[1:]
			}
			return r.pad(s, width-int64(len(sign)), "0", func(s string, n int, fill string) string { return sign + strings.Repeat(fill, n) + s })
		},
		"format": func(r *renderer, s string, a *arguments) Value { return r.formatBraces(s, a) },
		"format_map": func(r *renderer, s string, a *arguments) Value {
			d, ok := r.bind(a, "format_map", 1, "mapping")[0].(*Dict)
			if !ok {
				r.fail("format_map needs a mapping")
			}
			args := &arguments{}
			for i, k := range d.keys {
				if name, ok := k.(string); ok {
					args.kw = append(args.kw, keyword{name, d.vals[i]})
				}
			}
			return r.formatBraces(s, args)
		},
	}
}

// optionalChars is the argument of strip: characters, or nil for white space.
func (r *renderer) optionalChars(v Value) *string {
	if v == absent || v == nil {
		return nil
	}
	s := r.needText(v)
	return &s
}

func stripText(s string, chars *string, left, right bool) string {
	cut := isSpace
	if chars != nil {
		cut = func(c rune) bool { return strings.ContainsRune(*chars, c) }
	}
	if left {
		s = strings.TrimLeftFunc(s, cut)
	}
	if right {
		s = strings.TrimRightFunc(s, cut)
	}
	return s
}

// sliceBounds is s[start:end] for the optional bounds of a string method, and where it begins in characters. inside is false where the bounds hold no place in s, so that not even an empty text is found there.
func (r *renderer) sliceBounds(s string, start, end Value) (from int64, part string, inside bool) {
	if start == absent && end == absent {
		return 0, s, true
	}
	n := int64(utf8.RuneCountInString(s))
	bound := func(v Value, otherwise int64) int64 {
		if v == absent || v == nil {
			return otherwise
		}
		i := r.needInt(v)
		if i < 0 {
			i = max(i+n, 0)
		}
		return i
	}
	from, to := bound(start, 0), min(bound(end, n), n)
	if from > to {
		return 0, "", false
	}
	return from, r.slice(s, from, to, nil).(string), true
}

// pad widens s to a width in characters; place nil centres it as Python does.
func (r *renderer) pad(s string, width int64, fill string, place func(s string, n int, fill string) string) string {
	have := int64(utf8.RuneCountInString(s))
	if width <= have {
		return s
	}
	if width > int64(r.limits.Output) {
		r.charge(r.limits.Output + 1)
	}
	n := int(width - have)
	r.charge(len(s) + n*len(fill))
	if place != nil {
		return place(s, n, fill)
	}
	left := n/2 + (n & int(width) & 1)
	return strings.Repeat(fill, left) + s + strings.Repeat(fill, n-left)
}

func (r *renderer) replaceText(s, old, new string, count int64) string {
	n := int64(strings.Count(s, old))
	if count >= 0 {
		n = min(n, count)
	}
	r.step(len(s)/64 + int(n))
	size := int64(len(s)) + n*int64(len(new)-len(old))
	if size > int64(r.limits.Output) {
		size = int64(r.limits.Output) + 1
	}
	r.charge(int(size))
	return strings.Replace(s, old, new, int(n))
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func upperText(s string) string {
	if isASCII(s) {
		return strings.ToUpper(s)
	}
	return cases.Upper(language.Und).String(s)
}

func lowerText(s string) string {
	if isASCII(s) {
		return strings.ToLower(s)
	}
	return cases.Lower(language.Und).String(s)
}

func capitalizeText(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return firstTitle(s[:n]) + lowerText(s[n:])
}

// firstTitle is one character in title case, which may be longer.
func firstTitle(c string) string {
	if isASCII(c) {
		return strings.ToUpper(c)
	}
	return cases.Title(language.Und).String(c)
}

// titleText is str.title: the first letter of every run of letters in title case, the others in lower case.
func titleText(s string) string {
	var b strings.Builder
	inWord := false
	for _, c := range s {
		cased := unicode.IsUpper(c) || unicode.IsLower(c) || unicode.IsTitle(c)
		switch {
		case cased && inWord:
			b.WriteString(lowerText(string(c)))
		case cased:
			b.WriteString(firstTitle(string(c)))
		default:
			b.WriteRune(c)
		}
		inWord = cased
	}
	return b.String()
}
