// This file builds a Tokenizer from the metadata of a GGUF file (keys tokenizer.ggml.*). It does not open files.

package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/lowkeylm/lowkey/fault"
)

// Metadata is what FromGGUF reads; *gguf.File has it. The getters give nil or false for a missing key or another type.
type Metadata interface {
	String(key string) (string, bool)
	Bool(key string) (bool, bool)
	Uint(key string) (uint64, bool)
	Strings(key string) []string
	Floats(key string) []float32
	Ints(key string) []int64
}

// maxVocab bounds what a file may ask for; the largest published vocabularies hold a quarter of a million tokens.
const maxVocab = 1 << 24

const keyPrefix = "tokenizer.ggml."

// FromGGUF builds the tokenizer that a GGUF file describes. Errors are *fault.Error: Unsupported for a model or pre-tokenizer
// this version does not know, BadFile for metadata that contradicts itself.
func FromGGUF(m Metadata) (*Tokenizer, error) {
	modelName, ok := m.String(keyPrefix + "model")
	if !ok {
		return nil, fault.New(fault.BadFile, keyPrefix+"model", "missing", "a GGUF file without it has no tokenizer", "give a tokenizer.json beside it")
	}
	texts := m.Strings(keyPrefix + "tokens")
	if len(texts) == 0 {
		return nil, fault.New(fault.BadFile, keyPrefix+"tokens", "missing or empty", "", "convert the model again with its vocabulary")
	}
	if len(texts) > maxVocab {
		return nil, fault.New(fault.BadFile, keyPrefix+"tokens", fmt.Sprint(len(texts), " tokens"), fmt.Sprint("at most ", maxVocab), "")
	}
	t := &Tokenizer{bos: noToken, eos: noToken, unk: noToken, pad: noToken}
	t.voc.text = slices.Clone(texts)
	t.voc.kind = make([]kind, len(texts))
	if types := m.Ints(keyPrefix + "token_type"); types != nil {
		if len(types) < len(texts) {
			return nil, fault.New(fault.BadFile, keyPrefix+"token_type", fmt.Sprint(len(types), " entries"), fmt.Sprint(len(texts), " tokens"), "fetch the file again, or convert the model anew")
		}
		for i := range t.voc.kind {
			t.voc.kind[i] = kindOf(types[i])
		}
	} else if modelName == "llama" {
		// The oldest files have no types: bytes are known by their spelling.
		for i, text := range texts {
			if _, ok := hexByte(text); ok {
				t.voc.kind[i] = byteToken
			}
		}
	}
	g := ggufLoader{Tokenizer: t, m: m}
	var err error
	switch modelName {
	case "gpt2", "gemma4":
		err = g.loadBPE(modelName)
	case "llama":
		err = g.loadScored()
	case "t5":
		err = g.loadUnigram()
	default:
		err = fault.New(fault.Unsupported, keyPrefix+"model", modelName, "known models are gpt2, gemma4, llama, t5", "")
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// kindOf reads an entry of tokenizer.ggml.token_type.
func kindOf(v int64) kind {
	switch v {
	case 2:
		return unknown
	case 3:
		return control
	case 4:
		return userDefined
	case 5:
		return unused
	case 6:
		return byteToken
	}
	return normal
}

type ggufLoader struct {
	*Tokenizer
	m Metadata
}

// loadBPE builds BPE by merges: byte-level (gpt2), or on characters (gemma4 and its like).
func (g ggufLoader) loadBPE(modelName string) error {
	pre, ok := g.m.String(keyPrefix + "pre")
	if modelName == "gemma4" {
		pre = "gemma4"
	} else if !ok || pre == "" {
		pre = "default"
	}
	rule, stages, err := stagesOf(pre)
	if err != nil {
		return err
	}
	merges := g.m.Strings(keyPrefix + "merges")
	if merges == nil {
		return fault.New(fault.BadFile, keyPrefix+"merges", "missing", "a BPE vocabulary needs its merges", "convert the model again")
	}
	g.stages = stages
	g.name = "BPE, pre-tokenizer " + pre
	g.special3(specialDefaults{bos: noToken, eos: noToken, unk: noToken})
	g.addFromKinds()
	g.own(rule.raw)
	model := &mergeModel{voc: &g.voc, byteLevel: !rule.raw, whole: rule.whole, fallback: rule.raw, unk: noToken} // a byte that is no token says nothing, though files name an unknown token
	if rule.raw {
		model.unk = g.unk
		g.spaceMark = true
		g.norm = []normalizer{escapeSpaces{}}
	}
	if err := model.build(mergeText(merges)); err != nil {
		return err
	}
	g.model = model
	if rule.lines {
		g.model = &lineModel{mergeModel: model}
	}
	g.finish(rule.addBOS || pre == "gemma4", false)
	return nil
}

// loadScored builds SentencePiece's BPE: pairs merge into tokens by score.
func (g ggufLoader) loadScored() error {
	scores := g.m.Floats(keyPrefix + "scores")
	if len(scores) < len(g.voc.text) {
		return fault.New(fault.BadFile, keyPrefix+"scores", fmt.Sprint(len(scores), " entries"), fmt.Sprint(len(g.voc.text), " tokens"), "convert the model again")
	}
	g.name = "SentencePiece BPE"
	g.spaceMark = true
	g.special3(specialDefaults{bos: 1, eos: 2, unk: 0})
	g.addFromKinds()
	g.own(true)
	model := &mergeModel{voc: &g.voc, byScore: true, fallback: true, unk: g.unk}
	model.ranks = make([]uint32, len(g.voc.text))
	for i := range model.ranks {
		model.ranks[i] = rankOfScore(scores[i])
	}
	if err := model.build(nil); err != nil {
		return err
	}
	g.model = model
	g.norm = []normalizer{escapeSpaces{}}
	if v, ok := g.m.Bool(keyPrefix + "add_space_prefix"); v || !ok {
		g.norm = []normalizer{escapeSpaces{prefix: true}}
		g.stripHead = 1
	}
	g.finish(true, false)
	return nil
}

// loadUnigram builds SentencePiece's unigram model.
func (g ggufLoader) loadUnigram() error {
	scores := g.m.Floats(keyPrefix + "scores")
	if len(scores) < len(g.voc.text) {
		return fault.New(fault.BadFile, keyPrefix+"scores", fmt.Sprint(len(scores), " entries"), fmt.Sprint(len(g.voc.text), " tokens"), "convert the model again")
	}
	wide := make([]float64, len(g.voc.text))
	for i := range wide {
		wide[i] = float64(scores[i])
	}
	g.name = "SentencePiece unigram"
	g.spaceMark = true
	g.special3(specialDefaults{bos: noToken, eos: 1, unk: 2})
	g.addFromKinds()
	g.own(true)
	if ints := g.m.Ints(keyPrefix + "precompiled_charsmap"); len(ints) > 0 {
		blob := make([]byte, len(ints))
		for i, v := range ints {
			blob[i] = byte(v)
		}
		m, err := newCharsmap(blob)
		if err != nil {
			return err
		}
		g.norm = append(g.norm, m)
	}
	prefix, ok := g.m.Bool(keyPrefix + "add_space_prefix")
	prefix = prefix || !ok
	merge, _ := g.m.Bool(keyPrefix + "remove_extra_whitespaces")
	g.norm = append(g.norm, pieceSpaces{prefix: prefix, merge: merge})
	if prefix {
		g.stripHead = 1
	}
	g.model = newUnigram(&g.voc, wide, g.unk, false)
	g.finish(false, true)
	return nil
}

// pieceSpaces writes spaces as SentencePiece's unigram normaliser does: as U+2581, one in front, runs as one.
type pieceSpaces struct{ prefix, merge bool }

func (o pieceSpaces) normalize(s string, _ place) string {
	var b strings.Builder
	inWord, begun := false, false
	for i := range len(s) {
		if s[i] != ' ' {
			if !inWord && (o.merge || o.prefix && !begun) {
				b.WriteString(spaceMark)
				begun = true
			}
			inWord = true
			b.WriteByte(s[i])
			continue
		}
		inWord = false
		if !o.merge {
			b.WriteString(spaceMark)
		}
	}
	return b.String()
}

// own says which tokens the model makes from plain text. User-defined tokens are matched before it, but where texts are not
// spelled in GPT-2's alphabet they also take part in its merges.
func (g ggufLoader) own(userDefinedToo bool) {
	g.voc.own = make([]bool, len(g.voc.kind))
	for id, k := range g.voc.kind {
		g.voc.own[id] = k == normal || k == unused || k == userDefined && userDefinedToo
	}
}

type specialDefaults struct{ bos, eos, unk int32 }

// special3 reads the ids of the special tokens; an id outside the vocabulary counts as absent.
func (g ggufLoader) special3(d specialDefaults) {
	g.bos = g.specialID("bos_token_id", d.bos)
	g.eos = g.specialID("eos_token_id", d.eos)
	g.unk = g.specialID("unknown_token_id", d.unk)
	g.pad = g.specialID("padding_token_id", noToken)
}

func (g ggufLoader) specialID(key string, fallback int32) int32 {
	if v, ok := g.m.Uint(keyPrefix + key); ok && v < uint64(len(g.voc.text)) {
		return int32(v)
	}
	if int(fallback) < len(g.voc.text) {
		return fallback
	}
	return noToken
}

// addFromKinds enters the tokens that are matched before the model: control and unknown ones as special, user-defined ones always.
func (g ggufLoader) addFromKinds() {
	rstrip := false
	if name, ok := g.m.String("general.name"); ok {
		// Phi-3's special tokens swallow the white space behind them; GGUF has no field to say so.
		name = strings.ToLower(name)
		rstrip = strings.Contains(name, "phi-3") || strings.Contains(name, "phi3")
	}
	if g.eos != noToken && g.voc.kind[g.eos] == normal && slices.Contains(endNames, g.voc.text[g.eos]) {
		g.voc.kind[g.eos] = control // some files name it and give it no kind
	}
	for id, k := range g.voc.kind {
		if k != control && k != unknown && k != userDefined {
			continue
		}
		text := g.voc.text[id]
		tok := addedToken{id: int32(id), special: k != userDefined, rstrip: rstrip}
		if text == "<unk>" || text == "<s>" || text == "<|endoftext|>" {
			tok.rstrip = false
		}
		g.added.add(text, tok)
	}
}

// finish settles the tokens around a text and the end-of-generation set.
func (g ggufLoader) finish(addBOS, addEOS bool) {
	if v, ok := g.m.Bool(keyPrefix + "add_bos_token"); ok {
		addBOS = v
	}
	if v, ok := g.m.Bool(keyPrefix + "add_eos_token"); ok {
		addEOS = v
	}
	if addBOS && g.bos != noToken {
		g.prefix = []int32{g.bos}
	}
	if addEOS && g.eos != noToken {
		g.suffix = []int32{g.eos}
	}
	ends := []int32{g.eos}
	for _, key := range []string{"eot_token_id", "eom_token_id"} {
		ends = append(ends, g.specialID(key, noToken))
	}
	if ids := g.m.Ints(keyPrefix + "eog_token_ids"); ids != nil {
		for _, id := range ids {
			if id >= 0 && id < int64(len(g.voc.text)) {
				ends = append(ends, int32(id))
			}
		}
	}
	g.setEOG(ends)
}

// escapeSpaces writes spaces as U+2581, as SentencePiece does.
type escapeSpaces struct {
	prefix bool // one in front at the start of the text and after an added token
}

func (o escapeSpaces) normalize(s string, at place) string {
	s = strings.ReplaceAll(s, " ", spaceMark)
	if o.prefix && at.afterToken {
		s = spaceMark + s
	}
	return s
}

// lineModel takes a run of newlines that is a token as that token (Gemma 4).
type lineModel struct{ *mergeModel }

func (m *lineModel) encode(sc *scratch, out []int32, text string) []int32 {
	if text != "" && text[0] == '\n' { // the stage before made pieces of newlines only
		if id, ok := m.voc.id(text); ok {
			return append(out, id)
		}
	}
	return m.mergeModel.encode(sc, out, text)
}

// mergeSource gives the merges in order of rank.
type mergeSource interface {
	count() int
	at(i int) (left, right string, ok bool)
}

// mergeText reads merges written "left right".
type mergeText []string

func (m mergeText) count() int { return len(m) }

func (m mergeText) at(i int) (string, string, bool) {
	s := m[i]
	if s == "" {
		return "", "", false
	}
	// The first character belongs to the left part even if it is a space.
	_, n := utf8.DecodeRuneInString(s)
	k := strings.IndexByte(s[n:], ' ')
	if k < 0 {
		return "", "", false
	}
	return s[:n+k], s[n+k+1:], true
}
