package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/template"
	"github.com/lowkeylm/lowkey/tokenizer"
)

// textArg is the arguments joined, or standard input where there are none.
func textArg(args []string) (string, error) {
	text := strings.Join(args, " ")
	if len(args) == 0 {
		b, err := io.ReadAll(os.Stdin)
		if err != nil {
			return "", err
		}
		text = string(b)
	}
	return text, lowkey.CheckText("text", text)
}

// numberWords splits a list of numbers, written with spaces, commas or as JSON.
func numberWords(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n,[]", r) })
}

func tokenizeCommand() *cobra.Command {
	var path string
	var plain, bos, asJSON, pieces bool
	c := &cobra.Command{
		Use:     "tokenize -m MODEL [TEXT]",
		Short:   "Print the token ids of a text (or of standard input)",
		Example: `  lowkey tokenize -m model.gguf "Hello world"` + "\n" + `  lowkey tokenize -m model.gguf --pieces < notes.txt`,
		RunE: func(c *cobra.Command, args []string) error {
			t, err := lowkey.OpenTokenizer(path)
			if err != nil {
				return err
			}
			text, err := textArg(args)
			if err != nil {
				return err
			}
			ids := t.Encode(text, tokenizer.EncodeOptions{Special: !plain, AddBOS: bos})
			if asJSON {
				return printJSON(map[string]any{"ids": append([]int32{}, ids...)})
			}
			for i, id := range ids {
				if pieces {
					piece, _ := t.Token(id)
					fmt.Printf("%d\t%q\n", id, piece)
					continue
				}
				if i > 0 {
					fmt.Print(" ")
				}
				fmt.Print(id)
			}
			if !pieces {
				fmt.Println()
			}
			return nil
		},
	}
	c.Flags().StringVarP(&path, "model", "m", "", "a .gguf file or a folder with tokenizer.json (required)")
	c.Flags().BoolVar(&plain, "plain", false, "take special tokens in the text as plain text")
	c.Flags().BoolVar(&bos, "bos", false, "add the start token, if the model adds one")
	c.Flags().BoolVar(&pieces, "pieces", false, "one token a line, with its text")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.MarkFlagRequired("model")
	return c
}

func detokenizeCommand() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use:     "detokenize -m MODEL [ID ...]",
		Short:   "Print the text of token ids (or of those on standard input)",
		Example: `  lowkey detokenize -m model.gguf 19556 905`,
		RunE: func(c *cobra.Command, args []string) error {
			t, err := lowkey.OpenTokenizer(path)
			if err != nil {
				return err
			}
			text, err := textArg(args)
			if err != nil {
				return err
			}
			var ids []int32
			for _, word := range numberWords(text) {
				id, err := strconv.Atoi(word)
				if err != nil || id < 0 || id >= t.Vocab() {
					return fault.New(fault.BadInput, "token id", word, fmt.Sprintf("ids are 0 to %d", t.Vocab()-1), "give numbers, as tokenize prints them")
				}
				ids = append(ids, int32(id))
			}
			fmt.Println(t.Decode(ids))
			return nil
		},
	}
	c.Flags().StringVarP(&path, "model", "m", "", "a .gguf file or a folder with tokenizer.json (required)")
	c.MarkFlagRequired("model")
	return c
}

func templateCommand() *cobra.Command {
	var path, file, system string
	var answer, source bool
	c := &cobra.Command{
		Use:   "template -m MODEL [MESSAGE]",
		Short: "Render a chat with the model's template",
		Example: `  lowkey template -m model.gguf "Why is the sky blue?"
  lowkey template -m model.gguf --messages chat.json
  lowkey template -m model.gguf --source`,
		RunE: func(c *cobra.Command, args []string) error {
			t, err := lowkey.OpenTemplate(path)
			if err != nil {
				return err
			}
			if source {
				fmt.Println(t.Source)
				return nil
			}
			var messages any
			if file != "" {
				b, err := os.ReadFile(file)
				if err != nil {
					return fault.New(fault.BadInput, "--messages "+file, "cannot be read", "", "name a file that exists").Because(err)
				}
				if !json.Valid(b) {
					return fault.New(fault.BadInput, "--messages "+file, "not JSON", "", `write [{"role": "user", "content": "..."}]`)
				}
				if messages, err = template.FromJSON(b); err != nil {
					return err
				}
			} else {
				text, err := textArg(args)
				if err != nil {
					return err
				}
				var list []template.Message
				if system != "" {
					list = append(list, template.Message{Role: "system", Content: system})
				}
				messages = append(list, template.Message{Role: "user", Content: text})
			}
			out, err := t.Render(messages, answer)
			if err != nil {
				return err
			}
			fmt.Print(out)
			return nil
		},
	}
	p := c.Flags()
	p.StringVarP(&path, "model", "m", "", "a .gguf file or a model folder (required)")
	p.StringVar(&file, "messages", "", "a JSON list of messages")
	p.StringVar(&system, "system", "", "system message before the given one")
	p.BoolVar(&answer, "answer", true, "end ready for the assistant's answer")
	p.BoolVar(&source, "source", false, "print the template itself")
	c.MarkFlagRequired("model")
	return c
}
