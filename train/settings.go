package train

// Settings: all that decides the bits of a run. They lie in the run's folder; a resume with others is refused, field by field.

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/internal/atomicfile"
	"github.com/lowkeylm/lowkey/train/data"
	"github.com/lowkeylm/lowkey/train/optim"
)

// Settings of a run.
type Settings struct {
	Model json.RawMessage `json:"model"` // config.json
	Data  data.Spec       `json:"data"`
	// Corpus is the manifest of the data as it was read when the run began; another corpus is another run.
	Corpus string `json:"corpus"`

	Seq        int `json:"seq"`        // tokens of a row
	Batch      int `json:"batch"`      // rows of a forward pass
	Accumulate int `json:"accumulate"` // forward passes of a step

	Optimizer string         `json:"optimizer"` // adamw, or muon: Muon for hidden matrices, AdamW for the rest
	Schedule  optim.Schedule `json:"schedule"`
	Decay     float64        `json:"weight_decay"`
	Beta1     float64        `json:"beta1"`
	Beta2     float64        `json:"beta2"`
	Clip      float64        `json:"clip"`            // most of the gradient's norm; 0: none
	ZLoss     float64        `json:"z_loss"`          // weight of the mean squared log-normaliser
	Seed      uint64         `json:"seed"`            // of weights and of the order of data
	Start     string         `json:"start,omitempty"` // a model folder to start from in place of fresh weights
	From      int            `json:"from,omitempty"`  // first batch of the data: where an earlier phase ended

	Recompute bool `json:"recompute"` // keep no activations inside blocks: less memory, more time, the same bits
}

// Tokens of one step.
func (s *Settings) Tokens() int { return s.Seq * s.Batch * s.Accumulate }

// Check names the first setting that cannot be.
func (s *Settings) Check() error {
	for _, d := range []struct {
		name string
		v    int
	}{{"--seq", s.Seq}, {"--batch", s.Batch}, {"--accumulate", s.Accumulate}} {
		if d.v < 1 {
			return fault.New(fault.BadInput, d.name, fmt.Sprint(d.v), "must be at least 1", "")
		}
	}
	for _, d := range []struct {
		name string
		v    float64
	}{{"--clip", s.Clip}, {"--z-loss", s.ZLoss}} {
		if !(d.v >= 0) || math.IsInf(d.v, 0) {
			return fault.New(fault.BadInput, d.name, fmt.Sprint(d.v), "must be 0 (none) or above", "")
		}
	}
	if s.Optimizer != "adamw" && s.Optimizer != "muon" {
		return fault.New(fault.BadInput, "--optimizer "+s.Optimizer, "unknown", "adamw or muon", "")
	}
	if err := (optim.AdamConfig{Beta1: s.Beta1, Beta2: s.Beta2, Eps: optim.DefaultAdam.Eps, Decay: s.Decay}).Check(); err != nil {
		return err
	}
	return s.Schedule.Check()
}

const settingsFile = "settings.json"

func (s *Settings) write(dir string) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(dir, settingsFile), append(b, '\n'))
}

// ReadSettings reads the settings of a run's folder.
func ReadSettings(dir string) (*Settings, error) {
	path := filepath.Join(dir, settingsFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.New(fault.BadInput, dir, "no training run", "", "give the folder that lowkey train wrote to").Because(err)
	}
	s := &Settings{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fault.New(fault.BadFile, path, "not the settings of a run", "", "name the folder of a run: one with settings.json and checkpoints").Because(err)
	}
	return s, nil
}

// differs names the first field in which two settings differ, and both values.
func (s *Settings) differs(t *Settings) error {
	a, b := reflect.ValueOf(*s), reflect.ValueOf(*t)
	for i := range a.NumField() {
		x, y := plainJSON(a.Field(i).Interface()), plainJSON(b.Field(i).Interface())
		if x != y {
			name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
			return fault.New(fault.Mismatch, "resume: "+name, y, "the run was started with "+x, "leave the flag out, or start a new run in another folder")
		}
	}
	return nil
}

// plainJSON writes a value with sorted keys and no spaces, so that equal settings are equal texts.
func plainJSON(v any) string {
	b, _ := json.Marshal(v)
	var free any
	json.Unmarshal(b, &free)
	b, _ = json.Marshal(free)
	return string(b)
}
