// Package bench measures a model on this machine: prompt and decode speed by cache type and depth, each beside the floor that the machine sets (bytes that must move,
// operations that must be done) and beside what the cache type costs in quality. It also measures the machine itself and the products of a model's matrices one by one.
//
// Results are typed, with units in the names of fields and in their JSON. The package prints nothing and judges nothing: that is left to the caller.
package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kvcache"
)

// Options says what to measure. Zero values of lists leave that part out.
type Options struct {
	Load     lowkey.Options // threads, memory, weights, activations; KV, Context and Sequences are set by each part
	KV       []string       // cache types, each measured alone
	SkipKV   bool           // leave a type out that this model cannot have, instead of failing
	Prompts  []int          // lengths of prompts, for prefill: from an empty cache, and after the rows of each depth
	Depths   []int          // rows of context before the first token of a prompt, or the first decoded one
	Decode   int            // tokens decoded at each depth
	Reps     int            // runs of everything; the median counts. At least 1
	Batch    *BatchOptions  // several sequences together
	Quality  *QualityOptions
	NoFloor  bool // do not measure the machine: no floors, no shares
	Progress func(text string)
}

// Report is everything that was measured.
type Report struct {
	Model       string    `json:"model"`
	Weights     int64     `json:"weight_bytes"` // packed
	Activations string    `json:"activations"`
	Numerics    string    `json:"numerics"`
	Threads     int       `json:"threads"`
	Reps        int       `json:"reps"`
	Trained     int       `json:"trained_context"`
	PastTrained bool      `json:"past_trained_context"` // some timing went beyond the trained context: speed is right, text would not be
	Machine     *Machine  `json:"machine,omitempty"`
	KV          []*Result `json:"kv"`
	Notes       []string  `json:"notes,omitempty"`
}

// Result is what one cache type costs and gives.
type Result struct {
	KV            string   `json:"kv"`
	BytesPerToken int      `json:"kv_bytes_per_token"`
	Quality       *Quality `json:"quality,omitempty"`
	Prefill       []Speed  `json:"prefill,omitempty"`
	Decode        []Speed  `json:"decode,omitempty"`
	Line          *Slope   `json:"cost_by_depth,omitempty"` // with at least two depths
	Batch         *Batch   `json:"batch,omitempty"`
}

// Speed is one row: tokens after so many rows of context, one token a step (decode) or in steps of lowkey.StepTokens (prefill).
type Speed struct {
	Depth        int       `json:"depth"`
	Tokens       int       `json:"tokens"`
	TokensPerSec float64   `json:"tokens_per_second"`          // median
	MsPerToken   float64   `json:"ms_per_token"`               // of the median run
	Passes       float64   `json:"passes_per_token,omitempty"` // of prompts under fast numerics, where layers read higher ones
	Runs         []float64 `json:"runs_tokens_per_second"`
	Floor        *Floor    `json:"floor,omitempty"`
}

// Floor is the least time that the machine allows for what was measured.
type Floor struct {
	MsPerToken float64 `json:"ms_per_token"`
	Share      float64 `json:"share"`      // floor / measured: 1 would be perfect
	Bound      string  `json:"bound"`      // "bytes" or "operations"
	Bytes      int64   `json:"bytes"`      // that must be read, a token
	Gops       float64 `json:"gops"`       // operations, a token, a multiply-add counting two, in 10^9
	Bandwidth  float64 `json:"gb_per_sec"` // reading a working set of this size
}

// Run measures. It loads the model once for each cache type, and once more in f32 for quality.
func Run(ctx context.Context, path string, o Options) (*Report, error) {
	o.Reps = max(1, o.Reps)
	if len(o.KV) == 0 {
		return nil, fault.New(fault.BadInput, "bench", "no cache type", "", "name one with --kv")
	}
	for _, list := range [][]int{o.Prompts, o.Depths} {
		for _, n := range list {
			if n < 0 || n > MostTokens {
				return nil, fault.New(fault.BadInput, "bench", fmt.Sprintf("%d tokens", n), fmt.Sprintf("0 to %d", MostTokens), "")
			}
		}
	}
	o.Depths = slices.Compact(slices.Sorted(slices.Values(o.Depths)))
	o.Prompts = slices.DeleteFunc(slices.Clone(o.Prompts), func(n int) bool { return n == 0 })
	r := &Report{Model: path, Reps: o.Reps, Threads: o.Load.Threads, Activations: cmp.Or(o.Load.Activations, "int8"), Numerics: cmp.Or(o.Load.Numerics, lowkey.Exact)}
	if r.Threads <= 0 {
		r.Threads = runtime.GOMAXPROCS(0)
	}
	var m *Machine
	if !o.NoFloor {
		o.say("the machine: peaks")
		var err error
		if m, err = NewMachine(r.Threads); err != nil {
			return nil, err
		}
		defer m.Close()
		r.Machine = m
	}
	var ref *reference
	if o.Quality != nil {
		var err error
		if ref, err = newReference(ctx, path, &o); err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			r.Notes = append(r.Notes, "no quality: "+err.Error())
		} else {
			defer ref.Close()
			if ref.note != "" {
				r.Notes = append(r.Notes, ref.note)
			}
		}
	}
	for _, kv := range o.KV {
		err := one(ctx, path, kv, &o, r, ref)
		var f *fault.Error
		if o.SkipKV && errors.As(err, &f) && f.Kind == fault.Unsupported && strings.HasPrefix(f.Thing, "--kv") {
			r.Notes = append(r.Notes, "left out: "+f.Error())
			continue
		}
		if err != nil {
			return nil, err
		}
	}
	if m != nil && m.short {
		r.Notes = append(r.Notes, fmt.Sprintf("floors are of reading %s at most: the memory budget leaves no room for more", lowkey.Bytes(m.room)))
	}
	if slices.ContainsFunc(r.KV, (*Result).beatsFloor) {
		r.Notes = append(r.Notes, "a share above 100 % means that something else kept the machine busy while its floor was measured: measure again on a quiet machine")
	}
	return r, nil
}

// beatsFloor reports a share that cannot be, beyond what measuring twice explains.
func (res *Result) beatsFloor() bool {
	return slices.ContainsFunc(slices.Concat(res.Prefill, res.Decode), func(s Speed) bool { return s.Floor != nil && s.Floor.Share > 1.05 })
}

// MostTokens bounds what is asked for, so that a typing error is not an attempt to reserve a terabyte.
const MostTokens = 1 << 24

func (o *Options) say(format string, args ...any) {
	if o.Progress != nil {
		o.Progress(fmt.Sprintf(format, args...))
	}
}

// one measures one cache type.
func one(ctx context.Context, path, kv string, o *Options, r *Report, ref *reference) error {
	res := &Result{KV: kv}
	if ref != nil || len(o.Prompts) > 0 || len(o.Depths) > 0 {
		longest, deepest := slices.Max(append([]int{0}, o.Prompts...)), slices.Max(append([]int{0}, o.Depths...))
		rows := longest
		if len(o.Depths) > 0 {
			rows = deepest + max(longest, o.Decode)
		}
		if ref != nil {
			rows = max(rows, ref.cut.Window)
		}
		m, err := open(path, kv, rows, 1, o, r)
		if err != nil {
			return err
		}
		defer m.Close()
		res.BytesPerToken = m.Account.PerToken
		if ref != nil {
			o.say("%s: quality", kv)
			if res.Quality, err = ref.compare(ctx, m); err != nil {
				return err
			}
		}
		if err := speed(ctx, m, o, r.Machine, res); err != nil {
			return err
		}
	}
	if o.Batch != nil {
		m, err := open(path, kv, o.Batch.Prompt+o.Batch.Decode, o.Batch.Sequences, o, r)
		if err != nil {
			return err
		}
		defer m.Close()
		res.BytesPerToken = m.Account.PerToken
		if res.Batch, err = batch(ctx, m, o, r.Machine, kv); err != nil {
			return err
		}
	}
	r.KV = append(r.KV, res)
	return nil
}

// open loads the model for sequences of so many rows, beyond what it was trained for where that is asked.
func open(path, kv string, rows, sequences int, o *Options, r *Report) (*lowkey.Model, error) {
	o.say("%s: loading", kv)
	opt := o.Load
	opt.KV, opt.Context, opt.Sequences, opt.PastTrained, opt.Logits = kv, max(rows, 64), sequences, true, o.Quality != nil
	m, err := lowkey.Load(path, opt)
	if err != nil {
		return nil, err
	}
	if r.Machine != nil {
		r.Machine.within(m)
	}
	r.Weights, r.Trained = m.Engine.WeightBytes(), m.Engine.Model.Config.MaxPosition
	r.PastTrained = r.PastTrained || r.Trained > 0 && rows > r.Trained
	return m, nil
}

// ParseKV reads a list of cache types: "f16,q8,q4", or with types by stream, separated by blanks or semicolons, "f16 k=q8,v=q4". Each is checked for its form.
func ParseKV(text string) ([]string, error) {
	var list []string
	for _, part := range strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == ';' }) {
		if strings.Contains(part, "=") {
			list = append(list, part)
			continue
		}
		for _, name := range strings.Split(part, ",") {
			if name != "" {
				list = append(list, name)
			}
		}
	}
	for _, kv := range list {
		if _, err := kvcache.ParseSpec(kv); err != nil {
			return nil, err
		}
	}
	return list, nil
}
