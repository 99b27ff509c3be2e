// Package tokenizer turns text into token ids and back: byte-level BPE (GPT-2, Llama 3, Qwen ...), SentencePiece BPE and
// unigram with byte fallback, read from GGUF metadata or from a Hugging Face tokenizer.json.
//
// A Trainer learns a byte-level BPE vocabulary. The package will not render chat templates. WordPiece, RWKV and other models are refused by name.
package tokenizer

import (
	"slices"
	"strings"
)

// A Tokenizer is one loaded vocabulary with its rules. It is not changed after loading: any number of goroutines may use it.
type Tokenizer struct {
	voc    vocab
	model  model
	added  addedTokens // matched in the text as it is
	late   addedTokens // matched after normalisation
	norm   []normalizer
	stages []stage // the pre-tokenizer

	spaceMark bool   // tokens write a space as U+2581
	between   string // what Decode writes between tokens; "" but for files without a decoder
	stripHead int    // leading spaces that Decode takes off (put there by the encoder)

	prefix, suffix     []int32 // what the vocabulary wants around a text
	bos, eos, unk, pad int32
	eog                []int32 // sorted

	scratch scratchPool
	name    string
}

// model makes tokens of one piece of text.
type model interface {
	encode(sc *scratch, out []int32, text string) []int32
	wait() // returns when encode may be called: tables may be built in the background
}

// place tells where a fragment of text stands.
type place struct {
	first      bool // it begins the whole text
	afterToken bool // it begins the whole text or follows an added token
}

// normalizer rewrites a fragment before it is cut.
type normalizer interface {
	normalize(s string, at place) string
}

// stage is one step of the pre-tokenizer: a cut, or a rewriting of every piece.
type stage struct {
	cut     splitter
	rewrite normalizer
}

// EncodeOptions say how to read a text.
type EncodeOptions struct {
	Special bool // special tokens written in the text (<|im_start|>) are read as such; without it they are plain text
	AddBOS  bool // put the tokens in front that the vocabulary asks for (usually one, the start token; possibly none)
	AddEOS  bool // put the tokens behind that the vocabulary asks for (usually none)
}

// Encode gives the ids of a text. The text may be any bytes: what is not UTF-8 is kept where the vocabulary has bytes.
func (t *Tokenizer) Encode(text string, opt EncodeOptions) []int32 {
	return t.AppendEncode(make([]int32, 0, len(text)/4+8), text, opt)
}

// AppendEncode appends the ids of a text to ids.
func (t *Tokenizer) AppendEncode(ids []int32, text string, opt EncodeOptions) []int32 {
	if opt.AddBOS {
		ids = append(ids, t.prefix...)
	}
	t.model.wait()
	sc := t.scratch.take()
	at := place{first: true, afterToken: true}
	for start := 0; start < len(text); {
		m, ok := t.added.find(text, start, opt.Special)
		if !ok {
			m.from = len(text)
		}
		if m.from > start {
			ids = t.encodeFragment(sc, ids, text[start:m.from], at, opt.Special)
		}
		if !ok {
			break
		}
		ids = append(ids, m.id)
		start = m.to
		at = place{afterToken: true}
	}
	t.scratch.give(sc)
	if opt.AddEOS {
		ids = append(ids, t.suffix...)
	}
	return ids
}

// encodeFragment encodes text that holds no added tokens of the first kind.
func (t *Tokenizer) encodeFragment(sc *scratch, ids []int32, s string, at place, special bool) []int32 {
	for _, n := range t.norm {
		s = n.normalize(s, at)
	}
	if t.late.empty() {
		return t.encodePiece(sc, ids, s, 0, at)
	}
	for start := 0; start < len(s); {
		m, ok := t.late.find(s, start, special)
		if !ok {
			m.from = len(s)
		}
		if m.from > start {
			ids = t.encodePiece(sc, ids, s[start:m.from], 0, at)
		}
		if !ok {
			break
		}
		ids = append(ids, m.id)
		start = m.to
		at = place{afterToken: true}
	}
	return ids
}

// encodePiece runs the stages from number k on over s, then the model on every piece.
func (t *Tokenizer) encodePiece(sc *scratch, ids []int32, s string, k int, at place) []int32 {
	for ; k < len(t.stages); k++ {
		if t.stages[k].rewrite != nil {
			s = t.stages[k].rewrite.normalize(s, at)
			continue
		}
		base := len(sc.ends)
		sc.ends = t.stages[k].cut.split(sc.ends, s)
		top := len(sc.ends)
		if top == base+1 && sc.ends[base] == len(s) { // whole
			sc.ends = sc.ends[:base]
			continue
		}
		start := 0
		for i := base; i < top; i++ {
			end := sc.ends[i] // read anew: deeper stages may move the slice
			if end < 0 {
				start = ^end
				at = place{}
				continue
			}
			if k+1 == len(t.stages) {
				ids = t.model.encode(sc, ids, s[start:end])
			} else {
				ids = t.encodePiece(sc, ids, s[start:end], k+1, at)
			}
			start = end
			at.first = false
		}
		sc.ends = sc.ends[:base]
		return ids
	}
	return t.model.encode(sc, ids, s)
}

// Vocab is the number of ids: 0 ... Vocab()-1.
func (t *Tokenizer) Vocab() int { return len(t.voc.text) }

// BOS is the start token, -1 if there is none.
func (t *Tokenizer) BOS() int32 { return t.bos }

// EOS is the end token, -1 if there is none.
func (t *Tokenizer) EOS() int32 { return t.eos }

// Pad is the padding token, -1 if there is none.
func (t *Tokenizer) Pad() int32 { return t.pad }

// Unknown is the token for what the vocabulary cannot say, -1 if there is none.
func (t *Tokenizer) Unknown() int32 { return t.unk }

// AddsBOS says whether the vocabulary asks for a start token in front of a text.
func (t *Tokenizer) AddsBOS() bool { return len(t.prefix) > 0 }

// EOG gives the tokens that end a generation (end of text, end of turn ...), ascending. It must not be written to.
func (t *Tokenizer) EOG() []int32 { return t.eog }

// IsEOG says whether id ends a generation.
func (t *Tokenizer) IsEOG(id int32) bool {
	_, ok := slices.BinarySearch(t.eog, id)
	return ok
}

// Name describes the tokenizer in a few words: "BPE, pre-tokenizer smollm".
func (t *Tokenizer) Name() string { return t.name }

// Token gives the bytes that a token adds to a text, and whether it is special (start, end, roles, unknown). The bytes of one
// token may be no valid UTF-8. An id outside the vocabulary gives "" and false.
func (t *Tokenizer) Token(id int32) (text string, special bool) {
	if uint32(id) >= uint32(len(t.voc.text)) {
		return "", false
	}
	return string(t.appendToken(nil, id)), t.special(id)
}

// ID finds an added or special token by its text ("<|im_end|>"), or a plain token by its bytes.
func (t *Tokenizer) ID(text string) (int32, bool) {
	for _, a := range []*addedTokens{&t.added, &t.late} {
		if id, ok := a.exact(text); ok {
			return id, true
		}
	}
	if t.spaceMark {
		text = strings.ReplaceAll(text, " ", "▁")
	}
	return t.voc.id(text)
}

func (t *Tokenizer) special(id int32) bool {
	k := t.voc.kind[id]
	return k == control || k == unknown
}
