package attention

import (
	"github.com/lowkeylm/lowkey/tensor"
)

// MLRA is Multi-Head Low-Rank Attention (arXiv 2603.02188): the latent of MLA cut into L blocks, each with softmaxes of its own, so that the sum over blocks moves from the scores to the outputs.
//
//	q_h, qr_h, c_1..c_L, kr as in GLA
//	branch b = 1..B is GLA over the latents (b-1) L/B + 1 .. b L/B: each serves a block of n B/L consecutive heads
//	[k_bh ; v_bh] = c_j Wkvb_j,h                  [T, d_n + d_v]   j = the latent of head h in branch b
//	o_h = s_o sum_b softmax(s ([q_h ; qr_h] [k_bh ; kr]ᵀ)) v_bh   s_o = OutScale, 1/sqrt B
//	y   = concat(o_1..o_n) Wo
//
// Published are MLRA-4 (L = 4, B = 4: every head reads every latent) and MLRA-2 (L = 4, B = 2: two). B = 1 is GLA. It is not MLA with a cut latent: MLA adds the blocks' scores under one softmax.
//
// One token leaves c_1..c_L and kr behind: L r + d_R elements a layer, as in MLA and GLA; each of L devices needs r + d_R of them and half of B attentions' heads.
//
// Fold: as GLA's for B n heads, branch after branch: head (b, h) asks with q_h Wuk_jhᵀ, so all B softmaxes of all heads are one call of attention with L groups of n B/L query heads. The sum over
// branches comes after Wuv, into which s_o is folded. A step takes B times the query heads of GLA, over rows 1/L as wide as MLA's.
//
// Weights: as GLA's, but kv_b.j [n B/L (d_n+d_v), r].
// Will not do: the optional output gate.
type MLRA struct {
	GLA
	Branches int // B, a divisor of Latents
	OutScale float64
}

// block is the number of heads of one branch that read the same latent.
func (a MLRA) block() int { return a.Heads * a.Branches / a.Latents }

func (a MLRA) Params() []Param { return a.params(a.block()) }

func (a MLRA) Reader() Design { a.Reads = true; return a }

func (a MLRA) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	return a.Read(o, w, x, pos, a.Rows(o, w, x, pos))
}

func (a MLRA) Read(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, rows []tensor.Tensor) tensor.Tensor {
	q, c, kr := a.query(o, w, x, pos), a.latents(o, rows[0]), rows[1]
	ups, each := a.ups(), a.Latents/a.Branches
	var sum tensor.Tensor
	for b := 0; b < a.Branches; b++ {
		from, to := b*each, (b+1)*each
		y := a.blocks(o, w, q, c[from:to], ups[from:to], kr)
		if b == 0 {
			sum = y
		} else {
			sum = o.Add(sum, y)
		}
	}
	return linear(o, w, "o", o.Scale(sum, a.OutScale))
}

type mlraCached struct {
	mlaCached
	branches int
}

func (a MLRA) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	b := &binder{w: w, p: p}
	c := &mlraCached{a.bind(b, a.norms()...), a.Branches}
	for _, name := range a.ups() {
		c.fold(b, name, a.block(), a.OutScale)
	}
	return c, b.err
}

func (c *mlraCached) Step(s *Step, x tensor.Buf) tensor.Buf {
	q := c.project(s, x)
	all := q // once for each branch
	for b := 1; b < c.branches; b++ {
		all = s.HeadConcat(all, q, 1)
	}
	y, n := c.attend(s, all), c.Heads*c.ValueDim
	sum := s.Cols(y, 0, n)
	for b := 1; b < c.branches; b++ {
		s.Add(sum, s.Cols(y, b*n, (b+1)*n), 1)
	}
	return s.MatMul(sum, c.o)
}
