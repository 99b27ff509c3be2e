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
	"Ａ", "ｚ", "‘", "‟", "　。", "\u2003", "龥", "龦", "ࠀ", "º",
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

// sequence does one splitter after another, each on the pieces of those before.
type sequence []splitter

func (q sequence) split(ends []int, s string) []int {
	if s == "" {
		return ends
	}
	if len(q) == 0 {
		return append(ends, len(s))
	}
	start := 0
	for _, end := range q[0].split(nil, s) {
		for _, e := range q[1:].split(nil, s[start:end]) {
			ends = append(ends, start+e)
		}
		start = end
	}
	return ends
}

// layeredLists are lists of patterns that become layers: published ones, and others made to show every rule.
var layeredLists = [][]string{
	preRules["deepseek-llm"].patterns, preRules["deepseek-coder"].patterns,
	{`\s+$`, `\s?\p{P}+`, `\s?[\p{Zs}\t]+`}, {`\s?[ab]+`, `\s+$`, `\s?[　-。b]+`, `[\s]`}, {`\s?\S+`, `\p{N}`, `\s+$`},
	{`\s?\p{L}+`, `\s?\p{S}+`, `\s?\p{P}+`, `\s+$`, `[^\s]`, `\s?\p{M}+`, `\p{N}+`}, {`[\s]+`, `\s?[\p{L}\p{Zs}]+`}, {`\s?[^\p{L}]+`, `\s?\p{M}+`},
}

// layersOf gives the layers of a list and the same by the general engine.
func layersOf(t testing.TB, patterns []string) (fast, slow splitter) {
	t.Helper()
	var stages []stage
	var engines sequence
	for _, pattern := range patterns {
		s, err := splitterFor(pattern)
		if err != nil {
			t.Fatal(err)
		}
		stages = append(stages, stage{cut: s})
		engine, err := newRegexSplitter(pattern, isolated, false)
		if err != nil {
			t.Fatal(err)
		}
		engines = append(engines, engine)
	}
	var all sequence
	for _, s := range layered(stages) {
		all = append(all, s.cut)
	}
	if _, ok := all[0].(*layers); !ok {
		t.Fatalf("%q has no layers", patterns)
	}
	return all, engines
}

// layerTexts are what a layer could take for something else.
var layerTexts = []string{
	"", "a", " ", "  ", "\r\n", " \r\n ", "a b", "a  b", "a \n b", "é é", "hélo wörld", " ÉCOLE", "ＡＢ ｚ！，　。　", "　　a", "a　b　", "‘a’ ‟b", "中文 abc 中文  ", "  中文",
	"12 345 ٣½", " 1", "a1 b2", "， 。", "a\u2003b", "\u2003中\u2003", "\u2028\u2028x", "x \xff\xe4\xb8 y", "\xe4\xb8\xad\xe4", "😀 😀a", "𐐀 𐐀", "龥龦ࠀ一", "。　\n　。", "\t\tif x == 1 {\n\t}\n\n",
}

// TestLayersEqualRegexes compares layers with the stages one after another by the engine.
func TestLayersEqualRegexes(t *testing.T) {
	for _, patterns := range layeredLists {
		fast, slow := layersOf(t, patterns)
		check := func(text string) { checkSplitter(t, strings.Join(patterns, " then "), fast, slow, text) }
		for _, text := range layerTexts {
			check(text)
		}
		rng := rand.New(rand.NewPCG(5, 6))
		few := make([]string, 6)
		for k := range 3000 {
			if k%2 == 0 {
				check(randomText(rng, 1+rng.IntN(30)))
				continue
			}
			for i := range few { // of few characters, so that they meet in every order
				few[i] = alphabet[rng.IntN(len(alphabet))]
			}
			var b strings.Builder
			for range rng.IntN(16) {
				b.WriteString(few[rng.IntN(len(few))])
			}
			check(b.String())
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
	for _, patterns := range layeredLists {
		fast, slow := layersOf(f, patterns)
		pairs = append(pairs, pair{strings.Join(patterns, " then "), fast, slow})
	}
	f.Add("Don't stop 123 times!\r\n  I'LL  \n\t中文。\xff")
	for _, text := range layerTexts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 200 {
			return
		}
		for _, p := range pairs {
			checkSplitter(t, p.pattern, p.fast, p.slow, text)
		}
	})
}
