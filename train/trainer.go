package train

// Trainer: the loop. A step is a function of the weights, the optimiser's state and the step's number alone, so a run that goes on from a checkpoint has the bits of one that was never
// interrupted; validation and samples read and leave no trace.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/internal/filelock"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/model"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
	"github.com/lowkeylm/lowkey/train/data"
	"github.com/lowkeylm/lowkey/train/optim"
)

// Trainer is a run in its folder: settings.json, checkpoint-*.safetensors, log.csv, log.jsonl.
type Trainer struct {
	Settings *Settings
	Model    *model.Model
	Data     *data.Set

	dir       string
	batch     func(i int) (*data.Batch, error)
	pool      *kernel.Pool
	tape      *tensor.Tape[float32]
	params    []*optim.Param
	optimizer optim.Optimizer
	step      int     // steps done
	saved     int     // of the newest checkpoint; -1: none
	seconds   float64 // of training, all phases of this run together
	log       *log
	guard     guard
	// unmeasured is the last step, if Run was ended while it looked at the validation side; it is in no log yet.
	unmeasured *Step
	lock       *os.File // of the folder
}

// Step is what one step showed.
type Step struct {
	Step      int     `json:"step"` // from 1
	Tokens    int64   `json:"tokens"`
	Loss      float64 `json:"loss"` // mean negative log-likelihood of a token, nats
	Norm      float64 `json:"grad_norm"`
	Rate      float64 `json:"learning_rate"`
	Seconds   float64 `json:"seconds"` // of training so far
	PerSecond float64 `json:"tokens_per_second"`
	Valid     *Valid  `json:"validation,omitempty"`
}

// Valid is a look at the validation side.
type Valid struct {
	Loss        float64 `json:"loss"` // nats a token
	BitsPerByte float64 `json:"bits_per_byte"`
	Tokens      int     `json:"tokens"`
}

// Open starts a run in dir, or goes on with the one that is there, whose settings must be these.
func Open(dir string, s *Settings, set *data.Set, threads int) (*Trainer, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if before, err := ReadSettings(dir); err == nil {
		if err := before.differs(s); err != nil {
			return nil, err
		}
	} else if _, err := os.Stat(filepath.Join(dir, settingsFile)); err == nil {
		return nil, err
	}
	if _, err := set.Train.Batch(s.Seed, s.From, s.Batch, s.Seq); err != nil {
		return nil, err
	}
	if set.Valid.Epoch(s.Seq) < 1 {
		return nil, noWindow(s)
	}
	m, err := start(s)
	if err != nil {
		return nil, err
	}
	if most := m.Config.MaxPosition; most > 0 && s.Seq > most {
		m.Close()
		return nil, fault.New(fault.BadInput, "--seq", fmt.Sprint(s.Seq), fmt.Sprintf("the model's context is %d tokens", most), fmt.Sprintf("give shorter rows, or a longer context: --ctx %d", s.Seq))
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fault.New(fault.BadInput, dir, "cannot be made", "", "give --out in a folder that may be written").Because(err)
	}
	lock, held, err := filelock.Try(filepath.Join(dir, ".lock"))
	if lock != nil && err == nil && !held { // a file system without locks goes on without
		lock.Close()
		m.Close()
		return nil, fault.New(fault.BadInput, dir, "another process trains in it", "", "wait for that one, stop it, or give another folder")
	}
	t := assemble(s, m, threads)
	t.Data, t.dir, t.lock = set, dir, lock
	if err := s.write(dir); err != nil {
		t.Close()
		return nil, err
	}
	t.batch = func(i int) (*data.Batch, error) { return set.Train.Batch(s.Seed, i, s.Batch, s.Seq) }
	if err := t.restore(); err != nil {
		t.Close()
		return nil, err
	}
	var before []*Step
	if t.log, before, err = openLog(dir, t.step); err != nil {
		t.Close()
		return nil, err
	}
	for _, s := range before {
		t.guard.follow(s.Loss)
	}
	if end := s.Schedule.Steps; t.step == end && (len(before) == 0 || before[len(before)-1].Step < end) {
		t.unmeasured = &Step{Step: end, Tokens: int64(end) * int64(s.Tokens()), Seconds: t.seconds}
		if n := len(before); n > 0 { // what it showed went with the process
			t.unmeasured.Loss, t.unmeasured.Norm, t.unmeasured.Rate, t.unmeasured.PerSecond = before[n-1].Loss, before[n-1].Norm, s.Schedule.At(end-1), before[n-1].PerSecond
		}
	}
	return t, nil
}

// assemble puts together what computes a step.
func assemble(s *Settings, m *model.Model, threads int) *Trainer {
	t := &Trainer{Settings: s, Model: m, pool: kernel.NewPool(threads), saved: -1}
	t.tape = tensor.NewTape(t.pool)
	t.tape.SetCheckpointing(s.Recompute)
	t.addParams()
	return t
}

// start makes the weights, or takes them from where an earlier phase left them.
func start(s *Settings) (*model.Model, error) {
	if s.Start == "" {
		return model.New(s.Model, s.Seed)
	}
	m, err := Source(s.Start)
	if err != nil {
		return nil, err
	}
	if c, err := config.Parse(s.Model, "config.json"); err == nil && c.MaxPosition != m.Config.MaxPosition {
		if err := m.SetContext(c.MaxPosition); err != nil {
			return nil, err
		}
	}
	if plainJSON(json.RawMessage(m.ConfigJSON)) != plainJSON(s.Model) {
		return nil, fault.New(fault.Mismatch, "--start "+s.Start, "its config.json is another model's", "the weights to start from must have the same configuration", "leave out the flags that size the model")
	}
	return m, m.InMemory()
}

// Source opens what a phase starts from: a model folder, or a checkpoint in the folder of its run. Weights of a checkpoint are in memory, those of a folder where they lie.
func Source(path string) (*model.Model, error) {
	if !checkpointName.MatchString(filepath.Base(path)) {
		return model.Open(path)
	}
	s, err := ReadSettings(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	m, err := model.New(s.Model, s.Seed)
	if err != nil {
		return nil, err
	}
	return m, readCheckpoint(path, weightSlots(m), nil)
}

// kind says whether a weight decays, and whether it is a hidden matrix, which Muon takes. A table of embeddings (the tokens', EG-MLA's gates) is read row by row, and a filter's taps (CCA) act
// along time, on each channel or head for itself: neither is a map between two spaces, which is what Muon's orthogonal steps are for.
func kind(p *model.Parameter) (decays, hidden bool) {
	has := func(part string) bool { return strings.Contains(p.Name, part) }
	decays = len(p.Shape) == 2 && !has("embed")
	return decays, decays && !has("lm_head") && !has(".conv")
}

// addParams gives every weight its gradient and says which decay and which are hidden matrices.
func (t *Trainer) addParams() {
	for _, p := range t.Model.Parameters() {
		grad := make([]float32, len(p.Data))
		t.tape.Param(p.Name, p.Bytes(), p.Data, grad)
		decays, hidden := kind(p)
		t.params = append(t.params, &optim.Param{Name: p.Name, Shape: p.Shape, Data: p.Data, Grad: grad, Decay: decays, Matrix: hidden})
	}
	s := t.Settings
	adam := optim.AdamConfig{Beta1: s.Beta1, Beta2: s.Beta2, Eps: optim.DefaultAdam.Eps, Decay: s.Decay}
	if s.Optimizer == "adamw" {
		t.optimizer = optim.NewAdam(t.pool, t.params, adam)
		return
	}
	muon := optim.DefaultMuon
	muon.Decay = s.Decay
	matrices, rest := optim.Split(t.params)
	t.optimizer = optim.Mixed(optim.Part{Optimizer: optim.NewMuon(t.pool, matrices, muon), Name: "muon", Factor: 1}, optim.Part{Optimizer: optim.NewAdam(t.pool, rest, adam), Name: "adam", Factor: 1})
}

// Done is the number of steps done; the run ends at Settings.Schedule.Steps. The last one is not done before the validation side has been measured.
func (t *Trainer) Done() int {
	if t.unmeasured != nil {
		return t.step - 1
	}
	return t.step
}

// Run trains until the last step, ctx ends, or an error. It saves a checkpoint every `every` steps and when it stops for whatever reason but a bad loss; report is called after each step.
// validate is the number of steps between two looks at the validation side; 0: only at the end.
func (t *Trainer) Run(ctx context.Context, every, validate int, report func(*Step) error) error {
	for (t.step < t.Settings.Schedule.Steps || t.unmeasured != nil) && ctx.Err() == nil {
		s, err := t.unmeasured, error(nil)
		if s == nil {
			s, err = t.one()
		}
		if err != nil {
			return err
		}
		if last := t.step == t.Settings.Schedule.Steps; last || validate > 0 && t.step%validate == 0 {
			most := lookTokens
			if last {
				most = lastTokens
			}
			if s.Valid, err = t.Validate(ctx, most); err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
			if last && s.Valid == nil { // the figure that counts is missing: the next Run begins with it
				t.unmeasured = s
				break
			}
			t.unmeasured = nil
			if s.Valid != nil {
				if err := t.guard.checkValid(s.Valid, t.step, t.lastGood()); err != nil {
					return err
				}
			}
		}
		if err := t.log.add(s); err != nil {
			return err
		}
		if err := report(s); err != nil {
			return err
		}
		if every > 0 && t.step%every == 0 {
			if err := t.saveCheckpoint(); err != nil {
				return err
			}
		}
	}
	if t.saved != t.step {
		return t.saveCheckpoint()
	}
	return nil
}

// one does a step.
func (t *Trainer) one() (*Step, error) {
	began := time.Now()
	s := t.Settings
	for _, p := range t.params {
		clear(p.Grad)
	}
	var loss float64
	for i := range s.Accumulate {
		b, err := t.batch(s.From + t.step*s.Accumulate + i)
		if err != nil {
			return nil, err
		}
		y := t.loss(b)
		loss += t.tape.Values(y)[0] / float64(s.Accumulate)
		t.tape.Backward(t.tape.Scale(y, 1/float64(s.Accumulate)))
		t.tape.Reset()
	}
	norm := optim.ClipNorm(t.pool, t.params, s.Clip)
	if err := t.guard.check(loss, norm, t.step+1, t.lastGood()); err != nil {
		return nil, err
	}
	rate := s.Schedule.At(t.step)
	t.optimizer.Step(rate)
	t.step++
	spent := time.Since(began).Seconds()
	t.seconds += spent
	return &Step{Step: t.step, Tokens: int64(t.step) * int64(s.Tokens()), Loss: loss, Norm: norm, Rate: rate, Seconds: t.seconds, PerSecond: float64(s.Tokens()) / spent}, nil
}

// loss is the mean loss of a batch, on the tape.
func (t *Trainer) loss(b *data.Batch) tensor.Tensor {
	t.tape.Documents(b.Starts)
	t.tape.SetZLoss(t.Settings.ZLoss)
	t.tape.SetBalance(1 / float64(t.Settings.Accumulate))
	return t.tape.CrossEntropy(t.Model.ForwardAt(t.tape, b.IDs, b.Pos, nil), b.Targets, data.Ignore, false)
}

// What a look at the validation side costs: little on the way, more at the end, where the number counts.
const (
	lookTokens = 1 << 15
	lastTokens = 1 << 18
)

// Validate measures the loss on the first windows of the validation side, so many tokens of them.
func (t *Trainer) Validate(ctx context.Context, most int) (*Valid, error) {
	s := t.Settings
	t.Model.Settle = most >= lastTokens // the number that counts is the definition's, not that of training's passes
	defer func() { t.Model.Settle = false }()
	var nats float64
	var tokens int
	var size int64
	for b, err := range t.Data.Valid.Windows(s.Batch, s.Seq, most) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		t.tape.Documents(b.Starts)
		t.tape.SetZLoss(0)
		y := t.tape.CrossEntropy(t.Model.ForwardAt(t.tape, b.IDs, b.Pos, nil), b.Targets, data.Ignore, true)
		nats += t.tape.Values(y)[0]
		tokens, size = tokens+b.Counted, size+b.Bytes
		t.tape.Reset()
	}
	if tokens == 0 {
		return nil, noWindow(s)
	}
	return &Valid{Loss: nats / float64(tokens), BitsPerByte: nats / math.Ln2 / float64(size), Tokens: tokens}, nil
}

func noWindow(s *Settings) error {
	return fault.New(fault.BadInput, "validation data", "no whole window", fmt.Sprintf("a window has %d tokens", s.Seq), "give more data, a larger --valid share, or a smaller --seq")
}

// lastGood is the newest checkpoint, "" for none, but the one of the weights as they are: those gave the loss that is bad.
func (t *Trainer) lastGood() string {
	for _, path := range slices.Backward(checkpoints(t.dir)) {
		if path != t.checkpoint() {
			return path
		}
	}
	return ""
}

// Config is the configuration of the model in training.
func (t *Trainer) Config() *config.Config { return t.Model.Config }

// PeakBytes is the most that the tape has held.
func (t *Trainer) PeakBytes() int64 { return t.tape.PeakBytes() }

// Close gives memory, threads and files back. It saves nothing.
func (t *Trainer) Close() {
	if t.log != nil {
		t.log.close()
	}
	t.tape.Close()
	t.pool.Close()
	t.Model.Close()
	if t.lock != nil {
		t.lock.Close()
	}
}
