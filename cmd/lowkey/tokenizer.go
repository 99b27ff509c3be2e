package main

import (
	"fmt"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/lowkeylm/lowkey/internal/atomicfile"
	"github.com/lowkeylm/lowkey/tokenizer"
	"github.com/lowkeylm/lowkey/train/data"
)

func tokenizerCommand() *cobra.Command {
	c := &cobra.Command{Use: "tokenizer", Short: "Make a vocabulary"}
	c.AddCommand(tokenizerTrainCommand())
	return c
}

func tokenizerTrainCommand() *cobra.Command {
	var spec data.Spec
	var vocab int
	var out string
	c := &cobra.Command{
		Use:   "train --data go|DIR|FILE",
		Short: "Learn a byte-level BPE vocabulary from the training side of a corpus, and write it as tokenizer.json",
		Long: `Learn a byte-level BPE vocabulary and write it as the tokenizer.json of Hugging Face's tokenizers. Only the training side of the corpus
is read. The same corpus gives the same file, byte for byte.`,
		Example: `  lowkey tokenizer train --data go --vocab 4096 -o tokenizer.json
  lowkey tokenizer train --data notes.jsonl --text-field body --vocab 8192 -o tokenizer.json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			corpus, err := data.Find(spec)
			if err != nil {
				return err
			}
			for _, line := range corpus.Lines() {
				fmt.Fprintln(os.Stderr, line)
			}
			trainer := tokenizer.NewTrainer()
			bar := quietBar(progressbar.DefaultBytes, corpus.Bytes(), "counting words")
			err = corpus.Each(func(p data.Part) error {
				if err := c.Context().Err(); err != nil {
					return err
				}
				if !p.Valid {
					trainer.Add(p.Text)
				}
				return bar.Add(len(p.Text))
			})
			if err != nil {
				return err
			}
			fmt.Fprintln(os.Stderr)
			bar = quietBar(progressbar.Default, int64(vocab), "learning merges")
			trainer.Progress = func(done, all int) {
				bar.ChangeMax(max(all, 1))
				_ = bar.Set(done)
			}
			learned, err := trainer.Learn(vocab)
			if err != nil {
				return err
			}
			fmt.Fprintln(os.Stderr)
			if err := atomicfile.WriteBytes(out, learned.JSON()); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "%d tokens from %d different words\n", learned.Vocab(), trainer.Words())
			fmt.Println(out)
			return nil
		},
	}
	p := c.Flags()
	dataFlags(c, &spec)
	p.IntVar(&vocab, "vocab", 4096, "number of tokens: 256 bytes, merges, and "+tokenizer.EndOfText)
	p.StringVarP(&out, "output", "o", "tokenizer.json", "file to write")
	return c
}

// dataFlags are the flags of every command that reads a corpus.
func dataFlags(c *cobra.Command, spec *data.Spec) {
	p := c.Flags()
	p.StringVar(&spec.Source, "data", "", "go (the sources of the Go installation), a folder, a file of text, or a .jsonl file (required)")
	p.StringVar(&spec.TextField, "text-field", "text", "member of a JSONL line that holds the text")
	p.Float64Var(&spec.Valid, "valid", 0.025, "share of the documents held out for validation, by hash")
	c.MarkFlagRequired("data")
}

// quietBar is a progress bar in a terminal, and nothing in a file.
func quietBar(bar func(most int64, text ...string) *progressbar.ProgressBar, most int64, text string) *progressbar.ProgressBar {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return progressbar.DefaultSilent(most)
	}
	return bar(most, text)
}
