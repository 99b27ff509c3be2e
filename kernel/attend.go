package kernel

// Attention over pages: grouped queries over a cached row of which keys and values are slices.
//
// One function serves every design whose folded form is softmax(q Kᵀ) V with K and V cut from the planes of a page: MHA, GQA, MQA, MFA (a plane
// of keys, a plane of values), MLA (key = latent and rotary slice, value = the latent's own bytes), MFA-KR (value = the raw key, key = the raw key
// rotated on reading). It knows no sequence, no layer and no policy: it is given pages.
//
// A slice may also be a sum of outer products, k_h = sum_r a_hr b_r (TPA), with the b_r in one plane and the weights a_hr of all heads in another. Neither k nor v
// is rebuilt: all heads score the few b_r as if they were keys of one shared head, and a_hr weighs each score,
//
//	q_h . k_h = sum_r a_hr (q_h . b_r)        sum_j p_hj v_hj = sum_r (sum_j (p_hj a_hrj) b_rj)
//
// so a cached row costs heads * rank * (width + 1) multiplications a side, and the tile's weights, expanded to panels, are all that is new.
//
// The grid. Keys are taken in tiles of TileRows rows and chunks of ChunkRows rows, both counted from row 0 of the lane. Inside a chunk a query folds
// one tile after the other into (max, sum, mix); chunks are merged in ascending order by log-sum-exp. Which query of which batch, how many threads,
// or how many rows are new has no influence on a query's chain of operations: a masked key adds exactly nothing. That is what makes results equal to the
// bit alone or in a batch, in one chunk of prompt or many.
//
// Scratch is fixed by the widths alone; nothing here grows with the context.

import (
	"math"
)

const (
	TileRows  = 64  // keys per softmax tile
	ChunkRows = 512 // keys per merged part
	blockRows = 48  // most query rows (tokens x heads of a group) that share a tile
	fewRows   = 12  // up to so many, reading 16-bit keys and values again for each few rows costs less than expanding them
	ownTokens = 4   // most new tokens that are taken one by one where heads have slices of their own
	waveParts = 8   // chunks whose parts are held at once when one query's chunks run side by side
)

// Slice names columns [From, To) of a plane. Shared: the plane has one head that all groups read.
type Slice struct {
	Plane    int
	From, To int
	Shared   bool
	Own      bool // the plane has a head for each query head of the one group; such an attention takes one token with all heads, or one head with many tokens
	Rotate   bool // keys only: rotate on reading, by the row's position
	// Rank > 0: a sum of outer products. The plane has Rank heads b_r, read by all query heads; plane By has one head, [query heads * Rank] numbers a row: query head h
	// reads sum over r of By[h*Rank+r] b_r. The slice is then the whole of b_r, and not rotated on reading.
	Rank, By int
}

// Attention says what the rows in a page mean for one layer.
type Attention struct {
	Planes   []Plane
	Keys     []Slice // concatenated, they meet the query
	Values   []Slice // concatenated, they are mixed
	Groups   int     // KV heads
	PerGroup int     // query heads that share a KV head
	Scale    float32 // softmax scale
	Softcap  float32 // 0 = none: score -> c tanh(score/c)
	Window   int     // 0 = all: a query sees so many rows, its own included
	Sinks    []float32
	Bias     *Slice // nil: none. One column, of each group or Shared: added to the scores of its row, after Softcap (votes; how many tokens a merged row stands for)
	Int8     bool   // score q8 and q4 panels with int8 queries, mix q8 and q4 values by weights of 16 bits
	Rotation *Rotation
	Expand   *Expansion // nil: rows are read as they are stored
}

func width(slices []Slice) int {
	n := 0
	for _, s := range slices {
		n += s.To - s.From
	}
	return n
}

// KeyWidth is the width of one query head; ValueWidth of one output head.
func (a *Attention) KeyWidth() int {
	n := width(a.Keys)
	if a.Expand != nil {
		n += a.Expand.Key
	}
	return n
}

func (a *Attention) ValueWidth() int {
	n := width(a.Values)
	if a.Expand != nil {
		n += a.Expand.Value
	}
	return n
}

// Span is one sequence's share of a call: N queries at rows Rows-N .. Rows-1 of a lane whose pages are given.
type Span struct {
	Arena     []byte
	Pages     []uint32 // the lane's pages, as offsets in Arena in units of PageUnit bytes, from page number First on
	PageBytes int
	First     int     // pages before this one were given back (sliding window)
	Rows      int     // rows in the lane, the new ones included
	Q0        int     // row of q and out that holds the first query
	Sees      []Range // [N] the rows that each query sees; nil: those up to its own, Rows-N+i, or where there are transient rows all of the lane
	// Where planes have codecs of columns: rows from Open on lie in the stage at Arena[Stage*PageUnit:], in the staging codec.
	Open  int
	Stage uint32
	N     int // queries
	// Tokens are the ids behind the rows, New those of the rows after them: read where rows are rebuilt by their ids.
	Tokens, New []int32
	Transient   *Transient // nil: none
	aside       *Transient // the transient rows that this span stands for
}

// PageUnit is the granule of page addresses: 32 bits reach 256 GiB.
const PageUnit = 64

// Attender owns the workers' scratch. Not safe for concurrent use.
type Attender struct {
	pool    *Pool
	workers []*tileScratch
	items   []attendItem
	parts   []partial // waveParts x items, when chunks run side by side
	votes   voter

	// the call in progress, read by the prebuilt functions
	a      *Attention
	out, q []float32
	lse    []float32 // nil: not wanted
	spans  []Span
	chunk0 int
	whole  func(part, worker int)
	chunk  func(part, worker int)
	merge  func(part, worker int)

	expander expander // where rows are rebuilt
}

type attendItem struct {
	span, group  int
	from, n      int // queries [from, from+n) of the span
	head0, heads int // query heads of the group
	lo, hi       int // some query sees rows of [lo, hi), none any other
}

// first and chunks: chunks [first, chunks) hold those rows.
func (it *attendItem) first() int  { return it.lo / ChunkRows }
func (it *attendItem) chunks() int { return chunksOf(it.hi) }

// NewAttender makes an Attender for this pool.
func NewAttender(p *Pool) *Attender {
	t := &Attender{pool: p}
	for i := 0; i < p.Threads(); i++ {
		t.workers = append(t.workers, &tileScratch{})
	}
	t.whole, t.chunk, t.merge = t.runWhole, t.runChunk, t.runMerge
	return t
}

// Run attends: q [.., Groups*PerGroup*KeyWidth] and out [.., Groups*PerGroup*ValueWidth] are indexed by query row.
func (t *Attender) Run(a *Attention, out, q []float32, spans []Span) {
	t.RunPart(a, out, nil, q, spans)
}

// RunPart is Run that also writes lse [.., Groups*PerGroup], the logarithm of each query head's sum of e^score (-Inf where it sees nothing): MergeParts joins parts of a context by it, and Votes turns
// scores into probabilities again. Of several parts one counts the sinks.
func (t *Attender) RunPart(a *Attention, out, lse, q []float32, spans []Span) {
	t.a, t.out, t.lse, t.q, t.spans = a, out, lse, q, spans
	if a.Expand != nil {
		t.runExpanded()
	} else {
		t.runPaged()
	}
	t.a, t.out, t.lse, t.q, t.spans = nil, nil, nil, nil, nil
}

func (t *Attender) runPaged() {
	a := t.a
	t.items = t.items[:0]
	deepest := 0
	for i := range t.spans {
		s := &t.spans[i]
		heads, tokens := a.block(s.N)
		for from := 0; from < s.N; from += tokens {
			n := min(tokens, s.N-from)
			lo, hi := a.seen(s, from, n)
			for g := 0; g < a.Groups; g++ {
				for h := 0; h < a.PerGroup; h += heads {
					t.items = append(t.items, attendItem{span: i, group: g, from: from, n: n, head0: h, heads: min(heads, a.PerGroup-h),
						lo: lo, hi: hi})
				}
			}
			deepest = max(deepest, chunksOf(hi)-lo/ChunkRows)
		}
	}
	if len(t.items) >= 4*t.pool.Threads() || t.pool.Threads() == 1 || deepest < 2 {
		t.pool.Run(len(t.items), t.whole)
	} else {
		t.runWaves()
	}
}

// block is how many heads of a group and how many of n tokens share a tile.
func (a *Attention) block(n int) (heads, tokens int) {
	if !a.own() {
		return min(a.PerGroup, blockRows), max(1, blockRows/a.PerGroup)
	}
	if n <= ownTokens { // few tokens: what heads share is read once for all of them; many: what is a head's own is read once for all of those
		return min(a.PerGroup, blockRows), 1
	}
	return 1, blockRows
}

func chunksOf(rows int) int { return (rows + ChunkRows - 1) / ChunkRows }

// runWhole takes one item through all its chunks.
func (t *Attender) runWhole(i, worker int) {
	w, it := t.workers[worker], &t.items[i]
	w.load(t, it)
	w.total.reset(it.n*it.heads, t.a.ValueWidth())
	for c := it.first(); c < it.chunks(); c++ {
		w.attendChunk(t, it, c, &w.part)
		w.total.merge(&w.part, t.a.ValueWidth())
	}
	t.addTransient(w, it, &w.total)
	t.finish(it, &w.total)
}

// runWaves spreads the chunks of few items over the workers, waveParts chunks at a time, and merges them in order.
func (t *Attender) runWaves() {
	n := len(t.items)
	for len(t.parts) < n*(waveParts+1) {
		t.parts = append(t.parts, partial{})
	}
	first, last := math.MaxInt, 0
	for i := range t.items {
		it := &t.items[i]
		t.parts[n*waveParts+i].reset(it.n*it.heads, t.a.ValueWidth())
		first, last = min(first, it.first()), max(last, it.chunks())
	}
	for t.chunk0 = first; t.chunk0 < last; t.chunk0 += waveParts {
		t.pool.Run(n*min(waveParts, last-t.chunk0), t.chunk)
		t.pool.Run(n, t.merge)
	}
	for i := range t.items {
		it, total := &t.items[i], &t.parts[n*waveParts+i]
		if t.spans[it.span].Transient != nil {
			t.workers[0].load(t, it)
			t.addTransient(t.workers[0], it, total)
		}
		t.finish(it, total)
	}
}

func (t *Attender) runChunk(i, worker int) {
	n := len(t.items)
	w, it, c := t.workers[worker], &t.items[i%n], t.chunk0+i/n
	if c < it.first() || c >= it.chunks() {
		return
	}
	w.load(t, it)
	w.attendChunk(t, it, c, &t.parts[i])
}

func (t *Attender) runMerge(i, _ int) {
	n, it := len(t.items), &t.items[i]
	for c := max(t.chunk0, it.first()); c < min(t.chunk0+waveParts, it.chunks()); c++ {
		t.parts[n*waveParts+i].merge(&t.parts[(c-t.chunk0)*n+i], t.a.ValueWidth())
	}
}

// finish divides by the sum and writes the item's rows out.
func (t *Attender) finish(it *attendItem, p *partial) {
	a, vw := t.a, t.a.ValueWidth()
	heads := a.Groups * a.PerGroup
	for i := 0; i < it.n*it.heads; i++ {
		token, head := it.from+i/it.heads, it.group*a.PerGroup+it.head0+i%it.heads
		top, sum := p.max[i], p.sum[i]
		scale := float32(1)
		if a.Sinks != nil { // a sink joins the softmax without a value
			top = max(top, a.Sinks[head])
			scale = expDiff(p.max[i], top)
			sum = float32(sum*scale) + expDiff(a.Sinks[head], top)
		}
		at := (t.spans[it.span].Q0+token)*heads + head
		if t.lse != nil {
			t.lse[at] = top + float32(math.Log(float64(sum)))
		}
		dst := t.out[at*vw:][:vw]
		if sum == 0 {
			clear(dst)
			continue
		}
		ScaleTo(dst, p.o[i*vw:][:vw], scale/sum)
	}
}

// factored reports whether a slice is a sum of outer products.
func (a *Attention) factored() bool {
	for _, slices := range [2][]Slice{a.Keys, a.Values} {
		for _, s := range slices {
			if s.Rank > 0 {
				return true
			}
		}
	}
	return false
}

// own reports whether a slice has a head for each query head.
func (a *Attention) own() bool {
	for _, slices := range [2][]Slice{a.Keys, a.Values} {
		for _, s := range slices {
			if s.Own {
				return true
			}
		}
	}
	return false
}

// int8Keys reports whether keys are scored by int8 queries: only q8 and q4 panels can be.
func (a *Attention) int8Keys() bool { return a.int8Panels(Codec.Blocks) }

// int8Columns reports whether int8 queries score sealed tiles whose scales belong to columns.
func (a *Attention) int8Columns() bool { return a.int8Panels(Codec.Columns) }

// int8Panels reports whether int8 queries meet one slice of keys, in panels of such a codec.
func (a *Attention) int8Panels(is func(Codec) bool) bool {
	if !a.Int8 || len(a.Keys) != 1 || a.Expand != nil {
		return false
	}
	p := &a.Planes[a.Keys[0].Plane]
	return p.Order == Panels && is(p.Codec)
}

// int8Values reports whether a slice of values is mixed by weights of 16 bits: whole blocks of q8 or q4, and no factors, which would leave weights past the last row.
func (a *Attention) int8Values(v Slice) bool {
	p := &a.Planes[v.Plane]
	return a.Int8 && a.Expand == nil && v.Rank == 0 && p.Codec.Blocks() && p.Order == Rows && v.From%RowBlock == 0 && (v.To-v.From)%RowBlock == 0
}

func (s *Span) page(row int, p *Plane) []byte {
	return s.Arena[int(s.Pages[row/p.PageRows-s.First])*PageUnit:][:s.PageBytes]
}

// tile is where TileRows rows of one head lie, from row r on, and in which codec: in their page, or, where that is still open and the plane's codec is one of columns, in the stage.
func (s *Span) tile(p *Plane, head, r int) (Codec, []byte) {
	c, at, page := p.Codec, p.Offset, s.Pages[r/p.PageRows-s.First]
	if c.Columns() && r >= s.Open {
		c, at, page = c.Staging(), p.Stage, s.Stage
	}
	size := RowBytes(c, p.Width)
	n := TileRows * size
	return c, s.Arena[int(page)*PageUnit+at+(head*p.PageRows+r%p.PageRows)*size:][:n:n]
}

func headOf(s Slice, group int) int {
	if s.Shared {
		return 0
	}
	return group
}
