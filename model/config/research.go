package config

// Configurations of research repositories, as converted with a `source` field: flat, every constant named, one dispatch on `attention` (MLRA, TPA) or on model_type.

import (
	"fmt"
	"math"
	"strings"
)

// research picks the reader for a config with a `source`; nil if it is not known.
func (p *parser) research() func(*parser) {
	if p.has("attention") {
		switch p.text("attention", "") {
		case "mha", "gqa", "mqa", "mfa", "gta":
			return (*parser).flatHeads
		case "tpa", "tpa_kvonly":
			return (*parser).flatTPA
		case "mla", "gla_2", "gla_4", "mlra_2", "mlra_4":
			return (*parser).flatLatent
		}
		return func(p *parser) {
			p.unsupported("attention", p.text("attention", ""), "known: mha gqa mqa mfa gta tpa tpa_kvonly mla gla_2 gla_4 mlra_2 mlra_4")
		}
	}
	switch p.c.ModelType {
	case "lckv-llama":
		return (*parser).lckv
	case "llama-mtla", "mtla_attention":
		return (*parser).mtla
	case "fastmka-llama", "fastmka_attention", "mka_full_attention":
		return (*parser).mka
	case "zaya_cca_attention":
		return (*parser).ccaModule
	}
	return nil
}

// flat reads the sizes under their nanoGPT names.
func (p *parser) flat() (Attention, MLP) {
	c := p.c
	c.Hidden, c.Vocab = p.need("n_embd", maxWidth), p.need("vocab_size", maxVocab)
	c.MaxPosition = p.size("block_size", 2048, maxTokens)
	c.TieEmbeddings = p.bool("tie_word_embeddings", true)
	c.Norm = Norm{Eps: p.eps("rms_norm_eps", 1e-6), Weightless: strings.Contains(p.text("norm", ""), "without weight")}
	p.n = p.need("n_layer", maxLayers)
	a := newAttention()
	a.Heads = p.need("n_head", maxHeads)
	bias := p.bool("bias", false)
	a.QKVBias, a.OutBias = bias, bias
	return a, MLP{Activation: p.activation("hidden_act", SiLU), Intermediate: p.need("intermediate_size", maxFFN), Bias: bias}
}

// flatRope reads layout and sign, which these files state.
func (p *parser) flatRope(dim int) Rope {
	r := p.rope(dim, "")
	switch s := p.text("rope_pair_layout", "half_split"); s {
	case "half_split":
	case "interleaved":
		r.Layout = Pairs
	default:
		p.unsupported("rope_pair_layout", s, "known: half_split interleaved")
	}
	if r.Sign = p.intIn("rope_sign", 1, -1, 1); r.Sign == 0 {
		p.fail("rope_sign", "0", "must be 1 or -1")
	}
	r.BF16Table = p.text("rope_table_dtype", "float32") == "bfloat16"
	return r
}

func (p *parser) flatHeads() {
	a, m := p.flat()
	a.HeadDim = p.need("head_dim", maxWidth)
	a.ValueDim = a.HeadDim
	a.KVHeads = p.size("n_kv_head", a.Heads, maxHeads)
	a.Scale = p.positive("softmax_scale", 1/math.Sqrt(float64(a.HeadDim)))
	a.Rope = p.flatRope(a.HeadDim)
	switch p.text("attention", "") {
	case "mfa":
		a.Design, a.QRank = MFA, p.need("share_q_dim", maxWidth)
		a.QNorm, a.LatentNormEps = true, p.c.Norm.Eps
	case "gta":
		a.Design = GTA
		a.Nope, a.RopeDim = p.need("nope_head_dim", maxWidth), p.need("rope_head_dim", maxWidth)
		a.Rope.Dim = a.RopeDim
		if a.Nope+a.RopeDim != a.HeadDim {
			p.fail("nope_head_dim", fmt.Sprint(a.Nope), fmt.Sprintf("must be head_dim %d - rope_head_dim %d", a.HeadDim, a.RopeDim))
		}
	default:
		a.Design = grouped(a.Heads, a.KVHeads)
	}
	p.layers(a, m)
}

func (p *parser) flatTPA() {
	a, m := p.flat()
	a.Design, a.KVHeads = TPA, a.Heads
	a.HeadDim = p.need("head_dim", maxWidth)
	a.ValueDim = a.HeadDim
	a.KRank = p.need("rank", maxWidth)
	a.VRank = a.KRank
	p.scaledByRank("scale_kv", a.KRank)
	if p.text("attention", "") == "tpa" {
		a.QRank = p.need("q_rank", maxWidth)
		p.scaledByRank("scale_q", a.QRank)
	}
	a.Scale = p.positive("softmax_scale", 1/math.Sqrt(float64(a.HeadDim)))
	a.OutNorm = p.bool("using_groupnorm", false)
	if a.OutNorm {
		a.OutNormEps = 1e-5
	}
	a.Rope = p.flatRope(a.HeadDim)
	p.layers(a, m)
}

// scaledByRank refuses factors of another scale than the paper's: a sum of outer products is divided by their number.
func (p *parser) scaledByRank(key string, rank int) {
	want := 1 / float64(max(1, rank))
	if s := p.positive(key, want); math.Abs(s-want) > 1e-6*want {
		p.unsupported(key, fmt.Sprint(s), fmt.Sprintf("sums of %d outer products are divided by %d", rank, rank))
	}
}

func (p *parser) flatLatent() {
	a, m := p.flat()
	name := p.text("attention", "")
	a.Design, a.KVHeads = strings.TrimRight(name, "_24"), 1
	a.QRank, a.KVRank = p.need("q_lora_rank", maxWidth), p.need("kv_lora_rank", maxWidth)
	a.Nope, a.RopeDim = p.need("qk_nope_head_dim", maxWidth/2), p.need("qk_rope_head_dim", maxWidth/2)
	a.HeadDim = a.Nope + a.RopeDim
	a.ValueDim = p.size("v_head_dim", a.Nope, maxWidth)
	a.Latents = p.size("n_latent", 1, maxHeads)
	a.Branches = p.size("n_branch", 1, maxHeads)
	a.Scale = p.positive("softmax_scale", 1/math.Sqrt(float64(a.HeadDim)))
	a.OutScale = p.positive("attn_output_scale", 1)
	hidden := float64(p.c.Hidden)
	a.QScale = p.positive("q_scale", math.Sqrt(hidden/float64(a.QRank)))
	a.KVScale = p.positive("kv_scale", math.Sqrt(hidden/float64(a.KVRank/a.Latents)))
	a.LatentNormEps = p.c.Norm.Eps
	a.Rope = p.flatRope(a.RopeDim)
	p.layers(a, m)
}

// lckv is a Llama with a map of layers, which it calls layer_types.
func (p *parser) lckv() {
	p.decoder(class{})
	a := p.heads(0)
	a.Rope = p.flatRope(a.HeadDim)
	p.layers(a, p.dense())
	p.layerMap("layer_types", true)
}

// mtla: MLA whose cached rows are sums over blocks of down_rate tokens; the last, unfinished block is a row too.
func (p *parser) mtla() {
	if p.c.ModelType == "mtla_attention" {
		p.module(p.need("embed_dim", maxWidth))
	} else {
		p.decoder(class{})
	}
	a := newAttention()
	a.Design, a.KVHeads = MTLA, 1
	heads := "num_attention_heads"
	if !p.has(heads) {
		heads = "num_heads"
	}
	a.Heads = p.need(heads, maxHeads)
	a.QRank, a.KVRank = p.intIn("q_lora_rank", 0, 0, maxWidth), p.need("kv_lora_rank", maxWidth)
	a.Nope, a.RopeDim = p.need("qk_nope_head_dim", maxWidth/2), p.need("qk_rope_head_dim", maxWidth/2)
	a.HeadDim, a.ValueDim = a.Nope+a.RopeDim, p.need("v_head_dim", maxWidth)
	a.Scale = p.positive("softmax_scale", 1/math.Sqrt(float64(a.HeadDim)))
	a.LatentNormEps = p.eps("layer_norm_eps", 1e-5)
	a.RowTokens, a.MergeDim = p.need("down_rate", maxMerge), p.need("hypernet_dim", maxWidth)
	a.RecurrentLen = a.KVRank
	a.Rope = p.flatRope(a.RopeDim)
	p.layers(a, p.moduleMLP())
}

// mka: keys and values of several memory levels. The constant state is the running average of the hidden state, the second level.
func (p *parser) mka() {
	a := newAttention()
	if p.c.ModelType == "fastmka-llama" {
		p.decoder(class{})
		a = p.heads(0)
		a.Rope = p.flatRope(a.HeadDim)
	} else {
		p.module(p.need("hidden_size", maxWidth))
		a.Heads = p.need("num_heads", maxHeads)
		a.KVHeads, a.HeadDim = a.Heads, p.need("head_dim", maxWidth)
		a.ValueDim = a.HeadDim
		a.Scale = p.positive("softmax_scale", 1/math.Sqrt(float64(a.HeadDim)))
	}
	a.Design = FMKA
	if p.c.ModelType == "mka_full_attention" {
		a.Design = MKA
	}
	if a.Levels = p.need("levels", 3); a.Levels < 2 {
		p.fail("levels", fmt.Sprint(a.Levels), "must be 2 or 3")
	}
	a.RouterDim = p.size("router_hidden", max(1, p.c.Hidden/2), maxWidth)
	a.EMABeta = p.fraction("ema_beta", 0.9)
	a.RecurrentLen = p.c.Hidden
	p.layers(a, p.moduleMLP())
}

func (p *parser) ccaModule() {
	p.module(p.need("hidden_size", maxWidth))
	a := p.heads(0)
	p.convolved(&a)
	a.Rope = p.flatRope(p.partial(a.HeadDim, 1, "")).paired()
	p.layers(a, p.moduleMLP())
}

// module describes one attention module alone.
func (p *parser) module(hidden int) {
	p.c.Module, p.c.Hidden, p.n = true, hidden, 1
}

func (p *parser) moduleMLP() MLP {
	if p.c.Module {
		return MLP{Kind: NoMLP}
	}
	return p.dense()
}
