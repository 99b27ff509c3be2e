// This file writes a learned vocabulary as the tokenizer.json of Hugging Face's tokenizers, which FromJSON reads as well.

package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// PatternCode cuts source code into words: letters with at most one sign in front of them (" err", ".Println", "_test"), three digits
// at most, runs of signs, newlines together with the indentation of the line that they begin, other runs of spaces.
//
// Signs never take the newline with them: a prompt that ends in "{" then ends in the same token as in the middle of a text.
const PatternCode = patCode

// JSON gives tokenizer.json: no normaliser, Split by PatternCode and ByteLevel, BPE, EndOfText as the last id.
func (v *Learned) JSON() []byte {
	type object = map[string]any // members are written in the order of their names; order carries no meaning
	spelled := make([]string, len(v.tokens))
	for id, token := range v.tokens {
		spelled[id] = spell(token)
	}
	end := len(v.tokens)
	byteLevel := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
	var b bytes.Buffer
	fmt.Fprint(&b, "{\n  \"version\": \"1.0\",\n")
	for _, part := range []struct {
		name  string
		value any
	}{
		{"truncation", nil},
		{"padding", nil},
		{"added_tokens", []object{{"id": end, "content": EndOfText, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}}},
		{"normalizer", nil},
		{"pre_tokenizer", object{"type": "Sequence", "pretokenizers": []object{
			{"type": "Split", "pattern": object{"Regex": PatternCode}, "behavior": "Isolated", "invert": false}, byteLevel}}},
		{"post_processor", nil},
		{"decoder", byteLevel},
	} {
		fmt.Fprintf(&b, "  %q: %s,\n", part.name, plainJSON(part.value))
	}
	fmt.Fprint(&b, `  "model": {
    "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
    "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
    "vocab": {`)
	for id, token := range spelled {
		fmt.Fprintf(&b, "\n      %s: %d,", plainJSON(token), id)
	}
	fmt.Fprintf(&b, "\n      %s: %d\n    },\n    \"merges\": [", plainJSON(EndOfText), end)
	for i, m := range v.merges {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n      [%s, %s]", plainJSON(spelled[m[0]]), plainJSON(spelled[m[1]]))
	}
	fmt.Fprint(&b, "\n    ]\n  }\n}\n")
	return b.Bytes()
}

// ConfigJSON gives the tokenizer_config.json to lie beside tokenizer.json: it names the class and the end token.
func (v *Learned) ConfigJSON() []byte {
	return fmt.Appendf(nil, "{\n  \"tokenizer_class\": \"PreTrainedTokenizerFast\",\n  \"eos_token\": %s,\n  \"clean_up_tokenization_spaces\": false\n}\n", plainJSON(EndOfText))
}

// spell writes bytes in GPT-2's alphabet.
func spell(token string) string {
	var b strings.Builder
	for i := range len(token) {
		b.WriteRune(byteAlphabet.letters[token[i]])
	}
	return b.String()
}

// plainJSON is a value on one line, with < and > as they are.
func plainJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // maps, strings and numbers only
	}
	return bytes.TrimSpace(b.Bytes())
}
