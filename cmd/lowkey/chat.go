package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/ergochat/readline"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/fault"
)

const chatHelp = `  /help           this
  /clear          a fresh start
  /system TEXT    a fresh start with this system message
  /save FILE      save the session
  /stats          tokens and bytes of the cache
  /quit           leave (or Ctrl-D)
  A line that ends with \ goes on; """ begins and ends a text of many lines. Ctrl-C stops an answer.`

// sinks and window of a full context: the first tokens and the last half are kept.
const sinkTokens = 4

// chat talks in the terminal until the user leaves.
func (f *runFlags) chat(_ context.Context, m *lowkey.Model, s *lowkey.Session) error {
	history := ""
	if dir, err := os.UserCacheDir(); err == nil && os.MkdirAll(filepath.Join(dir, "lowkey"), 0o700) == nil {
		history = filepath.Join(dir, "lowkey", "history")
	}
	r, err := readline.NewFromConfig(&readline.Config{Prompt: "> ", HistoryFile: history, DisableAutoSaveHistory: true})
	if err != nil {
		return err
	}
	defer r.Close()
	fmt.Printf("%s, context %d tokens, KV %d B a token (%s). /help for commands.\n", filepath.Base(m.Path), m.Context, m.Account.PerToken, m.KV())
	for {
		text, err := readMessage(r)
		switch {
		case errors.Is(err, readline.ErrInterrupt):
			fmt.Println("(Ctrl-D or /quit leaves)")
			continue
		case errors.Is(err, io.EOF):
			return f.leave(s)
		case err != nil:
			return err
		}
		if strings.TrimSpace(text) == "" {
			continue
		}
		_ = r.SaveToHistory(strings.ReplaceAll(text, "\n", " "))
		if strings.HasPrefix(text, "/") {
			if quit := f.command(m, s, text); quit {
				return f.leave(s)
			}
			continue
		}
		if err := f.answer(r, m, s, text); err != nil {
			fmt.Fprintln(os.Stderr, "lowkey:", err)
		}
	}
}

func (f *runFlags) leave(s *lowkey.Session) error {
	if f.session == "" {
		return nil
	}
	return s.Save(f.session)
}

// readMessage reads one line, lines joined by a final \, or a block between """.
func readMessage(r *readline.Instance) (string, error) {
	defer r.SetPrompt("> ")
	var lines []string
	block := false
	for {
		line, err := r.ReadLine()
		if err != nil {
			return "", err
		}
		r.SetPrompt("… ")
		trimmed := strings.TrimSpace(line)
		switch {
		case !block && strings.HasPrefix(trimmed, `"""`):
			block = true
			line = strings.TrimPrefix(trimmed, `"""`)
			if rest, closed := strings.CutSuffix(line, `"""`); closed {
				return rest, nil
			}
			if line != "" {
				lines = append(lines, line)
			}
		case block && strings.HasSuffix(trimmed, `"""`):
			if rest := strings.TrimSuffix(trimmed, `"""`); rest != "" {
				lines = append(lines, rest)
			}
			return strings.Join(lines, "\n"), nil
		case block:
			lines = append(lines, line)
		case strings.HasSuffix(line, `\`):
			lines = append(lines, strings.TrimSuffix(line, `\`))
		default:
			return strings.Join(append(lines, line), "\n"), nil
		}
	}
}

func (f *runFlags) command(m *lowkey.Model, s *lowkey.Session, text string) (quit bool) {
	name, arg, _ := strings.Cut(strings.TrimSpace(text), " ")
	switch name {
	case "/quit", "/exit", "/bye":
		return true
	case "/clear":
		s.Reset()
		fmt.Println("a fresh start")
	case "/system":
		s.Reset()
		f.generation.System = arg
		fmt.Println("a fresh start with that system message")
	case "/save":
		if arg == "" {
			fmt.Println("/save needs a file name")
		} else if err := s.Save(arg); err != nil {
			fmt.Fprintln(os.Stderr, "lowkey:", err)
		} else {
			fmt.Printf("saved %d tokens to %s\n", len(s.Tokens()), arg)
		}
	case "/stats":
		fmt.Printf("%d of %d tokens; %s in pages, %d B a token (%s)\n", len(s.Tokens()), m.Context, lowkey.Bytes(s.Bytes()), m.Account.PerToken, m.KV())
	case "/help":
		fmt.Println(chatHelp)
	default:
		fmt.Printf("%s is no command; put a blank before a message that begins with /\n%s\n", name, chatHelp)
	}
	return false
}

// answer streams one answer; Ctrl-C stops it and not the program.
func (f *runFlags) answer(r *readline.Instance, m *lowkey.Model, s *lowkey.Session, text string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var stats lowkey.Stats
	for p, err := range s.Chat(ctx, text, f.generation, &stats) {
		if err != nil {
			if stats.Generated > 0 || !fault.Is(err, fault.OverBudget) || len(s.Tokens()) <= sinkTokens+m.Context/2 {
				return err
			}
			fmt.Fprintln(os.Stderr, "lowkey:", err)
			if made, err := f.makeRoom(r, m, s); !made || err != nil {
				return err
			}
			return f.answer(r, m, s, text) // not a third time: half of the context is free now
		}
		fmt.Print(p.Text)
	}
	fmt.Println()
	fmt.Fprintln(os.Stderr, stats.Line(m))
	if stats.Finish == "context" {
		_, err := f.makeRoom(r, m, s)
		return err
	}
	return nil
}

// makeRoom asks what to do with a full context. Ctrl-C and Ctrl-D leave the chat as it is.
func (f *runFlags) makeRoom(r *readline.Instance, m *lowkey.Model, s *lowkey.Session) (made bool, err error) {
	fmt.Printf("the context of %d tokens is full: [w]indow (keep the first %d and the last %d tokens) or [f]resh start?\n", m.Context, sinkTokens, m.Context/2)
	r.SetPrompt("w/f> ")
	defer r.SetPrompt("> ")
	for {
		line, err := r.ReadLine()
		if err != nil {
			return false, nil
		}
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "f", "fresh", "fresh start":
			s.Reset()
			fmt.Println("a fresh start")
			return true, nil
		case "w", "window":
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			defer stop()
			if err := s.Slide(ctx, sinkTokens, m.Context/2); err != nil {
				return false, err
			}
			fmt.Printf("kept %d tokens\n", len(s.Tokens()))
			return true, nil
		}
		fmt.Println("w or f (Ctrl-C: leave the chat as it is)")
	}
}
