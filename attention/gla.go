package attention

import (
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// GLA is Grouped Latent Attention (arXiv 2505.21487, section 3.3): MLA with L latents, each the source of keys and values for one block of n/L consecutive heads.
//
//	q_h, qr_h as in MLA, from x or from a normed bottleneck
//	[a_1 .. a_L ; kr] = x Wkva                    [T, L r + d_R]   kr is one rotary key for all heads, turned
//	c_j               = RMSNorm_j(a_j) s_kv       [T, r]           each latent has a norm of its own
//	[k_h ; v_h]       = c_j Wkvb_j,h              [T, d_n + d_v]   j = the block of head h
//	o_h = softmax(s ([q_h ; qr_h] [k_h ; kr]ᵀ)) v_h
//	y   = concat(o_1..o_n) Wo
//
// One token leaves c_1..c_L and kr behind: L r + d_R elements a layer, as MLA with a latent of L r. A head reads only r of them: the scores of all heads take 1/L of MLA's arithmetic, and L
// devices can share the latents out, which MLA's one cannot be.
//
// Fold: as MLA's, block by block: q_h . k_h = (q_h Wuk_jhᵀ) . c_j, and the values' matrix waits until after the mix. Decode is L groups of n/L query heads; each group reads its own latent and all
// read kr.
//
// KVRank is L r, all latents together. L = 1 is MLA.
//
// Weights: q or q_a, q_a_norm, q_b, and kv_a [L r + d_R, d], o [d, n d_v] as MLA's; for j = 0..L-1: kv_a_norm.j [r], kv_b.j [n/L (d_n+d_v), r].
type GLA struct {
	MLA
	Latents int // L, a divisor of Heads
}

func (a GLA) Layout() kvcache.Layout {
	l := a.MLA.Layout()
	if a.Reads {
		return l
	}
	l.Streams[0].Heads, l.Streams[0].Width = a.Latents, a.KVRank/a.Latents
	return l
}

func (a GLA) Params() []Param { return a.params(a.Heads / a.Latents) }

// params lists the weights, with up-projections for so many heads from each latent.
func (a GLA) params(heads int) []Param {
	p, r := a.downParams(), a.KVRank/a.Latents
	for _, name := range a.norms() {
		p = append(p, Param{name, []int{r}, Ones})
	}
	for _, name := range a.ups() {
		p = append(p, Param{name, []int{heads * (a.Nope + a.ValueDim), r}, Normal})
	}
	p = append(p, Param{"o", []int{a.Hidden, a.Heads * a.ValueDim}, Output})
	if a.Reads {
		return without(p, append(a.norms(), "kv_a")...)
	}
	return p
}

func (a GLA) Reader() Design { a.Reads = true; return a }

func (a GLA) norms() []string { return numbered("kv_a_norm", a.Latents) }
func (a GLA) ups() []string   { return numbered("kv_b", a.Latents) }

func (a GLA) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	return a.Read(o, w, x, pos, a.Rows(o, w, x, pos))
}

// Rows are all latents side by side, and kr.
func (a GLA) Rows(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) []tensor.Tensor {
	c, kr := a.down(o, w, x, pos, a.norms()...)
	return []tensor.Tensor{o.Concat(c...), kr}
}

func (a GLA) Read(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, rows []tensor.Tensor) tensor.Tensor {
	q := a.query(o, w, x, pos)
	return linear(o, w, "o", a.blocks(o, w, q, a.latents(o, rows[0]), a.ups(), rows[1]))
}

// latents are those of a row, apart.
func (a GLA) latents(o tensor.Ops, row tensor.Tensor) []tensor.Tensor {
	c, r := make([]tensor.Tensor, a.Latents), a.KVRank/a.Latents
	for j := range c {
		c[j] = o.Cols(row, j*r, (j+1)*r)
	}
	return c
}

// blocks attends with all heads, one block of them for each latent -> [T, n d_v].
func (a GLA) blocks(o tensor.Ops, w Weights, q tensor.Tensor, c []tensor.Tensor, ups []string, kr tensor.Tensor) tensor.Tensor {
	var ks, vs []tensor.Tensor
	for j := range c {
		k, v := a.up(o, w, ups[j], a.Heads/len(c), c[j], kr)
		ks, vs = append(ks, k), append(vs, v)
	}
	return o.Attend(q, o.Concat(ks...), o.Concat(vs...), tensor.Attend{Heads: a.Heads, KVHeads: a.Heads, Scale: a.Scale})
}

// Bind folds each head with the latent of its block; the step is MLA's over rows with more than one latent.
func (a GLA) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	b := &binder{w: w, p: p}
	c := a.bind(b, a.norms()...)
	for _, name := range a.ups() {
		c.fold(b, name, a.Heads/a.Latents, 1)
	}
	return &c, b.err
}
