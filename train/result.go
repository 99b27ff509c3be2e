package train

// What a run gives: the model's folder, and a look at what it writes.

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/internal/atomicfile"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/sample"
	"github.com/lowkeylm/lowkey/tokenizer"
)

// Export writes the model as it is now, with its tokenizer, as a folder that every command takes.
func (t *Trainer) Export(dir, tokenizerJSON string, format kernel.Format) error {
	if err := t.Model.Save(dir, format); err != nil {
		return err
	}
	b, err := os.ReadFile(tokenizerJSON)
	if err != nil {
		return fault.New(fault.BadInput, tokenizerJSON, "cannot be read", "", "put the tokenizer of the run back there").Because(err)
	}
	return atomicfile.WriteBytes(filepath.Join(dir, "tokenizer.json"), b)
}

// sampleTokens is the length of a sample.
const sampleTokens = 48

// Sample completes a prompt greedily with the weights as they are, from the real cache. An empty prompt takes the beginning of the validation side.
func (t *Trainer) Sample(ctx context.Context, tok *tokenizer.Tokenizer, prompt string) (string, error) {
	if prompt == "" {
		prompt = t.prompt(tok)
	}
	m, err := lowkey.Use(t.Model, tok, lowkey.Options{Context: min(t.Model.Config.MaxPosition, 4*sampleTokens)})
	if err != nil {
		return "", err
	}
	defer m.Close()
	s := m.NewSession("")
	defer s.Close()
	var text strings.Builder
	text.WriteString(prompt)
	for p, err := range s.Generate(ctx, prompt, lowkey.Generation{MaxTokens: sampleTokens, Raw: true, Sampling: sample.Options{Greedy: true}}, nil) {
		if err != nil {
			return "", err
		}
		text.WriteString(p.Text)
	}
	return text.String(), nil
}

// prompt is the first few tokens of the validation side.
func (t *Trainer) prompt(tok *tokenizer.Tokenizer) string {
	const tokens = 24
	for b, err := range t.Data.Valid.Windows(1, min(t.Settings.Seq, tokens), tokens) {
		if err == nil {
			return tok.Decode(b.IDs)
		}
		break
	}
	return ""
}
