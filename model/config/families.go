package config

// The published dense and mixture families with MHA, GQA or MQA. Class defaults stand where a published file may leave a field out.

import (
	"fmt"
	"math"
	"slices"
)

func (p *parser) llama() {
	p.decoder(false)
	p.layers(p.heads(0), p.dense())
}

func never(int) bool  { return false }
func always(int) bool { return true }

func (p *parser) mistral() {
	p.llama()
	p.window("sliding_window", 0, p.slides(always))
}

func (p *parser) qwen2() {
	p.decoder(false)
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
	p.decoder(false)
	p.layers(p.qwen3Heads(), p.dense())
	p.qwenWindow()
}

func (p *parser) qwen3Heads() Attention {
	a := p.heads(128)
	a.QKNorm, a.QKNormEps = NormHead, p.c.Norm.Eps
	return a
}

func (p *parser) smollm3() {
	p.decoder(true)
	p.layers(p.heads(0), p.dense())
	p.qwenWindow()
	interval := p.size("no_rope_layer_interval", 4, maxTokens)
	rotates := p.ints("no_rope_layers", 0, 1) // 1 = rotates, whatever the name says
	if rotates != nil && len(rotates) != len(p.c.Layers) {
		p.fail("no_rope_layers", fmt.Sprintf("%d entries", len(rotates)), fmt.Sprintf("num_hidden_layers is %d", p.n))
		return
	}
	p.eachLayer(func(i int, l *Layer) {
		if rotates != nil && rotates[i] == 0 || rotates == nil && (i+1)%interval == 0 {
			l.Attention.Rope = Rope{}
		}
	})
}

func (p *parser) phi3() {
	p.decoder(false)
	a := p.heads(0)
	a.Rope = p.rope(p.partial(a.HeadDim, 1, ""), "")
	p.layers(a, p.dense())
	p.window("sliding_window", 0, p.slides(always))
}

func (p *parser) granite() {
	p.decoder(false)
	a := p.heads(0)
	a.Scale = p.positive("attention_multiplier", 1)
	p.layers(a, p.dense())
	p.c.EmbedScale = p.positive("embedding_multiplier", 1)
	p.c.ResidualScale = p.positive("residual_multiplier", 1)
	p.c.LogitScale = 1 / p.positive("logits_scaling", 1)
}

func (p *parser) olmo2() {
	p.decoder(false)
	a := p.heads(0)
	a.QKNorm, a.QKNormEps = NormFlat, p.c.Norm.Eps
	p.c.PostNormOnly = true
	p.layers(a, p.dense())
}

func (p *parser) hunyuan() {
	p.decoder(false)
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
	p.decoder(true)
	p.c.Norm = Norm{Kind: LayerNorm, Eps: p.eps("norm_epsilon", 1e-5)}
	a := p.heads(0)
	bias := p.bool("use_bias", true)
	a.QKVBias, a.OutBias = bias, bias
	m := p.dense()
	m.Kind, m.Bias, m.Activation = Plain, bias, p.activation("hidden_act", GELUTanh)
	p.layers(a, m)
	p.window("sliding_window", 0, p.slides(always))
}

func (p *parser) gptNeoX() {
	p.decoder(false)
	p.c.Norm = Norm{Kind: LayerNorm, Eps: p.eps("layer_norm_eps", 1e-5)}
	p.c.Parallel = p.bool("use_parallel_residual", true)
	a := p.heads(0)
	bias := p.bool("attention_bias", true)
	a.QKVBias, a.OutBias = bias, bias
	a.Rope = p.rope(p.partial(a.HeadDim, 0.25, ""), "")
	m := p.dense()
	m.Kind, m.Bias, m.Activation = Plain, true, p.activation("hidden_act", GELU)
	p.layers(a, m)
}

// gemmaHeads: the softmax scale comes from its own field, and a config nested in a wrapper leaves class defaults out.
func (p *parser) gemmaHeads() Attention {
	a := newAttention()
	a.Heads = p.size("num_attention_heads", 8, maxHeads)
	a.KVHeads = p.size("num_key_value_heads", 4, maxHeads)
	a.HeadDim = p.size("head_dim", 256, maxWidth)
	a.ValueDim, a.Design = a.HeadDim, grouped(a.Heads, a.KVHeads)
	a.Scale = 1 / math.Sqrt(p.positive("query_pre_attn_scalar", 256))
	bias := p.bool("attention_bias", false)
	a.QKVBias, a.OutBias = bias, bias
	return a
}

// gemmaDecoder reads the sizes; a nested Gemma 3 leaves out the vocabulary of its class.
func (p *parser) gemmaDecoder(vocab, context int) MLP {
	c := p.c
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

// capOr reads a softcap: absent means the class default, null means none.
func (p *parser) capOr(key string, def float64) float64 {
	if _, present := p.fields[key]; present {
		def = 0
	}
	return p.positive(key, def)
}

func (p *parser) gemma2() {
	m := p.gemmaDecoder(256000, 8192)
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
	m := p.gemmaDecoder(262208, 131072)
	m.Intermediate = p.need("intermediate_size", maxFFN)
	a := p.gemmaHeads()
	a.QKNorm, a.QKNormEps = NormHead, p.c.Norm.Eps
	a.Softcap = p.capOr("attn_logit_softcapping", 0)
	p.c.FinalSoftcap = p.capOr("final_logit_softcapping", 0)
	pattern := p.size("sliding_window_pattern", p.size("_sliding_window_pattern", 6, maxTokens), maxTokens)
	slides := p.slides(func(i int) bool { return (i+1)%pattern != 0 })
	p.layers(a, m)
	p.window("sliding_window", 4096, slides)
	p.gemmaRopes(a.HeadDim, slides)
}

func (p *parser) gemmaRopes(dim int, slides []bool) {
	full, local := p.rope(dim, "full_attention"), p.rope(dim, "sliding_attention")
	if !p.has("rope_parameters") { // the old form: rope_theta and rope_scaling are those of the full layers
		if !p.has("rope_theta") {
			full.Base = 1e6
		}
		local = Rope{Dim: dim, Sign: 1, Base: p.positive("rope_local_base_freq", 10000), Kind: RopeDefault}
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
	m := p.gemmaDecoder(262400, 32768)
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
	m.Experts = p.need(count, maxExperts)
	m.ExpertsPerToken = p.need(perToken, maxExperts)
	m.ExpertIntermediate = p.need(width, maxFFN)
	m.Intermediate = 0
	return m
}

func (p *parser) mixtral() {
	p.decoder(false)
	m := p.experts(MLP{Activation: p.activation("hidden_act", SiLU)}, "num_local_experts", "num_experts_per_tok", "intermediate_size")
	m.Routing = Routing{Score: SoftmaxScore, Norm: true, Scale: 1}
	p.layers(p.heads(0), m)
	p.window("sliding_window", 0, p.slides(always))
}

func (p *parser) qwen3MoE() {
	p.decoder(false)
	count := "num_experts"
	if !p.has(count) {
		count = "num_local_experts"
	}
	dense := p.dense()
	m := p.experts(dense, count, "num_experts_per_tok", "moe_intermediate_size")
	m.Routing = Routing{Score: SoftmaxScore, Norm: p.bool("norm_topk_prob", false), Scale: 1}
	p.layers(p.qwen3Heads(), m)
	p.qwenWindow()
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
	p.decoder(false)
	a := p.heads(64)
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
	p.decoder(false)
	a := p.heads(0)
	p.convolved(&a)
	slides := p.slides(never)
	m := p.experts(MLP{Activation: p.activation("hidden_act", SiLU)}, "num_experts", "num_experts_per_tok", "moe_intermediate_size")
	m.Routing = Routing{Score: SoftmaxScore, Bias: true, Scale: 1, Skip: true, Network: p.size("router_hidden_size", 256, maxWidth), NetworkEps: p.c.Norm.Eps}
	p.layers(a, m)
	p.c.Rescaled = true
	p.window("sliding_window", 0, slides)
	rope := func(kind string) Rope { return p.rope(p.partial(a.HeadDim, 1, kind), kind) }
	full, local := rope("hybrid"), rope("hybrid_sliding")
	p.eachLayer(func(i int, l *Layer) {
		l.Attention.Rope = full
		if slides[i] {
			l.Attention.Rope = local
		}
	})
}
