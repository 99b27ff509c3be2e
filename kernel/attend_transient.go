package kernel

// Transient rows: rows that a step brings along and the lane does not keep, as drafts of the next tokens that form a tree, or rows that are not finished. They lie in a page of their own, of
// the lane's planes, and who sees which is told query by query. A query folds them in one tile after all of the lane's.

// Transient is at most TileRows rows in the arena of their span. Rows that are rebuilt (Attention.Expand) cannot be transient.
type Transient struct {
	Page      uint32 // in units of PageUnit
	Stage     uint32 // likewise; of planes whose codecs are of columns alone, whose rows lie there in the staging codec
	Rows      int
	Sees      []uint64 // [N] bit j: the query sees row j
	Positions []int32  // [Rows], where keys are rotated on reading
}

// lane is the transient rows of a span as a lane of one page.
func (x *Transient) lane(dst, s *Span) {
	pages := append(dst.Pages[:0], x.Page)
	*dst = Span{Arena: s.Arena, Pages: pages, PageBytes: s.PageBytes, Rows: x.Rows, Q0: s.Q0, N: s.N, Stage: x.Stage, aside: x}
}

// addTransient folds the transient rows of the item's span into its total. The item's queries are loaded.
func (t *Attender) addTransient(w *tileScratch, it *attendItem, total *partial) {
	s := &t.spans[it.span]
	if s.Transient == nil || s.Transient.Rows == 0 {
		return
	}
	vw := t.a.ValueWidth()
	s.Transient.lane(&w.aside, s)
	w.part.reset(it.n*it.heads, vw)
	w.attendTile(t.a, &w.aside, it, 0, s.Transient.Rows, false, &w.part)
	total.merge(&w.part, vw)
}

func (w *tileScratch) maskTransient(x *Transient, it *attendItem) {
	for i := range it.n * it.heads {
		s, sees := w.s[i*TileRows:][:TileRows], x.Sees[it.from+i/it.heads]
		for j := range s {
			if j >= x.Rows || sees>>j&1 == 0 {
				s[j] = negInf
			}
		}
	}
}

// rotateRows is rotateTile of rows at positions that need not follow each other.
func (r *Rotation) rotateRows(panel, x []float32, ld int, positions []int32, width int) {
	toPanels(panel, x, ld, len(positions), width)
	var c, s [rotateBatch]float32
	for from := 0; from < len(r.freq); from += rotateBatch {
		pairs := min(rotateBatch, len(r.freq)-from)
		a, b, step := r.columns(from)
		for j, p := range positions {
			at := int(p) % TileRows
			r.base(c[:pairs], s[:pairs], int(p)-at, from)
			for i := range pairs {
				rotateOne(panel, j, a+i*step, b+i*step, width, c[i], s[i], r.cos[(from+i)*TileRows+at], r.sin[(from+i)*TileRows+at])
			}
		}
	}
}
