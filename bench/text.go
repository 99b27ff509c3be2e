package bench

// The text that is measured on: the built-in one or a file's; repeated where a depth is longer than it.

import (
	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/eval"
)

// tokensOf encodes text ("" = the built-in one). A model without a tokenizer is given a fixed sequence of ids instead; natural is false then.
func tokensOf(m *lowkey.Model, text string) (ids []int32, natural bool, err error) {
	if text == "" && m.Tokenizer == nil {
		vocab := m.Vocab()
		ids = make([]int32, 1024)
		for i := range ids {
			ids[i] = int32(i * 7919 % vocab)
		}
		return ids, false, nil
	}
	if text == "" {
		text = eval.Prose
	}
	ids, err = m.EncodeText(text)
	return ids, true, err
}

// repeat makes n ids of some.
func repeat(ids []int32, n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = ids[i%len(ids)]
	}
	return out
}
