package hf

// The published architectures that say what a lowkey model is, each with its config.json.

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/model/config"
)

// chooseForm decides how the model is written. fields are those of its own config.json.
func chooseForm(want string, c *config.Config, fields map[string]any) (*form, error) {
	for i := range c.Layers {
		l := c.Layers[i]
		if first := &c.Layers[0].Attention; c.LayerMap() != "" { // it says these
			l.Attention.SharesWith, l.Attention.Strict, l.Attention.Window = first.SharesWith, first.Strict, first.Window
		}
		l.Attention.Scheme = c.Layers[0].Attention.Scheme // the one field of lowkey's own form that is a list
		if !reflect.DeepEqual(l, c.Layers[0]) {
			return nil, fault.New(fault.Unsupported, text("layer %d", i), "differs from layer 0", "exported models have layers of one kind", "")
		}
	}
	if r, d := c.Layers[0].Attention.Rope, c.Layers[0].Attention.Design; r.Dim > 0 && !(r.Kind == config.RopeKVLatent && d == config.KVLatent) && !slices.Contains(ropeKinds, r.Kind) {
		return nil, fault.New(fault.Unsupported, "rope_type", r.Kind, text("exported kinds: %s", strings.Join(ropeKinds, " ")), "")
	}
	switch want {
	case Custom:
		return customForm(c, fields), nil
	case "", Auto, Public:
	default:
		return nil, fault.New(fault.BadInput, "--form "+want, "unknown form", "forms: public custom auto", "")
	}
	f, err := publicForm(c, fields)
	if err != nil && want != Public {
		return customForm(c, fields), nil
	}
	return f, err
}

// ropeKinds mean the same on both sides at every length.
var ropeKinds = []string{config.RopeDefault, config.RopeLinear, config.RopeLlama3, config.RopeYarn}

// customForm is lowkey's own configuration, its PyTorch classes named and its rotary parameters written out.
func customForm(c *config.Config, fields map[string]any) *form {
	f := &form{kind: Custom, architecture: "LowkeyForCausalLM", fields: maps.Clone(fields), code: true}
	rope := c.Layers[0].Attention.Rope
	if rope.Kind == config.RopeKVLatent { // the design says it; transformers knows no such kind
		rope.Kind = config.RopeDefault
	}
	f.rope(rope)
	f.fields["architectures"] = []string{f.architecture}
	f.fields["auto_map"] = map[string]string{"AutoConfig": "configuration_lowkey.LowkeyConfig", "AutoModel": "modeling_lowkey.LowkeyModel", "AutoModelForCausalLM": "modeling_lowkey.LowkeyForCausalLM"}
	return f
}

// publicForm finds a published architecture with the same mathematics, or says why there is none.
func publicForm(c *config.Config, fields map[string]any) (*form, error) {
	if m := c.LayerMap(); m != "" {
		return nil, unsupportedForm("of "+c.Layers[0].Attention.Design, "layer_map "+m, "published architectures do not share rows between layers")
	}
	a, m := &c.Layers[0].Attention, &c.Layers[0].MLP
	f := &form{kind: Public, fields: map[string]any{
		"hidden_size": c.Hidden, "intermediate_size": m.Intermediate, "num_hidden_layers": len(c.Layers), "num_attention_heads": a.Heads, "vocab_size": c.Vocab,
		"max_position_embeddings": c.MaxPosition, "rms_norm_eps": float(c.Norm.Eps), "hidden_act": activations[m.Activation], "tie_word_embeddings": c.TieEmbeddings, "use_cache": true}}
	for _, key := range []string{"bos_token_id", "eos_token_id", "pad_token_id", "initializer_range"} {
		if v, ok := fields[key]; ok {
			f.fields[key] = v
		}
	}
	f.rope(a.Rope)
	var err error
	switch a.Design {
	case config.MHA, config.GQA, config.MQA, config.SQA:
		err = f.grouped(c, a, m)
	case config.MLA:
		err = f.deepseek(c, a, m)
	case config.MFA:
		err = f.step3(c, a, m)
	default:
		err = unsupportedForm("of "+a.Design, "none", "no published architecture has this design")
	}
	if err != nil {
		return nil, err
	}
	f.fields["architectures"] = []string{f.architecture}
	return f, nil
}

var activations = map[string]string{config.SiLU: "silu", config.GELU: "gelu", config.GELUTanh: "gelu_pytorch_tanh"}

func (f *form) set(architecture, modelType string, more map[string]any) {
	f.architecture = architecture
	maps.Copy(f.fields, more)
	f.fields["model_type"] = modelType
}

// grouped is MHA, GQA or MQA: Llama, Mistral where layers slide, Qwen 3 where heads are normed.
func (f *form) grouped(c *config.Config, a *config.Attention, m *config.MLP) error {
	heads := map[string]any{"num_key_value_heads": a.KVHeads, "head_dim": a.HeadDim}
	maps.Copy(f.fields, heads)
	switch {
	case a.QKNorm == config.NormHead:
		if m.Bias {
			return unsupportedForm("Qwen3ForCausalLM", "mlp_bias", "its MLP has none")
		}
		more := map[string]any{"attention_bias": a.QKVBias, "use_sliding_window": a.Window > 0, "sliding_window": nil, "max_window_layers": len(c.Layers)}
		if a.Window > 0 {
			more["sliding_window"], more["max_window_layers"], more["layer_types"] = a.Window, 0, slices.Repeat([]string{"sliding_attention"}, len(c.Layers))
		}
		f.set("Qwen3ForCausalLM", "qwen3", more)
	case a.Window > 0:
		if m.Bias || a.QKVBias {
			return unsupportedForm("MistralForCausalLM", "a bias", "its attention and MLP have none")
		}
		f.set("MistralForCausalLM", "mistral", map[string]any{"sliding_window": a.Window})
	default:
		f.set("LlamaForCausalLM", "llama", map[string]any{"attention_bias": a.QKVBias, "mlp_bias": m.Bias})
	}
	return nil
}

// deepseek is MLA as DeepSeek-V3 with dense layers only. The eps of the latents' norms is 1e-6 on both sides, and both put yarn's factor into the scale.
func (f *form) deepseek(c *config.Config, a *config.Attention, m *config.MLP) error {
	if m.Bias {
		return unsupportedForm("DeepseekV3ForCausalLM", "mlp_bias", "its MLP has none")
	}
	if a.LatentBits > 0 {
		return unsupportedForm("DeepseekV3ForCausalLM", text("latent_bits %d", a.LatentBits), "its latent is not quantised")
	}
	more := map[string]any{"q_lora_rank": nil, "kv_lora_rank": a.KVRank, "qk_nope_head_dim": a.Nope, "qk_rope_head_dim": a.RopeDim, "v_head_dim": a.ValueDim, "num_key_value_heads": a.Heads,
		"attention_bias": a.QKVBias, "rope_interleave": a.Rope.Layout == config.Pairs,
		// Every layer is dense; the experts that a reader of this architecture asks for are never made.
		"first_k_dense_replace": len(c.Layers), "moe_layer_freq": 1, "n_routed_experts": 1, "n_shared_experts": 1, "num_experts_per_tok": 1, "moe_intermediate_size": m.Intermediate,
		"n_group": 1, "topk_group": 1, "norm_topk_prob": true, "routed_scaling_factor": float(1), "scoring_func": "sigmoid", "topk_method": "noaux_tc", "num_nextn_predict_layers": 0}
	if a.QRank > 0 {
		more["q_lora_rank"] = a.QRank
	}
	f.set("DeepseekV3ForCausalLM", "deepseek_v3", more)
	return nil
}

// step3Names are Step-3's names of MFA's query side, by lowkey's.
var step3Names = map[string]string{"self_attn.q_a_proj.weight": "self_attn.q_proj.weight", "self_attn.q_a_layernorm.weight": "self_attn.inter_norm.weight", "self_attn.q_b_proj.weight": "self_attn.wq.weight"}

// step3 is MFA as the text model of Step-3. transformers has no such architecture, so code goes along; vLLM has one.
func (f *form) step3(c *config.Config, a *config.Attention, m *config.MLP) error {
	const name = "Step3TextForCausalLM"
	switch {
	case !a.QNorm:
		return unsupportedForm(name, "q_norm false", "it norms the query bottleneck")
	case m.Bias || a.QKVBias:
		return unsupportedForm(name, "a bias", "its attention and MLP have none")
	case m.Activation != config.SiLU:
		return unsupportedForm(name, "hidden_act "+m.Activation, "it has silu")
	}
	f.rename, f.untie, f.code = step3Names, true, true
	f.set(name, "step3_text", map[string]any{"share_q_dim": a.QRank, "head_dim": a.HeadDim, "num_attention_groups": 1, "max_position_embedding": c.MaxPosition, "max_seq_len": c.MaxPosition,
		// No layer is a mixture. An absent list would mean all but the first, and its readers want numbers: one past the last layer.
		"moe_layers_enum": text("%d", len(c.Layers)), "moe_num_experts": 0, "moe_top_k": 0, "moe_intermediate_size": 0, "share_expert_dim": 0, "norm_expert_weight": false,
		"auto_map": map[string]string{"AutoConfig": "configuration_lowkey.Step3TextConfig", "AutoModel": "modeling_lowkey.Step3TextModel", "AutoModelForCausalLM": "modeling_lowkey.Step3TextForCausalLM"}})
	return nil
}

// rope writes rotary parameters in both forms: rope_parameters, and rope_theta with rope_scaling for older readers.
func (f *form) rope(r config.Rope) {
	p := map[string]any{"rope_type": r.Kind}
	positive := func(key string, v float64) {
		if v > 0 {
			p[key] = float(v)
		}
	}
	switch r.Kind {
	case config.RopeLinear:
		p["factor"] = float(r.Factor)
	case config.RopeLlama3:
		p["factor"], p["original_max_position_embeddings"], p["low_freq_factor"], p["high_freq_factor"] = float(r.Factor), r.Original, float(r.LowFreq), float(r.HighFreq)
	case config.RopeYarn:
		p["factor"], p["original_max_position_embeddings"], p["beta_fast"], p["beta_slow"] = float(r.Factor), r.Original, float(r.BetaFast), float(r.BetaSlow)
		positive("mscale", r.MScale)
		positive("mscale_all_dim", r.MScaleAllDim)
		positive("attention_factor", r.AttentionFactor)
		if r.NoTruncate {
			p["truncate"] = false
		}
	}
	if r.Kind != config.RopeDefault {
		f.fields["rope_scaling"] = maps.Clone(p)
	}
	f.fields["rope_theta"], p["rope_theta"] = float(r.Base), float(r.Base)
	f.fields["rope_parameters"] = p
}
