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

	patContraction = `(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])`
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
	patLatin       = `\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+`
	patAsian       = `[一-龥ࠀ-一가-퟿]+`
	patFromRight   = `\d{1,3}(?=(?:\d{3})*\b)`
	patLines       = `[^\n]+|[\n]+`
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
	rulesBailing = preRule{patterns: []string{`'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`}}
	rulesRaw     = preRule{patterns: []string{patLines}, raw: true}
	rulesGemma4  = preRule{patterns: []string{patLines}, raw: true, lines: true, addBOS: true}
	rulesAya     = preRule{patterns: []string{patFromRight, patGPT4o}}
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
	}
	if o, ok := runPatterns[pattern]; ok {
		return o, nil
	}
	p := pattern
	p = strings.Replace(p, `(?i:'s|'t|'re|'ve|'m|'ll|'d)`, patContraction, 1)
	p = strings.Replace(p, `'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])`, patContraction, 1)
	p = strings.Replace(p, `'(?i:[sdmt]|ll|ve|re)`, patContraction, 1)
	if o, ok := llama3Patterns[p]; ok {
		return o, nil
	}
	return newRegexSplitter(pattern, isolated, false)
}

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
	return rule, stages, nil
}
