// Package lowkey runs language models whose key-value cache is small, paged, accounted for and bounded to the byte.
//
//	m, err := lowkey.Load("SmolLM2-135M-Instruct.Q4_1.gguf", lowkey.Options{})
//	s := m.NewSession("")
//	for piece, err := range s.Chat(ctx, "Why is the sky blue?", lowkey.Generation{}, nil) { fmt.Print(piece.Text) }
//
// Load says what it will take before it takes it; a budget that is too small is an error that says what would fit. A Model is safe for use by one goroutine at a time.
package lowkey

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"os"
	"runtime"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model"
	"github.com/lowkeylm/lowkey/tensor"
	"github.com/lowkeylm/lowkey/tokenizer"
)

// Options of Load. The zero value is what the program uses: int8 activations, f16 cache, as much context as the model was trained for and memory allows.
type Options struct {
	KV          string // cache types, "f16" (default), "k=q8,v=q4", "latent=q8,rope=f16"
	Context     int    // longest sequence in tokens; 0 = the trained context, at most DefaultContext, less if the budget is smaller
	PastTrained bool   // allow a context beyond the trained one (for timing)
	Threads     int    // 0 = all cores
	Memory      int64  // bytes for packed weights + cache + scratch + heap; 0 = 90 % of MemoryLimit
	Weights     string // quantise matrices at load: "q8_0", "q4_0", ...; empty keeps the file's formats
	Activations string // "int8" (default) or "f32": arithmetic with quantised weights
	Numerics    string // "exact" (default): the same bits alone or in a batch, for any threads and chunking. "fast": prompts may go another way, within 1e-3 of the largest logit (see Fast)
	Sequences   int    // sequences that must fit at full context; 0 = 1
	Logits      bool   // Model.Logits will be called: its rows count in the budget
	HoldHeap    bool   // hold the Go heap of this process to its share of the memory budget while the model is open: see HeapLimit
	Progress    func(done, total int)
}

// check refuses numbers that an option cannot have.
func (o *Options) check() error {
	for _, n := range []struct {
		name        string
		value, most int64
	}{{"--ctx", int64(o.Context), math.MaxInt32}, {"--threads", int64(o.Threads), 1024}, {"--memory", o.Memory, math.MaxInt64}, {"sequences", int64(o.Sequences), math.MaxInt32}} {
		if n.value < 0 || n.value > n.most {
			return fault.New(fault.BadInput, n.name, fmt.Sprint(n.value), fmt.Sprintf("it is 1 to %d, or 0 for the default", n.most), "leave it out for the default")
		}
	}
	return nil
}

// DefaultContext bounds the context that is reserved when none is asked for.
const DefaultContext = 16384

// StepTokens is the most tokens that one step takes; longer prompts go in several.
const StepTokens = 256

// Model is a loaded model: weights packed, cache reserved.
type Model struct {
	Path      string
	Options   Options
	Engine    *model.Engine
	Tokenizer *tokenizer.Tokenizer // nil where the folder has none
	Account   *kvcache.Accounting
	Context   int // tokens that a sequence may have

	template       *ChatTemplate
	templateSource string
	m              *model.Model
	owned          bool // Close closes m
	pool           *kernel.Pool
	heap           int64 // bytes of the memory budget that are the Go heap's
	spare          int64 // and that nothing has claimed
	held           int64 // see Held
}

// Load opens a .gguf file or a Hugging Face folder and makes it ready to run.
func Load(path string, o Options) (*Model, error) {
	if err := kernel.LevelError(); err != nil {
		return nil, err
	}
	if files, ok := Carried(path); ok {
		return LoadFiles(path, files, o)
	}
	src, err := model.Open(path)
	if err != nil {
		return nil, err
	}
	m := &Model{Path: path, Options: o, m: src, owned: true}
	return m.loaded(m.loadText)
}

// Files are the contents of a model folder.
type Files struct{ Config, Weights, Tokenizer []byte } // config.json, model.safetensors, tokenizer.json

// carried are the models that the program has in itself.
var carried = map[string]func() Files{}

// Carry makes Load know a model by a name, unless there is a file or folder of that name. Packages that hold models call it when they are initialised; see package models.
func Carry(name string, files func() Files) { carried[name] = files }

// Carried returns the files of a model that the program carries under this name, unless there is a file or folder of that name.
func Carried(name string) (Files, bool) {
	files, ok := carried[name]
	if !ok {
		return Files{}, false
	}
	if _, err := os.Stat(name); err == nil {
		return Files{}, false
	}
	return files(), true
}

// LoadFiles makes a model ready whose files are in memory, as in a program that carries one. name stands in messages.
func LoadFiles(name string, f Files, o Options) (*Model, error) {
	if err := kernel.LevelError(); err != nil {
		return nil, err
	}
	src, err := model.FromBytes(name, f.Config, f.Weights)
	if err != nil {
		return nil, err
	}
	m := &Model{Path: name, Options: o, m: src, owned: true}
	return m.loaded(func() (err error) {
		m.Tokenizer, err = tokenizer.FromJSON(f.Tokenizer, nil)
		return err
	})
}

// Use makes an open model ready, such as one in training, as it is now; it stays the caller's. t may be nil: then it runs on token ids.
func Use(src *model.Model, t *tokenizer.Tokenizer, o Options) (*Model, error) {
	m := &Model{Path: src.Path, Options: o, Tokenizer: t, m: src}
	return m.loaded(func() error { return nil })
}

// loaded packs the weights and reserves the cache, or gives everything back.
func (m *Model) loaded(text func() error) (*Model, error) {
	if m.Options.Memory > 0 {
		m.heap = HeapBytes // while it is not known how much
	}
	m.hold()
	if err := m.load(text); err != nil {
		m.Close()
		return nil, err
	}
	m.hold()
	return m, nil
}

func (m *Model) load(text func() error) error {
	opt, err := m.engineOptions()
	if err != nil {
		return err
	}
	if err := text(); err != nil {
		return err
	}
	threads := m.Options.Threads
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	m.pool = kernel.NewPool(threads)
	opt.Pool = m.pool
	m.Engine, err = model.NewEngine(m.m, opt, m.Options.Progress)
	return err
}

// ParseFormat finds a weight format by its name.
func ParseFormat(name string) (*kernel.Format, error) {
	if name == "" || name == "file" {
		return nil, nil
	}
	for _, f := range []kernel.Format{kernel.F32, kernel.F16, kernel.BF16, kernel.Q8_0, kernel.Q4_0, kernel.Q4_1, kernel.Q5_0, kernel.Q5_1} {
		if strings.EqualFold(f.String(), name) {
			return &f, nil
		}
	}
	return nil, fault.New(fault.BadInput, "--weights "+name, "unknown format", "formats: f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1", "leave it out to keep the file's")
}

// ParseArith finds the arithmetic of quantised weights by its name.
func ParseArith(name string) (kernel.Arith, error) {
	switch name {
	case "", "int8":
		return kernel.ArithInt8, nil
	case "f32":
		return kernel.ArithF32, nil
	}
	return 0, fault.New(fault.BadInput, "--activations "+name, "unknown arithmetic", "int8 or f32", "")
}

// The two kinds of numerics. Exact: logits are equal to the bit however a prompt is cut and whatever else is in the batch. Fast: form and order of the arithmetic may depend on how many tokens a
// step has, and logits differ from those of exact by at most 1e-3 of the largest. What differs now: models in which a layer reads the rows of a higher one compute prompts in passes instead of
// token by token. Sessions and prefixes of the one are not mixed with those of the other: a prefix is not found, a saved session opens with a notice.
const (
	Exact = "exact"
	Fast  = "fast"
)

// ParseNumerics finds numerics by their name; "" is exact.
func ParseNumerics(name string) (fast bool, err error) {
	switch name {
	case "", Exact, Fast:
		return name == Fast, nil
	}
	return false, fault.New(fault.BadInput, "--numerics "+name, "unknown numerics", "exact or fast", "")
}

// Numerics are those that the model computes with, Exact or Fast.
func (m *Model) Numerics() string { return cmp.Or(m.Options.Numerics, Exact) }

// engineOptions decides context and cache budget from the accounting, before anything is allocated.
func (m *Model) engineOptions() (model.Options, error) {
	var opt model.Options
	var err error
	o := m.Options
	if err := o.check(); err != nil {
		return opt, err
	}
	if opt.Fast, err = ParseNumerics(o.Numerics); err != nil {
		return opt, err
	}
	if opt.Spec, err = kvcache.ParseSpec(o.KV); err != nil {
		return opt, err
	}
	if opt.Weights, err = ParseFormat(o.Weights); err != nil {
		return opt, err
	}
	if opt.Arith, err = ParseArith(o.Activations); err != nil {
		return opt, err
	}
	if m.Account, err = kvcache.Account(kvcache.Config{Layers: m.m.Layouts(), Spec: opt.Spec}); err != nil {
		return opt, err
	}
	weights, err := model.WeightBytes(m.m, opt)
	if err != nil {
		return opt, err
	}
	budget := o.Memory
	if budget == 0 {
		budget = MemoryLimit() / 10 * 9
	}
	scratch := m.scratchBytes() + HeapBytes
	trained := m.m.Config.MaxPosition
	m.Context = o.Context
	if m.Context == 0 {
		m.Context = DefaultContext
		if trained > 0 {
			m.Context = min(m.Context, trained)
		}
	}
	if trained > 0 && m.Context > trained && !o.PastTrained {
		return opt, fault.New(fault.OverBudget, "--ctx", fmt.Sprintf("%d tokens", m.Context), fmt.Sprintf("the model was trained for %d", trained), fmt.Sprintf("use --ctx %d or less", trained))
	}
	sequences := int64(max(1, o.Sequences))
	need := func(ctx int) int64 { return m.Account.Arena(sequences, ctx, StepTokens) }
	if budget > 0 && weights+scratch+need(m.Context) > budget {
		fits := m.fits(budget-weights-scratch, need)
		if o.Context > 0 || fits < 64 {
			wayOut := fmt.Sprintf("use --ctx %d or less, a smaller --kv type, or --memory %s", fits, Bytes(weights+scratch+need(m.Context)))
			if fits < 64 {
				wayOut = fmt.Sprintf("weights and scratch alone take %s: raise --memory or quantise with --weights", Bytes(weights+scratch))
			}
			return opt, fault.New(fault.OverBudget, "memory", fmt.Sprintf("%s for weights, %s for the cache of %d tokens, %s for scratch", Bytes(weights), Bytes(need(m.Context)), m.Context, Bytes(scratch)),
				"budget "+Bytes(budget), wayOut)
		}
		m.Context = fits
	}
	opt.MaxRows, opt.Budget = m.Context, need(m.Context)
	m.heap, m.spare = HeapBytes/4*3+m.scratchBytes(), math.MaxInt64 // a quarter is left to the program's own data and to what the collector is late for
	if budget > 0 {
		m.spare = budget - weights - scratch - opt.Budget
	}
	return opt, nil
}

func (m *Model) scratchBytes() int64 {
	rows := model.LogitRows
	if m.Options.Logits {
		rows = logitStep
	}
	return model.ScratchBytes(m.m.Config, StepTokens, rows, m.Options.Numerics == Fast)
}

// WithCache makes a model that shares m's weights and has a cache of its own of other types, with room for one sequence of m's context: to compare them side by side. What it
// takes counts against m's budget. The two take turns; close it before m.
func (m *Model) WithCache(kv string) (*Model, error) {
	spec, err := kvcache.ParseSpec(kv)
	if err != nil {
		return nil, err
	}
	c := *m
	c.Options.KV, c.owned, c.pool, c.held = kv, false, nil, 0
	if c.Account, err = kvcache.Account(kvcache.Config{Layers: m.m.Layouts(), Spec: spec}); err != nil {
		return nil, err
	}
	cache, scratch := c.Account.Arena(1, m.Context, StepTokens), m.scratchBytes()
	if cache+scratch > m.spare {
		return nil, fault.New(fault.OverBudget, "memory", fmt.Sprintf("%s for one more cache (%s) of %d tokens, %s for scratch", Bytes(cache), kv, m.Context, Bytes(scratch)),
			Bytes(m.spare)+" are left of the budget", "use a shorter --ctx, fewer --kv types, or more --memory")
	}
	if c.Engine, err = m.Engine.WithCache(spec, cache); err != nil {
		return nil, err
	}
	c.heap, c.spare = scratch, 0
	m.spare -= cache + scratch
	c.hold()
	return &c, nil
}

// Beside loads another model into what m leaves of its memory budget, all of which is the other's from then on. Close it before m.
func (m *Model) Beside(path string, o Options) (*Model, error) {
	o.Memory = max(1, m.spare)
	other, err := Load(path, o)
	if err == nil {
		m.spare = 0
		other.hold()
	}
	return other, err
}

// fits is the longest context whose cache takes no more than n bytes.
func (m *Model) fits(n int64, need func(int) int64) int {
	lo, hi := 0, m.Context
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if need(mid) <= n {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo / 64 * 64
}

// loadText finds tokenizer and template; a folder without a tokenizer runs on token ids alone.
func (m *Model) loadText() error {
	if g := m.m.GGUF; g != nil {
		var err error
		m.templateSource, _ = g.String("tokenizer.chat_template")
		m.Tokenizer, err = tokenizer.FromGGUF(g)
		return err
	}
	var err error
	m.Tokenizer, m.templateSource, err = openText(m.Path)
	return err
}

// ChatTemplate parses the model's template on first use; nil, nil for a base model.
func (m *Model) ChatTemplate() (*ChatTemplate, error) {
	if m.template == nil && m.templateSource != "" {
		t, err := newTemplate(m.Tokenizer, m.templateSource)
		if err != nil {
			return nil, err
		}
		m.template = t
	}
	return m.template, nil
}

// Vocab is the number of logits of a token.
func (m *Model) Vocab() int { return m.m.Config.Vocab }

// Logits runs a sequence and gives the logits of its tokens from, from+1, ... in turn. A row is valid until the next is asked for; an error comes as the last pair.
// Several models may be asked in turn.
func (m *Model) Logits(ctx context.Context, ids []int32, from int) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		if len(ids) > m.Context {
			yield(nil, fault.New(fault.OverBudget, "token ids", fmt.Sprintf("%d tokens", len(ids)), fmt.Sprintf("the context is %d", m.Context), "raise --ctx if the model allows more"))
			return
		}
		seq := m.Engine.Store.NewSequence("")
		defer seq.Close()
		for at := 0; at < len(ids); {
			feed := model.Feed{Sequence: seq, Tokens: ids[at:min(at+logitStep, len(ids))], All: true}
			if at < from {
				feed.Tokens, feed.All = ids[at:min(at+StepTokens, from)], false
			}
			err := ctx.Err()
			var y tensor.Buf
			if err == nil {
				y, err = m.Engine.Step([]model.Feed{feed})
			}
			if err != nil {
				yield(nil, err)
				return
			}
			m.held = max(m.held, seq.Bytes())
			for i := 0; feed.All && i < len(feed.Tokens); i++ {
				if !yield(y.Slice(i, i+1).Float32s(), nil) {
					return
				}
			}
			at += len(feed.Tokens)
		}
	}
}

// Held is the most that the pages of a sequence took in Logits so far, in bytes.
func (m *Model) Held() int64 { return m.held }

// logitStep bounds the rows of logits that are held at once: a vocabulary is wide.
const logitStep = 64

// Close gives all memory back.
func (m *Model) Close() {
	m.letGo()
	if m.Engine != nil {
		m.Engine.Close()
	}
	if m.pool != nil {
		m.pool.Close()
	}
	if m.owned {
		m.m.Close()
	}
}
