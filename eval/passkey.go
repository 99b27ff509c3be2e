package eval

// Passkey retrieval: a number is hidden at some depth of a long filler, and the end of the prompt asks for it (Mohtashami and Jaggi, arXiv 2305.16300). It tells whether a cache
// still holds what was said long ago. A trial is right if the greedy continuation is the number, token for token; that is seen in one pass over prompt and number.

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/tokenizer"
)

// Prose is a built-in text: some 650 words of plain prose with a list, numbers and a few lines of code.
//
//go:embed prose.txt
var Prose string

// declarations of Go, one after another with a blank line between.
//
//go:embed filler.go.txt
var declarations string

// PasskeyOptions says what to hide where.
type PasskeyOptions struct {
	Form     string    // "text" (default) or "go", for models of source code
	Context  int       // tokens of prompt and number at most; the filler is as long as that allows
	Depths   []float64 // places of the number: 0 = at the start, 1 = just before the question
	Trials   int       // at each depth, each with another number and another start of the filler; 0 = 10
	Seed     uint64
	Progress func(done, total int) // trials; may be nil
}

// Passkeys is the result at one depth.
type Passkeys struct {
	Depth  float64
	Trials int
	Right  int
	Tokens int     // mean length of the prompts
	NLL    float64 // mean negative log-likelihood of a token of the number, in nats: a finer measure where few or all are right
}

// Accuracy is the share of trials that were right.
func (p Passkeys) Accuracy() float64 { return float64(p.Right) / float64(p.Trials) }

// form is how the number is hidden and asked for. A prompt is head, filler, needle, filler, question; the number follows.
type form struct {
	head, needle, question string // needle has a %s where the number stands
	between                string // pieces of filler
	filler                 func() []string
}

// The last line of the Go form repeats the declaration as far as the number, which also a small model that knows only to copy can complete.
var forms = map[string]form{
	"text": {"There is important information hidden inside a lot of irrelevant text. Find it and remember it.\n\n", "The pass key is %s. Remember it. %[1]s is the pass key.",
		"\n\nWhat is the pass key? The pass key is", " ", sentences},
	"go": {"package main\n\n", "const passkey = %s", "\n\n// passkey, once more:\n//\n//\tconst passkey =", "\n\n", func() []string { return strings.Split(strings.TrimSpace(declarations), "\n\n") }},
}

// sentences of the prose; lists and code are left out.
func sentences() (list []string) {
	for _, line := range strings.Split(Prose, "\n") {
		if line == "" || strings.ContainsAny(line[:1], " 0123456789") {
			continue
		}
		for _, s := range strings.SplitAfter(line, ". ") {
			list = append(list, strings.TrimSpace(s))
		}
	}
	return list
}

// Passkey hides numbers and asks for them. On an error the results hold the depths that were finished.
func Passkey(ctx context.Context, m Model, t *tokenizer.Tokenizer, o PasskeyOptions) ([]Passkeys, error) {
	if o.Form == "" {
		o.Form = "text"
	}
	f, ok := forms[o.Form]
	if !ok {
		return nil, fault.New(fault.BadInput, "passkey form "+o.Form, "unknown", "text or go", "")
	}
	if o.Trials == 0 {
		o.Trials = 10
	}
	if o.Trials < 0 {
		return nil, fault.New(fault.BadInput, "passkey", fmt.Sprintf("%d trials", o.Trials), "at least 1", "")
	}
	h := hider{f, t, StartTokens(t), f.filler()}
	random := rand.New(rand.NewPCG(o.Seed, 0))
	var results []Passkeys
	var d distribution
	for i, depth := range o.Depths {
		if !(depth >= 0 && depth <= 1) {
			return results, fault.New(fault.BadInput, "depth", fmt.Sprint(depth), "0 to 1", "0 is the start of the prompt, 1 just before the question")
		}
		r := Passkeys{Depth: depth}
		tokens := 0
		for range o.Trials {
			ids, from, err := h.hide(number(random, h.filler), depth, random.IntN(len(h.filler)), o.Context)
			if err != nil {
				return results, err
			}
			right, nll, at := true, 0.0, from
			for row, err := range m.Logits(ctx, ids[:len(ids)-1], from-1) {
				if err != nil {
					return results, err
				}
				d.set(row)
				right = right && d.top == int(ids[at])
				nll -= d.logProb(ids[at])
				at++
			}
			r.Trials++
			r.NLL += nll / float64(len(ids)-from) / float64(o.Trials)
			tokens += from
			if right {
				r.Right++
			}
			if o.Progress != nil {
				o.Progress(i*o.Trials+r.Trials, len(o.Depths)*o.Trials)
			}
		}
		r.Tokens = tokens / o.Trials
		results = append(results, r)
	}
	return results, nil
}

// number draws five digits that stand nowhere in the filler.
func number(random *rand.Rand, filler []string) string {
	for {
		n := fmt.Sprint(10000 + random.IntN(90000))
		if !strings.Contains(strings.Join(filler, " "), n) {
			return n
		}
	}
}

// hider makes prompts.
type hider struct {
	form
	tokens *tokenizer.Tokenizer
	start  []int32
	filler []string
}

// hide gives the tokens of a prompt and its number, at most limit, and where the number begins. The filler begins with its piece number first.
func (h *hider) hide(number string, depth float64, first, limit int) (ids []int32, from int, err error) {
	text := func(pieces int) (prompt string) {
		before := int(math.Round(depth * float64(pieces)))
		parts := make([]string, 0, pieces+1)
		for i := range pieces + 1 {
			if i == before {
				parts = append(parts, fmt.Sprintf(h.needle, number))
			}
			if i < pieces {
				parts = append(parts, h.filler[(first+i)%len(h.filler)])
			}
		}
		return h.head + strings.Join(parts, h.between) + h.question
	}
	encode := func(text string) []int32 {
		return append(append([]int32{}, h.start...), h.tokens.Encode(text, tokenizer.EncodeOptions{})...)
	}
	full := func(pieces int) []int32 { return encode(text(pieces) + " " + number) }
	if n := len(full(0)); n > limit {
		return nil, 0, fault.New(fault.OverBudget, "passkey", fmt.Sprintf("%d tokens without any filler", n), fmt.Sprintf("the context is %d", limit), "use a longer --ctx")
	}
	lo, hi := 0, limit // a piece is at least a token
	for lo < hi {
		if mid := (lo + hi + 1) / 2; len(full(mid)) <= limit {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	ids = full(lo)
	for prompt := encode(text(lo)); from < len(prompt) && prompt[from] == ids[from]; {
		from++
	}
	for { // a blank that is a token of its own is given: whether the model would write "a number" first is not the question
		if piece, _ := h.tokens.Token(ids[from]); strings.ContainsAny(piece, number) {
			return ids, from, nil
		}
		from++
	}
}
