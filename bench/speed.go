package bench

// Speed of one sequence at increasing depths: single tokens, and prompts after what the cache holds. The rows of a depth are computed once: tokens decoded and prompts measured
// there are cut off again, and the last prompt's rows are the first of what the next depth needs.

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model"
	"github.com/lowkeylm/lowkey/model/config"
)

// runner is one sequence over a text long enough for everything.
type runner struct {
	ctx      context.Context
	m        *lowkey.Model
	cost     *cost // nil without floors
	seq      *kvcache.Sequence
	text     []int32
	feed     [1]model.Feed
	computed int    // tokens so far
	dir      string // a folder for the rows of a depth, of models that cannot cut them back; "" for others
	kept     int    // how many rows lie there
}

func newRunner(ctx context.Context, m *lowkey.Model, machine *Machine) (*runner, error) {
	ids, _, err := tokensOf(m, "")
	if err != nil {
		return nil, err
	}
	r := &runner{ctx: ctx, m: m, text: repeat(ids, m.Context)}
	if machine != nil {
		if r.cost, err = newCost(m, machine); err != nil {
			return nil, err
		}
	}
	if slices.ContainsFunc(m.Engine.Model.Config.Layers, func(l config.Layer) bool { return l.Attention.Window > 0 }) {
		r.dir, _ = os.MkdirTemp("", "lowkey-bench-*") // where there is no room for one, rows are computed again
	}
	r.seq = m.Engine.Store.NewSequence("")
	return r, nil
}

func (r *runner) close() {
	r.seq.Close()
	if r.dir != "" {
		os.RemoveAll(r.dir)
	}
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
		r.computed += r.seq.Rows() - at
	}
	return nil
}

// rewind goes back (or on) to a row. Where sliding layers have given up what is needed, it may have been kept; else a published prefix may still have it, or it is computed.
func (r *runner) rewind(rows int) error {
	if r.seq.Rows() > rows && r.seq.Truncate(rows) != nil {
		r.seq.Close()
		if rows > 0 && !r.restore(rows) {
			r.seq.Adopt(r.text[:rows])
		}
	}
	return r.to(rows, lowkey.StepTokens)
}

// keep writes the rows of now to a file, where cutting back to them will not do.
func (r *runner) keep() {
	if r.dir != "" && r.seq.Rows() > 0 && r.seq.Save(r.file(), nil) == nil {
		r.kept = r.seq.Rows()
	}
}

func (r *runner) restore(rows int) bool {
	if r.dir == "" || r.kept != rows {
		return false
	}
	if _, _, err := r.seq.Restore(r.file()); err != nil {
		r.seq.Close()
		return false
	}
	return true
}

func (r *runner) file() string { return filepath.Join(r.dir, "rows") }

func speed(ctx context.Context, m *lowkey.Model, o *Options, machine *Machine, res *Result) error {
	if len(o.Prompts) == 0 && (len(o.Depths) == 0 || o.Decode <= 0) {
		return nil
	}
	r, err := newRunner(ctx, m, machine)
	if err != nil {
		return err
	}
	defer r.close()
	return r.measure(o, res)
}

func (r *runner) measure(o *Options, res *Result) error {
	if err := r.to(min(lowkey.StepTokens, len(r.text)), lowkey.StepTokens); err != nil { // warms caches, clock and scratch
		return err
	}
	depths := o.Depths
	if len(o.Prompts) > 0 && !slices.Contains(depths, 0) {
		depths = slices.Insert(slices.Clone(depths), 0, 0)
	}
	for _, depth := range depths {
		o.say("%s: depth %d", res.KV, depth)
		if err := r.rewind(depth); err != nil {
			return err
		}
		r.keep()
		if o.Decode > 0 && slices.Contains(o.Depths, depth) {
			s, err := r.decode(depth, o.Decode, o.Reps)
			if err != nil {
				return err
			}
			res.Decode = append(res.Decode, s)
		}
		for _, n := range o.Prompts {
			o.say("%s: prompt of %d at depth %d", res.KV, n, depth)
			s, err := r.prompt(depth, n, o.Reps)
			if err != nil {
				return err
			}
			res.Prefill = append(res.Prefill, s)
		}
	}
	var err error
	res.Line, err = lineOf(res.Decode, r.cost)
	return err
}

// decode measures n tokens, one a step, after depth rows.
func (r *runner) decode(depth, n, reps int) (s Speed, err error) {
	runs := make([]float64, reps)
	for i := range runs {
		if err := r.rewind(depth); err != nil {
			return s, err
		}
		start := time.Now()
		if err := r.to(depth+n, 1); err != nil {
			return s, err
		}
		runs[i] = float64(n) / time.Since(start).Seconds()
	}
	s = newSpeed(depth, n, runs)
	if r.cost != nil {
		var b bill
		for i := range n {
			if err := r.cost.step(&b, depth+i, 1, 1); err != nil {
				return s, err
			}
		}
		s.Floor = b.floor(n, s.MsPerToken)
	}
	return s, nil
}

// prompt measures n tokens, as many a step as one takes, after depth rows: from nothing at depth 0, with no prefix to find.
func (r *runner) prompt(depth, n, reps int) (s Speed, err error) {
	runs := make([]float64, reps)
	var passes model.Passes
	for i := range runs {
		if depth == 0 {
			r.seq.Close()
			r.m.Engine.Store.ForgetPrefixes()
		}
		if err := r.rewind(depth); err != nil {
			return s, err
		}
		before, start := r.m.Engine.Passes(), time.Now()
		if err := r.to(depth+n, lowkey.StepTokens); err != nil {
			return s, err
		}
		runs[i] = float64(n) / time.Since(start).Seconds()
		p := r.m.Engine.Passes().Since(before)
		passes.Tokens, passes.Taken = passes.Tokens+p.Tokens, passes.Taken+p.Taken
	}
	s = newSpeed(depth, n, runs)
	if r.m.Numerics() == lowkey.Fast {
		s.Passes = passes.PerToken()
	}
	if r.cost != nil {
		page := 0
		for _, l := range r.m.Account.Layers {
			if l.Stage > 0 {
				page = r.m.Account.PageRows
			}
		}
		b, err := r.cost.prompt(depth, n, page)
		if err != nil {
			return s, err
		}
		s.Floor = b.floor(n, s.MsPerToken)
	}
	return s, nil
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
