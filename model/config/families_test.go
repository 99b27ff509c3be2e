package config

import (
	"bytes"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// One fact or more of each family that its config.json does not state in so many words. testdata/families.jsonl has a tiny configuration a line.
func TestFamilyFacts(t *testing.T) {
	found := map[string]*Config{}
	data, err := os.ReadFile("testdata/families.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		c, err := Parse(line, "families.jsonl")
		if err != nil {
			t.Fatal(err)
		}
		key := c.ModelType
		if l := c.Layers[0].Attention; l.Rope.Kind != RopeDefault && l.Rope.Kind != "" {
			key += " " + l.Rope.Kind
		}
		found[key] = c
	}
	layer := func(key string, i int) *Layer {
		c := found[key]
		if c == nil || i >= len(c.Layers) {
			t.Fatalf("no configuration %q with layer %d", key, i)
		}
		return &c.Layers[i]
	}
	check := func(what string, ok bool) {
		t.Helper()
		if !ok {
			t.Error(what)
		}
	}
	g := found["gemma3_text"]
	slide, full := layer("gemma3_text", 0).Attention, layer("gemma3_text", 1).Attention
	check("gemma 3: norms, tie, activation", g.Norm.PlusOne && g.SandwichNorms && g.TieEmbeddings && g.Layers[0].MLP.Activation == GELUTanh && slide.QKNorm == NormHead && slide.QKNormEps == 0.002)
	check("gemma 3: windows", slide.Window == 7 && full.Window == 0)
	check("gemma 3: ropes", slide.Rope.Base == 300 && slide.Rope.Kind == RopeDefault && full.Rope.Base == 40000 && full.Rope.Kind == RopeLinear && full.Rope.Factor == 2)
	near(t, "gemma 3 scale", full.Scale, 1/math.Sqrt(20))
	near(t, "gemma 3 embedding scale", g.EmbedScale, math.Sqrt(48))

	a := layer("gemma2", 0).Attention
	check("gemma 2: caps, no norm of heads", a.Softcap == 2.5 && found["gemma2"].FinalSoftcap == 4 && a.QKNorm == NormNone && a.Window == 7 && layer("gemma2", 1).Attention.Window == 0)

	n := found["gemma3n_text"]
	check("gemma 3n: sharing", layer("gemma3n_text", 3).Attention.SharesWith == 2 && layer("gemma3n_text", 4).Attention.SharesWith == 1 && n.Layers[2].Attention.SharesWith == -1)
	check("gemma 3n: scale, caps, norms", n.Layers[0].Attention.Scale == 1 && n.Layers[0].Attention.VNorm && !n.Norm.PlusOne && n.FinalSoftcap == 30)

	check("gemma 3n: streams, laurel, sparse gates", n.AltUp == AltUp{Streams: 3, CorrectScale: true, InputWidth: 6, InputVocab: 45} && n.LaurelRank == 5 && n.Layers[0].MLP.Sparsity == 0.8 && n.Layers[1].MLP.Sparsity == 0)

	m := found["minicpm3"]
	near(t, "minicpm3 embedding", m.EmbedScale, 3)
	near(t, "minicpm3 residual", m.ResidualScale, 1.4/math.Sqrt2)
	near(t, "minicpm3 logits", m.LogitScale, 30.0/44)
	check("minicpm3: half-split MLA", m.Layers[0].Attention.Rope.Layout == Half && m.Layers[0].Attention.LatentNormEps == 1e-6 && m.Norm.Eps == 0.002)

	a = layer("deepseek_v3 yarn", 0).Attention
	mscale := 0.1*math.Log(4) + 1
	near(t, "deepseek_v3 scale with yarn", a.Scale, mscale*mscale/math.Sqrt(26))
	check("deepseek_v3: pairs, one latent", a.Rope.Layout == Pairs && a.KVHeads == 1 && a.QRank == 26)
	a = layer("deepseek_v2", 0).Attention
	check("deepseek_v2: no query bottleneck", a.QRank == 0 && a.Rope.Layout == Pairs)

	gr := found["granite"]
	check("granite: scales", gr.EmbedScale == 5 && gr.ResidualScale == 0.4 && gr.LogitScale == 1.0/3 && gr.Layers[0].Attention.Scale == 0.17)
	check("smollm3: every second layer rotates", layer("smollm3", 0).Attention.Rope.Dim == 12 && layer("smollm3", 1).Attention.Rope.Dim == 0)
	check("olmo2: norms after, flat norms of heads", found["olmo2"].PostNormOnly && layer("olmo2", 0).Attention.QKNorm == NormFlat)
	check("hunyuan: norms after rope", layer("hunyuan_v1_dense", 0).Attention.NormAfterRope && layer("hunyuan_v1_dense alpha", 0).Attention.Rope.Alpha == 50)
	check("starcoder2: layer norm, plain MLP", found["starcoder2"].Norm.Kind == LayerNorm && layer("starcoder2", 0).MLP.Kind == Plain && layer("starcoder2", 0).MLP.Activation == GELUTanh && layer("starcoder2", 1).Attention.Window == 8)
	check("gpt_neox: exact GELU, partial rope", layer("gpt_neox", 0).MLP.Activation == GELU && layer("gpt_neox", 0).Attention.Rope.Dim < layer("gpt_neox", 0).Attention.HeadDim)
	check("gpt_oss: sinks, bias, alternating windows, yarn not rounded", layer("gpt_oss yarn", 0).Attention.Sinks && layer("gpt_oss yarn", 0).Attention.Rope.NoTruncate && layer("gpt_oss yarn", 0).Attention.Window == 7 && layer("gpt_oss yarn", 1).Attention.Window == 0)
	check("glm4_moe_lite: dense, then mixtures with a shared expert", !layer("glm4_moe_lite", 0).MLP.MoE() && layer("glm4_moe_lite", 1).MLP.SharedIntermediate == 16)
	check("qwen2: bias on q, k, v alone", layer("qwen2", 0).Attention.QKVBias && !layer("qwen2", 0).Attention.OutBias)
	check("qwen3: explicit head width", layer("qwen3", 0).Attention.HeadDim == 14 && layer("qwen3", 0).Attention.QKNorm == NormHead)
	check("zaya: half the head rotates, two convolutions", layer("zaya", 0).Attention.Rope.Dim == 6 && layer("zaya", 0).Attention.Design == CCA && layer("zaya", 0).Attention.Rope.Base == 5000)
	check("real_format: stop tokens", len(found["llama llama3"].EOS) > 0)

	near(t, "mlra query scale", layer("mlra_mla", 0).Attention.QScale, math.Sqrt(44.0/26))
	near(t, "mlra latent scale", layer("mlra_mla", 0).Attention.KVScale, math.Sqrt(44.0/20))
	check("mlra: latents and branches", layer("mlra_mlra_2", 0).Attention.Branches == 2 && layer("mlra_mlra_2", 0).Attention.Latents == 4 && layer("mlra_gla_2", 0).Attention.Design == GLA)
	check("mlra: designs", layer("mlra_mha", 0).Attention.Design == MHA && layer("mlra_mqa", 0).Attention.Design == MQA && layer("mlra_gqa", 0).Attention.KVHeads == 2 && layer("mlra_mfa", 0).Attention.QRank == 26)
	check("mlra: source", found["mlra_mla"].Source == "SongtaoLiu0823/MLRA" && found["qwen3"].Source == "")
	check("t6: sign and weightless norms", layer("t6_tpa", 0).Attention.Rope.Sign == -1 && found["t6_tpa"].Norm.Weightless && layer("t6_tpa_bf16rope", 0).Attention.Rope.BF16Table && layer("t6_tpa_groupnorm", 0).Attention.OutNorm && layer("t6_tpa_kvonly", 0).Attention.QRank == 0)
	check("mtla: rows of several tokens", layer("llama-mtla", 0).Attention.RowTokens == 2 && layer("llama-mtla", 0).Attention.Rope.Layout == Half && layer("mtla_attention", 0).Attention.Rope.Layout == Pairs)
}

// The maps of layers that share caches, and windows by an "s".
func TestLayerMaps(t *testing.T) {
	parse := func(layers int, entries string) *Config {
		c, err := Parse([]byte(`{"model_type":"lckv-llama","source":"x","hidden_size":36,"intermediate_size":58,"num_attention_heads":3,"num_key_value_heads":1,"vocab_size":61,
			"sliding_window":6,"num_hidden_layers":`+string(rune('0'+layers))+`,"layer_types":"`+entries+`"}`), "map")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := parse(4, "0s_1s_2_2")
	if c.Layers[0].Attention.Window != 6 || c.Layers[2].Attention.Window != 0 || c.Layers[3].Attention.SharesWith != 2 || c.Layers[3].Attention.Strict || c.Layers[2].Attention.SharesWith != -1 {
		t.Errorf("0s_1s_2_2: %+v", c.Layers)
	}
	if got := c.CacheElementsPerToken(); got != 3*2*12 {
		t.Errorf("%g numbers a token, want those of three layers", got)
	}
	c = parse(4, "1_1_3_3")
	if a := c.Layers[0].Attention; a.SharesWith != 1 || !a.Strict || c.Layers[1].Attention.SharesWith != -1 {
		t.Errorf("1_1_3_3: %+v", c.Layers)
	}
}

// The old forms: a Gemma 3 of 2025 nested in its wrapper with class defaults left out, and MiniCPM3 and Qwen2 as published.
func TestPublishedForms(t *testing.T) {
	c, err := Parse([]byte(`{"architectures":["Gemma3ForConditionalGeneration"],"eos_token_id":[1,106],"model_type":"gemma3","torch_dtype":"bfloat16","vision_config":{"hidden_size":1152},
		"text_config":{"hidden_size":2560,"intermediate_size":10240,"model_type":"gemma3_text","num_hidden_layers":34,"rope_scaling":{"factor":8.0,"rope_type":"linear"},"sliding_window":1024}}`), "gemma")
	if err != nil {
		t.Fatal(err)
	}
	a, b := c.Layers[0].Attention, c.Layers[5].Attention
	if c.Wrapper != "gemma3" || c.Vocab != 262208 || c.MaxPosition != 131072 || len(c.EOS) != 2 || !c.TieEmbeddings || c.DType != "bfloat16" || a.Heads != 8 || a.KVHeads != 4 || a.HeadDim != 256 {
		t.Errorf("gemma 3: %+v %+v", c, a)
	}
	if a.Window != 1024 || a.Rope.Base != 10000 || a.Rope.Kind != RopeDefault || b.Window != 0 || b.Rope.Base != 1e6 || b.Rope.Kind != RopeLinear || b.Rope.Factor != 8 || a.Scale != 1.0/16 {
		t.Errorf("gemma 3 layers: %+v %+v", a, b)
	}
	c, err = Parse([]byte(`{"model_type":"qwen2","hidden_size":896,"intermediate_size":4864,"max_position_embeddings":32768,"max_window_layers":21,"num_attention_heads":14,"num_hidden_layers":24,
		"num_key_value_heads":2,"rms_norm_eps":1e-06,"rope_theta":1000000.0,"sliding_window":32768,"tie_word_embeddings":true,"torch_dtype":"bfloat16","use_sliding_window":false,"vocab_size":151936}`), "qwen")
	if err != nil {
		t.Fatal(err)
	}
	if a := c.Layers[23].Attention; a.Window != 0 || a.HeadDim != 64 || a.Rope.Base != 1e6 || !c.TieEmbeddings || !a.QKVBias {
		t.Errorf("qwen2: %+v", a)
	}
	c, err = Parse([]byte(`{"model_type":"minicpm3","hidden_size":2560,"intermediate_size":6400,"num_attention_heads":40,"num_hidden_layers":62,"num_key_value_heads":40,"qk_nope_head_dim":64,"qk_rope_head_dim":4,
		"q_lora_rank":768,"kv_lora_rank":256,"max_position_embeddings":32768,"rms_norm_eps":1e-05,"scale_emb":12,"scale_depth":1.4,"dim_model_base":256,"vocab_size":73448,"eos_token_id":[2,73440],
		"rope_scaling":{"type":"longrope","long_factor":[1.5,2.5],"short_factor":[1.25,2],"original_max_position_embeddings":32768}}`), "minicpm")
	if err != nil {
		t.Fatal(err)
	}
	inv, factor, err := c.Layers[0].Attention.Rope.Frequencies(32768)
	if err != nil || factor != 1 || inv[0] != 0.8 || inv[1] != 0.005 {
		t.Errorf("minicpm3 rope: %v %v %v", inv, factor, err)
	}
	if a := c.Layers[0].Attention; a.ValueDim != 64 || c.LogitScale != 0.1 {
		t.Errorf("minicpm3: %+v", a)
	}
}

// lowkey's own form, by design.
func TestNative(t *testing.T) {
	base := `{"model_type":"lowkey","hidden_size":48,"intermediate_size":64,"num_hidden_layers":2,"num_attention_heads":6,"vocab_size":61,`
	for _, k := range []struct {
		fields string
		design string
		kv     int
		cached float64 // numbers a token, both layers
	}{
		{`"attention":"mha"`, MHA, 6, 2 * 2 * 48},
		{`"attention":"gqa","num_key_value_heads":2,"qk_norm":true`, GQA, 2, 2 * 2 * 16},
		{`"attention":"mqa"`, MQA, 1, 2 * 2 * 8},
		{`"attention":"mfa","head_dim":16,"q_lora_rank":20`, MFA, 1, 2 * 32},
		{`"attention":"mfa-kr","head_dim":16`, MFAKR, 1, 2 * 16},
		{`"attention":"mfa-kr","head_dim":16,"values":"relative"`, MFAKR, 1, 2 * 16},
		{`"attention":"tpa","head_dim":16`, TPA, 6, 2 * (2 + 2) * (6 + 16)},
		{`"attention":"tpa","head_dim":10,"q_rank":0,"k_rank":3,"v_rank":1`, TPA, 6, 2 * (3 + 1) * (6 + 10)},
		{`"attention":"sqa","head_dim":6,"num_key_value_heads":3`, SQA, 3, 2 * 2 * 3 * 6},
		{`"attention":"sqa","head_dim":4,"num_key_value_heads":1`, SQA, 1, 2 * 2 * 4},
		{`"attention":"gta","num_key_value_heads":2`, GTA, 2, 2 * (2*8 + 4)},
		{`"attention":"gta","num_key_value_heads":3,"head_dim":13`, GTA, 3, 2 * (3*13 + 6)},
		{`"attention":"gta","num_key_value_heads":1,"head_dim":32,"qk_rope_head_dim":8`, GTA, 1, 2 * (32 + 8)},
		{`"attention":"mla","kv_lora_rank":20,"qk_nope_head_dim":12,"qk_rope_head_dim":6`, MLA, 1, 2 * 26},
		{`"attention":"gla","kv_lora_rank":20,"qk_nope_head_dim":12,"qk_rope_head_dim":6`, GLA, 1, 2 * 26},
		{`"attention":"mlra","kv_lora_rank":20,"qk_nope_head_dim":12,"qk_rope_head_dim":6,"num_branches":2`, MLRA, 1, 2 * 26},
	} {
		c, err := Parse([]byte(base+k.fields+"}"), "own")
		if err != nil {
			t.Errorf("%s: %v", k.fields, err)
			continue
		}
		a := c.Layers[1].Attention
		if a.Design != k.design || a.KVHeads != k.kv || c.CacheElementsPerToken() != k.cached {
			t.Errorf("%s: %s, %d kv heads, %g numbers", k.fields, a.Design, a.KVHeads, c.CacheElementsPerToken())
		}
		if err := c.Runnable(); err != nil {
			t.Errorf("%s: %v", k.fields, err)
		}
	}
	c, err := Parse([]byte(base+`"attention":"mfa-kr","head_dim":16}`), "own")
	if err != nil {
		t.Fatal(err)
	}
	if a := c.Layers[0].Attention; a.QRank != 16 || !a.QNorm || a.Scale != 0.25 {
		t.Errorf("mfa-kr defaults: %+v", a)
	}
	if c, err = Parse([]byte(base+`"attention":"tpa","head_dim":16}`), "own"); err != nil {
		t.Fatal(err)
	}
	if a := c.Layers[0].Attention; a.QRank != 6 || a.KRank != 2 || a.VRank != 2 || a.Scale != 0.25 || a.Rope.Sign != 1 {
		t.Errorf("tpa defaults: %+v", a)
	}
	const latent = `,"kv_lora_rank":24,"qk_nope_head_dim":12,"qk_rope_head_dim":6`
	if c, err = Parse([]byte(base+`"attention":"mlra"`+latent+`}`), "own"); err != nil {
		t.Fatal(err)
	}
	if a := c.Layers[0].Attention; a.Latents != 4 || a.Branches != 4 || a.OutScale != 0.5 || a.QScale != 1 || a.KVScale != 1 || a.QRank != 0 || a.Rope.Dim != 6 {
		t.Errorf("mlra defaults: %+v", a)
	}
	for fields, want := range map[string]string{`"attention":"gla","num_latents":5` + latent: "multiple of 5 latents", `"attention":"gla","num_latents":4` + latent: "must be a multiple of the 4 latents",
		`"attention":"mlra","num_branches":3` + latent: "must divide the 4 latents"} {
		if _, err := Parse([]byte(base+fields+"}"), "own"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", fields, err)
		}
	}
	for fields, want := range map[string]string{`"attention":"tpa"`: "head_dim", `"attention":"tpa","head_dim":16,"k_rank":0`: "k_rank", `"attention":"tpa2"`: "tpa2", `"attention":"mfa-kr","head_dim":16,"values":"new"`: "must be paper or relative", `"attention":"gta","qk_rope_head_dim":8`: "qk_rope_head_dim", `"attention":"gta","qk_rope_head_dim":3`: "qk_rope_head_dim",
		`"attention":"gta","num_key_value_heads":4`: "4", `"attention":"sqa","head_dim":8`: "fewer than the 6 heads", `"attention":"sqa","head_dim":4,"num_key_value_heads":4`: "4"} {
		if _, err := Parse([]byte(base+fields+"}"), "own"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", fields, err)
		}
	}
}

// Research configurations whose factors are scaled in a way that does not run are refused by name.
func TestTPAScale(t *testing.T) {
	const base = `{"model_type":"t6_tpa","source":"tensorgi/TPA","attention":"tpa","n_embd":44,"vocab_size":61,"n_layer":2,"n_head":5,"head_dim":12,"rank":2,"q_rank":6,"intermediate_size":117,`
	if _, err := Parse([]byte(base+`"scale_q":0.16666666666666666,"scale_kv":0.5}`), "t6"); err != nil {
		t.Error(err)
	}
	for _, field := range []string{`"scale_q":1`, `"scale_kv":0.25`} {
		if _, err := Parse([]byte(base+field+"}"), "t6"); !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), strings.Split(field, `"`)[1]) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// What a file leaves out is what the class takes; null is not left out; and what would run otherwise than the public code runs it is refused by name.
func TestClassDefaults(t *testing.T) {
	parse := func(modelType, fields string) (*Config, error) {
		return Parse([]byte(`{"model_type":"`+modelType+`","hidden_size":48,"intermediate_size":64,"num_hidden_layers":4,"num_attention_heads":8,"vocab_size":61,"max_position_embeddings":32`+fields+`}`), modelType)
	}
	const latent = `,"kv_lora_rank":20,"qk_nope_head_dim":12,"qk_rope_head_dim":6`
	const experts = `,"n_routed_experts":16,"moe_intermediate_size":8,"num_experts_per_tok":2`
	for _, k := range []struct {
		name, modelType, fields string
		ok                      func(c *Config, l []Layer) bool
	}{
		{"mistral slides over 4096", "mistral", "", func(c *Config, l []Layer) bool { return l[3].Attention.Window == 4096 && l[0].Attention.KVHeads == 8 }},
		{"mistral, null", "mistral", `,"sliding_window":null`, func(c *Config, l []Layer) bool { return l[0].Attention.Window == 0 }},
		{"qwen2, null", "qwen2", `,"use_sliding_window":true,"max_window_layers":0,"num_key_value_heads":2,"sliding_window":null`, func(c *Config, l []Layer) bool { return l[0].Attention.Window == 0 }},
		{"qwen3_moe: every layer slides", "qwen3_moe", `,"use_sliding_window":true,"sliding_window":5,"max_window_layers":3`, func(c *Config, l []Layer) bool {
			return l[0].Attention.Window == 5 && l[0].Attention.HeadDim == 6 && l[0].Attention.KVHeads == 4 && l[0].MLP.Experts == 128 && l[0].MLP.ExpertsPerToken == 8
		}},
		{"smollm3: those without positions slide", "smollm3", `,"use_sliding_window":true,"sliding_window":5,"no_rope_layers":[1,0,1,1]`, func(c *Config, l []Layer) bool {
			return l[0].Attention.Window == 0 && l[1].Attention.Window == 5 && l[0].Attention.Rope.Base == 2e6 && l[0].Attention.KVHeads == 4
		}},
		{"mixtral", "mixtral", "", func(c *Config, l []Layer) bool {
			return c.Norm.Eps == 1e-5 && l[0].Attention.Rope.Base == 1e6 && l[0].MLP.Experts == 8 && l[0].MLP.ExpertsPerToken == 2
		}},
		{"phi3: odd rotary width", "phi3", `,"partial_rotary_factor":0.84`, func(c *Config, l []Layer) bool {
			return c.Norm.Eps == 1e-5 && l[0].Attention.Rope.Dim == 6 && l[0].Attention.Rope.Odd == 5
		}},
		{"phi3: its own context counts", "phi3", `,"rope_scaling":{"type":"yarn","short_factor":[1,2,3],"long_factor":[1,2,3],"original_max_position_embeddings":9}`, func(c *Config, l []Layer) bool {
			return l[0].Attention.Rope.Kind == RopeLong && l[0].Attention.Rope.Original == 4096
		}},
		{"starcoder2", "starcoder2", "", func(c *Config, l []Layer) bool { return l[0].Attention.KVHeads == 2 && c.TieEmbeddings }},
		{"gemma 3: a cap of scores that is not used", "gemma3_text", `,"attn_logit_softcapping":5.0,"rope_parameters":{"full_attention":{},"sliding_attention":{}}`, func(c *Config, l []Layer) bool {
			return l[0].Attention.Softcap == 0 && l[0].Attention.Rope.Base == 10000
		}},
		{"gemma 3n", "gemma3n_text", `,"num_kv_shared_layers":0`, func(c *Config, l []Layer) bool {
			return l[0].Attention.KVHeads == 2 && l[0].Attention.Rope.Base == 10000
		}},
		{"gpt-oss has yarn", "gpt_oss", "", func(c *Config, l []Layer) bool {
			r := l[0].Attention.Rope
			return r.Kind == RopeYarn && r.Factor == 32 && r.Original == 4096 && r.NoTruncate && r.Base == 150000 && c.Norm.Eps == 1e-5
		}},
		{"yarn without its factor", "llama", `,"rope_scaling":{"type":"yarn","original_max_position_embeddings":8}`, func(c *Config, l []Layer) bool { return l[0].Attention.Rope.Factor == 4 }},
		{"the context outside counts", "llama", `,"original_max_position_embeddings":16,"rope_scaling":{"type":"yarn","original_max_position_embeddings":8}`, func(c *Config, l []Layer) bool { return l[0].Attention.Rope.Original == 16 }},
		{"alpha is HunYuan's", "llama", `,"rope_scaling":{"type":"dynamic","factor":2,"alpha":50}`, func(c *Config, l []Layer) bool { return l[0].Attention.Rope.Kind == RopeDynamic }},
		{"deepseek v3", "deepseek_v3", latent + experts, func(c *Config, l []Layer) bool {
			m := l[3].MLP
			return l[2].MLP.Experts == 0 && m.SharedIntermediate == 8 && m.Routing.Groups == 8 && m.Routing.TopGroups == 4 && m.Routing.Scale == 2.5 && l[0].Attention.ValueDim == 128
		}},
		{"glm", "glm4_moe_lite", latent + experts, func(c *Config, l []Layer) bool {
			return l[0].MLP.Experts == 0 && l[1].MLP.Routing.Groups == 1 && l[1].MLP.Routing.Scale == 1.8 && c.Norm.Eps == 1e-5
		}},
		{"minicpm3", "minicpm3", latent, func(c *Config, l []Layer) bool {
			return c.EmbedScale == 12 && c.ResidualScale == 0.7 && c.LogitScale == 256.0/48 && c.Norm.Eps == 1e-5 && l[0].Attention.ValueDim == 6
		}},
		{"minicpm3, null", "minicpm3", latent + `,"scale_depth":null,"dim_model_base":null`, func(c *Config, l []Layer) bool { return c.ResidualScale == 1 && c.LogitScale == 1 }},
		{"zaya is tied", "zaya", "", func(c *Config, l []Layer) bool {
			return c.TieEmbeddings && c.Norm.Eps == 1e-5 && l[0].MLP.ExpertsPerToken == 1
		}},
	} {
		if c, err := parse(k.modelType, k.fields); err != nil {
			t.Errorf("%s: %v", k.name, err)
		} else if !k.ok(c, c.Layers) {
			t.Errorf("%s: %+v", k.name, c)
		}
	}
	for _, k := range []struct{ modelType, fields, says string }{
		{"gemma2", `,"use_bidirectional_attention":true`, "use_bidirectional_attention"},
		{"gemma3_text", `,"use_bidirectional_attention":true`, "use_bidirectional_attention"},
		{"zaya", `,"lm_head_bias":true`, "lm_head_bias"},
		{"deepseek_v2", latent + experts + `,"mlp_bias":true`, "mlp_bias"},
		{"deepseek_v2", latent + experts + `,"norm_topk_prob":true`, "norm_topk_prob"},
		{"deepseek_v3", latent + experts + `,"scoring_func":"softmax"`, "scoring_func"},
		{"mistral", `,"sliding_window":5,"layer_types":["sliding_attention","full_attention","sliding_attention","full_attention"]`, "layer_types"},
		{"llama", `,"hidden_act":"relu"`, "relu"},
	} {
		c, err := parse(k.modelType, k.fields)
		if err == nil {
			err = c.Runnable()
		}
		if !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), k.says) {
			t.Errorf("%s %s: %v", k.modelType, k.fields, err)
		}
	}
}

// A research configuration says by its fields what it is: its model_type may carry any name of a run, and it runs. A map in which a layer reads one that reads another is refused by name.
func TestResearchNames(t *testing.T) {
	for _, fields := range []string{`"model_type":"mlra_gta_wide","attention":"gta","nope_head_dim":7,"rope_head_dim":4,"head_dim":11,"n_kv_head":1`, `"model_type":"t6_other","attention":"tpa_kvonly","rank":3,"head_dim":12`} {
		c, err := Parse([]byte(`{"source":"x","n_embd":44,"vocab_size":61,"n_layer":2,"n_head":5,"intermediate_size":117,`+fields+"}"), "research")
		if err == nil {
			err = c.Runnable()
		}
		if err != nil {
			t.Errorf("%s: %v", fields, err)
		}
	}
	c, err := Parse([]byte(`{"model_type":"zaya_cca_attention","source":"x","hidden_size":46,"num_attention_heads":6,"num_key_value_heads":2,"head_dim":10,"partial_rotary_factor":0.5}`), "module")
	if err != nil || c.Layers[0].Attention.Rope.Dim != 6 || c.Layers[0].Attention.Rope.Odd != 5 {
		t.Errorf("an odd rotary width: %v", err)
	}
	for _, layers := range []string{"0_0_1", "1_2_2", "1_0_2"} {
		_, err := Parse([]byte(`{"model_type":"lckv-llama","source":"x","hidden_size":36,"intermediate_size":58,"num_attention_heads":3,"vocab_size":61,"num_hidden_layers":3,"layer_types":"`+layers+`"}`), "map")
		if !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), layers) {
			t.Errorf("%s: %v", layers, err)
		}
	}
}
