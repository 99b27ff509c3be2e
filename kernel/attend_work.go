package kernel

// What a worker does with one tile: score its keys against the item's queries, fold the probabilities in, mix its values. Which tiles there are, and who takes them, is attend.go's; the inner
// functions are attend_tile.go's.

// tileScratch is what one worker needs for one tile.
type tileScratch struct {
	q      []float32 // [rows, key width], scaled
	q8     int8Rows  // the same in int8 blocks, one slice at a time
	s      []float32 // [rows, TileRows]
	t      []float32 // [rows, TileRows]: scores before, or probabilities after, they are weighed by a factor
	alpha  []float32 // [rows]
	bias   []float32 // [TileRows]
	lse    []float32 // [rows]: of votes
	sum    []float32 // [rows]
	raw    []float32 // [TileRows, plane width]: the last expanded plane
	panel  []float32 // [TileRows/16][width][16]: keys ready to score
	weight []float32 // [TileRows/16][heads*rank][16]: factors ready to weigh
	norm   []float32 // what the norm of rebuilt rows leaves for queries
	codes  weightCodes
	next   lookahead
	part   partial
	total  partial
	rawKey int // which plane and head of the tile raw holds; -1 none

	columns columnTile // a sealed tile whose scales belong to columns
	folded  []float32  // [rows, width]: queries that took its scales in
	sums    []float32  // [rows]: of their products with its offsets

	aside Span // transient rows as a lane of one tile
}

// load copies the item's queries, scaled, into contiguous rows.
func (w *tileScratch) load(t *Attender, it *attendItem) {
	a, kw := t.a, t.a.KeyWidth()
	rows := it.n * it.heads
	w.q = grow(w.q, rows*kw)
	w.s = grow(w.s, rows*TileRows)
	if a.factored() {
		w.t = grow(w.t, rows*TileRows)
	}
	w.alpha = grow(w.alpha, rows)
	heads := a.Groups * a.PerGroup
	for i := 0; i < rows; i++ {
		token, head := it.from+i/it.heads, it.group*a.PerGroup+it.head0+i%it.heads
		src := t.q[((t.spans[it.span].Q0+token)*heads+head)*kw:][:kw]
		ScaleTo(w.q[i*kw:][:kw], src, a.Scale)
	}
	if a.int8Keys() {
		w.q8.set(w.q, rows, kw)
	}
}

func grow(x []float32, n int) []float32 {
	if cap(x) < n {
		return make([]float32, n)
	}
	return x[:n]
}

// attendChunk folds the tiles of chunk c into p, from an empty state.
func (w *tileScratch) attendChunk(t *Attender, it *attendItem, c int, p *partial) {
	p.reset(it.n*it.heads, t.a.ValueWidth())
	span, stop := &t.spans[it.span], min((c+1)*ChunkRows, it.hi)
	for r := max(c*ChunkRows, it.lo/TileRows*TileRows); r < stop; r += TileRows {
		w.attendTile(t.a, span, it, r, min(TileRows, it.hi-r), r+TileRows < stop, p)
	}
}

// attendTile folds rows r .. r+n into p. more: the next tile is needed after this one.
func (w *tileScratch) attendTile(a *Attention, span *Span, it *attendItem, r, n int, more bool, p *partial) {
	rows, vw := it.n*it.heads, a.ValueWidth()
	w.rawKey = -1
	w.next = lookahead{}
	switch { // few rows: memory is the limit
	case rows > fewRows:
	case a.asksInside():
		if more {
			w.next = lookahead{keys: a.tile(span, it, a.Keys[0], r+TileRows), values: a.tile(span, it, a.Values[0], r+TileRows)}
		}
	default:
		a.ahead(span, it, a.Values, r)
	}
	w.scores(a, span, it, r, n, false)
	part := len(w.next.values) / 4 // of which scores asked for two
	if rows <= fewRows && part == 0 && more {
		a.ahead(span, it, a.Keys, r+TileRows)
	}
	prefetchBytes(w.next.values[2*part : 3*part])
	softmaxTile(w.s, rows, p.max, p.sum, w.alpha)
	scaleRows(p.o, vw, w.alpha, rows)
	prefetchBytes(w.next.values[3*part:])
	at := 0
	for _, v := range a.Values {
		w.mix(a, span, it, v, p.o[at:], r, n)
		at += v.To - v.From
	}
}

// scores fills w.s with the scores of rows r .. r+n (add: adds them to what is there): -Inf where a query must not see a row, and past the last one.
func (w *tileScratch) scores(a *Attention, span *Span, it *attendItem, r, n int, add bool) {
	w.takeBias(a, span, it, r, n)
	at, rows := 0, it.n*it.heads
	for i, k := range a.Keys {
		w.score(a, span, it, k, at, r, n, add || i > 0)
		at += k.To - k.From
	}
	if a.Softcap > 0 {
		softcapTile(w.s[:rows*TileRows], a.Softcap)
	}
	w.addBias(a, rows)
	w.mask(a, span, it, r)
}

// score adds (or sets, for the first slice) the products of queries with one slice of the keys of rows r .. r+n.
func (w *tileScratch) score(a *Attention, span *Span, it *attendItem, k Slice, at, r, n int, add bool) {
	if k.Own {
		for h := range it.heads {
			w.scoreHead(w.s[h*TileRows:], a, span, k, it.head0+h, h*a.KeyWidth()+at, it.n, r, n, add)
		}
		return
	}
	if k.Rank == 0 {
		w.scoreHead(w.s, a, span, k, headOf(k, it.group), at, it.n*it.heads, r, n, add)
		return
	}
	w.weights(a, span, k, r, n)
	for b := 0; b < k.Rank; b++ {
		w.scoreHead(w.t, a, span, k, b, at, it.n*it.heads, r, n, false)
		w.weigh(w.s, w.t, a, it, k, b, add || b > 0)
	}
}

// scoreHead scores one head of a plane into s.
func (w *tileScratch) scoreHead(s []float32, a *Attention, span *Span, k Slice, head, at, rows, r, n int, add bool) {
	p := &a.Planes[k.Plane]
	kw := a.KeyWidth()
	if p.Order == Panels {
		c, tile := span.tile(p, head, r)
		switch {
		case c == CodecF32 || c <= CodecBF16 && rows <= fewRows:
			scorePanels(c, s, w.q[at:], kw, tile, w.next.values, rows, p.Width, add)
		case c.Columns():
			w.scoreColumns(c, s, tile, at, kw, rows, p.Width, a.int8Columns(), add)
		case a.int8Keys():
			scorePanelsInt8(c, s, &w.q8, tile, w.next.values, rows, p.Width)
		default:
			w.panel = grow(w.panel, TileRows*p.Width)
			expandPanels(c, w.panel, tile, p.Width)
			scoreF32(s, w.q[at:], kw, w.panel, rows, p.Width, add)
		}
		return
	}
	x, ld := w.rows(a, span, k, head, r, n)
	kwidth := k.To - k.From
	w.panel = grow(w.panel, TileRows*kwidth)
	switch {
	case k.Rotate && span.aside != nil:
		a.Rotation.rotateRows(w.panel, x, ld, span.aside.Positions, kwidth)
	case k.Rotate:
		a.Rotation.rotateTile(w.panel, x, ld, r, n, kwidth)
	default:
		toPanels(w.panel, x, ld, n, kwidth)
	}
	scoreF32(s, w.q[at:], kw, w.panel, rows, kwidth, add)
}

// mix adds the values of rows r .. r+n, weighted by the scores, to o.
func (w *tileScratch) mix(a *Attention, span *Span, it *attendItem, v Slice, o []float32, r, n int) {
	if v.Own {
		for h := range it.heads {
			w.mixHead(o[h*a.ValueWidth():], w.s[h*TileRows:], a, span, v, it.head0+h, it.n, r, n)
		}
		return
	}
	if v.Rank == 0 {
		w.mixHead(o, w.s, a, span, v, headOf(v, it.group), it.n*it.heads, r, n)
		return
	}
	w.weights(a, span, v, r, n)
	for b := 0; b < v.Rank; b++ {
		w.weigh(w.t, w.s, a, it, v, b, false)
		w.mixHead(o, w.t, a, span, v, b, it.n*it.heads, r, n)
	}
}

// mixHead mixes one head of a plane by s. Few query rows read the values as they lie; many, or a plane that is expanded already, read float32. The bits are the same.
func (w *tileScratch) mixHead(o, s []float32, a *Attention, span *Span, v Slice, head, rows, r, n int) {
	p, ldo, wide := &a.Planes[v.Plane], a.ValueWidth(), v.To-v.From
	if a.int8Values(v) {
		c, tile := span.tile(p, head, r)
		mixCodes(c, &w.codes, o, ldo, s, tile[RowBytes(c, v.From):], w.next.keys, RowBytes(c, p.Width), rows, n, wide)
		return
	}
	if w.rawKey != rawKey(v.Plane, head) && (rows <= fewRows || p.Codec == CodecF32) {
		c, tile := span.tile(p, head, r)
		size := RowBytes(c, p.Width)
		switch from := tile[RowBytes(c, v.From):]; {
		case c <= CodecBF16:
			if pvRowsFast(c, o, ldo, s, TileRows, from, w.next.keys, size, rows, n, wide) {
				return
			}
		case v.From%RowBlock == 0 && !c.Columns():
			if pvBlocksFast(c, o, ldo, s, from, size, rows, n, wide) {
				return
			}
		}
	}
	x, ld := w.rows(a, span, v, head, r, n)
	accumulatePV(o, ldo, s, TileRows, x, ld, rows, n, wide)
}

// weights expands the factors of a slice into panels.
func (w *tileScratch) weights(a *Attention, span *Span, s Slice, r, n int) {
	p := &a.Planes[s.By]
	w.weight = grow(w.weight, TileRows*p.Width)
	if p.Order == Panels {
		c, tile := span.tile(p, 0, r)
		w.columns.panels(c, w.weight, tile, p.Width)
		return
	}
	x, ld := w.rows(a, span, Slice{Plane: s.By, To: p.Width}, 0, r, n)
	toPanels(w.weight, x, ld, n, p.Width)
}

// weigh multiplies the item's rows of x by factor b of their heads into dst.
func (w *tileScratch) weigh(dst, x []float32, a *Attention, it *attendItem, s Slice, b int, add bool) {
	first := (it.group*a.PerGroup+it.head0)*s.Rank + b
	for i := 0; i < it.n; i++ {
		at := i * it.heads * TileRows
		weigh(dst[at:], x[at:], w.weight, first, s.Rank, a.Planes[s.By].Width, it.heads, add)
	}
}

// rows returns columns [From, To) of rows r .. r+n of one head in f32 and the distance between rows.
func (w *tileScratch) rows(a *Attention, span *Span, s Slice, head, r, n int) ([]float32, int) {
	p := &a.Planes[s.Plane]
	if key := rawKey(s.Plane, head); w.rawKey != key {
		w.raw = grow(w.raw, TileRows*p.Width)
		c, tile := span.tile(p, head, r)
		w.columns.rows(c, w.raw, tile, n, p.Width)
		w.rawKey = key
	}
	return w.raw[s.From:], p.Width
}

// lookahead is the next tile's keys and values: the kernels ask for them while they work on a tile, and what those leave is asked for between them. A core waits for some
// 16 lines of memory at a time and stalls at one more, so that asking for a tile at once (ahead) costs a third of the time that deep contexts take.
type lookahead struct {
	keys, values []byte
}

// asksInside reports whether both kernels that a tile of few rows needs ask for the next one.
func (a *Attention) asksInside() bool {
	if len(a.Keys) != 1 || len(a.Values) != 1 || a.Expand != nil {
		return false
	}
	k, v := a.Keys[0], a.Values[0]
	if k.Rank > 0 || v.Rank > 0 || k.Own || v.Own || k.Plane == v.Plane || a.Planes[k.Plane].Order != Panels {
		return false
	}
	return (a.Planes[k.Plane].Codec <= CodecBF16 || a.int8Keys() || a.int8Columns()) && (a.Planes[v.Plane].Codec <= CodecBF16 && (v.To-v.From)%16 == 0 || a.int8Values(v))
}

// tile is the bytes of the tile at row r of the plane of a slice that all heads of the item read.
func (a *Attention) tile(span *Span, it *attendItem, s Slice, r int) []byte {
	_, x := span.tile(&a.Planes[s.Plane], headOf(s, it.group), r)
	return x
}

// ahead asks for the tile at row r of the planes of some slices.
func (a *Attention) ahead(span *Span, it *attendItem, slices []Slice, r int) {
	tile := func(plane, head int) {
		_, x := span.tile(&a.Planes[plane], head, r)
		prefetchBytes(x)
	}
	for _, s := range slices {
		if s.Own {
			for h := range it.heads {
				tile(s.Plane, it.head0+h)
			}
			continue
		}
		if s.Rank == 0 {
			tile(s.Plane, headOf(s, it.group))
			continue
		}
		tile(s.By, 0)
		for b := 0; b < s.Rank; b++ {
			tile(s.Plane, b)
		}
	}
}

func rawKey(plane, head int) int { return plane<<16 | head }
