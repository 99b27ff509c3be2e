package config

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/gguf"
)

// values is metadata in memory.
type values map[string]any

func (m values) String(k string) (string, bool) { v, ok := m[k].(string); return v, ok }
func (m values) Bool(k string) (bool, bool)     { v, ok := m[k].(bool); return v, ok }
func (m values) Uint(k string) (uint64, bool)   { v, ok := m[k].(int); return uint64(v), ok }
func (m values) Float(k string) (float64, bool) { v, ok := m[k].(float64); return v, ok }
func (m values) Strings(k string) []string      { v, _ := m[k].([]string); return v }
func (m values) Ints(k string) []int64          { v, _ := m[k].([]int64); return v }
func (m values) Bools(k string) []bool          { v, _ := m[k].([]bool); return v }

// with returns metadata of an architecture: a small sound set, then changes; a nil value removes.
func with(arch string, changes values) values {
	m := values{"general.architecture": arch, "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.eot_token_id": 3, "tokenizer.ggml.tokens": make([]string, 61)}
	for k, v := range (values{"block_count": 12, "context_length": 256, "embedding_length": 48, "feed_forward_length": 64, "attention.head_count": 6, "attention.head_count_kv": 2,
		"rope.freq_base": 5000.0, "attention.layer_norm_rms_epsilon": 1e-5}) {
		m[arch+"."+k] = v
	}
	for k, v := range changes {
		if !strings.Contains(k, "general.") && !strings.Contains(k, "tokenizer.") {
			k = arch + "." + k
		}
		if v == nil {
			delete(m, k)
		} else {
			m[k] = v
		}
	}
	return m
}

func TestGGUFFamilies(t *testing.T) {
	read := func(m values) *Config {
		t.Helper()
		c, err := FromGGUF(m)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := read(with("llama", nil))
	a := c.Layers[0].Attention
	if a.Rope.Layout != Pairs || a.Rope.Dim != 8 || a.Rope.Base != 5000 || a.Design != GQA || c.Vocab != 61 || c.BOS != 1 || len(c.EOS) != 2 || c.Norm.Eps != 1e-5 || c.MaxPosition != 256 {
		t.Errorf("llama: %+v %+v", c, a)
	}
	if c := read(with("qwen3", values{"attention.key_length": 16, "attention.value_length": 16})); c.Layers[0].Attention.Rope.Layout != Half || c.Layers[0].Attention.QKNorm != NormHead || c.Layers[0].Attention.HeadDim != 16 {
		t.Errorf("qwen3: %+v", c.Layers[0].Attention)
	}
	if c := read(with("llama", values{"attention.head_count_kv": []int64{1, 2, 3, 6, 1, 1, 1, 1, 1, 1, 1, 1}})); c.Layers[3].Attention.Design != MHA || c.Layers[4].Attention.Design != MQA {
		t.Errorf("heads by layer: %+v", c.Layers[3].Attention)
	}
	c = read(with("llama", values{"expert_count": 4, "expert_used_count": 2}))
	if m := c.Layers[0].MLP; m.Experts != 4 || m.ExpertIntermediate != 64 || !m.Routing.Norm || c.Runnable() != nil {
		t.Errorf("mixtral: %+v, Runnable %v", m, c.Runnable())
	}
	c = read(with("llama", values{"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64}))
	if _, factor, err := c.Layers[0].Attention.Rope.Frequencies(256); err != nil || math.Abs(factor-1.1386294361119891) > 1e-12 { // 0.1 ln 4 + 1
		t.Errorf("yarn: factor %v, error %v", factor, err)
	}
	c = read(with("deepseek2", values{"attention.q_lora_rank": 24, "attention.kv_lora_rank": 20, "attention.head_count_kv": 1, "attention.key_length": 26, "attention.value_length": 20,
		"attention.key_length_mla": 18, "attention.value_length_mla": 10, "rope.dimension_count": 6}))
	if a := c.Layers[0].Attention; a.Design != MLA || a.Nope != 12 || a.ValueDim != 10 || c.CacheElementsPerToken() != 12*26 {
		t.Errorf("deepseek2: %+v", a)
	}
	c = read(with("deepseek2", values{"attention.kv_lora_rank": 20, "attention.head_count_kv": 1, "attention.key_length_mla": 18, "attention.value_length_mla": 10, "rope.dimension_count": 6,
		"expert_count": 8, "expert_used_count": 3, "expert_feed_forward_length": 18, "expert_shared_count": 2, "leading_dense_block_count": 1, "expert_group_count": 4, "expert_group_used_count": 2,
		"expert_weights_scale": 2.5}))
	if m := c.Layers[1].MLP; c.ModelType != "deepseek_v2" || c.Runnable() != nil || m.SharedIntermediate != 36 || m.Routing != (Routing{Score: SoftmaxScore, Groups: 4, TopGroups: 2, GroupTop: 1, Scale: 2.5}) || c.Layers[0].MLP.MoE() {
		t.Errorf("deepseek2 mixture: %s %+v, Runnable %v", c.ModelType, m, c.Runnable())
	}
	c = read(with("qwen3moe", values{"expert_count": 8, "expert_used_count": 3, "expert_feed_forward_length": 18, "expert_gating_func": 7}))
	if err := c.Runnable(); !fault.Is(err, fault.Unsupported) {
		t.Errorf("a gating function that is not known: Runnable says %v", err)
	}
}

// Gemma 3 in GGUF: pattern and local base are known, not stored; norms are ready.
func TestGGUFGemma(t *testing.T) {
	m := with("gemma3", values{"attention.key_length": 16, "attention.value_length": 16, "attention.sliding_window": 32, "rope.freq_base": 1e6, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0})
	c, err := FromGGUF(m)
	if err != nil {
		t.Fatal(err)
	}
	if c.ModelType != "gemma3_text" || c.Norm.PlusOne || !c.SandwichNorms || c.Layers[0].MLP.Activation != GELUTanh || c.FinalSoftcap != 0 {
		t.Errorf("%+v", c)
	}
	near(t, "embedding scale", c.EmbedScale, math.Sqrt(48))
	for i, l := range c.Layers {
		a := l.Attention
		if full := i == 5 || i == 11; full && (a.Window != 0 || a.Rope.Base != 1e6 || a.Rope.Kind != RopeLinear) || !full && (a.Window != 32 || a.Rope.Base != 10000 || a.Rope.Kind != RopeDefault) {
			t.Errorf("layer %d: window %d, rope %+v", i, a.Window, a.Rope)
		}
		if a.Scale != 0.25 || a.QKNorm != NormHead || a.Rope.Layout != Half {
			t.Errorf("layer %d: %+v", i, a)
		}
	}
	m["gemma3.attention.sliding_window_pattern"] = []bool{false, true, true, true, true, true, true, true, true, true, true, true}
	if c, err = FromGGUF(m); err != nil || c.Layers[0].Attention.Window != 0 || c.Layers[5].Attention.Window != 32 {
		t.Errorf("pattern of the file: %v", err)
	}
}

func TestGGUFHostile(t *testing.T) {
	for name, m := range map[string]values{
		"no architecture":  {},
		"unknown":          with("frobnicate", nil),
		"no layers":        with("llama", values{"block_count": 0}),
		"many layers":      with("llama", values{"block_count": 1 << 30}),
		"missing width":    with("llama", values{"embedding_length": nil}),
		"huge width":       with("llama", values{"embedding_length": 1 << 60}),
		"no heads":         with("llama", values{"attention.head_count": nil}),
		"kv heads":         with("llama", values{"attention.head_count_kv": 4}),
		"too few kv heads": with("llama", values{"attention.head_count_kv": []int64{1}}),
		"negative kv head": with("llama", values{"attention.head_count_kv": []int64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1}}),
		"NaN base":         with("llama", values{"rope.freq_base": math.NaN()}),
		"infinite eps":     with("llama", values{"attention.layer_norm_rms_epsilon": math.Inf(1)}),
		"odd rotary width": with("llama", values{"rope.dimension_count": 7}),
		"wide rotary":      with("llama", values{"rope.dimension_count": 10}),
		"no MLP":           with("llama", values{"feed_forward_length": nil}),
		"MLA without rank": with("deepseek2", nil),
		"pattern length":   with("gemma3", values{"attention.sliding_window": 8, "attention.sliding_window_pattern": []bool{true}}),
	} {
		c, err := FromGGUF(m)
		if !fault.Is(err, fault.BadFile) && !fault.Is(err, fault.Unsupported) {
			t.Errorf("%s: %+v, error %v", name, c, err)
		}
	}
}

// The two published files: facts their makers state elsewhere.
func TestGGUFRealFiles(t *testing.T) {
	open := func(name string) (*Config, *gguf.File) {
		dir := os.Getenv("LOWKEY_CACHE")
		if dir == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				t.Skip("no home folder")
			}
			dir = filepath.Join(home, ".cache", "lowkey")
		}
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err != nil {
			t.Skipf("%s is not in the cache folder", name)
		}
		f, err := gguf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		c, err := FromGGUF(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Runnable(); err != nil {
			t.Error(err)
		}
		return c, f
	}
	t.Run("SmolLM2", func(t *testing.T) {
		c, _ := open("SmolLM2-135M-Instruct.Q4_1.gguf")
		a := c.Layers[29].Attention
		if len(c.Layers) != 30 || c.Hidden != 576 || c.Vocab != 49152 || c.MaxPosition != 8192 || a.Heads != 9 || a.KVHeads != 3 || a.HeadDim != 64 || a.Rope.Base != 100000 || a.Rope.Layout != Pairs || a.Scale != 0.125 {
			t.Errorf("%+v %+v", c, a)
		}
		if got := c.CacheElementsPerToken(); got != 11520 { // 30 * 2 * 3 * 64
			t.Errorf("%g numbers a token", got)
		}
	})
	t.Run("Gemma 3", func(t *testing.T) {
		c, f := open("gemma-3-270m-q4_k_m.gguf")
		a := c.Layers[17].Attention
		if len(c.Layers) != 18 || c.Hidden != 640 || c.Vocab != 262144 || a.Heads != 4 || a.KVHeads != 1 || a.HeadDim != 256 || a.Window != 0 || c.Layers[16].Attention.Window != 512 || a.Scale != 1.0/16 {
			t.Errorf("%+v %+v", c, a)
		}
		// Norms are ready. The published weights w are bfloat16, and every stored number minus one is such a number, while many stored numbers are not: they are 1+w.
		norms, ready, plain, count := 0, 0, 0, 0
		for _, w := range f.Tensors {
			if !strings.HasSuffix(w.Name, "norm.weight") || w.Type.String() != "F32" {
				continue
			}
			norms++
			for b := f.Data(w); len(b) >= 4; b = b[4:] {
				v := math.Float32frombits(binary.LittleEndian.Uint32(b))
				count++
				if math.Float32bits(v-1)&0xffff == 0 {
					ready++
				}
				if math.Float32bits(v)&0xffff == 0 {
					plain++
				}
			}
		}
		if norms != 18*6+1 || ready != count || plain > count*9/10 {
			t.Errorf("%d norms of %d numbers: %d are a bfloat16 plus one, %d a bfloat16", norms, count, ready, plain)
		}
	})
}
