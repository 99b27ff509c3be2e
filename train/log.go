package train

// The log of a run: log.csv for people and spreadsheets, log.jsonl for programs, one line a step each. A run that goes on from a checkpoint first drops the lines of later steps.

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/internal/atomicfile"
)

var logColumns = []string{"step", "tokens", "loss", "grad_norm", "learning_rate", "seconds", "tokens_per_second", "validation_loss", "validation_bits_per_byte"}

type log struct {
	csv, jsonl *os.File
}

// openLog also gives the steps that it keeps.
func openLog(dir string, step int) (_ *log, kept []*Step, _ error) {
	steps, err := ReadLog(dir)
	if err != nil {
		return nil, nil, err
	}
	l := &log{}
	rows := [][]string{logColumns}
	var lines []byte
	for _, s := range steps {
		if s.Step <= step {
			b, _ := json.Marshal(s)
			rows, lines, kept = append(rows, s.row()), append(append(lines, b...), '\n'), append(kept, s)
		}
	}
	if l.csv, err = rewrite(filepath.Join(dir, "log.csv"), func(w io.Writer) error { return csv.NewWriter(w).WriteAll(rows) }); err != nil {
		return nil, nil, err
	}
	l.jsonl, err = rewrite(filepath.Join(dir, "log.jsonl"), func(w io.Writer) error {
		_, err := w.Write(lines)
		return err
	})
	return l, kept, err
}

// rewrite replaces a file whole and opens it for more.
func rewrite(path string, fill func(io.Writer) error) (*os.File, error) {
	if err := atomicfile.Write(path, fill); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o666)
	if err != nil {
		return nil, fault.New(fault.BadInput, path, "cannot be opened", "", "see that the run's folder may be written").Because(err)
	}
	return f, nil
}

// Looks are the steps with a look at the validation side that compare with one another, for a line: the last look of a run reads more of that side, where there is more, and is left out then.
func Looks(steps []*Step) (looks []*Step) {
	for _, s := range steps {
		if s.Valid != nil && (len(looks) == 0 || s.Valid.Tokens == looks[0].Valid.Tokens) {
			looks = append(looks, s)
		}
	}
	return looks
}

// ReadLog reads the steps of a run's log.jsonl; a torn last line is left out, a missing file is an empty log.
func ReadLog(dir string) (steps []*Step, err error) {
	path := filepath.Join(dir, "log.jsonl")
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.New(fault.BadInput, path, "cannot be opened", "", "see that the run's folder may be written").Because(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		s := &Step{}
		if json.Unmarshal(lines.Bytes(), s) != nil {
			break
		}
		steps = append(steps, s)
	}
	return steps, nil
}

func (l *log) add(s *Step) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if _, err := l.jsonl.Write(append(b, '\n')); err != nil {
		return l.failed(l.jsonl, err)
	}
	w := csv.NewWriter(l.csv)
	w.Write(s.row())
	w.Flush()
	return l.failed(l.csv, w.Error())
}

// sync brings the log to the disk, as a checkpoint is about to be.
func (l *log) sync() error {
	if err := l.failed(l.jsonl, l.jsonl.Sync()); err != nil {
		return err
	}
	return l.failed(l.csv, l.csv.Sync())
}

func (l *log) failed(f *os.File, err error) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.BadInput, f.Name(), "cannot be written", "", "free some space; the run goes on from its last checkpoint").Because(err)
}

func (s *Step) row() []string {
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', 7, 64) }
	row := []string{strconv.Itoa(s.Step), strconv.FormatInt(s.Tokens, 10), number(s.Loss), number(s.Norm), number(s.Rate), strconv.FormatFloat(s.Seconds, 'f', 2, 64), number(s.PerSecond), "", ""}
	if s.Valid != nil {
		row[7], row[8] = number(s.Valid.Loss), number(s.Valid.BitsPerByte)
	}
	return row
}

func (l *log) close() {
	if l.csv != nil {
		l.csv.Close()
	}
	if l.jsonl != nil {
		l.jsonl.Close()
	}
}
