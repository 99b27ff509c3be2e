package attention

import (
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// EGMLA is Embedding-Gated Multi-head Latent Attention (arXiv 2509.16686): MLA whose keys and values are gated, number by number, by an embedding of the token that they belong to.
//
//	q_h, qr_h, kr and c as in MLA                 [T, r] for c
//	e          = E[token id]                      [T, d_e]              a table of this layer alone
//	kv         = LayerNorm((c Wuk,uv) * (e Wue))  [T, n (d_n + d_v)]    over all heads at once, with weight (and bias, where a file has one)
//	[k_h ; v_h] = kv_h
//	o_h = softmax(s ([q_h ; qr_h] [k_h ; kr]ᵀ)) v_h
//	y   = concat(o_1..o_n) Wo
//
// One token leaves c and kr behind: r + d_R elements a layer, as MLA, but r may be a quarter of MLA's: the table knows what the latent need not say. The id costs 4 bytes a token, once for
// all layers, and the sequence has it anyway. The table is V d_e parameters a layer.
//
// No fold: gate and norm stand between c and its up-projection. Every step rebuilds (c Wuk,uv) * (e Wue) of every cached row from c and the id, a tile of 64 rows at a time (kernel.Expansion, which
// leaves the norm to the queries and outputs): 2 N r operations a row, N = n (d_n + d_v), where MHA takes 2 n (d_n + d_R + d_v). At the paper's sizes (12 heads, 64 + 64 and 64, r = 64) that is 43
// times MHA's arithmetic; a prompt pays it once a chunk, a token alone in full. The gates, 2 N d_e for each different id, would cost as much again in every step (d_e = 256, in text some 20 % of 4096
// ids are different), so each layer keeps those of the ids that it met, 8 MiB at most.
//
// MLA's RMSNorm of c stays. Its division by the size of c is undone by the LayerNorm, and its weight could be part of Wuk,uv; what it does is keep the stored row in a range that codecs like.
//
// Weights: MLA's (kv_b is Wuk,uv), and gate_embed [V, d_e], gate [N, d_e], kv_norm [N], rows ordered as kv_b's: head after head, its key and then its value.
type EGMLA struct {
	MLA            MLA // by name: its keys and values are not EG-MLA's
	Vocab, GateDim int // V, d_e
	NormEps        float64

	ids []int32 // of the sequence that Forward is given
}

// Reader is a layer with a table, gates and a norm of its own: it gates the other layer's latents.
func (a EGMLA) Reader() Design { a.MLA.Reads = true; return a }

func (a EGMLA) Layout() kvcache.Layout { return a.MLA.Layout() }

func (a EGMLA) width() int { return a.MLA.Heads * (a.MLA.Nope + a.MLA.ValueDim) }

func (a EGMLA) Params() []Param {
	return append(a.MLA.Params(), Param{"gate_embed", []int{a.Vocab, a.GateDim}, Normal}, Param{"gate", []int{a.width(), a.GateDim}, Normal}, Param{"kv_norm", []int{a.width()}, Ones})
}

// Of implements ByToken.
func (a EGMLA) Of(ids []int32) Design {
	a.ids = ids
	return a
}

func (a EGMLA) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	return a.Read(o, w, x, pos, a.Rows(o, w, x, pos))
}

func (a EGMLA) Rows(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) []tensor.Tensor {
	return a.MLA.Rows(o, w, x, pos)
}

func (a EGMLA) Read(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, rows []tensor.Tensor) tensor.Tensor {
	m, c, kr := a.MLA, rows[0], rows[1]
	q := m.query(o, w, x, pos)
	e := o.Embed(leaf(o, w, "gate_embed"), a.ids)
	kv := o.Mul(o.MatMul(c, leaf(o, w, "kv_b")), o.MatMul(e, leaf(o, w, "gate")))
	var bias tensor.Tensor
	if _, ok := w.Get("kv_norm.bias"); ok {
		bias = leaf(o, w, "kv_norm.bias")
	}
	kv = o.LayerNorm(kv, leaf(o, w, "kv_norm"), bias, a.NormEps)
	k := o.HeadConcat(m.Heads, o.HeadSlice(kv, m.Heads, 0, m.Nope), o.HeadRepeat(kr, m.Heads))
	v := o.HeadSlice(kv, m.Heads, m.Nope, m.Nope+m.ValueDim)
	return linear(o, w, "o", o.Attend(q, k, v, tensor.Attend{Heads: m.Heads, KVHeads: m.Heads, Scale: m.Scale}))
}

type egmlaCached struct {
	mlaCached // without what folds
	up, gate  *tensor.Linear
	table     *tensor.Table
	norm      *tensor.Vector
	bias      *tensor.Vector // may be nil
	normEps   float64
}

func (a EGMLA) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	b, n := &binder{w: w, p: p}, a.width()
	c := &egmlaCached{mlaCached: a.MLA.bind(b, "kv_a_norm"), normEps: a.NormEps}
	c.up, c.gate, c.norm = b.linear("kv_b", n, a.MLA.KVRank), b.linear("gate", n, a.GateDim), b.vector("kv_norm", n)
	if _, ok := w.Get("kv_norm.bias"); ok {
		c.bias = b.vector("kv_norm.bias", n)
	}
	c.table = b.table("gate_embed", a.Vocab, a.GateDim)
	return c, b.err
}

func (c *egmlaCached) View() kernel.Attention {
	return kernel.Attention{Keys: []kernel.Slice{full(1, c.RopeDim, true)}, Groups: c.Heads, PerGroup: 1, Scale: float32(c.Scale),
		Expand: tensor.Expansion(0, c.up, c.gate, c.table, c.norm, c.bias, c.normEps, c.Nope, c.ValueDim)}
}

func (c *egmlaCached) Step(s *Step, x tensor.Buf) tensor.Buf {
	q := c.project(s, x)
	if s.Types[0].Hadamard {
		s.View.Expand.Turn = s.block(0)
	}
	content, rope := s.HeadSlice(q, c.Heads, 0, c.Nope), s.HeadSlice(q, c.Heads, c.Nope, c.Nope+c.RopeDim)
	return s.MatMul(s.Attend(s.HeadConcat(rope, content, c.Heads)), c.o)
}
