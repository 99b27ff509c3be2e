package kernel

// The second pass: how much probability queries gave each row, which is what policies that evict or merge rows rank them by. The first pass never holds a row's probabilities; this one makes
// the scores again, by the same arithmetic, and turns them into probabilities by the logarithms that RunPart left.

// Votes is, of each KV head and row of one span's lane [Groups, Rows], the sum and the largest of the probabilities that the span's queries and their heads gave it; 0 where none sees it.
type Votes struct{ Sum, Max []float32 }

// voter is a call of Votes in progress.
type voter struct {
	of    []Votes
	items []attendItem // of each span and group: one, whose chunks are its parts
	base  []int        // the number of each item's first part
	run   func(part, worker int)
}

// Votes fills votes, one for each span, from queries q and what RunPart wrote of them as lse. A row's votes are summed in the order of its queries, however many threads there are. Rows that are
// rebuilt (Attention.Expand) and transient rows get none.
func (t *Attender) Votes(a *Attention, votes []Votes, lse, q []float32, spans []Span) {
	t.a, t.lse, t.q, t.spans = a, lse, q, spans
	v := &t.votes
	v.of, v.items, v.base = votes, v.items[:0], v.base[:0]
	if v.run == nil {
		v.run = t.runVotes
	}
	parts := 0
	for i := range spans {
		clear(votes[i].Sum)
		clear(votes[i].Max)
		lo, hi := a.seen(&spans[i], 0, spans[i].N)
		for g := 0; g < a.Groups && a.Expand == nil; g++ {
			v.items, v.base = append(v.items, attendItem{span: i, group: g, n: spans[i].N, lo: lo, hi: hi}), append(v.base, parts)
			parts += chunksOf(hi) - lo/ChunkRows
		}
	}
	t.pool.Run(parts, v.run)
	v.of = nil
	t.a, t.lse, t.q, t.spans = nil, nil, nil, nil
}

// runVotes takes one chunk of rows of one group past all queries.
func (t *Attender) runVotes(part, worker int) {
	v, w, a := &t.votes, t.workers[worker], t.a
	i := len(v.base) - 1
	for v.base[i] > part {
		i--
	}
	all := v.items[i]
	s := &t.spans[all.span]
	heads, tokens := a.block(s.N)
	c := all.first() + part - v.base[i]
	for from := 0; from < s.N; from += tokens {
		it := attendItem{span: all.span, group: all.group, from: from, n: min(tokens, s.N-from)}
		it.lo, it.hi = a.seen(s, it.from, it.n)
		for it.head0 = 0; it.head0 < a.PerGroup; it.head0 += heads {
			it.heads = min(heads, a.PerGroup-it.head0)
			w.load(t, &it)
			for r := max(c*ChunkRows, it.lo/TileRows*TileRows); r < min((c+1)*ChunkRows, it.hi); r += TileRows {
				w.vote(t, &it, r, min(TileRows, it.hi-r))
			}
		}
	}
}

// vote adds the probabilities of rows r .. r+n.
func (w *tileScratch) vote(t *Attender, it *attendItem, r, n int) {
	a, s := t.a, &t.spans[it.span]
	rows := it.n * it.heads
	w.rawKey, w.next = -1, lookahead{}
	w.scores(a, s, it, r, n, false)
	w.lse, w.sum = grow(w.lse, rows), grow(w.sum, rows)
	for i := range rows {
		w.lse[i] = t.lse[(s.Q0+it.from+i/it.heads)*a.Groups*a.PerGroup+it.group*a.PerGroup+it.head0+i%it.heads]
	}
	softmaxTile(w.s, rows, w.lse, w.sum, w.alpha) // the logarithm of a sum is above each score: it stays the maximum
	at := it.group*s.Rows + r
	sum, most := t.votes.of[it.span].Sum[at:][:n], t.votes.of[it.span].Max[at:][:n]
	for i := range rows {
		for j, p := range w.s[i*TileRows:][:n] {
			sum[j] += p
			most[j] = max(most[j], p)
		}
	}
}
