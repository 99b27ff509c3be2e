package tokenizer

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// No text has fewer tokens than AtLeast says; rules that lose text get no bound, and some rules get one.
func TestAtLeast(t *testing.T) {
	dirs, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	var bounded, byLetters, not []string
	all := map[string]*Tokenizer{"bytes": byteTokenizer(t)}
	for _, d := range dirs {
		if d.IsDir() && d.Name() != "fuzz" {
			all[d.Name()] = pipeline(t, d.Name())
		}
	}
	for name, k := range all {
		switch {
		case k.AtLeast(1<<40) > 0:
			bounded = append(bounded, name)
		case k.AtLeastIn(strings.Repeat("ab ", 1e5)) > 0:
			byLetters = append(byLetters, name)
		default:
			not = append(not, name)
			continue
		}
		for _, text := range []string{"", "a", strings.Repeat(" ", 5000), strings.Repeat("\n", 999), strings.Repeat("e\u0301\u212a\u1112\u1161\u11ab", 300), strings.Repeat("func f(x int) int {\n\t", 99),
			strings.Repeat("\U0001f600", 200), strings.Repeat("ab", 2000), strings.Repeat("the same words ", 400)} {
			for _, special := range []bool{false, true} {
				n := int64(len(k.Encode(text, EncodeOptions{Special: special})))
				if least := max(k.AtLeast(int64(len(text))), k.AtLeastIn(text)); n < least {
					t.Errorf("%s: %.20q of %d bytes has %d tokens, at least %d were said", name, text, len(text), n, least)
				}
			}
		}
	}
	if !slices.Contains(bounded, "bytes") || !slices.Contains(not, "words") { // "words" drops spaces
		t.Error("the byte-level vocabulary has no bound, or one that drops spaces has")
	}
	t.Logf("bounded by length %v, by letters %v, not %v", bounded, byLetters, not)
}

// Of the bytes of a text NFC leaves a quarter or more: each character of the result against the longest way to write what it is made of.
func TestNFCShrinks(t *testing.T) {
	longest := map[string]int{} // by canonical form, of single characters
	for r := rune(0); r < 0x30000; r++ {
		s := string(r)
		d := norm.NFD.String(s)
		longest[d] = max(longest[d], len(s))
	}
	most := 0.0
	for r := rune(0x80); r < 0x30000; r++ {
		c := norm.NFC.String(string(r))
		whole, parts := 0, 0
		for _, p := range norm.NFD.String(c) {
			whole, parts = whole+len(string(p)), parts+max(len(string(p)), longest[string(p)])
		}
		most = max(most, float64(max(parts, whole, longest[norm.NFD.String(c)]))/float64(len(c)))
	}
	if most > nfcShrinks || most < 2.5 {
		t.Errorf("NFC makes a text up to %.2f times shorter, %d was said", most, nfcShrinks)
	}
}
