package template

// The filter tojson: Python's json.dumps with ensure_ascii off by default and no HTML escaping.

import (
	"math"
	"math/big"
	"sort"
	"strconv"
	"strings"
)

type jsonWriter struct {
	r               *renderer
	b               strings.Builder
	ascii, sorted   bool
	indent          *string // nil: everything on one line
	itemSep, keySep string
	open            int // brackets around the current place
}

func (r *renderer) toJSON(v Value, a *arguments) Value {
	p := r.bind(a, "tojson", 0, "ensure_ascii", "indent", "separators", "sort_keys")
	w := &jsonWriter{r: r, ascii: r.optionalBool(p[0], false), sorted: r.optionalBool(p[3], false), itemSep: ", ", keySep: ": "}
	if p[1] != absent && p[1] != nil {
		indent, ok := asText(p[1])
		if !ok {
			n := max(r.needInt(p[1]), 0)
			r.charge(int(min(n, math.MaxInt32)))
			indent = strings.Repeat(" ", int(n))
		}
		w.indent, w.itemSep = &indent, ","
	}
	if p[2] != absent && p[2] != nil {
		l, ok := p[2].(*List)
		if !ok || len(l.items) != 2 {
			r.fail("tojson: separators are a pair of strings")
		}
		w.itemSep, w.keySep = r.needText(l.items[0]), r.needText(l.items[1])
	}
	w.value(v)
	return w.b.String()
}

func (w *jsonWriter) put(s string) {
	if w.b.Len()+len(s) > w.r.limits.Output {
		w.r.overLimit("bytes in one text", int64(w.r.limits.Output))
	}
	w.r.charge(len(s))
	w.b.WriteString(s)
}

func (w *jsonWriter) line() {
	if w.indent == nil {
		return
	}
	w.put("\n")
	for range w.open {
		w.put(*w.indent)
	}
}

func (w *jsonWriter) value(v Value) {
	w.r.step(1)
	w.r.enter()
	defer w.r.leave()
	switch v := v.(type) {
	case nil:
		w.put("null")
	case bool:
		w.put(strconv.FormatBool(v))
	case int64:
		w.put(strconv.FormatInt(v, 10))
	case *big.Int:
		w.put(v.String())
	case float64:
		w.put(jsonFloat(v))
	case string:
		w.text(v)
	case markup:
		w.text(string(v))
	case *List:
		if len(v.items) == 0 {
			w.put("[]")
			return
		}
		w.put("[")
		w.open++
		for i, item := range v.items {
			if i > 0 {
				w.put(w.itemSep)
			}
			w.line()
			w.value(item)
		}
		w.open--
		w.line()
		w.put("]")
	case *Dict:
		w.dict(v)
	default:
		w.r.fail("tojson: a value of type %s has no JSON form", w.r.kindOf(v))
	}
}

func jsonFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case math.IsNaN(f):
		return "NaN"
	}
	return floatText(f)
}

func (w *jsonWriter) dict(d *Dict) {
	if len(d.keys) == 0 {
		w.put("{}")
		return
	}
	order := make([]int, len(d.keys))
	for i := range order {
		order[i] = i
	}
	w.r.chargeItems(len(order))
	if w.sorted {
		sort.SliceStable(order, func(i, j int) bool { return w.r.less(d.keys[order[i]], d.keys[order[j]], "<") })
	}
	w.put("{")
	w.open++
	for n, i := range order {
		if n > 0 {
			w.put(w.itemSep)
		}
		w.line()
		switch k := d.keys[i].(type) {
		case string:
			w.text(k)
		case markup:
			w.text(string(k))
		case nil:
			w.put(`"null"`)
		case bool:
			w.put(`"` + strconv.FormatBool(k) + `"`)
		case int64:
			w.put(`"` + strconv.FormatInt(k, 10) + `"`)
		case *big.Int:
			w.put(`"` + k.String() + `"`)
		case float64:
			w.put(`"` + jsonFloat(k) + `"`)
		default:
			w.r.fail("tojson: a key of type %s has no JSON form", w.r.kindOf(k))
		}
		w.put(w.keySep)
		w.value(d.vals[i])
	}
	w.open--
	w.line()
	w.put("}")
}

// text writes a string in quotes.
func (w *jsonWriter) text(s string) {
	w.r.charge(len(s))
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\b':
			b.WriteString(`\b`)
		case c == '\f':
			b.WriteString(`\f`)
		case c < 0x20 || w.ascii && c >= 0x7f && c < 0x10000:
			b.WriteString(`\u` + hex(uint32(c), 4))
		case w.ascii && c >= 0x10000:
			b.WriteString(`\u` + hex(0xd800+uint32(c-0x10000)>>10, 4) + `\u` + hex(0xdc00+uint32(c-0x10000)&0x3ff, 4))
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	w.put(b.String())
}
