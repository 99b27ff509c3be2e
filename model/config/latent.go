package config

// The published families with MLA or MFA.

import (
	"cmp"
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// latentEps is the eps of the norms of latents in DeepSeek's code and its kin, whatever rms_norm_eps says.
const latentEps = 1e-6

// mla reads MLA. head_dim and num_key_value_heads do not describe its cache and are not read: the one is the rotary width, the other is there for the expanded form.
func (p *parser) mla(layout RopeLayout) Attention {
	a := newAttention()
	a.Design, a.KVHeads = MLA, 1
	a.Heads = p.need("num_attention_heads", maxHeads)
	a.QRank = p.intIn("q_lora_rank", 0, 0, maxWidth)
	a.KVRank = p.need("kv_lora_rank", maxWidth)
	a.Nope, a.RopeDim = p.need("qk_nope_head_dim", maxWidth/2), p.need("qk_rope_head_dim", maxWidth/2)
	a.HeadDim = a.Nope + a.RopeDim
	a.ValueDim = p.size("v_head_dim", p.absent("v_head_dim", p.class.valueDim, max(1, p.c.Hidden/a.Heads)), maxWidth)
	a.LatentNormEps = latentEps
	a.Scale = 1 / math.Sqrt(float64(a.HeadDim))
	bias := p.bool("attention_bias", false)
	a.QKVBias, a.OutBias = bias, bias
	a.Rope = p.rope(a.RopeDim, "")
	a.Rope.Layout = layout
	if r := a.Rope; r.Kind == RopeYarn && r.MScaleAllDim > 0 {
		m := yarnScale(r.Factor, r.MScaleAllDim)
		a.Scale *= m * m
	}
	return a
}

// pairs reads which channels RoPE turns together.
func (p *parser) pairs(interleaved bool) RopeLayout {
	if p.bool("rope_interleave", interleaved) {
		return Pairs
	}
	return Half
}

// deepseek is DeepSeek-V2, V3 and GLM-4 MoE lite. Dense models carry the expert fields too: only a layer past first_k_dense_replace is a mixture.
func (p *parser) deepseek() {
	p.decoder(map[string]class{
		"deepseek_v2":   {valueDim: 128, wide: 1407, shared: 2},
		"deepseek_v3":   {valueDim: 128, perToken: 8, wide: 2048, dense: 3, shared: 1, groups: 8, topGroups: 4, scale: 2.5},
		"glm4_moe_lite": {eps: 1e-5, valueDim: 256, perToken: 4, wide: 1536, dense: 1, shared: 1, scale: 1.8},
	}[p.c.ModelType])
	layout := Pairs
	if p.c.ModelType != "deepseek_v2" {
		layout = p.pairs(true)
	}
	a := p.mla(layout)
	dense := MLP{Activation: p.activation("hidden_act", SiLU), Intermediate: p.need("intermediate_size", maxFFN), Bias: p.bool("mlp_bias", false)}
	p.layers(a, dense)
	first := p.intIn("first_k_dense_replace", p.absent("first_k_dense_replace", p.class.dense, 0), 0, maxLayers)
	every := p.size("moe_layer_freq", 1, maxTokens)
	types := p.texts("mlp_layer_types")
	if types != nil && len(types) != p.n {
		p.fail("mlp_layer_types", strconv.Itoa(len(types))+" entries", "num_hidden_layers is "+strconv.Itoa(p.n))
		return
	}
	if !p.has("n_routed_experts") {
		return
	}
	chosen := func(i int) bool {
		if types != nil {
			return types[i] == "sparse"
		}
		return i >= first && i%every == 0
	}
	p.sparse(chosen, func() MLP {
		m := p.experts(dense, "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size")
		m.SharedIntermediate = p.intIn("n_shared_experts", p.absent("n_shared_experts", p.class.shared, 0), 0, maxHeads) * m.ExpertIntermediate
		if m.Bias {
			p.unsupported("mlp_bias", "true", "mixtures of DeepSeek run without biases")
		}
		m.Routing = p.deepseekRouting()
		return m
	})
}

// deepseekRouting: V2 scores by softmax, and chooses among groups by their best expert where topk_method says so; V3 and its kin score by sigmoid, with a correction, and
// judge a group by its two best. A V2 file that asks for normed weights is read differently by different public code (with the scale or without), so it does not run.
func (p *parser) deepseekRouting() Routing {
	r := Routing{Score: SigmoidScore, Groups: p.size("n_group", p.absent("n_group", p.class.groups, 1), maxExperts),
		TopGroups: p.size("topk_group", p.absent("topk_group", p.class.topGroups, 1), maxExperts), GroupTop: 2, Bias: true,
		Norm: p.bool("norm_topk_prob", true), Scale: p.positive("routed_scaling_factor", cmp.Or(p.class.scale, 1))}
	method := p.text("topk_method", "")
	if p.c.ModelType != "deepseek_v2" {
		if s := p.text("scoring_func", SigmoidScore); s != SigmoidScore {
			r.Score, r.Unknown = "", "and scoring_func "+quote(s)
		} else if method != "" && method != "noaux_tc" {
			r.Score, r.Unknown = "", "and topk_method "+quote(method)
		}
		return r
	}
	r.Score, r.GroupTop, r.Bias, r.Norm = SoftmaxScore, 1, false, false
	switch {
	case p.bool("norm_topk_prob", false):
		r.Score, r.Unknown = "", "and norm_topk_prob"
	case p.text("scoring_func", SoftmaxScore) != SoftmaxScore:
		r.Score, r.Unknown = "", "and scoring_func "+quote(p.text("scoring_func", ""))
	case method == "" || method == "greedy":
		r.Groups, r.TopGroups = 1, 1
	case method != "group_limited_greedy":
		r.Score, r.Unknown = "", "and topk_method "+quote(method)
	}
	return r
}

// youtu is a dense DeepSeek-V3 with tied embeddings.
func (p *parser) youtu() {
	p.decoder(class{tied: true, valueDim: 128})
	p.layers(p.mla(p.pairs(true)), p.dense())
}

// minicpm3 scales embeddings, block outputs and the final state. Published files leave the value width (hidden / heads) and tied embeddings (yes) out. A scale that is null is 1.
func (p *parser) minicpm3() {
	p.decoder(class{tied: true, eps: 1e-5})
	p.layers(p.mla(Half), p.dense())
	p.c.EmbedScale = p.positive("scale_emb", 12)
	if depth := p.capOr("scale_depth", 1.4); depth > 0 {
		p.c.ResidualScale = depth / math.Sqrt(float64(p.n))
	}
	p.c.LogitScale = float64(p.size("dim_model_base", p.absent("dim_model_base", 256, p.c.Hidden), maxWidth)) / float64(p.c.Hidden)
}

// step3 is Step-3's MFA: one shared key and value head, queries through a normed bottleneck. share_q_dim absent or 0 means the paper's form, a bottleneck of head_dim. Its mixtures choose by
// softmax; beside them stands one shared expert, as wide as a token's experts together unless share_expert_dim says otherwise.
func (p *parser) step3() {
	p.decoder(class{})
	p.c.MaxPosition = p.size("max_position_embedding", p.size("max_seq_len", p.c.MaxPosition, maxTokens), maxTokens) // its name is singular
	a := newAttention()
	a.Design = MFA
	a.Heads = p.need("num_attention_heads", maxHeads)
	a.KVHeads = p.size("num_attention_groups", 1, maxHeads)
	a.HeadDim = p.need("head_dim", maxWidth)
	a.ValueDim = a.HeadDim
	if a.QRank = p.intIn("share_q_dim", 0, 0, maxWidth); a.QRank == 0 {
		a.QRank = a.HeadDim
	}
	a.QNorm, a.LatentNormEps = true, p.c.Norm.Eps
	a.Scale = 1 / math.Sqrt(float64(a.HeadDim))
	a.Rope = p.rope(a.HeadDim, "")
	dense := p.dense()
	p.layers(a, dense)
	if p.intIn("moe_num_experts", 0, 0, maxExperts) == 0 {
		return
	}
	set := p.layerSet("moe_layers_enum")
	p.sparse(func(i int) bool { return set == nil && i > 0 || set[i] }, func() MLP {
		m := p.experts(dense, "moe_num_experts", "moe_top_k", "moe_intermediate_size")
		m.SharedIntermediate = p.intIn("share_expert_dim", min(m.ExpertIntermediate*m.ExpertsPerToken, maxFFN), 0, maxFFN)
		m.Routing = Routing{Score: SoftmaxScore, Norm: p.bool("norm_expert_weight", true), Scale: 1}
		return m
	})
}

// layerSet reads layer numbers written as a list or as one comma-separated string; nil if absent.
func (p *parser) layerSet(key string) map[int]bool {
	raw, ok := p.raw(key)
	if !ok {
		return nil
	}
	set := map[int]bool{}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		for _, i := range p.ints(key, 0, maxLayers) {
			set[i] = true
		}
		return set
	}
	for _, part := range strings.Split(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		i, err := strconv.Atoi(part)
		if err != nil || i < 0 || i > maxLayers {
			p.fail(key, part, "must be layer numbers")
			return set
		}
		set[i] = true
	}
	return set
}
