package gofuncs

// A 5-gram model: the token that most often followed the last four, else the last three, and so on. What a table of the training text can do.

import (
	"context"
	"slices"
	"sort"
)

const order = 5

// NGram is a table of the training side. Order n keeps, for each context of n-1 tokens, the likeliest next one.
type NGram struct {
	contexts [order][]uint64 // by length of context: hashes, sorted
	next     [order][]int32
	encode   func(text string) []int32
	decode   func(ids []int32) string
}

// NewNGram counts the tokens. A context is known by 48 bits of its hash.
func NewNGram(tokens []int32, encode func(string) []int32, decode func([]int32) string) *NGram {
	m := &NGram{encode: encode, decode: decode}
	keys := make([]uint64, 0, len(tokens))
	for n := range order {
		keys = keys[:0]
		for i := n; i < len(tokens); i++ {
			keys = append(keys, hash(tokens[i-n:i])<<16|uint64(uint16(tokens[i])))
		}
		slices.Sort(keys)
		m.fill(n, keys)
	}
	return m
}

// fill keeps the most frequent token of each context; of equal ones the lowest.
func (m *NGram) fill(n int, keys []uint64) {
	for i := 0; i < len(keys); {
		context, best, bestCount := keys[i]>>16, int32(0), 0
		for i < len(keys) && keys[i]>>16 == context {
			from := i
			for i < len(keys) && keys[i] == keys[from] {
				i++
			}
			if i-from > bestCount {
				best, bestCount = int32(uint16(keys[from])), i-from
			}
		}
		m.contexts[n] = append(m.contexts[n], context)
		m.next[n] = append(m.next[n], best)
	}
}

func hash(tokens []int32) uint64 {
	h := uint64(14695981039346656037)
	for _, t := range tokens {
		h = (h ^ uint64(t)) * 1099511628211
		h ^= h >> 29
	}
	return h & (1<<48 - 1)
}

// Complete implements Completer.
func (m *NGram) Complete(ctx context.Context, prompt string, most int, more func(string) bool) (string, int, error) {
	ids := m.encode(prompt)
	start := len(ids)
	for len(ids) < start+most {
		if err := ctx.Err(); err != nil {
			return "", 0, err
		}
		ids = append(ids, m.after(ids))
		if text := m.decode(ids[start:]); !more(text) {
			return text, len(ids) - start, nil
		}
	}
	return m.decode(ids[start:]), most, nil
}

func (m *NGram) after(ids []int32) int32 {
	for n := min(order-1, len(ids)); n >= 0; n-- {
		h := hash(ids[len(ids)-n:])
		if i := sort.Search(len(m.contexts[n]), func(i int) bool { return m.contexts[n][i] >= h }); i < len(m.contexts[n]) && m.contexts[n][i] == h {
			return m.next[n][i]
		}
	}
	return 0
}
