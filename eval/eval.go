// Package eval measures what a model predicts: the perplexity of a text, how far one model's or cache type's predictions are from another's, the retrieval of a hidden number.
//
// Text is scored "teacher-forced": every token given the ones before it as written. Memory is bounded by the window, whatever the length of the text: logits pass row by row
// and are not kept. The package prints nothing and loads nothing.
package eval

import (
	"context"
	"fmt"
	"iter"
	"math"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/tokenizer"
)

// Model predicts tokens. *lowkey.Model is one, through the cached step.
type Model interface {
	// Logits runs a sequence and gives the logits of its tokens from, from+1, ... in turn: row i predicts token i+1. A row is valid until the next is asked for.
	Logits(ctx context.Context, ids []int32, from int) iter.Seq2[[]float32, error]
}

// Options of Text and Compare. The zero value scores the whole text in windows of DefaultWindow tokens, each token once.
type Options struct {
	Window   int                   // tokens of one sequence, start tokens included; 0 = DefaultWindow. The last is predicted, not run
	Stride   int                   // tokens that a window scores, its last ones; 0 = as many as there are, the cheapest. Fewer give every token more context
	Limit    int                   // most tokens scored; 0 = all
	Start    []int32               // tokens in front of each window, as a rule the start token; they are not scored
	Bytes    func(id int32) int    // bytes of text that a token stands for; nil: none are counted
	Progress func(done, total int) // tokens scored so far; may be nil
}

// DefaultWindow is the window where none is asked for.
const DefaultWindow = 1024

// TokenBytes counts the bytes of a tokenizer's tokens, for Options.Bytes.
func TokenBytes(t *tokenizer.Tokenizer) func(id int32) int {
	return func(id int32) int {
		text, _ := t.Token(id)
		return len(text)
	}
}

// StartTokens are the tokens that a vocabulary wants in front of a text, for Options.Start; usually one or none.
func StartTokens(t *tokenizer.Tokenizer) []int32 {
	return t.Encode("", tokenizer.EncodeOptions{AddBOS: true})
}

// Score is the likelihood of a text.
type Score struct {
	Tokens int     // scored
	Bytes  int     // of these tokens
	NLL    float64 // sum of -log p over these tokens, in nats
}

// MeanNLL is the mean negative log-likelihood of a token, in nats.
func (s Score) MeanNLL() float64 { return s.NLL / float64(s.Tokens) }

// Perplexity is e to the mean negative log-likelihood of a token. It depends on the vocabulary: models of different ones are compared by BitsPerByte.
func (s Score) Perplexity() float64 { return math.Exp(s.MeanNLL()) }

// BitsPerByte is what an ideal coder would spend on a byte of the text with this model.
func (s Score) BitsPerByte() float64 { return s.NLL / math.Ln2 / float64(s.Bytes) }

// Result is what one model makes of a text.
type Result struct {
	Score
	Divergence Divergence // from the reference; empty without one
}

// Text scores a text. With an error, a cancelled context among them, comes what was scored before it.
func Text(ctx context.Context, m Model, ids []int32, o Options) (Score, error) {
	_, r, err := Compare(ctx, nil, []Model{m}, ids, o)
	if len(r) == 0 {
		return Score{}, err
	}
	return r[0].Score, err
}

// Compare scores a text with several models side by side, token by token, and measures how far their predictions are from the reference's. All share one vocabulary.
// Without a reference (nil) they are only scored. With an error comes what was scored before it.
func Compare(ctx context.Context, reference Model, models []Model, ids []int32, o Options) (ref Score, results []Result, err error) {
	windows, total, err := o.cut(len(ids))
	if err != nil {
		return ref, nil, err
	}
	all := models
	if reference != nil {
		all = append([]Model{reference}, models...)
	}
	scores, results, done := make([]Score, len(all)), make([]Result, len(models)), 0
	finish := func(err error) (Score, []Result, error) {
		for i := range results {
			results[i].Score = scores[len(scores)-len(models)+i]
		}
		return scores[0], results, err
	}
	var p, probs distribution
	for _, w := range windows {
		fed := append(append([]int32{}, o.Start...), ids[w.begin:w.end-1]...)
		at := w.score
		err := lockstep(ctx, all, fed, len(fed)-(w.end-w.score), func(rows [][]float32) error {
			id := ids[at]
			bytes := 0
			if o.Bytes != nil {
				bytes = o.Bytes(id)
			}
			for i, row := range rows {
				q := &probs
				if i == 0 {
					q = &p
				}
				q.set(row)
				logProb := q.logProb(id)
				if math.IsNaN(logProb) || math.IsInf(logProb, 0) {
					return fault.New(fault.BadFile, "the model", fmt.Sprintf("log-probability %v at token %d of the text", logProb, at), "predictions must be numbers", "its weights may be damaged")
				}
				s := &scores[i]
				s.Tokens, s.Bytes, s.NLL = s.Tokens+1, s.Bytes+bytes, s.NLL-logProb
				if reference != nil && i > 0 {
					results[i-1].Divergence.add(&p, q)
				}
			}
			if at, done = at+1, done+1; o.Progress != nil && (done%progressStep == 0 || done == total) {
				o.Progress(done, total)
			}
			return nil
		})
		if err != nil {
			return finish(err)
		}
	}
	return finish(nil)
}

// progressStep is the number of tokens between two reports.
const progressStep = 64

// lockstep runs one sequence through all models and hands over their rows from row from on, one of each model at a time.
func lockstep(ctx context.Context, models []Model, ids []int32, from int, each func(rows [][]float32) error) error {
	next := make([]func() ([]float32, error, bool), len(models))
	for i, m := range models {
		pull, stop := iter.Pull2(m.Logits(ctx, ids, from))
		defer stop()
		next[i] = pull
	}
	rows := make([][]float32, len(models))
	for range len(ids) - from {
		for i, pull := range next {
			row, err, ok := pull()
			if err != nil {
				return err
			}
			if !ok {
				panic("eval: a model gave too few rows")
			}
			if len(row) != len(rows[0]) && i > 0 {
				return fault.New(fault.Mismatch, "the models' vocabularies", fmt.Sprintf("%d and %d tokens", len(rows[0]), len(row)), "", "compare models of one vocabulary")
			}
			rows[i] = row
		}
		if err := each(rows); err != nil {
			return err
		}
	}
	return nil
}
