package train

// Checkpoints: weights, the optimiser's state and the step, in one safetensors file that is written whole or not at all. The newest two are kept, so that whatever happens while one is
// written, the one before loads.

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/model"
	"github.com/lowkeylm/lowkey/train/optim"
)

var checkpointName = regexp.MustCompile(`^checkpoint-(\d{8})\.safetensors$`)

// checkpoints lists the complete checkpoints of a folder, oldest first.
func checkpoints(dir string) (paths []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries { // sorted by name, and so by step
		if checkpointName.MatchString(e.Name()) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths
}

// weightSlots are a model's tensors in a checkpoint.
func weightSlots(m *model.Model) (out []optim.Slot) {
	for _, p := range m.Parameters() {
		out = append(out, optim.Slot{Name: "weight." + p.Name, Shape: p.Shape, Data: p.Data})
	}
	return out
}

// slots are all tensors of the run that a checkpoint keeps.
func (t *Trainer) slots() []optim.Slot {
	out := weightSlots(t.Model)
	for _, s := range t.optimizer.State() {
		s.Name = "state." + s.Name
		out = append(out, s)
	}
	return out
}

// checkpoint is the path of the weights as they are.
func (t *Trainer) checkpoint() string {
	return filepath.Join(t.dir, fmt.Sprintf("checkpoint-%08d.safetensors", t.step))
}

func (t *Trainer) saveCheckpoint() error {
	if err := t.log.sync(); err != nil {
		return err
	}
	var tensors []safetensors.Tensor
	for _, s := range t.slots() {
		tensors = append(tensors, safetensors.Tensor{Name: s.Name, DType: safetensors.F32, Shape: s.Shape, Data: floatBytes(s.Data)})
	}
	if err := safetensors.Write(t.checkpoint(), tensors, map[string]string{"step": strconv.Itoa(t.step), "seconds": strconv.FormatFloat(t.seconds, 'f', 1, 64)}); err != nil {
		return err
	}
	t.saved = t.step
	old := checkpoints(t.dir)
	for _, p := range old[:max(0, len(old)-2)] {
		os.Remove(p)
	}
	return nil
}

// restore goes on from the newest checkpoint, if there is one.
func (t *Trainer) restore() error {
	removeParts(t.dir)
	all := checkpoints(t.dir)
	slices.Reverse(all)
	for i, path := range all {
		err := t.load(path)
		if err == nil {
			return nil
		}
		if i == len(all)-1 {
			return err
		}
	}
	return nil
}

func (t *Trainer) load(path string) error {
	return readCheckpoint(path, t.slots(), func(step int, seconds float64) {
		t.step, t.saved, t.seconds = step, step, seconds
		t.optimizer.SetSteps(step)
	})
}

// readCheckpoint fills slots, all or none, and tells at (if not nil) which step they are of.
func readCheckpoint(path string, slots []optim.Slot, at func(step int, seconds float64)) error {
	f, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	step, err := strconv.Atoi(f.Metadata["step"])
	if err != nil || step < 0 {
		return fault.New(fault.BadFile, path, "no step in its metadata", "", "remove it; an older checkpoint is used then")
	}
	for _, s := range slots {
		w, ok := f.Tensor(s.Name)
		if !ok || w.DType != safetensors.F32 || !slices.Equal(w.Shape, s.Shape) {
			return fault.New(fault.BadFile, path, "tensor "+s.Name, fmt.Sprintf("F32 %v is wanted", s.Shape), "remove it; an older checkpoint is used then")
		}
	}
	for _, s := range slots {
		w, _ := f.Tensor(s.Name)
		kernel.Dequantize(kernel.F32, s.Data, w.Data)
	}
	if at != nil {
		seconds, _ := strconv.ParseFloat(f.Metadata["seconds"], 64)
		at(step, seconds)
	}
	return nil
}

// removeParts drops what a killed process left half-written.
func removeParts(dir string) {
	parts, _ := filepath.Glob(filepath.Join(dir, ".*.part"))
	for _, p := range parts {
		os.Remove(p)
	}
}

func floatBytes(x []float32) []byte {
	b := make([]byte, 4*len(x))
	kernel.Quantize(kernel.F32, b, x) // F32 cannot fail
	return b
}
