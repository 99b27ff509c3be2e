// This file lists the pre-tokenizers that GGUF files name in tokenizer.ggml.pre, as the published regular expressions of the
// models, and picks the function that does each. Names are those of llama.cpp's converter; an unknown name is refused.

package tokenizer

import (
	"slices"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
)

// preRule is what the name of a pre-tokenizer stands for.
type preRule struct {
	patterns []string // applied in turn, each isolating its matches
	whole    bool     // a word that is a token is not cut further
	addBOS   bool     // a start token unless the file says otherwise
	raw      bool     // characters instead of GPT-2's bytes, spaces as U+2581
	lines    bool     // a run of newlines that is a token is not cut further
}

const (
	patGPT2 = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)`

	patContraction = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`
	patSpaces      = `|\s*[\r\n]+|\s+(?!\S)|\s+`
	patQwen2       = patContraction + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*` + patSpaces
	patLlama3      = patContraction + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*` + patSpaces
	patQwen35      = patContraction + `|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*` + patSpaces
	patUpperLower  = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`
	patUpper       = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*`
	patGPT4o       = patUpperLower + patContraction + `?|` + patUpper + patContraction + `?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*` + patSpaces
	patTekken      = patUpperLower + `|` + patUpper + `|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*` + patSpaces
	patYoutu       = patUpperLower + patContraction + `?|` + patUpper + patContraction + `?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*` + patSpaces
	patCJK         = `[一-龥぀-ゟ゠-ヿ]+`
	patDeepSeek3   = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*" + patSpaces
	patSpark       = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+|[\\r\\n]|\\s+(?!\\S)|\\s+"
	// The cased letters of the world. Escaped, because some of these characters do not survive normalising editors.
	patLatin = "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370" +
		"-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481" +
		"\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b" +
		"\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b" +
		"\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb" +
		"\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128" +
		"\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4" +
		"\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf" +
		"\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8" +
		"-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943]+"
	patAsian     = `[一-龥ࠀ-一가-퟿]+`
	patCode      = `[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|[\r\n]+[\t ]*|\s+(?!\S)|\s+` // see PatternCode
	patFromRight = `\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))`
	patWordRight = `\d{1,3}(?=(?:\d{3})*\b)`
	patLines     = `[^\n]+|[\n]+`
)

var (
	rulesGPT2    = preRule{patterns: []string{patGPT2}}
	rulesDigits  = preRule{patterns: []string{`\p{N}`, patGPT2}}
	rulesQwen2   = preRule{patterns: []string{patQwen2}}
	rulesLlama3  = preRule{patterns: []string{patLlama3}, whole: true, addBOS: true}
	rulesLlama3b = preRule{patterns: []string{patLlama3}}
	rulesGPT4o   = preRule{patterns: []string{patGPT4o}}
	rulesDS3     = preRule{patterns: []string{`\p{N}{1,3}`, patCJK, patDeepSeek3}}
	rulesBloom   = preRule{patterns: []string{` ?[^(\s|.,!?…。，、।۔،)]+`}}
	rulesBailing = preRule{patterns: []string{`'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`}}
	rulesRaw     = preRule{patterns: []string{patLines}, raw: true}
	rulesGemma4  = preRule{patterns: []string{patLines}, raw: true, lines: true, addBOS: true}
	rulesAya     = preRule{patterns: []string{patWordRight, patGPT4o}}
)

// preRules by name. Sources: the tokenizer.json of each model family.
var preRules = map[string]preRule{
	"default": {patterns: []string{`[\p{P}\$\+<=>\^~\|]+`, patGPT2, `\p{N}+`, `[0-9][0-9][0-9]`}},

	"gpt-2": rulesGPT2, "phi-2": rulesGPT2, "mpt": rulesGPT2, "olmo": rulesGPT2, "jais": rulesGPT2, "trillion": rulesGPT2,
	"granite-docling": rulesGPT2, "exaone4": rulesGPT2, "gigachat": rulesGPT2, "a.x-4.0": rulesGPT2, "mellum": rulesGPT2,
	"jina-es": rulesGPT2, "jina-de": rulesGPT2, "jina-v2-es": rulesGPT2, "jina-v2-de": rulesGPT2, "modern-bert": rulesGPT2,
	"jina-v1-en": rulesGPT2, "jina-v2-code": rulesGPT2, "roberta-bpe": rulesGPT2,

	"smollm": rulesDigits, "starcoder": rulesDigits, "refact": rulesDigits, "command-r": rulesDigits, "codeshell": rulesDigits,
	"exaone": rulesDigits, "minerva-7b": rulesDigits, "mellum2": rulesDigits,

	"llama3": rulesLlama3, "llama-v3": rulesLlama3, "llama-bpe": rulesLlama3, "falcon3": rulesLlama3, "falcon-h1": rulesLlama3,
	"pixtral": rulesLlama3, "midm-2.0": rulesLlama3, "lfm2": rulesLlama3, "jina-v5-nano": rulesLlama3,
	"dbrx": rulesLlama3b, "smaug-bpe": rulesLlama3b, "chatglm-bpe": rulesLlama3b,
	"glm4": {patterns: []string{patLlama3}, whole: true}, "glm5": {patterns: []string{patLlama3}, whole: true},
	"minicpm5": {patterns: []string{`\p{N}{1,3}`, patContraction + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*` + patSpaces}, whole: true},
	"jais-2": {patterns: []string{patContraction + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+` +
		`|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}`}},

	"qwen2": rulesQwen2, "deepseek-r1-qwen": rulesQwen2, "kormo": rulesQwen2, "f2llmv2": rulesQwen2, "megrez": rulesQwen2,
	"stablelm2": rulesQwen2, "hunyuan": rulesQwen2, "solar-open": rulesQwen2, "grok-2": rulesQwen2,
	"qwen35":     {patterns: []string{patQwen35}},
	"ufakzeka":   {patterns: []string{`[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*` + patSpaces}},
	"seed-coder": {patterns: []string{patContraction + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+` + patSpaces}},
	"laguna":     {patterns: []string{patLines, patQwen2}},
	"exaone-moe": {patterns: []string{patContraction + `|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+`}},
	"bailingmoe": rulesBailing, "bailingmoe2": rulesBailing, "llada-moe": rulesBailing,

	"gpt-4o": rulesGPT4o, "llama4": rulesGPT4o, "kanana2": rulesGPT4o, "talkie": rulesGPT4o, "minimax-m2": rulesGPT4o,
	"tekken":   {patterns: []string{patTekken}, whole: true, addBOS: true},
	"tiny_aya": rulesAya, "cohere2moe": rulesAya,
	"youtu": {patterns: []string{`[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+`, patYoutu}, whole: true},

	"deepseek-llm":   {patterns: []string{`[\r\n]`, patLatin, `\s?[!-/:-~！-／：-～‘-‟　-。]+`, `\s+$`, patAsian, `\p{N}+`}},
	"deepseek-coder": {patterns: []string{`[\r\n]`, `\s?\p{L}+`, `\s?\p{P}+`, patAsian, `\p{N}`}},
	"deepseek-v3":    rulesDS3, "hunyuan-dense": rulesDS3, "joyai-llm": rulesDS3, "hy_v4": rulesDS3,
	"spark2_5": {patterns: []string{`\p{N}{1,3}`, patCJK, patSpark, `\p{N}`}},

	"falcon": {patterns: []string{"[\\p{P}\\$\\+<=>\\^~\\|`]+", patGPT2, `[0-9][0-9][0-9]`}},
	"bloom":  rulesBloom, "poro-chat": rulesBloom, "gpt3-finnish": rulesBloom,
	"viking":   {patterns: []string{rulesBloom.patterns[0], `\p{N}`}},
	"superbpe": {patterns: []string{`\p{N}+`, `(?=(\d{3})+(?!\d))`}},
	"chameleon": {patterns: []string{`<sentinel:[0-9]+>`, `(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z`, `([\t\n]|    |  )`, `\p{N}`,
		"[\\p{P}!-/:-@\\[-`{-~]", patGPT2}, addBOS: true},

	"afmoe": {patterns: []string{patFromRight, `[一-鿿㐀-䶿豈-\x{faff}぀-ゟ゠-ヿ･-ﾟ⼀-\x{2fdf}\x{e40}-\x{e7f}\x{e80}-\x{eff}ក-៿က-႟ꩠ-ꩿ\x{a9e0}-\x{a9ff}가-\x{d7af}ᄀ-ᇿ]+`, patDeepSeek3}},

	"gemma4": rulesGemma4, "granite-embed-multi-311m": rulesGemma4, "sarvam-moe": rulesRaw,
}

// splitterFor gives the fastest function for a pattern whose matches are isolated: one written by hand for the patterns that
// many models share, else the general engine.
func splitterFor(pattern string) (splitter, error) {
	switch pattern {
	case patGPT2, patGPT2 + `|\s+`:
		return gpt2Splitter{}, nil
	case patLines:
		return newlineSplitter{}, nil
	case patFromRight:
		return runSplitter{class: cNumber, max: 3, fromRight: true}, nil
	case patWordRight:
		return runSplitter{class: cDigit, max: 3, fromRight: true, wordEnd: true}, nil
	}
	if o, ok := runPatterns[pattern]; ok {
		return o, nil
	}
	p := pattern
	for _, same := range sameContractions {
		p = strings.Replace(p, same, patContraction, 1)
	}
	if o, ok := llama3Patterns[p]; ok {
		return o, nil
	}
	return generalSplitter(pattern, isolated, false)
}

// generalSplitter does any pattern: compiled to functions if possible, else through the regular expression engine.
func generalSplitter(pattern string, how behavior, invert bool) (splitter, error) {
	if p, ok := compilePattern(pattern); ok {
		return &patternSplitter{pattern: p, how: how, invert: invert}, nil
	}
	return newRegexSplitter(pattern, how, invert)
}

// sameContractions are other spellings of patContraction.
var sameContractions = []string{`'(?i:[sdmt]|ll|ve|re)`}

var runPatterns = map[string]runSplitter{
	`\p{N}`: {class: cNumber, max: 1}, `\p{N}{1}`: {class: cNumber, max: 1}, `\p{N}{1,3}`: {class: cNumber, max: 3}, `\p{N}+`: {class: cNumber},
}

var llama3Patterns = map[string]llama3Splitter{
	patLlama3:                          {contractions: true, digits: 3},
	patQwen2:                           {contractions: true, digits: 1},
	patQwen35:                          {contractions: true, digits: 1, marks: true},
	preRules["ufakzeka"].patterns[0]:   {digits: 1},
	preRules["seed-coder"].patterns[0]: {contractions: true, digits: 1, noTail: true},
	preRules["minicpm5"].patterns[1]:   {contractions: true},
	patCode:                            {digits: 3, noTail: true, indents: true},
	// Bailing's \s*[\r\n] ends where \s*[\r\n]+ does; its possessive quantifiers change nothing.
	patContraction + `|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`:   {contractions: true, digits: 1},
	patContraction + `|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`: {contractions: true, digits: 1},
}

// stagesOf makes the stages of a named pre-tokenizer.
func stagesOf(name string) (preRule, []stage, error) {
	rule, ok := preRules[name]
	if !ok {
		known := make([]string, 0, len(preRules))
		for k := range preRules {
			known = append(known, k)
		}
		slices.Sort(known)
		return rule, nil, fault.New(fault.Unsupported, "tokenizer.ggml.pre", name, "known pre-tokenizers are "+strings.Join(known, ", "),
			"convert the model again with a known one, or use its tokenizer.json")
	}
	var stages []stage
	for _, p := range rule.patterns {
		s, err := splitterFor(p)
		if err != nil {
			return rule, nil, err
		}
		stages = append(stages, stage{cut: s})
	}
	return rule, layered(stages), nil
}
