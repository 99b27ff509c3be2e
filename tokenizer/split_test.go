package tokenizer

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// alphabet holds characters of every kind that the patterns tell apart.
var alphabet = []string{
	"a", "b", "z", "A", "Z", "s", "t", "re", "ve", "ll", "d", "m", "S", "T", "LL", "'", "'", "’", "0", "1", "9", "٣", "½", "Ⅷ",
	" ", " ", "  ", "\n", "\r", "\r\n", "\t", "\u00a0", "\u2028", "\u3000", "\u0085", ".", ",", "!", "-", "_", "$", "+", "=", "/", "(", "|", "~", "`", "^",
	"é", "É", "ß", "ǅ", "ʰ", "ª", "д", "Д", "中", "文", "あ", "ア", "ー", "한", "ا", "ب", "ก", "า", "ि", "क", "\u0301", "\u20dd", "\ufe0f", "\u200d",
	"😀", "🏳", "𝒜", "𠀀", "𐐀", "，", "。", "！", "“", "…", "€", "\x00", "\x7f", "\xff", "\xe4\xb8", "\u200b", "\ufffd", "ſ", "K",
}

func randomText(rng *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(alphabet[rng.IntN(len(alphabet))])
		if rng.IntN(4) == 0 { // runs
			b.WriteString(strings.Repeat(alphabet[rng.IntN(len(alphabet))], 1+rng.IntN(5)))
		}
	}
	return b.String()
}

// knownPatterns gives every pattern that a named pre-tokenizer uses, and spellings of tokenizer.json files.
func knownPatterns() []string {
	var all []string
	for _, rule := range preRules {
		all = append(all, rule.patterns...)
	}
	for _, p := range []string{patLlama3, patQwen2, patGPT4o} {
		all = append(all, strings.ReplaceAll(p, patContraction, `(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])`))
	}
	all = append(all, PatternCode, `\s+`, `[^\s\p{L}]{2,3}`, `\S+`, `\p{Han}+|\p{Nd}{1,3}`, `\w+|[^\w\s]+`, `(a|b)(s|t){1,2}z?`, `\p{Lu}\p{Ll}*`, `[\u4e00-\u9fff]|\x41+`)
	slices.Sort(all)
	return slices.Compact(all)
}

// checkSplitter compares a splitter with the regular expression engine.
func checkSplitter(t *testing.T, pattern string, fast, slow splitter, text string) {
	t.Helper()
	if strings.Contains(pattern, `\b`) || strings.Contains(pattern, `\w`) {
		// The engine's \b and \w differ from Oniguruma's (which Hugging Face uses) at some marks, numbers and joiners.
		text = strings.Map(func(r rune) rune {
			if unicode.In(r, unicode.Mc, unicode.Me, unicode.Cf, unicode.No, unicode.Nl) {
				return '.'
			}
			return r
		}, strings.ToValidUTF8(text, "?"))
	}
	got, want := fast.split(nil, text), slow.split(nil, text)
	if !slices.Equal(got, want) {
		t.Fatalf("%s\n on %q:\n got  %q\n want %q", pattern, text, cut(text, got), cut(text, want))
	}
}

func cut(s string, ends []int) (out []string) {
	start := 0
	for _, e := range ends {
		if e < 0 {
			start = ^e
			continue
		}
		out = append(out, s[start:e])
		start = e
	}
	return out
}

// TestSplittersEqualRegex compares every fast splitter with the regular expression engine on random text.
func TestSplittersEqualRegex(t *testing.T) {
	fastOnes := 0
	for _, pattern := range knownPatterns() {
		fast, err := splitterFor(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if _, slow := fast.(*regexSplitter); slow {
			t.Logf("only by the general engine: %s", pattern)
			continue
		}
		fastOnes++
		slow, err := newRegexSplitter(pattern, isolated, false)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(3, 4))
		for range 400 {
			checkSplitter(t, pattern, fast, slow, randomText(rng, 1+rng.IntN(30)))
		}
		if compiled, ok := compilePattern(pattern); ok {
			for range 400 {
				checkSplitter(t, pattern, &patternSplitter{pattern: compiled}, slow, randomText(rng, 1+rng.IntN(30)))
			}
		}
	}
	if fastOnes < 25 {
		t.Errorf("only %d patterns have a fast splitter", fastOnes)
	}
}

// TestBehaviors compares the behaviours of a split with what Hugging Face documents for the text "the-final--countdown".
func TestBehaviors(t *testing.T) {
	const text = "the-final--countdown"
	for _, c := range []struct {
		how    behavior
		invert bool
		want   []string
	}{
		{removed, false, []string{"the", "final", "countdown"}},
		{isolated, false, []string{"the", "-", "final", "-", "-", "countdown"}},
		{mergedPrevious, false, []string{"the-", "final-", "-", "countdown"}},
		{mergedNext, false, []string{"the", "-final", "-", "-countdown"}},
		{contiguous, false, []string{"the", "-", "final", "--", "countdown"}},
		{removed, true, []string{"-", "-", "-"}},
	} {
		for name, mk := range map[string]func() (splitter, error){
			"compiled": func() (splitter, error) { return generalSplitter("-", c.how, c.invert) },
			"regex":    func() (splitter, error) { return newRegexSplitter("-", c.how, c.invert) },
		} {
			s, err := mk()
			if err != nil {
				t.Fatal(err)
			}
			if got := cut(text, s.split(nil, text)); !slices.Equal(got, c.want) {
				t.Errorf("%s, behaviour %d, invert %v: %q, want %q", name, c.how, c.invert, got, c.want)
			}
		}
	}
}

// FuzzSplitters feeds one text to every fast splitter and to the engine.
func FuzzSplitters(f *testing.F) {
	type pair struct {
		pattern    string
		fast, slow splitter
	}
	var pairs []pair
	for _, pattern := range knownPatterns() {
		fast, err := splitterFor(pattern)
		if err != nil {
			f.Fatal(err)
		}
		if _, general := fast.(*regexSplitter); general {
			continue
		}
		slow, err := newRegexSplitter(pattern, isolated, false)
		if err != nil {
			f.Fatal(err)
		}
		pairs = append(pairs, pair{pattern, fast, slow})
	}
	f.Add("Don't stop 123 times!\r\n  I'LL  \n\t中文。\xff")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 200 {
			return
		}
		for _, p := range pairs {
			checkSplitter(t, p.pattern, p.fast, p.slow, text)
		}
	})
}
