// The sampler: one call a token. It keeps scratch between calls and allocates nothing once that has grown.
//
// It will not be used from several goroutines at once: one Sampler belongs to one sequence.
package sample

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/lowkeylm/lowkey/fault"
)

// Sampler chooses tokens for one sequence. Make it with New.
type Sampler struct {
	o    Options
	bias []bias
	pcg  *rand.Rand

	adjusted []float32   // [vocab] logits after bias and penalties
	seen     []int32     // [vocab] how often a token stands in the window; all zero between calls
	cands    []candidate // the tokens still in play
}

// candidate is a token that may be drawn. weight is exp((logit - largest) / temperature): 1 for the most likely token.
type candidate struct {
	id     int32
	logit  float32
	weight float64
}

// before is the order of likelihood; of equals the lower id comes first.
func (a candidate) before(b candidate) bool {
	return a.logit > b.logit || a.logit == b.logit && a.id < b.id
}

// New checks the options; an error is a *fault.Error of kind BadInput.
func New(o Options) (*Sampler, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	// PCG's second word only has to be fixed.
	return &Sampler{o: o, bias: sortedBias(o.LogitBias), pcg: rand.New(rand.NewPCG(o.Seed, 0x6c6f776b6579))}, nil
}

// Next chooses the token that follows history, the tokens so far, oldest first (the prompt may be among them; ids outside of
// the vocabulary are passed over). logits [vocab] is not changed. A random choice takes exactly one number from the generator.
// Errors: logits that are NaN or plus infinity, or leave no token, and a bias for a token the model does not have.
func (s *Sampler) Next(logits []float32, history []int32) (int32, error) {
	if err := s.checkBias(len(logits)); err != nil {
		return 0, err
	}
	logits = s.adjust(logits, history)
	best, err := largest(logits)
	if err != nil {
		return 0, err
	}
	if s.o.Greedy || s.o.Temperature == 0 {
		return best, nil
	}
	s.weigh(logits, logits[best])
	if s.o.TopP > 0 && s.o.TopP < 1 {
		s.topP()
	}
	if s.o.MinP > 0 {
		s.minP()
	}
	return s.draw(), nil
}

func (s *Sampler) checkBias(vocab int) error {
	if n := len(s.bias); n > 0 && int(s.bias[n-1].id) >= vocab {
		return fault.New(fault.BadInput, "logit bias", fmt.Sprintf("token %d", s.bias[n-1].id), fmt.Sprintf("the model has %d tokens", vocab), "drop the entry")
	}
	return nil
}

// adjust applies the bias and the penalties to a copy; without either it returns the logits themselves.
func (s *Sampler) adjust(logits []float32, history []int32) []float32 {
	repetition := s.o.RepetitionPenalty
	if repetition == 0 {
		repetition = 1
	}
	penalties := repetition != 1 || s.o.FrequencyPenalty != 0 || s.o.PresencePenalty != 0
	if len(s.bias) == 0 && (!penalties || len(history) == 0) {
		return logits
	}
	s.adjusted = append(s.adjusted[:0], logits...)
	for _, b := range s.bias {
		s.adjusted[b.id] += b.add
	}
	if !penalties {
		return s.adjusted
	}
	if w := s.o.RepetitionWindow; w > 0 && len(history) > w {
		history = history[len(history)-w:]
	}
	if len(s.seen) < len(logits) {
		s.seen = make([]int32, len(logits))
	}
	for _, id := range history {
		if id >= 0 && int(id) < len(logits) {
			s.seen[id]++
		}
	}
	for _, id := range history {
		if id < 0 || int(id) >= len(logits) || s.seen[id] == 0 {
			continue
		}
		l := float64(s.adjusted[id])
		if l > 0 {
			l /= repetition
		} else {
			l *= repetition
		}
		l -= s.o.FrequencyPenalty*float64(s.seen[id]) + s.o.PresencePenalty
		s.adjusted[id] = float32(l)
		s.seen[id] = 0 // each token once
	}
	return s.adjusted
}

// largest is the lowest id among the largest logits. It sees every logit, so it is also where broken ones are found.
func largest(logits []float32) (int32, error) {
	best, top := -1, math.Inf(-1)
	for i, l := range logits {
		v := float64(l)
		if v > top {
			best, top = i, v
		}
		if v != v || v > math.MaxFloat32 {
			return 0, fault.New(fault.BadFile, "the model's logits", fmt.Sprintf("token %d has %v", i, l), "every logit is a number",
				"check the model file's hash; if it is sound, try f32 activations")
		}
	}
	if best < 0 {
		return 0, fault.New(fault.BadInput, "the model's logits", fmt.Sprintf("none of %d tokens is possible", len(logits)), "at least one token has a logit above minus infinity",
			"ban fewer tokens by logit bias")
	}
	return int32(best), nil
}

// weigh fills the candidates: the TopK most likely tokens, most likely first, or all possible ones by id.
func (s *Sampler) weigh(logits []float32, top float32) {
	s.cands = s.cands[:0]
	if k := s.o.TopK; k > 0 && k < len(logits) {
		s.topK(logits, k)
	} else {
		for i, l := range logits {
			if l > float32(math.Inf(-1)) {
				s.cands = append(s.cands, candidate{id: int32(i), logit: l})
			}
		}
	}
	for i := range s.cands {
		c := &s.cands[i]
		// A difference of 0 stays 0 under a tiny temperature, so the most likely token always weighs 1.
		if d := float64(c.logit) - float64(top); d != 0 {
			c.weight = math.Exp(d / s.o.Temperature)
		} else {
			c.weight = 1
		}
	}
}

// topK keeps the k best in a heap whose root is the worst of them, so that most tokens cost one comparison.
func (s *Sampler) topK(logits []float32, k int) {
	heap := s.cands
	for i, l := range logits {
		c := candidate{id: int32(i), logit: l}
		switch {
		case l == float32(math.Inf(-1)):
		case len(heap) < k:
			heap = append(heap, c)
			for n := len(heap) - 1; n > 0 && heap[(n-1)/2].before(heap[n]); n = (n - 1) / 2 {
				heap[n], heap[(n-1)/2] = heap[(n-1)/2], heap[n]
			}
		case c.before(heap[0]):
			heap[0] = c
			for n := 0; ; {
				worst := n
				for child := 2*n + 1; child <= 2*n+2 && child < len(heap); child++ {
					if heap[worst].before(heap[child]) {
						worst = child
					}
				}
				if worst == n {
					break
				}
				heap[n], heap[worst] = heap[worst], heap[n]
				n = worst
			}
		}
	}
	s.cands = heap
	sortBest(s.cands)
}

func sortBest(cands []candidate) {
	slices.SortFunc(cands, func(a, b candidate) int {
		if a.before(b) {
			return -1
		}
		return 1 // ids differ, so no two are equal
	})
}

func total(cands []candidate) float64 {
	sum := 0.0
	for i := range cands {
		sum += cands[i].weight
	}
	return sum
}

// topP keeps the fewest most likely candidates whose weights reach TopP of the sum.
func (s *Sampler) topP() {
	sum := total(s.cands)
	// Sort only those that can be among them: all tokens below this weight together hold less than 1-p.
	floor := (1 - s.o.TopP) * sum / float64(len(s.cands))
	s.cands = slices.DeleteFunc(s.cands, func(c candidate) bool { return c.weight < floor })
	sortBest(s.cands)
	reached := 0.0
	for i := range s.cands {
		reached += s.cands[i].weight
		if reached >= s.o.TopP*sum {
			s.cands = s.cands[:i+1]
			return
		}
	}
}

// minP drops what is less likely than MinP times the most likely, whose weight is 1.
func (s *Sampler) minP() {
	s.cands = slices.DeleteFunc(s.cands, func(c candidate) bool { return c.weight < s.o.MinP })
}

// draw takes a candidate with a probability proportional to its weight.
func (s *Sampler) draw() int32 {
	left := s.pcg.Float64() * total(s.cands)
	for i := range s.cands {
		left -= s.cands[i].weight
		if left < 0 {
			return s.cands[i].id
		}
	}
	// Rounding may leave a hair: the last candidate that has any weight takes it.
	for i := len(s.cands) - 1; i > 0; i-- {
		if s.cands[i].weight > 0 {
			return s.cands[i].id
		}
	}
	return s.cands[0].id
}
