package bench

// The floor of a step: weights and cached rows must be read once, multiply-adds must be done once in the arithmetic that the engine uses for them. Nothing is counted
// that a better program could avoid; norms, rotations and softmax are not counted either.

import (
	"math"
	"slices"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model/config"
)

// work is an amount of operations, by arithmetic.
type work struct{ int8, int16, f32 float64 }

func (w work) plus(v work, times float64) work {
	return work{w.int8 + times*v.int8, w.int16 + times*v.int16, w.f32 + times*v.f32}
}

func (w work) all() float64 { return w.int8 + w.int16 + w.f32 }

// cost is what a model's steps must do.
type cost struct {
	machine *Machine
	weights int64               // bytes that every step reads
	experts map[mixture]float64 // bytes of routed experts' matrices
	body    work                // of a token
	head    work                // of a row of logits
	layers  []layerCost
	mha     float64 // operations of a token on a row of all layers, were they MHA
	rebuilt work    // that all layers do for each cached row once a step, however many queries see it (EG-MLA, whose gates are kept)
}

// mixture is a kind of block with experts: how many, and how many of them a token goes to.
type mixture struct{ experts, perToken int }

// seen is the share of the experts that so many tokens go to, on average and were they sent at random.
func (m mixture) seen(tokens int) float64 {
	return 1 - math.Pow(1-float64(m.perToken)/float64(m.experts), float64(tokens))
}

// weightBytes is what a step of so many tokens reads of the weights.
func (c *cost) weightBytes(tokens int) int64 {
	bytes := float64(c.weights)
	for m, n := range c.experts {
		bytes += n * m.seen(tokens)
	}
	return int64(bytes)
}

// layerCost is the attention of one layer: what one cached row costs a query token.
type layerCost struct {
	bytes, window int // of a row; rows that a query sees, 0 = all
	merged        int // tokens that share a row
	row           work
}

func newCost(m *lowkey.Model, machine *Machine) (*cost, error) {
	int8 := m.Options.Activations != "f32"
	c := &cost{machine: machine, weights: m.Engine.WeightBytes(), experts: map[mixture]float64{}}
	list, err := matrices(m)
	if err != nil {
		return nil, err
	}
	gated, err := differentIDs(m)
	if err != nil {
		return nil, err
	}
	for _, t := range list {
		w := work{f32: 2 * float64(t.rows) * float64(t.cols)}
		if int8 && t.format.Quantised() {
			w = work{int8: w.f32}
		}
		arith := kernel.ArithF32
		if int8 {
			arith = kernel.ArithInt8
		}
		switch {
		case t.role == expertMatrix:
			f := &m.Engine.Model.Config.Layers[t.layer].MLP
			kind := mixture{f.Experts, min(f.ExpertsPerToken, f.Experts)}
			n, err := kernel.PackedBytes(t.format, t.rows, t.cols, arith)
			if err != nil {
				return nil, err
			}
			c.weights -= n
			c.experts[kind] += float64(n)
			c.body = c.body.plus(w, float64(kind.perToken)/float64(kind.experts))
		case t.role == rebuiltMatrix:
			c.rebuilt = c.rebuilt.plus(w, 1)
		case t.role == gateMatrix: // gates are kept: a token that came before costs nothing
			c.body = c.body.plus(w, gated)
		case t.role == tableMatrix: // a row for each different token is read: nothing, beside the rest
			c.weights -= tableBytes(t)
		case t.role == headMatrix || t.role == tiedMatrix:
			c.head = w
		case t.role == embedMatrix: // one row of it is read
			n, err := kernel.PackedBytes(t.format, t.rows, t.cols, arith)
			if err != nil {
				return nil, err
			}
			c.weights -= n
		default:
			c.body = c.body.plus(w, 1)
		}
	}
	layouts := m.Engine.Model.Layouts()
	for i, layer := range m.Engine.Model.Config.Layers {
		from := m.Engine.Model.Config.RowsOf(i) // each layer that shares a cache reads it anew
		l, heads := layouts[from], float64(layer.Attention.Heads)
		lc := layerCost{bytes: m.Account.Layers[from].PerToken, window: layer.Attention.Window, merged: max(1, l.RowTokens)}
		c.mha += 2 * heads * float64(mhaWidths(&layer.Attention))
		if a := &layer.Attention; a.Design == config.EGMLA { // the rows themselves are not met: what is rebuilt is
			lc.row.f32 = 2 * heads * float64(a.HeadDim+a.ValueDim)
			c.layers = append(c.layers, lc)
			continue
		}
		factored := slices.ContainsFunc(l.Streams, func(w kvcache.Stream) bool { return w.Weighs })
		for j, s := range l.Streams {
			ops := 2 * heads * float64(s.Width)
			switch {
			case s.Weighs: // each number weighs one score or probability
				ops = 2 * float64(s.Width)
			case factored: // all heads read every head of the stream
				ops *= float64(s.Heads)
			}
			p := m.Engine.Store.Planes(from)[j]
			codes := int8 && p.Codec.Blocks()
			switch {
			case s.Role == kvcache.Key && p.Order == kernel.Panels && (codes || int8 && p.Codec.Columns()):
				lc.row.int8 += ops
			case codes && s.Role == kvcache.Value && !factored && s.Width%kernel.RowBlock == 0:
				lc.row.int16 += ops
			case s.Role == kvcache.Both && codes && s.Width%kernel.RowBlock == 0:
				lc.row.f32 += ops
				lc.row.int16 += ops
			case s.Role == kvcache.Both:
				lc.row.f32 += 2 * ops
			default:
				lc.row.f32 += ops
			}
		}
		c.layers = append(c.layers, lc)
	}
	return c, nil
}

// mhaWidths are those of a key and a value together, were the heads of MHA.
func mhaWidths(a *config.Attention) int {
	if a.FullDim > 0 {
		return 2 * a.FullDim
	}
	return a.HeadDim + a.ValueDim
}

// differentIDs is the share of the benchmark's tokens whose gates must be made: those that are seen for the first time.
func differentIDs(m *lowkey.Model) (float64, error) {
	if !slices.ContainsFunc(m.Engine.Model.Config.Layers, func(l config.Layer) bool { return l.Attention.Design == config.EGMLA }) {
		return 0, nil
	}
	ids, _, err := tokensOf(m, "")
	seen := map[int32]bool{}
	for _, id := range ids {
		seen[id] = true
	}
	return float64(len(seen)) / float64(max(1, len(ids))), err
}

func tableBytes(t matrix) int64 {
	elems, size := t.format.Block()
	return int64(t.rows) * int64(t.cols) / int64(elems) * int64(size)
}

// seen is how many rows n new queries after start rows see in all, each its own and those before it.
func seen(start, n, window int) float64 {
	total := 0.0
	for i := 1; i <= n; i++ {
		r := start + i
		if window > 0 {
			r = min(r, window)
		}
		total += float64(r)
	}
	return total
}

// cached is what one step of n tokens of one sequence reads of its rows, and the operations on them.
func (c *cost) cached(start, n int) (bytes int64, ops work) {
	for _, l := range c.layers {
		rows := start + n
		if l.window > 0 {
			rows = min(rows, l.window+n-1)
		}
		bytes += int64(l.bytes) * int64((rows+l.merged-1)/l.merged)
		ops = ops.plus(l.row, seen(start, n, l.window)/float64(l.merged))
	}
	return bytes, ops.plus(c.rebuilt, float64(start+n))
}

func (c *cost) seconds(w work) float64 {
	return (w.int8+2*w.int16)/(c.machine.PeakInt8*1e9) + w.f32/(c.machine.PeakF32*1e9) // a register holds half as many codes of 16 bits
}

// bill adds up the floors of several steps.
type bill struct {
	seconds, byBytes, byOps float64
	bytes                   int64
	ops                     work
	bandwidth               float64 // of the last step
}

// step adds one step: n tokens after start rows in each of so many sequences, logits of the last of each.
func (c *cost) step(b *bill, start, n, sequences int) error {
	k := float64(sequences)
	kv, rows := c.cached(start, n)
	bytes := c.weightBytes(n*sequences) + int64(sequences)*kv
	ops := work{}.plus(c.body, k*float64(n)).plus(c.head, k).plus(rows, k)
	bw, err := c.machine.Bandwidth(bytes)
	if err != nil {
		return err
	}
	read, compute := float64(bytes)/(bw*1e9), c.seconds(ops)
	b.seconds += max(read, compute)
	b.byBytes, b.byOps, b.bandwidth = b.byBytes+read, b.byOps+compute, bw
	b.bytes, b.ops = b.bytes+bytes, b.ops.plus(ops, 1)
	return nil
}

// prompt is the bill of n tokens after depth rows of one sequence, in steps of lowkey.StepTokens; with pages, a step ends where a page of so many rows does.
func (c *cost) prompt(depth, n, page int) (b bill, err error) {
	for at, end := depth, depth+n; at < end; {
		take := min(lowkey.StepTokens, end-at)
		if page > 0 {
			take = min(take, page-at%page)
		}
		if err := c.step(&b, at, take, 1); err != nil {
			return b, err
		}
		at += take
	}
	return b, nil
}

// floor is the bill of tokens that took ms each.
func (b *bill) floor(tokens int, ms float64) *Floor {
	n := float64(tokens)
	f := &Floor{MsPerToken: 1e3 * b.seconds / n, Bound: "bytes", Bytes: b.bytes / int64(tokens), Gops: b.ops.all() / 1e9 / n, Bandwidth: b.bandwidth}
	if b.byOps > b.byBytes {
		f.Bound = "operations"
	}
	f.Share = f.MsPerToken / ms
	return f
}

// slope is the floor of one more row of context, in ns, near a depth: max(cached bytes / bandwidth, operations / peak), the bandwidth being that of the whole working set
// there. Sliding layers count up to their window; the line is fitted through the given depths like the measured one.
func (c *cost) slope(at []float64) (ns float64, bound string, err error) {
	deepest, _ := c.cached(int(at[len(at)-1]), 1)
	bw, err := c.machine.Bandwidth(c.weightBytes(1) + deepest)
	if err != nil {
		return 0, "", err
	}
	read, compute := make([]float64, len(at)), make([]float64, len(at))
	for i, x := range at {
		bytes, ops := c.cached(int(x), 1)
		read[i], compute[i] = float64(bytes)/bw, 1e9*c.seconds(ops)
	}
	_, r := fitLine(at, read)
	_, p := fitLine(at, compute)
	if p > r {
		return p, "operations", nil
	}
	return r, "bytes", nil
}

// row is what one more cached row costs a token at a depth: bytes, operations, and these as a multiple of what the same queries would do over MHA's rows.
func (c *cost) row(depth int) (bytes, ops, ofMHA float64) {
	b0, w0 := c.cached(depth-kernel.TileRows, 1)
	b1, w1 := c.cached(depth, 1)
	ops = (w1.all() - w0.all()) / kernel.TileRows
	return float64(b1-b0) / kernel.TileRows, ops, ops / c.mha
}
