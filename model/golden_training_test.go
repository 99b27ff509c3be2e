package model

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/tensor"
)

// goldenRun is a training run of a reference: its settings and results.
type goldenRun struct {
	file     *safetensors.File
	Schedule struct{ LR []float64 } `json:"lr_schedule"`
	Decay    []string
	NoDecay  []string `json:"no_decay"`
	Dropout  float64
	// What a run may leave out is what the published ones have.
	Optimizer struct {
		Name  string
		Betas [2]float64
		Eps   float64
		Decay float64 `json:"weight_decay"`
	}
	Clip struct {
		MaxNorm *float64 `json:"max_norm"` // null: none
	}
	Drift map[string]struct {
		Loss     float64 `json:"loss_abs"`
		GradNorm float64 `json:"grad_norm_rel"`
		Grad     float64 `json:"step0_grad_rel_l2"`
		Param    float64 `json:"param_rel_l2"`
		ParamAbs float64 `json:"param_abs"`
	} `json:"measured_drift"`
}

// values reads a tensor of floats, false if there is none.
func (g *goldenRun) values(t *testing.T, name string) ([]float64, bool) {
	x, ok := g.file.Tensor(name)
	if !ok {
		return nil, false
	}
	out := make([]float64, x.Elems())
	if x.DType == "F64" {
		for i := range out {
			out[i] = math.Float64frombits(binary.LittleEndian.Uint64(x.Data[8*i:]))
		}
		return out, true
	}
	v, err := safetensors.Float32s(x)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range v {
		out[i] = float64(f)
	}
	return out, true
}

// trained is a parameter under AdamW, in the precision of the run.
type trained[T float32 | float64] struct {
	name                   string
	data, grad, mean, vari []T
	decays                 bool
}

// tape is what the test needs of a Tape.
type tape[T float32 | float64] interface {
	tensor.Ops
	Param(name string, place []byte, data, grad []T)
	Documents(starts []int)
	CrossEntropy(logits tensor.Tensor, targets []int32, ignore int32, sum bool) tensor.Tensor
	Backward(loss tensor.Tensor)
	Reset()
}

// register brings the parameters that the run trains to the tape.
func register[T float32 | float64](t *testing.T, m *Model, g *goldenRun, o tape[T]) []*trained[T] {
	decays := map[string]bool{}
	for _, name := range g.Decay {
		decays[name] = true
	}
	for _, name := range g.NoDecay {
		decays[name] = false
	}
	var params []*trained[T]
	for _, p := range m.Parameters() {
		d, ok := decays[p.Name]
		if !ok { // a buffer, or the copy of a tied tensor
			continue
		}
		n := len(p.Data)
		q := &trained[T]{name: p.Name, grad: make([]T, n), mean: make([]T, n), vari: make([]T, n), decays: d}
		if same, ok := any(p.Data).([]T); ok {
			q.data = same
		} else {
			for _, v := range p.Data {
				q.data = append(q.data, T(v))
			}
		}
		o.Param(p.Name, p.Bytes(), q.data, q.grad)
		params = append(params, q)
		delete(decays, p.Name)
	}
	if len(decays) > 0 {
		t.Fatalf("parameters that the model lacks: %v", decays)
	}
	return params
}

func l2[T float32 | float64](x []T) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum)
}

// run trains the reference's steps. each is told of every step before its update; loss and the global norm are those of the step.
func (g *goldenRun) run(t *testing.T, m *Model, each func(step int, loss, norm float64), step func(ids, targets []int32, starts []int) float64, norm func() float64, update func(t int, lr, clip float64)) {
	x, _ := g.file.Tensor("batches")
	ids, err := safetensors.Int64s(x)
	if err != nil || len(x.Shape) != 3 || len(g.Schedule.LR) < x.Shape[0] {
		t.Fatalf("batches %v: %v", x.Shape, err)
	}
	rows, row := x.Shape[1], x.Shape[2]
	for i := range x.Shape[0] {
		var in, targets []int32
		var starts []int
		for r := range rows {
			starts = append(starts, len(in))
			for j := range row - 1 {
				at := (i*rows+r)*row + j
				in, targets = append(in, int32(ids[at])), append(targets, int32(ids[at+1]))
			}
		}
		loss := step(in, targets, starts)
		n := norm()
		each(i, loss, n)
		clip := 1.0
		if g.Clip.MaxNorm != nil {
			clip = min(1, *g.Clip.MaxNorm/(n+1e-6))
		}
		update(i+1, g.Schedule.LR[i], clip)
	}
}

// train runs the reference's steps on a tape, and tells each step's loss and norm before its update.
func train[T float32 | float64](t *testing.T, m *Model, g *goldenRun, o tape[T], each func(step int, loss, norm float64, params []*trained[T])) []*trained[T] {
	params := register(t, m, g, o)
	step := func(ids, targets []int32, starts []int) float64 {
		pos := make([]int, len(ids))
		for d, from := range starts {
			to := len(ids)
			if d+1 < len(starts) {
				to = starts[d+1]
			}
			for i := from; i < to; i++ {
				pos[i] = i - from
			}
		}
		for _, p := range params {
			clear(p.grad)
		}
		o.Documents(starts)
		loss := o.CrossEntropy(m.ForwardAt(o, ids, pos, nil), targets, -100, false)
		o.Backward(loss)
		defer o.Reset()
		return o.Values(loss)[0]
	}
	norm := func() float64 {
		sum := 0.0
		for _, p := range params {
			n := l2(p.grad)
			sum += n * n
		}
		return math.Sqrt(sum)
	}
	b1, b2, eps, decay := g.Optimizer.Betas[0], g.Optimizer.Betas[1], g.Optimizer.Eps, g.Optimizer.Decay
	update := func(step int, lr, clip float64) {
		for _, p := range params {
			for i, grad := range p.grad {
				w, d := float64(p.data[i]), float64(grad)*clip
				if p.decays {
					w *= 1 - lr*decay
				}
				mean, vari := b1*float64(p.mean[i])+(1-b1)*d, b2*float64(p.vari[i])+(1-b2)*d*d
				p.mean[i], p.vari[i] = T(mean), T(vari)
				mean /= 1 - math.Pow(b1, float64(step))
				vari /= 1 - math.Pow(b2, float64(step))
				p.data[i] = T(w - lr*mean/(math.Sqrt(vari)+eps))
			}
		}
	}
	g.run(t, m, func(i int, loss, norm float64) { each(i, loss, norm, params) }, step, norm, update)
	return params
}

// TestGoldenTraining trains every model that has a reference run for its steps, in float64 and in float32 on the vector kernels.
func TestGoldenTraining(t *testing.T) {
	dir := goldenDir(t)
	files, err := filepath.Glob(filepath.Join(dir, "training", "*", "training.safetensors"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no runs in %s", dir)
	}
	for _, path := range files {
		name := filepath.Base(filepath.Dir(path))
		t.Run(name, func(t *testing.T) {
			open := func() *Model {
				m, err := Open(filepath.Join(dir, "models", name))
				if err != nil {
					t.Fatal(err)
				}
				if err := m.InMemory(); err != nil {
					t.Fatal(err)
				}
				return m
			}
			text, err := os.ReadFile(filepath.Join(filepath.Dir(path), "training.json"))
			if err != nil {
				t.Fatal(err)
			}
			one := 1.0
			g := &goldenRun{}
			g.Optimizer.Name, g.Optimizer.Betas, g.Optimizer.Eps, g.Optimizer.Decay, g.Clip.MaxNorm = "AdamW", [2]float64{0.9, 0.95}, 1e-8, 0.1, &one
			if err := json.Unmarshal(text, g); err != nil {
				t.Fatal(err)
			}
			if g.Optimizer.Name != "AdamW" || g.Dropout != 0 {
				t.Fatalf("a run by %s with dropout %v has no counterpart here", g.Optimizer.Name, g.Dropout)
			}
			if g.file, err = safetensors.Open(path); err != nil {
				t.Fatal(err)
			}
			defer g.file.Close()
			open().Close() // skips before the subtests
			t.Run("f64", func(t *testing.T) { golden64(t, open(), g) })
			t.Run("f32", func(t *testing.T) { golden32(t, open(), g) })
		})
	}
}

// want reads a tensor that must be there.
func (g *goldenRun) want(t *testing.T, name string) []float64 {
	t.Helper()
	v, ok := g.values(t, name)
	if !ok {
		t.Fatalf("no %s", name)
	}
	return v
}

// worst keeps the largest differences, by what they are differences of, in shares of what is allowed.
type worst map[string]float64

func (w worst) check(t *testing.T, kind, what string, diff, allowed float64) {
	t.Helper()
	w[kind] = max(w[kind], diff)
	if !(diff <= allowed) {
		t.Errorf("%s: differs by %.3g (allowed %.3g)", what, diff, allowed)
	}
}

func golden64(t *testing.T, m *Model, g *goldenRun) {
	o := tensor.NewTape64()
	defer o.Close()
	const tol = 1e-9
	seen := worst{}
	relative := func(kind, what string, got, want float64) {
		t.Helper()
		seen.check(t, kind, what, math.Abs(got-want)/max(math.Abs(want), 1e-3), tol)
	}
	loss, norm := g.want(t, "loss64"), g.want(t, "grad_norm64")
	params := train[float64](t, m, g, o, func(step int, l, n float64, params []*trained[float64]) {
		relative("loss", fmt.Sprintf("loss of step %d", step), l, loss[step])
		relative("norm", fmt.Sprintf("gradient norm of step %d", step), n, norm[step])
		if step == 0 {
			for _, p := range params {
				relative("gradient", "gradient of "+p.name, l2(p.grad), g.want(t, "grad64_norm."+p.name)[0])
			}
		}
	})
	for _, p := range params {
		relative("parameter", "parameter "+p.name, l2(p.data), g.want(t, "param64_norm."+p.name)[0])
	}
	t.Logf("largest differences: %v", seen)
}

func golden32(t *testing.T, m *Model, g *goldenRun) {
	pool := kernel.NewPool(2)
	defer pool.Close()
	o := tensor.NewTape(pool)
	defer o.Close()
	var drift struct{ loss, norm, grad, param, abs float64 }
	for _, d := range g.Drift {
		drift.loss, drift.norm = max(drift.loss, d.Loss), max(drift.norm, d.GradNorm)
		drift.grad, drift.param, drift.abs = max(drift.grad, d.Grad), max(drift.param, d.Param), max(drift.abs, d.ParamAbs)
	}
	seen := worst{}
	loss, norm := g.want(t, "loss"), g.want(t, "grad_norm")
	params := train[float32](t, m, g, o, func(step int, l, n float64, params []*trained[float32]) {
		seen.check(t, "loss", fmt.Sprintf("loss of step %d", step), math.Abs(l-loss[step]), 1e-5+10*drift.loss)
		seen.check(t, "norm", fmt.Sprintf("gradient norm of step %d", step), math.Abs(n/norm[step]-1), 1e-5+10*drift.norm)
		if step == 0 {
			for _, p := range params {
				if want, ok := g.values(t, "grad."+p.name); ok {
					rel, _ := distance(p.grad, want, 1e-3*n) // what is zero but for rounding has no share of its own
					seen.check(t, "gradient", "gradient of "+p.name, rel, 1e-5+10*drift.grad)
				}
			}
		}
	})
	for _, p := range params {
		want, ok := g.values(t, "param."+p.name)
		if !ok {
			want := g.want(t, "param_norm."+p.name)[0]
			seen.check(t, "parameter", "parameter "+p.name, math.Abs(l2(p.data)/want-1), 5e-5+10*drift.param)
			continue
		}
		rel, abs := distance(p.data, want, 0)
		if abs > 2e-4+10*drift.abs {
			seen.check(t, "parameter", "parameter "+p.name, rel, 5e-5+10*drift.param)
		}
	}
	t.Logf("largest differences: %v", seen)
}

// distance is the L2 norm of a difference over that of want, or over least if that is more, and its largest element.
func distance(got []float32, want []float64, least float64) (rel, abs float64) {
	if len(got) != len(want) {
		return math.Inf(1), math.Inf(1)
	}
	diff, sum := 0.0, 0.0
	for i, v := range got {
		d := float64(v) - want[i]
		diff, sum, abs = diff+d*d, sum+want[i]*want[i], max(abs, math.Abs(d))
	}
	if diff == 0 {
		return 0, 0
	}
	return math.Sqrt(diff) / max(math.Sqrt(sum), least, 1e-10), abs
}
