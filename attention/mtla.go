package attention

import (
	"math"
	"sync"

	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// MTLA is Multi-head Temporal Latent Attention (arXiv 2505.13544): MLA whose rows are merged over time, one row for each block of s tokens.
//
//	[q_h ; qr_h] as in MLA, from x or from a bottleneck; qr turned
//	[a ; kr]     = x Wkva                        [T, r + d_R]     kr is one rotary key for all heads, turned
//	z_t          = LayerNorm(a_t)                [T, r]           LayerNorm, with a bias, where MLA has RMSNorm; the bottleneck's norm too
//	w_t          = sigmoid(Wc PE(b) . Wp z_t)    [T, 1]           b = floor(t/s) is the block of token t
//	PE(b)        = sin(b f_0) cos(b f_0) sin(b f_1) ..            [r], f_i = 10000^(-2i/r)
//	C_t          = sum of w_i z_i over the tokens i <= t of block b                a plain sum: the w are not normalised
//	[k_h ; v_h]  = C_t Wkvb_h                    [T, d_n + d_v]
//	o_h = softmax(S ([q_h ; qr_h] [k_h ; kr]ᵀ)) v_h               over token t itself and those i < t that end their block
//	y   = concat(o_1..o_n) Wo
//
// One block leaves C and kr of its newest token behind: (r + d_R)/s elements a token and layer, 2.25 d_h in the paper's size (r = 4 d_h, d_R = d_h/2, s = 2). While a block is open each of its
// tokens overwrites the row, and the sum goes on in float32 beside it (recurrent state, r numbers): a row is never made from its own rounded codes. At the end of a block the state is spent.
//
// Fold: as MLA's, for norm, gate and sum all come before C: the latent is key and value of all heads.
//
// A query sees finished rows and its own block as far as that has come. So the tokens of a prompt that end a block attend together, the others one after another.
// Will not do: normalised merging weights, blocks of several sizes.
//
// Weights: MLA's, with kv_a_norm.bias [r] and q_a_norm.bias [r_q]; merge_c [m, r] (on PE), merge_p [m, r] (on z), with biases. The paper's m is r/4.
type MTLA struct {
	Latent MLA // by name: what shares MLA's rows does not share these
	Block  int // s, tokens that share a row
	Merge  int // m, width in which block and latent meet
}

func (a MTLA) Layout() kvcache.Layout {
	l := a.Latent.Layout()
	l.RowTokens, l.State = a.Block, a.Latent.KVRank
	return l
}

func (a MTLA) Params() []Param {
	p, m, r := a.Latent.Params(), a.Merge, a.Latent.KVRank
	if n := a.Latent.QRank; n > 0 {
		p = append(p, Param{"q_a_norm.bias", []int{n}, Zeros})
	}
	return append(p, Param{"kv_a_norm.bias", []int{r}, Zeros}, Param{"merge_c", []int{m, r}, Normal}, Param{"merge_c.bias", []int{m}, Zeros},
		Param{"merge_p", []int{m, r}, Normal}, Param{"merge_p.bias", []int{m}, Zeros})
}

func (m MTLA) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	a := m.Latent
	norm := func(x tensor.Tensor, name string) tensor.Tensor {
		return o.LayerNorm(x, leaf(o, w, name), leaf(o, w, name+".bias"), a.Eps)
	}
	var q tensor.Tensor
	if a.QRank > 0 {
		q = linear(o, w, "q_b", norm(linear(o, w, "q_a", x), "q_a_norm"))
	} else {
		q = linear(o, w, "q", x)
	}
	q = o.RoPE(q, rotary(a.Rope, a.Heads, a.Nope), pos)
	down := linear(o, w, "kv_a", x)
	z := norm(o.Cols(down, 0, a.KVRank), "kv_a_norm")
	kr := o.RoPE(o.Cols(down, a.KVRank, a.KVRank+a.RopeDim), rotary(a.Rope, 1, 0), pos)

	blocks := make([]int, len(pos))
	open, keep := make([]bool, len(pos)), make([]float64, len(pos))
	for t, p := range pos {
		blocks[t] = p / m.Block
		open[t], keep[t] = !m.ends(p), m.keep(p)
	}
	turns, unit := blockTurns(a.KVRank, m.Block), make([]float32, len(pos)*even(a.KVRank))
	fillUnit(unit)
	pe := o.Cols(o.RoPE(o.Leaf([]int{len(pos), even(a.KVRank)}, unit), rotary(turns, 1, 0), blocks), 0, a.KVRank)
	gate := o.Sigmoid(o.Outer(linear(o, w, "merge_c", pe), linear(o, w, "merge_p", z), 1, m.Merge, 1)) // products of rows: [T, 1]
	c := o.Recur(o.Outer(gate, z, 1, 1, 1), keep, 1)
	k, v := a.up(o, w, "kv_b", a.Heads, c, kr)
	y := o.Attend(q, k, v, tensor.Attend{Heads: a.Heads, KVHeads: a.Heads, Scale: a.Scale, Private: open})
	return linear(o, w, "o", y)
}

// ends reports whether a position is the last of its block; keep is what its sum carries on from the position before.
func (a MTLA) ends(pos int) bool { return pos%a.Block == a.Block-1 }

func (a MTLA) keep(pos int) float64 {
	if pos%a.Block == 0 {
		return 0
	}
	return 1
}

// PE(b) is the vector (0, 1, 0, 1, ..) turned by b f_i pair by pair, clockwise.
func fillUnit(x []float32) {
	for i := range x {
		x[i] = float32(i % 2)
	}
}

func even(n int) int { return (n + 1) / 2 * 2 }

// blockTurns is f_i for blocks of so many tokens. All layers of a width share one, so that a step makes its angles once.
func blockTurns(width, block int) *tensor.Rope {
	key := [2]int{width, block}
	if r, ok := turnsMade.Load(key); ok {
		return r.(*tensor.Rope)
	}
	r := &tensor.Rope{Pairs: true, Sign: -1, Every: block}
	for i := range even(width) / 2 {
		r.InvFreq = append(r.InvFreq, math.Pow(10000, -2*float64(i)/float64(width)))
	}
	made, _ := turnsMade.LoadOrStore(key, r)
	return made.(*tensor.Rope)
}

var turnsMade sync.Map // of *tensor.Rope by width and block

type mtlaCached struct {
	mlaCached
	block          MTLA
	merge          [2]*tensor.Linear // on the latent, on the block
	qBias, kvBias  *tensor.Vector
	order, inverse []int // rows of a step: those that end blocks first, and back
	turns          *tensor.Rope
}

func (a MTLA) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	b := &binder{w: w, p: p}
	c := &mtlaCached{mlaCached: a.Latent.bind(b, "kv_a_norm"), block: a, turns: blockTurns(a.Latent.KVRank, a.Block)}
	c.fold(b, "kv_b", c.Heads, 1)
	c.merge = [2]*tensor.Linear{b.linear("merge_p", a.Merge, c.KVRank), b.linear("merge_c", a.Merge, c.KVRank)}
	c.kvBias = b.vector("kv_a_norm.bias", c.KVRank)
	if c.QRank > 0 {
		c.qBias = b.vector("q_a_norm.bias", c.QRank)
	}
	return c, b.err
}

func (c *mtlaCached) Step(s *Step, x tensor.Buf) tensor.Buf {
	var p [2]tensor.Buf
	q, down := &p[0], &p[1]
	if c.QRank > 0 {
		s.MatMuls(p[:], x, c.qa, c.kva)
		*q = s.MatMul(s.LayerNorm(*q, c.qNorm, c.qBias, c.Eps), c.qb)
	} else {
		s.MatMuls(p[:], x, c.q, c.kva)
	}
	s.RoPE(*q, c.Heads, c.Nope, c.Rope)
	latent := c.merged(s, s.LayerNorm(s.Cols(*down, 0, c.KVRank), c.kvNorm, c.kvBias, c.Eps))
	kr := s.Cols(*down, c.KVRank, c.KVRank+c.RopeDim)
	s.RoPE(kr, 1, 0, c.Rope)
	content := s.HeadMatMul(s.HeadSlice(*q, c.Heads, 0, c.Nope), c.uk)
	z := c.attendBlocks(s, s.HeadConcat(content, s.HeadSlice(*q, c.Heads, c.Nope, c.Nope+c.RopeDim), c.Heads), latent, kr)
	return s.MatMul(s.HeadMatMul(z, c.uv), c.o)
}

// merged is C of every new token, from what earlier steps left of its block.
func (c *mtlaCached) merged(s *Step, z tensor.Buf) tensor.Buf {
	pe := s.New(z.Rows, even(c.KVRank))
	fillUnit(pe.Float32s())
	s.RoPE(pe, 1, 0, c.turns)
	pe = s.Cols(pe, 0, c.KVRank)
	gate := s.Outer(s.MatMul(z, c.merge[0]), s.MatMul(pe, c.merge[1]), 1, c.block.Merge, 1)
	s.Sigmoid(gate)
	sum, at := s.Outer(gate, z, 1, 1, 1), 0
	for i, n := range s.Counts {
		s.Recur(sum, at, n, s.State(i), c.block.keep, 1)
		at += n
	}
	s.PutState(sum)
	return sum
}

// attendBlocks puts the tokens' rows, each over that of the token before in its block, and attends: a token in an open block before the next one overwrites its row, those that end a
// block together when all are there.
func (c *mtlaCached) attendBlocks(s *Step, q, latent, kr tensor.Buf) tensor.Buf {
	streams, block := [2]tensor.Buf{s.turnedRows(0, latent), s.turnedRows(1, kr)}, c.block.Block
	q = s.turnedQueries(q)
	c.order, c.inverse = c.order[:0], append(c.inverse[:0], make([]int, q.Rows)...)
	longest, at := 0, 0
	for i, seq := range s.Sequences { // each sequence's rows: those that end a block, then the others
		for _, ends := range [2]bool{true, false} {
			for j := range s.Counts[i] {
				if c.block.ends(seq.Rows()+j) == ends {
					c.inverse[at+j] = len(c.order)
					c.order = append(c.order, at+j)
				}
			}
		}
		longest, at = max(longest, s.Counts[i]), at+s.Counts[i]
	}
	q = s.Gather(q, c.order)
	out := s.New(q.Rows, c.Heads*c.KVRank)
	for j := range longest {
		s.spans, at = s.spans[:0], 0
		for i, seq := range s.Sequences {
			if token := seq.Rows() + j; j < s.Counts[i] {
				for stream, x := range streams {
					seq.Put(s.Layer, stream, token/block, x.Slice(at+j, at+j+1).Float32s())
				}
				if !c.block.ends(token) {
					s.spans = append(s.spans, seq.SpanAt(s.Layer, c.inverse[at+j], token/block, 1))
				}
			}
			at += s.Counts[i]
		}
		if len(s.spans) > 0 {
			s.AttendInto(s.View, out, q, s.spans)
		}
	}
	s.spans, at = s.spans[:0], 0
	for i, seq := range s.Sequences {
		first := seq.Rows() / block
		if n := (seq.Rows()+s.Counts[i])/block - first; n > 0 {
			s.spans = append(s.spans, seq.SpanAt(s.Layer, at, first, n))
		}
		at += s.Counts[i]
	}
	if len(s.spans) > 0 {
		s.AttendInto(s.View, out, q, s.spans)
	}
	s.turn(out, c.Heads, s.View.Values)
	return s.Gather(out, c.inverse)
}
