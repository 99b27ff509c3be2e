package kernel

// Attention whose keys and values stand behind something that does not fold into the query: they are rebuilt from the cached rows, one tile of TileRows rows after the other, at every
// step. What is rebuilt here is EG-MLA's
//
//	y = LayerNorm((c Up) * (Table[id] Gate)) * Weight + Bias        [heads * (Key + Value)], head after head, its key and then its value
//
// c being the row that is kept and id the token behind it. One rebuilt tile serves all heads and all queries of a sequence's step, so a prompt pays it once a chunk; a token
// alone pays all of it. Gates depend on the id alone, and in text some 38 % of the ids of ChunkRows rows are different, 20 % of those of 4096: the gates of the first ids are kept for the rest of
// the sequence (KeptGates bytes of them), those of others for a chunk. Scratch is one tile a thread, these gates, and the state of the queries; it does not grow with the context.
//
// The grid, and with it the order of all sums, is that of attend.go; a row of y is a function of its own c and id. So here too nothing depends on batch, chunking or threads. As many
// tiles as there are threads are rebuilt side by side, then every head folds them in, in order.

import "math/bits"

// Expansion says how a tile is rebuilt. Attention has one group a head then; its Keys are slices beside the rebuilt key (a query head is [those slices; rebuilt part]), and
// its Values are empty. Will not do: windows.
type Expansion struct {
	Plane        int       // whose one head is c
	Up, Gate     *Matrix   // [heads*(Key+Value), width of c], [heads*(Key+Value), width of the table]
	Table        *Table    // [ids, e]
	Weight, Bias []float32 // [heads*(Key+Value)]; Bias may be nil
	Eps          float32
	Key, Value   int // rebuilt widths of a head
	Turn         int // > 0: c is stored turned by Hadamard matrices, blocks of so many columns
}

// expander is the state of one call: sequence by sequence, chunk by chunk, some tiles at once.
type expander struct {
	span   *Span
	row0   int            // of the first tile
	chunk  int            // first row of the chunk
	slot   [ChunkRows]int // where a row's gates are
	gates  []float32      // [kept + ChunkRows, heads*(Key+Value)]
	kept   idTable        // ids whose gates stay for the sequence, from slot 0 on
	passed idTable        // and those of a chunk alone, behind them
	most   int            // kept ones at most
	fresh  []int32        // ids whose gates are being computed, into slots from base on
	base   int
	tiles  [][]float32       // rebuilt, [TileRows, heads*(Key+Value)] each; as many as threads
	work   []expanderScratch // by worker
	gate   func(part, worker int)
	expand func(part, worker int)
	fold   func(part, worker int)
}

type expanderScratch struct {
	x  []float32 // cached rows, or embeddings
	in Input
}

// KeptGates is the memory for gates that stay for a whole sequence, in bytes.
const KeptGates = 8 << 20

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

// runExpanded attends, sequence by sequence.
func (t *Attender) runExpanded() {
	a, x := t.a, &t.expander
	if x.fold == nil {
		x.gate, x.expand, x.fold = t.runGate, t.runExpand, t.runFold
	}
	for len(x.tiles) < t.pool.Threads() {
		x.tiles, x.work = append(x.tiles, nil), append(x.work, expanderScratch{})
	}
	for i := range t.spans {
		s := &t.spans[i]
		t.items = t.items[:0]
		for from := 0; from < s.N; from += blockRows {
			for g := range a.Groups {
				t.items = append(t.items, attendItem{span: i, group: g, from: from, n: min(blockRows, s.N-from), heads: 1})
			}
		}
		for len(t.parts) < 2*len(t.items) {
			t.parts = append(t.parts, partial{})
		}
		for j := range t.items {
			t.parts[2*j].reset(t.items[j].n, a.ValueWidth())
			t.parts[2*j+1].reset(t.items[j].n, a.ValueWidth())
		}
		x.span = s
		x.most = min(KeptGates/(4*a.Expand.Gate.N), roundUp(s.Rows, ChunkRows))
		x.kept.reset(x.most)
		x.gates = grow(x.gates, (x.most+ChunkRows)*a.Expand.Gate.N)
		for x.chunk = 0; x.chunk < s.Rows; x.chunk += ChunkRows {
			end := min(x.chunk+ChunkRows, s.Rows)
			before := len(x.kept.ids)
			x.number(end)
			t.makeGates(x.kept.ids[before:], before)
			t.makeGates(x.passed.ids, x.most)
			for x.row0 = x.chunk; x.row0 < end; x.row0 += TileRows * len(x.tiles) {
				t.pool.Run(min(len(x.tiles), (end-x.row0+TileRows-1)/TileRows), x.expand)
				t.pool.Run(len(t.items), x.fold)
			}
		}
		x.span = nil
		for j := range t.items {
			part, total := &t.parts[2*j], &t.parts[2*j+1]
			total.merge(part, a.ValueWidth())
			t.finish(&t.items[j], total)
		}
	}
}

// number finds the slots of the rows from chunk to end.
func (x *expander) number(end int) {
	x.passed.reset(ChunkRows)
	for r := x.chunk; r < end; r++ {
		id := x.span.id(r)
		n, at, ok := x.kept.find(id)
		switch {
		case ok:
		case len(x.kept.ids) < x.most:
			n = x.kept.add(id, at)
		default:
			if n, at, ok = x.passed.find(id); !ok {
				n = x.passed.add(id, at)
			}
			n += x.most
		}
		x.slot[r-x.chunk] = n
	}
}

const gateRows = 28 // ids whose gates are one part of work: two of the widest tiles of a product

// makeGates computes the gates of ids into slots from base on.
func (t *Attender) makeGates(ids []int32, base int) {
	t.expander.fresh, t.expander.base = ids, base
	t.pool.Run((len(ids)+gateRows-1)/gateRows, t.expander.gate)
}

func (t *Attender) runGate(i, worker int) {
	e, x := t.a.Expand, &t.expander
	from := i * gateRows
	n, w := min(gateRows, len(x.fresh)-from), &x.work[worker]
	w.x = grow(w.x, n*e.Table.K)
	for j, id := range x.fresh[from : from+n] {
		e.Table.Row(w.x[j*e.Table.K:][:e.Table.K], int(id))
	}
	w.multiply(x.gates[(x.base+from)*e.Gate.N:], n, e.Gate)
}

// runExpand rebuilds one tile.
func (t *Attender) runExpand(i, worker int) {
	a, x := t.a, &t.expander
	e, w, s := a.Expand, &x.work[worker], x.span
	p, wide, r := &a.Planes[e.Plane], e.Up.N, x.row0+i*TileRows
	n := min(TileRows, s.Rows-r)
	w.x = grow(w.x, n*p.Width)
	expandRows(p.Codec, w.x, p.Head(s.page(r, p), 0)[r%p.PageRows*RowBytes(p.Codec, p.Width):], n, p.Width)
	if e.Turn > 0 {
		for at := 0; at < n*p.Width; at += e.Turn {
			Hadamard(w.x[at:][:e.Turn])
		}
	}
	x.tiles[i] = grow(x.tiles[i], TileRows*wide)
	y := x.tiles[i]
	w.multiply(y, n, e.Up)
	for j := range n {
		row := y[j*wide:][:wide]
		MulInto(row, x.gates[x.slot[r+j-x.chunk]*wide:][:wide])
		LayerNorm(row, row, e.Weight, e.Bias, e.Eps)
	}
}

// multiply is y [m, N] = x [m, K] Wᵀ on the caller's thread: panels of W stay in the nearer caches while the rows pass.
func (s *expanderScratch) multiply(y []float32, m int, w *Matrix) {
	const cacheBytes = 1 << 18
	s.in.Set(nil, s.x, m, w.K)
	if w.format.Quantised() {
		s.in.needInt8(nil)
	}
	if s.in.edge == nil {
		s.in.edge = make([]edgeTile, 1)
	}
	group, panels := max(4, cacheBytes/w.panel&^3), w.panels() // the widest kernels take 4 panels at once
	for from := 0; from < panels; from += group {
		w.mul(y, w.N, &s.in, from, min(from+group, panels), 0, m, 0)
	}
}

// runFold takes one head's block of queries through the tiles that are there.
func (t *Attender) runFold(i, worker int) {
	w, it, a, x := t.workers[worker], &t.items[i], t.a, &t.expander
	s, e, kw, vw := x.span, a.Expand, a.KeyWidth(), a.ValueWidth()
	q0 := s.Rows - s.N + it.from
	end := q0 + it.n // rows that the last query sees
	if x.row0 >= end {
		return
	}
	w.load(t, it)
	w.panel = grow(w.panel, TileRows*e.Key)
	part, total := &t.parts[2*i], &t.parts[2*i+1]
	for j, tile := range x.tiles {
		r := x.row0 + j*TileRows
		if r >= min(end, x.chunk+ChunkRows) {
			return
		}
		if r == x.chunk {
			total.merge(part, vw)
			part.reset(it.n, vw)
		}
		n, at := min(TileRows, end-r), 0
		w.rawKey = -1
		for i, k := range a.Keys {
			w.score(a, s, it, k, at, r, n, i > 0)
			at += k.To - k.From
		}
		rows, ld := tile[it.group*(e.Key+e.Value):], e.Up.N
		w.panel = grow(w.panel, TileRows*e.Key)
		toPanels(w.panel, rows, ld, n, e.Key)
		scoreF32(w.s, w.q[at:], kw, w.panel, it.n, e.Key, at > 0)
		if a.Softcap > 0 {
			softcapTile(w.s[:it.n*TileRows], a.Softcap)
		}
		w.mask(a, it, q0, r, n)
		softmaxTile(w.s, it.n, part.max, part.sum, w.alpha)
		scaleRows(part.o, vw, w.alpha, it.n)
		accumulatePV(part.o, vw, w.s, TileRows, rows[e.Key:], ld, it.n, n, e.Value)
	}
}
