package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/eval/gofuncs"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/models"
	"github.com/lowkeylm/lowkey/sample"
)

// runFlags are the flags of run and of the chat.
type runFlags struct {
	modelFlags
	system, file, session string
	bank                  string
	raw                   bool
	bias                  []string
	generation            lowkey.Generation
	temperature           float64
}

func runCommand() *cobra.Command {
	f := &runFlags{}
	c := &cobra.Command{
		Use:   "run [-m MODEL] [PROMPT]",
		Short: "Answer a prompt, or chat in the terminal when none is given",
		Long:  "Answer a prompt, or chat in the terminal when none is given. Without -m a small model of Go code that the program carries completes the text.",
		Example: `  lowkey run "func reverse(s []string) {"
  lowkey run -m SmolLM2-135M-Instruct.Q4_1.gguf "Why is the sky blue?"
  lowkey run -m model.gguf --kv k=q8,v=q4 --ctx 8192
  cat notes.txt | lowkey run -m model.gguf "Summarise this:"
  lowkey run -m model.gguf --session talk.kv "And then?"
  lowkey run -m runs/mka/model --memory-bank retrieved.safetensors "func reverse("`,
		RunE: func(c *cobra.Command, args []string) error { return f.run(c.Context(), args) },
	}
	f.add(c)
	p := c.Flags()
	delete(p.Lookup("model").Annotations, cobra.BashCompOneRequiredFlag)
	p.Lookup("model").DefValue, f.path = models.Default, models.Default
	s := &f.generation.Sampling
	p.StringVar(&f.system, "system", "", "system message")
	p.StringVarP(&f.file, "file", "f", "", "read the prompt (or more of it) from a file")
	p.StringVar(&f.session, "session", "", "continue from, and save to, this file")
	p.StringVar(&f.bank, "memory-bank", "", "retrieved vectors for models with a third memory level (mka, mka-fast): a .safetensors file with a tensor layers.N [vectors, hidden] for each such layer")
	p.BoolVar(&f.raw, "raw", false, "complete the text as it is, without the chat template")
	p.IntVarP(&f.generation.MaxTokens, "max-tokens", "n", 0, "most tokens of an answer (default: until the model ends or the context is full; models that the program carries: until the braces close, 256 at most)")
	p.StringArrayVar(&f.generation.Stop, "stop", nil, "text that ends the answer (may be given several times)")
	p.Float64Var(&f.temperature, "temperature", 0, "0 = greedy, the likeliest token each time")
	p.IntVar(&s.TopK, "top-k", 40, "keep the K likeliest tokens (0 = all)")
	p.Float64Var(&s.TopP, "top-p", 1, "keep the likeliest tokens that together have this probability")
	p.Float64Var(&s.MinP, "min-p", 0, "drop tokens below this share of the likeliest one's probability")
	p.Float64Var(&s.RepetitionPenalty, "repetition-penalty", 1, "divide the logits of tokens seen before by this")
	p.Float64Var(&s.FrequencyPenalty, "frequency-penalty", 0, "subtract this for each time a token was seen")
	p.Float64Var(&s.PresencePenalty, "presence-penalty", 0, "subtract this once for a token that was seen")
	p.StringArrayVar(&f.bias, "logit-bias", nil, "ID=BIAS: add this to a token's logit, -inf bans it (may be given several times; tokenize prints ids)")
	p.IntVar(&f.generation.LogProbs, "logprobs", 0, "with --json: the log-probability of each token, and of so many likeliest ones")
	p.Uint64Var(&s.Seed, "seed", 0, "seed of sampling (default: from the clock)")
	p.BoolVar(&f.json, "json", false, "print one JSON object with the answer and its figures")
	return c
}

func (f *runFlags) run(ctx context.Context, args []string) error {
	s := &f.generation.Sampling
	s.Temperature, s.Greedy = f.temperature, f.temperature == 0
	if s.Seed == 0 {
		s.Seed = uint64(time.Now().UnixNano())
	}
	f.generation.Raw, f.generation.System = f.raw, f.system
	if err := f.sampling(); err != nil {
		return err
	}
	prompt, size, given, err := f.prompt(args)
	if err != nil {
		return err
	}
	m, err := f.load()
	if err != nil {
		return err
	}
	defer m.Close()
	if size > promptBytes {
		return cmp.Or(m.CheckPrompt(size), error(fault.New(fault.OverBudget, "prompt", lowkey.Bytes(size), "at most "+lowkey.Bytes(promptBytes)+" are read, of what the memory budget has for the heap", "shorten it")))
	}
	sess, err := f.open(m)
	if err != nil {
		return err
	}
	defer sess.Close()
	if !given {
		return f.chat(ctx, m, sess)
	}
	_, carried := lowkey.Carried(f.path)
	toBrace := false
	if carried && f.generation.MaxTokens == 0 { // a model of Go files would go on with the next function for as long as there is room
		f.generation.MaxTokens = gofuncs.MostTokens
		toBrace = gofuncs.Unfinished(prompt)
	}
	if tmpl, err := m.ChatTemplate(); err == nil && tmpl == nil && !f.raw && !carried {
		fmt.Fprintln(os.Stderr, "no chat template in this model: completing the text as it is")
	}
	var stats lowkey.Stats
	var text strings.Builder
	tokens := []tokenFigures{}
	for p, err := range sess.Chat(ctx, prompt, f.generation, &stats) {
		if err != nil {
			if text.Len() > 0 && !f.json {
				fmt.Println()
			}
			return err
		}
		text.WriteString(p.Text)
		if !f.json {
			fmt.Print(p.Text)
		}
		if p.LogProb != nil {
			tokens = append(tokens, figuresOf(m, p))
		}
		if toBrace && strings.Contains(p.Text, "}") && !gofuncs.Unfinished(prompt+text.String()) {
			stats.Finish = "stop"
			break
		}
	}
	if f.json {
		figures := map[string]any{"text": text.String(), "finish": stats.Finish, "prompt_tokens": stats.Prompt, "reused_tokens": stats.Reused, "generated_tokens": stats.Generated,
			"prompt_tokens_per_second": stats.PromptRate(), "tokens_per_second": stats.DecodeRate(), "kv_bytes_per_token": stats.KVBytesPerToken, "kv_bytes": stats.KVBytes, "kv": m.KV(),
			"numerics": m.Numerics()}
		if f.generation.LogProbs > 0 {
			figures["tokens"] = tokens
		}
		if err := printJSON(figures); err != nil {
			return err
		}
	} else {
		fmt.Println()
		fmt.Fprintln(os.Stderr, stats.Line(m))
		if stats.Finish == "context" {
			fmt.Fprintf(os.Stderr, "the context of %d tokens is full: raise --ctx, or chat without a prompt to go on with a window\n", m.Context)
		}
	}
	if f.session == "" {
		return nil
	}
	return sess.Save(f.session)
}

// sampling reads the flags of sampling that are not numbers.
func (f *runFlags) sampling() error {
	if n := f.generation.LogProbs; n < 0 || n > 0 && !f.json {
		return fault.New(fault.BadInput, "--logprobs", fmt.Sprint(n), "1 or more, with --json", "add --json")
	}
	f.generation.Sampling.LogitBias = map[int32]float32{}
	for _, text := range f.bias {
		id, add, _ := strings.Cut(text, "=")
		token, err := strconv.ParseInt(id, 10, 32)
		value, err2 := strconv.ParseFloat(add, 32)
		if err != nil || err2 != nil {
			return fault.New(fault.BadInput, "--logit-bias "+text, "not a token and its bias", "", "write ID=BIAS, as 42=-5 or 42=-inf; tokenize prints ids")
		}
		f.generation.Sampling.LogitBias[int32(token)] = float32(value)
	}
	return nil
}

// tokenFigures is a token with its log-probability and the likeliest ones in its place, as --json prints it.
type tokenFigures struct {
	ID      int32          `json:"id"`
	Token   string         `json:"token"`
	LogProb float64        `json:"logprob"`
	Top     []tokenFigures `json:"top,omitempty"`
}

func figuresOf(m *lowkey.Model, p lowkey.Piece) tokenFigures {
	one := func(l sample.LogProb) tokenFigures {
		return tokenFigures{ID: l.Token, Token: m.Tokenizer.Decode([]int32{l.Token}), LogProb: max(l.LogProb, -math.MaxFloat64)} // JSON has no infinity
	}
	t := one(*p.LogProb)
	for _, l := range p.Top {
		t.Top = append(t.Top, one(l))
	}
	return t
}

// promptBytes bounds what is read of a prompt: text, its pieces and tokens lie in the heap's share of the budget.
const promptBytes = lowkey.HeapBytes / 8

// prompt joins the argument, --file and piped standard input; given is false for an interactive chat. Of a prompt of more than promptBytes only the size is known, or what was seen of it.
func (f *runFlags) prompt(args []string) (text string, size int64, given bool, err error) {
	parts := []string{}
	add := func(r io.Reader) (n int64, err error) {
		var b strings.Builder
		n, err = io.Copy(&b, io.LimitReader(r, promptBytes+1))
		if n > 0 {
			parts, size = append(parts, b.String()), size+n
		}
		return n, err
	}
	if len(args) > 0 {
		_, _ = add(strings.NewReader(strings.Join(args, " ")))
	}
	if f.file != "" {
		r, err := os.Open(f.file)
		if err == nil {
			defer r.Close()
			var n int64
			n, err = add(r)
			if st, statErr := r.Stat(); n > promptBytes && statErr == nil {
				size += max(st.Size()-n, 0)
			}
		}
		if err != nil {
			return "", 0, false, fault.New(fault.BadInput, "--file "+f.file, "cannot be read", "", "name a file that exists").Because(err)
		}
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		n, err := add(os.Stdin)
		if err != nil {
			return "", 0, false, err
		}
		if n == 0 && len(args) == 0 && f.file == "" {
			return "", 0, false, fault.New(fault.BadInput, "prompt", "standard input is empty", "", "give a prompt as an argument, by --file, or run in a terminal to chat")
		}
	} else if len(args) == 0 && f.file == "" {
		return "", 0, false, nil
	}
	if size > promptBytes {
		return "", size, true, nil
	}
	text = strings.Join(parts, "\n")
	if strings.TrimSpace(text) == "" {
		return "", 0, false, fault.New(fault.BadInput, "prompt", "empty", "", "give some text")
	}
	return text, size, true, nil
}

// open starts a session, from the file where there is one.
func (f *runFlags) open(m *lowkey.Model) (_ *lowkey.Session, err error) {
	var bank *lowkey.Memory
	if f.bank != "" {
		if bank, err = m.ReadMemory(f.bank); err != nil {
			return nil, err
		}
	}
	if f.session != "" {
		if _, err := os.Stat(f.session); err == nil {
			s, notice, err := m.RestoreWithMemory(f.session, "", bank)
			if notice != "" {
				fmt.Fprintln(os.Stderr, notice)
			}
			return s, err
		}
	}
	s := m.NewSession("")
	return s, s.GiveMemory(bank)
}
