package lowkey

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model"
	"github.com/lowkeylm/lowkey/sample"
	"github.com/lowkeylm/lowkey/template"
)

// Session is one growing sequence: its tokens and their cache. Sessions of one model take turns.
type Session struct {
	model    *Model
	seq      *kvcache.Sequence
	logits   []float32 // of the last token
	messages []template.Message
	window   *window
}

// Generation says how to continue a text. The zero value is greedy, until the model ends or the context is full.
type Generation struct {
	Sampling  sample.Options
	MaxTokens int      // 0 = as many as fit
	Stop      []string // texts that end the answer; never part of it
	LogProbs  int      // > 0: log-probabilities of the token and of so many best
	Raw       bool     // complete raw text: no template, no start token unless the model adds one
	System    string   // system message of a fresh chat
}

// Piece is what one token adds to the answer.
type Piece struct {
	Text    string // whole UTF-8 characters; may be empty while one is incomplete
	Token   int32
	LogProb *sample.LogProb
	Top     []sample.LogProb
}

// Stats is what a session took.
type Stats struct {
	Prompt, Reused, Generated int
	PromptTime, DecodeTime    time.Duration
	KVBytesPerToken           int
	KVBytes                   int64  // pages held now
	Finish                    string // "stop", "length", "context", "cancelled"
}

// NewSession starts an empty session. owner keeps prefixes apart: sessions share computed prefixes with sessions of the same owner alone.
func (m *Model) NewSession(owner string) *Session {
	return &Session{model: m, seq: m.Engine.Store.NewSequence(owner)}
}

// Close gives the session's pages back.
func (s *Session) Close() { s.seq.Close() }

// Tokens is the sequence so far (not to be changed); Messages the chat so far.
func (s *Session) Tokens() []int32              { return s.seq.Tokens() }
func (s *Session) Messages() []template.Message { return s.messages }

// Bytes is what the session's pages take.
func (s *Session) Bytes() int64 { return s.seq.Bytes() }

// Feed appends tokens in steps and keeps the logits of the last. On an error the session keeps what was there before the failing step.
func (s *Session) Feed(ctx context.Context, tokens []int32) error {
	for len(tokens) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(len(tokens), StepTokens)
		out, err := s.model.Engine.Step([]model.Feed{{Sequence: s.seq, Tokens: tokens[:n]}})
		if err != nil {
			return err
		}
		s.logits = append(s.logits[:0], out.Float32s()...)
		tokens = tokens[n:]
	}
	return nil
}

// Prompt makes the session's sequence equal to tokens, keeping the longest common prefix that is already computed, here or by another session of this owner.
// It returns how many tokens were reused.
func (s *Session) Prompt(ctx context.Context, tokens []int32) (reused int, err error) {
	if len(tokens) == 0 {
		return 0, fault.New(fault.BadInput, "prompt", "no tokens", "", "give some text")
	}
	if len(tokens) > s.model.Context {
		return 0, fault.New(fault.OverBudget, "prompt", fmt.Sprintf("%d tokens", len(tokens)), fmt.Sprintf("the context is %d", s.model.Context), "shorten it, or raise --ctx if the model allows more")
	}
	have := s.seq.Tokens()
	for reused < len(have) && reused < len(tokens)-1 && have[reused] == tokens[reused] {
		reused++
	}
	if err := s.seq.Truncate(reused); err != nil {
		s.seq.Close()
		reused = 0
	}
	if reused == 0 {
		reused = s.seq.Adopt(tokens)
	}
	return reused, s.Feed(ctx, tokens[reused:])
}

// Generate continues a raw text. Iteration ends after the last piece; an error comes as the last pair.
func (s *Session) Generate(ctx context.Context, text string, g Generation, stats *Stats) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		t := s.model.Tokenizer
		if t == nil {
			yield(Piece{}, fault.New(fault.Unsupported, s.model.Path, "the folder has no tokenizer.json", "", "give token ids (see logits --ids) or add the tokenizer's files"))
			return
		}
		s.run(ctx, t.Encode(text, encodeText(t, !g.Raw)), g, stats, nil, yield)
	}
}

// Chat adds a user message and answers it by the model's template; without a template the text is completed as it is.
func (s *Session) Chat(ctx context.Context, text string, g Generation, stats *Stats) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		tmpl, err := s.model.ChatTemplate()
		if err != nil {
			yield(Piece{}, err)
			return
		}
		if tmpl == nil || g.Raw {
			s.Generate(ctx, text, g, stats)(yield)
			return
		}
		messages := s.messages
		if len(messages) == 0 && g.System != "" {
			messages = append(messages, template.Message{Role: "system", Content: g.System})
		}
		messages = append(messages, template.Message{Role: "user", Content: text})
		ids, err := s.model.EncodeChat(messages, true)
		if err != nil {
			yield(Piece{}, err)
			return
		}
		var answer []byte
		s.run(ctx, ids, g, stats, &answer, yield)
		s.messages = append(messages, template.Message{Role: "assistant", Content: string(answer)})
	}
}

// Reset forgets the chat and gives its pages back.
func (s *Session) Reset() {
	s.seq.Close()
	s.messages, s.logits = nil, s.logits[:0]
}

// run computes the prompt and yields tokens until something ends the answer. answer, if not nil, collects the text.
func (s *Session) run(ctx context.Context, prompt []int32, g Generation, stats *Stats, answer *[]byte, yield func(Piece, error) bool) {
	if stats == nil {
		stats = new(Stats)
	}
	m := s.model
	sampler, err := sample.New(g.Sampling)
	if err != nil {
		yield(Piece{}, err)
		return
	}
	stopper, err := sample.NewStopper(g.Stop)
	if err != nil {
		yield(Piece{}, err)
		return
	}
	start := time.Now()
	*stats = Stats{Prompt: len(prompt), KVBytesPerToken: m.Account.PerToken, Finish: "length"}
	if stats.Reused, err = s.Prompt(ctx, prompt); err != nil {
		yield(Piece{}, err)
		return
	}
	stats.PromptTime = time.Since(start)
	start = time.Now()
	defer func() { stats.DecodeTime, stats.KVBytes = time.Since(start), s.Bytes() }()
	stream := m.Tokenizer.NewStream()
	emit := func(text string, p Piece) (more bool) {
		p.Text = text
		if answer != nil {
			*answer = append(*answer, text...)
		}
		return yield(p, nil)
	}
	for g.MaxTokens == 0 || stats.Generated < g.MaxTokens {
		if ctx.Err() != nil {
			stats.Finish = "cancelled"
			break
		}
		id, err := sampler.Next(s.logits, s.Tokens())
		if err != nil {
			yield(Piece{}, err)
			return
		}
		if m.Tokenizer.IsEOG(id) {
			stats.Finish = "stop"
			break
		}
		stats.Generated++
		p := Piece{Token: id}
		if g.LogProbs > 0 {
			lp, top, err := sample.LogProbs(s.logits, id, g.LogProbs)
			if err != nil {
				yield(Piece{}, err)
				return
			}
			p.LogProb, p.Top = &lp, top
		}
		text, stopped := stopper.Add(stream.Add(id))
		if !emit(text, p) {
			return
		}
		if stopped {
			stats.Finish = "stop"
			return
		}
		if s.seq.Rows() == m.Context {
			stats.Finish = "context"
			break
		}
		if err := s.Feed(ctx, []int32{id}); err != nil {
			if ctx.Err() != nil {
				stats.Finish = "cancelled"
				break
			}
			yield(Piece{}, err)
			return
		}
	}
	if rest, stopped := stopper.Add(stream.Flush()); rest != "" || stopped {
		emit(rest, Piece{Token: -1})
	}
	if rest := stopper.Flush(); rest != "" {
		emit(rest, Piece{Token: -1})
	}
}
