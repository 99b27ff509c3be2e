package config

import (
	"fmt"
	"math"
)

// lowkey's own configuration: "model_type": "lowkey". It is flat, and names the design, so that any design can be written as a model. A model of a published
// architecture keeps that architecture's config.json instead.
//
// Required: hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, vocab_size, and
//
//	attention  "mha" "gqa" "mqa" "sqa" "mla" "mfa" "mfa-kr" "tpa" "gta" "gla" "mlra"
//
// With a default: max_position_embeddings 2048, rms_norm_eps 1e-6, hidden_act "silu", tie_word_embeddings false, attention_bias false, mlp_bias false, and rope_parameters
// (or rope_theta and rope_scaling) as in every Hugging Face folder, half-split pairs. bos_token_id and eos_token_id as usual. By design:
//
//	mha gqa mqa   num_key_value_heads (by the name's meaning), head_dim (hidden/heads), qk_norm false (per head, before RoPE), sliding_window none
//	sqa           as gqa with head_dim given: num_attention_heads * head_dim is less than hidden_size, num_key_value_heads from 1 to num_attention_heads (the default)
//	mla           kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim (hidden/heads), q_lora_rank none, rope_interleave false
//	gla mlra      as mla, kv_lora_rank being all latents together; num_latents (gla 2, mlra 4); mlra: num_branches (num_latents), attn_output_scale (1/sqrt(num_branches));
//	              q_scale and kv_scale 1: factors on the normed bottleneck and latents (MLRA's code: sqrt(hidden/width))
//	mfa mfa-kr    head_dim (the paper's C; needed), q_lora_rank (head_dim), q_norm true (RMS norm over the bottleneck, eps rms_norm_eps)
//	tpa           head_dim (needed; heads * head_dim need not be hidden_size), q_rank 6 (0 = dense queries), k_rank 2, v_rank 2
//	gta           num_key_value_heads (1 to heads), head_dim (hidden/heads), qk_rope_head_dim (head_dim/2, made even): the last channels of a query, and the one rotary key
//
// Tensors are named as Llama's and DeepSeek's: model.layers.N.self_attn. q_proj k_proj v_proj o_proj q_norm k_norm; q_a_proj q_a_layernorm q_b_proj kv_a_proj_with_mqa
// kv_a_layernorm kv_b_proj. MFA has q_a_proj [q_rank, hidden], q_a_layernorm, q_b_proj [heads*head_dim, q_rank], k_proj and v_proj [head_dim, hidden]. MFA-KR has no
// v_proj but n.weight [head_dim, head_dim] and alpha.weight [head_dim] (read without .weight too): the value is k + alpha * (n k), from the key before RoPE, which is what its cache holds.
// TPA has a_q_proj [heads*q_rank, hidden] (head after head), b_q_proj [q_rank*head_dim, hidden], or q_proj where q_rank is 0; a_k_proj, b_k_proj, a_v_proj, b_v_proj alike; o_proj.
// GLA and MLRA have q_proj or q_a_proj, q_a_layernorm, q_b_proj, and kv_a_proj_with_mqa, o_proj as MLA; for each latent j from 0: kv_a_layernorm.j [r], kv_b_proj.j [heads of it*(nope+value), r].
// GTA has q_proj, kv_proj [kv_heads*head_dim, hidden] (the tied states), k_rope_proj [qk_rope_head_dim, hidden], o_proj.
func (p *parser) lowkey() {
	p.decoder(false)
	design := p.text("attention", "")
	var a Attention
	switch design {
	case MHA, GQA, MQA, SQA:
		a = p.heads(0)
		if !p.has("num_key_value_heads") && design == MQA {
			a.KVHeads = 1
		}
		if want := grouped(a.Heads, a.KVHeads); design == SQA {
			if a.Heads*a.HeadDim >= p.c.Hidden {
				p.fail("num_attention_heads", fmt.Sprint(a.Heads), fmt.Sprintf("attention sqa has fewer than the %d heads of %d that hidden_size %d holds", p.c.Hidden/a.HeadDim, a.HeadDim, p.c.Hidden))
			}
		} else if want != design && !(a.Heads == 1) {
			p.fail("attention", design, "num_attention_heads and num_key_value_heads make it "+want)
		}
		a.Design = design
		if p.bool("qk_norm", false) {
			a.QKNorm, a.QKNormEps = NormHead, p.c.Norm.Eps
		}
		a.Window = p.intIn("sliding_window", 0, 0, maxTokens)
	case MLA, GLA, MLRA:
		layout := Half
		if p.bool("rope_interleave", false) {
			layout = Pairs
		}
		a = p.mla(layout)
		if design != MLA {
			p.latents(&a, design)
		}
	case MFA, MFAKR:
		if !p.has("head_dim") {
			p.fail("head_dim", "missing", "attention "+design+" needs it")
		}
		a = p.heads(1)
		a.Design, a.KVHeads = design, 1
		a.QRank = p.size("q_lora_rank", a.HeadDim, maxWidth)
		a.QNorm, a.LatentNormEps = p.bool("q_norm", true), p.c.Norm.Eps
	case TPA:
		if !p.has("head_dim") {
			p.fail("head_dim", "missing", "attention "+design+" needs it")
		}
		a = p.heads(1)
		a.Design, a.KVHeads = design, a.Heads
		a.QRank, a.KRank, a.VRank = p.intIn("q_rank", 6, 0, maxWidth), p.size("k_rank", 2, maxWidth), p.size("v_rank", 2, maxWidth)
	case GTA:
		a = p.heads(0)
		a.Design = design
		a.RopeDim = p.size("qk_rope_head_dim", a.HeadDim/4*2, maxWidth)
		if a.RopeDim < 2 || a.RopeDim%2 != 0 || a.RopeDim >= a.HeadDim {
			p.fail("qk_rope_head_dim", fmt.Sprint(a.RopeDim), fmt.Sprintf("must be even and less than head_dim %d: the rest is the tied part of the key", a.HeadDim))
		}
		a.Nope, a.Rope.Dim = a.HeadDim-a.RopeDim, a.RopeDim
	default:
		p.unsupported("attention", design, "designs of this configuration: mha gqa mqa sqa mla mfa mfa-kr tpa gta gla mlra")
	}
	p.layers(a, p.dense())
}

// latents reads what GLA and MLRA have beside MLA.
func (p *parser) latents(a *Attention, design string) {
	a.Design, a.Latents = design, p.size("num_latents", map[string]int{GLA: 2, MLRA: 4}[design], maxHeads)
	if design == MLRA {
		a.Branches = p.size("num_branches", a.Latents, maxHeads)
		a.OutScale = p.positive("attn_output_scale", 1/math.Sqrt(float64(max(1, a.Branches))))
	}
	a.QScale, a.KVScale = p.positive("q_scale", 1), p.positive("kv_scale", 1)
}
