package model

// A step in parts: a cache that stores pages as a whole takes a prompt page by page, so that a query sees its own page's rows as they are staged and earlier pages sealed, whatever the
// steps were. Rows are reserved before the first part, so that a step happens whole or not at all; many sequences go side by side.

import (
	"slices"

	"github.com/lowkeylm/lowkey/tensor"
)

// inParts reports whether some feed's tokens cannot go together.
func inParts(feeds []Feed) bool {
	return slices.ContainsFunc(feeds, func(f Feed) bool { return f.Sequence.Step(len(f.Tokens)) < len(f.Tokens) })
}

// runParts runs feeds part by part and collects the logits in the order of Step. Rows are reserved.
func (e *Engine) runParts(feeds []Feed) tensor.Buf {
	vocab := e.Model.Config.Vocab
	rows := 0
	first := make([]int, len(feeds)) // row of a feed's first logits
	done := make([]int, len(feeds))  // tokens
	for i, f := range feeds {
		first[i] = rows
		if rows++; f.All {
			rows += len(f.Tokens) - 1
		}
	}
	e.logits = slices.Grow(e.logits[:0], rows*vocab)[:rows*vocab]
	var now []Feed
	var to []int // rows of the first logits of now; -1: none are wanted
	for {
		now, to = now[:0], to[:0]
		for i, f := range feeds {
			n := f.Sequence.Step(len(f.Tokens) - done[i])
			if n == 0 {
				continue
			}
			now = append(now, Feed{Sequence: f.Sequence, Tokens: f.Tokens[done[i]:][:n], All: f.All})
			switch done[i] += n; {
			case f.All:
				to = append(to, first[i]+done[i]-n)
			case done[i] == len(f.Tokens):
				to = append(to, first[i])
			default:
				to = append(to, -1)
			}
		}
		if len(now) == 0 {
			return tensor.BufOf(rows, vocab, e.logits)
		}
		e.lay(now, func(i int) bool { return to[i] >= 0 })
		y := e.run(now).Float32s()
		for i, f := range now {
			n := 1
			if f.All {
				n = len(f.Tokens)
			}
			if to[i] >= 0 {
				copy(e.logits[to[i]*vocab:], y[:n*vocab])
				y = y[n*vocab:]
			}
		}
	}
}
