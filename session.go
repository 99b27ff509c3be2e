package lowkey

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model"
	"github.com/lowkeylm/lowkey/sample"
	"github.com/lowkeylm/lowkey/template"
	"github.com/lowkeylm/lowkey/tokenizer"
)

// PromptRate and DecodeRate are tokens per second of what was computed.
func (s *Stats) PromptRate() float64 { return rate(s.Prompt-s.Reused, s.PromptTime) }
func (s *Stats) DecodeRate() float64 { return rate(s.Generated, s.DecodeTime) }

func rate(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// Line sums an answer up for people: "52 tokens, 61.3 tok/s; prompt 40 (0 reused) at 210 tok/s; KV 960 B a token (12.5 % of MHA's), 2.1 MiB in all (f16)", and "; fast numerics" where they are.
func (s *Stats) Line(m *Model) string {
	design := ""
	if share := m.OfMHA(); share != 1 {
		design = fmt.Sprintf(" (%.3g %% of MHA's)", 100*share)
	}
	numerics := ""
	if m.Numerics() != Exact {
		numerics = "; " + m.Numerics() + " numerics"
		if p := m.Engine.Passes(); p.Tokens > 0 {
			numerics += fmt.Sprintf(" (%.1f passes a token)", p.PerToken())
		}
	}
	return fmt.Sprintf("%d tokens, %.1f tok/s; prompt %d (%d reused) at %.0f tok/s; KV %d B a token%s, %s in all (%s)%s", s.Generated, s.DecodeRate(), s.Prompt, s.Reused, s.PromptRate(),
		s.KVBytesPerToken, design, Bytes(s.KVBytes), m.KV(), numerics)
}

// OfMHA is what a token leaves behind in this model, as a share of what it would in MHA of the same width and as many layers: 2 x hidden numbers a layer.
func (m *Model) OfMHA() float64 {
	elements := 0.0
	for _, l := range m.m.Layouts() {
		elements += float64(l.Elements()) / float64(max(1, l.RowTokens))
	}
	c := m.m.Config
	return elements / float64(2*c.Hidden*len(c.Layers))
}

// KV is the cache types in the text form.
func (m *Model) KV() string {
	if m.Options.KV == "" {
		return "f16"
	}
	return m.Options.KV
}

// Session is one growing sequence: its tokens and their cache. Sessions of one model take turns.
type Session struct {
	model    *Model
	seq      *kvcache.Sequence
	logits   []float32 // of the last token
	messages []template.Message
	slid     bool // the sequence no longer holds the whole chat
}

// Generation says how to continue a text. The zero value is greedy, until the model ends or the context is full.
type Generation struct {
	Sampling  sample.Options
	MaxTokens int      // 0 = as many as fit
	Stop      []string // texts that end the answer; never part of it
	LogProbs  int      // > 0: log-probabilities of the token and of so many best
	Raw       bool     // complete raw text: no template
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

// Memory is a bank of retrieved vectors that models with a third memory level (MKA, FastMKA) read beside the text: by layer, [vectors, hidden], row after row.
type Memory = attention.Memory

// GiveMemory gives an empty session a bank; nil takes it away. Without one such models read zeros. Prefixes are shared among sessions that have the same bank.
func (s *Session) GiveMemory(bank *Memory) error {
	if len(s.Tokens()) > 0 {
		return fault.New(fault.BadInput, "retrieved memory", fmt.Sprintf("the session has %d tokens", len(s.Tokens())), "their rows depend on the memory they were computed with", "give it before the first token, or reset the session")
	}
	if bank == nil {
		s.seq.Give("", nil)
		return nil
	}
	if err := s.model.m.CheckMemory(bank); err != nil {
		return err
	}
	s.seq.Give(bank.Digest(), bank)
	return nil
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
	reused = s.seq.Cut(reused) // rows of several tokens, and states that run on, are not cut everywhere
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
		ids, err := []int32(nil), s.model.checkPrompt(text)
		if err == nil {
			ids, err = s.model.EncodeText(text)
		}
		if err != nil {
			yield(Piece{}, err)
			return
		}
		s.run(ctx, ids, g, stats, nil, yield)
	}
}

// Chat adds a user message and answers it by the model's template; without a template (or with g.Raw) the text is put behind what the session holds, and that is completed.
func (s *Session) Chat(ctx context.Context, text string, g Generation, stats *Stats) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		tmpl, err := s.model.ChatTemplate()
		if err == nil {
			err = cmp.Or(CheckText("prompt", text), CheckText("system message", g.System))
		}
		if err != nil {
			yield(Piece{}, err)
			return
		}
		if tmpl == nil || g.Raw {
			ids, err := s.behind(text)
			if err != nil {
				yield(Piece{}, err)
				return
			}
			s.run(ctx, ids, g, stats, nil, yield)
			return
		}
		messages := s.messages
		if len(messages) == 0 && g.System != "" {
			messages = append(messages, template.Message{Role: "system", Content: g.System})
		}
		messages = append(messages, template.Message{Role: "user", Content: text})
		ids, err := s.chatTokens(messages)
		if err != nil {
			yield(Piece{}, err)
			return
		}
		var answer []byte
		if s.run(ctx, ids, g, stats, &answer, yield) {
			s.messages = append(messages, template.Message{Role: "assistant", Content: string(answer)})
		}
	}
}

// behind is what the session holds and a raw text behind it; the text of an empty session starts as the model expects.
func (s *Session) behind(text string) ([]int32, error) {
	if err := s.model.checkPrompt(text); err != nil {
		return nil, err
	}
	if len(s.Tokens()) == 0 || s.model.Tokenizer == nil {
		return s.model.EncodeText(text)
	}
	return append(slices.Clone(s.Tokens()), s.model.Tokenizer.Encode(text, tokenizer.EncodeOptions{})...), nil
}

// chatTokens is the prompt of a chat that ends with a user message. After Slide it is what the sequence holds and what the template writes after the last answer.
func (s *Session) chatTokens(messages []template.Message) ([]int32, error) {
	if !s.slid {
		return s.model.EncodeChat(messages, true)
	}
	text, err := s.model.RenderChat(messages, true)
	if err != nil {
		return nil, err
	}
	if len(messages) > 1 {
		answer := strings.TrimSpace(messages[len(messages)-2].Content) // templates may trim it
		if i := strings.LastIndex(text, answer); answer != "" && i >= 0 {
			text = text[i+len(answer):]
		}
	}
	if err := s.model.checkPrompt(text); err != nil {
		return nil, err
	}
	return append(slices.Clone(s.Tokens()), s.model.Tokenizer.Encode(text, tokenizer.EncodeOptions{Special: true})...), nil
}

// Slide makes room in a full context: it keeps the first sinks tokens and the last keep ones, and computes them anew as one text (attention sinks and a window,
// arXiv 2309.17453, with recomputed rows). A chat goes on from there.
func (s *Session) Slide(ctx context.Context, sinks, keep int) error {
	tokens := s.Tokens()
	if sinks+keep >= len(tokens) {
		return nil
	}
	kept := append(append([]int32{}, tokens[:sinks]...), tokens[len(tokens)-keep:]...)
	s.seq.Close()
	s.slid = true
	_, err := s.Prompt(ctx, kept)
	return err
}

// savedChat is what a session file holds beside the sequence.
type savedChat struct {
	Messages []template.Message `json:"messages"`
	Slid     bool               `json:"slid"`
}

// Save writes the session, its chat included, to a file; RestoreSession reads it.
func (s *Session) Save(path string) error {
	chat, err := json.Marshal(savedChat{s.messages, s.slid})
	if err != nil {
		return err
	}
	return s.seq.Save(path, chat)
}

// RestoreSession opens a saved session. A file of another model, cache type or version is refused; notice says when it was computed with other numerics.
func (m *Model) RestoreSession(path, owner string) (s *Session, notice string, err error) {
	return m.RestoreWithMemory(path, owner, nil)
}

// RestoreWithMemory is RestoreSession for a session that was given a bank: the same one, or it is refused.
func (m *Model) RestoreWithMemory(path, owner string, bank *Memory) (s *Session, notice string, err error) {
	s = m.NewSession(owner)
	if err = s.GiveMemory(bank); err != nil {
		return nil, "", err
	}
	chat, notice, err := s.seq.Restore(path)
	if err == nil && len(chat) > 0 {
		var saved savedChat
		err = json.Unmarshal(chat, &saved)
		s.messages, s.slid = saved.Messages, saved.Slid
		if err != nil {
			err = fault.New(fault.BadFile, path, "the chat in the session is not readable", "", "delete the file and start a new session").Because(err)
		}
	}
	if err != nil {
		s.Close()
		return nil, "", err
	}
	return s, notice, nil
}

// Reset forgets the chat and gives its pages back.
func (s *Session) Reset() {
	s.seq.Close()
	s.messages, s.logits, s.slid = nil, s.logits[:0], false
}

// run computes the prompt and yields tokens until something ends the answer; ok is false if that was an error. answer, if not nil, collects the text.
func (s *Session) run(ctx context.Context, prompt []int32, g Generation, stats *Stats, answer *[]byte, yield func(Piece, error) bool) (ok bool) {
	if stats == nil {
		stats = new(Stats)
	}
	m := s.model
	if g.MaxTokens < 0 {
		yield(Piece{}, fault.New(fault.BadInput, "most tokens of an answer", fmt.Sprint(g.MaxTokens), "it is 1 or more, or 0 for as many as fit", "leave it out for as many as fit"))
		return false
	}
	sampler, err := sample.New(g.Sampling)
	if err != nil {
		yield(Piece{}, err)
		return false
	}
	stopper, err := sample.NewStopper(g.Stop)
	if err != nil {
		yield(Piece{}, err)
		return false
	}
	start := time.Now()
	*stats = Stats{Prompt: len(prompt), KVBytesPerToken: m.Account.PerToken, Finish: "length"}
	if stats.Reused, err = s.Prompt(ctx, prompt); err != nil {
		yield(Piece{}, err)
		return false
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
			return false
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
				return false
			}
			p.LogProb, p.Top = &lp, top
		}
		text, stopped := stopper.Add(stream.Add(id))
		more := emit(text, p)
		if stopped {
			stats.Finish = "stop"
		}
		if !more || stopped { // the session holds the answer's last token all the same, so that a raw text goes on behind it
			if s.seq.Rows() < m.Context {
				_ = s.Feed(context.WithoutCancel(ctx), []int32{id}) // nobody is left to hear of a full budget; then the token is missing as it always would be
			}
			return true
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
			return false
		}
	}
	if rest, stopped := stopper.Add(stream.Flush()); rest != "" || stopped {
		emit(rest, Piece{Token: -1})
	}
	if rest := stopper.Flush(); rest != "" {
		emit(rest, Piece{Token: -1})
	}
	return true
}
