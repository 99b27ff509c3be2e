package lowkey

import (
	"encoding/binary"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/model"
)

// A bank's numbers come from its file, a session reads them, and a file that is not one for the model is refused with the tensor's name.
func TestReadMemory(t *testing.T) {
	open := func(fields string) *Model {
		src, err := model.New([]byte(`{"model_type": "lowkey", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50,
			"max_position_embeddings": 128, "attention": `+fields+`}`), 1)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Use(src, nil, Options{Threads: 1, Memory: 256 << 20})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
		return m
	}
	dir := t.TempDir()
	file := func(name string, shapes map[string][]int) string {
		var out []safetensors.Tensor
		for tensor, shape := range shapes {
			w := safetensors.Tensor{Name: tensor, DType: safetensors.F32, Shape: shape}
			for i := range w.Elems() {
				w.Data = binary.LittleEndian.AppendUint32(w.Data, math.Float32bits(float32(i%7)-3))
			}
			out = append(out, w)
		}
		path := filepath.Join(dir, name)
		if err := safetensors.Write(path, out, nil); err != nil {
			t.Fatal(err)
		}
		return path
	}
	m := open(`"mka-fast", "memory_levels": 3`)
	good := file("good", map[string][]int{"layers.0": {5, 32}, "layers.1": {1, 32}})
	bank, err := m.ReadMemory(good)
	if err != nil || len(bank.Layers) != 2 || len(bank.Layers[0]) != 5*32 || len(bank.Layers[1]) != 32 || bank.Layers[0][8] != -2 {
		t.Fatalf("%v, %v", bank, err)
	}
	logits := func(bank *Memory) []float32 {
		s := m.NewSession("")
		defer s.Close()
		if err := s.GiveMemory(bank); err != nil {
			t.Fatal(err)
		}
		if err := s.Feed(t.Context(), []int32{3, 1, 4}); err != nil {
			t.Fatal(err)
		}
		return slices.Clone(s.logits)
	}
	if slices.Equal(logits(bank), logits(nil)) {
		t.Error("the bank changes no logit")
	}
	for name, c := range map[string]struct {
		shapes map[string][]int
		word   string
	}{
		"missing": {map[string][]int{"layers.0": {5, 32}}, "layers.1"}, "width": {map[string][]int{"layers.0": {5, 31}, "layers.1": {1, 32}}, "layers.0"},
		"empty": {map[string][]int{"layers.0": {5, 32}, "layers.1": {0, 32}}, "layers.1"}, "flat": {map[string][]int{"layers.0": {160}, "layers.1": {1, 32}}, "layers.0"},
		"more": {map[string][]int{"layers.0": {5, 32}, "layers.1": {1, 32}, "layers.2": {1, 32}}, "layers.2"},
	} {
		if _, err := m.ReadMemory(file(name, c.shapes)); !fault.Is(err, fault.Mismatch) || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := m.ReadMemory(filepath.Join(dir, "nothing")); !fault.Is(err, fault.BadInput) {
		t.Errorf("no file: %v", err)
	}
	for _, without := range []string{`"mka-fast"`, `"mha"`} {
		if _, err := open(without).ReadMemory(good); !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "memory_levels 3") {
			t.Errorf("%s: %v", without, err)
		}
	}
}
