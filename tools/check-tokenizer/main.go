// Command check-tokenizer is lowkey's side of check.py: it encodes and decodes a JSON list of texts.
//
//	go run ./tools/check-tokenizer MODEL_FOLDER TEXTS.json
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/lowkeylm/lowkey/tokenizer"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "check-tokenizer:", err)
		os.Exit(1)
	}
}

type result struct {
	IDs  []int32 `json:"ids"`
	Text string  `json:"text"` // decoded again
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want a model folder and a file of texts")
	}
	t, err := tokenizer.FromFolder(args[0])
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	var texts []string
	if err := json.Unmarshal(raw, &texts); err != nil {
		return err
	}
	var out []result
	for _, text := range texts {
		ids := t.Encode(text, tokenizer.EncodeOptions{Special: true})
		out = append(out, result{ids, t.Decode(ids)})
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}
