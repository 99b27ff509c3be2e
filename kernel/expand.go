package kernel

// Attention whose keys and values stand behind something that does not fold into the query: they are rebuilt from the cached rows, one tile of TileRows rows after the other, at every
// step. What is rebuilt here is EG-MLA's
//
//	y = LayerNorm((c Up) * (Table[id] Gate)) * Weight + Bias        [heads * (Key + Value)], head after head, its key and then its value
//
// c being the row that is kept and id the token behind it. One rebuilt tile serves all heads and all queries of a sequence's step, so a prompt pays it once a chunk; a token
// alone pays all of it. Gates depend on the id alone and are computed once for each different id in a tile. Scratch is one tile a thread, and the state of the queries.
//
// The grid, and with it the order of all sums, is that of attend.go; a row of y is a function of its own c and id. So here too nothing depends on batch, chunking or threads. As many
// tiles as there are threads are rebuilt side by side, then every head folds them in, in order.

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

// expandedTile is one tile as it is rebuilt.
type expandedTile struct {
	c, e, y, g []float32     // [TileRows, ..]: cached rows, embeddings of the different ids, keys and values, gates of the ids
	slot       [TileRows]int // the row of g that belongs to a row of y
	in         Input
}

// id is the token behind a row.
func (s *Span) id(row int) int32 {
	if row < len(s.Tokens) {
		return s.Tokens[row]
	}
	return s.New[row-len(s.Tokens)]
}

// rebuild makes y for rows r .. r+n.
func (x *expandedTile) rebuild(a *Attention, s *Span, r, n int) {
	e := a.Expand
	p, wide := &a.Planes[e.Plane], e.Up.N
	x.c, x.y, x.g = grow(x.c, TileRows*p.Width), grow(x.y, TileRows*wide), grow(x.g, TileRows*wide)
	expandRows(p.Codec, x.c, p.Head(s.page(r, p), 0)[r%p.PageRows*RowBytes(p.Codec, p.Width):], n, p.Width)
	if e.Turn > 0 {
		for at := 0; at < n*p.Width; at += e.Turn {
			Hadamard(x.c[at:][:e.Turn])
		}
	}
	x.multiply(x.y, x.c, n, e.Up)
	x.multiply(x.g, x.e, x.embed(e.Table, s, r, n), e.Gate)
	for j := range n {
		row := x.y[j*wide:][:wide]
		MulInto(row, x.g[x.slot[j]*wide:][:wide])
		LayerNorm(row, row, e.Weight, e.Bias, e.Eps)
	}
}

// embed gathers the embeddings of the different ids of rows r .. r+n and returns how many these are.
func (x *expandedTile) embed(t *Table, s *Span, r, n int) int {
	x.e = grow(x.e, TileRows*t.K)
	var ids [TileRows]int32
	count := 0
next:
	for j := range n {
		id := s.id(r + j)
		for i, seen := range ids[:count] {
			if seen == id {
				x.slot[j] = i
				continue next
			}
		}
		ids[count], x.slot[j] = id, count
		t.Row(x.e[count*t.K:][:t.K], int(id))
		count++
	}
	return count
}

// multiply is y [m, N] = in [m, K] Wᵀ on the caller's thread: panels of W stay in the nearer caches while the rows pass.
func (x *expandedTile) multiply(y, in []float32, m int, w *Matrix) {
	const cacheBytes = 1 << 18
	x.in.Set(nil, in, m, w.K)
	if w.format.Quantised() {
		x.in.needInt8(nil)
	}
	if x.in.edge == nil {
		x.in.edge = make([]edgeTile, 1)
	}
	group, panels := max(2*widePanelsOf, cacheBytes/w.panel&^(widePanelsOf-1)), w.panels()
	for from := 0; from < panels; from += group {
		w.mul(y, w.N, &x.in, from, min(from+group, panels), 0, m, 0)
	}
}

const widePanelsOf = 4 // panels that the widest kernels take at once

// runExpanded attends, sequence by sequence.
func (t *Attender) runExpanded() {
	a := t.a
	for len(t.tiles) < t.pool.Threads() {
		t.tiles = append(t.tiles, &expandedTile{})
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
		t.expanding = s
		for t.row0 = 0; t.row0 < s.Rows; t.row0 += TileRows * len(t.tiles) {
			t.pool.Run(min(len(t.tiles), (s.Rows-t.row0+TileRows-1)/TileRows), t.expand)
			t.pool.Run(len(t.items), t.fold)
		}
		for j := range t.items {
			part, total := &t.parts[2*j], &t.parts[2*j+1]
			total.merge(part, a.ValueWidth())
			t.finish(&t.items[j], total)
		}
		t.expanding = nil
	}
}

func (t *Attender) runExpand(i, _ int) {
	r := t.row0 + i*TileRows
	t.tiles[i].rebuild(t.a, t.expanding, r, min(TileRows, t.expanding.Rows-r))
}

// runFold takes one head's block of queries through the tiles that are there.
func (t *Attender) runFold(i, worker int) {
	w, it, a, s := t.workers[worker], &t.items[i], t.a, t.expanding
	e, kw, vw := a.Expand, a.KeyWidth(), a.ValueWidth()
	q0 := s.Rows - s.N + it.from
	end := q0 + it.n // rows that the last query sees
	if t.row0 >= end {
		return
	}
	w.load(t, it)
	w.panel = grow(w.panel, TileRows*e.Key)
	part, total := &t.parts[2*i], &t.parts[2*i+1]
	for j, tile := range t.tiles {
		r := t.row0 + j*TileRows
		if r >= end {
			return
		}
		if r%ChunkRows == 0 {
			total.merge(part, vw)
			part.reset(it.n, vw)
		}
		n, at := min(TileRows, end-r), 0
		w.rawKey = -1
		for i, k := range a.Keys {
			w.score(a, s, it, k, at, r, n, i > 0)
			at += k.To - k.From
		}
		x, ld := tile.y[it.group*(e.Key+e.Value):], e.Up.N
		w.panel = grow(w.panel, TileRows*e.Key)
		toPanels(w.panel, x, ld, n, e.Key)
		scoreF32(w.s, w.q[at:], kw, w.panel, it.n, e.Key, at > 0)
		if a.Softcap > 0 {
			softcapTile(w.s[:it.n*TileRows], a.Softcap)
		}
		w.mask(a, it, q0, r, n)
		softmaxTile(w.s, it.n, part.max, part.sum, w.alpha)
		scaleRows(part.o, vw, w.alpha, it.n)
		accumulatePV(part.o, vw, w.s, TileRows, x[e.Key:], ld, it.n, n, e.Value)
	}
}
