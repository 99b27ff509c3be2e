package optim

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
)

// someParams are of several kinds; the largest spans several chunks.
func someParams(seed uint64) []*Param {
	r := rand.New(rand.NewPCG(seed, 1))
	var params []*Param
	for i, shape := range [][]int{{300, 120}, {40, 70}, {90, 31}, {31}, {}} {
		n := 1
		for _, d := range shape {
			n *= d
		}
		p := &Param{Name: fmt.Sprint("p", i), Shape: shape, Data: make([]float32, n), Grad: make([]float32, n), Decay: len(shape) == 2, Matrix: len(shape) == 2 && i > 0}
		for j := range p.Data {
			p.Data[j], p.Grad[j] = float32(r.NormFloat64()), float32(r.NormFloat64())
		}
		params = append(params, p)
	}
	return params
}

// every is each optimiser by name.
func every() map[string]func(pool *kernel.Pool, params []*Param) Optimizer {
	return map[string]func(pool *kernel.Pool, params []*Param) Optimizer{
		"adam": func(pool *kernel.Pool, params []*Param) Optimizer { return NewAdam(pool, params, DefaultAdam) },
		"adam with l2": func(pool *kernel.Pool, params []*Param) Optimizer {
			return NewAdam(pool, params, AdamConfig{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Decay: 0.1, Coupled: true})
		},
		"sgd": func(pool *kernel.Pool, params []*Param) Optimizer {
			return NewSGD(pool, params, SGDConfig{Momentum: 0.9, Nesterov: true, Decay: 0.1})
		},
		"mixed": func(pool *kernel.Pool, params []*Param) Optimizer {
			hidden, rest := Split(params)
			return Mixed(Part{NewMuon(pool, hidden, DefaultMuon), "muon", 1}, Part{NewAdam(pool, rest, DefaultAdam), "adam", 0.5})
		},
	}
}

func train(pool *kernel.Pool, o Optimizer, params []*Param, from, to int) {
	s := Schedule{Shape: Cosine, Peak: 0.01, Warmup: 3, Steps: 10, Final: 0.1}
	for i := from; i < to; i++ {
		r := rand.New(rand.NewPCG(uint64(i), 2))
		for _, p := range params {
			for j := range p.Grad {
				p.Grad[j] = float32(r.NormFloat64())
			}
		}
		ClipNorm(pool, params, 1)
		o.Step(s.At(i))
	}
}

func sameParams(t *testing.T, what string, got, want []*Param) {
	t.Helper()
	for i, p := range got {
		for j, v := range p.Data {
			if w := want[i].Data[j]; math.Float32bits(v) != math.Float32bits(w) {
				t.Fatalf("%s: %s[%d] is %v, want %v", what, p.Name, j, v, w)
			}
		}
	}
}

func TestThreads(t *testing.T) {
	for name, create := range every() {
		t.Run(name, func(t *testing.T) {
			var want []*Param
			for _, threads := range []int{1, 2, 5} {
				pool := kernel.NewPool(threads)
				params := someParams(1)
				train(pool, create(pool, params), params, 0, 6)
				pool.Close()
				if want == nil {
					want = params
				}
				sameParams(t, fmt.Sprint(threads, " threads"), params, want)
			}
		})
	}
}

func TestResume(t *testing.T) {
	for name, create := range every() {
		t.Run(name, func(t *testing.T) {
			want := someParams(2)
			train(nil, create(nil, want), want, 0, 8)

			half := someParams(2)
			o := create(nil, half)
			train(nil, o, half, 0, 4)
			again := someParams(3)
			for i, p := range again {
				copy(p.Data, half[i].Data)
			}
			resumed := create(nil, again)
			resumed.SetSteps(o.Steps())
			names := map[string]bool{}
			state := resumed.State()
			for i, s := range o.State() {
				if names[s.Name] || state[i].Name != s.Name || !slices.Equal(state[i].Shape, s.Shape) {
					t.Fatalf("slot %d: %s of %v, want %s of %v, once", i, state[i].Name, state[i].Shape, s.Name, s.Shape)
				}
				names[s.Name] = true
				copy(state[i].Data, s.Data)
			}
			train(nil, resumed, again, 4, 8)
			sameParams(t, "resumed", again, want)
		})
	}
}

func TestNoGradient(t *testing.T) {
	for name, create := range every() {
		params, want := someParams(4), someParams(4)
		o := create(nil, params)
		for _, p := range params[1:] {
			p.Grad = nil
		}
		ClipNorm(nil, params, 1)
		o.Step(0.1)
		sameParams(t, name, params[1:], want[1:])
		if params[0].Data[0] == want[0].Data[0] {
			t.Errorf("%s: the parameter with a gradient did not move", name)
		}
	}
}

// Each part of a mixture moves its own parameters, at its own rate, as it would alone.
func TestMixed(t *testing.T) {
	params, want := someParams(5), someParams(5)
	train(nil, every()["mixed"](nil, params), params, 0, 1)
	for i, p := range want {
		p.Grad = slices.Clone(params[i].Grad)
	}
	hidden, rest := Split(want)
	if len(hidden) != 2 || len(rest) != 3 {
		t.Fatalf("split into %d and %d", len(hidden), len(rest))
	}
	lr := Schedule{Shape: Cosine, Peak: 0.01, Warmup: 3, Steps: 10, Final: 0.1}.At(0)
	NewMuon(nil, hidden, DefaultMuon).Step(lr)
	NewAdam(nil, rest, DefaultAdam).Step(lr * 0.5)
	sameParams(t, "mixed", params, want)
}

// The quintic does not converge: it brings every singular value that is not tiny between 0.68 and 1.13 or so, and so the rows of the wide form near orthogonal.
func TestNewtonSchulz(t *testing.T) {
	for _, shape := range [][2]int{{24, 60}, {60, 24}, {16, 16}, {1, 9}, {9, 1}} {
		rows, cols := shape[0], shape[1]
		r := rand.New(rand.NewPCG(9, 9))
		p := &Param{Name: "w", Shape: shape[:], Data: make([]float32, rows*cols), Grad: make([]float32, rows*cols)}
		for i := range p.Grad {
			p.Grad[i] = float32(r.NormFloat64())
		}
		NewMuon(nil, []*Param{p}, MuonConfig{Iterations: 5, Quintic: Quintic, Eps: 1e-7}).Step(-1 / math.Sqrt(max(1, float64(rows)/float64(cols))))
		sum := 0.0 // of squares: the sum of squared singular values
		for _, v := range p.Data {
			sum += float64(v) * float64(v)
		}
		if mean := sum / float64(min(rows, cols)); mean < 0.4 || mean > 1.4 {
			t.Errorf("%v: mean squared singular value %v", shape, mean)
		}
	}
}

// The learning rates of the reference runs.
func TestGoldenSchedule(t *testing.T) {
	found, _ := filepath.Glob(filepath.Join(goldenDir(t), "training", "*", "training.json"))
	if len(found) == 0 {
		t.Fatal("no training.json")
	}
	for _, path := range found {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			Schedule struct {
				Max    float64   `json:"lr_max"`
				Warmup int       `json:"warmup_steps"`
				Final  float64   `json:"final_fraction"`
				LR     []float64 `json:"lr"`
			} `json:"lr_schedule"`
		}
		if err := json.Unmarshal(data, &c); err != nil {
			t.Fatal(err)
		}
		s := Schedule{Shape: Cosine, Peak: c.Schedule.Max, Warmup: c.Schedule.Warmup, Steps: len(c.Schedule.LR), Final: c.Schedule.Final}
		if err := s.Check(); err != nil {
			t.Fatal(err)
		}
		for i, want := range c.Schedule.LR {
			if got := s.At(i); math.Abs(got-want) > 1e-15 {
				t.Errorf("%s: step %d has %v, want %v", filepath.Base(filepath.Dir(path)), i, got, want)
			}
		}
	}
}

func TestSchedule(t *testing.T) {
	wsd := Schedule{Shape: WSD, Peak: 2, Warmup: 4, Steps: 20, Decay: 4, Final: 0.25}
	for i, want := range map[int]float64{0: 0.5, 3: 2, 4: 2, 15: 2, 16: 2 * (1 - 0.75*0.5), 19: 0.5, 25: 0.5} {
		if got := wsd.At(i); math.Abs(got-want) > 1e-15 {
			t.Errorf("wsd, step %d: %v, want %v", i, got, want)
		}
	}
	for _, s := range []Schedule{{Shape: Constant, Peak: 3, Steps: 5}, {Shape: Cosine, Peak: 3, Steps: 1}, {Shape: Cosine, Peak: 3, Steps: 4, Warmup: 4}, {Shape: WSD, Peak: 3, Steps: 7}} {
		if err := s.Check(); err != nil {
			t.Error(err)
		}
		if got := s.At(s.Steps - 1); got != 3 {
			t.Errorf("%+v ends at %v", s, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	good := Schedule{Shape: WSD, Peak: 1, Warmup: 2, Steps: 10, Decay: 3, Final: 0.1}
	change := func(f func(s *Schedule)) error { s := good; f(&s); return s.Check() }
	muon := func(f func(c *MuonConfig)) error { c := DefaultMuon; f(&c); return c.Check() }
	for what, err := range map[string]error{
		"shape":   change(func(s *Schedule) { s.Shape = "linear" }),
		"peak":    change(func(s *Schedule) { s.Peak = math.NaN() }),
		"steps":   change(func(s *Schedule) { s.Steps = 0 }),
		"warmup":  change(func(s *Schedule) { s.Warmup = 11 }),
		"decay":   change(func(s *Schedule) { s.Decay = 9 }),
		"final":   change(func(s *Schedule) { s.Final = 1.5 }),
		"beta":    AdamConfig{Beta1: 1, Beta2: 0.9, Eps: 1e-8}.Check(),
		"eps":     AdamConfig{Beta1: 0.9, Beta2: 0.9}.Check(),
		"wd":      AdamConfig{Eps: 1, Decay: -1}.Check(),
		"sgd":     SGDConfig{Momentum: -0.1}.Check(),
		"damp":    SGDConfig{Momentum: 0.9, Dampening: 0.1, Nesterov: true}.Check(),
		"muon":    muon(func(c *MuonConfig) { c.Momentum = 2 }),
		"rounds":  muon(func(c *MuonConfig) { c.Iterations = 0 }),
		"size":    muon(func(c *MuonConfig) { c.Size = "" }),
		"curve":   muon(func(c *MuonConfig) { c.Quintic = [3]float64{} }),
		"muoneps": muon(func(c *MuonConfig) { c.Eps = 0 }),
	} {
		if !fault.Is(err, fault.BadInput) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, err := range []error{good.Check(), DefaultAdam.Check(), DefaultMuon.Check()} {
		if err != nil {
			t.Error(err)
		}
	}
}
