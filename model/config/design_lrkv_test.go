package config

import (
	"math"
	"strings"
	"testing"
)

// LRKV, KHA and KV-Latent's dimensions in lowkey's own form: defaults, numbers a token, what is refused.
func TestNativeResiduals(t *testing.T) {
	base := `{"model_type":"lowkey","hidden_size":48,"intermediate_size":64,"num_hidden_layers":2,"num_attention_heads":6,"vocab_size":61,`
	const mla = `"kv_lora_rank":20,"qk_nope_head_dim":12,"qk_rope_head_dim":6`
	for _, k := range []struct {
		fields string
		cached float64 // numbers a token, both layers
		why    string  // of a refusal
	}{
		{fields: `"attention":"lrkv"`, cached: 2 * 2 * (8 + 6*2)}, // 3/8 of 8, made even
		{fields: `"attention":"lrkv","head_dim":32,"kv_rank":12,"latent_rope_dim":8`, cached: 2 * 2 * (32 + 6*12)},
		{fields: `"attention":"lrkv","head_dim":32,"kv_rank":12,"latent_rope_dim":14`, why: "latent_rope_dim"},
		{fields: `"attention":"lrkv","head_dim":32,"latent_rope_dim":3`, why: "latent_rope_dim"},
		{fields: `"attention":"kha-linear"`, cached: 2 * 2 * 48},
		{fields: `"attention":"kha-linear","num_key_value_heads":2,"qk_norm":true`, cached: 2 * 2 * 16},
		{fields: `"attention":"kha-mlp","num_key_value_heads":1`, cached: 2 * 2 * 8},
		{fields: `"attention":"kha-mla",` + mla, cached: 2 * 26},
		{fields: `"attention":"kvlatent"`, why: "head_dim"},
		{fields: `"attention":"kvlatent","head_dim":4,"v_head_dim":5,"num_key_value_heads":2`, cached: 2 * 2 * (4 + 5)},
		{fields: `"attention":"kvlatent","head_dim":8`, cached: 2 * 6 * 16},
		{fields: `"attention":"kvlatent","head_dim":6`, why: "multiple of 4"}, // the public code fails here
		{fields: `"attention":"kvlatent","head_dim":8,"rope_scaling":{"type":"linear","factor":2}`, why: "its own frequencies"},
	} {
		c, err := Parse([]byte(base+k.fields+"}"), "own")
		switch {
		case k.why != "":
			if err == nil || !strings.Contains(err.Error(), k.why) {
				t.Errorf("%s: %v, want a refusal that names %s", k.fields, err, k.why)
			}
			continue
		case err != nil:
			t.Errorf("%s: %v", k.fields, err)
			continue
		}
		if err := c.Runnable(); err != nil {
			t.Errorf("%s: %v", k.fields, err)
		}
		if got := c.CacheElementsPerToken(); got != k.cached {
			t.Errorf("%s: %g numbers, want %g", k.fields, got, k.cached)
		}
		if a := c.Layers[0].Attention; a.Design == KVLatent && (a.Rope.Kind != RopeKVLatent || a.Scale != 1/math.Sqrt(float64(a.HeadDim))) {
			t.Errorf("%s: rope %s, scale %g", k.fields, a.Rope.Kind, a.Scale)
		}
	}
}

// For 16 channels the exponents are 4, 6, 8, 10, 12, 13, 14, 15 sixteenths.
func TestNarrowFrequencies(t *testing.T) {
	inv, factor, err := Rope{Dim: 16, Base: 10000, Kind: RopeKVLatent}.Frequencies(100)
	if err != nil || factor != 1 {
		t.Fatal(factor, err)
	}
	for i, e := range []float64{4, 6, 8, 10, 12, 13, 14, 15} {
		near(t, "frequency", inv[i], math.Pow(10000, -e/16))
	}
}
