package kernel

// Attention whose keys and values stand behind something that does not fold into the query: they are rebuilt from the cached rows, one tile of TileRows rows after the other, at every
// step. What is rebuilt here is EG-MLA's
//
//	u = (c Up) * (Table[id] Gate)                                    [heads * (Key+Value)], head after head, its key and then its value
//	y = (u - mean(u)) inv * Weight + Bias                            inv = 1 / sqrt(var(u) + eps): LayerNorm over all of a row
//
// c being the row that is kept and id the token behind it. One rebuilt tile serves all heads and all queries of a sequence's step, so a prompt pays it once a chunk; a token
// alone pays all of it. Gates depend on the id alone, and in text some 20 % of the ids of 4096 rows are different: a layer keeps those of the ids that it met, KeptGates bytes of them, for all
// steps and sequences to come, and makes those of other ids once a chunk. Scratch is one tile a thread, a chunk's gates and the state of the queries; it does not grow with the context.
//
// Only u is rebuilt. The norm needs all heads of a row, so it would cost more passes over a tile; instead its parts go where few numbers are:
//
//	q . y = inv (q*Weight) . u - inv mean sum(q*Weight) + q . Bias
//	sum_t p_t y_t = (sum_t (p_t inv_t) u_t - sum_t p_t inv_t mean_t) * Weight + Bias
//
// var(u) is the mean of squares less the square of the mean: exact enough while a mean is not hundreds of deviations from zero, which products with gates of either sign are not.
//
// A tile is one worker's from end to end: rebuilt block after block of columns, each gated while it is in the first cache, and attended to by every head while it is in the second. What a head saw of a
// tile is a part of its own, and parts are merged in the order of the tiles, counted from row 0 of the lane; a row of u, its mean and inv are functions of its own c and id. So here too nothing depends
// on batch, chunking or threads.

import (
	"math"
	"math/bits"
)

// Expansion says how a tile is rebuilt. Attention has one group a head then; its Keys are slices beside the rebuilt key (a query head is [those slices; rebuilt part]), and
// its Values are empty. Will not do: windows, sinks. Not safe for concurrent use: it remembers gates.
type Expansion struct {
	Plane        int       // whose one head is c
	Up, Gate     *Matrix   // [heads*(Key+Value), width of c], [heads*(Key+Value), width of the table]
	Table        *Table    // [ids, e]
	Weight, Bias []float32 // [heads*(Key+Value)]; Bias may be nil
	Eps          float32
	Key, Value   int // rebuilt widths of a head
	Turn         int // > 0: c is stored turned by Hadamard matrices, blocks of so many columns

	kept gateMemo
}

// KeptGates is the memory for the gates that a layer keeps, in bytes.
const KeptGates = 8 << 20

// gateMemo are the gates of the first ids that a layer meets. Once it is full, those of other ids are made anew in every chunk that needs them; when these are memoPatience times as many as it
// holds, other text has come, and it begins anew.
type gateMemo struct {
	ids   idTable
	most  int
	gates []float32 // [most, heads*(Key+Value)]
	vain  int       // gates made and not kept
}

const memoPatience = 8

// KeptIDs is how many ids' gates a layer keeps at most, for tables of so many ids and gates of so many numbers.
func KeptIDs(ids, width int) int { return min(ids, KeptGates/(4*width)) }

// begin readies the memo for a sequence's step.
func (m *gateMemo) begin(e *Expansion) {
	if m.gates == nil {
		if m.most == 0 {
			m.most = KeptIDs(e.Table.N, e.Gate.N)
		}
		m.gates = make([]float32, m.most*e.Gate.N)
		m.ids.reset(m.most)
	}
	if m.vain > memoPatience*m.most {
		m.ids.reset(m.most)
		m.vain = 0
	}
}

// idTable numbers different ids in the order in which they come.
type idTable struct {
	ids   []int32
	index []int32 // by a hash of the id: 1 + its number; twice as many as ids or more
}

func (t *idTable) reset(most int) {
	if n := 1 << bits.Len(uint(2*most)); len(t.index) < n {
		t.index, t.ids = make([]int32, n), make([]int32, 0, most)
	}
	clear(t.index)
	t.ids = t.ids[:0]
}

// find gives an id's number, and where in index it stands or would stand.
func (t *idTable) find(id int32) (number, at int, ok bool) {
	mask := len(t.index) - 1
	for at = int(uint32(id)*0x9e3779b1>>8) & mask; t.index[at] > 0; at = (at + 1) & mask {
		if n := int(t.index[at]) - 1; t.ids[n] == id {
			return n, at, true
		}
	}
	return 0, at, false
}

func (t *idTable) add(id int32, at int) int {
	t.ids = append(t.ids, id)
	t.index[at] = int32(len(t.ids))
	return len(t.ids) - 1
}

// id is the token behind a row.
func (s *Span) id(row int) int32 {
	if row < len(s.Tokens) {
		return s.Tokens[row]
	}
	return s.New[row-len(s.Tokens)]
}

// expander is the state of one call: sequence by sequence, chunk by chunk, a wave of tiles at once.
type expander struct {
	span   *Span
	row0   int                  // of the wave's first tile
	tiles  int                  // of the wave
	chunk  int                  // first row of the chunk
	gate   [ChunkRows][]float32 // of the chunk's rows
	passed idTable              // the chunk's ids that are not kept
	spare  []float32            // and their gates
	fresh  []int32              // ids whose gates are being made
	into   []float32
	work   []expanderScratch // by worker
	ones   []float32         // as many as a head is wide
	make   func(part, worker int)
	tile   func(part, worker int)
	merge  func(part, worker int)
}

// rebuilt is a tile of u.
type rebuilt struct {
	u         []float32 // block after block of columns, [TileRows, columns of a block] each
	sums      []float32 // [TileRows, 2, 16]
	inv, lean []float32 // [TileRows] each: inv and inv*mean; zero past the last row
	mean      []float32
}

type expanderScratch struct {
	tile    rebuilt
	columns columnTile
	x       []float32 // cached rows, or embeddings
	in      Input
}

// blockHeads is how many heads' columns are multiplied and gated together: they fill whole panels, four or more.
func (e *Expansion) blockHeads(heads int) int {
	for n := 1; n < heads; n *= 2 {
		if n*(e.Key+e.Value)%(widePanels*PanelRows) == 0 {
			return n
		}
	}
	return heads
}

// head finds the key of a head in a tile: its first number, and the distance of rows. Its value follows the key.
func (e *Expansion) head(t *rebuilt, h, heads int) ([]float32, int) {
	n, wide := e.blockHeads(heads), e.Key+e.Value
	return t.u[(h/n*n*TileRows+h%n)*wide:], n * wide
}

// runExpanded attends, sequence by sequence.
func (t *Attender) runExpanded() {
	a, x := t.a, &t.expander
	e := a.Expand
	if x.tile == nil {
		x.make, x.tile, x.merge = t.runGate, t.runTile, t.runTileMerge
	}
	for len(x.work) < t.pool.Threads() {
		x.work = append(x.work, expanderScratch{})
	}
	for len(x.ones) < max(e.Key, e.Value) {
		x.ones = append(x.ones, 1)
	}
	for i := range t.spans {
		s := &t.spans[i]
		if s.Transient != nil {
			panic("kernel: transient rows of an attention whose rows are rebuilt")
		}
		t.items = t.items[:0]
		for from := 0; from < s.N; from += blockRows {
			for g := range a.Groups {
				it := attendItem{span: i, group: g, from: from, n: min(blockRows, s.N-from), heads: 1}
				it.lo, it.hi = a.seen(s, it.from, it.n)
				t.items = append(t.items, it)
			}
		}
		wave := t.pool.Threads() * max(1, min(waveParts, ChunkRows/TileRows/t.pool.Threads(), blockRows/s.N)) // few queries: parts are small, and workers meet seldom
		for len(t.parts) < (wave+1)*len(t.items) {
			t.parts = append(t.parts, partial{})
		}
		for j := range t.items {
			t.parts[j].reset(t.items[j].n, a.ValueWidth())
		}
		x.span = s
		e.kept.begin(e)
		for x.chunk = 0; x.chunk < s.Rows; x.chunk += ChunkRows {
			end := min(x.chunk+ChunkRows, s.Rows)
			t.findGates(end)
			for x.row0 = x.chunk; x.row0 < end; x.row0 += TileRows * wave {
				x.tiles = min(wave, (end-x.row0+TileRows-1)/TileRows)
				t.pool.Run(x.tiles, x.tile)
				t.pool.Run(len(t.items), x.merge)
			}
		}
		x.span = nil
		for j := range t.items {
			t.finish(&t.items[j], &t.parts[j])
			t.finishNorm(&t.items[j], &t.parts[j])
		}
	}
}

// finishNorm is the weight and the bias of the values' norm.
func (t *Attender) finishNorm(it *attendItem, p *partial) {
	e, vw, at := t.a.Expand, t.a.ValueWidth(), it.group*(t.a.Expand.Key+t.a.Expand.Value)+t.a.Expand.Key
	for i := range it.n {
		if p.sum[i] == 0 { // it sees nothing
			continue
		}
		row := t.out[((t.spans[it.span].Q0+it.from+i)*t.a.Groups+it.group)*vw:][:e.Value]
		MulInto(row, e.Weight[at:])
		if e.Bias != nil {
			Add(row, e.Bias[at:])
		}
	}
}

// findGates finds or makes the gates of the rows from chunk to end.
func (t *Attender) findGates(end int) {
	x, e := &t.expander, t.a.Expand
	m, wide := &e.kept, e.Gate.N
	var slot [ChunkRows]int // number in the memo, or behind it of those that pass
	x.passed.reset(ChunkRows)
	before := len(m.ids.ids)
	for r := x.chunk; r < end; r++ {
		id := x.span.id(r)
		n, at, ok := m.ids.find(id)
		switch {
		case ok:
		case len(m.ids.ids) < m.most:
			n = m.ids.add(id, at)
		default:
			if n, at, ok = x.passed.find(id); !ok {
				n = x.passed.add(id, at)
			}
			n += m.most
		}
		slot[r-x.chunk] = n
	}
	m.vain += len(x.passed.ids)
	x.spare = grow(x.spare, len(x.passed.ids)*wide)
	t.makeGates(m.gates[before*wide:], m.ids.ids[before:])
	t.makeGates(x.spare, x.passed.ids)
	for j, n := range slot[:end-x.chunk] {
		if n < m.most {
			x.gate[j] = m.gates[n*wide:][:wide]
		} else {
			x.gate[j] = x.spare[(n-m.most)*wide:][:wide]
		}
	}
}

const gateParts = 28 // ids whose gates are one part of work: two of the widest tiles of a product

// makeGates computes the gates of ids, one after the other.
func (t *Attender) makeGates(into []float32, ids []int32) {
	t.expander.fresh, t.expander.into = ids, into
	t.pool.Run((len(ids)+gateParts-1)/gateParts, t.expander.make)
}

func (t *Attender) runGate(i, worker int) {
	e, x := t.a.Expand, &t.expander
	from := i * gateParts
	n, w := min(gateParts, len(x.fresh)-from), &x.work[worker]
	w.x = grow(w.x, n*e.Table.K)
	for j, id := range x.fresh[from : from+n] {
		e.Table.Row(w.x[j*e.Table.K:][:e.Table.K], int(id))
	}
	w.set(n, e.Gate)
	const cacheBytes = 1 << 18
	group, panels := max(widePanels, cacheBytes/e.Gate.panel&^(widePanels-1)), e.Gate.panels()
	for from, y := 0, x.into[from*e.Gate.N:]; from < panels; from += group { // panels stay in the second cache while the rows pass
		e.Gate.mul(y, e.Gate.N, &w.in, from, min(from+group, panels), 0, n, 0)
	}
}

// set makes x [m, K] the operand of products with w on the caller's thread.
func (s *expanderScratch) set(m int, w *Matrix) {
	s.in.Set(nil, s.x, m, w.K)
	if w.format.Quantised() {
		s.in.needInt8(nil)
	}
	if s.in.edge == nil {
		s.in.edge = make([]edgeTile, 1)
	}
}

// runTile rebuilds tile i of the wave and lets all items see it.
func (t *Attender) runTile(i, worker int) {
	x := &t.expander
	r := x.row0 + i*TileRows
	x.work[worker].rebuild(t.a, x, r)
	for j := range t.items {
		part := &t.parts[(i+1)*len(t.items)+j]
		part.reset(t.items[j].n, t.a.ValueWidth())
		if r < t.items[j].hi {
			t.fold(&t.items[j], part, r, worker)
		}
	}
}

// runTileMerge merges what item j saw of the wave's tiles.
func (t *Attender) runTileMerge(j, _ int) {
	for i := range t.expander.tiles {
		t.parts[j].merge(&t.parts[(i+1)*len(t.items)+j], t.a.ValueWidth())
	}
}

// rebuild makes the tile at row r.
func (w *expanderScratch) rebuild(a *Attention, x *expander, r int) {
	e, s, tile := a.Expand, x.span, &w.tile
	p, n := &a.Planes[e.Plane], min(TileRows, s.Rows-r)
	w.x = grow(w.x, n*p.Width)
	codec, stored := s.tile(p, 0, r)
	w.columns.rows(codec, w.x, stored, n, p.Width)
	if e.Turn > 0 {
		for at := 0; at < n*p.Width; at += e.Turn {
			Hadamard(w.x[at:][:e.Turn])
		}
	}
	w.set(n, e.Up)
	cols := e.blockHeads(a.Groups) * (e.Key + e.Value)
	tile.begin((e.Up.N + cols - 1) / cols * cols)
	for from := 0; from < e.Up.N; from += cols {
		to := min(from+cols, e.Up.N)
		e.Up.mul(tile.u[from*TileRows-from:], cols, &w.in, from/PanelRows, (to+PanelRows-1)/PanelRows, 0, n, 0) // which writes from column `from` on
		gateRows(tile.u[from*TileRows:], cols, to-from, x.gate[r-x.chunk:][:n], from, tile.sums)
	}
	tile.norm(n, e)
}

// begin readies a tile of so many columns.
func (t *rebuilt) begin(cols int) {
	t.u = grow(t.u, TileRows*cols)
	if t.sums == nil {
		t.sums = make([]float32, TileRows*2*16)
		t.inv, t.lean, t.mean = make([]float32, TileRows), make([]float32, TileRows), make([]float32, TileRows)
	}
	clear(t.sums)
}

// norm finds each row's mean and deviation from its sums.
func (t *rebuilt) norm(n int, e *Expansion) {
	for j := range TileRows {
		t.inv[j], t.mean[j], t.lean[j] = 0, 0, 0
		if j >= n {
			continue
		}
		lanes, count := t.sums[32*j:][:32], float64(e.Up.N)
		mean := float64(foldLanes((*[16]float32)(lanes))) / count
		variance := max(0, float64(foldLanes((*[16]float32)(lanes[16:])))/count-mean*mean)
		inv := 1 / math.Sqrt(variance+float64(e.Eps))
		t.inv[j], t.mean[j], t.lean[j] = float32(inv), float32(mean), float32(inv*mean)
	}
}

// fold lets one head's block of queries see the worker's tile, which begins at row r.
func (t *Attender) fold(it *attendItem, part *partial, r, worker int) {
	w, a, x := t.workers[worker], t.a, &t.expander
	s, e, tile, kw, vw := x.span, a.Expand, &x.work[worker].tile, a.KeyWidth(), a.ValueWidth()
	w.load(t, it)
	slices, weight := kw-e.Key, it.group*(e.Key+e.Value)
	n := min(TileRows, it.hi-r)
	rows, ld := e.head(tile, it.group, a.Groups)
	w.panel = grow(w.panel, TileRows*e.Key)
	toPanels(w.panel, rows, ld, n, e.Key)
	w.norm = grow(w.norm, 2*it.n)
	sums, biases := w.norm[:it.n], w.norm[it.n:] // of a query times the norm's weight, and with its bias
	for i := range it.n {
		q := w.q[i*kw+slices:][:e.Key]
		if biases[i] = 0; e.Bias != nil {
			biases[i] = Dot(q, e.Bias[weight:])
		}
		MulInto(q, e.Weight[weight:])
		sums[i] = Dot(q, x.ones)
	}
	scoreF32(w.s, w.q[slices:], kw, w.panel, it.n, e.Key, false)
	for i := range it.n {
		row := w.s[i*TileRows:][:TileRows]
		MulInto(row, tile.inv)
		AddScaled(row, tile.lean, -sums[i])
		if e.Bias != nil {
			for j := range row {
				row[j] += biases[i]
			}
		}
	}
	w.rawKey = -1
	w.scores(a, s, it, r, n, true)
	softmaxTile(w.s, it.n, part.max, part.sum, w.alpha)
	for i := range it.n {
		MulInto(w.s[i*TileRows:][:TileRows], tile.inv)
	}
	accumulatePV(part.o, vw, w.s, TileRows, rows[e.Key:], ld, it.n, n, e.Value)
	for i := range it.n {
		AddScaled(part.o[i*vw:][:e.Value], x.ones, -Dot(tile.mean, w.s[i*TileRows:][:TileRows]))
	}
}
