package config

// MTLA: MLA whose rows are sums over blocks of tokens.
//
//	mtla      as mla (without factors on latents); merge_tokens 2: tokens of a block, s; merge_dim (kv_lora_rank/4): width in which a latent meets its block;
//	          layer_norm_eps 1e-5: of the norms of latent and bottleneck, which are LayerNorms with a bias
//
// Beside MLA's tensors, whose kv_a_layernorm and q_a_layernorm have a .bias: merge_block_proj and merge_latent_proj [merge_dim, kv_lora_rank], with biases.

func init() {
	register(Design{Name: MTLA, About: "mla whose rows merge s tokens", Cache: "(d_c + d_R) / s", Paper: "Multi-head Temporal Latent Attention, 2505.13544",
		Streams: latentStreams, Tensors: mtlaTensors,
		Alone: "a row is written over until its block ends, so a later layer of the same step would see sums of tokens to come",
		Text:  latentText,
		Fields: func(a *Attention) map[string]any {
			f := latentFields(a)
			f["merge_tokens"], f["merge_dim"], f["layer_norm_eps"] = a.RowTokens, a.MergeDim, a.LatentNormEps
			return f
		},
		read: func(p *parser, d *Design) Attention {
			a := p.mla(p.pairs(false))
			a.Design, a.LatentNormEps = MTLA, p.eps("layer_norm_eps", 1e-5)
			a.RowTokens = p.size("merge_tokens", 2, maxMerge)
			a.MergeDim = p.size("merge_dim", max(1, a.KVRank/4), maxWidth)
			a.RecurrentLen = a.KVRank
			return a
		}})
	runsFolder = append(runsFolder, "llama-mtla")
}

// maxMerge bounds the tokens of a block: prefix blocks are whole pages of them.
const maxMerge = 64

func mtlaTensors(c *Config, a *Attention) []Tensor {
	return append(latentTensors(c, a), attn("merge_c", "merge_block_proj", true, a.MergeDim, a.KVRank), attn("merge_p", "merge_latent_proj", true, a.MergeDim, a.KVRank))
}
