package template

// str.split, str.rsplit and str.splitlines, which cut text as Python does.

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// textList makes a list of strings that share the bytes of a longer one.
func (r *renderer) textList(parts []string) *List {
	r.chargeItems(len(parts))
	l := &List{items: make([]Value, len(parts))}
	for i, p := range parts {
		l.items[i] = p
	}
	return l
}

// splitText is str.split and str.rsplit.
func (r *renderer) splitText(s string, a *arguments, fromRight bool) Value {
	p := r.bind(a, "split", 0, "sep", "maxsplit")
	limit := int(min(r.optionalInt(p[1], -1), 1<<30))
	r.charge(min(len(s), r.limits.Output)) // the list of parts below, before its items are counted
	if p[0] != absent && p[0] != nil {
		sep := r.needText(p[0])
		if sep == "" {
			r.fail("split: the separator is empty")
		}
		r.chargeItems(strings.Count(s, sep))
		if limit < 0 {
			return r.textList(strings.Split(s, sep))
		}
		if !fromRight {
			return r.textList(strings.SplitN(s, sep, limit+1))
		}
		var parts []string
		for ; limit > 0; limit-- {
			i := strings.LastIndex(s, sep)
			if i < 0 {
				break
			}
			parts = append(parts, s[i+len(sep):])
			s = s[:i]
		}
		parts = append(parts, s)
		slices.Reverse(parts)
		return r.textList(parts)
	}
	var parts []string
	if fromRight && limit >= 0 {
		for s = trimSpaceRight(s); s != ""; s = trimSpaceRight(s) {
			r.chargeItems(1)
			i := strings.LastIndexFunc(s, isSpace)
			if i < 0 || limit == 0 {
				parts = append(parts, s)
				break
			}
			_, n := utf8.DecodeRuneInString(s[i:])
			parts = append(parts, s[i+n:])
			s = s[:i]
			limit--
		}
		slices.Reverse(parts)
		return r.textList(parts)
	}
	for s = s[spaceLen(s):]; s != ""; s = s[spaceLen(s):] {
		r.chargeItems(1)
		i := strings.IndexFunc(s, isSpace)
		if i < 0 || limit == 0 {
			if limit == 0 {
				i = -1
			}
			parts = append(parts, s)
			break
		}
		parts = append(parts, s[:i])
		s = s[i:]
		limit--
	}
	return r.textList(parts)
}

// splitLines is str.splitlines: more characters than the line feed end a line.
func splitLines(s string, keep bool) []string {
	var out []string
	for s != "" {
		i := strings.IndexFunc(s, func(c rune) bool {
			return c >= '\n' && c <= '\r' || c >= 0x1c && c <= 0x1e || c == 0x85 || c == 0x2028 || c == 0x2029
		})
		if i < 0 {
			return append(out, s)
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		if strings.HasPrefix(s[i:], "\r\n") {
			n = 2
		}
		if keep {
			out = append(out, s[:i+n])
		} else {
			out = append(out, s[:i])
		}
		s = s[i+n:]
	}
	return out
}
