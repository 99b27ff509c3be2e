// This file reads the normalizers, pre-tokenizers, decoders and post-processors of a tokenizer.json.

package tokenizer

import (
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxNesting bounds sequences inside sequences.
const maxNesting = 8

// part is any of the pieces; each reads the members it knows.
type part struct {
	Type          string            `json:"type"`
	Normalizers   []json.RawMessage `json:"normalizers"`
	PreTokenizers []json.RawMessage `json:"pretokenizers"`
	Decoders      []json.RawMessage `json:"decoders"`
	Processors    []json.RawMessage `json:"processors"`

	Pattern  json.RawMessage `json:"pattern"`
	Content  string          `json:"content"`
	Prepend  string          `json:"prepend"`
	Behavior string          `json:"behavior"`
	Invert   bool            `json:"invert"`

	StripLeft  *bool `json:"strip_left"`
	StripRight *bool `json:"strip_right"`
	Start      int   `json:"start"`
	Stop       int   `json:"stop"`

	AddPrefixSpace   *bool   `json:"add_prefix_space"`
	UseRegex         *bool   `json:"use_regex"`
	IndividualDigits bool    `json:"individual_digits"`
	Replacement      string  `json:"replacement"`
	PrependScheme    *string `json:"prepend_scheme"`
	Split            *bool   `json:"split"`
	Delimiter        string  `json:"delimiter"`

	Charsmap []byte `json:"precompiled_charsmap"`

	Single        []templatePiece            `json:"single"`
	SpecialTokens map[string]templateSpecial `json:"special_tokens"`
	Sep, CLS      json.RawMessage
}

type templatePiece struct {
	SpecialToken *struct {
		ID string `json:"id"`
	} `json:"SpecialToken"`
	Sequence *struct {
		ID string `json:"id"`
	} `json:"Sequence"`
}

type templateSpecial struct {
	IDs []int64 `json:"ids"`
}

// readPart decodes a piece; ok is false for a missing or null one.
func readPart(raw string, what string, depth int) (p part, ok bool, err error) {
	if depth > maxNesting {
		return p, false, badJSON(what+" nested too deeply", nil)
	}
	if raw == "" || raw == "null" {
		return p, false, nil
	}
	if err := json.Unmarshal([]byte(raw), &p); err != nil {
		return p, false, badJSON(what, err)
	}
	return p, true, nil
}

func orTrue(b *bool) bool { return b == nil || *b }

// pattern reads {"String": ...} or {"Regex": ...}; the result is a regular expression, and the literal if it is one.
func (p *part) pattern() (expr, literal string, err error) {
	var o struct {
		String *string
		Regex  *string
	}
	if err := json.Unmarshal(p.Pattern, &o); err != nil {
		return "", "", badJSON(p.Type+".pattern", err)
	}
	switch {
	case o.String != nil:
		return quoteMeta(*o.String), *o.String, nil
	case o.Regex != nil:
		return *o.Regex, "", nil
	}
	return "", "", badJSON(p.Type+".pattern is neither String nor Regex", nil)
}

func quoteMeta(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune(`\.+*?()|[]{}^$-#&~ `, r) && r != ' ' {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// --- normalizers

func (h hfLoader) normalizers(raw string, depth int) ([]normalizer, error) {
	p, ok, err := readPart(raw, "normalizer", depth)
	if !ok {
		return nil, err
	}
	switch p.Type {
	case "Sequence":
		var all []normalizer
		for _, r := range p.Normalizers {
			n, err := h.normalizers(string(r), depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, n...)
		}
		return all, nil
	case "NFC":
		return []normalizer{unicodeForm(norm.NFC)}, nil
	case "NFD":
		return []normalizer{unicodeForm(norm.NFD)}, nil
	case "NFKC":
		return []normalizer{unicodeForm(norm.NFKC)}, nil
	case "NFKD":
		return []normalizer{unicodeForm(norm.NFKD)}, nil
	case "Lowercase":
		return []normalizer{textFunc(strings.ToLower)}, nil
	case "StripAccents":
		return []normalizer{textFunc(stripMarks)}, nil
	case "Strip":
		left, right := orTrue(p.StripLeft), orTrue(p.StripRight)
		return []normalizer{textFunc(func(s string) string {
			if left {
				s = strings.TrimLeftFunc(s, unicode.IsSpace)
			}
			if right {
				s = strings.TrimRightFunc(s, unicode.IsSpace)
			}
			return s
		})}, nil
	case "Prepend":
		return []normalizer{growing(func(s string) string {
			if s == "" {
				return s
			}
			return p.Prepend + s
		})}, nil
	case "Replace":
		expr, literal, err := p.pattern()
		if err != nil {
			return nil, err
		}
		if literal != "" {
			replace := func(s string) string { return strings.ReplaceAll(s, literal, p.Content) }
			if len(p.Content) >= len(literal) {
				return []normalizer{growing(replace)}, nil
			}
			return []normalizer{textFunc(replace)}, nil
		}
		cut, err := generalSplitter(expr, isolated, false)
		if err != nil {
			return nil, err
		}
		return []normalizer{replacer{cut.(matchFinder), p.Content}}, nil
	case "Precompiled":
		if len(p.Charsmap) == 0 {
			return nil, nil
		}
		m, err := newCharsmap(p.Charsmap)
		if err != nil {
			return nil, err
		}
		return []normalizer{m}, nil
	case "ByteLevel":
		return []normalizer{byteLevelMark{}}, nil
	}
	return nil, unsupported("normalizer", p.Type, "Sequence, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend, Replace, Precompiled, ByteLevel")
}

// textFunc is a normalizer that does not care where the text stands.
type textFunc func(string) string

func (f textFunc) normalize(s string, _ place) string { return f(s) }

// growing is a textFunc that never makes a text shorter.
type growing func(string) string

func (f growing) normalize(s string, _ place) string { return f(s) }

// unicodeForm is one of the Unicode normalisation forms.
type unicodeForm norm.Form

func (f unicodeForm) normalize(s string, _ place) string {
	if isASCII(s) {
		return s
	}
	return norm.Form(f).String(s)
}

func stripMarks(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.M, r) {
			return -1
		}
		return r
	}, s)
}

// byteLevelMark stands for the ByteLevel normalizer until the loader takes it out.
type byteLevelMark struct{}

func (byteLevelMark) normalize(s string, _ place) string { return s }

// replacer writes content in place of every match.
type replacer struct {
	find    matchFinder
	content string
}

// matchFinder gives the spans of a text.
type matchFinder interface{ spans(s string) []span }

func (r replacer) normalize(s string, _ place) string {
	var b strings.Builder
	for _, p := range r.find.spans(s) {
		if p.match {
			b.WriteString(r.content)
		} else {
			b.WriteString(s[p.from:p.to])
		}
	}
	return b.String()
}

// --- pre-tokenizers

// preTokenizers reads the stages; mapped says that a ByteLevel came before, after which texts are in GPT-2's alphabet.
func (h hfLoader) preTokenizers(raw string, mapped bool, depth int) ([]stage, bool, error) {
	p, ok, err := readPart(raw, "pre_tokenizer", depth)
	if !ok {
		return nil, mapped, err
	}
	cut := func(s splitter) ([]stage, bool, error) {
		if mapped {
			s = mappedSplitter{s}
		}
		return []stage{{cut: s}}, mapped, nil
	}
	how := isolated
	if p.Behavior != "" {
		if how, ok = behaviors[p.Behavior]; !ok {
			return nil, mapped, unsupported("pre_tokenizer behavior", p.Behavior, "Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous")
		}
	}
	general := func(expr string, how behavior, invert bool) ([]stage, bool, error) {
		s, err := generalSplitter(expr, how, invert)
		if err != nil {
			return nil, mapped, err
		}
		return cut(s)
	}
	switch p.Type {
	case "Sequence":
		var all []stage
		for _, r := range p.PreTokenizers {
			var s []stage
			if s, mapped, err = h.preTokenizers(string(r), mapped, depth+1); err != nil {
				return nil, mapped, err
			}
			all = append(all, s...)
		}
		return all, mapped, nil
	case "ByteLevel":
		if mapped {
			return nil, mapped, unsupported("pre_tokenizer", "ByteLevel twice", "ByteLevel once")
		}
		var all []stage
		if orTrue(p.AddPrefixSpace) {
			all = append(all, stage{rewrite: prefixSpace{" "}})
		}
		if orTrue(p.UseRegex) {
			all = append(all, stage{cut: gpt2Splitter{}})
		}
		return all, true, nil
	case "Split":
		expr, literal, err := p.pattern()
		if err != nil {
			return nil, mapped, err
		}
		if literal == "" && how == isolated && !p.Invert {
			s, err := splitterFor(expr)
			if err != nil {
				return nil, mapped, err
			}
			return cut(s)
		}
		return general(expr, how, p.Invert)
	case "Digits":
		if p.IndividualDigits {
			return cut(runSplitter{class: cNumber, max: 1})
		}
		return cut(runSplitter{class: cNumber})
	case "Punctuation":
		return general(`[\p{P}$+<=>^\x60|~]`, how, false)
	case "Whitespace":
		return general("["+wordClass+`]+|[^\s`+wordClass+"]+", removed, true) // \w+|[^\w\s]+ of Rust
	case "WhitespaceSplit":
		return general(`\s`, removed, false)
	case "BertPreTokenizer":
		a, _, _ := general(`\s`, removed, false)
		b, _, err := general(`[\p{P}$+<=>^\x60|~]`, isolated, false)
		return append(a, b...), mapped, err
	case "CharDelimiterSplit":
		return general(quoteMeta(p.Delimiter), removed, false)
	case "Metaspace":
		if mapped {
			return nil, mapped, unsupported("pre_tokenizer", "Metaspace after ByteLevel", "Metaspace on text")
		}
		m := metaspace{mark: p.Replacement, scheme: p.scheme()}
		if m.mark == "" {
			m.mark = spaceMark
		}
		stages := []stage{{rewrite: m}}
		if orTrue(p.Split) {
			s, err := generalSplitter(quoteMeta(m.mark), mergedNext, false)
			if err != nil {
				return nil, mapped, err
			}
			stages = append(stages, stage{cut: s})
		}
		return stages, mapped, nil
	}
	return nil, mapped, unsupported("pre_tokenizer", p.Type, "Sequence, ByteLevel, Split, Digits, Punctuation, Whitespace, WhitespaceSplit, BertPreTokenizer, CharDelimiterSplit, Metaspace")
}

// wordClass is \w of Rust's regular expressions inside brackets: besides letters, marks and digits the two joiners and the letters in circles and squares.
const wordClass = `\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}` + "\u200c\u200d\u24b6-\u24e9\U0001f130-\U0001f149\U0001f150-\U0001f169\U0001f170-\U0001f189"

var behaviors = map[string]behavior{
	"Removed": removed, "Isolated": isolated, "MergedWithPrevious": mergedPrevious, "MergedWithNext": mergedNext, "Contiguous": contiguous,
}

// scheme is when Metaspace puts a mark in front: "always", "first" or "never".
func (p *part) scheme() string {
	if p.PrependScheme != nil {
		return *p.PrependScheme
	}
	if orTrue(p.AddPrefixSpace) {
		return "always"
	}
	return "never"
}

// metaspace writes spaces as a mark and puts one in front.
type metaspace struct{ mark, scheme string }

func (m metaspace) normalize(s string, at place) string {
	s = strings.ReplaceAll(s, " ", m.mark)
	if (m.scheme == "always" || m.scheme == "first" && at.first) && !strings.HasPrefix(s, m.mark) {
		s = m.mark + s
	}
	return s
}

// prefixSpace puts a space in front of a text that has none.
type prefixSpace struct{ space string }

func (p prefixSpace) normalize(s string, _ place) string {
	if strings.HasPrefix(s, p.space) {
		return s
	}
	return p.space + s
}

// mappedSplitter cuts a text as the splitter inside would cut it in GPT-2's alphabet, one character a byte.
type mappedSplitter struct{ splitter }

func (m mappedSplitter) split(ends []int, s string) []int {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(byteAlphabet.letters[s[i]])
	}
	mapped := b.String()
	base := len(ends)
	ends = m.splitter.split(ends, mapped)
	count, at := 0, 0
	for k := base; k < len(ends); k++ {
		end, dropped := ends[k], ends[k] < 0
		if dropped {
			end = ^end
		}
		count += utf8.RuneCountInString(mapped[at:end])
		at = end
		ends[k] = count
		if dropped {
			ends[k] = ^count
		}
	}
	return ends
}

// --- decoders

// decoders reads how tokens become text. Only what comes out the same token by token is done, besides spaces at the start.
func (h hfLoader) decoders(raw string, byteLevel bool, depth int) error {
	p, ok, err := readPart(raw, "decoder", depth)
	if !ok {
		h.between = " " // without a decoder tokens are written as words
		return err
	}
	switch p.Type {
	case "Sequence":
		for _, r := range p.Decoders {
			if err := h.decoders(string(r), byteLevel, depth+1); err != nil {
				return err
			}
		}
		return nil
	case "ByteLevel":
		if byteLevel {
			return nil
		}
		return unsupported("decoder", "ByteLevel without a ByteLevel pre-tokenizer", "ByteLevel with one")
	case "ByteFallback", "Fuse":
		return nil
	case "Replace":
		_, literal, err := p.pattern()
		if err != nil {
			return err
		}
		if literal == spaceMark && p.Content == " " && !byteLevel {
			h.spaceMark = true
			return nil
		}
		return unsupported("decoder", "Replace "+string(p.Pattern)+" by "+p.Content, "Replace U+2581 by a space")
	case "Strip":
		if p.Content == " " && p.Stop == 0 && p.Start >= 0 && p.Start <= 16 {
			h.stripHead = p.Start
			return nil
		}
		return unsupported("decoder", "Strip of "+p.Content, "Strip of spaces at the start")
	case "Metaspace":
		if p.Replacement != spaceMark && p.Replacement != "" {
			return unsupported("decoder", "Metaspace "+p.Replacement, "Metaspace U+2581")
		}
		h.spaceMark = true
		if p.scheme() != "never" {
			h.stripHead = 1
		}
		return nil
	}
	return unsupported("decoder", p.Type, "Sequence, ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace")
}

// --- post-processors

// postProcessors reads the tokens around a text.
func (h hfLoader) postProcessors(raw string, depth int) error {
	p, ok, err := readPart(raw, "post_processor", depth)
	if !ok {
		return err
	}
	switch p.Type {
	case "Sequence":
		for _, r := range p.Processors {
			if err := h.postProcessors(string(r), depth+1); err != nil {
				return err
			}
		}
		return nil
	case "ByteLevel": // moves offsets only
		return nil
	case "TemplateProcessing":
		return h.template(&p)
	case "BertProcessing", "RobertaProcessing":
		cls, err := h.pairID(p.CLS)
		if err != nil {
			return err
		}
		sep, err := h.pairID(p.Sep)
		h.prefix, h.suffix = append(h.prefix, cls), append(h.suffix, sep)
		return err
	}
	return unsupported("post_processor", p.Type, "Sequence, ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing")
}

func (h hfLoader) template(p *part) error {
	seen := false
	var before, after []int32
	for _, piece := range p.Single {
		switch {
		case piece.Sequence != nil:
			if seen {
				return unsupported("post_processor", "a template with the text twice", "the text once")
			}
			seen = true
		case piece.SpecialToken != nil:
			for _, id := range p.SpecialTokens[piece.SpecialToken.ID].IDs {
				if id < 0 || id >= int64(len(h.voc.text)) {
					return badJSON("post_processor: token outside the vocabulary", nil)
				}
				if seen {
					after = append(after, int32(id))
				} else {
					before = append(before, int32(id))
				}
			}
		}
	}
	// Outer processors put theirs around what inner ones made.
	h.prefix, h.suffix = append(before, h.prefix...), append(h.suffix, after...)
	return nil
}

// pairID reads ["</s>", 2].
func (h hfLoader) pairID(raw json.RawMessage) (int32, error) {
	var pair []json.RawMessage
	var id int64
	if json.Unmarshal(raw, &pair) != nil || len(pair) != 2 || json.Unmarshal(pair[1], &id) != nil || id < 0 || id >= int64(len(h.voc.text)) {
		return 0, badJSON("post_processor: "+string(raw), nil)
	}
	return int32(id), nil
}
