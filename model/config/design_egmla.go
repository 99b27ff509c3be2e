package config

// EG-MLA: MLA whose keys and values are gated by an embedding of the token.
//
//	eg-mla    as mla, without attention_bias; gate_embed_dim: width of the table of gates, d_e (default kv_lora_rank)
//
// Beside MLA's tensors: self_attn.gate_embed [vocab, d_e], gate_proj [heads*(nope+value), d_e], kv_layernorm [heads*(nope+value)].

import "fmt"

const EGMLA = "eg-mla" // MLA gated by token embeddings: nothing folds

func init() {
	register(Design{Name: EGMLA, About: "mla whose keys and values are gated by an embedding of the token; rebuilt at every step", Cache: "d_c + d_R", Paper: "Embedding-Gated MLA, 2509.16686",
		Streams: latentStreams, Makes: []string{"kv_a", "kv_a_norm"}, // a reader has a table and gates of its own
		Tensors: func(c *Config, a *Attention) []Tensor {
			b := *a
			b.Design = MLA
			n := a.Heads * (a.Nope + a.ValueDim)
			return append(latentTensors(c, &b), attn("gate_embed", "gate_embed", false, c.Vocab, a.GateDim), attn("gate", "gate_proj", false, n, a.GateDim), attn("kv_norm", "kv_layernorm", false, n))
		},
		Text: func(a *Attention) string { return latentText(a) + fmt.Sprintf(", gates of %d", a.GateDim) },
		Fields: func(a *Attention) map[string]any {
			f := latentFields(a)
			f["gate_embed_dim"] = a.GateDim
			return f
		},
		read: func(p *parser, d *Design) Attention {
			a := p.mla(p.pairs(false))
			a.Design = EGMLA
			a.GateDim = p.size("gate_embed_dim", a.KVRank, maxWidth)
			if a.QKVBias {
				p.fail("attention_bias", "true", "attention "+EGMLA+" has no biases")
			}
			return a
		}})
}
