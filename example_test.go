package lowkey_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/fault"
	_ "github.com/lowkeylm/lowkey/models" // small models that Load knows by name
)

// Load a model, stream an answer, and see what it left in the cache. "mfa" is a model of Go code that package models carries; a .gguf file or a folder is opened alike.
func Example() {
	m, err := lowkey.Load("mfa", lowkey.Options{KV: "q8h", Context: 512})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	s := m.NewSession("")
	defer s.Close()
	var answer strings.Builder
	var stats lowkey.Stats
	for piece, err := range s.Chat(context.Background(), "func reverse(s []string) {", lowkey.Generation{MaxTokens: 16}, &stats) {
		if err != nil {
			fmt.Println(err)
			return
		}
		answer.WriteString(piece.Text)
	}
	fmt.Println(stats.Prompt, "tokens of prompt,", stats.KVBytesPerToken, "bytes of cache a token")
	// Output: 8 tokens of prompt, 544 bytes of cache a token
}

// A context that is cancelled ends an answer; the session can go on.
func ExampleSession_Generate() {
	m, err := lowkey.Load("mfa", lowkey.Options{Context: 512})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	s := m.NewSession("")
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var stats lowkey.Stats
	for _, err := range s.Generate(ctx, "package main", lowkey.Generation{}, &stats) {
		if err != nil {
			fmt.Println(err)
			return
		}
		cancel() // after the first token
	}
	fmt.Println(stats.Finish)
	// Output: cancelled
}

// A session is saved with its cache, so that going on computes nothing twice.
func ExampleModel_RestoreSession() {
	m, err := lowkey.Load("mfa", lowkey.Options{Context: 512})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer m.Close()
	dir, err := os.MkdirTemp("", "lowkey")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "talk.kv")
	s := m.NewSession("")
	if err := s.Feed(context.Background(), []int32{1, 2, 3}); err == nil {
		err = s.Save(file)
	}
	s.Close()
	s, notice, err := m.RestoreSession(file, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	fmt.Println(s.Tokens(), notice)
	// Output: [1 2 3]
}

// A budget that is too small is an error that says what would fit.
func ExampleLoad_budget() {
	_, err := lowkey.Load("mfa", lowkey.Options{Memory: 1 << 20})
	fmt.Println(fault.Is(err, fault.OverBudget))
	// Output: true
}
