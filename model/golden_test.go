package model

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// goldenDir finds the reference outputs; the test is skipped where there are none.
func goldenDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("LOWKEY_GOLDEN")
	if dir == "" {
		dir = "../../shared/golden"
		if _, err := os.Stat(dir); err != nil {
			t.Skip("no reference outputs: set LOWKEY_GOLDEN")
		}
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("LOWKEY_GOLDEN: %v", err)
	}
	return dir
}

func TestGoldenModels(t *testing.T) {
	dir := goldenDir(t)
	configs, err := filepath.Glob(filepath.Join(dir, "models", "*", "config.json"))
	if err != nil || len(configs) == 0 {
		t.Fatalf("no models in %s", dir)
	}
	ran := map[string]int{}
	for _, c := range configs {
		folder := filepath.Dir(c)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			m, err := Open(folder)
			if fault.Is(err, fault.Unsupported) && isModule(folder) {
				goldenModule(t, folder)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			goldenModel(t, m, folder)
			ran[m.Config.Layers[0].Attention.Design]++
		})
	}
	t.Logf("ran: %v", ran)
}

// isModule reports whether a folder holds one attention module alone, which Open refuses.
func isModule(folder string) bool {
	m := &Model{Path: folder}
	return m.readConfig(folder) == nil && m.Config.Module
}

func goldenModel(t *testing.T, m *Model, folder string) {
	f, err := safetensors.Open(filepath.Join(folder, "golden.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	floats := func(name string) []float32 {
		x, ok := f.Tensor(name)
		if !ok {
			return nil
		}
		v, err := safetensors.Float32s(x)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, suffix := range []string{"", "_b"} {
		x, ok := f.Tensor("input_ids" + suffix)
		want := floats("logits" + suffix)
		if !ok || want == nil {
			if suffix == "" {
				t.Fatal("no input_ids or logits")
			}
			continue
		}
		wide, err := safetensors.Int64s(x)
		if err != nil {
			t.Fatal(err)
		}
		ids := make([]int32, len(wide))
		for i, v := range wide {
			ids[i] = int32(v)
		}
		top := peak(want)
		o := tensor.NewEager32()
		got := o.Values(m.Forward(o, ids, func(layer int, y tensor.Tensor) {
			if ref := floats(fmt.Sprintf("attn_out_%d%s", layer, suffix)); ref != nil {
				compare(t, fmt.Sprintf("Forward, attention output of layer %d", layer), o.Values(y), ref, 1e-4*peak(ref))
			}
		}))
		compare(t, "Forward", got, want, 1e-4*top)
		one := cachedLogits(t, m, ids, 1, "f32")
		compare(t, "cached step, token by token", one, want, 1e-4*top)
		for _, chunk := range []int{7, len(ids)} {
			chunked := cachedLogits(t, m, ids, chunk, "f32")
			compare(t, fmt.Sprintf("cached step, chunks of %d", chunk), chunked, want, 1e-4*top)
			if !slices.Equal(chunked, one) {
				t.Errorf("chunks of %d have other bits than token by token", chunk)
			}
		}
	}
}

func peak(x []float32) float64 {
	top := 0.0
	for _, v := range x {
		top = max(top, math.Abs(float64(v)))
	}
	return top
}

func compare(t *testing.T, what string, got []float64, want []float32, bound float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	worst, at := 0.0, 0
	for i, v := range got {
		if d := math.Abs(v - float64(want[i])); !(d <= worst) {
			worst, at = d, i
		}
	}
	if !(worst <= bound) {
		t.Errorf("%s: element %d differs by %.3g (bound %.3g)", what, at, worst, bound)
	}
}

func cachedLogits(t *testing.T, m *Model, ids []int32, chunk int, kv string) []float64 {
	t.Helper()
	spec, err := kvcache.ParseSpec(kv)
	if err != nil {
		t.Fatal(err)
	}
	pool := kernel.NewPool(2)
	defer pool.Close()
	e, err := NewEngine(m, Options{Pool: pool, Spec: spec, MaxRows: len(ids), Budget: 16 << 20}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	seq := e.Store.NewSequence("")
	var out []float64
	for at := 0; at < len(ids); at += chunk {
		y, err := e.Step([]Feed{{Sequence: seq, Tokens: ids[at:min(at+chunk, len(ids))], All: true}})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range y.Float32s() {
			out = append(out, float64(v))
		}
	}
	return out
}
