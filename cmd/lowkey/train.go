package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/plan"
	"github.com/lowkeylm/lowkey/tokenizer"
	"github.com/lowkeylm/lowkey/train"
	"github.com/lowkeylm/lowkey/train/data"
	"github.com/lowkeylm/lowkey/train/optim"
)

// corpusFlags say what a run reads.
type corpusFlags struct {
	spec      data.Spec
	tokenizer string
	vocab     int
}

func (f *corpusFlags) add(c *cobra.Command) {
	dataFlags(c, &f.spec)
	delete(c.Flags().Lookup("data").Annotations, cobra.BashCompOneRequiredFlag) // a resumed run has its own
	c.Flags().StringVar(&f.tokenizer, "tokenizer", "", "a tokenizer.json (default: one is learned from the data)")
	c.Flags().IntVar(&f.vocab, "vocab", 4096, "tokens of a tokenizer learned from the data")
}

// shapeFlags say what is trained.
type shapeFlags struct {
	shape  train.Shape
	params string
	fields map[string]string
}

func (f *shapeFlags) add(c *cobra.Command) {
	p, s := c.Flags(), &f.shape
	p.IntVar(&s.Hidden, "hidden", 256, "width of the model, d")
	p.IntVar(&s.Layers, "layers", 6, "layers, L")
	p.IntVar(&s.Context, "ctx", 0, "tokens of context (default: --seq)")
	p.StringVar(&f.params, "params", "", "parameters in all, as 10M (default: what MHA takes at this width and depth)")
	p.IntVar(&s.HeadDim, "head-dim", 0, "width of a head; MFA: the paper's C (default 64, MFA an eighth of --hidden)")
	p.IntVar(&s.FFN, "ffn", 0, "width of the gated MLP (default: what the budget leaves)")
	p.Float64Var(&s.Theta, "rope-theta", 0, "base of RoPE (default 10000)")
	p.BoolVar(&s.Untied, "untied", false, "an output matrix of its own instead of the embedding's")
}

// addDesign are the dimensions that belong to one design.
func (f *shapeFlags) addDesign(c *cobra.Command) {
	p, s := c.Flags(), &f.shape
	p.StringVar(&s.Design, "design", "mfa", "attention: "+strings.Join(train.Designs(), ", "))
	p.IntVar(&s.Heads, "heads", 0, "query heads (default: --hidden / --head-dim; MFA and TPA as many as the parameters of MHA buy, SQA half)")
	p.IntVar(&s.KVHeads, "kv-heads", 0, "gqa, gta: heads of keys and values (default a third of the heads); sqa: a quarter of --hidden / --head-dim")
	p.IntVar(&s.QRank, "q-rank", 0, "mfa: width of the query bottleneck (default half of --hidden); tpa: rank of the queries (6); mla: none")
	p.IntVar(&s.KVRank, "kv-rank", 0, "mla: width of the latent (default half of --hidden); tpa: rank of keys and values (2); lrkv: rank of the residuals (3/8 of a head)")
	p.StringVar(&s.Share, "share", "", "which layers read the rows of others: claF, mlkv:M, lckv:W, {pizza,sandwich,lasagna}-{bottom,middle,top}:N with N layers that own a cache, or a map as 0_0_2_2")
	p.IntVar(&s.RopeDim, "rope-dim", 0, "mla, gta: width of the rotary key (default half a head)")
	p.StringToStringVar(&f.fields, "field", nil, "further fields of config.json that the design reads, as v_rank=3 or shared_kv=true (lowkey designs NAME lists them)")
}

// finish reads what the flags give as text.
func (f *shapeFlags) finish(seq int) (err error) {
	if f.shape.Context == 0 {
		f.shape.Context = seq
	}
	if f.params != "" {
		if f.shape.Parameters, err = parseCount("--params", f.params); err != nil {
			return err
		}
	}
	f.shape.Fields = map[string]any{}
	for key, text := range f.fields {
		f.shape.Fields[key] = train.Field(text)
	}
	return nil
}

// recipeFlags say how it is trained.
type recipeFlags struct {
	settings      train.Settings
	tokens        string
	steps, warmup int
	lr, final     float64
	decay         int
	schedule      string
	every, valid  int
	threads       int
}

func (f *recipeFlags) add(c *cobra.Command) {
	p, s := c.Flags(), &f.settings
	p.IntVar(&s.Seq, "seq", 256, "tokens of a row")
	p.IntVar(&s.Batch, "batch", 16, "rows of a forward pass")
	p.IntVar(&s.Accumulate, "accumulate", 1, "forward passes of a step")
	p.StringVar(&f.tokens, "tokens", "", "tokens to train on, as 20M (train: the training text once, where neither this nor --steps is given)")
	p.IntVar(&f.steps, "steps", 0, "steps to train, instead of --tokens")
	p.StringVar(&s.Optimizer, "optimizer", "muon", "muon (Muon for hidden matrices, AdamW for the rest) or adamw")
	p.Float64Var(&f.lr, "lr", 0, "highest learning rate (default: 0.003 for adamw, 0.01 for muon)")
	p.StringVar(&f.schedule, "schedule", "cosine", "cosine, wsd (warm up, stay, decay) or constant")
	p.IntVar(&f.warmup, "warmup", 0, "steps of warm-up (default: 2 % of the steps, at least 10)")
	p.IntVar(&f.decay, "decay-steps", 0, "wsd: steps of the decay (default: a fifth)")
	p.Float64Var(&f.final, "final-lr", 0.1, "last learning rate, of the highest")
	p.Float64Var(&s.Decay, "weight-decay", 0.1, "weight decay of matrices (not of the embedding)")
	p.Float64Var(&s.Beta1, "beta1", 0.9, "AdamW's first beta")
	p.Float64Var(&s.Beta2, "beta2", 0.95, "AdamW's second beta")
	p.Float64Var(&s.Clip, "clip", 1, "most of the gradient's norm (0: no clipping)")
	p.Float64Var(&s.ZLoss, "z-loss", 0, "weight of the squared log-normaliser in the loss")
	p.Uint64Var(&s.Seed, "seed", 1, "of the weights and of the order of the data")
	p.BoolVar(&s.Recompute, "recompute", false, "keep no activations inside blocks: less memory, more time, the same bits")
	p.IntVar(&f.valid, "valid-every", 0, "steps between two looks at the validation side (default: 20 of them, at least 10 steps)")
	p.IntVar(&f.every, "checkpoint-every", 0, "steps between two checkpoints (default: as --valid-every)")
	p.IntVar(&f.threads, "threads", 0, "threads (default: all cores)")
}

// finish fills in what depends on the length of the run.
func (f *recipeFlags) finish() error {
	s := &f.settings
	steps := f.steps
	if f.tokens != "" {
		n, err := parseCount("--tokens", f.tokens)
		if err != nil {
			return err
		}
		steps = int((n + int64(s.Tokens()) - 1) / int64(max(1, s.Tokens())))
	}
	if steps <= 0 {
		return fault.New(fault.BadInput, "--tokens", "missing", "how long to train", "give --tokens 20M or --steps 1000")
	}
	lr := f.lr
	if lr == 0 {
		lr = map[string]float64{"adamw": 0.003, "muon": 0.01}[s.Optimizer]
	}
	s.Schedule = optim.Schedule{Shape: optim.Shape(f.schedule), Peak: lr, Warmup: f.warmup, Steps: steps, Final: f.final}
	if f.warmup == 0 {
		s.Schedule.Warmup = min(steps, max(10, steps/50))
	}
	if s.Schedule.Shape == optim.WSD {
		s.Schedule.Decay = f.decay
		if f.decay == 0 {
			s.Schedule.Decay = min(steps/5, steps-s.Schedule.Warmup)
		}
	}
	if f.valid == 0 {
		f.valid = max(10, steps/20)
	}
	if f.every == 0 {
		f.every = f.valid
	}
	if f.threads <= 0 {
		f.threads = runtime.GOMAXPROCS(0)
	}
	return s.Check()
}

// parseCount reads 20M, 1.5k, 300000.
func parseCount(flag, text string) (int64, error) {
	number, factor := text, 1.0
	if n := len(text); n > 0 {
		if f, ok := map[byte]float64{'k': 1e3, 'K': 1e3, 'm': 1e6, 'M': 1e6, 'g': 1e9, 'G': 1e9, 'b': 1e9, 'B': 1e9}[text[n-1]]; ok {
			number, factor = text[:n-1], f
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || v <= 0 || math.IsInf(v, 0) || v*factor > 1e15 {
		return 0, fault.New(fault.BadInput, flag+" "+text, "not a number", "as 300000, 500k, 20M or 1.5B", "")
	}
	return int64(v * factor), nil
}

type trainFlags struct {
	corpusFlags
	shapeFlags
	recipeFlags
	out, resume, start, prompt, save string
	profile                          string
	json                             bool
}

func trainCommand() *cobra.Command {
	f := &trainFlags{}
	c := &cobra.Command{
		Use:   "train --design DESIGN --data go|FOLDER|FILE [--tokens N]",
		Short: "Train a small-cache model from scratch",
		Long: `Train a model from scratch. The run's folder (--out) holds settings.json, the tokenizer, the logs (log.csv, log.jsonl), their picture (loss.svg),
the newest two checkpoints, and model/, which run, eval, bench and the others take. Ctrl-C saves and stops; --resume goes on bit for bit.

Sizes that are not given are chosen so that the parameters are those of MHA at the same width and depth, within 1 %.`,
		Example: `  lowkey train --design mfa --data go --tokens 20M
  lowkey train --design mfa --data notes.txt                     the text once
  lowkey train --design mla --data notes/ --hidden 128 --layers 4 --tokens 2M --out runs/notes
  lowkey train --resume runs/notes
  lowkey run -m runs/notes/model "Once upon"`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	f.corpusFlags.add(c)
	f.shapeFlags.add(c)
	f.shapeFlags.addDesign(c)
	f.recipeFlags.add(c)
	p := c.Flags()
	p.StringVarP(&f.out, "out", "o", "", "the run's folder (default: runs/DESIGN)")
	p.StringVar(&f.resume, "resume", "", "go on with the run in this folder; it has its settings")
	p.StringVar(&f.start, "start", "", "start from this model folder, or checkpoint of a run, its sizes and weights, instead of a fresh model (a new phase: the optimiser starts anew; --ctx changes its context)")
	p.Lookup("tokenizer").Usage = "a tokenizer.json (default: with --start the one beside that model, else one that is learned from the data)"
	p.IntVar(&f.settings.From, "from", 0, "with --start: the first batch of the data, where the earlier phase ended")
	p.StringVar(&f.prompt, "sample", "", "complete this text at every look at the validation side (default: the start of a validation document)")
	p.StringVar(&f.save, "save", "f32", "type of the weights in model/: f32, bf16, q8_0")
	p.BoolVar(&f.json, "json", false, "print each step as a line of JSON")
	p.StringVar(&f.profile, "cpuprofile", "", "write a CPU profile to this file")
	c.AddCommand(trainPlotCommand())
	return c
}

// trainPlotCommand draws what logs hold.
func trainPlotCommand() *cobra.Command {
	out := ""
	c := &cobra.Command{
		Use:     "plot RUN...",
		Short:   "Draw the loss of a run, or of phases that went on from one another, as SVG",
		Example: "  lowkey train plot runs/phase1 runs/phase2 -o loss.svg",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(_ *cobra.Command, dirs []string) error { return train.PicturePhases(out, dirs...) },
	}
	c.Flags().StringVarP(&out, "out", "o", "loss.svg", "the file to write")
	return c
}

func (f *trainFlags) run(c *cobra.Command) error {
	format, err := lowkey.ParseFormat(f.save)
	if err != nil || format == nil || *format != kernel.F32 && *format != kernel.BF16 && *format != kernel.Q8_0 {
		return fault.New(fault.BadInput, "--save "+f.save, "unknown type", "f32, bf16 or q8_0", "")
	}
	if f.resume != "" {
		return f.again(c)
	}
	if f.spec.Source == "" {
		return fault.New(fault.BadInput, "--data", "missing", "what to train on", "give --data go, a folder, a text file or a .jsonl file")
	}
	once := f.tokens == "" && f.steps == 0 // over the training text; how long that is will be seen
	recipe := f.recipeFlags
	if once {
		recipe.steps = 1 << 30
	}
	if err := recipe.finish(); err != nil {
		return err
	}
	if f.out == "" {
		f.out = filepath.Join("runs", f.shape.Design)
	}
	if _, err := train.ReadSettings(f.out); err == nil {
		return fault.New(fault.BadInput, "--out "+f.out, "holds a run", "", "go on with it by --resume "+f.out+", or give another folder")
	}
	if err := f.shapeFlags.finish(f.settings.Seq); err != nil {
		return err
	}
	f.shape.Vocab = f.vocab // as good as the tokenizer's for finding what cannot be, before hours of anything
	if f.start != "" {
		may := func(name string) bool { return !slices.Contains(sizing, name) }
		if err := refuseBeside(c.Flags(), "start", may, "the model to start from has its sizes", "leave it out, or train a fresh model without --start"); err != nil {
			return err
		}
		if f.start, err = carriedFolder(f.start, filepath.Join(f.out, "start")); err != nil {
			return err
		}
		if err := f.startsTokenizer(); err != nil {
			return err
		}
	} else if _, err := f.shape.Size(); err != nil {
		return err
	}
	set, tok, err := openCorpus(c.Context(), &f.corpusFlags, f.out, &f.settings)
	if err != nil {
		return err
	}
	defer set.Close()
	if once {
		f.steps = max(1, int(set.Train.Epoch(f.settings.Seq))/(f.settings.Batch*f.settings.Accumulate))
		fmt.Fprintf(os.Stderr, "the training text once: %s tokens in %d steps (--tokens says otherwise)\n", plan.Number(int64(f.steps)*int64(f.settings.Tokens())), f.steps)
	}
	if err := f.recipeFlags.finish(); err != nil {
		return err
	}
	f.shape.Vocab, f.shape.BOS, f.shape.EOS = tok.Vocab(), set.EndOfText(), set.EndOfText()
	if f.start != "" { // its sizes are what they are
		m, err := train.Source(f.start)
		if err != nil {
			return err
		}
		defer m.Close()
		if has := m.Config.Vocab; tok.Vocab() > has {
			return fault.New(fault.Mismatch, "--start "+f.start, fmt.Sprintf("a vocabulary of %d", has), fmt.Sprintf("the tokenizer has %d tokens", tok.Vocab()), "give the tokenizer.json that the model was trained with (--tokenizer)")
		}
		if c.Flags().Changed("ctx") {
			if err := m.SetContext(f.shape.Context); err != nil {
				return err
			}
		}
		f.settings.Model, f.settings.Start = m.ConfigJSON, f.start
	} else {
		sized, err := f.shape.Size()
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, sized.Chosen)
		f.settings.Model = sized.Config
	}
	return f.train(c.Context(), &f.settings, set, tok, *format)
}

// sizing are the flags that size a fresh model; a longer or shorter context changes no weight.
var sizing = []string{"design", "hidden", "layers", "params", "head-dim", "ffn", "rope-theta", "untied", "heads", "kv-heads", "q-rank", "kv-rank", "share", "rope-dim", "field"}

// refuseBeside is the error of the first flag that is given beside another one and may not be.
func refuseBeside(flags *pflag.FlagSet, other string, may func(name string) bool, limit, wayOut string) (err error) {
	flags.Visit(func(flag *pflag.Flag) {
		if err == nil && !may(flag.Name) {
			err = fault.New(fault.BadInput, "--"+flag.Name+" "+flag.Value.String(), "given with --"+other, limit, wayOut)
		}
	})
	return err
}

// startsTokenizer takes the tokenizer that lies with the model to start from, unless one is given: ids of another one would mean nothing to it.
func (f *trainFlags) startsTokenizer() error {
	if f.tokenizer != "" {
		return nil
	}
	dir := f.start
	st, err := os.Stat(dir)
	if err != nil {
		return fault.New(fault.BadInput, "--start "+dir, "cannot be opened", "", "give the model folder or checkpoint that lowkey train wrote").Because(err)
	}
	if !st.IsDir() {
		dir = filepath.Dir(dir)
	}
	f.tokenizer = train.TokenizerFile(dir)
	if _, err := os.Stat(f.tokenizer); err != nil {
		return fault.New(fault.BadInput, "--start "+f.start, "no tokenizer.json beside it", "", "give the model folder or checkpoint that lowkey train wrote, or the tokenizer it was trained with by --tokenizer").Because(err)
	}
	return nil
}

// whileResuming are the flags that decide no bit of a run; of data, where it lies now: its manifest must be the run's.
var whileResuming = []string{"resume", "data", "threads", "valid-every", "checkpoint-every", "sample", "save", "json", "cpuprofile"}

// again goes on with a run: its folder knows everything.
func (f *trainFlags) again(c *cobra.Command) error {
	may := func(name string) bool { return slices.Contains(whileResuming, name) }
	if err := refuseBeside(c.Flags(), "resume", may, "a run goes on with the settings it was started with", "leave it out, or start a new run"); err != nil {
		return err
	}
	s, err := train.ReadSettings(f.resume)
	if err != nil {
		return err
	}
	source, was := f.spec.Source, s.Data
	if f.spec = was; source != "" {
		f.spec.Source = source
	}
	f.out, f.tokenizer = f.resume, train.TokenizerFile(f.resume)
	set, tok, err := openCorpus(c.Context(), &f.corpusFlags, f.out, s)
	if err != nil {
		return err
	}
	defer set.Close()
	s.Data = was
	steps := s.Schedule.Steps
	f.valid = or(f.valid, max(10, steps/20))
	f.every, f.threads = or(f.every, f.valid), or(f.threads, runtime.GOMAXPROCS(0))
	format, _ := lowkey.ParseFormat(f.save)
	return f.train(c.Context(), s, set, tok, *format)
}

func or(v, otherwise int) int {
	if v > 0 {
		return v
	}
	return otherwise
}

// openCorpus reads the data with its tokenizer, which it trains and leaves in the run's folder where none is given.
func openCorpus(ctx context.Context, f *corpusFlags, dir string, s *train.Settings) (*data.Set, *tokenizer.Tokenizer, error) {
	set, tok, err := train.Corpus(ctx, f.spec, f.tokenizer, f.vocab, dir, func(text string) { fmt.Fprintln(os.Stderr, text) })
	if err != nil {
		return nil, nil, err
	}
	if now := set.Manifest(); s.Corpus != "" && s.Corpus != now {
		set.Close()
		return nil, nil, fault.New(fault.Mismatch, "--resume "+dir, "the data's manifest is "+now, "the run was started on "+s.Corpus,
			"bring the text back as it was, or begin a new phase on this one: --start "+filepath.Join(dir, "model"))
	}
	s.Data, s.Corpus = f.spec, set.Manifest()
	return set, tok, nil
}

// train runs until the end or Ctrl-C, and leaves model/ in the run's folder.
func (f *trainFlags) train(ctx context.Context, s *train.Settings, set *data.Set, tok *tokenizer.Tokenizer, save kernel.Format) error {
	t, err := train.Open(f.out, s, set, f.threads)
	if err != nil {
		return err
	}
	defer t.Close()
	steps, out := s.Schedule.Steps, filepath.Join(f.out, "model")
	began, from := time.Now(), t.Done()
	if from == steps {
		fmt.Fprintf(os.Stderr, "all %d steps are done; the model is in %s\n", steps, out)
		return t.Export(out, train.TokenizerFile(f.out), save)
	}
	if from > 0 {
		fmt.Fprintf(os.Stderr, "going on after step %d of %d\n", from, steps)
	}
	show := newProgress(from, steps, f.json)
	if f.profile != "" {
		w, err := os.Create(f.profile)
		if err != nil {
			return fault.New(fault.BadInput, "--cpuprofile "+f.profile, "cannot be made", "", "name a file in a folder that exists").Because(err)
		}
		defer w.Close()
		if err := pprof.StartCPUProfile(w); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	err = t.Run(ctx, f.every, f.valid, func(st *train.Step) error {
		show.step(st, time.Since(began)/time.Duration(st.Step-from)*time.Duration(steps-st.Step))
		if st.Valid == nil || f.json {
			return nil
		}
		text, err := t.Sample(ctx, tok, f.prompt)
		if err == nil && text != "" {
			show.note(text)
		}
		return err
	})
	show.end()
	if drawn := train.Picture(f.out); err == nil {
		err = drawn
	}
	if err != nil {
		return err
	}
	if err := t.Export(out, train.TokenizerFile(f.out), save); err != nil {
		return err
	}
	if t.Done() < steps {
		fmt.Fprintf(os.Stderr, "stopped after step %d of %d; go on with: lowkey train --resume %s\n", t.Done(), steps, f.out)
		return nil
	}
	fmt.Fprintf(os.Stderr, "%s tokens in %s, activations at most %s; the model is in %s\n", plan.Number(int64(steps-from)*int64(s.Tokens())), time.Since(began).Round(time.Second), lowkey.Bytes(t.PeakBytes()), out)
	return nil
}

// progress shows steps: a bar in a terminal, a line now and then in a file, JSON for programs.
type progress struct {
	bar   *progressbar.ProgressBar
	json  bool
	steps int
	last  time.Time
}

func newProgress(from, steps int, asJSON bool) *progress {
	p := &progress{json: asJSON, steps: steps}
	if !asJSON && term.IsTerminal(int(os.Stderr.Fd())) {
		p.bar = progressbar.NewOptions(steps, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetWidth(24), progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(false),
			progressbar.OptionThrottle(200*time.Millisecond))
		_ = p.bar.Set(from)
	}
	return p
}

const lineEvery = 10 * time.Second

func (p *progress) step(s *train.Step, left time.Duration) {
	if p.json {
		_ = json.NewEncoder(os.Stdout).Encode(s)
		return
	}
	text := fmt.Sprintf("loss %.3f  %s tokens/s  %s left", s.Loss, plan.Number(int64(s.PerSecond)), left.Round(time.Second))
	if p.bar != nil {
		p.bar.Describe(text)
		_ = p.bar.Set(s.Step)
	} else if time.Since(p.last) > lineEvery || s.Step == p.steps {
		p.last = time.Now()
		fmt.Fprintf(os.Stderr, "step %d of %d  %s\n", s.Step, p.steps, text)
	}
	if v := s.Valid; v != nil {
		p.note(fmt.Sprintf("step %d: validation loss %.4f, %.4f bits per byte", s.Step, v.Loss, v.BitsPerByte))
	}
}

// note prints lines above the bar.
func (p *progress) note(text string) {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintln(os.Stderr, text)
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Exit()
		fmt.Fprintln(os.Stderr)
	}
}
