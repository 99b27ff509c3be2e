package model

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
)

// bytesFolders lists models of every design that is here: golden folders and, where the cache has them, real files.
func bytesFolders(t *testing.T) []string {
	t.Helper()
	root, set := os.LookupEnv("LOWKEY_GOLDEN")
	if !set {
		root = filepath.Join("..", "..", "shared", "golden")
	}
	folders, _ := filepath.Glob(filepath.Join(root, "models", "*"))
	if set && len(folders) == 0 {
		t.Fatalf("LOWKEY_GOLDEN=%s holds no models", root)
	}
	cache := os.Getenv("LOWKEY_CACHE")
	if cache == "" {
		home, _ := os.UserHomeDir()
		cache = filepath.Join(home, ".cache", "lowkey")
	}
	for _, name := range []string{"SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"} {
		if _, err := os.Stat(filepath.Join(cache, name)); err == nil {
			folders = append(folders, filepath.Join(cache, name))
		}
	}
	if len(folders) == 0 {
		t.Skip("no golden models and no cached files here")
	}
	return folders
}

// What WeightBytes and ScratchBytes say before loading holds for the engine that was loaded and has run its longest steps.
func TestBytesBeforeLoading(t *testing.T) {
	designs := map[string]int{}
	for _, path := range bytesFolders(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			m, err := Open(path)
			var unsupported *fault.Error
			if errors.As(err, &unsupported) && unsupported.Kind == fault.Unsupported {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			pool := kernel.NewPool(2)
			defer pool.Close()
			q8, f16 := kernel.Q8_0, kernel.F16
			for i, opt := range []Options{{Arith: kernel.ArithInt8}, {Arith: kernel.ArithF32, Weights: &q8}, {Weights: &f16}} {
				lengths := []int{1, 256, 1, 100, 31}
				if m.GGUF != nil { // large: one loading, few tokens
					if i > 0 {
						continue
					}
					lengths = []int{1, 8}
				}
				opt.Pool, opt.MaxRows, opt.Budget = pool, 600, 64<<20
				kv := "f16"
				if i == 1 && m.Config.Layers[0].Attention.Design != "mfa-kr" {
					kv = "q8h"
				}
				if opt.Spec, err = kvcache.ParseSpec(kv); err != nil {
					t.Fatal(err)
				}
				want, err := WeightBytes(m, opt)
				if err != nil {
					t.Fatal(err)
				}
				e, err := NewEngine(m, opt, nil)
				if err != nil {
					t.Fatal(err)
				}
				if got := e.WeightBytes(); got != want {
					t.Errorf("options %d: the engine holds %d bytes of weights, %d were announced", i, got, want)
				}
				steps(t, e, lengths)
				if got, most := e.ScratchBytes(), ScratchBytes(m.Config, 256); got > most {
					t.Errorf("options %d: the workspace holds %d bytes, at most %d were announced", i, got, most)
				}
				e.Close()
			}
			designs[m.Config.Layers[0].Attention.Design]++
		})
	}
	t.Logf("models by design: %v", designs)
}

// steps feeds one sequence by steps of these lengths, then shares a step between 16.
func steps(t *testing.T, e *Engine, lengths []int) {
	t.Helper()
	ids := func(n int) []int32 { return make([]int32, n) }
	one := e.Store.NewSequence("")
	defer one.Close()
	for _, n := range lengths {
		if _, err := e.Step([]Feed{{Sequence: one, Tokens: ids(n)}}); err != nil {
			t.Fatal(err)
		}
	}
	var feeds []Feed
	for i := 0; i < 16; i++ {
		s := e.Store.NewSequence("")
		defer s.Close()
		feeds = append(feeds, Feed{Sequence: s, Tokens: ids(max(1, lengths[1]/16))})
	}
	if _, err := e.Step(feeds); err != nil {
		t.Fatal(err)
	}
}

func TestWeightBytesOfMissingTensor(t *testing.T) {
	for _, path := range bytesFolders(t) {
		m, err := Open(path)
		if err != nil {
			continue
		}
		defer m.Close()
		m.Config.Hidden++
		if _, err := WeightBytes(m, Options{}); !fault.Is(err, fault.BadFile) {
			t.Errorf("a configuration that does not fit the tensors: %v", err)
		}
		return
	}
	t.Skip("no model opens")
}
