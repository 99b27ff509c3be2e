package plan

// The bytes of a token, written out.

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lowkeylm/lowkey/kernel"
)

// Formula writes where Cache.PerToken comes from: "30 layers x (3 heads x 64 k + 3 heads x 64 v) x 16 bit = 23,040 B".
func Formula(k *Cache) string {
	type group struct {
		text   string
		layers int
	}
	var groups []group
	readers := 0
	for i := range k.Layers {
		text := k.layerFormula(i)
		if text == "" {
			readers++
			continue
		}
		found := false
		for j := range groups {
			if groups[j].text == text {
				groups[j].layers++
				found = true
			}
		}
		if !found {
			groups = append(groups, group{text, 1})
		}
	}
	var parts []string
	for _, g := range groups {
		parts = append(parts, plural(g.layers, "layer")+" x "+g.text)
	}
	if readers > 0 {
		parts = append(parts, plural(readers, "layer")+" that "+map[bool]string{true: "reads", false: "read"}[readers == 1]+" the rows of others x 0")
	}
	return strings.Join(parts, " + ") + " = " + number(k.PerToken) + " B"
}

func (k *Cache) layerFormula(i int) string {
	streams := k.Layouts[i].Streams
	if len(streams) == 0 {
		return ""
	}
	rate := func(j int) string {
		s := streams[j]
		return bits(8 * float64(kernel.RowBytes(k.Types[i][j].Codec, s.Width)) / float64(s.Width))
	}
	same := true
	for j := range streams {
		same = same && rate(j) == rate(0)
	}
	var terms []string
	for j, s := range streams {
		t := fmt.Sprintf("%d %s", s.Width, s.Name)
		if s.Heads > 1 || s.Name == "k" || s.Name == "v" {
			t = plural(s.Heads, "head") + " x " + t
		}
		if !same {
			t += " x " + rate(j)
		}
		terms = append(terms, t)
	}
	text := "(" + strings.Join(terms, " + ") + ")"
	if same {
		text += " x " + rate(0)
	}
	if n := k.Layers[i].RowTokens; n > 1 {
		text += fmt.Sprintf(" / %d tokens a row", n)
	}
	return text
}

// bits writes a rate: "16 bit", "8.5 bit".
func bits(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) + " bit" }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// number writes whole numbers with separators from 10,000 on, others with two decimals.
func number(x float64) string {
	if x == float64(int64(x)) {
		return Number(int64(x))
	}
	whole := int64(x)
	return Number(whole) + strings.TrimPrefix(strconv.FormatFloat(x-float64(whole), 'f', 2, 64), "0")
}

// Number writes a whole number with separators from 10,000 on: 9999, 23,040.
func Number(n int64) string {
	if n < 0 {
		return "-" + Number(-n)
	}
	s := strconv.FormatInt(n, 10)
	if len(s) < 5 {
		return s
	}
	var b strings.Builder
	for i, d := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}
