package eval

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kernel"
)

// goldenDir is where outputs of other implementations lie; the test is skipped where there are none.
func goldenDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("LOWKEY_GOLDEN")
	if dir == "" {
		if dir = "../../shared/golden"; !exists(dir) {
			t.Skip("no reference outputs: set LOWKEY_GOLDEN")
		}
	}
	if !exists(dir) {
		t.Fatalf("LOWKEY_GOLDEN: no %s", dir)
	}
	return dir
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// published opens a published model of the cache folder; the test is skipped where it is absent.
func published(t *testing.T, file string, o lowkey.Options) *lowkey.Model {
	t.Helper()
	dir := os.Getenv("LOWKEY_CACHE")
	if dir == "" {
		home, _ := os.UserHomeDir()
		dir = filepath.Join(home, ".cache", "lowkey")
	}
	path := filepath.Join(dir, file)
	if !exists(path) {
		t.Skipf("no %s: run tools/fetch-models", path)
	}
	if kernel.Level() == "plain" {
		t.Skip("the plain path takes minutes")
	}
	m, err := lowkey.Load(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// TestGoldenReal holds the mean negative log-likelihood of published models to that of another implementation, in float32 to 1e-4, with int8 activations and an f16 cache to 1 %.
func TestGoldenReal(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(goldenDir(t), "real", "*.json"))
	if len(files) == 0 {
		t.Fatal("no real models among the reference outputs")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var want struct {
				File    string  `json:"model"`
				MeanNLL float64 `json:"mean_nll_300"`
			}
			text, err := os.ReadFile(file)
			if err == nil {
				err = json.Unmarshal(text, &want)
			}
			if err != nil {
				t.Fatal(err)
			}
			ids := tokens(t, file[:len(file)-len("json")]+"safetensors")
			for _, c := range []struct {
				options   lowkey.Options
				tolerance float64
			}{{lowkey.Options{Context: 512, KV: "f32", Activations: "f32"}, 1e-4}, {lowkey.Options{Context: 512}, want.MeanNLL / 100}} {
				m := published(t, want.File, c.options)
				got, err := Text(context.Background(), m, ids, Options{Window: 512})
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s cache: %.6f, the reference has %.6f", m.KV(), got.MeanNLL(), want.MeanNLL)
				if got.Tokens != len(ids)-1 || !(math.Abs(got.MeanNLL()-want.MeanNLL) <= c.tolerance) {
					t.Errorf("%s cache: mean negative log-likelihood %.6f of %d tokens, want %.6f of %d", m.KV(), got.MeanNLL(), got.Tokens, want.MeanNLL, len(ids)-1)
				}
			}
		})
	}
}

func tokens(t *testing.T, path string) (ids []int32) {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x, _ := f.Tensor("input_ids")
	wide, err := safetensors.Int64s(x)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range wide {
		ids = append(ids, int32(v))
	}
	return ids
}
