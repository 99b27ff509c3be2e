package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/bench"
	"github.com/lowkeylm/lowkey/eval"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/plan"
)

// evalFlags are the flags of eval.
type evalFlags struct {
	modelFlags
	kvs, contexts words
	text, against string
	stride, limit int
	passkey       bool
	depths, form  string
	trials        int
	seed          uint64
}

// words is a flag that may be given several times; its values are joined by blanks.
type words string

func (w *words) String() string { return string(*w) }
func (w *words) Type() string   { return "string" }
func (w *words) Set(text string) error {
	*w = words(strings.TrimSpace(string(*w) + " " + text))
	return nil
}

func evalCommand() *cobra.Command {
	f := &evalFlags{}
	c := &cobra.Command{
		Use:   "eval -m MODEL {--text FILE | --passkey}",
		Short: "Measure how well a model predicts: perplexity, bits per byte, KL and top-1 by cache type, passkey retrieval",
		Long: `Measure how well a model predicts, through the same cached step that answers.

--text: every token of the text, given the ones before it, is scored once. The text is cut into windows of --ctx tokens, each with the model's start token in front where it
has one. A window scores its last --stride tokens; without --stride as many as fit, so that the first tokens of a window have little before them. A smaller stride gives each at
least ctx - stride - 1 tokens of context and costs ctx / stride times the work. The figures: perplexity and mean negative log-likelihood (nll, nats) of a token, which depend on
the vocabulary, and bits per byte, which does not.

--kv sweeps cache types, side by side on the same tokens. Beside each stand the bytes a token takes in the cache and what it costs: the mean Kullback-Leibler divergence
(nats) from the predictions of the model's own f32 cache, and how often both find the same token likeliest (top-1). The reference computes with f32 activations, so that the
cost of int8 ones is counted in, unless --activations f32 leaves the cache's alone. With --against MODEL2 another model of the same vocabulary is the reference, in f32 too, its
weights as in its file.

--passkey hides a five-digit number at several depths of a filler as long as each --ctx allows, and asks for it at the end; it is found if the model writes it greedily.
--form go hides it among Go declarations, for models of code.

Text must be UTF-8. Ctrl-C stops and prints what was measured so far.`,
		Example: `  lowkey eval -m model.gguf --text book.txt
  lowkey eval -m model.gguf --text book.txt --kv q8h,q4h --kv k=q8h,v=q4h --limit 2000
  lowkey eval -m small.gguf --text book.txt --against large.gguf --limit 2000
  lowkey eval -m model.gguf --text book.txt --weights q4_0 --against model.gguf --limit 2000
  lowkey eval -m model.gguf --text book.txt --ctx 512,2048 --stride 256
  lowkey eval -m model.gguf --passkey --ctx 512,1024 --kv f16,q4h
  cat *.go | lowkey eval -m coder.gguf --text - --passkey --form go`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.eval(c.Context()) },
	}
	f.add(c)
	p := c.Flags()
	kv, ctx := p.Lookup("kv"), p.Lookup("ctx")
	kv.Value, kv.Usage = &f.kvs, "cache types to compare: f16,q8,q4, or by stream, k=q8,v=q4; may be repeated (default: f16 alone, not compared)"
	ctx.Value, ctx.DefValue, ctx.Usage = &f.contexts, "", "tokens of a window, of the whole prompt for --passkey; several with commas (default: 1024, less if the model was trained for less)"
	p.StringVar(&f.text, "text", "", "the text to score: a file, or - for standard input")
	p.IntVar(&f.stride, "stride", 0, "tokens that a window scores, its last ones (default: as many as fit)")
	p.IntVar(&f.limit, "limit", 0, "score so many tokens at most (default: all)")
	p.StringVar(&f.against, "against", "", "compare with this model instead of the model's own f32 cache")
	p.BoolVar(&f.passkey, "passkey", false, "measure passkey retrieval")
	p.StringVar(&f.depths, "depths", "0,0.25,0.5,0.75,1", "places of the passkey: 0 = start of the prompt, 1 = just before the question")
	p.IntVar(&f.trials, "n", 10, "passkeys at each depth")
	p.StringVar(&f.form, "form", "text", "what hides the passkey: text or go")
	p.Uint64Var(&f.seed, "seed", 1, "seed of passkeys and filler")
	p.BoolVar(&f.json, "json", false, "print JSON")
	return c
}

// evalReport is what --json prints. Information is in nats where a name does not say otherwise.
type evalReport struct {
	Model       string           `json:"model"`
	Activations string           `json:"activations"`
	Numerics    string           `json:"numerics"`
	Reference   string           `json:"reference,omitempty"` // what KL and top-1 are against
	Interrupted bool             `json:"interrupted,omitempty"`
	Text        []*textReport    `json:"text,omitempty"`
	Passkey     []*passkeyReport `json:"passkey,omitempty"`
}

// textReport is one length of windows.
type textReport struct {
	File    string    `json:"file"`
	Context int       `json:"ctx"`
	Stride  int       `json:"stride"`
	Tokens  int       `json:"tokens_in_all"`
	Scored  int       `json:"tokens_scored"`
	Bytes   int       `json:"bytes_scored"`
	Seconds float64   `json:"seconds"`
	KV      []*kvLine `json:"kv"`
}

type kvLine struct {
	KV            string    `json:"kv"`
	Reference     bool      `json:"reference,omitempty"` // what the others are compared with
	BytesPerToken int       `json:"kv_bytes_per_token"`
	Held          int64     `json:"kv_bytes_held"` // pages of one full window
	NLL           float64   `json:"mean_nll"`
	Perplexity    float64   `json:"perplexity"`
	BitsPerByte   float64   `json:"bits_per_byte"`
	Quality       *evalCost `json:"quality,omitempty"` // none for the reference
}

type evalCost struct {
	MeanKL float64 `json:"mean_kl"`
	Error  float64 `json:"mean_kl_standard_error"`
	MaxKL  float64 `json:"max_kl"`
	Top1   float64 `json:"top1_agreement"`
}

type passkeyReport struct {
	KV            string        `json:"kv"`
	BytesPerToken int           `json:"kv_bytes_per_token"`
	Form          string        `json:"form"`
	Context       int           `json:"ctx"`
	Depths        []depthReport `json:"depths"`
}

type depthReport struct {
	Depth    float64 `json:"depth"`
	Right    int     `json:"right"`
	Trials   int     `json:"trials"`
	Accuracy float64 `json:"accuracy"`
	NLL      float64 `json:"mean_nll_of_the_number"`
	Tokens   int     `json:"mean_prompt_tokens"`
}

func (f *evalFlags) eval(ctx context.Context) error {
	if f.text == "" && !f.passkey {
		return fault.New(fault.BadInput, "eval", "nothing to measure", "", "give --text FILE, or --passkey")
	}
	kvs, err := bench.ParseKV(string(f.kvs))
	if err != nil {
		return err
	}
	contexts, err := f.windows()
	if err != nil {
		return err
	}
	if f.trials < 1 {
		return fault.New(fault.BadInput, "--n", fmt.Sprint(f.trials), "at least 1 passkey at each depth", "")
	}
	depths, err := parseDepths(f.depths)
	if err != nil {
		return err
	}
	text := ""
	if f.text != "" {
		if text, err = f.readText(f.text); err != nil {
			return err
		}
	}
	say, clear := progressLine()
	defer clear()
	say("loading")
	e := &evaluation{f: f, ctx: ctx, say: say, report: &evalReport{Model: f.path, Activations: cmp.Or(f.activations, "int8"), Numerics: cmp.Or(f.numerics, lowkey.Exact)}}
	defer e.close()
	if err := e.load(kvs, slices.Max(contexts)); err != nil {
		return err
	}
	for _, n := range contexts {
		if f.text != "" && err == nil {
			err = e.score(text, n)
		}
		if f.passkey && err == nil {
			err = e.retrieve(depths, n)
		}
	}
	clear()
	if ctx.Err() != nil {
		e.report.Interrupted = true
		err = errors.New("interrupted: the figures are of what was measured so far")
	} else if err != nil {
		return err
	}
	if f.json {
		return errors.Join(printJSON(e.report), err)
	}
	return errors.Join(e.report.print(os.Stdout), err)
}

// windows are the lengths asked for; by default one, eval.DefaultWindow, less if the model was trained for less.
func (f *evalFlags) windows() ([]int, error) {
	list, err := numbers("--ctx", string(f.contexts))
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		m, err := plan.Read(f.path)
		if err != nil {
			return nil, err
		}
		defer m.Close()
		list = []int{eval.DefaultWindow}
		if n := m.Config.MaxPosition; n > 0 {
			list[0] = min(list[0], n)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(list))), nil
}

func parseDepths(text string) (list []float64, err error) {
	for _, word := range strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' }) {
		d, err := strconv.ParseFloat(word, 64)
		if err != nil || !(d >= 0 && d <= 1) {
			return nil, fault.New(fault.BadInput, "--depths "+text, fmt.Sprintf("%q is no depth", word), "0 (start of the prompt) to 1 (just before the question)", "write 0,0.5,1")
		}
		list = append(list, d)
	}
	if len(list) == 0 {
		return nil, fault.New(fault.BadInput, "--depths", "none", "", "write 0,0.5,1")
	}
	return list, nil
}

// maxText bounds a text where --memory does not: it is held in memory, and so are its tokens.
const maxText = 1 << 30

// readText reads a file, or standard input for "-".
func (f *modelFlags) readText(path string) (string, error) {
	bad := func(value, limit, wayOut string) error {
		return fault.New(fault.BadInput, "--text "+path, value, limit, wayOut)
	}
	o, err := f.options()
	if err != nil {
		return "", err
	}
	most := int64(maxText)
	if o.Memory > 0 {
		most = min(most, max(lowkey.HeapBytes, o.Memory)/lowkey.TextShare)
	}
	in := os.Stdin
	if path != "-" {
		if in, err = os.Open(path); err != nil {
			return "", fault.New(fault.BadInput, "--text "+path, "cannot be read", "", "name a file that exists, or - for standard input").Because(err)
		}
		defer in.Close()
	}
	b, err := io.ReadAll(io.LimitReader(in, most+1))
	switch {
	case err != nil:
		return "", fault.New(fault.BadInput, "--text "+path, "cannot be read", "", "name a file that exists, or - for standard input").Because(err)
	case int64(len(b)) > most && o.Memory > 0:
		return "", bad("longer than "+lowkey.Bytes(most), "a text and its tokens are held in memory, in "+f.memory, "give a part of it (head -c), or raise --memory")
	case int64(len(b)) > most:
		return "", bad("longer than "+lowkey.Bytes(most), "a text is held in memory", "give a part of it (head -c)")
	case len(b) == 0:
		return "", bad("empty", "", "give a file with some text")
	case !utf8.Valid(b):
		at := 0
		for {
			if r, n := utf8.DecodeRune(b[at:]); r == utf8.RuneError && n == 1 {
				break
			} else {
				at += n
			}
		}
		return "", bad(fmt.Sprintf("byte %d is not UTF-8", at), "a text in another encoding would be measured as gibberish", "convert it, as with iconv -f latin1 -t utf8")
	}
	return string(b), nil
}

// evaluation is the models side by side and what they gave so far.
type evaluation struct {
	f         *evalFlags
	ctx       context.Context
	say       func(string)
	reference *lowkey.Model // nil: nothing is compared
	models    []*lowkey.Model
	all       []*lowkey.Model // to close, last first
	report    *evalReport
}

func (e *evaluation) close() {
	for _, m := range slices.Backward(e.all) {
		m.Close()
	}
}

// load opens the models: one set of weights with a cache of each type, and the reference if there is one.
func (e *evaluation) load(kvs []string, context int) error {
	o, err := e.f.options()
	if err != nil {
		return err
	}
	compared := e.f.text != "" && (len(kvs) > 0 || e.f.against != "")
	if len(kvs) == 0 {
		kvs = []string{"f16"}
	}
	o.Context, o.KV, o.Logits = context, kvs[0], true
	m, err := lowkey.Load(e.f.path, o)
	if err != nil {
		return err
	}
	e.all, e.models = append(e.all, m), append(e.models, m)
	for _, kv := range kvs[1:] {
		c, err := m.WithCache(kv)
		if err != nil {
			return err
		}
		e.all, e.models = append(e.all, c), append(e.models, c)
	}
	if !compared {
		return nil
	}
	switch e.report.Reference = "the model's own run in f32 (activations and cache)"; {
	case e.f.against != "":
		e.report.Reference = filepath.Base(e.f.against) + " in f32 (activations and cache)"
		o.Weights = "" // as in its file: --weights with --against the model itself measures quantised weights
		e.reference, err = loadReference(m, e.f.against, o)
	case e.report.Activations == "f32":
		e.reference, err = m.WithCache("f32")
	default:
		e.reference, err = loadReference(m, e.f.path, o)
	}
	if err != nil {
		return fmt.Errorf("the reference: %w", err)
	}
	e.all = append(e.all, e.reference)
	return nil
}

// loadReference loads a model in f32 into what m leaves of the budget.
func loadReference(m *lowkey.Model, path string, o lowkey.Options) (*lowkey.Model, error) {
	o.KV, o.Activations, o.Numerics = "f32", "f32", lowkey.Exact
	return m.Beside(path, o)
}

// score scores the text in windows of n tokens.
func (e *evaluation) score(text string, n int) error {
	m := e.models[0]
	ids, err := m.EncodeText(text)
	if err != nil {
		return err
	}
	o := eval.Options{Window: n, Stride: e.f.stride, Limit: e.f.limit, Start: eval.StartTokens(m.Tokenizer), Bytes: eval.TokenBytes(m.Tokenizer)}
	if e.f.against != "" && e.reference.Tokenizer != nil {
		if other, err := e.reference.EncodeText(text); err != nil || !slices.Equal(other, ids) {
			return fault.New(fault.Mismatch, "--against "+e.f.against, "its tokenizer makes other tokens of the text", "distributions over different vocabularies have no divergence", "compare both by bits per byte, each alone").Because(err)
		}
	}
	if o.Stride == 0 {
		o.Stride = n - max(1, len(o.Start))
	}
	ids = ids[len(o.Start):]
	start := time.Now()
	o.Progress = e.progress(start, fmt.Sprintf("windows of %d", n), "tokens")
	models := make([]eval.Model, len(e.models))
	for i, m := range e.models {
		models[i] = m
	}
	var reference eval.Model
	if e.reference != nil {
		reference = e.reference
	}
	ref, results, err := eval.Compare(e.ctx, reference, models, ids, o)
	if ref.Tokens == 0 {
		return err
	}
	r := &textReport{File: e.f.text, Context: n, Stride: o.Stride, Tokens: len(ids), Scored: ref.Tokens, Bytes: ref.Bytes, Seconds: time.Since(start).Seconds()}
	if e.reference != nil {
		r.KV = append(r.KV, newLine(e.reference, ref))
		r.KV[0].Reference = true
	}
	for i, m := range e.models {
		line, d := newLine(m, results[i].Score), &results[i].Divergence
		if d.Positions > 0 {
			line.Quality = &evalCost{d.MeanKL(), d.Error(), d.MaxKL, d.Top1()}
		}
		r.KV = append(r.KV, line)
	}
	e.report.Text = append(e.report.Text, r)
	return err
}

func newLine(m *lowkey.Model, s eval.Score) *kvLine {
	line := &kvLine{KV: m.KV(), BytesPerToken: m.Account.PerToken, Held: m.Held(), NLL: s.MeanNLL(), Perplexity: s.Perplexity()}
	if s.Bytes > 0 {
		line.BitsPerByte = s.BitsPerByte()
	}
	return line
}

// retrieve measures passkeys in prompts of n tokens.
func (e *evaluation) retrieve(depths []float64, n int) error {
	for _, m := range e.models {
		if m.Tokenizer == nil {
			_, err := m.EncodeText("")
			return err
		}
		o := eval.PasskeyOptions{Form: e.f.form, Context: n, Depths: depths, Trials: e.f.trials, Seed: e.f.seed,
			Progress: e.progress(time.Now(), fmt.Sprintf("%s: passkeys in %d tokens", m.KV(), n), "")}
		results, err := eval.Passkey(e.ctx, m, m.Tokenizer, o)
		if len(results) > 0 {
			r := &passkeyReport{KV: m.KV(), BytesPerToken: m.Account.PerToken, Form: e.f.form, Context: n}
			for _, p := range results {
				r.Depths = append(r.Depths, depthReport{p.Depth, p.Right, p.Trials, p.Accuracy(), p.NLL, p.Tokens})
			}
			e.report.Passkey = append(e.report.Passkey, r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// progress says how far a measurement is and when it will end.
func (e *evaluation) progress(start time.Time, what, unit string) func(done, total int) {
	last := start
	return func(done, total int) {
		if now := time.Now(); now.Sub(last) >= 200*time.Millisecond {
			last = now
			rate := float64(done) / now.Sub(start).Seconds()
			left := time.Duration(float64(total-done) / rate * float64(time.Second)).Round(time.Second)
			e.say(fmt.Sprintf("%s: %d of %d %s, %.0f a second, %v left", what, done, total, unit, rate, left))
		}
	}
}
