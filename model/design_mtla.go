package model

import (
	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

func init() {
	builders[config.MTLA] = func(c *config.Config, a *config.Attention, rope *tensor.Rope) attention.Design {
		return attention.MTLA{Latent: mla(c, a, rope), Block: a.RowTokens, Merge: a.MergeDim}
	}
	weigh[config.MTLA] = func(n *counter, d attention.Design, matrix func(name string, out, in int)) {
		a := d.(attention.MTLA)
		n.latents(a.Latent, 1, a.Latent.Heads, matrix)
		n.vector(a.Latent.KVRank) // biases of the norms
		if a.Latent.QRank > 0 {
			n.vector(a.Latent.QRank)
		}
		matrix("merge_p", a.Merge, a.Latent.KVRank)
		matrix("merge_c", a.Merge, a.Latent.KVRank)
	}
	holds[config.MTLA] = func(a *config.Attention, hidden int64) (q, out, floats, in int64) {
		b := *a
		b.Design = config.MLA
		q, out, floats, in = attentionFloats(&b, hidden)
		r := int64(a.KVRank)
		return q, out, floats + q + out + 4*r + 2*int64(a.MergeDim) + 2 + int64(a.QRank), in // queries and outputs in another order, the blocks' places, sums, what decides a token's weight
	}
	familyNames["llama-mtla"] = hfNames.with(map[string]place{"attn.q": at("self_attn.wq"), "attn.q_a": at("self_attn.wq_a"), "attn.q_a_norm": at("self_attn.q_norm"), "attn.q_b": at("self_attn.wq_b"),
		"attn.kv_a": at("self_attn.wkv_a"), "attn.kv_a_norm": at("self_attn.kv_norm"), "attn.kv_b": at("self_attn.wkv_b"), "attn.o": at("self_attn.wo"),
		"attn.merge_c": at("self_attn.hypernet_down.fc_c"), "attn.merge_p": at("self_attn.hypernet_down.fc_p")})
}
