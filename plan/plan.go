// Package plan says what a model will take before anything is allocated: weights, cache by token, layer and sequence, and how many sequences of which length fit a
// budget. It reads a .gguf file, a model folder or a config.json alone, of every family that package config describes, whether it runs or not. Results are typed;
// printing is apart. It will not load a model and measures nothing.
package plan

import (
	"fmt"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model"
)

// Options of a plan.
type Options struct {
	Context  int // tokens; 0 = as trained, at most DefaultContext
	KV       string
	Memory   int64          // budget for weights, cache, scratch and heap; 0 = none is given
	From     string         // where Memory comes from, if nobody asked for it
	Heap     int64          // share of Memory that the program itself takes
	Step     int            // most tokens of a step; 0 = 256
	PageRows int            // 0 = kvcache.DefaultPageRows
	Weights  *kernel.Format // quantise at load; nil keeps the file's formats
	Arith    kernel.Arith   // of quantised weights
	Against  bool           // compare with every other cache type
}

// DefaultContext bounds the context of a plan that asks for none.
const DefaultContext = 16384

const defaultStep = 256

// Plan is the answer.
type Plan struct {
	Path    string  `json:"path"`
	Kind    string  `json:"kind"`
	Family  string  `json:"family"`
	Runs    bool    `json:"runs"`
	WhyNot  string  `json:"why_not,omitempty"`
	Trained int     `json:"trained_context"`
	Weights Weights `json:"weights"`
	KV      KV      `json:"kv"`
	Budget  *Budget `json:"budget,omitempty"`
	Against []Row   `json:"against,omitempty"`
}

// Weights is what they take.
type Weights struct {
	Parameters
	File  int64  `json:"file_bytes,omitempty"` // of the tensors as stored; 0 for a configuration alone
	Bytes int64  `json:"bytes"`                // once loaded; what the budget counts
	How   string `json:"how"`                  // where Bytes comes from
}

// KV is the cache at the chosen context.
type KV struct {
	Type string `json:"type"`
	Cache
	Formula  string  `json:"formula"`
	OfMHA    float64 `json:"of_mha"` // PerToken over that of full attention in f16
	Context  int     `json:"context"`
	Sequence int64   `json:"sequence"` // bytes of a sequence of Context tokens, at rest
	Slack    int64   `json:"slack"`    // of Sequence: ends of pages, rows behind windows
	Peak     int64   `json:"peak"`     // the most while it is filled
	Step     int     `json:"step"`     // by steps of so many tokens
}

// Budget is what fits.
type Budget struct {
	Memory  int64  `json:"memory"`
	From    string `json:"memory_from,omitempty"`
	Weights int64  `json:"weights"`
	Scratch int64  `json:"scratch"` // working memory of a step, and the program
	Left    int64  `json:"left"`    // for the cache; below 0 nothing fits
	Longest int    `json:"longest"` // tokens of one sequence, at most as trained
	Fits    []Fit  `json:"fits"`
}

// Fit is how many sequences of a length fit together.
type Fit struct {
	Tokens    int   `json:"tokens"`
	Each      int64 `json:"each"` // bytes of one, at rest
	Sequences int64 `json:"sequences"`
}

// Make plans. Errors are *fault.Error: a cache type that does not go with the model, a context beyond the trained one, a family that is not known.
func Make(f *Facts, o Options) (*Plan, error) {
	c := f.Config
	if c == nil {
		return nil, f.ConfigErr
	}
	if o.Step <= 0 {
		o.Step = defaultStep
	}
	p := &Plan{Path: f.Path, Kind: f.Kind, Family: Family(c), Runs: f.RunErr == nil, Trained: c.MaxPosition}
	if f.RunErr != nil {
		p.WhyNot = f.reason(f.RunErr)
	}
	context, err := contextOf(o.Context, c.MaxPosition)
	if err != nil {
		return nil, err
	}
	spec, err := kvcache.ParseSpec(o.KV)
	if err != nil {
		return nil, err
	}
	layouts := f.Layouts()
	k, err := NewCache(c, layouts, spec, o.PageRows)
	if err != nil {
		return nil, err
	}
	p.Weights = f.weights(o)
	p.KV = KV{Type: spec.String(), Cache: *k, Formula: Formula(k), OfMHA: k.PerToken / mhaBytes(c), Context: context, Sequence: k.Sequence(context), Slack: k.Slack(context), Peak: k.Peak(context, o.Step), Step: o.Step}
	if o.Memory > 0 {
		p.Budget = f.budget(p, k, o)
	}
	if o.Against {
		left := int64(0)
		if p.Budget != nil {
			left = p.Budget.Left
		}
		p.Against, err = against(c, layouts, p, left, o)
	}
	return p, err
}

func contextOf(asked, trained int) (int, error) {
	switch {
	case asked < 0:
		return 0, fault.New(fault.BadInput, "--ctx", fmt.Sprint(asked), "must be a number of tokens, 1 or more", "leave it out for the model's own")
	case asked == 0 && trained > 0:
		return min(trained, DefaultContext), nil
	case asked == 0:
		return DefaultContext, nil
	case trained > 0 && asked > trained:
		return 0, fault.New(fault.OverBudget, "--ctx", fmt.Sprintf("%d tokens", asked), fmt.Sprintf("the model was trained for %d", trained), fmt.Sprintf("use --ctx %d or less", trained))
	}
	return asked, nil
}

// weights says what the loaded weights take: exactly where the model runs, else as stored, else by formula.
func (f *Facts) weights(o Options) Weights {
	w := Weights{Parameters: f.Parameters(), File: f.TensorBytes()}
	packed, ok := f.PackedBytes(o.Weights, o.Arith)
	switch {
	case ok:
		w.Bytes, w.How = packed, "packed as the kernels read them"
	case o.Weights != nil:
		elems, size := o.Weights.Block()
		w.Bytes, w.How = w.Total/int64(elems)*int64(size), "parameters x "+bits(float64(8*size)/float64(elems))+" ("+strings.ToLower(o.Weights.String())+")"
	case w.File > 0 && f.Part == "":
		w.Bytes, w.How = w.File, "tensors as stored"
	default:
		n, name := weightBits(f.Config.DType, f.Config.Quantization)
		w.Bytes, w.How = w.Total*int64(n)/8, "parameters x "+name
	}
	return w
}

// weightBits is how a configuration says its weights are published.
func weightBits(dtype, quantization string) (n int, name string) {
	switch {
	case strings.HasPrefix(quantization, "fp8"):
		return 8, "8 bit (fp8)"
	case quantization != "":
		return 16, "16 bit (quantised by " + quantization + " to fewer: how many is not read)"
	}
	switch dtype {
	case "float64":
		return 64, "64 bit (float64)"
	case "float32":
		return 32, "32 bit (float32)"
	case "":
		return 16, "16 bit (the configuration names no type)"
	}
	return 16, "16 bit (" + dtype + ")"
}

func (f *Facts) budget(p *Plan, k *Cache, o Options) *Budget {
	b := &Budget{Memory: o.Memory, From: o.From, Weights: p.Weights.Bytes, Scratch: model.ScratchBytes(f.Config, o.Step, model.LogitRows, false) + o.Heap}
	b.Left = b.Memory - b.Weights - b.Scratch
	most := p.Trained
	if most == 0 {
		most = max(p.KV.Context, DefaultContext)
	}
	b.Longest = k.Longest(b.Left, most, o.Step)
	for _, n := range lengths(p.KV.Context) {
		b.Fits = append(b.Fits, Fit{n, k.Sequence(n), k.Fits(b.Left, n, o.Step)})
	}
	return b
}

// lengths are the sequence lengths that a plan shows: some usual ones, and the context.
func lengths(context int) []int {
	var out []int
	for _, n := range []int{512, 2048, 8192} {
		if n < context {
			out = append(out, n)
		}
	}
	return append(out, context)
}
