package kernel

// Flash: causal attention of a training step and its gradients, in float32, over rows that may hold several documents.
//
//	s_ij = cap(Scale q_i·k_j) + b_j     cap(x) = Softcap tanh(x / Softcap), or x
//	p_ij = e^(s_ij - lse_i)             lse_i = log(sum_j e^s_ij + e^sink)
//	o_i  = sum_j p_ij v_j
//
// over the keys j that row i may see: Starts[i] <= j <= i, the last Window of those, and not Private ones but i itself. The scores are never stored: the backward pass makes p again from lse (Dao et al.,
// FlashAttention, 2022; FlashAttention-2, 2023). Caches, pages and quantised keys belong to Attender.
//
// The grid. Keys are taken in chunks of flashKeys rows and queries in spans of flashSpan rows, both counted from the first row of their document; a unit of work is one head of one
// span. Inside it, chunks pass in ascending order, each packed once, with the tiles of rows of Gemm. Gradients of keys and values that several units share are summed chunk by chunk
// in the order of the units: a unit waits for its turn. So no result depends on the number of threads, and scratch depends on the widths alone.

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Flash describes attention of a training step over T rows: q [T, Heads*KeyDim], k [T, KVHeads*KeyDim], v [T, KVHeads*ValueDim], out [T, Heads*ValueDim], row after row;
// lse [Heads, T], kept from Forward for Backward, gives T. Query head h reads KV head h / (Heads/KVHeads).
type Flash struct {
	Heads, KVHeads   int
	KeyDim, ValueDim int
	Scale            float32
	Softcap          float32 // 0: none
	Window           int     // 0: all; else a row sees so many rows, its own included
	Starts           []int32 // [T] the first row of row i's document, and so the first that row i may see; nil: one document
	Private          []bool  // [T] rows that no later row sees; nil: none

	// Values from one row to the next; 0: as many as a row has. A gradient has the stride of its tensor.
	QStride, KStride, VStride, OutStride int

	Sinks, SinksGrad []float32 // [Heads] a logit more per head, whose value is zero, and where Backward adds its gradient; nil: none, not wanted
	Bias, BiasGrad   []float32 // [T, KVHeads] or [T, Heads] added to the scores of a key, and where Backward adds its gradient; nil: none, not wanted
}

// Forward writes out and lse.
func (f *Flash) Forward(pool *Pool, out, lse, q, k, v []float32) {
	j := takeFlashJob(f, pool, lse)
	j.out, j.q, j.k, j.v = out, q, k, v
	j.run(pool, j.forward)
	j.done()
}

// Backward adds the gradients of q, k and v to dq, dk and dv (and those of sinks and bias, where wanted), given dout and what Forward wrote.
func (f *Flash) Backward(pool *Pool, dq, dk, dv []float32, dout, out, lse, q, k, v []float32) {
	j := takeFlashJob(f, pool, lse)
	j.out, j.q, j.k, j.v = out, q, k, v
	j.dq, j.dk, j.dv, j.dout = dq, dk, dv, dout
	j.makeTurns()
	j.run(pool, j.backward)
	for i := range j.sinks {
		j.SinksGrad[i/len(j.spans)] -= j.sinks[i]
	}
	j.done()
}

const (
	flashKeys = 256            // keys of a chunk
	flashLd   = flashKeys + 16 // from one row of scores to the next: a cache line more, so that rows do not push each other out
	flashSpan = 512            // queries of a unit
	flashTile = 14             // most rows of a tile of Gemm
	flashRows = 4 * flashTile  // queries at once in Backward
)

// flashJob is one call, its defaults filled in, and its scratch, which later calls use again.
type flashJob struct {
	Flash
	t     int
	group int // query heads per KV head
	bias  int // heads of Bias

	out, lse, q, k, v, dq, dk, dv, dout []float32

	spans     []flashUnit
	documents []int // the number of their first span
	workers   []*flashScratch
	turns     []atomic.Int32 // [KVHeads][T/flashKeys and one more a document] units that have added their part of a chunk
	sinks     []float32      // [Heads][span] what a unit adds to the gradient of a sink

	work, forward, backward func(h, span, worker int) // of a unit; work is the one in progress
	groups, units           func(part, worker int)
}

// flashUnit is rows [from, to) of a document: its rows are [first, last), it has count spans, numbered from base, and its chunks are numbered from chunk.
type flashUnit struct {
	from, to    int
	first, last int
	base, count int
	chunk       int
}

// flashScratch is what a worker needs; panels are [width/16][flashKeys or flashRows][16].
type flashScratch struct {
	kT, vT         []float32 // keys and values of a chunk, transposed: [flashKeys/16][width][16]
	k, v           []float32 // and as they lie
	q, do          []float32 // a block of queries
	s, ds, slope   []float32 // [flashRows][flashLd]
	dk, dv         []float32 // [flashKeys][width]
	bias, dbias    []float32 // [flashKeys]
	top, sum, prod []float32 // [flashSpan]
	edge           gemmEdge
}

var flashJobs struct {
	sync.Mutex
	free []*flashJob
}

func takeFlashJob(f *Flash, pool *Pool, lse []float32) *flashJob {
	g := &flashJobs
	g.Lock()
	var j *flashJob
	if n := len(g.free); n > 0 {
		j, g.free = g.free[n-1], g.free[:n-1]
	}
	g.Unlock()
	if j == nil {
		j = new(flashJob)
		j.forward, j.backward, j.groups, j.units = j.forwardUnit, j.backwardUnit, j.groupPart, j.unitPart
	}
	j.Flash, j.t, j.group, j.lse = *f, len(lse)/f.Heads, f.Heads/f.KVHeads, lse
	for _, s := range []struct {
		stride *int
		row    int
	}{{&j.QStride, f.Heads * f.KeyDim}, {&j.KStride, f.KVHeads * f.KeyDim}, {&j.VStride, f.KVHeads * f.ValueDim}, {&j.OutStride, f.Heads * f.ValueDim}} {
		if *s.stride == 0 {
			*s.stride = s.row
		}
	}
	j.bias = 0
	if len(f.Bias) > 0 && j.t > 0 {
		j.bias = len(f.Bias) / j.t
		if j.bias != f.KVHeads && j.bias != f.Heads {
			panic("kernel: the bias of Flash is neither one of each KV head nor one of each head")
		}
	}
	j.makeSpans()
	for len(j.workers) < pool.Threads() {
		j.workers = append(j.workers, new(flashScratch))
	}
	for _, w := range j.workers[:pool.Threads()] {
		w.fit(roundUp(f.KeyDim, PanelRows), roundUp(f.ValueDim, PanelRows))
	}
	return j
}

func (j *flashJob) done() {
	j.Flash = Flash{}
	j.out, j.lse, j.q, j.k, j.v, j.dq, j.dk, j.dv, j.dout = nil, nil, nil, nil, nil, nil, nil, nil, nil
	flashJobs.Lock()
	flashJobs.free = append(flashJobs.free, j)
	flashJobs.Unlock()
}

// fit makes room for heads of these widths.
func (w *flashScratch) fit(key, value int) {
	if w.s == nil {
		rows := scratch(3*flashRows*flashLd + 2*flashKeys + 3*flashSpan)
		for _, x := range []struct {
			to *[]float32
			n  int
		}{{&w.s, flashRows * flashLd}, {&w.ds, flashRows * flashLd}, {&w.slope, flashRows * flashLd}, {&w.bias, flashKeys}, {&w.dbias, flashKeys},
			{&w.top, flashSpan}, {&w.sum, flashSpan}, {&w.prod, flashSpan}} {
			*x.to, rows = rows[:x.n], rows[x.n:]
		}
	}
	if len(w.k) < flashKeys*key {
		m := scratch((3*flashKeys + flashRows) * key)
		w.k, w.kT, w.dk, w.q = m[:flashKeys*key], m[flashKeys*key:][:flashKeys*key], m[2*flashKeys*key:][:flashKeys*key], m[3*flashKeys*key:]
	}
	if len(w.v) < flashKeys*value {
		m := scratch((3*flashKeys + flashRows) * value)
		w.v, w.vT, w.dv, w.do = m[:flashKeys*value], m[flashKeys*value:][:flashKeys*value], m[2*flashKeys*value:][:flashKeys*value], m[3*flashKeys*value:]
	}
}

// makeSpans cuts every document into spans.
func (j *flashJob) makeSpans() {
	j.spans, j.documents = j.spans[:0], j.documents[:0]
	chunk := 0
	for first := 0; first < j.t; {
		last := first + 1
		if j.Starts == nil {
			last = j.t
		} else {
			if int(j.Starts[first]) != first {
				panic("kernel: Starts of Flash: a document does not begin where it says")
			}
			for last < j.t && j.Starts[last] == j.Starts[first] {
				last++
			}
		}
		j.documents = append(j.documents, len(j.spans))
		base, count := len(j.spans), (last-first+flashSpan-1)/flashSpan
		for from := first; from < last; from += flashSpan {
			j.spans = append(j.spans, flashUnit{from, min(from+flashSpan, last), first, last, base, count, chunk})
		}
		chunk += (last - first + flashKeys - 1) / flashKeys
		first = last
	}
}

// makeTurns makes the counters of a Backward, and room for its parts of the gradient of the sinks.
func (j *flashJob) makeTurns() {
	chunks := 0
	if n := len(j.spans); n > 0 {
		u := j.spans[n-1]
		chunks = u.chunk + (u.last-u.first+flashKeys-1)/flashKeys
	}
	if n := chunks * j.KVHeads; len(j.turns) < n {
		j.turns = make([]atomic.Int32, n)
	}
	for i := range j.turns {
		j.turns[i].Store(0)
	}
	j.sinks = j.sinks[:0]
	if j.Sinks != nil && j.SinksGrad != nil {
		for range len(j.spans) * j.Heads {
			j.sinks = append(j.sinks, 0)
		}
	}
}

// run works on all units. Where there is enough for every thread, a part is all units that share keys, one after the other: none waits, and keys stay in the cache.
func (j *flashJob) run(pool *Pool, unit func(h, span, worker int)) {
	j.work = unit
	if groups := len(j.documents) * j.KVHeads; groups >= 4*pool.Threads() {
		pool.Run(groups, j.groups)
		return
	}
	pool.Run(len(j.spans)*j.Heads, j.units)
}

func (j *flashJob) groupPart(part, worker int) {
	base, g := j.documents[part/j.KVHeads], part%j.KVHeads
	for h := g * j.group; h < (g+1)*j.group; h++ {
		for span := base; span < base+j.spans[base].count; span++ {
			j.work(h, span, worker)
		}
	}
}

// unitPart takes documents in order, whose rows then stay in the cache, and heads in order: a unit waits for earlier ones only.
func (j *flashJob) unitPart(part, worker int) {
	u := &j.spans[part/j.Heads]
	part -= u.base * j.Heads
	j.work(part/u.count, u.base+part%u.count, worker)
}

// low is the first row that row i sees, given its document.
func (j *flashJob) low(u *flashUnit, i int) int {
	if j.Window > 0 {
		return max(u.first, i-j.Window+1)
	}
	return u.first
}

// chunks calls f for the chunks of keys that rows of u see, in ascending order: rows [from, to), the n-th of the document.
func (j *flashJob) chunks(u *flashUnit, f func(from, to, n int)) {
	for n := (j.low(u, u.from) - u.first) / flashKeys; u.first+n*flashKeys < u.to; n++ {
		from := u.first + n*flashKeys
		f(from, min(from+flashKeys, u.to), n)
	}
}

// rowsOf is the rows of u that see keys [from, to).
func (j *flashJob) rowsOf(u *flashUnit, from, to int) (first, last int) {
	first, last = max(u.from, from), u.to
	if j.Window > 0 {
		last = min(last, to-1+j.Window)
	}
	return first, last
}

// packChunk packs keys [from, to) of head h: transposed to meet queries, as they lie to be mixed.
func packChunk(transposed, plain, x []float32, stride, at, width, from, to int) {
	x = x[from*stride+at:]
	if transposed != nil {
		packTransposed(transposed, x, stride, width, to-from)
	}
	if plain != nil {
		packCopy(plain, flashKeys*PanelRows, x, stride, to-from, width, PanelRows)
	}
}

// takeBias gathers what is added to the scores of keys [from, to).
func (j *flashJob) takeBias(w *flashScratch, h, from, to int) {
	if j.bias > 0 {
		for i := from; i < to; i++ {
			w.bias[i-from] = j.Bias[i*j.bias+h*j.bias/j.Heads]
		}
	}
}

// fastScores: scale is all that scores need.
func (j *flashJob) fastScores() bool { return j.Softcap == 0 && j.bias == 0 }

// finishScores scales, caps and shifts scores of keys [from, to) of a chunk. slope, where wanted, becomes the derivative by the product of query and key.
func (j *flashJob) finishScores(w *flashScratch, s, slope []float32, from, to int) {
	s = s[from:to]
	Scale(s, j.Scale)
	if j.Softcap > 0 {
		Softcap(s, j.Softcap)
	}
	if slope != nil {
		slope = slope[from:to]
		inv := float32(0)
		if j.Softcap > 0 {
			inv = 1 / j.Softcap
		}
		for i, x := range s {
			x *= inv
			slope[i] = (1 - float32(x*x)) * j.Scale
		}
	}
	if j.bias > 0 {
		Add(s, w.bias[from:to])
	}
}

// hidden is the score of a key that a row does not see: no score is as low, and -Inf alone would leave a chunk of such keys without a maximum.
const hidden = -1e30

// hide takes the private rows among keys [a, b) of the chunk that begins at row from out of the scores of row i.
func (j *flashJob) hide(s []float32, i, from, a, b int) {
	if j.Private == nil {
		return
	}
	for x, private := range j.Private[from+a : from+b] {
		if private && from+a+x != i {
			s[a+x] = hidden
		}
	}
}

func (j *flashJob) forwardUnit(h, span, worker int) {
	u := j.spans[span]
	w, g, tile := j.workers[worker], h/j.group, flashTileRows()
	top, sum := w.top[:u.to-u.from], w.sum[:u.to-u.from]
	for i := range top {
		top[i], sum[i] = negInf, 0
		if j.Sinks != nil {
			top[i], sum[i] = j.Sinks[h], 1
		}
		clear(j.out[(u.from+i)*j.OutStride+h*j.ValueDim:][:j.ValueDim])
	}
	fast, scale := j.fastScores(), j.Scale
	if !fast {
		scale = 1
	}
	j.chunks(&u, func(from, to, _ int) {
		packChunk(w.kT, nil, j.k, j.KStride, g*j.KeyDim, j.KeyDim, from, to)
		packChunk(nil, w.v, j.v, j.VStride, g*j.ValueDim, j.ValueDim, from, to)
		j.takeBias(w, h, from, to)
		first, last := j.rowsOf(&u, from, to)
		for i, rows := first, 0; i < last; i += rows {
			rows = evenTile(last-i, tile)
			// Keys [low, high) of the chunk are what the tile's rows see, to whole panels.
			low, high := max(j.low(&u, i)-from, 0)&^(PanelRows-1), roundUp(min(i+rows, to)-from, PanelRows)
			mulTiles(w.s[low:], flashLd, j.q[i*j.QStride+h*j.KeyDim:], j.QStride, 1, w.kT[low*j.KeyDim:], j.KeyDim*PanelRows, PanelRows, rows, high-low, j.KeyDim, false, &w.edge)
			for r := range rows {
				i := i + r
				s := w.s[r*flashLd:][low:high]
				a, b := max(j.low(&u, i)-from, 0), min(i+1, to)-from
				if a >= b {
					clear(s)
					continue
				}
				if !fast {
					j.finishScores(w, w.s[r*flashLd:], nil, a, b)
				}
				j.hide(w.s[r*flashLd:], i, from, a, b)
				old := top[i-u.from]
				now, add := flashRow(s, a-low, b-low, scale, old)
				if old != negInf && now != old {
					f := expf(old - now)
					sum[i-u.from] *= f
					Scale(j.out[i*j.OutStride+h*j.ValueDim:][:j.ValueDim], f)
				}
				top[i-u.from], sum[i-u.from] = now, sum[i-u.from]+add
			}
			mulTiles(j.out[i*j.OutStride+h*j.ValueDim:], j.OutStride, w.s[low:], flashLd, 1, w.v[low*PanelRows:], flashKeys*PanelRows, PanelRows, rows, j.ValueDim, high-low, true, &w.edge)
		}
	})
	for i := u.from; i < u.to; i++ {
		s := sum[i-u.from]
		Scale(j.out[i*j.OutStride+h*j.ValueDim:][:j.ValueDim], 1/s)
		j.lse[h*j.t+i] = top[i-u.from] + float32(math.Log(float64(s)))
	}
}

func (j *flashJob) backwardUnit(h, span, worker int) {
	u := j.spans[span]
	w, g, tile := j.workers[worker], h/j.group, flashTileRows()
	lse := j.lse[h*j.t:]
	prod := w.prod[:u.to-u.from] // dout·out
	for i := u.from; i < u.to; i++ {
		at := i*j.OutStride + h*j.ValueDim
		prod[i-u.from] = flashDot(j.dout[at:][:j.ValueDim], j.out[at:])
	}
	if len(j.sinks) > 0 {
		sum := 0.0
		for i := u.from; i < u.to; i++ {
			sum += float64(expf(j.Sinks[h]-lse[i])) * float64(prod[i-u.from])
		}
		j.sinks[h*len(j.spans)+span] = float32(sum)
	}
	fast, scale, times := j.fastScores(), j.Scale, j.Scale
	if !fast {
		scale, times = 1, 1
	}
	kw, vw := roundUp(j.KeyDim, PanelRows), roundUp(j.ValueDim, PanelRows)
	j.chunks(&u, func(from, to, n int) {
		packChunk(w.kT, w.k, j.k, j.KStride, g*j.KeyDim, j.KeyDim, from, to)
		packChunk(w.vT, nil, j.v, j.VStride, g*j.ValueDim, j.ValueDim, from, to)
		j.takeBias(w, h, from, to)
		clear(w.dk[:(to-from)*kw])
		clear(w.dv[:(to-from)*vw])
		clear(w.dbias)
		first, last := j.rowsOf(&u, from, to)
		for i0, i1 := first, 0; i0 < last; i0 = i1 {
			i1 = i0 + evenTile(last-i0, 4*tile)
			packCopy(w.q, flashRows*PanelRows, j.q[i0*j.QStride+h*j.KeyDim:], j.QStride, i1-i0, j.KeyDim, PanelRows)
			packCopy(w.do, flashRows*PanelRows, j.dout[i0*j.OutStride+h*j.ValueDim:], j.OutStride, i1-i0, j.ValueDim, PanelRows)
			low0, high0 := max(j.low(&u, i0)-from, 0)&^(PanelRows-1), roundUp(min(i1, to)-from, PanelRows)
			for i, rows := i0, 0; i < i1; i += rows {
				rows = evenTile(i1-i, tile)
				low, high := max(j.low(&u, i)-from, 0)&^(PanelRows-1), roundUp(min(i+rows, to)-from, PanelRows)
				s, ds := w.s[(i-i0)*flashLd:], w.ds[(i-i0)*flashLd:]
				mulTiles(s[low:], flashLd, j.q[i*j.QStride+h*j.KeyDim:], j.QStride, 1, w.kT[low*j.KeyDim:], j.KeyDim*PanelRows, PanelRows, rows, high-low, j.KeyDim, false, &w.edge)
				mulTiles(ds[low:], flashLd, j.dout[i*j.OutStride+h*j.ValueDim:], j.OutStride, 1, w.vT[low*j.ValueDim:], j.ValueDim*PanelRows, PanelRows, rows, high-low, j.ValueDim, false, &w.edge)
				for r := range rows {
					i := i + r
					s, ds := s[r*flashLd:], ds[r*flashLd:]
					a, b := max(j.low(&u, i)-from, 0), min(i+1, to)-from
					if a >= b {
						clear(s[low0:high0])
						clear(ds[low0:high0])
						continue
					}
					slope := w.slope[r*flashLd:]
					if !fast {
						j.finishScores(w, s, slope, a, b)
					}
					j.hide(s, i, from, a, b)
					flashGrad(s[low0:high0], ds[low0:high0], a-low0, b-low0, scale, lse[i], prod[i-u.from], times)
					if !fast {
						Add(w.dbias[a:b], ds[a:b])
						MulInto(ds[a:b], slope[a:b])
					}
				}
				mulTiles(j.dq[i*j.QStride+h*j.KeyDim:], j.QStride, ds[low:], flashLd, 1, w.k[low*PanelRows:], flashKeys*PanelRows, PanelRows, rows, j.KeyDim, high-low, true, &w.edge)
			}
			// dv += pᵀ dout, dk += dsᵀ q: tiles of keys; the queries before a key do not see it.
			end := min(i1, to) - from
			for key, keys := low0, 0; key < end; key += keys {
				keys = evenTile(end-key, tile)
				p := max(from+key-i0, 0)
				at := p*flashLd + key
				mulTiles(w.dv[key*vw:], vw, w.s[at:], 1, flashLd, w.do[p*PanelRows:], flashRows*PanelRows, PanelRows, keys, vw, i1-i0-p, true, &w.edge)
				mulTiles(w.dk[key*kw:], kw, w.ds[at:], 1, flashLd, w.q[p*PanelRows:], flashRows*PanelRows, PanelRows, keys, kw, i1-i0-p, true, &w.edge)
			}
		}
		j.addChunk(w, &u, h, from, to, n)
	})
}

// addChunk adds a unit's part of the gradients of keys [from, to), the n-th chunk of the document, when the units before it have: heads in turn, and the spans of a head.
func (j *flashJob) addChunk(w *flashScratch, u *flashUnit, h, from, to, n int) {
	g := h / j.group
	whole := flashUnit{from: u.first, to: u.last, first: u.first, last: u.last}
	end := min(u.first+(n+1)*flashKeys, u.last)
	_, last := j.rowsOf(&whole, from, end)
	before := n * flashKeys / flashSpan // spans of rows before these keys
	spans := (last-u.first-1)/flashSpan - before + 1
	order := h%j.group*spans + (u.from-u.first)/flashSpan - before
	turn := &j.turns[(u.chunk+n)*j.KVHeads+g]
	for n := 0; turn.Load() != int32(order); n++ {
		if n < 1000 {
			runtime.Gosched()
		} else {
			time.Sleep(50 * time.Microsecond) // whoever comes before was put aside
		}
	}
	kw, vw := roundUp(j.KeyDim, PanelRows), roundUp(j.ValueDim, PanelRows)
	for i := from; i < to; i++ {
		Add(j.dk[i*j.KStride+g*j.KeyDim:][:j.KeyDim], w.dk[(i-from)*kw:])
		Add(j.dv[i*j.VStride+g*j.ValueDim:][:j.ValueDim], w.dv[(i-from)*vw:])
	}
	if j.bias > 0 && j.BiasGrad != nil {
		for i := from; i < to; i++ {
			j.BiasGrad[i*j.bias+h*j.bias/j.Heads] += w.dbias[i-from]
		}
	}
	turn.Add(1)
}

// flashTileRows is the rows of a tile at the level in use.
func flashTileRows() int { return min(max(gemmTileRows(), 4), flashTile) }

// flashRow turns the scores [from, to) of a row into exponentials: newTop = max(top, scale x[i]), x[i] = e^(scale x[i] - newTop), and their sum. The rest of x becomes zero. len(x) is
// a multiple of 16; not all of the scores and top are -Inf.
func flashRow(x []float32, from, to int, scale, top float32) (newTop, sum float32) {
	_ = x[from:to]
	switch vecLevel {
	case vecAVX512, vecAVX2:
		return flashRowFast(x, from, to, scale, top)
	}
	best := negInf
	for _, s := range x[from:to] {
		best = max(best, s)
	}
	newTop = max(top, best*scale)
	for i, s := range x[from:to] {
		e := expf(float32(s*scale) - newTop)
		x[from+i] = e
		sum += e
	}
	clear(x[:from])
	clear(x[to:])
	return newTop, sum
}

// flashGrad turns scores and dp into probabilities and gradients of scores, over [from, to): p[i] = e^(scale p[i] - lse), dp[i] = p[i] (dp[i] - delta) times. The rest becomes zero.
// len(p) is a multiple of 16.
func flashGrad(p, dp []float32, from, to int, scale, lse, delta, times float32) {
	_, _ = p[from:to], dp[:len(p)]
	switch vecLevel {
	case vecAVX512, vecAVX2:
		flashGradFast(p, dp, from, to, scale, lse, delta, times)
		return
	}
	for i := range p {
		if i < from || i >= to {
			p[i], dp[i] = 0, 0
			continue
		}
		p[i] = expf(float32(p[i]*scale) - lse)
		dp[i] = float32(p[i]*times) * (dp[i] - delta)
	}
}

// flashDot is the sum of x[i] y[i].
func flashDot(x, y []float32) float32 {
	y = y[:len(x)]
	switch vecLevel {
	case vecAVX512, vecAVX2:
		return flashDotFast(x, y)
	}
	return Dot(x, y)
}
