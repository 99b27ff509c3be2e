package lowkey

// Banks of retrieved vectors, read from files.

import (
	"fmt"
	"slices"

	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/safetensors"
)

// ReadMemory reads a bank for this model from a safetensors file: for each layer N that has a third memory level a tensor layers.N of float numbers, [vectors, hidden], with at least one vector; and no other
// tensor. It is what Session.GiveMemory takes. A model without such layers is Unsupported, a file that does not fit a Mismatch.
func (m *Model) ReadMemory(path string) (*Memory, error) {
	widths := make([]int, len(m.m.Config.Layers))
	for i := range widths {
		if r, ok := m.m.Design(i).(attention.MemoryReader); ok {
			widths[i] = r.MemoryWidth()
		}
	}
	if slices.Max(widths) == 0 {
		return nil, fault.New(fault.Unsupported, "memory bank "+path, "for a model of attention design "+m.m.Config.Layers[0].Attention.Design, "its layers read no bank", "mka and mka-fast with memory_levels 3 read one")
	}
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	bank, known := &Memory{Layers: make([][]float32, len(widths))}, map[string]bool{}
	for i, width := range widths {
		if width == 0 {
			continue
		}
		name, shape := fmt.Sprintf("layers.%d", i), fmt.Sprintf("layer %d reads vectors of %d numbers", i, width)
		known[name] = true
		t, ok := f.Tensor(name)
		if !ok {
			return nil, fault.New(fault.Mismatch, path+": tensor "+name, "missing", shape, fmt.Sprintf("give a tensor [vectors, %d]", width))
		}
		if len(t.Shape) != 2 || t.Shape[0] < 1 || t.Shape[1] != width {
			return nil, fault.New(fault.Mismatch, path+": tensor "+name, fmt.Sprintf("shape %v", t.Shape), shape, fmt.Sprintf("give a tensor [vectors, %d]", width))
		}
		if bank.Layers[i], err = safetensors.Float32s(t); err != nil {
			return nil, err
		}
	}
	for _, name := range f.Names() {
		if !known[name] {
			return nil, fault.New(fault.Mismatch, path+": tensor "+name, "no layer reads it", "tensors are layers.N, one for each layer with a third memory level", "remove it")
		}
	}
	return bank, m.m.CheckMemory(bank)
}
