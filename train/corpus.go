package train

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/internal/atomicfile"
	"github.com/lowkeylm/lowkey/tokenizer"
	"github.com/lowkeylm/lowkey/train/data"
)

// Corpus opens the data of a run with its tokenizer: the tokenizer.json of the run's folder if there is one, else the given one, else one of vocab tokens that is learned from the
// training side. Either is left in the folder, so that the run has it. note hears lines for people.
func Corpus(ctx context.Context, spec data.Spec, given string, vocab int, dir string, note func(string)) (*data.Set, *tokenizer.Tokenizer, error) {
	corpus, err := data.Find(spec)
	if err != nil {
		return nil, nil, err
	}
	for _, line := range corpus.Lines() {
		note(line)
	}
	own := filepath.Join(dir, "tokenizer.json")
	file, err := os.ReadFile(own)
	switch {
	case err == nil:
	case !errors.Is(err, fs.ErrNotExist):
		return nil, nil, fault.New(fault.BadInput, own, "cannot be read", "", "").Because(err)
	case given != "":
		if file, err = os.ReadFile(given); err != nil {
			return nil, nil, fault.New(fault.BadInput, "--tokenizer "+given, "cannot be read", "", "").Because(err)
		}
	default:
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
		return nil, nil, fault.New(fault.BadInput, dir, "cannot be made", "", "").Because(err)
	}
	if err := atomicfile.WriteBytes(own, file); err != nil {
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
