package optim

import (
	"cmp"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kernel"
)

// goldenDir finds the reference outputs; the test is skipped where there are none.
func goldenDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("LOWKEY_GOLDEN")
	if dir == "" {
		dir = "../../../shared/golden"
		if _, err := os.Stat(dir); err != nil {
			t.Skip("no reference outputs: set LOWKEY_GOLDEN")
		}
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("LOWKEY_GOLDEN: %v", err)
	}
	return dir
}

// goldenCase is one entry of optim.json: the settings of one optimiser, perhaps on top of another entry's.
type goldenCase struct {
	root string // the entry that this one is the same as, in the end

	SameAs      string    `json:"same_as"`
	LR          float64   `json:"lr"`
	Betas       []float64 `json:"betas"`
	Eps         float64   `json:"eps"`
	WeightDecay float64   `json:"weight_decay"`
	Decay       []string  `json:"decay"`
	MaxNorm     float64   `json:"max_norm"`
	Momentum    float64   `json:"momentum"`
	Dampening   float64   `json:"dampening"`
	Nesterov    bool      `json:"nesterov"`
	Iterations  int       `json:"ns_steps"`
	AdjustLR    string    `json:"adjust_lr_fn"`
	Quintic     []float64 `json:"ns_coefficients"`
	DType       string    `json:"newton_schulz_dtype"`
	Rates       any       `json:"learning_rate"`
}

// TestGoldenTraining runs every optimiser of training/*/optim.json over its gradients, and compares the parameters after each step.
func TestGoldenTraining(t *testing.T) {
	found, _ := filepath.Glob(filepath.Join(goldenDir(t), "training", "*", "optim.json"))
	if len(found) == 0 {
		t.Fatal("no optim.json")
	}
	for _, path := range found {
		folder := filepath.Dir(path)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var entries map[string]json.RawMessage
		if err := json.Unmarshal(data, &entries); err != nil {
			t.Fatal(err)
		}
		for name := range entries {
			results := filepath.Join(folder, name+".safetensors")
			if _, err := os.Stat(results); err != nil {
				continue // a remark, not an optimiser
			}
			t.Run(filepath.Base(folder)+"/"+name, func(t *testing.T) {
				var c goldenCase
				readCase(t, entries, name, &c)
				goldenOptimizer(t, c, openGolden(t, filepath.Join(folder, "inputs.safetensors")), openGolden(t, results))
			})
		}
	}
}

// readCase reads an entry on top of the one it is the same as.
func readCase(t *testing.T, entries map[string]json.RawMessage, name string, c *goldenCase) {
	t.Helper()
	var base struct {
		SameAs string `json:"same_as"`
	}
	if err := json.Unmarshal(entries[name], &base); err != nil {
		t.Fatal(err)
	}
	if c.root = name; base.SameAs != "" {
		readCase(t, entries, base.SameAs, c)
	}
	if err := json.Unmarshal(entries[name], c); err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(entries[name], &all); err != nil {
		t.Fatal(err)
	}
	known := strings.Fields("lr betas eps weight_decay max_norm momentum dampening nesterov ns_steps ns_coefficients decay no_decay tensors")
	for key, v := range all { // what is off, or a remark, changes nothing
		if _, remark := v.(string); !remark && v != nil && v != false && v != 0.0 && !slices.Contains(known, key) {
			t.Fatalf("%s = %v: a setting without a counterpart here", key, v)
		}
	}
	if c.Rates != nil && c.Rates != "constant" {
		t.Fatalf("learning rates %v: only a constant one is known", c.Rates)
	}
}

func openGolden(t *testing.T, path string) *safetensors.File {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func floats(t *testing.T, f *safetensors.File, name string) ([]float32, []int) {
	t.Helper()
	x, ok := f.Tensor(name)
	if !ok {
		return nil, nil
	}
	v, err := safetensors.Float32s(x)
	if err != nil {
		t.Fatal(err)
	}
	return v, x.Shape
}

func goldenOptimizer(t *testing.T, c goldenCase, inputs, results *safetensors.File) {
	pool := kernel.NewPool(2)
	defer pool.Close()
	var params []*Param
	grads, after, clipped := map[string][]float32{}, map[string][]float32{}, map[string][]float32{}
	steps := 0
	for _, full := range results.Names() {
		name, ok := strings.CutPrefix(full, "after.")
		if !ok {
			continue
		}
		data, shape := floats(t, inputs, "param."+name)
		after[name], _ = floats(t, results, full)
		clipped[name], _ = floats(t, results, "clipped."+name)
		grads[name], _ = floats(t, inputs, "grads."+name)
		steps = len(after[name]) / len(data)
		params = append(params, &Param{Name: name, Shape: shape, Data: slices.Clone(data), Grad: make([]float32, len(data)), Decay: c.Decay == nil || slices.Contains(c.Decay, name)})
	}
	if len(params) == 0 || steps == 0 {
		t.Fatal("nothing to compare")
	}
	norms, _ := floats(t, results, "total_norm")

	tolerance := 2e-6
	var o Optimizer
	switch {
	case c.Iterations > 0:
		config := MuonConfig{Momentum: c.Momentum, Nesterov: c.Nesterov, Decay: c.WeightDecay, Size: Tall, Iterations: c.Iterations, Quintic: Quintic, Eps: cmp.Or(c.Eps, DefaultMuon.Eps)}
		if size := strings.FieldsFunc(c.AdjustLR, func(r rune) bool { return r == ' ' || r == ':' }); len(size) > 0 {
			config.Size = MuonSize(size[0])
		}
		if c.Quintic != nil {
			config.Quintic = [3]float64(c.Quintic)
		}
		if err := config.Check(); err != nil {
			t.Fatal(err)
		}
		o, tolerance = NewMuon(pool, params, config), 5e-6
		if strings.HasPrefix(c.DType, "bfloat16") {
			tolerance = 5e-3 // its rounding, which is not done here
		}
	case len(c.Betas) == 2:
		config := AdamConfig{Beta1: c.Betas[0], Beta2: c.Betas[1], Eps: c.Eps, Decay: c.WeightDecay, Coupled: !strings.HasPrefix(c.root, "adamw")}
		if err := config.Check(); err != nil {
			t.Fatal(err)
		}
		o = NewAdam(pool, params, config)
	default:
		config := SGDConfig{Momentum: c.Momentum, Dampening: c.Dampening, Nesterov: c.Nesterov, Decay: c.WeightDecay}
		if err := config.Check(); err != nil {
			t.Fatal(err)
		}
		o = NewSGD(pool, params, config)
	}
	for step := range steps {
		for _, p := range params {
			n := len(p.Data)
			copy(p.Grad, grads[p.Name][step*n:(step+1)*n])
		}
		if c.MaxNorm > 0 {
			norm := ClipNorm(pool, params, c.MaxNorm)
			if norms != nil && !(math.Abs(norm-float64(norms[step])) <= 1e-6*norm) {
				t.Errorf("step %d: norm %v, want %v", step, norm, norms[step])
			}
			for _, p := range params {
				if want := clipped[p.Name]; want != nil {
					closeTo(t, step, "clipped gradient "+p.Name, p.Grad, want[step*len(p.Data):], 1e-6)
				}
			}
		}
		o.Step(c.LR)
		for _, p := range params {
			closeTo(t, step, p.Name, p.Data, after[p.Name][step*len(p.Data):], tolerance)
		}
	}
}

func closeTo(t *testing.T, step int, what string, got, want []float32, tolerance float64) {
	t.Helper()
	for i, v := range got {
		if d := math.Abs(float64(v) - float64(want[i])); !(d <= tolerance*max(1, math.Abs(float64(want[i])))) {
			t.Fatalf("step %d, %s, element %d: %v, want %v", step, what, i, v, want[i])
		}
	}
}
