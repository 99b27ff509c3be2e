package template

// The filters of Jinja2 on single values, and the table of all. Those that make HTML (urlize, xmlattr, striptags) or random values are left out.

import (
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// filterFunc is one filter: the value before the bar, and the arguments.
type filterFunc func(r *renderer, v Value, a *arguments) Value

var filters map[string]filterFunc

func init() {
	filters = map[string]filterFunc{
		"abs":        filterAbs,
		"attr":       filterAttr,
		"batch":      filterBatch,
		"capitalize": textFilter(capitalizeText),
		"center":     filterCenter,
		"default":    filterDefault,
		"dictsort":   filterDictsort,
		"escape":     filterEscape,
		"first":      filterFirst,
		"float":      filterFloat,
		"forceescape": func(r *renderer, v Value, a *arguments) Value {
			r.bind(a, "forceescape", 0)
			return markup(r.escapeHTML(r.str(v)))
		},
		"format":     filterFormat,
		"groupby":    filterGroupby,
		"indent":     filterIndent,
		"int":        filterInt,
		"items":      filterItems,
		"join":       filterJoin,
		"last":       filterLast,
		"length":     filterLength,
		"list":       func(r *renderer, v Value, a *arguments) Value { r.bind(a, "list", 0); return &List{items: r.items(v)} },
		"lower":      textFilter(lowerText),
		"map":        filterMap,
		"max":        func(r *renderer, v Value, a *arguments) Value { return r.extreme(v, a, "max") },
		"min":        func(r *renderer, v Value, a *arguments) Value { return r.extreme(v, a, "min") },
		"reject":     func(r *renderer, v Value, a *arguments) Value { return r.selectItems(v, a, false, false) },
		"rejectattr": func(r *renderer, v Value, a *arguments) Value { return r.selectItems(v, a, true, false) },
		"replace":    filterReplace,
		"reverse":    filterReverse,
		"round":      filterRound,
		"safe":       func(r *renderer, v Value, a *arguments) Value { r.bind(a, "safe", 0); return markup(r.str(v)) },
		"select":     func(r *renderer, v Value, a *arguments) Value { return r.selectItems(v, a, false, true) },
		"selectattr": func(r *renderer, v Value, a *arguments) Value { return r.selectItems(v, a, true, true) },
		"slice":      filterSlice,
		"sort":       filterSort,
		"string":     func(r *renderer, v Value, a *arguments) Value { r.bind(a, "string", 0); return r.softText(v) },
		"sum":        filterSum,
		"title":      textFilter(titleWords),
		"tojson":     func(r *renderer, v Value, a *arguments) Value { return r.toJSON(v, a) },
		"trim":       filterTrim,
		"truncate":   filterTruncate,
		"unique":     filterUnique,
		"upper":      textFilter(upperText),
		"wordcount":  filterWordcount,
	}
	filters["count"] = filters["length"]
	filters["d"] = filters["default"]
	filters["e"] = filters["escape"]
}

// softText is the text of a value; text marked safe stays marked.
func (r *renderer) softText(v Value) Value {
	if m, ok := v.(markup); ok {
		return m
	}
	return r.str(v)
}

// keepMark gives the text the mark of the value it came from.
func keepMark(from Value, text string) Value {
	if _, ok := from.(markup); ok {
		return markup(text)
	}
	return text
}

func textFilter(f func(string) string) filterFunc {
	return func(r *renderer, v Value, a *arguments) Value {
		r.bind(a, "filter", 0)
		s := r.str(v)
		r.charge(3 * len(s))
		r.step(len(s) / 8)
		return keepMark(v, f(s))
	}
}

func (r *renderer) escapeHTML(s string) string {
	r.charge(5 * len(s))
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&#39;", `"`, "&#34;").Replace(s)
}

// escapeArg escapes a string that is put into marked text.
func (r *renderer) escapeArg(v Value) Value {
	switch v := v.(type) {
	case string:
		return r.escapeHTML(v)
	case *List:
		out := &List{tuple: v.tuple}
		for _, item := range v.items {
			out.items = append(out.items, r.escapeArg(item))
		}
		return out
	}
	return v
}

// titleWords is the filter title: words begin after white space, hyphens and opening brackets.
func titleWords(s string) string {
	var b strings.Builder
	first := true
	for len(s) > 0 {
		c, n := utf8.DecodeRuneInString(s)
		if isSpace(c) || strings.ContainsRune("-({[<", c) {
			b.WriteString(s[:n])
			s, first = s[n:], true
			continue
		}
		if first {
			b.WriteString(upperText(s[:n]))
			s, first = s[n:], false
			continue
		}
		i := strings.IndexFunc(s, func(c rune) bool { return isSpace(c) || strings.ContainsRune("-({[<", c) })
		if i < 0 {
			i = len(s)
		}
		b.WriteString(lowerText(s[:i]))
		s = s[i:]
	}
	return b.String()
}

func filterAbs(r *renderer, v Value, a *arguments) Value {
	r.bind(a, "abs", 0)
	if f, ok := v.(float64); ok {
		return math.Abs(f)
	}
	if b, ok := v.(*big.Int); ok {
		return new(big.Int).Abs(b)
	}
	i := r.needInt(v)
	if i < 0 {
		return r.unary("-", i)
	}
	return i
}

func filterAttr(r *renderer, v Value, a *arguments) Value {
	name := r.str(r.bind(a, "attr", 1, "name")[0])
	if u, ok := v.(*undefined); ok {
		r.fail("%s, so it has no attribute %q", u.what, name)
	}
	if out, ok := r.attribute(v, name); ok {
		return out
	}
	return r.missing(v, name)
}

func filterCenter(r *renderer, v Value, a *arguments) Value {
	width := r.optionalInt(r.bind(a, "center", 0, "width")[0], 80)
	return keepMark(v, r.pad(r.str(v), width, " ", nil))
}

func filterDefault(r *renderer, v Value, a *arguments) Value {
	p := r.bind(a, "default", 0, "default_value", "boolean")
	_, missing := v.(*undefined)
	if missing || r.optionalBool(p[1], false) && !r.truth(v) {
		if p[0] == absent {
			return ""
		}
		return p[0]
	}
	return v
}

func filterEscape(r *renderer, v Value, a *arguments) Value {
	r.bind(a, "escape", 0)
	if m, ok := v.(markup); ok {
		return m
	}
	return markup(r.escapeHTML(r.str(v)))
}

func filterFirst(r *renderer, v Value, a *arguments) Value {
	r.bind(a, "first", 0)
	next := r.iterate(v)
	if item, ok := next(); ok {
		return item
	}
	return &undefined{"the first item of nothing"}
}

func filterLast(r *renderer, v Value, a *arguments) Value {
	r.bind(a, "last", 0)
	if _, ok := v.(*generator); ok {
		r.fail("last: a generator has no last item")
	}
	items := r.items(v)
	if len(items) == 0 {
		return &undefined{"the last item of nothing"}
	}
	return items[len(items)-1]
}

func filterLength(r *renderer, v Value, a *arguments) Value {
	r.bind(a, "length", 0)
	n, ok := r.lengthOf(v)
	if !ok {
		r.fail("a value of type %s has no length", r.kindOf(v))
	}
	return int64(n)
}

func filterFormat(r *renderer, v Value, a *arguments) Value {
	if len(a.pos) > 0 && len(a.kw) > 0 {
		r.fail("format takes positional or named arguments, not both")
	}
	if len(a.kw) == 0 {
		return keepMark(v, r.formatPercent(r.str(v), &List{items: a.pos, tuple: true}))
	}
	return keepMark(v, r.formatPercent(r.str(v), makeDict(r, a)))
}

// parseInteger reads what Python's int(text, base) reads.
func parseInteger(s string, base int64) (int64, bool) {
	s = stripText(s, nil, true, true)
	sign := ""
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, s = s[:1], s[1:]
	}
	if len(s) > 1 && s[0] == '0' {
		prefix := map[byte]int64{'x': 16, 'o': 8, 'b': 2}[s[1]|32]
		if prefix != 0 && (base == prefix || base == 0) {
			base, s = prefix, strings.TrimPrefix(s[2:], "_")
		}
	}
	if base == 0 {
		base = 10
	}
	if base < 2 || base > 36 || s == "" || s[0] == '_' || s[len(s)-1] == '_' || strings.Contains(s, "__") || s[0] == '-' || s[0] == '+' {
		return 0, false
	}
	n, err := strconv.ParseInt(sign+strings.ReplaceAll(s, "_", ""), int(base), 64)
	return n, err == nil
}

// parseFloat reads what Python's float(text) reads.
func parseFloat(s string) (float64, bool) {
	s = stripText(s, nil, true, true)
	if strings.ContainsAny(s, "xXpP") || strings.HasPrefix(s, "_") || strings.HasSuffix(s, "_") || strings.Contains(s, "__") {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
	return f, err == nil || math.IsInf(f, 0)
}

func filterInt(r *renderer, v Value, a *arguments) Value {
	p := r.bind(a, "int", 0, "default", "base")
	otherwise := p[0]
	if otherwise == absent {
		otherwise = int64(0)
	}
	whole := func(f float64) Value {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return otherwise
		}
		if math.Abs(f) >= 1<<63 {
			b, _ := big.NewFloat(f).Int(nil)
			return b
		}
		return int64(f)
	}
	switch v := v.(type) {
	case *undefined:
		r.fail("%s, so it is no number", v.what)
	case bool, int64:
		i, _ := asInt(v)
		return i
	case *big.Int:
		return v
	case float64:
		return whole(v)
	}
	if s, ok := asText(v); ok {
		if i, ok := parseInteger(s, r.optionalInt(p[1], 10)); ok {
			return i
		}
		if f, ok := parseFloat(s); ok {
			return whole(f)
		}
	}
	return otherwise
}

func filterFloat(r *renderer, v Value, a *arguments) Value {
	otherwise := r.bind(a, "float", 0, "default")[0]
	if u, ok := v.(*undefined); ok {
		r.fail("%s, so it is no number", u.what)
	}
	if f, ok := asFloat(v); ok {
		return f
	}
	if s, ok := asText(v); ok {
		if f, ok := parseFloat(s); ok {
			return f
		}
	}
	if otherwise == absent {
		return 0.0
	}
	return otherwise
}

func filterRound(r *renderer, v Value, a *arguments) Value {
	p := r.bind(a, "round", 0, "precision", "method")
	digits := r.optionalInt(p[0], 0)
	method := r.optionalText(p[1], "common")
	if !isNumber(v) {
		r.fail("round needs a number, not %s", r.kindOf(v))
	}
	if digits < -300 || digits > 300 {
		r.fail("round: a precision of %d digits", digits)
	}
	f, isFloat := v.(float64)
	switch method {
	case "common":
		if b, isBool := v.(bool); isBool {
			v, _ = asInt(b)
		}
		if !isFloat && digits >= 0 {
			return v
		}
		if isFloat && (math.IsInf(f, 0) || math.IsNaN(f)) {
			return f
		}
		if isFloat && digits >= 0 {
			out, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'f', int(digits), 64), 64)
			return out
		}
		scale := math.Pow(10, float64(-digits))
		f, _ := asFloat(v)
		f = math.RoundToEven(f/scale) * scale
		if !isFloat {
			return int64(f)
		}
		return f
	case "ceil", "floor":
		f, _ := asFloat(v)
		scale := math.Pow(10, float64(digits))
		if method == "ceil" {
			return math.Ceil(f*scale) / scale
		}
		return math.Floor(f*scale) / scale
	}
	r.fail("round: unknown method %q", method)
	return nil
}

func filterItems(r *renderer, v Value, a *arguments) Value {
	r.bind(a, "items", 0)
	return r.generate(func() iterator {
		switch v := v.(type) {
		case *undefined:
			return noItems
		case *Dict:
			return r.iterate(&view{v, "items"})
		}
		r.fail("items needs a mapping, not %s", r.kindOf(v))
		return nil
	})
}

// getter reads one attribute of items: "name", "name.0.other" or a number; nil reads the item itself.
func (r *renderer) getter(path Value, otherwise Value) func(Value) Value {
	if path == nil || path == absent {
		return func(v Value) Value { return v }
	}
	var parts []Value
	if s, ok := asText(path); ok {
		for _, part := range strings.Split(s, ".") {
			if i, err := strconv.ParseInt(part, 10, 64); err == nil && i >= 0 && part[0] != '+' {
				parts = append(parts, i)
			} else {
				parts = append(parts, part)
			}
		}
	} else {
		parts = []Value{path}
	}
	return func(v Value) Value {
		for _, part := range parts {
			v = r.getItem(v, part)
			if _, ok := v.(*undefined); ok && otherwise != absent && otherwise != nil {
				v = otherwise
			}
		}
		return v
	}
}

// ignoreCase is a sort key that takes capital and small letters as the same.
func (r *renderer) ignoreCase(v Value) Value {
	if s, ok := asText(v); ok {
		r.charge(len(s))
		return lowerText(s)
	}
	return v
}

// sortKey makes the key function of sort, unique, min, max and groupby.
func (r *renderer) sortKey(path Value, caseSensitive bool, otherwise Value) func(Value) Value {
	get := r.getter(path, otherwise)
	return func(v Value) Value {
		v = get(v)
		if !caseSensitive {
			v = r.ignoreCase(v)
		}
		return v
	}
}

func filterJoin(r *renderer, v Value, a *arguments) Value {
	p := r.bind(a, "join", 0, "d", "attribute")
	get := r.getter(p[1], absent)
	sep := ""
	if p[0] != absent {
		sep = r.str(p[0])
	}
	var parts []string
	for _, item := range r.items(v) {
		r.step(1)
		parts = append(parts, r.str(get(item)))
	}
	return r.joinText(parts, sep)
}

func filterReplace(r *renderer, v Value, a *arguments) Value {
	p := r.bind(a, "replace", 2, "old", "new", "count")
	count := int64(-1)
	if p[2] != absent && p[2] != nil {
		count = r.needInt(p[2])
	}
	return r.replaceText(r.str(v), r.str(p[0]), r.str(p[1]), count)
}

func filterReverse(r *renderer, v Value, a *arguments) Value {
	r.bind(a, "reverse", 0)
	if s, ok := asText(v); ok {
		return keepMark(v, r.slice(s, nil, nil, int64(-1)).(string))
	}
	items := slices.Clone(r.items(v))
	r.chargeItems(len(items))
	slices.Reverse(items)
	if _, ok := v.(*generator); ok { // not reversible, so Jinja2 makes a list of it
		return &List{items: items}
	}
	return r.generate(func() iterator { return r.iterate(&List{items: items}) })
}

func filterTrim(r *renderer, v Value, a *arguments) Value {
	p := r.bind(a, "trim", 0, "chars")
	s := r.str(v)
	r.step(len(s) / 64)
	return keepMark(v, stripText(s, r.optionalChars(p[0]), true, true))
}

func filterIndent(r *renderer, v Value, a *arguments) Value {
	p := r.bind(a, "indent", 0, "width", "first", "blank")
	indent, ok := "", false
	if p[0] != absent {
		indent, ok = asText(p[0])
	}
	if !ok {
		n := max(r.optionalInt(p[0], 4), 0)
		r.charge(int(min(n, math.MaxInt32)))
		indent = strings.Repeat(" ", int(n))
	}
	first, blank := r.optionalBool(p[1], false), r.optionalBool(p[2], false)
	s := r.needText(v)
	r.charge(2 * len(s))
	lines := splitLines(s+"\n", false)
	r.chargeItems(len(lines))
	for i, line := range lines {
		if i == 0 && first || i > 0 && (blank || line != "") {
			r.charge(len(indent) + len(line))
			lines[i] = indent + line
		}
	}
	return keepMark(v, r.joinText(lines, "\n"))
}

func filterTruncate(r *renderer, v Value, a *arguments) Value {
	p := r.bind(a, "truncate", 0, "length", "killwords", "end", "leeway")
	length, end := r.optionalInt(p[0], 255), r.optionalText(p[2], "...")
	leeway := int64(5)
	if p[3] != absent && p[3] != nil {
		leeway = r.needInt(p[3])
	}
	endLen := int64(utf8.RuneCountInString(end))
	if length < endLen || leeway < 0 {
		r.fail("truncate: the length is %d, the end has %d characters, the leeway is %d", length, endLen, leeway)
	}
	if size, ok := r.lengthOf(v); ok && (int64(size) <= length || int64(size)-length <= leeway) {
		return v
	}
	s := r.needText(v)
	s = r.slice(s, nil, length-endLen, nil).(string)
	if i := strings.LastIndexByte(s, ' '); i >= 0 && !r.optionalBool(p[1], false) {
		s = s[:i]
	}
	return keepMark(v, r.joinText([]string{s, end}, ""))
}

func filterWordcount(r *renderer, v Value, a *arguments) Value {
	r.bind(a, "wordcount", 0)
	n, inWord := int64(0), false
	s := r.str(v)
	r.step(len(s) / 8)
	for _, c := range s {
		word := c == '_' || unicode.IsLetter(c) || unicode.IsNumber(c)
		if word && !inWord {
			n++
		}
		inWord = word
	}
	return n
}

func filterSum(r *renderer, v Value, a *arguments) Value {
	p := r.bind(a, "sum", 0, "attribute", "start")
	get := r.getter(p[0], absent)
	var sum Value = int64(0)
	if p[1] != absent {
		sum = p[1]
	}
	next := r.iterate(v)
	for item, ok := next(); ok; item, ok = next() {
		sum = r.binary("+", sum, get(item))
	}
	return sum
}
