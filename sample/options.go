// Package sample turns a model's logits into the next token, gives log-probabilities, and cuts the answer at stop strings.
//
// This file has the options and what they may be. The order in which they act:
//
//	logit bias -> repetition, frequency, presence penalty -> [greedy: take the largest]
//	           -> temperature -> top-k -> top-p -> min-p -> draw
//
// It is the order of Hugging Face transformers (generation/utils.py). vLLM (v1/sample/sampler.py) agrees up to the temperature
// and applies min-p before top-k and top-p; llama.cpp's default chain has the same filters in the same order but the temperature
// last, so that there top-p and min-p see the untempered distribution. At temperature 1 all three keep the same tokens, but
// for vLLM when min-p and top-p are both on.
//
// It will not do beam search, grammars, mirostat, typical, XTC or DRY sampling.
package sample

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/lowkeylm/lowkey/fault"
)

// Options say how to choose a token. The zero value is greedy.
type Options struct {
	Greedy      bool    // take the most likely token, whatever the temperature; ties go to the lowest id
	Temperature float64 // >= 0: logits are divided by it; 0 means greedy
	TopK        int     // keep the k most likely tokens; 0 or -1: off
	TopP        float64 // in [0, 1]: keep the fewest tokens whose probabilities reach p; 0 or 1: off
	MinP        float64 // in [0, 1]: drop tokens less likely than MinP times the most likely; 0: off

	RepetitionPenalty float64 // in [0.01, 100]: divides a seen token's positive logit, multiplies a negative one; 0 or 1: off
	FrequencyPenalty  float64 // in [-2, 2]: times how often a token was seen, subtracted from its logit
	PresencePenalty   float64 // in [-2, 2]: subtracted once from a seen token's logit
	RepetitionWindow  int     // the three penalties look at the last so many tokens of the history; 0: at all of it

	LogitBias map[int32]float32 // added to a token's logit, in [-1e4, 1e4]; minus infinity bans the token
	Seed      uint64            // the same seed, options and logits give the same tokens
}

// check finds the first option that cannot be used. The comparisons are written so that NaN fails them.
func (o *Options) check() error {
	between := func(name string, v, lo, hi float64, wayOut string) error {
		if v >= lo && v <= hi {
			return nil
		}
		return fault.New(fault.BadInput, name, fmt.Sprint(v), fmt.Sprintf("it lies between %g and %g", lo, hi), wayOut)
	}
	if !(o.Temperature >= 0) || math.IsInf(o.Temperature, 1) {
		return fault.New(fault.BadInput, "temperature", fmt.Sprint(o.Temperature), "it is a finite number, 0 or more", "use 0 for greedy, 0.7 to 1 for usual sampling")
	}
	if o.TopK < -1 {
		return fault.New(fault.BadInput, "top-k", fmt.Sprint(o.TopK), "it is 1 or more, or 0 for off", "use 40, or 0 to keep all tokens")
	}
	if err := between("top-p", o.TopP, 0, 1, "use 0.95, or 1 to keep all tokens"); err != nil {
		return err
	}
	if err := between("min-p", o.MinP, 0, 1, "use 0.05, or 0 to keep all tokens"); err != nil {
		return err
	}
	if o.RepetitionPenalty != 0 {
		if err := between("repetition penalty", o.RepetitionPenalty, 0.01, 100, "use 1.1, or 1 for none"); err != nil {
			return err
		}
	}
	if err := between("frequency penalty", o.FrequencyPenalty, -2, 2, "use 0 for none"); err != nil {
		return err
	}
	if err := between("presence penalty", o.PresencePenalty, -2, 2, "use 0 for none"); err != nil {
		return err
	}
	if o.RepetitionWindow < 0 {
		return fault.New(fault.BadInput, "repetition window", fmt.Sprint(o.RepetitionWindow), "it is a number of tokens, 0 or more", "use 64, or 0 for the whole history")
	}
	for _, b := range sortedBias(o.LogitBias) {
		if ban := math.IsInf(float64(b.add), -1); b.id < 0 || !ban && !(b.add >= -1e4 && b.add <= 1e4) {
			return fault.New(fault.BadInput, "logit bias", fmt.Sprintf("token %d: %v", b.id, b.add),
				"a token id is 0 or more and a bias lies between -10000 and 10000, or is minus infinity", "drop the entry or use a bias between -100 and 100")
		}
	}
	return nil
}

type bias struct {
	id  int32
	add float32
}

// sortedBias lists the biases by id, so that errors do not depend on a map's order.
func sortedBias(m map[int32]float32) []bias {
	list := make([]bias, 0, len(m))
	for id, add := range m {
		list = append(list, bias{id, add})
	}
	slices.SortFunc(list, func(a, b bias) int { return cmp.Compare(a.id, b.id) })
	return list
}
