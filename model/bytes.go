package model

// What an engine will take, before anything is allocated: its packed weights to the byte, its scratch as an upper bound. Both follow the code that allocates
// (Engine.load, the designs' Bind and Step) and are held to it by tests on every design. Reads sizes and shapes only, never a weight.

import (
	"fmt"
	"math"
	"runtime"
	"strings"

	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

// WeightBytes is what Engine.WeightBytes will be once m is loaded with opt (of which Arith and Weights count): all packed matrices, matrices folded at load included,
// and the norms. A tensor that is missing or of another shape than the configuration asks for is a *fault.Error of kind BadFile.
func WeightBytes(m *Model, opt Options) (int64, error) {
	c := m.Config
	n := &counter{packer: &tensor.Packer{Arith: opt.Arith, To: opt.Weights}}
	head, tied, err := m.lmHead()
	if err != nil {
		return 0, err
	}
	n.weight("lm_head", head, true, c.Vocab, c.Hidden)
	if !tied {
		w, ok := m.topWeight("embed", ".weight")
		n.weight("embed", w, ok, c.Vocab, c.Hidden)
	}
	if c.Rescaled {
		n.vector(2 * c.Hidden)
	}
	n.norm(c, "norm", func(suffix string) (tensor.Weight, bool) { return m.topWeight("norm", suffix) })
	if c.AltUp.Streams > 0 {
		n.streams(m)
	}
	for i := range c.Layers {
		n.layer(m, i)
		if n.err != nil {
			return 0, fmt.Errorf("layer %d: %w", i, n.err)
		}
	}
	return n.bytes, n.err
}

// counter adds up bytes and keeps the first error.
type counter struct {
	packer *tensor.Packer
	bytes  int64
	err    error
	made   bool // matrices now counted are changed at load: as if the file held them in f32
}

func (n *counter) add(bytes int64, err error) {
	if n.err == nil {
		n.bytes, n.err = n.bytes+bytes, err
	}
}

// weight counts a matrix that is packed from the file; bias likewise its bias, if it has one.
func (n *counter) weight(name string, w tensor.Weight, ok bool, out, in int) {
	if n.err != nil {
		return
	}
	if !ok {
		n.err = tensor.Missing(name)
	} else if n.err = w.Check(out, in); n.err == nil {
		if n.made {
			w.Format = kernel.F32
		}
		n.add(n.packer.LinearBytes(w))
	}
}

// needs notes an error where a tensor is missing or of another shape.
func (n *counter) needs(get func(name string) (tensor.Weight, bool), name string, shape ...int) {
	w, ok := get(name)
	if !ok {
		n.add(0, tensor.Missing(name))
		return
	}
	n.add(0, w.Check(shape...))
}

// table counts a matrix whose rows are read one at a time.
func (n *counter) table(name string, w tensor.Weight, ok bool, rows, width int) {
	if n.err != nil {
		return
	}
	if !ok {
		n.err = tensor.Missing(name)
	} else if n.err = w.Check(rows, width); n.err == nil {
		n.add(n.packer.TableBytes(w), nil)
	}
}

// folded counts a matrix that is made at load, in f32.
func (n *counter) folded(rows, cols int) {
	n.add(kernel.PackedBytes(kernel.F32, rows, cols, n.packer.Arith))
}

func (n *counter) bias(get func(name string) (tensor.Weight, bool), name string) {
	if w, ok := get(name + ".bias"); ok {
		n.vector(w.Cols())
	}
}

func (n *counter) vector(width int) { n.add(4*int64(width), nil) }

func (n *counter) norm(c *config.Config, name string, get func(suffix string) (tensor.Weight, bool)) {
	if c.Norm.Weightless {
		return
	}
	if _, ok := get(".weight"); !ok {
		n.add(0, tensor.Missing(name))
		return
	}
	n.vector(c.Hidden)
	if _, ok := get(".bias"); ok {
		n.vector(c.Hidden)
	}
}

func (n *counter) layer(m *Model, i int) {
	c := m.Config
	lw := layerWeights{m.src, m.names, i, ""}
	norm := func(name string) {
		n.norm(c, name, func(suffix string) (tensor.Weight, bool) {
			if suffix == ".weight" {
				return lw.Get(name)
			}
			return lw.Get(name + suffix)
		})
	}
	if !c.PostNormOnly {
		norm("attn_norm")
		norm("mlp_norm")
	}
	if c.SandwichNorms || c.PostNormOnly {
		norm("attn_post_norm")
		norm("mlp_post_norm")
	}
	if c.Rescaled {
		n.vector(2 * 4 * c.Hidden)
	}
	matrix := func(name string, out, in int) {
		w, ok := lw.Get(name)
		n.weight(name, w, ok, out, in)
		n.bias(lw.Get, name)
	}
	vector := func(name string, width int) { n.needs(lw.Get, name, width); n.vector(width) }
	exact := func(name string, out, in int) { n.needs(lw.Get, name, out, in); n.folded(out, in) }
	if r := c.LaurelRank; r > 0 {
		matrix("laurel.left", r, c.Hidden)
		matrix("laurel.right", c.Hidden, r)
		vector("laurel.norm", c.Hidden)
	}
	if s := c.AltUp; s.Streams > 0 { // of each layer
		vector("altup.norm", c.Hidden)
		exact("altup.router", s.Streams, c.Hidden)
		exact("altup.predict", s.Streams*s.Streams, s.Streams)
		exact("altup.correct", s.Streams, s.Streams)
		if s.CorrectScale {
			vector("altup.scale", c.Hidden)
		}
		matrix("input.gate", s.InputWidth, c.Hidden)
		matrix("input.out", c.Hidden, s.InputWidth)
		vector("input.norm", c.Hidden)
	}
	own := func(name string, out, in int) { matrix("attn."+name, out, in) }
	if weigh := weigh[c.Layers[i].Attention.Design]; weigh != nil {
		weigh(n, m.designs[i], own)
	} else {
		n.attention(m.designs[i], own, func(name string, out, in int) {
			w, ok := lw.Get("attn." + name)
			n.table("attn."+name, w, ok, out, in)
		})
	}
	f := &c.Layers[i].MLP
	if f.Kind == config.NoMLP {
		return
	}
	if f.MoE() {
		n.mixture(layerWeights{m.src, m.names, i, "moe."}, f, c.Hidden)
		return
	}
	if f.Kind != config.Plain {
		matrix("mlp.gate", f.Intermediate, c.Hidden)
	}
	matrix("mlp.up", f.Intermediate, c.Hidden)
	matrix("mlp.down", c.Hidden, f.Intermediate)
}

// streams follows Engine.loadStreams, without its layers.
func (n *counter) streams(m *Model) {
	c := m.Config
	matrix := func(name string, out, in int) {
		w, ok := m.topWeight(name, ".weight")
		n.weight(name, w, ok, out, in)
	}
	for j := 1; j < c.AltUp.Streams; j++ {
		matrix(stream("in", j), c.Hidden, c.Hidden)
		matrix(stream("out", j), c.Hidden, c.Hidden)
	}
	inputs := len(c.Layers) * c.AltUp.InputWidth
	matrix("inputs.project", inputs, c.Hidden)
	w, ok := m.topWeight("inputs.table", ".weight")
	n.table("inputs.table", w, ok, c.AltUp.InputVocab, inputs)
	n.needs(func(name string) (tensor.Weight, bool) { return m.topWeight(name, ".weight") }, "inputs.norm", c.AltUp.InputWidth)
	n.vector(c.AltUp.InputWidth)
}

// mixture follows Engine.loadMoE.
func (n *counter) mixture(w layerWeights, f *config.MLP, hidden int) {
	_, err := w.router(f, hidden)
	n.add(0, err)
	outs, in := routes(f, hidden)
	n.folded(outs, in)
	if f.Routing.Network > 0 {
		n.folded(in, hidden)
		n.folded(in, in)
		n.folded(in, in)
		n.vector(4 * in) // biases, the norm
		if w.layer > 0 {
			n.vector(in) // the scale of what is carried
		}
	}
	if f.Bias {
		_, err = w.routerBias("router.bias", f)
		n.add(0, err)
		n.vector(outs)
	}
	if f.Routing.Bias {
		_, err = w.routerBias("router_bias", f)
		n.add(0, err)
		n.vector(outs)
	}
	gated := func(width int, get func(name string) (tensor.Weight, bool)) {
		for _, name := range []string{"gate", "up", "down"} {
			t, ok := get(name)
			out, in := width, hidden
			if name == "down" {
				out, in = hidden, width
			}
			n.weight("moe."+name, t, ok, out, in)
			if !f.Bias {
				continue
			}
			if _, ok = get(name + ".bias"); !ok {
				n.add(0, missingExpert(name+".bias"))
			}
			n.vector(out)
		}
	}
	for e := range f.Experts {
		gated(f.ExpertIntermediate, func(name string) (tensor.Weight, bool) { return w.expertForm(name, e, f.Experts) })
	}
	if f.SharedIntermediate > 0 {
		gated(f.SharedIntermediate, func(name string) (tensor.Weight, bool) { return w.Get("shared_" + name) })
	}
}

// weigh counts the weights that a design binds where they are not its Params as they stand, and holds says what attentionFloats does where a step holds more than queries, keys, values and outputs: for designs that add
// themselves in a file design_NAME.go.
var (
	weigh = map[string]func(n *counter, d attention.Design, matrix func(name string, out, in int)){}
	holds = map[string]func(a *config.Attention, hidden int64) (q, out, floats, in int64){}
)

// attention follows each design's Bind.
func (n *counter) attention(d attention.Design, matrix, table func(name string, out, in int)) {
	query := func(a attention.MFA) {
		matrix("q_a", a.QRank, a.Hidden)
		if a.Norm {
			n.vector(a.QRank)
		}
		matrix("q_b", a.Heads*a.HeadDim, a.QRank)
		if !a.Reads {
			matrix("k", a.HeadDim, a.Hidden)
		}
	}
	switch a := d.(type) {
	case attention.LRKV:
		matrix("q", a.Heads*a.HeadDim, a.Hidden)
		if !a.Reads {
			matrix("k", a.HeadDim, a.Hidden)
			matrix("k_a", a.Heads*a.Rank, a.Hidden)
			matrix("v", a.HeadDim, a.Hidden)
			matrix("v_a", a.Heads*a.Rank, a.Hidden)
		}
		for h := range a.Heads {
			matrix(fmt.Sprintf("k_b.%d", h), a.Rank, a.HeadDim)
			matrix(fmt.Sprintf("v_b.%d", h), a.HeadDim, a.Rank)
		}
		matrix("o", a.Hidden, a.Heads*a.HeadDim)
	case attention.GQA:
		n.grouped(a, matrix, matrix)
	case attention.SQA:
		n.grouped(a.GQA, matrix, matrix)
	case attention.KVLatent:
		n.grouped(a.GQA, matrix, matrix)
	case attention.KHA:
		if !a.MLP {
			n.grouped(a.GQA, matrix, func(name string, out, in int) {
				n.made = true
				matrix(name, out, in)
				n.made = false
			})
			return
		}
		n.grouped(a.GQA, matrix, matrix)
		if !a.Reads {
			matrix("v_up", a.ValueDim, a.ValueDim)
			matrix("v_gate", a.ValueDim, a.ValueDim)
			matrix("v_down", a.ValueDim, a.ValueDim)
		}
	case attention.KHAMLA:
		n.latents(a.MLA, 1, a.Heads, matrix)
	case attention.MLA:
		n.latents(a, 1, a.Heads, matrix)
	case attention.EGMLA:
		m, wide := a.MLA, a.MLA.Heads*(a.MLA.Nope+a.MLA.ValueDim)
		n.latents(m, 1, 0, matrix)
		matrix("kv_b", wide, m.KVRank)
		matrix("gate", wide, a.GateDim)
		n.vector(wide)
		table("gate_embed", a.Vocab, a.GateDim)
	case attention.GLA:
		n.latents(a.MLA, a.Latents, a.Heads, matrix)
	case attention.MLRA:
		n.latents(a.MLA, a.Latents, a.Heads*a.Branches, matrix)
	case attention.MFA:
		query(a)
		if !a.Reads {
			matrix("v", a.HeadDim, a.Hidden)
		}
		matrix("o", a.Hidden, a.Heads*a.HeadDim)
	case attention.MFAKR:
		query(a.MFA)
		if a.Back != nil {
			matrix("o", a.Hidden, a.Heads*a.HeadDim)
		} else {
			n.folded(a.Hidden, a.Heads*a.HeadDim) // o with the value's matrix in it
		}
	case attention.TPA:
		factors := func(x string, rank int) {
			matrix("a_"+x, a.Heads*rank, a.Hidden)
			matrix("b_"+x, rank*a.HeadDim, a.Hidden)
		}
		if !a.Reads {
			factors("k", a.KRank)
			factors("v", a.VRank)
		}
		if a.QRank > 0 {
			factors("q", a.QRank)
		} else {
			matrix("q", a.Heads*a.HeadDim, a.Hidden)
		}
		matrix("o", a.Hidden, a.Heads*a.HeadDim)
		if a.OutNorm {
			n.vector(a.HeadDim)
		}
	case attention.GTA:
		w := a.Nope + a.RopeDim
		matrix("q", a.Heads*w, a.Hidden)
		if !a.Reads {
			matrix("kv", a.KVHeads*w, a.Hidden)
			matrix("k_rope", a.RopeDim, a.Hidden)
		}
		matrix("o", a.Hidden, a.Heads*w)
	case attention.CCA:
		width, channels := a.KVHeads*a.HeadDim, (a.Heads+a.KVHeads)*a.HeadDim
		matrix("q", a.Heads*a.HeadDim, a.Hidden)
		matrix("k", width, a.Hidden)
		matrix("v", width/2, a.Hidden)
		matrix("v_late", width/2, a.Hidden)
		matrix("o", a.Hidden, a.Heads*a.HeadDim)
		for range a.Heads + a.KVHeads { // the second filter, a matrix for each head
			n.folded(a.HeadDim, a.HeadDim*a.Taps1)
		}
		n.vector(channels * a.Taps0)
		n.vector(2 * channels) // biases
		n.vector(width)        // temperatures
	case attention.Tucker:
		matrix("q_a", a.QRank, a.Hidden)
		if !a.Reads {
			matrix("k", a.KRank, a.Hidden)
			if !a.SharedKV {
				matrix("v", a.VRank, a.Hidden)
			}
		}
		n.folded(a.Heads*a.KRank, a.QRank) // the cores with the factors over heads in them
		n.folded(a.OutRank, a.Heads*a.VRank)
		matrix("o", a.Hidden, a.OutRank)
	case attention.MoAS:
		for _, s := range a.Schemes {
			n.attention(s.GQA, func(name string, out, in int) { matrix(s.Name+"."+name, out, in) }, table)
		}
		if len(a.Schemes) > 1 {
			matrix("router_a", a.RouterDim, a.Hidden)
			matrix("router_b", len(a.Schemes), a.RouterDim)
		}
	default: // a design that packs its weights as they stand
		for _, p := range d.Params() {
			switch {
			case len(p.Shape) == 2:
				matrix(p.Name, p.Shape[0], p.Shape[1])
			case !strings.HasSuffix(p.Name, ".bias"): // a matrix counts its own
				n.vector(p.Shape[0])
			}
		}
	}
}

// grouped counts GQA, whose projections of queries, keys and values may be changed at load.
func (n *counter) grouped(a attention.GQA, matrix, project func(name string, out, in int)) {
	project("q", a.Heads*a.HeadDim, a.Hidden)
	if !a.Reads {
		project("k", a.KVHeads*a.HeadDim, a.Hidden)
		project("v", a.KVHeads*a.ValueDim, a.Hidden)
	}
	matrix("o", a.Hidden, a.Heads*a.ValueDim)
	if a.QKNorm {
		q, k := a.HeadDim, a.HeadDim
		if a.NormWhole {
			q, k = a.Heads*a.HeadDim, a.KVHeads*a.HeadDim
		}
		n.vector(q)
		if !a.Reads {
			n.vector(k)
		}
	}
	if a.Sinks {
		n.vector(a.Heads)
	}
}

// latents counts MLA and its kin: so many latents, folded with so many heads.
func (n *counter) latents(a attention.MLA, latents, heads int, matrix func(name string, out, in int)) {
	if a.QRank > 0 {
		matrix("q_a", a.QRank, a.Hidden)
		n.vector(a.QRank)
		matrix("q_b", a.Heads*(a.Nope+a.RopeDim), a.QRank)
	} else {
		matrix("q", a.Heads*(a.Nope+a.RopeDim), a.Hidden)
	}
	if !a.Reads {
		matrix("kv_a", a.KVRank+a.RopeDim, a.Hidden)
		n.vector(a.KVRank)
	}
	for range heads { // the up-projections, cut by head
		n.folded(a.KVRank/latents, a.Nope)
		n.folded(a.ValueDim, a.KVRank/latents)
	}
	matrix("o", a.Hidden, a.Heads*a.ValueDim)
}

// LogitRows is for ScratchBytes: so many sequences in one step that want the logits of their last token.
const LogitRows = 16

// ScratchBytes bounds the working memory of steps of up to `tokens` tokens that want logits of up to `rows` of them: one for each sequence, all with Feed.All. It counts
// the workspace's slabs with the ends they may leave unused, the int8 copy of inputs, and the attention scratch of each thread; with fast numerics also what passes hold (passes.go).
func ScratchBytes(c *config.Config, tokens, rows int, fast bool) int64 {
	t := int64(max(1, tokens))
	var attend, widest, block int64 // floats: scratch of one thread; the widest input of a product, a token; the most that a layer's half holds, a token
	for i := range c.Layers {
		a, f := &c.Layers[i].Attention, &c.Layers[i].MLP
		q, out, floats, in := attentionFloats(a, int64(c.Hidden))
		wide := int64(max(f.Intermediate, f.ExpertIntermediate, f.SharedIntermediate))
		mlp := wide
		if f.Kind != config.Plain {
			mlp *= 2
		}
		if f.MoE() { // router logits, the rows of an expert and what it makes of them
			mlp += int64(f.Experts) + 1 + 2*int64(c.Hidden) + 7*int64(f.Routing.Network)
		}
		if c.Parallel { // both halves at once
			floats, mlp = floats+mlp+3*int64(c.Hidden), 0
		}
		if c.LaurelRank > 0 { // what attention read, the map of it and its norm
			floats += 3*int64(c.Hidden) + int64(c.LaurelRank)
		}
		block = max(block, 3*int64(c.Hidden)+floats, 3*int64(c.Hidden)+mlp)
		widest = max(widest, int64(c.Hidden), wide, in)
		attend = max(attend, attendFloats(a, q, out))
	}
	held, last := int64(c.Hidden), 2*int64(c.Hidden)+int64(c.Vocab) // a token's residual; and what its logits take
	if s := c.AltUp; s.Streams > 0 {                                // all streams and inputs; and by layer the prediction, what inputs are made of, router, norms
		n, inputs := int64(s.Streams), int64(len(c.Layers)*s.InputWidth)
		held += n*int64(c.Hidden) + inputs
		block += (n+6)*int64(c.Hidden) + 3*inputs + 2*n*n + 4*n + 3*int64(s.InputWidth)
		last += 2 * n * int64(c.Hidden)
	}
	floats := t*held + max(t*block, min(t, int64(rows))*last)
	if fast && c.Sequential() { // rows of the pass before, and a window
		floats += t*int64(math.Ceil(c.CacheElementsPerToken())) + int64(passWindow*c.Hidden)
	}
	floats += 64 * 16                // a buffer begins at a multiple of 16 floats
	slabs := 2*floats + slabFloats   // a slab's unused end is shorter than the buffer that went elsewhere
	input := t*widest + t*widest/2   // bytes: codes, and four numbers for each 32
	input += input / 2               // room that a growing slice leaves
	angles := 4 * t * maxRope(c) * 4 // cosines and sines, two tables in a model, and their growth
	threads := int64(runtime.GOMAXPROCS(0))
	slabs += gateFloats(c)
	return 4*(slabs+threads*attend+2*angles) + input
}

// gateFloats are EG-MLA's gates: those that each layer keeps, with their ids' table, and those of a chunk's rows.
func gateFloats(c *config.Config) (n int64) {
	chunk := int64(0)
	for i := range c.Layers {
		if a := &c.Layers[i].Attention; a.Design == config.EGMLA {
			wide := int64(a.Heads * (a.Nope + a.ValueDim))
			n += int64(kernel.KeptIDs(c.Vocab, int(wide))) * (wide + 5)
			chunk = max(chunk, 2*kernel.ChunkRows*wide)
		}
	}
	return n + chunk
}

// slabFloats is the least size of a workspace's slab.
const slabFloats = 1 << 20

// attentionFloats follows each design's Step: the widths of all queries and of all outputs, the floats that a token holds at most, the widest input of a product.
func attentionFloats(a *config.Attention, hidden int64) (q, out, floats, in int64) {
	if f := holds[a.Design]; f != nil {
		return f(a, hidden)
	}
	n, kv := int64(a.Heads), int64(a.KVHeads)
	q, out = n*int64(a.HeadDim), n*int64(a.ValueDim)
	switch a.Design {
	case config.EGMLA: // as MLA without folding; and the state of the queries, which all are taken through a rebuilt tile
		row := int64(a.KVRank + a.RopeDim)
		floats = 2*int64(a.QRank) + 5*q + 4*row + out + 2*n*int64(a.ValueDim+2)
		in = max(int64(a.QRank), out)
	case config.LRKV:
		dh, row := int64(a.HeadDim), 2*int64(a.HeadDim)+2*n*int64(a.KRank)
		q, out = n*(dh+int64(a.KRank)), n*(dh+int64(a.KRank))
		floats = 3*n*dh + 2*row + 2*n*int64(a.KRank) + 2*q + out + 2*(dh+int64(a.KRank)) // queries, outputs and their parts; what is stored and turned copies of it; one head at a time
		in = max(n*dh, int64(a.KRank))
	case config.MLA, config.GLA, config.MLRA, config.KHAMLA:
		dn, dr, dv, row, rq := int64(a.Nope), int64(a.RopeDim), int64(a.ValueDim), int64(a.KVRank), int64(a.QRank)
		r, all := row/int64(a.Latents), n*int64(a.Branches) // the width that one head reads; heads of all branches
		q, out = all*(r+dr), all*r
		down := 2*rq + n*(dn+dr) + 4*(row+dr) // bottleneck and its norm, queries, what is stored and turned copies of it
		heads := all*(dn+r+dr) + dn + r       // content slices, their products, rotary slices, one head at a time
		floats = down + heads + 2*q + out + all*dv + r + dv
		if a.Branches > 1 { // queries for each branch, as they are joined, and two branches' outputs
			floats += (all*int64(a.Branches+1)/2)*(dn+dr) + int64(a.Branches)*n*dv
		}
		in = max(rq, dn, r, n*dv)
	case config.MFA, config.MFAKR:
		floats = 2*int64(a.QRank) + 4*int64(a.HeadDim) + 3*q + out
		in = max(int64(a.QRank), out)
	case config.TPA:
		rows := int64(a.QRank+2*a.KRank+2*a.VRank) * (n + int64(a.HeadDim)) // factors, and turned copies of those stored
		floats = rows + 2*q + 2*out                                         // queries and a turned copy, outputs and their norm
		in = out
	case config.Tucker:
		k, v := int64(a.HeadDim), int64(a.ValueDim)
		floats = int64(a.QRank) + 2*(k+v) + 2*q + out + int64(a.OutRank) // bottleneck, rows and queries with their turned copies
		in = max(int64(a.QRank), out, int64(a.OutRank))
	case config.MoAS:
		d := int64(0)
		for _, s := range config.SchemesOf(a) {
			rows := int64(config.SchemeHeads(a, s)) * int64(a.HeadDim+a.ValueDim)
			floats += 2*q + 2*rows + out // projections, turned copies
			d++
		}
		if d > 1 { // each attention's output, as they are joined, and their mix
			floats += int64(a.RouterDim) + d + (d*(d+3)/2+1)*hidden
		}
		in = max(out, int64(a.RouterDim))
	case config.CCA, config.CCGQA:
		k, channels, taps := kv*int64(a.HeadDim), (n+kv)*int64(a.HeadDim), int64(a.Conv0+a.Conv1-2)
		floats = q + 5*k + channels + int64(a.RecurrentLen) + (taps+1)*channels + 2*int64(a.Conv1)*channels // projections, values, z; the state, the columns that it looks back on, the taps
		floats += 3*channels + int64(a.Conv1+1)*int64(a.HeadDim) + q*int64(a.Heads/a.KVHeads+5)/2 + 2*k     // what the filters make, their means, norms
		floats += 2*k + q + out                                                                             // turned copies
		in = max(out, int64(a.Conv1*a.HeadDim))
	default:
		k, v := kv*int64(a.HeadDim), kv*int64(a.ValueDim)
		floats = 3*q + 3*k + 2*v + out // projections, their norms, turned copies
		if a.Design == config.KHAMLP {
			floats += 3 * v
		}
		if a.VNorm {
			floats += v
		}
		in = out
	}
	return q, out, floats, in
}

// attendFloats is a thread's share of the attention's scratch: a block of queries, scores, an expanded tile of keys, and the parts of chunks.
func attendFloats(a *config.Attention, q, out int64) int64 {
	const rows, parts = 48, 4 * 9 // query rows that share a tile; items a thread times chunks held at once
	kw, vw := q/int64(a.Heads), out/int64(a.Heads)
	floats := rows*(2*kw+kernel.TileRows+vw+8) + 2*kernel.TileRows*(kw+vw) + parts*rows*(vw+2)
	floats += rows*(kw+1) + 16*(kw+vw) // sealed pages: queries that took scales in, a tile's codes and table
	if a.Design == config.TPA {        // weighed scores, and the factors as they are read and in panels
		floats += rows*kernel.TileRows + 2*kernel.TileRows*int64(a.Heads*max(a.KRank, a.VRank))
	}
	if a.Design == config.EGMLA { // a tile: cached rows, embeddings, rebuilt rows and their sums, and the int8 copy of an input
		floats += kernel.TileRows * (2*int64(a.KVRank) + 2*int64(a.GateDim) + 2*int64(a.Heads*(a.Nope+a.ValueDim)) + 40)
	}
	return floats
}

func maxRope(c *config.Config) int64 {
	n := 0
	for i := range c.Layers {
		n = max(n, c.Layers[i].Attention.Rope.Dim/2)
	}
	return int64(n)
}
