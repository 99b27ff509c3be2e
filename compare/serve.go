package compare

// A trained model served from its real small cache: what a token takes, how fast it goes, and whether it finds what it saw.

import (
	"context"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/bench"
	"github.com/lowkeylm/lowkey/eval"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/plan"
)

// Served is what serving a model showed, with a cache in f16.
type Served struct {
	Elements      float64   `json:"cache_elements_per_token"`                 // by the design's formula, all layers; a fraction where rows merge tokens
	BytesPerToken float64   `json:"kv_bytes_per_token"`                       // by the accounting
	State         int64     `json:"state_bytes"`                              // that a sequence keeps however long it is
	Allocated     float64   `json:"kv_bytes_per_token_allocated"`             // pages held by a full context, divided by its tokens
	Prefill       float64   `json:"prefill_tokens_per_second"`                // of a prompt of half the trained context
	PrefillFast   float64   `json:"prefill_tokens_per_second_fast,omitempty"` // the same under fast numerics; of models in which layers read higher ones
	Decode        []AtDepth `json:"decode"`
	Passkey       *float64  `json:"passkey,omitempty"`     // share of hidden numbers that were found, anywhere in the trained context; nil where that is too short to hide one
	PasskeyNLL    float64   `json:"passkey_nll,omitempty"` // nats a token of the number
}

// AtDepth is decode speed with so many tokens in the cache.
type AtDepth struct {
	Depth  int     `json:"depth"`
	Speed  float64 `json:"tokens_per_second"`
	Beyond bool    `json:"beyond_trained_context,omitempty"`
}

func serve(ctx context.Context, model string, p *Plan, threads int) (s Served, err error) {
	circle, err := s.cache(ctx, model, p)
	if err != nil || len(p.Depths) == 0 {
		return s, err
	}
	o := bench.Options{KV: []string{"f16"}, Depths: p.Depths, Decode: 32, Reps: 3, NoFloor: true}
	o.Load.Threads = threads
	r, err := bench.Run(ctx, model, o)
	if err != nil {
		return s, err
	}
	for _, d := range r.KV[0].Decode {
		s.Decode = append(s.Decode, AtDepth{d.Depth, d.TokensPerSec, d.Depth+d.Tokens > r.Trained})
	}
	o.Depths, o.Prompts = nil, []int{max(1, p.Shape.Context/2)} // from an empty cache alone
	if r, err = bench.Run(ctx, model, o); err != nil {
		return s, err
	}
	s.Prefill = r.KV[0].Prefill[0].TokensPerSec
	if !circle {
		return s, nil
	}
	o.Load.Numerics = lowkey.Fast
	if r, err = bench.Run(ctx, model, o); err != nil {
		return s, err
	}
	s.PrefillFast = r.KV[0].Prefill[0].TokensPerSec
	return s, nil
}

// cache counts what a full context takes and lets the model look for numbers in it. circle: its layers read higher ones.
func (s *Served) cache(ctx context.Context, model string, p *Plan) (circle bool, err error) {
	f, err := plan.Read(model)
	if err != nil {
		return false, err
	}
	defer f.Close()
	spec, err := kvcache.ParseSpec("f16")
	if err != nil {
		return false, err
	}
	k, err := plan.NewCache(f.Config, f.Layouts(), spec, 0)
	if err != nil {
		return false, err
	}
	s.Elements, s.BytesPerToken, s.State = f.Config.CacheElementsPerToken(), k.PerToken, k.State
	m, err := lowkey.Load(model, lowkey.Options{KV: "f16"})
	if err != nil {
		return false, err
	}
	defer m.Close()
	if s.Allocated, err = allocated(ctx, m); err != nil {
		return false, err
	}
	return f.Config.Sequential(), s.passkey(ctx, m, p)
}

// allocated is the bytes a token that the pages of a full context hold.
func allocated(ctx context.Context, m *lowkey.Model) (float64, error) {
	q := m.NewSession("")
	defer q.Close()
	tokens := make([]int32, m.Context)
	for i := range tokens {
		tokens[i] = int32(i % m.Vocab())
	}
	err := q.Feed(ctx, tokens)
	return float64(q.Bytes()) / float64(len(tokens)), err
}

func (s *Served) passkey(ctx context.Context, m *lowkey.Model, p *Plan) error {
	o := eval.PasskeyOptions{Context: m.Context, Depths: []float64{0, 0.5, 1}, Seed: 1}
	if p.Settings.Data.Source == "go" {
		o.Form = "go"
	}
	found, err := eval.Passkey(ctx, m, m.Tokenizer, o)
	if fault.Is(err, fault.OverBudget) { // no room for a question
		return nil
	}
	if err != nil {
		return err
	}
	s.Passkey = new(float64)
	for _, f := range found {
		*s.Passkey += f.Accuracy() / float64(len(found))
		s.PasskeyNLL += f.NLL / float64(len(found))
	}
	return nil
}
