package model

// Golden models in other clothes: the same weights under a wrapper's names, or as a GGUF file, must give the same reference logits.

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/gguf"
	"github.com/lowkeylm/lowkey/format/safetensors"
)

func goldenFolder(t *testing.T, name string) (string, *safetensors.File, []byte) {
	t.Helper()
	folder := filepath.Join(goldenDir(t), "models", name)
	f, err := safetensors.OpenFolder(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	text, err := os.ReadFile(filepath.Join(folder, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	return folder, f, text
}

// A text model inside a wrapper keeps its configuration in text_config and its tensors behind a prefix.
func TestGoldenWrapped(t *testing.T) {
	folder, f, text := goldenFolder(t, "gemma3_text")
	config, err := json.Marshal(fields{"model_type": "gemma3", "text_config": json.RawMessage(text)})
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"language_model.model.", "model.language_model.", "language_model.", ""} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			var tensors []safetensors.Tensor
			for _, name := range f.Names() {
				x, _ := f.Tensor(name)
				x.Name = prefix + strings.TrimPrefix(name, "model.")
				tensors = append(tensors, x)
			}
			tensors = append(tensors, safetensors.Tensor{Name: "vision_tower.weight", DType: safetensors.F32, Shape: []int{1}, Data: make([]byte, 4)})
			dir := t.TempDir()
			if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), tensors, nil); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
				t.Fatal(err)
			}
			m, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			goldenModel(t, m, folder)
		})
	}
}

// llama3Divisors are what converters store in rope_freqs.weight: 1 for short waves, the factor for long ones, a blend between.
func llama3Divisors(dim int, base, factor, low, high, original float64) []float32 {
	var out []float32
	for i := 0; i < dim; i += 2 {
		wave := 2 * math.Pi * math.Pow(base, float64(i)/float64(dim))
		smooth := (original/wave - low) / (high - low)
		switch {
		case wave < original/high:
			out = append(out, 1)
		case wave > original/low:
			out = append(out, float32(factor))
		default:
			out = append(out, float32(1/((1-smooth)/factor+smooth)))
		}
	}
	return out
}

// Llama 3 as GGUF: query and key rows permuted for interleaved pairs, the scaling of frequencies in a tensor.
func TestGoldenRopeFactors(t *testing.T) {
	folder, f, text := goldenFolder(t, "llama_gqa_llama3rope")
	var c struct {
		Hidden  int `json:"hidden_size"`
		Wide    int `json:"intermediate_size"`
		Layers  int `json:"num_hidden_layers"`
		Heads   int `json:"num_attention_heads"`
		KVHeads int `json:"num_key_value_heads"`
		HeadDim int `json:"head_dim"`
		Context int `json:"max_position_embeddings"`
		Vocab   int `json:"vocab_size"`
		Rope    struct {
			Factor   float64
			High     float64 `json:"high_freq_factor"`
			Low      float64 `json:"low_freq_factor"`
			Original float64 `json:"original_max_position_embeddings"`
			Theta    float64 `json:"rope_theta"`
		} `json:"rope_parameters"`
		RMSEps float32 `json:"rms_norm_eps"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	pairs := []gguf.Pair{{Key: "general.architecture", Value: "llama"}, {Key: "llama.embedding_length", Value: uint32(c.Hidden)}, {Key: "llama.feed_forward_length", Value: uint32(c.Wide)},
		{Key: "llama.block_count", Value: uint32(c.Layers)}, {Key: "llama.attention.head_count", Value: uint32(c.Heads)}, {Key: "llama.attention.head_count_kv", Value: uint32(c.KVHeads)},
		{Key: "llama.attention.key_length", Value: uint32(c.HeadDim)}, {Key: "llama.attention.value_length", Value: uint32(c.HeadDim)}, {Key: "llama.rope.dimension_count", Value: uint32(c.HeadDim)},
		{Key: "llama.context_length", Value: uint32(c.Context)}, {Key: "llama.vocab_size", Value: uint32(c.Vocab)}, {Key: "llama.rope.freq_base", Value: float32(c.Rope.Theta)},
		{Key: "llama.attention.layer_norm_rms_epsilon", Value: c.RMSEps}}
	names := strings.NewReplacer("model.layers.", "blk.", "self_attn.q_proj", "attn_q", "self_attn.k_proj", "attn_k", "self_attn.v_proj", "attn_v", "self_attn.o_proj", "attn_output",
		"mlp.gate_proj", "ffn_gate", "mlp.up_proj", "ffn_up", "mlp.down_proj", "ffn_down", "post_attention_layernorm", "ffn_norm", "input_layernorm", "attn_norm",
		"model.embed_tokens", "token_embd", "model.norm", "output_norm", "lm_head", "output")
	write := func(divisors []float32) string {
		var tensors []gguf.Source
		add := func(name string, shape []int, x []float32) {
			s := gguf.Source{Name: name, Type: gguf.F32}
			for i := len(shape) - 1; i >= 0; i-- {
				s.Dims = append(s.Dims, uint64(shape[i]))
			}
			for _, v := range x {
				s.Data = binary.LittleEndian.AppendUint32(s.Data, math.Float32bits(v))
			}
			tensors = append(tensors, s)
		}
		for _, name := range f.Names() {
			x, _ := f.Tensor(name)
			v, err := safetensors.Float32s(x)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(name, "q_proj") || strings.Contains(name, "k_proj") {
				v = interleave(v, c.Hidden, c.HeadDim)
			}
			add(names.Replace(name), x.Shape, v)
		}
		if divisors != nil {
			add("rope_freqs.weight", []int{len(divisors)}, divisors)
		}
		path := filepath.Join(t.TempDir(), "m.gguf")
		if err := gguf.Write(path, pairs, tensors); err != nil {
			t.Fatal(err)
		}
		return path
	}
	divisors := llama3Divisors(c.HeadDim, c.Rope.Theta, c.Rope.Factor, c.Rope.Low, c.Rope.High, c.Rope.Original)
	m, err := Open(write(divisors))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	goldenModel(t, m, folder)
	split, err := Open(splitGGUF(t, write(divisors)))
	if err != nil {
		t.Fatal(err)
	}
	defer split.Close()
	goldenModel(t, split, folder)
	if a, b := m.Fingerprint(64), split.Fingerprint(64); a != b {
		t.Errorf("split, the model is another: %s and %s", a, b)
	}
	unscaled, err := Open(write(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer unscaled.Close()
	ids := []int32{5, 9, 2, 40, 31, 7, 7, 12, 3, 50, 22, 18}
	a, b := cachedLogits(t, m, ids, len(ids), "f32"), cachedLogits(t, unscaled, ids, len(ids), "f32")
	if math.Abs(a[len(a)-1]-b[len(b)-1]) < 1e-4*math.Abs(a[len(a)-1]) {
		t.Error("the divisors change nothing here: nothing was tested")
	}
	for what, bad := range map[string][]float32{"too few": divisors[1:], "zero": append([]float32{0}, divisors[1:]...), "not a number": append([]float32{float32(math.NaN())}, divisors[1:]...)} {
		if m, err := Open(write(bad)); !fault.Is(err, fault.BadFile) {
			t.Errorf("%s: %v", what, err)
			if err == nil {
				m.Close()
			}
		}
	}
}

// splitGGUF writes a file as two parts, each with about half of the tensors, and gives the first's name.
func splitGGUF(t *testing.T, path string) string {
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	for part := range 2 {
		pairs := []gguf.Pair{{Key: "split.no", Value: uint16(part)}, {Key: "split.count", Value: uint16(2)}, {Key: "split.tensors.count", Value: int32(len(f.Tensors))}}
		if part == 0 {
			for _, key := range f.Keys {
				pairs = append(pairs, gguf.Pair{Key: key, Value: f.Value(key)})
			}
		}
		var tensors []gguf.Source
		half := len(f.Tensors) / 2
		for _, x := range [][]gguf.Tensor{f.Tensors[:half], f.Tensors[half:]}[part] {
			tensors = append(tensors, gguf.Source{Name: x.Name, Type: x.Type, Dims: x.Dims, Data: f.Data(x)})
		}
		if err := gguf.Write(filepath.Join(dir, fmt.Sprintf("m-%05d-of-00002.gguf", part+1)), pairs, tensors); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "m-00001-of-00002.gguf")
}

// interleave reorders the rows of each head so that channels i and i + d/2 become 2i and 2i + 1.
func interleave(w []float32, cols, d int) []float32 {
	out := make([]float32, len(w))
	for r := 0; r < len(w)/cols; r++ {
		h, i := r/d, r%d
		to := h*d + i%(d/2)*2 + i/(d/2)
		copy(out[to*cols:][:cols], w[r*cols:][:cols])
	}
	return out
}
