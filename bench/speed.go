package bench

// Speed of one sequence: prompts from an empty cache, and single tokens at increasing depths. The rows of a depth are computed once and used again by the next.

import (
	"context"
	"slices"
	"time"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model"
)

// runner is one sequence over a text long enough for everything.
type runner struct {
	ctx  context.Context
	m    *lowkey.Model
	seq  *kvcache.Sequence
	text []int32
	feed [1]model.Feed
}

func newRunner(ctx context.Context, m *lowkey.Model) (*runner, error) {
	ids, _, err := tokensOf(m, "")
	if err != nil {
		return nil, err
	}
	return &runner{ctx: ctx, m: m, seq: m.Engine.Store.NewSequence(""), text: repeat(ids, m.Context)}, nil
}

// to computes the text up to a row, so many tokens a step.
func (r *runner) to(rows, step int) error {
	for at := r.seq.Rows(); at < rows; at = r.seq.Rows() {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		r.feed[0] = model.Feed{Sequence: r.seq, Tokens: r.text[at:min(at+step, rows)]}
		if _, err := r.m.Engine.Step(r.feed[:]); err != nil {
			return err
		}
	}
	return nil
}

// rewind goes back (or on) to a row. Where sliding layers have given up what is needed, a published prefix may still have it; else it is computed again.
func (r *runner) rewind(rows int) error {
	if r.seq.Rows() > rows && r.seq.Truncate(rows) != nil {
		r.seq.Close()
		if rows > 0 {
			r.seq.Adopt(r.text[:rows])
		}
	}
	return r.to(rows, lowkey.StepTokens)
}

func speed(ctx context.Context, m *lowkey.Model, o *Options, machine *Machine, res *Result) error {
	if len(o.Prompts) == 0 && len(o.Depths) == 0 {
		return nil
	}
	r, err := newRunner(ctx, m)
	if err != nil {
		return err
	}
	defer r.seq.Close()
	var c *cost
	if machine != nil {
		if c, err = newCost(m, machine); err != nil {
			return err
		}
	}
	if err := r.to(min(lowkey.StepTokens, len(r.text)), lowkey.StepTokens); err != nil { // warms caches, clock and scratch
		return err
	}
	for _, n := range o.Prompts {
		if n == 0 {
			continue
		}
		o.say("%s: prompt of %d", res.KV, n)
		runs, before := make([]float64, o.Reps), m.Engine.Passes()
		for i := range runs {
			r.seq.Close()
			m.Engine.Store.ForgetPrefixes()
			start := time.Now()
			if err := r.to(n, lowkey.StepTokens); err != nil {
				return err
			}
			runs[i] = float64(n) / time.Since(start).Seconds()
		}
		s := newSpeed(0, n, runs)
		if m.Numerics() == lowkey.Fast {
			s.Passes = m.Engine.Passes().Since(before).PerToken()
		}
		if c != nil {
			var b bill
			chunk := lowkey.StepTokens
			for _, l := range m.Account.Layers {
				if l.Stage > 0 { // page by page
					chunk = m.Account.PageRows
				}
			}
			for at := 0; at < n; at += chunk {
				if err := c.step(&b, at, min(chunk, n-at), 1); err != nil {
					return err
				}
			}
			s.Floor = b.floor(n, s.MsPerToken)
		}
		res.Prefill = append(res.Prefill, s)
	}
	if o.Decode <= 0 {
		return nil
	}
	for _, depth := range o.Depths {
		o.say("%s: depth %d", res.KV, depth)
		runs := make([]float64, o.Reps)
		for i := range runs {
			if err := r.rewind(depth); err != nil {
				return err
			}
			start := time.Now()
			if err := r.to(depth+o.Decode, 1); err != nil {
				return err
			}
			runs[i] = float64(o.Decode) / time.Since(start).Seconds()
		}
		s := newSpeed(depth, o.Decode, runs)
		if c != nil {
			var b bill
			for i := range o.Decode {
				if err := c.step(&b, depth+i, 1, 1); err != nil {
					return err
				}
			}
			s.Floor = b.floor(o.Decode, s.MsPerToken)
		}
		res.Decode = append(res.Decode, s)
	}
	res.Line, err = lineOf(res.Decode, c)
	return err
}

func newSpeed(depth, tokens int, runs []float64) Speed {
	rate := median(runs)
	return Speed{Depth: depth, Tokens: tokens, TokensPerSec: rate, MsPerToken: 1e3 / rate, Runs: slices.Clone(runs)}
}

// lineOf fits the cost of a token against the rows it reads on average.
func lineOf(rows []Speed, c *cost) (*Slope, error) {
	if len(rows) < 2 {
		return nil, nil
	}
	x, y := make([]float64, len(rows)), make([]float64, len(rows))
	for i, s := range rows {
		x[i], y[i] = float64(s.Depth)+float64(s.Tokens+1)/2, s.MsPerToken
	}
	a, b := fitLine(x, y)
	l := &Slope{NsPerRow: 1e6 * b, MsAtZero: a, OffLine: offLine(x, y, a, b)}
	if c != nil {
		var err error
		if l.FloorNsPerRow, l.Bound, err = c.slope(x); err != nil {
			return nil, err
		}
		l.RowBytes, l.RowOps, l.RowOpsOfMHA = c.row(int(x[len(x)-1]))
		l.Ratio, l.Share = l.NsPerRow/l.FloorNsPerRow, l.FloorNsPerRow/l.NsPerRow
	}
	return l, nil
}
