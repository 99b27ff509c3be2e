package config

// MLA, GLA and MLRA: a latent, or several, and one rotary key.
//
//	mla       kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim (hidden/heads), q_lora_rank none, rope_interleave false
//	          latent_bits 0: the bits in which the latent is stored and was trained, 4 or 8 (CLLA-quant, arXiv 2410.15252; with layer_map CLLA)
//	gla mlra  as mla, kv_lora_rank being all latents together; num_latents (gla 2, mlra 4); mlra: num_branches (num_latents), attn_output_scale (1/sqrt(num_branches));
//	          q_scale and kv_scale 1: factors on the normed bottleneck and latents (MLRA's code: sqrt(hidden/width))

import (
	"fmt"
	"math"
)

func init() {
	for _, d := range []Design{
		{Name: MLA, About: "a latent, from which keys and values are made, and one rotary key", Cache: "d_c + d_R", Paper: "DeepSeek-V2, 2405.04434", read: readLatent},
		{Name: GLA, About: "several latents, each for a block of the heads", Cache: "h_c d_c + d_R", Paper: "Hardware-Efficient Attention for Fast Decoding, 2505.21487", read: readLatent},
		{Name: MLRA, About: "latent blocks with softmaxes of their own, whose outputs are summed", Cache: "d_c + d_R", Paper: "Multi-Head Low-Rank Attention, 2603.02188", read: readLatent},
	} {
		d.Streams, d.Tensors, d.Text, d.Fields = latentStreams, latentTensors, latentText, latentFields
		if d.Name != MTLA {
			d.Makes = []string{"kv_a", "kv_a_norm"}
		}
		register(d)
	}
}

func readLatent(p *parser, d *Design) Attention {
	a := p.mla(p.pairs(false))
	if d.Name == MLA {
		if a.LatentBits = p.intIn("latent_bits", 0, 0, 8); a.LatentBits != 0 && a.LatentBits != 4 && a.LatentBits != 8 {
			p.fail("latent_bits", fmt.Sprint(a.LatentBits), "must be 4 or 8, or 0")
		}
		return a
	}
	a.Design, a.Latents = d.Name, p.size("num_latents", map[string]int{GLA: 2, MLRA: 4}[d.Name], maxHeads)
	if d.Name == MLRA {
		a.Branches = p.size("num_branches", a.Latents, maxHeads)
		a.OutScale = p.positive("attn_output_scale", 1/math.Sqrt(float64(max(1, a.Branches))))
	}
	a.QScale, a.KVScale = p.positive("q_scale", 1), p.positive("kv_scale", 1)
	return a
}

func latentFields(a *Attention) map[string]any {
	f := map[string]any{"kv_lora_rank": a.KVRank, "qk_nope_head_dim": a.Nope, "qk_rope_head_dim": a.RopeDim, "v_head_dim": a.ValueDim, "rope_interleave": a.Rope.Layout == Pairs}
	if a.QRank > 0 {
		f["q_lora_rank"] = a.QRank
	}
	if a.Design == MLA {
		f["latent_bits"] = a.LatentBits
	}
	if a.Design == GLA || a.Design == MLRA {
		f["num_latents"], f["q_scale"], f["kv_scale"] = a.Latents, a.QScale, a.KVScale
	}
	if a.Design == MLRA {
		f["num_branches"], f["attn_output_scale"] = a.Branches, a.OutScale
	}
	return f
}

// LatentType is the cache type that LatentBits names.
func (a *Attention) LatentType() string {
	if a.LatentBits == 0 {
		return ""
	}
	return fmt.Sprintf("q%d", a.LatentBits)
}

func latentStreams(a *Attention) []Stream {
	return []Stream{{Name: "latent", Heads: a.Latents, Width: a.KVRank / a.Latents, Use: Tied, Fixed: a.LatentType()}, {Name: "rope", Heads: 1, Width: a.RopeDim, Use: Turned}}
}

func latentTensors(c *Config, a *Attention) []Tensor {
	up, v := a.Nope+a.ValueDim, a.Latents
	t := append(output(c, a), latentQuery(c, a)...)
	t = append(t, attn("kv_a", "kv_a_proj_with_mqa", a.QKVBias, a.KVRank+a.RopeDim, c.Hidden))
	if a.Design == MLA || a.Design == MTLA {
		return append(t, attn("kv_a_norm", "kv_a_layernorm", a.Design == MTLA, a.KVRank), attn("kv_b", "kv_b_proj", false, a.Heads*up, a.KVRank))
	}
	for j := range v {
		t = append(t, attn(fmt.Sprintf("kv_a_norm.%d", j), fmt.Sprintf("kv_a_layernorm.%d", j), false, a.KVRank/v),
			attn(fmt.Sprintf("kv_b.%d", j), fmt.Sprintf("kv_b_proj.%d", j), false, a.Heads*a.Branches/v*up, a.KVRank/v))
	}
	return t
}

// latentQuery are the query's tensors: straight, or through a normed bottleneck.
func latentQuery(c *Config, a *Attention) []Tensor {
	if a.QRank == 0 {
		return []Tensor{attn("q", "q_proj", false, a.Heads*a.HeadDim, c.Hidden)}
	}
	return []Tensor{attn("q_a", "q_a_proj", a.QKVBias, a.QRank, c.Hidden), attn("q_a_norm", "q_a_layernorm", a.Design == MTLA, a.QRank), attn("q_b", "q_b_proj", false, a.Heads*a.HeadDim, a.QRank)}
}

func latentText(a *Attention) string {
	s := fmt.Sprintf("%s, %d heads over a latent of %d and a rotary key of %d", a.Design, a.Heads, a.KVRank, a.RopeDim)
	if a.Latents > 1 {
		s = fmt.Sprintf("%s, %d heads over %d latents of %d and a rotary key of %d", a.Design, a.Heads, a.Latents, a.KVRank/a.Latents, a.RopeDim)
	}
	if a.LatentBits > 0 {
		s += ", the latent trained in " + a.LatentType()
	}
	if a.QRank > 0 {
		s += fmt.Sprintf(", query rank %d", a.QRank)
	}
	if a.RowTokens > 1 {
		s += fmt.Sprintf(", a row for %d tokens", a.RowTokens)
	}
	return s
}
