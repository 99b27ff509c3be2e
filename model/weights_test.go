package model

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

const tinyMFA = `{"model_type":"lowkey","attention":"mfa","hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":5,"head_dim":32,"q_lora_rank":32,"vocab_size":40,
	"max_position_embeddings":64,"tie_word_embeddings":true}`

// A model made in memory is the same after a trip through a folder: exactly in F32, within the rounding in BF16 and Q8_0.
func TestSaveOpen(t *testing.T) {
	m, err := New([]byte(tinyMFA), 7)
	if err != nil {
		t.Fatal(err)
	}
	ids := []int32{1, 5, 39, 2, 2, 17}
	o := tensor.NewEager32()
	want := o.Values(m.Forward(o, ids, nil))
	for format, limit := range map[kernel.Format]float64{kernel.F32: 0, kernel.BF16: 0.02, kernel.Q8_0: 0.05} {
		dir := filepath.Join(t.TempDir(), "model")
		if err := m.Save(dir, format); err != nil {
			t.Fatal(err)
		}
		back, err := Open(dir)
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		got := o.Values(back.Forward(o, ids, nil))
		var worst, most float64
		for i := range want {
			worst, most = max(worst, math.Abs(got[i]-want[i])), max(most, math.Abs(want[i]))
		}
		if worst > limit*most {
			t.Errorf("%s: logits differ by %g of %g", format, worst, most)
		}
		if format == kernel.Q8_0 {
			if w, _ := back.src.Tensor("model.layers.0.mlp.up_proj.weight"); w.Format != kernel.Q8_0 {
				t.Errorf("stored as %s", w.Format)
			}
		}
		if err := back.InMemory(); err != nil {
			t.Fatal(err)
		}
		if again := o.Values(back.Forward(o, ids, nil)); !slices.Equal(again, got) {
			t.Errorf("%s: in memory it computes something else", format)
		}
		if len(back.Parameters()) != len(m.Parameters()) {
			t.Errorf("%d tensors in memory, want %d", len(back.Parameters()), len(m.Parameters()))
		}
	}
}

// The same seed gives the same weights; another seed others; a tensor's values do not depend on the rest of the model.
func TestNewSeeds(t *testing.T) {
	a, _ := New([]byte(tinyMFA), 7)
	b, _ := New([]byte(tinyMFA), 7)
	c, _ := New([]byte(tinyMFA), 8)
	x, y, z := a.Parameters()[2], b.Parameters()[2], c.Parameters()[2]
	if x.Data[3] != y.Data[3] || x.Data[3] == z.Data[3] {
		t.Errorf("%s: %v %v %v", x.Name, x.Data[3], y.Data[3], z.Data[3])
	}
}

func TestSaveRefusals(t *testing.T) {
	m, _ := New([]byte(tinyMFA), 1)
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o666)
	if m.Save(file, kernel.F32) == nil || m.Save(t.TempDir(), kernel.Q4_0) == nil {
		t.Error("no error")
	}
}

// A bias behind the output matrix does not run, and is not left out silently.
func TestHeadBiasRefused(t *testing.T) {
	m, err := New([]byte(tinyMFA), 1)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	m.src.(*memory).add("lm_head.bias", []int{m.Config.Vocab})
	if err := m.Save(dir, kernel.F32); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "lm_head.bias") {
		t.Errorf("%v", err)
	}
}

// A design's weights stand in two lists: as its mathematics names and starts them, and as configurations name and store them. They are the same weights.
func TestParamsAreTensors(t *testing.T) {
	for _, row := range tinies() {
		m := row.open(t, 1, false)
		stored := map[string][]int{}
		for _, x := range config.DesignOf(row.design).Tensors(m.Config, &m.Config.Layers[0].Attention) {
			stored[x.Name] = x.Shape
			if x.Bias {
				stored[x.Name+".bias"] = x.Shape[:1]
			}
		}
		for _, p := range m.designs[0].Params() {
			if !slices.Equal(stored[p.Name], p.Shape) {
				t.Errorf("%s: weight %s is %v, stored as %v", row.name, p.Name, p.Shape, stored[p.Name])
			}
			delete(stored, p.Name)
		}
		for name := range stored {
			t.Errorf("%s: %s is stored, but no weight of the design", row.name, name)
		}
	}
}
