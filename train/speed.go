package train

// Training speed on random tokens: what a step costs, without data, logs or checkpoints.

import (
	"context"
	"math/rand/v2"

	"github.com/lowkeylm/lowkey/model"
	"github.com/lowkeylm/lowkey/train/data"
)

// Speed is what training of a shape reached on this machine.
type Speed struct {
	Parameters int64     `json:"parameters"`
	PerSecond  float64   `json:"tokens_per_second"` // of the median step
	Best       float64   `json:"best_tokens_per_second"`
	Steps      []float64 `json:"steps_tokens_per_second"`
	Tape       int64     `json:"activation_bytes"` // the most that activations and their gradients took
	Loss       float64   `json:"last_loss"`
}

// MeasureSpeed trains a shape for two steps to warm up and so many more. s says rows, tokens and optimiser.
func MeasureSpeed(ctx context.Context, shape Shape, s Settings, steps, threads int) (*Speed, error) {
	sized, err := shape.Size()
	if err != nil {
		return nil, err
	}
	s.Model, s.Schedule.Steps = sized.Config, steps+2
	if err := s.Check(); err != nil {
		return nil, err
	}
	m, err := model.New(sized.Config, s.Seed)
	if err != nil {
		return nil, err
	}
	t := assemble(&s, m, threads)
	defer t.Close()
	t.batch = func(i int) (*data.Batch, error) { return randomBatch(uint64(i), s.Batch, s.Seq, shape.Vocab), nil }
	out := &Speed{Parameters: sized.Parameters}
	for i := range steps + 2 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		st, err := t.one()
		if err != nil {
			return nil, err
		}
		if out.Loss = st.Loss; i >= 2 {
			out.Steps = append(out.Steps, st.PerSecond)
			out.Best = max(out.Best, st.PerSecond)
		}
	}
	out.PerSecond, out.Tape = median(out.Steps), t.PeakBytes()
	return out, nil
}

// randomBatch is rows of random tokens, each a document.
func randomBatch(seed uint64, rows, seq, vocab int) *data.Batch {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := &data.Batch{}
	for r := range rows {
		b.Starts = append(b.Starts, r*seq)
		for i := range seq {
			b.IDs, b.Pos = append(b.IDs, int32(rng.IntN(vocab))), append(b.Pos, i)
			b.Targets = append(b.Targets, int32(rng.IntN(vocab)))
		}
	}
	return b
}
