package kernel

// What a query sees of a lane, and what is added to the scores of what it sees.
//
// Every mask by position is a range of rows for each query: causal [0, own], strict [0, own), a window [own+1-Window, own], a document [its first, own], a span whose rows see each other
// [0, its last]. Rows that are no line but a tree, of drafts, are transient (attend_transient.go).

// Range is rows [From, To).
type Range struct{ From, To int }

// sees is the rows of the lane that query i of a span sees; from >= to: none.
func (a *Attention) sees(s *Span, i int) (from, to int) {
	own := s.Rows - s.N + i
	switch {
	case s.Sees != nil:
		from, to = max(0, s.Sees[i].From), min(s.Sees[i].To, s.Rows)
	case s.Transient != nil:
		to = s.Rows
	default:
		to = own + 1
	}
	if a.Window > 0 {
		from = max(from, own+1-a.Window)
	}
	return from, to
}

// seen is the smallest range that holds what queries [from, from+n) of a span see.
func (a *Attention) seen(s *Span, from, n int) (lo, hi int) {
	lo = s.Rows
	for i := from; i < from+n; i++ {
		if f, t := a.sees(s, i); f < t {
			lo, hi = min(lo, f), max(hi, t)
		}
	}
	return min(lo, hi), hi
}

// mask sets the scores of the tile at row r that a query must not see to -Inf.
func (w *tileScratch) mask(a *Attention, span *Span, it *attendItem, r int) {
	if span.aside != nil {
		w.maskTransient(span.aside, it)
		return
	}
	for i := range it.n {
		from, to := a.sees(span, it.from+i)
		from, to = min(max(from-r, 0), TileRows), min(max(to-r, 0), TileRows)
		if from == 0 && to == TileRows {
			continue
		}
		for h := range it.heads {
			s := w.s[(i*it.heads+h)*TileRows:][:TileRows]
			for j := range s {
				if j < from || j >= to {
					s[j] = negInf
				}
			}
		}
	}
}

// takeBias fetches what rows r .. r+n add to their scores: before their keys, as one expanded plane is held at a time.
func (w *tileScratch) takeBias(a *Attention, span *Span, it *attendItem, r, n int) {
	if a.Bias == nil {
		return
	}
	x, ld := w.rows(a, span, *a.Bias, headOf(*a.Bias, it.group), r, n)
	w.bias = grow(w.bias, TileRows)
	clear(w.bias)
	for j := range n {
		w.bias[j] = x[j*ld]
	}
}

// addBias adds it to the scores of so many queries.
func (w *tileScratch) addBias(a *Attention, rows int) {
	for i := range rows {
		if a.Bias != nil {
			Add(w.s[i*TileRows:][:TileRows], w.bias)
		}
	}
}
