// This file builds a Tokenizer from a Hugging Face tokenizer.json (and the small files beside it). Pieces of the format that
// are not done here are refused by name.

package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/lowkeylm/lowkey/fault"
)

// maxTokenizerFile bounds the tokenizer.json that is read; the largest published ones have some 35 MB.
const maxTokenizerFile = 512 << 20

// FromFolder reads tokenizer.json from a model folder, with tokenizer_config.json, special_tokens_map.json and
// generation_config.json where they are there. Errors are *fault.Error.
func FromFolder(dir string) (*Tokenizer, error) {
	path := filepath.Join(dir, "tokenizer.json")
	data, err := readLimited(path, maxTokenizerFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.BadInput, path, "no such file", "a model folder needs its tokenizer.json",
			"download it, or save the tokenizer with transformers' save_pretrained")
	}
	if err != nil {
		return nil, err
	}
	var side [3][]byte
	for i, name := range []string{"tokenizer_config.json", "special_tokens_map.json", "generation_config.json"} {
		side[i], err = readLimited(filepath.Join(dir, name), 64<<20)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	t, err := fromJSON(data, side[0], side[1], side[2])
	var f *fault.Error
	if errors.As(err, &f) {
		return nil, &fault.Error{Kind: f.Kind, Thing: dir + ": " + f.Thing, Value: f.Value, Limit: f.Limit, WayOut: f.WayOut, Err: f.Err}
	}
	return t, err
}

func readLimited(path string, limit int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > limit || !st.Mode().IsRegular() {
		return nil, fault.New(fault.BadFile, path, fmt.Sprint(st.Size(), " bytes"), fmt.Sprint("a regular file of at most ", limit), "fetch it again")
	}
	return os.ReadFile(path)
}

// FromJSON builds a tokenizer from the contents of tokenizer.json and tokenizer_config.json; the latter may be nil. Errors are
// *fault.Error: Unsupported names the piece that this version does not do, BadFile what contradicts itself.
func FromJSON(tokenizerJSON, tokenizerConfigJSON []byte) (*Tokenizer, error) {
	return fromJSON(tokenizerJSON, tokenizerConfigJSON, nil, nil)
}

// hfFile is a tokenizer.json after reading.
type hfFile struct {
	sections map[string]string // raw JSON of the members other than model
	options  map[string]string // raw JSON of the model's members other than these:
	texts    []string          // by entry of model.vocab
	ids      []int32
	scores   []float64 // of a unigram vocabulary
	merges   mergePairs
}

type mergePairs [][2]string

func (m mergePairs) count() int { return len(m) }

func (m mergePairs) at(i int) (string, string, bool) { return m[i][0], m[i][1], true }

func badJSON(what string, err error) error {
	return &fault.Error{Kind: fault.BadFile, Thing: "tokenizer.json", Value: what, Limit: "it cannot be read", WayOut: "download it again", Err: err}
}

func unsupported(what, value, known string) error {
	return fault.New(fault.Unsupported, "tokenizer.json: "+what, value, "known ones are "+known, "")
}

// readHF reads the outline of a tokenizer.json: vocabulary and merges at once, the rest as raw text.
func readHF(data string) (*hfFile, error) {
	f := &hfFile{sections: map[string]string{}, options: map[string]string{}}
	j := &jsonScanner{s: data}
	err := j.object(func(key string) error {
		if key != "model" {
			raw, err := j.raw()
			f.sections[key] = raw
			return err
		}
		return j.object(func(key string) error {
			switch {
			case key == "vocab" && j.space() == '{':
				return f.readVocab(j)
			case key == "vocab" && j.space() == '[':
				return f.readPieces(j)
			case key == "merges" && j.space() == '[':
				return f.readMerges(j)
			}
			raw, err := j.raw()
			f.options[key] = raw
			return err
		})
	})
	if err == nil && j.space() != 0 {
		err = errJSON
	}
	return f, err
}

func (f *hfFile) readVocab(j *jsonScanner) error {
	return j.object(func(key string) error {
		num, err := j.number()
		if err != nil {
			return err
		}
		id, err := strconv.ParseInt(num, 10, 32)
		if err != nil || id < 0 || id >= maxVocab {
			return fmt.Errorf("id %s of token %q is outside 0 ... %d", num, key, maxVocab-1)
		}
		f.texts = append(f.texts, key)
		f.ids = append(f.ids, int32(id))
		return nil
	})
}

func (f *hfFile) readPieces(j *jsonScanner) error {
	return j.array(func() error {
		k := 0
		return j.array(func() error {
			k++
			switch k {
			case 1:
				text, err := j.string()
				f.texts = append(f.texts, text)
				f.ids = append(f.ids, int32(len(f.ids)))
				return err
			case 2:
				num, err := j.number()
				if err != nil {
					return err
				}
				v, err := strconv.ParseFloat(num, 64)
				for len(f.scores) < len(f.texts)-1 {
					f.scores = append(f.scores, 0)
				}
				f.scores = append(f.scores, v)
				return err
			}
			return errJSON
		})
	})
}

func (f *hfFile) readMerges(j *jsonScanner) error {
	f.merges = make(mergePairs, 0, (len(j.s)-j.i)/24) // about right for large files: two symbols, quotes and commas
	return j.array(func() error {
		if j.space() == '[' {
			var pair [2]string
			k := 0
			err := j.array(func() error {
				if k == 2 {
					return errJSON
				}
				var err error
				pair[k], err = j.string()
				k++
				return err
			})
			if err == nil && k != 2 {
				err = errJSON
			}
			f.merges = append(f.merges, pair)
			return err
		}
		s, err := j.string()
		if err != nil {
			return err
		}
		left, right, ok := strings.Cut(s, " ")
		if !ok || strings.Contains(right, " ") {
			return fmt.Errorf("merge %q is not two symbols", s)
		}
		f.merges = append(f.merges, [2]string{left, right})
		return nil
	})
}

// hfAdded is an entry of added_tokens.
type hfAdded struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// hfConfig is what is read of tokenizer_config.json and special_tokens_map.json. Tokens are a string or {"content": ...}.
type hfConfig struct {
	BOS    json.RawMessage `json:"bos_token"`
	EOS    json.RawMessage `json:"eos_token"`
	Unk    json.RawMessage `json:"unk_token"`
	Pad    json.RawMessage `json:"pad_token"`
	AddBOS *bool           `json:"add_bos_token"`
	AddEOS *bool           `json:"add_eos_token"`
	Class  string          `json:"tokenizer_class"`
}

type hfLoader struct {
	*Tokenizer
	*hfFile
}

func fromJSON(tokenizerJSON, config, specials, generation []byte) (*Tokenizer, error) {
	if !utf8.Valid(tokenizerJSON) {
		return nil, badJSON("not UTF-8", nil)
	}
	file, err := readHF(string(tokenizerJSON))
	if err != nil {
		return nil, badJSON("malformed", err)
	}
	t := &Tokenizer{bos: noToken, eos: noToken, unk: noToken, pad: noToken}
	h := hfLoader{t, file}
	added, err := h.loadVocab()
	if err != nil {
		return nil, err
	}
	if t.norm, err = h.normalizers(file.sections["normalizer"], 0); err != nil {
		return nil, err
	}
	byteLevel := false
	if t.stages, byteLevel, err = h.preTokenizers(file.sections["pre_tokenizer"], false, 0); err != nil {
		return nil, err
	}
	t.stages = layered(t.stages)
	t.stages, byteLevel = takeByteLevelNormalizer(t, byteLevel)
	h.addTokens(added)
	if err := h.loadModel(byteLevel); err != nil {
		return nil, err
	}
	if err := h.decoders(file.sections["decoder"], byteLevel, 0); err != nil {
		return nil, err
	}
	if err := h.postProcessors(file.sections["post_processor"], 0); err != nil {
		return nil, err
	}
	if err := h.configure(config, specials, generation); err != nil {
		return nil, err
	}
	return t, nil
}

// loadVocab lays the vocabulary out by id and gives the added tokens.
func (h hfLoader) loadVocab() ([]hfAdded, error) {
	var added []hfAdded
	if raw, ok := h.sections["added_tokens"]; ok {
		if err := json.Unmarshal([]byte(raw), &added); err != nil {
			return nil, badJSON("added_tokens", err)
		}
	}
	top := int64(-1)
	for _, id := range h.ids {
		top = max(top, int64(id))
	}
	for _, a := range added {
		if a.ID < 0 || a.ID >= maxVocab {
			return nil, badJSON(fmt.Sprintf("added token %q with id %d", a.Content, a.ID), nil)
		}
		top = max(top, a.ID)
	}
	// Holes between the ids are allowed (published files have some), but not so many that a small file asks for much memory.
	if top >= int64(4*(len(h.ids)+len(added)))+1024 {
		return nil, badJSON(fmt.Sprintf("%d tokens with ids up to %d", len(h.ids)+len(added), top), nil)
	}
	if top < 0 {
		return nil, badJSON("no tokens", nil)
	}
	v := &h.voc
	v.text = make([]string, top+1)
	v.kind = make([]kind, top+1)
	v.own = make([]bool, top+1)
	for id := range v.kind {
		v.kind[id] = unused
	}
	size := 0
	for _, s := range h.texts {
		size += len(s)
	}
	arena := make([]byte, 0, size) // so that the texts do not keep the whole file in memory
	for _, s := range h.texts {
		arena = append(arena, s...)
	}
	all := string(arena)
	for k, id := range h.ids {
		if v.own[id] {
			return nil, badJSON(fmt.Sprintf("id %d twice in the vocabulary", id), nil)
		}
		n := len(h.texts[k])
		v.text[id], v.kind[id], v.own[id] = all[:n], normal, true
		all = all[n:]
	}
	for _, a := range added {
		if !v.own[a.ID] {
			v.text[a.ID] = a.Content
		}
		v.kind[a.ID] = userDefined
		if a.Special {
			v.kind[a.ID] = control
		}
	}
	return added, nil
}

// addTokens enters the added tokens: those that are matched in the text as it is, and those matched after normalisation.
func (h hfLoader) addTokens(added []hfAdded) {
	for _, a := range added {
		tok := addedToken{id: int32(a.ID), special: a.Special, lstrip: a.LStrip, rstrip: a.RStrip, singleWord: a.SingleWord}
		if !a.Normalized || len(h.norm) == 0 {
			h.added.add(a.Content, tok)
			continue
		}
		text := a.Content
		for _, n := range h.norm {
			text = n.normalize(text, place{})
		}
		h.late.add(text, tok)
	}
}

// member reads a member of the model; missing and null leave v alone.
func (h hfLoader) member(key string, v any) error {
	raw, ok := h.options[key]
	if !ok {
		return nil
	}
	if err := json.Unmarshal([]byte(raw), v); err != nil {
		return badJSON("model."+key, err)
	}
	return nil
}

func (h hfLoader) loadModel(byteLevel bool) error {
	var kindName, prefix, suffix, unkText string
	var fallback, fuse, whole bool
	unkID := int64(-1)
	for key, v := range map[string]any{
		"type": &kindName, "continuing_subword_prefix": &prefix, "end_of_word_suffix": &suffix, "unk_token": &unkText,
		"byte_fallback": &fallback, "fuse_unk": &fuse, "ignore_merges": &whole, "unk_id": &unkID,
	} {
		if err := h.member(key, v); err != nil {
			return err
		}
	}
	if kindName == "" { // old files leave it out
		kindName = "BPE"
		if h.scores != nil {
			kindName = "Unigram"
		}
	}
	if prefix != "" {
		return unsupported("model.continuing_subword_prefix", prefix, "none")
	}
	if suffix != "" {
		return unsupported("model.end_of_word_suffix", suffix, "none")
	}
	if fallback {
		for id, text := range h.voc.text {
			if _, ok := hexByte(text); ok && h.voc.own[id] {
				h.voc.kind[id] = byteToken
				h.voc.own[id] = kindName == "Unigram" // there "<0x41>" in a text is that token
			}
		}
	}
	switch kindName {
	case "BPE":
		if len(h.scores) > 0 {
			return badJSON("model.vocab of a BPE model is a list", nil)
		}
		for k, id := range h.ids {
			if unkText != "" && h.texts[k] == unkText {
				h.unk = id
			}
		}
		m := &mergeModel{voc: &h.voc, byteLevel: byteLevel, whole: whole, fuseUnk: fuse, fallback: fallback, unk: h.unk}
		if byteLevel {
			m.fallback = false
		}
		h.model = m
		h.name = "BPE from tokenizer.json"
		return m.build(h.merges)
	case "Unigram":
		if byteLevel {
			return unsupported("model.type", "Unigram after ByteLevel", "BPE after ByteLevel, Unigram on text")
		}
		if len(h.scores) != len(h.texts) {
			return badJSON("model.vocab without scores", nil)
		}
		if unkID >= 0 && unkID < int64(len(h.texts)) {
			h.unk = int32(unkID)
		}
		h.name = "unigram from tokenizer.json"
		h.model = newUnigram(&h.voc, h.scores, h.unk, fallback)
		return nil
	}
	return unsupported("model.type", kindName, "BPE, Unigram")
}

// tokenText reads a token of tokenizer_config.json.
func tokenText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var o struct {
		Content string `json:"content"`
	}
	_ = json.Unmarshal(raw, &o) // null and other kinds mean: none
	return o.Content
}

// configure reads the files beside tokenizer.json.
func (h hfLoader) configure(config, specials, generation []byte) error {
	var c, s hfConfig
	if err := unmarshalOptional(config, &c, "tokenizer_config.json"); err != nil {
		return err
	}
	if err := unmarshalOptional(specials, &s, "special_tokens_map.json"); err != nil {
		return err
	}
	set := func(id *int32, texts ...json.RawMessage) {
		for _, raw := range texts {
			if text := tokenText(raw); text != "" {
				if v, ok := h.ID(text); ok {
					*id = v
					return
				}
			}
		}
	}
	set(&h.bos, c.BOS, s.BOS)
	set(&h.eos, c.EOS, s.EOS)
	set(&h.pad, c.Pad, s.Pad)
	set(&h.unk, c.Unk, s.Unk)
	// Llama's and Gemma's classes make the start token by this flag, whatever the post-processor says.
	if strings.HasPrefix(c.Class, "Llama") || strings.HasPrefix(c.Class, "Gemma") || strings.HasPrefix(c.Class, "CodeLlama") {
		if c.AddBOS != nil {
			h.prefix = nil
			if *c.AddBOS && h.bos != noToken {
				h.prefix = []int32{h.bos}
			}
		}
		if c.AddEOS != nil {
			h.suffix = nil
			if *c.AddEOS && h.eos != noToken {
				h.suffix = []int32{h.eos}
			}
		}
	}
	ends := []int32{h.eos}
	var g struct {
		EOS json.RawMessage `json:"eos_token_id"`
	}
	if err := unmarshalOptional(generation, &g, "generation_config.json"); err != nil {
		return err
	}
	var list []int64
	var one int64
	if json.Unmarshal(g.EOS, &list) != nil && json.Unmarshal(g.EOS, &one) == nil {
		list = []int64{one}
	}
	for _, id := range list {
		if id >= 0 && id < int64(len(h.voc.text)) {
			ends = append(ends, int32(id))
		}
	}
	if h.bos == noToken && len(h.prefix) > 0 {
		h.bos = h.prefix[0]
	}
	h.setEOG(ends)
	return nil
}

func unmarshalOptional(data []byte, v any, name string) error {
	if len(data) == 0 {
		return nil
	}
	if err := json.Unmarshal(data, v); err != nil {
		return &fault.Error{Kind: fault.BadFile, Thing: name, Value: "malformed", WayOut: "download it again", Err: err}
	}
	return nil
}

// takeByteLevelNormalizer turns a ByteLevel normalizer into the byte-level mark: the model here works on bytes anyway.
func takeByteLevelNormalizer(t *Tokenizer, byteLevel bool) ([]stage, bool) {
	k := slices.IndexFunc(t.norm, func(n normalizer) bool { _, ok := n.(byteLevelMark); return ok })
	if k >= 0 {
		t.norm = slices.Delete(t.norm, k, k+1)
		byteLevel = true
		// What follows sees GPT-2's alphabet.
		for i := range t.stages {
			if t.stages[i].cut != nil {
				t.stages[i].cut = mappedSplitter{t.stages[i].cut}
			}
		}
	}
	return t.stages, byteLevel
}
