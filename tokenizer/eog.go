// This file knows which tokens end a generation. Files name one end token at best, yet chat models end their turns with others,
// so the well-known names count too.

package tokenizer

import "slices"

// endNames are the texts of tokens that end an answer, a turn or a text in published chat models.
var endNames = []string{
	"<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>", "<|endoftext|>",
	"<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>",
	"<|tool_response>", "<｜end▁of▁sentence｜>", "[e~[", "</s>",
}

// setEOG collects the end tokens: the given ids (noToken is skipped) and the known names among control and user-defined tokens.
func (t *Tokenizer) setEOG(ids []int32) {
	has := map[string]int32{}
	for _, name := range endNames {
		for _, a := range []*addedTokens{&t.added, &t.late} {
			if id, ok := a.exact(name); ok {
				has[name] = id
			}
		}
	}
	_, ret := has["<|return|>"]
	_, call := has["<|call|>"]
	_, calls := has["<|calls|>"]
	_, flush := has["<|flush|>"]
	if ret && call || calls && flush {
		delete(has, "<|end|>") // there it ends a message, not the answer
	}
	if _, ok := has["<|tool_response>"]; ok {
		delete(has, "</s>") // a plain token in Gemma 4
	}
	for _, id := range has {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	t.eog = slices.DeleteFunc(ids, func(id int32) bool { return id < 0 })
}
