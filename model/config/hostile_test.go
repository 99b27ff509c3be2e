package config

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

const small = `{"model_type":"llama","hidden_size":48,"intermediate_size":64,"num_hidden_layers":2,"num_attention_heads":6,"vocab_size":61`

// Hostile and broken files: refused with the field, the value and the limit, without a panic or a large allocation.
func TestHostile(t *testing.T) {
	for _, k := range []struct {
		name, json string
		kind       fault.Kind
		says       []string
	}{
		{"empty", ``, fault.BadFile, []string{"not a JSON object"}},
		{"list", `[1]`, fault.BadFile, []string{"not a JSON object"}},
		{"null", `null`, fault.BadFile, []string{"a JSON object is needed"}},
		{"unknown family", `{"model_type":"frobnicate"}`, fault.Unsupported, []string{"frobnicate", "llama"}},
		{"unknown wrapped family", `{"model_type":"vlm","text_config":{"model_type":"blip"}}`, fault.Unsupported, []string{"blip"}},
		{"no family", `{}`, fault.Unsupported, []string{"model_type"}},
		{"missing", `{"model_type":"llama"}`, fault.BadFile, []string{"hidden_size", "missing"}},
		{"huge hidden", strings.Replace(small, "48", "1152921504606846976", 1) + `}`, fault.BadFile, []string{"hidden_size", "1152921504606846976", "1048576"}},
		{"many layers", strings.Replace(small, `layers":2`, `layers":1000000000`, 1) + `}`, fault.BadFile, []string{"num_hidden_layers", "1000000000", "4096"}},
		{"negative", strings.Replace(small, "64", "-64", 1) + `}`, fault.BadFile, []string{"intermediate_size", "-64", "from 1"}},
		{"no heads", strings.Replace(small, `heads":6`, `heads":0`, 1) + `}`, fault.BadFile, []string{"num_attention_heads", "0"}},
		{"heads do not divide", strings.Replace(small, `heads":6`, `heads":7`, 1) + `}`, fault.BadFile, []string{"num_attention_heads", "7", "48"}},
		{"kv heads do not divide", small + `,"num_key_value_heads":4}`, fault.BadFile, []string{"kv heads", "4", "6 heads"}},
		{"half a layer", strings.Replace(small, `layers":2`, `layers":2.5`, 1) + `}`, fault.BadFile, []string{"2.5", "whole number"}},
		{"text", strings.Replace(small, `layers":2`, `layers":"2"`, 1) + `}`, fault.BadFile, []string{"num_hidden_layers", "number"}},
		{"overflowing number", small + `,"rope_theta":1e999}`, fault.BadFile, []string{"rope_theta", "1e999"}},
		{"negative base", small + `,"rope_theta":-1}`, fault.BadFile, []string{"rope_theta", "-1"}},
		{"base below one", small + `,"rope_theta":0.5}`, fault.BadFile, []string{"rope", "0.5"}},
		{"odd head", small + `,"head_dim":7}`, fault.BadFile, []string{"rotary width", "7", "even"}},
		{"rope not an object", small + `,"rope_parameters":[1]}`, fault.BadFile, []string{"rope_parameters", "object"}},
		{"llama3 factors equal", small + `,"rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4}}`, fault.BadFile, []string{"high_freq_factor"}},
		{"longrope lists", small + `,"rope_scaling":{"type":"longrope","short_factor":[1],"long_factor":[1]}}`, fault.BadFile, []string{"1 factors", "4 frequencies"}},
		{"longrope without lists", small + `,"rope_scaling":{"type":"longrope"}}`, fault.BadFile, []string{"short_factor", "missing"}},
		{"longrope zero", small + `,"rope_scaling":{"type":"longrope","short_factor":[1,0,1,1],"long_factor":[1,1,1,1]}}`, fault.BadFile, []string{"short_factor[1]", "above 0"}},
		{"longrope nearly zero", small + `,"rope_scaling":{"type":"longrope","short_factor":[1,1e-310,1,1],"long_factor":[1,1,1,1]}}`, fault.BadFile, []string{"short_factor[1]", "above 0"}},
		{"layer types", strings.Replace(small, "llama", "mistral", 1) + `,"layer_types":["full_attention"]}`, fault.BadFile, []string{"layer_types", "1 entries"}},
		{"unknown layer type", strings.Replace(small, "llama", "mistral", 1) + `,"layer_types":["linear_attention","full_attention"]}`, fault.Unsupported, []string{"linear_attention"}},
		{"too many experts chosen", strings.Replace(small, "llama", "mixtral", 1) + `,"num_key_value_heads":1,"num_local_experts":2,"num_experts_per_tok":3}`, fault.BadFile, []string{"experts per token", "3"}},
		{"chain of shared caches", strings.Replace(small, "llama", "lckv-llama", 1) + `,"source":"x","layer_types":"1_0"}`, fault.Unsupported, []string{"layer_types", "own rows"}},
		{"shared cache out of range", strings.Replace(small, "llama", "lckv-llama", 1) + `,"source":"x","layer_types":"0_9"}`, fault.BadFile, []string{"layer_types", "9"}},
		{"unknown research design", `{"model_type":"x","source":"y","attention":"z"}`, fault.Unsupported, []string{"attention", "z"}},
		{"own design by a wrong name", strings.Replace(small, "llama", "lowkey", 1) + `,"attention":"gqa"}`, fault.BadFile, []string{"gqa", "mha"}},
		{"own unknown design", strings.Replace(small, "llama", "lowkey", 1) + `,"attention":"nsa"}`, fault.Unsupported, []string{"nsa"}},
	} {
		t.Run(k.name, func(t *testing.T) {
			c, err := Parse([]byte(k.json), "config.json")
			if !fault.Is(err, k.kind) {
				t.Fatalf("got %+v, error %v; want kind %v", c, err, k.kind)
			}
			for _, s := range k.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
		})
	}
	if _, err := Parse([]byte(small+"}"), "config.json"); err != nil {
		t.Errorf("the sound file is refused: %v", err)
	}
}

func TestFromFolder(t *testing.T) {
	dir := t.TempDir()
	if _, err := FromFolder(filepath.Join(dir, "none")); !fault.Is(err, fault.BadInput) {
		t.Errorf("no folder: %v", err)
	}
	if _, err := FromFolder(dir); !fault.Is(err, fault.BadInput) {
		t.Errorf("no file: %v", err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("config.json", small+`,"eos_token_id":2,"bos_token_id":1}`)
	write("generation_config.json", `{"eos_token_id":[2,7]}`)
	c, err := FromFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if c.BOS != 1 || len(c.EOS) != 2 || c.EOS[1] != 7 {
		t.Errorf("bos %d, eos %v", c.BOS, c.EOS)
	}
	write("generation_config.json", `{"eos_token_id":"x"}`)
	if _, err := FromFolder(dir); !fault.Is(err, fault.BadFile) {
		t.Errorf("bad generation_config.json: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(small + "}"))
	seeds, _ := filepath.Glob("testdata/*.json")
	golden, _ := filepath.Glob("../../../shared/golden/models/*/config.json")
	if root := os.Getenv("LOWKEY_GOLDEN"); root != "" {
		golden, _ = filepath.Glob(filepath.Join(root, "models", "*", "config.json"))
	}
	for _, s := range append(seeds, golden...) {
		if data, err := os.ReadFile(s); err == nil {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data, "fuzz")
		if err != nil {
			return
		}
		// What was accepted can be used without care: every figure is finite and positive.
		_ = c.Runnable()
		if n := c.CacheElementsPerToken(); !(n > 0 && n < math.MaxInt64) {
			t.Errorf("%g numbers a token", n)
		}
		for i := range c.Layers {
			inv, factor, err := c.Layers[i].Attention.Rope.Frequencies(c.MaxPosition)
			if err != nil && !fault.Is(err, fault.Unsupported) {
				t.Fatal(err)
			}
			for _, v := range append(inv, factor) {
				if err == nil && (math.IsNaN(v) || math.IsInf(v, 0) || v < 0) {
					t.Fatalf("layer %d: frequency or factor %g of %+v", i, v, c.Layers[i].Attention.Rope)
				}
			}
		}
	})
}
