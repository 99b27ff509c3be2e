package bench

// Several sequences together: all prompts, then one token of each sequence a step. Nothing is shared between them but the reading of the weights.

import (
	"context"
	"fmt"
	"time"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/model"
)

// BatchOptions asks for so many sequences of a prompt and decoded tokens.
type BatchOptions struct {
	Sequences, Prompt, Decode int
}

// Batch is what several sequences reach together. Rates are of the run whose total is the median.
type Batch struct {
	Sequences     int       `json:"sequences"`
	Prompt        int       `json:"prompt_tokens"`
	Decode        int       `json:"decoded_tokens"` // each
	TokensPerSec  float64   `json:"tokens_per_second"`
	PrefillPerSec float64   `json:"prefill_tokens_per_second"`
	DecodePerSec  float64   `json:"decode_tokens_per_second"` // of all sequences
	Runs          []float64 `json:"runs_tokens_per_second"`
	Floor         *Floor    `json:"floor,omitempty"` // of a token of the whole run
	DecodeFloor   *Floor    `json:"decode_floor,omitempty"`
}

func (o *BatchOptions) check() error {
	if o.Sequences < 1 || o.Sequences > 1<<12 || o.Prompt < 1 || o.Decode < 1 || o.Prompt+o.Decode > MostTokens {
		return fault.New(fault.BadInput, "bench", fmt.Sprintf("%d sequences of %d + %d tokens", o.Sequences, o.Prompt, o.Decode), "at least one of each", "")
	}
	return nil
}

func batch(ctx context.Context, m *lowkey.Model, o *Options, machine *Machine, kv string) (*Batch, error) {
	b := o.Batch
	if err := b.check(); err != nil {
		return nil, err
	}
	ids, _, err := tokensOf(m, "")
	if err != nil {
		return nil, err
	}
	texts := make([][]int32, b.Sequences)
	feeds := make([]model.Feed, b.Sequences)
	for i := range feeds {
		feeds[i].Sequence = m.Engine.Store.NewSequence(fmt.Sprint(i))
		defer feeds[i].Sequence.Close()
		texts[i] = repeat(ids[i*7%len(ids):], b.Prompt+b.Decode) // texts differ, prefixes are not shared
	}
	var prefill, decode []float64
	total := make([]float64, 0, o.Reps)
	for rep := range o.Reps + 1 { // the first warms up, with two tokens of each
		prompt, tokens := b.Prompt, b.Decode
		if rep == 0 {
			o.say("%s: %d sequences", kv, b.Sequences)
			prompt, tokens = 1, 1
		}
		for i := range feeds {
			feeds[i].Sequence.Close()
		}
		m.Engine.Store.ForgetPrefixes()
		start := time.Now()
		if err := prompts(ctx, m, feeds, texts, prompt); err != nil {
			return nil, err
		}
		middle := time.Now()
		for t := range tokens {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			for i := range feeds {
				feeds[i].Tokens = texts[i][prompt+t:][:1]
			}
			if _, err := m.Engine.Step(feeds); err != nil {
				return nil, err
			}
		}
		end := time.Now()
		if rep > 0 {
			n := float64(b.Sequences)
			total = append(total, n*float64(prompt+tokens)/end.Sub(start).Seconds())
			prefill = append(prefill, n*float64(prompt)/middle.Sub(start).Seconds())
			decode = append(decode, n*float64(tokens)/end.Sub(middle).Seconds())
		}
	}
	out := &Batch{Sequences: b.Sequences, Prompt: b.Prompt, Decode: b.Decode, TokensPerSec: median(total), Runs: total}
	for i, v := range total {
		if v == out.TokensPerSec {
			out.PrefillPerSec, out.DecodePerSec = prefill[i], decode[i]
		}
	}
	if machine != nil {
		if err := out.floors(m, machine); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// prompts computes all prompts; a step takes as many of them, or as much of one, as it has room for.
func prompts(ctx context.Context, m *lowkey.Model, feeds []model.Feed, texts [][]int32, n int) error {
	each := max(1, lowkey.StepTokens/n)
	for first := 0; first < len(feeds); first += each {
		some := feeds[first:min(first+each, len(feeds))]
		for at := 0; at < n; at += lowkey.StepTokens {
			if err := ctx.Err(); err != nil {
				return err
			}
			for i := range some {
				some[i].Tokens = texts[first+i][at:min(at+lowkey.StepTokens, n)]
			}
			if _, err := m.Engine.Step(some); err != nil {
				return err
			}
		}
	}
	return nil
}

func (out *Batch) floors(m *lowkey.Model, machine *Machine) error {
	c, err := newCost(m, machine)
	if err != nil {
		return err
	}
	var all, decode bill
	each := max(1, lowkey.StepTokens/out.Prompt)
	for first := 0; first < out.Sequences; first += each {
		for at := 0; at < out.Prompt; at += lowkey.StepTokens {
			if err := c.step(&all, at, min(lowkey.StepTokens, out.Prompt-at), min(each, out.Sequences-first)); err != nil {
				return err
			}
		}
	}
	for t := range out.Decode {
		for _, b := range []*bill{&all, &decode} {
			if err := c.step(b, out.Prompt+t, 1, out.Sequences); err != nil {
				return err
			}
		}
	}
	out.Floor = all.floor(out.Sequences*(out.Prompt+out.Decode), 1e3/out.TokensPerSec)
	out.DecodeFloor = decode.floor(out.Sequences*out.Decode, 1e3/out.DecodePerSec)
	return nil
}
