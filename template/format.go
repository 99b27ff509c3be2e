package template

// Python's two text formats: "..." % values and "...".format(values). It will not do nested format specifications such as {:{width}}, nor locale-dependent ones.

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// formatSpec is [[fill]align][sign][#][0][width][grouping][.precision][type]. Python's [z] is refused.
type formatSpec struct {
	fill      string
	align     byte // < > ^ = or 0
	sign      byte // + - space or 0, which is as -
	alternate bool
	zero      bool // a 0 before the width: fill with zeros, numbers between sign and digits unless an alignment is given
	width     int
	group     byte // , _ or 0
	precision int  // -1: none
	kind      byte // 0: none
}

// maxFormat bounds widths and precisions.
const maxFormat = 10_000

// number takes digits from the start of s, bounded by maxFormat.
func (r *renderer) digits(s string) (int, string) {
	n, i := 0, 0
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		n = n*10 + int(s[i]-'0')
		if n > maxFormat {
			r.overLimit("characters in a format", maxFormat)
		}
	}
	return n, s[i:]
}

// formatBraces is str.format.
func (r *renderer) formatBraces(s string, a *arguments) string {
	var b strings.Builder
	put := func(text string) {
		r.charge(len(text))
		b.WriteString(text)
	}
	auto := 0
	for s != "" {
		r.step(1)
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			put(s)
			break
		}
		put(s[:i])
		if strings.HasPrefix(s[i+1:], s[i:i+1]) {
			put(s[i : i+1])
			s = s[i+2:]
			continue
		}
		if s[i] == '}' {
			r.fail("format: a single }")
		}
		end := strings.IndexAny(s[i+1:], "{}")
		if end < 0 {
			r.fail("format: a single {")
		}
		if s[i+1+end] == '{' {
			r.unsupported("format: a field inside a field")
		}
		field := s[i+1 : i+1+end]
		s = s[i+2+end:]
		spec := ""
		if c := strings.IndexByte(field, ':'); c >= 0 {
			field, spec = field[:c], field[c+1:]
		}
		convert := byte(0)
		if c := strings.IndexByte(field, '!'); c >= 0 {
			if len(field) != c+2 {
				r.fail("format: bad conversion in %q", field)
			}
			field, convert = field[:c], field[c+1]
		}
		v := r.formatField(field, a, &auto)
		switch convert {
		case 0:
		case 's':
			v = r.str(v)
		case 'r', 'a':
			v = r.reprText(v, convert == 'a')
		default:
			r.fail("format: unknown conversion %q", string(convert))
		}
		put(r.formatValue(v, r.parseSpec(spec)))
	}
	return b.String()
}

// formatField finds the value of a field such as 0, name, name.attr or name[key].
func (r *renderer) formatField(field string, a *arguments, auto *int) Value {
	i := strings.IndexAny(field, ".[")
	name, path := field, ""
	if i >= 0 {
		name, path = field[:i], field[i:]
	}
	var v Value
	n, err := strconv.Atoi(name)
	if name == "" {
		n, err = *auto, nil
		*auto++
	}
	if err == nil {
		if n < 0 || n >= len(a.pos) {
			r.fail("format: there is no argument %d", n)
		}
		v = a.pos[n]
	} else {
		var ok bool
		if v, ok = a.keyword(name); !ok {
			r.fail("format: there is no argument %q", name)
		}
	}
	for path != "" {
		if path[0] == '[' {
			end := strings.IndexByte(path, ']')
			if end < 0 {
				r.fail("format: a missing ] in %q", field)
			}
			key := path[1:end]
			path = path[end+1:]
			if n, err := strconv.ParseInt(key, 10, 64); err == nil {
				v = r.getItem(v, n)
			} else {
				v = r.getItem(v, key)
			}
			continue
		}
		if path[0] != '.' {
			r.fail("format: bad field %q", field)
		}
		path = path[1:]
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			end = len(path)
		}
		v = r.getAttr(v, path[:end])
		path = path[end:]
	}
	return v
}

// plainSpec is the empty specification.
var plainSpec = formatSpec{fill: " ", precision: -1}

func (r *renderer) parseSpec(s string) formatSpec {
	f := plainSpec
	if s == "" {
		return f
	}
	whole := s
	filled := false
	isAlign := func(c byte) bool { return c == '<' || c == '>' || c == '^' || c == '=' }
	if _, n := utf8.DecodeRuneInString(s); len(s) > n && isAlign(s[n]) {
		f.fill, f.align, filled = s[:n], s[n], true
		s = s[n+1:]
	} else if isAlign(s[0]) {
		f.align = s[0]
		s = s[1:]
	}
	if s != "" && (s[0] == '+' || s[0] == '-' || s[0] == ' ') {
		f.sign = s[0]
		s = s[1:]
	}
	if strings.HasPrefix(s, "z") {
		r.unsupported("format: the option z of %q", whole)
	}
	if strings.HasPrefix(s, "#") {
		f.alternate = true
		s = s[1:]
	}
	if strings.HasPrefix(s, "0") && !filled {
		f.fill, f.zero = "0", true
		s = s[1:]
	}
	f.width, s = r.digits(s)
	if s != "" && (s[0] == ',' || s[0] == '_') {
		f.group = s[0]
		s = s[1:]
	}
	if strings.HasPrefix(s, ".") {
		before := s[1:]
		if f.precision, s = r.digits(before); len(s) == len(before) {
			r.fail("format: a precision is missing in %q", whole)
		}
	}
	if len(s) == 1 {
		f.kind = s[0]
		s = ""
	}
	if s != "" {
		r.fail("format: bad specification %q", whole)
	}
	return f
}

// formatValue is format(v, spec).
func (r *renderer) formatValue(v Value, f formatSpec) string {
	if s, ok := asText(v); ok {
		if f.kind != 0 && f.kind != 's' || f.align == '=' || f.group != 0 || f.sign != 0 || f.alternate {
			r.fail("format: a string cannot be formatted so")
		}
		if f.precision >= 0 {
			s = r.slice(s, nil, int64(f.precision), nil).(string)
		}
		return r.align(s, "", f, '<')
	}
	if !isNumber(v) {
		s := r.str(v)
		if f != plainSpec {
			r.fail("format: a value of type %s cannot be formatted so", r.kindOf(v))
		}
		return s
	}
	if _, isBool := v.(bool); isBool && f == plainSpec {
		return r.str(v)
	}
	if f.zero && f.align == 0 {
		f.align = '='
	}
	_, isFloat := v.(float64)
	if !isFloat && strings.IndexByte("\x00bcdoxXn", f.kind) >= 0 {
		return r.formatInt(v, f)
	}
	x, _ := asFloat(v)
	return r.formatFloat(x, f)
}

func (r *renderer) formatInt(v Value, f formatSpec) string {
	if f.precision >= 0 {
		r.fail("format: an integer has no precision")
	}
	n, ok := v.(*big.Int)
	if !ok {
		i, _ := asInt(v)
		n = big.NewInt(i)
	}
	sign := signText(n.Sign() < 0, f.sign)
	n = new(big.Int).Abs(n)
	digits, prefix := "", ""
	switch f.kind {
	case 'b':
		digits, prefix = n.Text(2), "0b"
	case 'o':
		digits, prefix = n.Text(8), "0o"
	case 'x':
		digits, prefix = n.Text(16), "0x"
	case 'X':
		digits, prefix = strings.ToUpper(n.Text(16)), "0X"
	case 'c':
		if !n.IsInt64() || n.Int64() > utf8.MaxRune || !utf8.ValidRune(rune(n.Int64())) || sign != "" {
			r.fail("format: no character has this number")
		}
		return r.align(string(rune(n.Int64())), "", f, '>')
	default:
		digits = n.String()
	}
	if f.alternate {
		sign += prefix
	}
	step := 3
	if prefix != "" {
		step = 4
	}
	return r.align(groupDigits(digits, f, step, len(sign)), sign, f, '>')
}

func signText(negative bool, mode byte) string {
	switch {
	case negative:
		return "-"
	case mode == '+':
		return "+"
	case mode == ' ':
		return " "
	}
	return ""
}

// groupDigits puts separators between the digits before the point; zeros that fill a width are grouped as well.
func groupDigits(digits string, f formatSpec, step, used int) string {
	if f.group == 0 {
		return digits
	}
	whole, rest := digits, ""
	if i := strings.IndexAny(digits, ".eE%"); i >= 0 {
		whole, rest = digits[:i], digits[i:]
	}
	grouped := func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			if i > 0 && (len(s)-i)%step == 0 {
				b.WriteByte(f.group)
			}
			b.WriteByte(s[i])
		}
		return b.String()
	}
	out := grouped(whole)
	for f.align == '=' && f.fill == "0" && len(out)+len(rest)+used < f.width {
		whole = "0" + whole
		out = grouped(whole)
	}
	return out + rest
}

// align pads a body with its sign to the width.
func (r *renderer) align(body, sign string, f formatSpec, otherwise byte) string {
	n := f.width - utf8.RuneCountInString(body) - utf8.RuneCountInString(sign)
	if n <= 0 {
		return sign + body
	}
	r.charge(n * len(f.fill))
	how := f.align
	if how == 0 {
		how = otherwise
	}
	switch how {
	case '<':
		return sign + body + strings.Repeat(f.fill, n)
	case '^':
		return strings.Repeat(f.fill, n/2) + sign + body + strings.Repeat(f.fill, n-n/2)
	case '=':
		return sign + strings.Repeat(f.fill, n) + body
	}
	return strings.Repeat(f.fill, n) + sign + body
}

func (r *renderer) formatFloat(x float64, f formatSpec) string {
	r.charge(max(f.precision, 0) + 400)
	negative := math.Signbit(x) && !math.IsNaN(x)
	sign := signText(negative, f.sign)
	x = math.Abs(x)
	precision := f.precision
	if precision < 0 {
		precision = 6
	}
	body := ""
	switch f.kind {
	case 'f', 'F':
		body = strconv.FormatFloat(x, 'f', precision, 64)
	case 'e', 'E':
		body = strconv.FormatFloat(x, 'e', precision, 64)
	case '%':
		body = strconv.FormatFloat(x*100, 'f', precision, 64) + "%"
	case 'g', 'G', 'n':
		body = strconv.FormatFloat(x, 'g', max(precision, 1), 64)
	case 0:
		if f.precision < 0 {
			body = floatText(x)
			break
		}
		// as g, but always one digit after the point where there is no exponent
		body = strconv.FormatFloat(x, 'g', max(precision, 1), 64)
		if !strings.ContainsAny(body, ".en") {
			body += ".0"
		}
	default:
		r.fail("format: unknown type %q", string(f.kind))
	}
	if math.IsInf(x, 0) || math.IsNaN(x) {
		body = "inf"
		if math.IsNaN(x) {
			body = "nan"
		}
		if f.kind == '%' {
			body += "%"
		}
	}
	if f.kind == 'E' || f.kind == 'F' || f.kind == 'G' {
		body = strings.ToUpper(body)
	}
	return r.align(groupDigits(body, f, 3, len(sign)), sign, f, '>')
}

// formatPercent is s % v: a tuple gives several values, a mapping the named ones, anything else the only one.
func (r *renderer) formatPercent(s string, v Value) string {
	var b strings.Builder
	put := func(text string) {
		r.charge(len(text))
		b.WriteString(text)
	}
	args, isTuple := v.(*List)
	isTuple = isTuple && args.tuple
	mapping, isMap := v.(*Dict)
	used := 0
	next := func() Value {
		used++
		if !isTuple {
			if used > 1 {
				r.fail("%%: not enough values for the format")
			}
			return v
		}
		if used > len(args.items) {
			r.fail("%%: not enough values for the format")
		}
		return args.items[used-1]
	}
	for s != "" {
		r.step(1)
		i := strings.IndexByte(s, '%')
		if i < 0 {
			put(s)
			break
		}
		put(s[:i])
		s = s[i+1:]
		f := plainSpec
		get := next
		if strings.HasPrefix(s, "(") {
			end := strings.IndexByte(s, ')')
			if end < 0 || !isMap {
				r.fail("%%: a named value needs a mapping")
			}
			key := s[1:end]
			s = s[end+1:]
			get = func() Value {
				item, ok := mapping.get(key)
				if !ok {
					r.fail("%%: there is no %q", key)
				}
				return item
			}
		}
		for ; s != "" && strings.IndexByte("-+ #0", s[0]) >= 0; s = s[1:] {
			switch s[0] {
			case '-':
				f.align = '<'
			case '+':
				f.sign = '+'
			case ' ':
				if f.sign != '+' {
					f.sign = ' '
				}
			case '#':
				f.alternate = true
			case '0':
				f.zero = true
			}
		}
		if strings.HasPrefix(s, "*") {
			r.unsupported("%%: a width of *")
		}
		f.width, s = r.digits(s)
		if strings.HasPrefix(s, ".") {
			f.precision, s = r.digits(s[1:])
		}
		s = strings.TrimLeft(s, "hlL")
		if s == "" {
			r.fail("%%: the format ends early")
		}
		kind := s[0]
		s = s[1:]
		if kind == '%' {
			put("%")
			continue
		}
		put(r.percentValue(get(), kind, f))
	}
	switch v.(type) {
	case *List, *Dict, *span, *undefined: // what can be indexed may go unused, but for a tuple
		isMap = true
	}
	if isTuple && used < len(args.items) || !isTuple && !isMap && used == 0 {
		r.fail("%%: not all values were used by the format")
	}
	return b.String()
}

// reprText is repr(v), or ascii(v).
func (r *renderer) reprText(v Value, ascii bool) string {
	var b strings.Builder
	r.repr(&b, v)
	if !ascii || isASCII(b.String()) {
		return b.String()
	}
	var out strings.Builder
	for _, c := range b.String() {
		if c < 0x80 {
			out.WriteRune(c)
			continue
		}
		r.charge(10)
		out.WriteString(escapeRune(c))
	}
	return out.String()
}

// percentValue formats one value of formatPercent.
func (r *renderer) percentValue(v Value, kind byte, f formatSpec) string {
	switch kind {
	case 's', 'r', 'a':
		text := ""
		if kind == 's' {
			text = r.str(v)
		} else {
			text = r.reprText(v, kind == 'a')
		}
		if f.precision >= 0 {
			text = r.slice(text, nil, int64(f.precision), nil).(string)
		}
		return r.align(text, "", f, '>')
	case 'c':
		if s, ok := asText(v); ok && utf8.RuneCountInString(s) == 1 {
			return r.align(s, "", f, '>')
		}
	}
	if !isNumber(v) {
		r.fail("%%%c needs a number, not %s", kind, r.kindOf(v))
	}
	if f.zero && f.align == 0 {
		f.fill, f.align = "0", '='
	}
	x, isFloat := v.(float64)
	switch kind {
	case 'd', 'i', 'u':
		if isFloat {
			v = filterInt(r, x, &arguments{})
		}
		kind = 'd'
	case 'o', 'x', 'X', 'c':
		if isFloat {
			r.fail("%%%c needs an integer", kind)
		}
	case 'e', 'E', 'f', 'F', 'g', 'G':
		x, _ = asFloat(v)
		f.kind = kind
		return r.formatFloat(x, f)
	default:
		r.fail("%%: unknown type %q", fmt.Sprintf("%c", kind))
	}
	f.kind = kind
	if f.precision >= 0 {
		r.unsupported("%%: a precision of an integer")
	}
	return r.formatInt(v, f)
}
