package compare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/internal/atomicfile"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/tokenizer"
	"github.com/lowkeylm/lowkey/train"
	"github.com/lowkeylm/lowkey/train/data"
)

// Result is what a row gave.
type Result struct {
	Row
	Served
	Chosen      string     `json:"shape"`
	Parameters  int64      `json:"parameters"`
	Tokens      int64      `json:"tokens"`
	TrainLoss   float64    `json:"train_loss"` // mean of the last twentieth of the steps
	Loss        float64    `json:"validation_loss"`
	BitsPerByte float64    `json:"bits_per_byte"`
	TrainSpeed  float64    `json:"training_tokens_per_second"` // median of steps
	Curve       []CurveDot `json:"curve"`
	Diverged    string     `json:"diverged,omitempty"` // why the row has no figures: its loss was no number, or jumped

	queued Row // as the plan lists it; Row has the rate that was found
}

// CurveDot is a look at the validation side during training; all read as much of it (the last look, whose loss counts, may read more and is no dot then).
type CurveDot struct {
	Tokens int64   `json:"tokens"`
	Loss   float64 `json:"loss"`
}

// Queue is a comparison in its folder.
type Queue struct {
	Plan    *Plan
	Threads int
	Note    func(text string)                       // one line for people
	Step    func(row Row, s *train.Step, steps int) // after each step

	dir   string
	fresh bool // a tokenizer that lies in the folder is not the comparison's
	set   *data.Set
	tok   *tokenizer.Tokenizer
}

// New writes a plan into a fresh folder.
func New(dir string, p *Plan) (*Queue, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, planFile)); err == nil {
		return nil, fault.New(fault.BadInput, "--out "+dir, "holds a comparison", "", "go on with it by --queue "+dir+", or give another folder")
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fault.New(fault.BadInput, dir, "cannot be made", "", "give --out in a folder that may be written").Because(err)
	}
	return &Queue{Plan: p, dir: dir, fresh: true}, p.write(dir)
}

// Open goes on with the comparison of a folder.
func Open(dir string) (*Queue, error) {
	p, err := ReadPlan(dir)
	return &Queue{Plan: p, dir: dir}, err
}

// Add puts designs that are not there yet at the end of the plan.
func (q *Queue) Add(designs []string) error {
	for _, d := range designs {
		if !slices.Contains(q.Plan.Designs, d) {
			q.Plan.Designs = append(q.Plan.Designs, d)
		}
	}
	if err := q.Plan.check(); err != nil {
		return err
	}
	return q.Plan.write(q.dir)
}

// Run works through the queue until it is empty or ctx ends. After each row the report is written anew.
func (q *Queue) Run(ctx context.Context) error {
	var err error
	given, own := q.Plan.Tokens, train.TokenizerFile(q.dir)
	if _, err := os.Stat(own); err == nil && !q.fresh {
		given = own
	}
	if q.set, q.tok, err = train.Corpus(ctx, q.Plan.Settings.Data, given, q.Plan.Vocab, q.dir, q.Note); err != nil {
		return err
	}
	q.fresh = false
	defer q.set.Close()
	q.Plan.Shape.Vocab, q.Plan.Shape.BOS, q.Plan.Shape.EOS = q.tok.Vocab(), q.set.EndOfText(), q.set.EndOfText()
	if was, now := q.Plan.Settings.Corpus, q.set.Manifest(); was != "" && was != now {
		return fault.New(fault.Mismatch, "--queue "+q.dir, "the data's manifest is "+now, "the comparison was started on "+was, "bring the text back as it was, or compare anew in another folder: losses on different texts do not compare")
	}
	q.Plan.Settings.Corpus = q.set.Manifest()
	if err := q.Plan.check(); err != nil {
		return err
	}
	if err := q.Plan.write(q.dir); err != nil {
		return err
	}
	for i, row := range q.Plan.Rows() {
		if ctx.Err() != nil {
			return nil
		}
		if _, err := q.read(row); err == nil {
			continue
		}
		q.Note(fmt.Sprintf("row %d of %d: %s", i+1, len(q.Plan.Rows()), row.Name()))
		done, err := q.row(ctx, row)
		if ctx.Err() != nil {
			return nil // what was trained is saved; what was being measured is measured again
		}
		if err != nil {
			return fmt.Errorf("row %s: %w", row.Name(), err)
		}
		if !done {
			return nil
		}
		if err := q.Report(); err != nil {
			return err
		}
	}
	return q.Report()
}

func (q *Queue) folder(r Row) string { return filepath.Join(q.dir, "rows", r.Name()) }

// read finds the result of a row that is done.
func (q *Queue) read(r Row) (*Result, error) {
	b, err := os.ReadFile(filepath.Join(q.folder(r), "result.json"))
	if err != nil {
		return nil, err
	}
	res := &Result{queued: r}
	return res, json.Unmarshal(b, res)
}

// row trains and measures; false where ctx ended it.
func (q *Queue) row(ctx context.Context, r Row) (done bool, err error) {
	queued := r
	sized, err := q.Plan.size(r.Design)
	if err != nil {
		return false, err
	}
	q.Note(sized.Chosen)
	s := q.Plan.Settings
	s.Model, s.Seed = sized.Config, r.Seed
	if s.Schedule.Peak = r.Rate; r.Rate == 0 {
		if s.Schedule.Peak, err = q.bestRate(r.Design); err != nil {
			return false, err
		}
		if s.Schedule.Peak == 0 {
			return true, q.diverged(&Result{Row: r, queued: queued, Chosen: sized.Chosen, Parameters: sized.Parameters}, "at every learning rate of its sweep")
		}
		r.Rate = s.Schedule.Peak
	}
	if r.Sweep {
		s.Schedule.Steps = max(1, s.Schedule.Steps/q.Plan.Share)
		s.Schedule.Warmup, s.Schedule.Decay = s.Schedule.Warmup/q.Plan.Share, s.Schedule.Decay/q.Plan.Share
	}
	dir := q.folder(r)
	t, err := train.Open(dir, &s, q.set, q.Threads)
	if err != nil {
		return false, err
	}
	defer t.Close()
	steps := s.Schedule.Steps
	every := max(1, steps/10)
	err = t.Run(ctx, every, every, func(st *train.Step) error {
		q.Step(r, st, steps)
		return nil
	})
	if bad := new(train.Diverged); errors.As(err, &bad) { // an answer too: the same row would do the same again
		return true, q.diverged(&Result{Row: r, queued: queued, Chosen: sized.Chosen, Parameters: sized.Parameters}, fmt.Sprintf("at step %d of %d, learning rate %g", bad.Step, steps, r.Rate))
	}
	if err != nil {
		return false, err
	}
	if t.Done() < steps {
		return false, nil
	}
	res := &Result{Row: r, queued: queued, Chosen: sized.Chosen, Parameters: sized.Parameters, Tokens: int64(steps) * int64(s.Tokens())}
	if err := q.fromLog(dir, res); err != nil {
		return false, err
	}
	if !r.Sweep {
		model := filepath.Join(dir, "model")
		if err := t.Export(model, train.TokenizerFile(q.dir), kernel.F32); err != nil {
			return false, err
		}
		if res.Served, err = serve(ctx, model, q.Plan, q.Threads); err != nil {
			return false, err
		}
	}
	return true, q.write(res)
}

// fromLog reads what training showed.
func (q *Queue) fromLog(dir string, res *Result) error {
	steps, err := train.ReadLog(dir)
	if err != nil {
		return err
	}
	var speeds []float64
	tail := steps[len(steps)-max(1, len(steps)/20):]
	for _, s := range tail {
		res.TrainLoss += s.Loss / float64(len(tail))
	}
	for _, s := range steps {
		speeds = append(speeds, s.PerSecond)
		if s.Valid != nil {
			res.Loss, res.BitsPerByte = s.Valid.Loss, s.Valid.BitsPerByte
		}
	}
	for _, s := range train.Looks(steps) {
		res.Curve = append(res.Curve, CurveDot{s.Tokens, s.Valid.Loss})
	}
	res.TrainSpeed = median(speeds)
	return nil
}

// Measure serves the models of all rows that are done anew: on a machine that was busy while they trained, speeds mean nothing.
func (q *Queue) Measure(ctx context.Context) error {
	for _, row := range q.Plan.Rows() {
		res, err := q.read(row)
		if err != nil || row.Sweep || res.Diverged != "" {
			continue
		}
		q.Note("measuring " + row.Name())
		if res.Served, err = serve(ctx, filepath.Join(q.folder(row), "model"), q.Plan, q.Threads); err != nil {
			return err
		}
		if err := q.write(res); err != nil {
			return err
		}
	}
	return q.Report()
}

// diverged keeps a row that gave no model.
func (q *Queue) diverged(res *Result, where string) error {
	res.Diverged = where
	q.Note("diverged " + where + ": the queue goes on")
	return q.write(res)
}

func (q *Queue) write(res *Result) error {
	b, err := json.MarshalIndent(res, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(q.folder(res.queued), "result.json"), append(b, '\n'))
}

// bestRate is the learning rate whose sweep ended lowest; 0 if all diverged.
func (q *Queue) bestRate(design string) (float64, error) {
	best, rate := math.Inf(1), 0.0
	for _, r := range q.Plan.Rates {
		res, err := q.read(Row{Design: design, Seed: 1, Rate: r, Sweep: true})
		if err != nil {
			return 0, fault.New(fault.BadInput, "row "+design, "its sweep is not done", "", "go on with the queue: compare --queue FOLDER").Because(err)
		}
		if res.Diverged == "" && res.Loss < best {
			best, rate = res.Loss, r
		}
	}
	return rate, nil
}
