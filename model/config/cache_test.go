package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// parseFile parses a file of testdata, or stops the test.
func parseFile(t *testing.T, name string) *Config {
	t.Helper()
	c, err := FromFolder(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The published bytes a token of four models, with 16-bit caches.
func TestCacheBytesOfPublishedModels(t *testing.T) {
	cases := []struct {
		file    string
		bytes   float64
		first   []Stream
		refused string // by Runnable
	}{
		{"llama-3.1-8b.json", 131072, []Stream{{"k", 8, 128, Turned, "", false}, {"v", 8, 128, Mixed, "", false}}, ""},
		{"llama-2-7b.json", 524288, []Stream{{"k", 32, 128, Turned, "", false}, {"v", 32, 128, Mixed, "", false}}, ""},
		{"deepseek-v3.json", 70272, []Stream{{"latent", 1, 512, Tied, "", false}, {"rope", 1, 64, Turned, "", false}}, "fp8"},
		{"step-3.json", 62464, []Stream{{"k", 1, 256, Turned, "", false}, {"v", 1, 256, Mixed, "", false}}, ""},
	}
	for _, k := range cases {
		t.Run(k.file, func(t *testing.T) {
			c := parseFile(t, k.file)
			if got := 2 * c.CacheElementsPerToken(); got != k.bytes {
				t.Errorf("%g bytes a token, want %g", got, k.bytes)
			}
			if got := c.CacheElements(0); !reflect.DeepEqual(got, k.first) {
				t.Errorf("streams %v, want %v", got, k.first)
			}
			err := c.Runnable()
			switch {
			case k.refused == "" && err != nil:
				t.Error(err)
			case k.refused != "" && (!fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), k.refused)):
				t.Errorf("Runnable says %v, want it to name %q", err, k.refused)
			}
		})
	}
}

func TestStep3Facts(t *testing.T) {
	c := parseFile(t, "step-3.json")
	a := c.Layers[0].Attention
	if c.ModelType != "step3_text" || c.Wrapper != "step3_vl" || c.Architecture != "Step3TextForCausalLM" || c.DType != "bfloat16" || c.MaxPosition != 65536 {
		t.Errorf("%q in %q, %q, %q, context %d", c.ModelType, c.Wrapper, c.Architecture, c.DType, c.MaxPosition)
	}
	if a.Design != MFA || a.QRank != 2048 || !a.QNorm || a.LatentNormEps != 1e-5 || a.Scale != 1.0/16 || a.Rope.Base != 500000 || a.Rope.Dim != 256 || a.Rope.Layout != Half {
		t.Errorf("attention %+v", a)
	}
	for i, l := range c.Layers { // layers 4..59 are mixtures
		if l.MLP.MoE() != (i >= 4 && i <= 59) {
			t.Errorf("layer %d: mixture is %v", i, l.MLP.MoE())
		}
	}
	if m := c.Layers[4].MLP; m.ExpertIntermediate != 5120 || m.SharedIntermediate != 5120 || m.ExpertsPerToken != 3 {
		t.Errorf("mixture %+v", m)
	}
	// The same layers as a list, and a file that names none: all but the first.
	data, err := os.ReadFile("testdata/step-3.json")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	from := strings.Index(text, `"moe_layers_enum"`)
	to := from + strings.Index(text[from:], "\n")
	for _, k := range []struct {
		field  string
		sparse int
	}{{`"moe_layers_enum": [7, 9],`, 2}, {"", 60}, {`"moe_layers_enum": "",`, 0}, {`"moe_num_experts": 0,`, 0}} {
		edited := text[:from] + k.field + text[to:]
		if strings.Contains(k.field, "num_experts") {
			edited = strings.Replace(text[:from], `"moe_num_experts": 48,`, k.field, 1) + text[to:]
		}
		c, err := Parse([]byte(edited), "edited")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, l := range c.Layers {
			if l.MLP.MoE() {
				n++
			}
		}
		if n != k.sparse {
			t.Errorf("%s: %d mixtures, want %d", k.field, n, k.sparse)
		}
		if err := c.Runnable(); err != nil {
			t.Errorf("%s: Runnable says %v", k.field, err)
		}
	}
}

// DeepSeek-V3: the softmax scale includes yarn's factor squared, (0.1 ln 40 + 1)^2; cos and sin are not scaled (mscale = mscale_all_dim).
func TestDeepSeekV3Facts(t *testing.T) {
	c := parseFile(t, "deepseek-v3.json")
	a := c.Layers[0].Attention
	near(t, "scale", a.Scale, 0.1352337788608801) // 192^-0.5 * 1.3688879454^2
	if _, factor, err := a.Rope.Frequencies(4096); err != nil || factor != 1 {
		t.Errorf("factor %v, error %v", factor, err)
	}
	if a.HeadDim != 192 || a.ValueDim != 128 || a.QRank != 1536 || a.Rope.Layout != Pairs || a.Rope.Dim != 64 || a.LatentNormEps != 1e-6 {
		t.Errorf("attention %+v", a)
	}
	if c.Quantization != "fp8" {
		t.Errorf("quantization %q", c.Quantization)
	}
	if c.Layers[2].MLP.MoE() || !c.Layers[3].MLP.MoE() || c.Layers[3].MLP.SharedIntermediate != 2048 {
		t.Errorf("MLPs %+v %+v", c.Layers[2].MLP, c.Layers[3].MLP)
	}
	for i := range c.Layers { // a dense one carries the expert fields too, but is refused for its weights alone
		c.Layers[i].MLP = c.Layers[0].MLP
	}
	if err := c.Runnable(); err == nil || !strings.Contains(err.Error(), "quantization_config: fp8") {
		t.Errorf("Runnable says %v", err)
	}
	c.Quantization = ""
	if err := c.Runnable(); err != nil {
		t.Error(err)
	}
}

// Numbers cached per token and layer by the other designs' formulae.
func TestCacheElementsByDesign(t *testing.T) {
	for _, k := range []struct {
		a    Attention
		want int
	}{
		{Attention{Design: MFAKR, KVHeads: 1, HeadDim: 256, SharesWith: -1}, 256},
		{Attention{Design: TPA, Heads: 22, HeadDim: 64, ValueDim: 64, KRank: 2, VRank: 3, SharesWith: -1}, (2 + 3) * (22 + 64)},
		{Attention{Design: GTA, Heads: 6, KVHeads: 2, HeadDim: 13, ValueDim: 13, RopeDim: 6, SharesWith: -1}, 2*13 + 6},
		{Attention{Design: GLA, Latents: 2, KVRank: 20, RopeDim: 6, SharesWith: -1}, 26},
		{Attention{Design: MKA, KVHeads: 4, HeadDim: 11, ValueDim: 11, Levels: 2, SharesWith: -1}, 2 * 4 * 22},
		{Attention{Design: GQA, KVHeads: 4, HeadDim: 11, ValueDim: 11, SharesWith: 0}, 0},
	} {
		c := Config{Layers: []Layer{{Attention: k.a}}}
		if got := c.CacheElementsPerToken(); got != float64(k.want) {
			t.Errorf("%s: %g numbers, want %d", k.a.Design, got, k.want)
		}
	}
	c := Config{Layers: []Layer{{Attention: Attention{Design: MTLA, Latents: 1, KVRank: 20, RopeDim: 6, RowTokens: 2, SharesWith: -1}}}}
	if got := c.CacheElementsPerToken(); got != 13 {
		t.Errorf("mtla: %g numbers a token, want 13", got)
	}
}
