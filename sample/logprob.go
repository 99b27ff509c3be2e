// Log-probabilities of the model's own distribution: of the raw logits, before bias, penalties and temperature, as vLLM's
// default (raw_logprobs) and OpenAI's API report them.
package sample

import (
	"fmt"
	"math"

	"github.com/lowkeylm/lowkey/fault"
)

// LogProb is a token and the natural logarithm of its probability; minus infinity for an impossible one.
type LogProb struct {
	Token   int32
	LogProb float64
}

// LogProbs gives the chosen token's log-probability and the n most likely tokens, most likely first, ties by lower id
// (fewer if the vocabulary, or what is possible of it, is smaller). Errors: broken logits, as for Next; a chosen token
// outside of the vocabulary; n < 0.
func LogProbs(logits []float32, chosen int32, n int) (LogProb, []LogProb, error) {
	if chosen < 0 || int(chosen) >= len(logits) {
		return LogProb{}, nil, fault.New(fault.BadInput, "log-probability", fmt.Sprintf("of token %d", chosen), fmt.Sprintf("the model has %d tokens", len(logits)), "")
	}
	if n < 0 {
		return LogProb{}, nil, fault.New(fault.BadInput, "top log-probabilities", fmt.Sprint(n), "it is 0 or more", "use 0 for the chosen token alone")
	}
	best, err := largest(logits)
	if err != nil {
		return LogProb{}, nil, err
	}
	top := float64(logits[best])
	sum := 0.0
	for _, l := range logits {
		sum += math.Exp(float64(l) - top)
	}
	norm := top + math.Log(sum)
	var list []LogProb
	if n > 0 {
		s := Sampler{}
		s.topK(logits, min(n, len(logits)))
		for _, c := range s.cands {
			list = append(list, LogProb{c.id, float64(c.logit) - norm})
		}
	}
	return LogProb{chosen, float64(logits[chosen]) - norm}, list, nil
}
