package model

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/safetensors"
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
	if testing.Short() {
		t.Skip("bytes do not depend on the instruction level")
	}
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
				switch design := m.Config.Layers[0].Attention.Design; {
				case i == 1 && design == "tpa":
					kv = "k=q8h,v=q8h,k_a=q8,v_a=q8"
				case i == 1 && design != "mfa-kr" && !slices.ContainsFunc(m.Layouts()[0].Streams, func(s kvcache.Stream) bool { return s.Width%2 != 0 }):
					kv = "q8h"
				}
				if opt.Spec, err = kvcache.ParseSpec(kv); err != nil {
					t.Fatal(err)
				}
				asAnnounced(t, fmt.Sprint("options ", i), m, opt, lengths)
			}
			designs[m.Config.Layers[0].Attention.Design]++
		})
	}
	t.Logf("models by design: %v", designs)
}

// asAnnounced loads m, runs steps, and compares what the engine then holds with what was announced: its weights to the byte, its workspace at most. The engine lives until the test ends.
func asAnnounced(t *testing.T, what string, m *Model, opt Options, lengths []int) (weights, scratch int64, e *Engine) {
	t.Helper()
	want, err := WeightBytes(m, opt)
	if err != nil {
		t.Fatal(what, err)
	}
	if e, err = NewEngine(m, opt, nil); err != nil {
		t.Fatal(what, err)
	}
	t.Cleanup(e.Close)
	if weights = e.WeightBytes(); weights != want {
		t.Errorf("%s: the engine holds %d bytes of weights, %d were announced", what, weights, want)
	}
	steps(t, e, lengths)
	most := ScratchBytes(m.Config, 256, LogitRows, opt.Fast)
	if scratch = e.ScratchBytes(); scratch > most {
		t.Errorf("%s: the workspace holds %d bytes, at most %d were announced", what, scratch, most)
	}
	return weights, scratch, e
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

// synthetic writes a model of one layer, wide enough that a step of 256 tokens fills several slabs, with tensors of these shapes.
func synthetic(t *testing.T, config string, tensors map[string][]int) *Model {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var list []safetensors.Tensor
	for name, shape := range tensors {
		if !strings.HasPrefix(name, "model.") && name != "lm_head" {
			name = "model.layers.0." + name
		}
		whole, bare := strings.CutSuffix(name, "!") // parameters that are no module's weight
		if !bare {
			whole += ".weight"
		}
		n := 4
		for _, d := range shape {
			n *= d
		}
		list = append(list, safetensors.Tensor{Name: whole, DType: safetensors.F32, Shape: shape, Data: make([]byte, n)})
	}
	if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), list, nil); err != nil {
		t.Fatal(err)
	}
	m, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

// Wide layers of every design, MFA-KR with its folded output matrix among them: the golden models are too small to fill a slab.
func TestBytesOfWideLayers(t *testing.T) {
	if testing.Short() {
		t.Skip("bytes do not depend on the instruction level")
	}
	const d, f, v = 96, 2048, 8192
	common := func(more map[string][]int) map[string][]int {
		all := map[string][]int{"model.embed_tokens": {v, d}, "model.norm": {d}, "lm_head": {v, d}, "input_layernorm": {d}, "post_attention_layernorm": {d},
			"mlp.gate_proj": {f, d}, "mlp.up_proj": {f, d}, "mlp.down_proj": {d, f}}
		for k, s := range more {
			all["self_attn."+k] = s
		}
		return all
	}
	head := `{"model_type":"lowkey","hidden_size":96,"intermediate_size":2048,"num_hidden_layers":1,"vocab_size":8192,"num_attention_heads":16,`
	for _, c := range []struct {
		name, config, kv string
		tensors          map[string][]int
	}{
		{"gqa", head + `"attention":"gqa","num_key_value_heads":8,"head_dim":128,"qk_norm":true}`, "q8h",
			map[string][]int{"q_proj": {2048, d}, "k_proj": {1024, d}, "v_proj": {1024, d}, "o_proj": {d, 2048}, "q_norm": {128}, "k_norm": {128}}},
		{"mla", head + `"attention":"mla","kv_lora_rank":192,"qk_nope_head_dim":64,"qk_rope_head_dim":32,"v_head_dim":64,"q_lora_rank":128}`, "q8h",
			map[string][]int{"q_a_proj": {128, d}, "q_a_layernorm": {128}, "q_b_proj": {16 * 96, 128}, "kv_a_proj_with_mqa": {224, d}, "kv_a_layernorm": {192}, "kv_b_proj": {16 * 128, 192}, "o_proj": {d, 1024}}},
		{"mfa", head + `"attention":"mfa","head_dim":128,"q_lora_rank":64}`, "q8h",
			map[string][]int{"q_a_proj": {64, d}, "q_a_layernorm": {64}, "q_b_proj": {2048, 64}, "k_proj": {128, d}, "v_proj": {128, d}, "o_proj": {d, 2048}}},
		{"mfa-kr", head + `"attention":"mfa-kr","head_dim":128,"q_lora_rank":64}`, "q8",
			map[string][]int{"q_a_proj": {64, d}, "q_a_layernorm": {64}, "q_b_proj": {2048, 64}, "k_proj": {128, d}, "o_proj": {d, 2048}, "alpha!": {128}, "n!": {128, 128}}},
		{"mfa-kr, relative values", head + `"attention":"mfa-kr","head_dim":128,"q_lora_rank":64,"values":"relative"}`, "q8h",
			map[string][]int{"q_a_proj": {64, d}, "q_a_layernorm": {64}, "q_b_proj": {2048, 64}, "k_proj": {128, d}, "o_proj": {d, 2048}}},
		{"tpa", head + `"attention":"tpa","head_dim":128,"q_rank":6,"k_rank":2,"v_rank":3}`, "k=q8h,v=q8h,k_a=q8,v_a=q8",
			map[string][]int{"a_q_proj": {16 * 6, d}, "b_q_proj": {6 * 128, d}, "a_k_proj": {16 * 2, d}, "b_k_proj": {2 * 128, d}, "a_v_proj": {16 * 3, d}, "b_v_proj": {3 * 128, d}, "o_proj": {d, 2048}}},
		{"gla", head + `"attention":"gla","kv_lora_rank":192,"qk_nope_head_dim":64,"qk_rope_head_dim":32,"v_head_dim":64}`, "q8h",
			map[string][]int{"q_proj": {16 * 96, d}, "kv_a_proj_with_mqa": {224, d}, "kv_a_layernorm.0": {96}, "kv_a_layernorm.1": {96}, "kv_b_proj.0": {8 * 128, 96}, "kv_b_proj.1": {8 * 128, 96}, "o_proj": {d, 1024}}},
		{"mlra", head + `"attention":"mlra","num_latents":2,"kv_lora_rank":192,"qk_nope_head_dim":64,"qk_rope_head_dim":32,"v_head_dim":64,"q_lora_rank":128}`, "q8h",
			map[string][]int{"q_a_proj": {128, d}, "q_a_layernorm": {128}, "q_b_proj": {16 * 96, 128}, "kv_a_proj_with_mqa": {224, d}, "kv_a_layernorm.0": {96}, "kv_a_layernorm.1": {96},
				"kv_b_proj.0": {16 * 128, 96}, "kv_b_proj.1": {16 * 128, 96}, "o_proj": {d, 1024}}},
		{"gta", head + `"attention":"gta","num_key_value_heads":8,"head_dim":128}`, "q8h",
			map[string][]int{"q_proj": {2048, d}, "kv_proj": {1024, d}, "k_rope_proj": {64, d}, "o_proj": {d, 2048}}},
		{"ccgqa", head + `"attention":"ccgqa","num_key_value_heads":4,"head_dim":64,"cca_time0":3}`, "q8h",
			map[string][]int{"q_proj": {1024, d}, "k_proj": {256, d}, "v_proj": {128, d}, "v_late_proj": {128, d}, "o_proj": {d, 1024}, "temp": {4},
				"conv0": {1280, 3}, "conv0.bias!": {1280}, "conv1": {1280, 128}, "conv1.bias!": {1280}}},
		{"mtla", head + `"attention":"mtla","kv_lora_rank":192,"qk_nope_head_dim":64,"qk_rope_head_dim":32,"v_head_dim":64,"q_lora_rank":128}`, "q8h",
			map[string][]int{"q_a_proj": {128, d}, "q_a_layernorm": {128}, "q_a_layernorm.bias!": {128}, "q_b_proj": {16 * 96, 128}, "kv_a_proj_with_mqa": {224, d}, "kv_a_layernorm": {192},
				"kv_a_layernorm.bias!": {192}, "kv_b_proj": {16 * 128, 192}, "o_proj": {d, 1024}, "merge_block_proj": {48, 192}, "merge_latent_proj": {48, 192}}},
		{"mka", head + `"attention":"mka","num_key_value_heads":8,"head_dim":128,"memory_levels":3}`, "q8h",
			map[string][]int{"q_proj": {2048, d}, "k_proj": {1024, d}, "v_proj": {1024, d}, "o_proj": {d, 2048}, "router.0": {48, 2048}, "router.2": {3, 48}}},
		{"mka-fast", head + `"attention":"mka-fast","num_key_value_heads":8,"head_dim":128,"memory_levels":3}`, "q8h",
			map[string][]int{"q_proj": {2048, d}, "k_proj": {1024, d}, "v_proj": {1024, d}, "o_proj": {d, 2048}, "router.0": {48, 2048}, "router.2": {3, 48}}},
		{"tucker", head + `"attention":"tucker","head_rank":8,"q_rank":256,"k_rank":128,"v_rank":96,"out_rank":160}`, "q8h",
			map[string][]int{"q_a_proj": {256, d}, "q_core": {8 * 128, 256}, "q_heads": {16, 8}, "k_proj": {128, d}, "v_proj": {96, d}, "o_heads": {8, 16}, "o_core": {160, 8 * 96}, "o_proj": {d, 160}}},
		{"moas", head + `"attention":"moas","head_dim":128}`, "q8h",
			map[string][]int{"mha.q_proj": {2048, d}, "mha.k_proj": {2048, d}, "mha.v_proj": {2048, d}, "mha.o_proj": {d, 2048}, "gqa.q_proj": {2048, d}, "gqa.k_proj": {256, d}, "gqa.v_proj": {256, d},
				"gqa.o_proj": {d, 2048}, "mqa.q_proj": {2048, d}, "mqa.k_proj": {128, d}, "mqa.v_proj": {128, d}, "mqa.o_proj": {d, 2048}, "router_a": {24, d}, "router_b": {3, 24}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := synthetic(t, c.config, common(c.tensors))
			pool := kernel.NewPool(2)
			defer pool.Close()
			opt := Options{Pool: pool, Arith: kernel.ArithInt8, MaxRows: 600, Budget: 64 << 20}
			var err error
			if opt.Spec, err = kvcache.ParseSpec(c.kv); err != nil {
				t.Fatal(err)
			}
			_, scratch, e := asAnnounced(t, c.name, m, opt, []int{1, 256, 1, 100, 31})
			if scratch <= 4*slabFloats {
				t.Errorf("the workspace holds %d bytes, not more than one slab", scratch)
			}
			seq := e.Store.NewSequence("")
			defer seq.Close()
			if _, err := e.Step([]Feed{{Sequence: seq, Tokens: make([]int32, 200), All: true}}); err != nil {
				t.Fatal(err)
			}
			if got, most := e.ScratchBytes(), ScratchBytes(m.Config, 256, 200, false); got > most || got < 4*200*v {
				t.Errorf("with all logits of 200 tokens the workspace holds %d bytes, at most %d were announced", got, most)
			}
		})
	}
}

// Biases are counted, each 4 bytes a row.
func TestBytesOfBiases(t *testing.T) {
	config := `{"model_type":"lowkey","attention":"gqa","hidden_size":32,"intermediate_size":64,"num_hidden_layers":1,"vocab_size":48,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":16}`
	tensors := map[string][]int{"model.embed_tokens": {48, 32}, "model.norm": {32}, "lm_head": {48, 32}, "input_layernorm": {32}, "post_attention_layernorm": {32}, "mlp.gate_proj": {64, 32},
		"mlp.up_proj": {64, 32}, "mlp.down_proj": {32, 64}, "self_attn.q_proj": {64, 32}, "self_attn.k_proj": {32, 32}, "self_attn.v_proj": {32, 32}, "self_attn.o_proj": {32, 64}}
	bytes := func() int64 {
		m := synthetic(t, config, tensors)
		pool := kernel.NewPool(1)
		defer pool.Close()
		held, _, _ := asAnnounced(t, "biases", m, Options{Pool: pool, MaxRows: 64, Budget: 1 << 20}, []int{1, 32})
		return held
	}
	without := bytes()
	for name, rows := range map[string]int{"self_attn.q_proj": 64, "self_attn.v_proj": 32, "mlp.up_proj": 64, "mlp.down_proj": 32} {
		tensors[name+".bias!"] = []int{rows}
	}
	if with := bytes(); with-without != 4*(64+32+64+32) {
		t.Errorf("four biases take %d bytes", with-without)
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
