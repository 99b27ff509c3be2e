package plan

// Inspect: what a file holds, for a person who wonders what it is.

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tokenizer"
)

// Inspection is the answer.
type Inspection struct {
	Path         string      `json:"path"`
	Kind         string      `json:"kind"`
	Name         string      `json:"name,omitempty"`
	Family       string      `json:"family"`
	Part         string      `json:"part,omitempty"` // of a split file
	FileBytes    int64       `json:"file_bytes,omitempty"`
	Parameters   *Parameters `json:"parameters,omitempty"`
	Quantization string      `json:"quantization,omitempty"`
	Types        []TypeShare `json:"tensor_types,omitempty"`
	Tensors      []Tensor    `json:"tensors,omitempty"`

	Hidden  int       `json:"hidden_size,omitempty"`
	Vocab   int       `json:"vocab_size,omitempty"`
	Layers  int       `json:"layers,omitempty"`
	Tied    bool      `json:"tied_embeddings"`
	Norm    string    `json:"norm,omitempty"`
	Trained int       `json:"trained_context,omitempty"`
	Pattern []Pattern `json:"pattern,omitempty"`

	KV *KVFacts `json:"kv,omitempty"`

	Tokenizer *TokenizerFacts `json:"tokenizer,omitempty"`
	Template  *TemplateFacts  `json:"chat_template,omitempty"`

	Runs   bool   `json:"runs"`
	WhyNot string `json:"why_not,omitempty"`
}

// TypeShare sums the tensors of one type.
type TypeShare struct {
	Type     string `json:"type"`
	Count    int    `json:"count"`
	Elements int64  `json:"elements"`
	Bytes    int64  `json:"bytes"`
}

// KVFacts is the cache at 16 bit.
type KVFacts struct {
	PerToken float64 `json:"bytes_per_token"`
	Formula  string  `json:"formula"`
	State    int64   `json:"state,omitempty"` // constant bytes of a sequence
	Windows  string  `json:"windows,omitempty"`
}

// TokenizerFacts describes a vocabulary.
type TokenizerFacts struct {
	Kind    string  `json:"kind,omitempty"`
	Vocab   int     `json:"vocab,omitempty"`
	AddsBOS bool    `json:"adds_bos"`
	BOS     *Token  `json:"bos,omitempty"`
	EOS     *Token  `json:"eos,omitempty"`
	Ends    []Token `json:"ends_generation,omitempty"`
	Note    string  `json:"note,omitempty"` // why there is none
}

// Token is an id and its text.
type Token struct {
	ID   int32  `json:"id"`
	Text string `json:"text"`
}

// TemplateFacts describes a chat template.
type TemplateFacts struct {
	Present   bool   `json:"present"`
	Bytes     int    `json:"bytes,omitempty"`
	FirstLine string `json:"first_line,omitempty"`
	Note      string `json:"note,omitempty"` // why there is none, or why it cannot be used
}

// Inspect describes an opened path. Nothing is refused here: what cannot be told is left out, with the reason.
func Inspect(f *Facts, tensors bool) *Inspection {
	in := &Inspection{Path: f.Path, Kind: f.Kind, Part: f.Part, FileBytes: f.Files, Runs: f.RunErr == nil}
	if f.RunErr != nil {
		in.WhyNot = f.reason(f.RunErr)
	}
	if len(f.Tensors) > 0 || f.Config != nil {
		p := f.Parameters()
		in.Parameters = &p
	}
	in.Types = typeShares(f.Tensors)
	in.Quantization = quantization(f, in.Types)
	if tensors {
		in.Tensors = f.Tensors
	}
	if f.GGUF != nil {
		in.Name, _ = f.GGUF.String("general.name")
		in.Family, _ = f.GGUF.String("general.architecture")
	}
	if f.Config != nil {
		in.describe(f)
	}
	in.Tokenizer, in.Template = text(f)
	return in
}

func (in *Inspection) describe(f *Facts) {
	c := f.Config
	in.Family, in.Hidden, in.Vocab, in.Layers, in.Trained = Family(c), c.Hidden, c.Vocab, len(c.Layers), c.MaxPosition
	in.Tied = c.TieEmbeddings
	if f.GGUF != nil && f.Part == "" {
		_, own := f.GGUF.Tensor("output.weight")
		in.Tied = !own
	}
	in.Norm = map[config.NormKind]string{config.RMSNorm: "RMSNorm", config.LayerNorm: "LayerNorm"}[c.Norm.Kind] + fmt.Sprintf(", eps %g", float32(c.Norm.Eps))
	for _, x := range []struct {
		on   bool
		text string
	}{{c.Norm.PlusOne, "factor 1 + w"}, {c.Norm.Weightless, "without weights"}, {c.SandwichNorms, "before and after each block"}, {c.PostNormOnly, "after each block"}, {c.Parallel, "blocks side by side"},
		{c.LaurelRank > 0, fmt.Sprintf("LAUREL of rank %d", c.LaurelRank)}, {c.AltUp.Streams > 0, fmt.Sprintf("%d residual streams", c.AltUp.Streams)}} {
		if x.on {
			in.Norm += ", " + x.text
		}
	}
	in.Pattern = Patterns(c)
	spec, _ := kvcache.ParseSpec("f16")
	k, err := NewCache(c, f.Layouts(), spec, 0)
	if err != nil {
		return
	}
	in.KV = &KVFacts{PerToken: k.PerToken, Formula: Formula(k), State: k.State, Windows: windows(k)}
}

// windows says which layers stop growing.
func windows(k *Cache) string {
	byWindow, order := map[int][]int{}, []int{}
	for i, l := range k.Layers {
		if l.Window > 0 {
			if byWindow[l.Window] == nil {
				order = append(order, l.Window)
			}
			byWindow[l.Window] = append(byWindow[l.Window], i)
		}
	}
	var parts []string
	for _, w := range order {
		parts = append(parts, fmt.Sprintf("%s of %d keep %s tokens and at most a page of %d more", plural(len(byWindow[w]), "layer"), len(k.Layers), Number(int64(w)), k.PageRows))
	}
	return strings.Join(parts, "; ")
}

func typeShares(tensors []Tensor) []TypeShare {
	by := map[string]*TypeShare{}
	for _, t := range tensors {
		s := by[t.Type]
		if s == nil {
			s = &TypeShare{Type: t.Type}
			by[t.Type] = s
		}
		s.Count++
		s.Elements += t.Elements
		s.Bytes += t.Bytes
	}
	var out []TypeShare
	for _, s := range by {
		out = append(out, *s)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Bytes != out[j].Bytes {
			return out[i].Bytes > out[j].Bytes
		}
		return out[i].Type < out[j].Type
	})
	return out
}

// quantization names the type that holds most bytes and the bits a weight takes over all.
func quantization(f *Facts, types []TypeShare) string {
	if f.Config != nil && f.Config.Quantization != "" {
		return f.Config.Quantization
	}
	if len(types) == 0 {
		return ""
	}
	var bytes, elements int64
	for _, t := range types {
		bytes, elements = bytes+t.Bytes, elements+t.Elements
	}
	if bytes == 0 || elements == 0 {
		return ""
	}
	return fmt.Sprintf("mostly %s (%.0f %% of the bytes), %.2f bits a weight over all", types[0].Type, 100*float64(types[0].Bytes)/float64(bytes), 8*float64(bytes)/float64(elements))
}

// text describes tokenizer and template; nil, nil for a configuration file.
func text(f *Facts) (*TokenizerFacts, *TemplateFacts) {
	if f.Kind == KindConfig && strings.HasSuffix(f.Path, ".json") {
		return nil, nil
	}
	tf, cf := &TokenizerFacts{}, &TemplateFacts{}
	t, err := lowkey.OpenTokenizer(f.Path)
	if err != nil {
		tf.Note = f.reason(err)
	} else {
		tf.Kind, tf.Vocab, tf.AddsBOS, tf.BOS, tf.EOS = t.Name(), t.Vocab(), t.AddsBOS(), token(t, t.BOS()), token(t, t.EOS())
		for _, id := range t.EOG() {
			tf.Ends = append(tf.Ends, *token(t, id))
		}
	}
	c, err := lowkey.OpenTemplate(f.Path)
	source := ""
	switch {
	case err == nil:
		source = c.Source
	case f.GGUF != nil: // there may be one that cannot be used
		source, _ = f.GGUF.String("tokenizer.chat_template")
		cf.Note = f.reason(err)
	default:
		cf.Note = f.reason(err)
	}
	if source != "" {
		cf.Present, cf.Bytes, cf.FirstLine = true, len(source), firstLine(source)
	}
	return tf, cf
}

func token(t *tokenizer.Tokenizer, id int32) *Token {
	if id < 0 {
		return nil
	}
	s, _ := t.Token(id)
	return &Token{id, strings.ToValidUTF8(s, "?")}
}

// firstLine is the first line that holds something, at most 100 characters of it.
func firstLine(source string) string {
	for _, line := range strings.Split(source, "\n") {
		line = strings.ToValidUTF8(strings.TrimSpace(line), "?")
		if utf8.RuneCountInString(line) > 100 {
			line = string([]rune(line)[:97]) + "..."
		}
		if line != "" {
			return line
		}
	}
	return ""
}
