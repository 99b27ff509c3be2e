package model

// KV-Latent's dimensions against the public code: converted models whose meta.json gives widths of keys and values, and tables of frequencies. The files hold new attention weights; all other
// tensors are their source's.

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

// narrowed is an entry of such a meta.json.
type narrowed struct {
	Source string  `json:"source"`
	Keys   int     `json:"d_qk"`
	Values int     `json:"d_vo"`
	Scale  float64 `json:"softmax_scale"`
}

func TestKVLatentGolden(t *testing.T) {
	metas, _ := filepath.Glob(filepath.Join(goldenDir(t), "*", "*", "meta.json"))
	models := 0
	for _, meta := range metas {
		text, err := os.ReadFile(meta)
		if err != nil {
			t.Fatal(err)
		}
		var entries map[string]json.RawMessage
		if json.Unmarshal(text, &entries) != nil {
			continue
		}
		for name, raw := range entries {
			var n narrowed
			if json.Unmarshal(raw, &n) != nil || n.Keys == 0 || n.Values == 0 {
				continue
			}
			models++
			dir := filepath.Dir(meta)
			t.Run(name, func(t *testing.T) {
				n.compare(t, filepath.Join(dir, name+".safetensors"), filepath.Join(filepath.Dir(dir), "source"))
			})
		}
	}
	if models == 0 {
		t.Fatal("no converted models among the golden files")
	}
}

func (n narrowed) compare(t *testing.T, file, sources string) {
	open := func(path string) *safetensors.File {
		f, err := safetensors.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	converted, source, given := open(file), open(filepath.Join(sources, n.Source+".safetensors")), open(filepath.Join(sources, "ids_and_logits.safetensors"))
	floats := func(f *safetensors.File, name string) []float32 {
		x, ok := f.Tensor(name)
		v, err := safetensors.Float32s(x)
		if !ok || err != nil {
			t.Fatal(name, ok, err)
		}
		return v
	}
	text, err := os.ReadFile(filepath.Join(sources, n.Source+".json"))
	if err != nil {
		t.Fatal(err)
	}
	c := fields{}
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	c = c.with(fields{"model_type": "lowkey", "attention": "kvlatent", "head_dim": n.Keys, "v_head_dim": n.Values})
	var tensors []safetensors.Tensor
	for _, name := range source.Names() {
		x, _ := source.Tensor(name)
		if y, ok := converted.Tensor(name); ok {
			x = y
		}
		tensors = append(tensors, x)
	}
	dir := t.TempDir()
	text, _ = json.Marshal(c)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), tensors, nil); err != nil {
		t.Fatal(err)
	}
	m, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	a := &m.Config.Layers[0].Attention
	if math.Abs(a.Scale-n.Scale) > 1e-12 {
		t.Errorf("scale %v, the public code has %v", a.Scale, n.Scale)
	}
	inv, _, err := a.Rope.Frequencies(1)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "frequencies", inv, floats(converted, "rope_inv_freq"), 1e-7)

	x, _ := given.Tensor("test_ids")
	wide, err := safetensors.Int64s(x)
	if err != nil {
		t.Fatal(err)
	}
	want := floats(converted, "logits")
	top, length := peak(want), x.Shape[1]
	for row := range x.Shape[0] {
		ids := make([]int32, length)
		for i := range ids {
			ids[i] = int32(wide[row*length+i])
		}
		want := want[row*length*m.Config.Vocab:][:length*m.Config.Vocab]
		o := tensor.NewEager32()
		compare(t, fmt.Sprintf("row %d, Forward", row), o.Values(m.Forward(o, ids, nil)), want, 1e-4*top)
		for _, chunk := range []int{1, 7, length} {
			compare(t, fmt.Sprintf("row %d, cached step, chunks of %d", row, chunk), cachedLogits(t, m, ids, chunk, "f32"), want, 1e-4*top)
		}
	}
}

// Tables are tensors inv_freq.dWIDTH.baseBASE, wherever they lie.
func TestKVLatentTables(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(goldenDir(t), "*", "*", "*.safetensors"))
	tables := 0
	for _, path := range files {
		f, err := safetensors.Open(path)
		if err != nil {
			continue // another test's
		}
		for _, name := range f.Names() {
			var width, base int
			if !strings.HasPrefix(name, "inv_freq.d") {
				continue
			}
			if _, err := fmt.Sscanf(name, "inv_freq.d%d.base%d", &width, &base); err != nil {
				continue
			}
			tables++
			x, _ := f.Tensor(name)
			want, err := safetensors.Float32s(x)
			if err != nil {
				t.Fatal(err)
			}
			inv, _, err := config.Rope{Dim: width, Base: float64(base), Kind: config.RopeKVLatent}.Frequencies(1)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range inv {
				if i >= len(want) || math.Abs(v-float64(want[i])) > 2e-7*v {
					t.Errorf("%s: frequency %d is %v, the public code has %v", name, i, v, want)
					break
				}
			}
		}
		f.Close()
	}
	if tables == 0 {
		t.Fatal("no tables among the golden files")
	}
}
