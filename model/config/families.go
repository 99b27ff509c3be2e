package config

// The published dense and mixture families with MHA, GQA or MQA. Class defaults stand where a published file may leave a field out.

import (
	"fmt"
	"math"
	"slices"
)

func (p *parser) llama() {
	p.plain(class{})
}

// plain reads a Llama.
func (p *parser) plain(of class) {
	p.decoder(of)
	p.layers(p.heads(0), p.dense())
}

func never(int) bool  { return false }
func always(int) bool { return true }

// mistral: the class has one window for all layers, and none where the file says null. Public code differs on layer_types.
func (p *parser) mistral() {
	p.plain(class{kvHeads: 8})
	p.window("sliding_window", 4096, p.which(always))
	types := p.slides(always)
	p.eachLayer(func(i int, l *Layer) {
		if w := l.Attention.Window; !types[i] && w > 0 && w < p.c.MaxPosition {
			p.unsupported("layer_types", "full_attention beside a sliding_window", "in model_type mistral all layers slide")
		}
	})
}

func (p *parser) qwen2() {
	p.decoder(class{kvHeads: 32})
	a := p.heads(0)
	a.QKVBias = true
	p.layers(a, p.dense())
	p.qwenWindow()
}

// qwenWindow: a window is given even where it is not used, and the first max_window_layers layers see everything.
func (p *parser) qwenWindow() {
	use := p.bool("use_sliding_window", false)
	first := p.intIn("max_window_layers", 28, 0, maxTokens)
	slides := p.slides(func(i int) bool { return use && i >= first })
	if use {
		p.window("sliding_window", 4096, slides)
	}
}

func (p *parser) qwen3() {
	p.decoder(class{kvHeads: 32})
	p.layers(p.normedHeads(128), p.dense())
	p.qwenWindow()
}

// normedHeads are heads with norms of queries and keys, of the width headDim where the file does not say (0: hidden / heads).
func (p *parser) normedHeads(headDim int) Attention {
	a := p.heads(headDim)
	a.QKNorm, a.QKNormEps = NormHead, p.c.Norm.Eps
	return a
}

func (p *parser) smollm3() {
	p.decoder(class{tied: true, theta: 2e6, kvHeads: 4})
	p.layers(p.heads(0), p.dense())
	interval := p.size("no_rope_layer_interval", 4, maxTokens)
	rotates := p.ints("no_rope_layers", 0, 1) // 1 = rotates, whatever the name says
	if rotates != nil && len(rotates) != len(p.c.Layers) {
		p.fail("no_rope_layers", fmt.Sprintf("%d entries", len(rotates)), fmt.Sprintf("num_hidden_layers is %d", p.n))
		return
	}
	plain := p.which(func(i int) bool { return rotates != nil && rotates[i] == 0 || rotates == nil && (i+1)%interval == 0 })
	p.eachLayer(func(i int, l *Layer) {
		if plain[i] {
			l.Attention.Rope = Rope{}
		}
	})
	if p.bool("use_sliding_window", false) { // the layers without positions slide, unless the file says which
		p.window("sliding_window", 0, p.slides(func(i int) bool { return plain[i] }))
	}
}

// phi3: "yarn" is the name that its first files gave to longrope.
func (p *parser) phi3() {
	p.decoder(class{eps: 1e-5, original: 4096})
	a := p.heads(0)
	a.Rope = p.partialRope(a.HeadDim, 1, "")
	p.layers(a, p.dense())
	p.window("sliding_window", 0, p.which(always))
}

func (p *parser) granite() {
	p.decoder(class{})
	a := p.heads(0)
	a.Scale = p.positive("attention_multiplier", 1)
	p.layers(a, p.dense())
	p.c.EmbedScale = p.positive("embedding_multiplier", 1)
	p.c.ResidualScale = p.positive("residual_multiplier", 1)
	p.c.LogitScale = 1 / p.positive("logits_scaling", 1)
}

func (p *parser) olmo2() {
	p.decoder(class{eps: 1e-5})
	a := p.heads(0)
	a.QKNorm, a.QKNormEps = NormFlat, p.c.Norm.Eps
	p.c.PostNormOnly = true
	p.layers(a, p.dense())
}

func (p *parser) hunyuan() {
	p.decoder(class{eps: 1e-5})
	a := p.heads(0)
	a.QKNorm, a.QKNormEps, a.NormAfterRope = NormHead, p.c.Norm.Eps, true
	p.layers(a, p.dense())
	if p.bool("use_cla", false) { // groups of layers read the cache of their first
		share := p.size("cla_share_factor", 2, maxLayers)
		p.eachLayer(func(i int, l *Layer) {
			if i%share != 0 {
				l.Attention.SharesWith = i - i%share
			}
		})
	}
}

func (p *parser) starcoder2() {
	p.decoder(class{tied: true, kvHeads: 2})
	p.c.Norm = Norm{Kind: LayerNorm, Eps: p.eps("norm_epsilon", 1e-5)}
	a := p.heads(0)
	bias := p.bool("use_bias", true)
	a.QKVBias, a.OutBias = bias, bias
	m := p.dense()
	m.Kind, m.Bias, m.Activation = Plain, bias, p.activation("hidden_act", GELUTanh)
	p.layers(a, m)
	p.window("sliding_window", 0, p.which(always))
}

func (p *parser) gptNeoX() {
	p.decoder(class{})
	p.c.Norm = Norm{Kind: LayerNorm, Eps: p.eps("layer_norm_eps", 1e-5)}
	p.c.Parallel = p.bool("use_parallel_residual", true)
	a := p.heads(0)
	bias := p.bool("attention_bias", true)
	a.QKVBias, a.OutBias = bias, bias
	a.Rope = p.partialRope(a.HeadDim, 0.25, "")
	m := p.dense()
	m.Kind, m.Bias, m.Activation = Plain, true, p.activation("hidden_act", GELU)
	p.layers(a, m)
}

// gemmaHeads: the softmax scale comes from its own field, and a config nested in a wrapper leaves class defaults out.
func (p *parser) gemmaHeads() Attention {
	a := newAttention()
	a.Heads = p.size("num_attention_heads", 8, maxHeads)
	a.KVHeads = p.size("num_key_value_heads", p.class.kvHeads, maxHeads)
	a.HeadDim = p.size("head_dim", 256, maxWidth)
	a.ValueDim, a.Design = a.HeadDim, grouped(a.Heads, a.KVHeads)
	a.Scale = 1 / math.Sqrt(p.positive("query_pre_attn_scalar", 256))
	bias := p.bool("attention_bias", false)
	a.QKVBias, a.OutBias = bias, bias
	return a
}

// gemmaDecoder reads the sizes; a nested Gemma 3 leaves out the vocabulary of its class.
func (p *parser) gemmaDecoder(vocab, context, kvHeads int) MLP {
	c := p.c
	p.class = class{kvHeads: kvHeads}
	if raw, ok := p.raw("use_bidirectional_attention"); ok && string(raw) != "false" {
		p.unsupported("use_bidirectional_attention", string(raw), "tokens see those before them")
	}
	c.Hidden = p.need("hidden_size", maxWidth)
	c.Vocab = p.size("vocab_size", vocab, maxVocab)
	c.MaxPosition = p.size("max_position_embeddings", context, maxTokens)
	c.TieEmbeddings = p.both("tie_word_embeddings").bool("tie_word_embeddings", true)
	c.Norm = Norm{Eps: p.eps("rms_norm_eps", 1e-6), PlusOne: true}
	c.SandwichNorms = true
	c.EmbedScale = math.Sqrt(float64(c.Hidden))
	p.n = p.need("num_hidden_layers", maxLayers)
	return MLP{Kind: Gated, Activation: p.activation("hidden_activation", GELUTanh)}
}

// capOr reads a softcap, or another number that may be left out: absent means the class default, null means none, 0.
func (p *parser) capOr(key string, def float64) float64 {
	if _, present := p.fields[key]; present {
		def = 0
	}
	return p.positive(key, def)
}

func (p *parser) gemma2() {
	m := p.gemmaDecoder(256000, 8192, 4)
	m.Intermediate = p.need("intermediate_size", maxFFN)
	a := p.gemmaHeads()
	a.Softcap = p.capOr("attn_logit_softcapping", 50)
	p.c.FinalSoftcap = p.capOr("final_logit_softcapping", 30)
	a.Rope = p.rope(a.HeadDim, "")
	p.layers(a, m)
	p.window("sliding_window", 4096, p.slides(func(i int) bool { return i%2 == 0 }))
}

// gemma3 has two rotary bases: scaled for the layers that see everything, plain for those that slide.
func (p *parser) gemma3() {
	m := p.gemmaDecoder(262208, 131072, 4)
	m.Intermediate = p.need("intermediate_size", maxFFN)
	a := p.gemmaHeads()
	a.QKNorm, a.QKNormEps = NormHead, p.c.Norm.Eps
	p.c.FinalSoftcap = p.capOr("final_logit_softcapping", 0) // attn_logit_softcapping is a field that the public code does not use
	pattern := p.size("sliding_window_pattern", p.size("_sliding_window_pattern", 6, maxTokens), maxTokens)
	slides := p.slides(func(i int) bool { return (i+1)%pattern != 0 })
	p.layers(a, m)
	p.window("sliding_window", 4096, slides)
	p.gemmaRopes(a.HeadDim, slides)
}

func (p *parser) gemmaRopes(dim int, slides []bool) {
	p.class.theta = 1e6
	full := p.rope(dim, "full_attention")
	local := Rope{Dim: dim, Sign: 1, Base: p.positive("rope_local_base_freq", 10000), Kind: RopeDefault}
	if p.has("rope_parameters") { // in the old form rope_theta and rope_scaling are those of the full layers
		p.class.theta = local.Base
		local = p.rope(dim, "sliding_attention")
	}
	p.eachLayer(func(i int, l *Layer) {
		l.Attention.Rope = full
		if slides[i] {
			l.Attention.Rope = local
		}
	})
}

// gemma3n: what it has beside attention (AltUp, LAUREL, inputs by token) leaves nothing in the cache.
func (p *parser) gemma3n() {
	m := p.gemmaDecoder(262400, 32768, 2)
	p.c.Norm.PlusOne = false
	a := p.gemmaHeads()
	a.Scale, a.QKNorm, a.QKNormEps, a.VNorm = 1, NormHead, p.c.Norm.Eps, true
	p.c.FinalSoftcap = p.capOr("final_logit_softcapping", 30)
	p.c.LaurelRank = p.size("laurel_rank", 64, maxWidth)
	p.c.AltUp = AltUp{Streams: p.intIn("altup_num_inputs", 4, 2, maxStreams), CorrectScale: p.bool("altup_correct_scale", true),
		InputWidth: p.size("hidden_size_per_layer_input", 256, maxWidth), InputVocab: p.size("vocab_size_per_layer_input", 262144, maxVocab)}
	p.c.AltUp.Active = p.intIn("altup_active_idx", 0, 0, p.c.AltUp.Streams-1)
	widths := p.ints("intermediate_size", 1, maxFFN)
	slides := p.slides(func(i int) bool { return (i+1)%5 != 0 })
	p.layers(a, m)
	p.window("sliding_window", 512, slides)
	p.gemmaRopes(a.HeadDim, slides)
	if len(widths) != 1 && len(widths) != len(p.c.Layers) {
		p.fail("intermediate_size", fmt.Sprintf("%d entries", len(widths)), fmt.Sprintf("num_hidden_layers is %d", p.n))
		return
	}
	sparsity := p.shares("activation_sparsity_pattern")
	if sparsity == nil && len(p.c.Layers) > 10 {
		sparsity = append(slices.Repeat([]float64{0.95}, 10), make([]float64, len(p.c.Layers)-10)...)
	}
	if len(sparsity) > 1 && len(sparsity) != len(p.c.Layers) {
		p.fail("activation_sparsity_pattern", fmt.Sprintf("%d entries", len(sparsity)), fmt.Sprintf("num_hidden_layers is %d", p.n))
		return
	}
	own := len(p.c.Layers) - p.intIn("num_kv_shared_layers", 15, 0, maxLayers)
	p.eachLayer(func(i int, l *Layer) {
		l.MLP.Intermediate = widths[i%len(widths)]
		if len(sparsity) > 0 {
			l.MLP.Sparsity = sparsity[i%len(sparsity)]
		}
		for j := own - 1; i >= own && j >= 0; j-- { // the last layer with own rows that slides alike
			if slides[j] == slides[i] {
				l.Attention.SharesWith = j
				break
			}
		}
	})
}

// sparse makes the chosen layers mixtures. block is asked once, and only if there is such a layer: dense files may lack what it reads.
func (p *parser) sparse(chosen func(i int) bool, block func() MLP) {
	var m *MLP
	p.eachLayer(func(i int, l *Layer) {
		if !chosen(i) {
			return
		}
		if m == nil {
			b := block()
			m = &b
		}
		l.MLP = *m
	})
}

// experts reads the fields of a mixture by the names a family gives them.
func (p *parser) experts(m MLP, count, perToken, width string) MLP {
	size := func(key string, class, high int) int {
		if class == 0 {
			return p.need(key, high)
		}
		return p.size(key, class, high)
	}
	m.Experts = size(count, p.class.experts, maxExperts)
	m.ExpertsPerToken = size(perToken, p.class.perToken, maxExperts)
	m.ExpertIntermediate = size(width, p.class.wide, maxFFN)
	m.Intermediate = 0
	return m
}

func (p *parser) mixtral() {
	p.decoder(class{eps: 1e-5, theta: 1e6, kvHeads: 8, experts: 8, perToken: 2, wide: 14336})
	m := p.experts(MLP{Activation: p.activation("hidden_act", SiLU)}, "num_local_experts", "num_experts_per_tok", "intermediate_size")
	m.Routing = Routing{Score: SoftmaxScore, Norm: true, Scale: 1}
	p.layers(p.heads(0), m)
	p.window("sliding_window", 0, p.which(always))
}

func (p *parser) qwen3MoE() {
	p.decoder(class{kvHeads: 4, experts: 128, perToken: 8, wide: 768})
	count := "num_experts"
	if !p.has(count) {
		count = "num_local_experts"
	}
	dense := p.dense()
	m := p.experts(dense, count, "num_experts_per_tok", "moe_intermediate_size")
	m.Routing = Routing{Score: SoftmaxScore, Norm: p.bool("norm_topk_prob", false), Scale: 1}
	p.layers(p.normedHeads(0), m)
	if p.bool("use_sliding_window", false) { // max_window_layers is no field of this class
		p.window("sliding_window", 4096, p.which(always))
	}
	step := p.size("decoder_sparse_step", 1, maxTokens)
	only := map[int]bool{}
	for _, i := range p.ints("mlp_only_layers", 0, maxLayers) {
		only[i] = true
	}
	p.eachLayer(func(i int, l *Layer) {
		if only[i] || (i+1)%step != 0 {
			l.MLP = dense
		}
	})
}

func (p *parser) gptOSS() {
	p.decoder(class{eps: 1e-5, theta: 150000, kvHeads: 8, experts: 128, perToken: 4, wide: 2880})
	a := p.heads(64)
	if !p.has("rope_parameters") && !p.has("rope_scaling") {
		a.Rope.Kind, a.Rope.Factor, a.Rope.Original, a.Rope.BetaFast, a.Rope.BetaSlow, a.Rope.NoTruncate = RopeYarn, 32, 4096, 32, 1, true
	}
	bias := p.bool("attention_bias", true)
	a.QKVBias, a.OutBias, a.Sinks = bias, bias, true
	m := p.experts(MLP{Activation: p.activation("hidden_act", SiLU), Bias: true}, "num_local_experts", "num_experts_per_tok", "intermediate_size")
	m.GateAlpha, m.GateLimit = p.positive("swiglu_alpha", 1.702), p.positive("swiglu_limit", 7)
	m.Routing = Routing{Score: SoftmaxScore, Norm: true, Scale: 1} // a softmax over the chosen alone is that over all, divided by their sum
	p.layers(a, m)
	p.window("sliding_window", 128, p.slides(func(i int) bool { return i%2 == 0 }))
}

// zaya: compressed convolutional attention.
func (p *parser) zaya() {
	p.decoder(class{tied: true, eps: 1e-5, kvHeads: 2, experts: 16, perToken: 1, wide: 2048})
	if p.bool("lm_head_bias", false) {
		p.unsupported("lm_head_bias", "true", "output matrices without a bias run")
	}
	a := p.heads(0)
	p.convolved(&a)
	slides := p.slides(never)
	m := p.experts(MLP{Activation: p.activation("hidden_act", SiLU)}, "num_experts", "num_experts_per_tok", "moe_intermediate_size")
	m.Routing = Routing{Score: SoftmaxScore, Bias: true, Scale: 1, Skip: true, Network: p.size("router_hidden_size", 256, maxWidth), NetworkEps: p.c.Norm.Eps}
	p.layers(a, m)
	p.c.Rescaled = true
	p.window("sliding_window", 0, slides)
	rope := func(kind string) Rope { return p.partialRope(a.HeadDim, 1, kind) }
	full, local := rope("hybrid"), rope("hybrid_sliding")
	p.eachLayer(func(i int, l *Layer) {
		l.Attention.Rope = full
		if slides[i] {
			l.Attention.Rope = local
		}
	})
}
