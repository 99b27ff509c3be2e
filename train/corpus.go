package train

import (
	"context"
	"os"
	"path/filepath"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/internal/atomicfile"
	"github.com/lowkeylm/lowkey/tokenizer"
	"github.com/lowkeylm/lowkey/train/data"
)

// TokenizerFile is where a run's folder, or a comparison's, has its tokenizer.
func TokenizerFile(dir string) string { return filepath.Join(dir, "tokenizer.json") }

// Corpus opens the data of a run with its tokenizer: the given one (of a run that goes on, its TokenizerFile), else one of vocab tokens that is learned from the training side. Either is left in the
// folder, so that the run has it. note hears lines for people.
func Corpus(ctx context.Context, spec data.Spec, given string, vocab int, dir string, note func(string)) (*data.Set, *tokenizer.Tokenizer, error) {
	corpus, err := data.Find(spec)
	if err != nil {
		return nil, nil, err
	}
	for _, line := range corpus.Lines() {
		note(line)
	}
	var file []byte
	if given != "" {
		if file, err = os.ReadFile(given); err != nil {
			return nil, nil, fault.New(fault.BadInput, "--tokenizer "+given, "cannot be read", "", "name a tokenizer.json; lowkey tokenizer train makes one").Because(err)
		}
	} else {
		note("learning a vocabulary")
		if file, err = learn(ctx, corpus, vocab); err != nil {
			return nil, nil, err
		}
	}
	t, err := tokenizer.FromJSON(file, nil)
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, nil, fault.New(fault.BadInput, dir, "cannot be made", "", "give --out in a folder that may be written").Because(err)
	}
	if err := atomicfile.WriteBytes(TokenizerFile(dir), file); err != nil {
		return nil, nil, err
	}
	set, err := corpus.Open(ctx, t, "", nil)
	return set, t, err
}

func learn(ctx context.Context, corpus *data.Corpus, vocab int) ([]byte, error) {
	trainer := tokenizer.NewTrainer()
	err := corpus.Each(func(p data.Part) error {
		if !p.Valid {
			trainer.Add(p.Text)
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	learned, err := trainer.Learn(vocab)
	if err != nil {
		return nil, err
	}
	return learned.JSON(), nil
}
