package kernel

// Gemm: products of dense float32 matrices, as training needs them: y = x Wᵀ, dx = dy W, dW += dyᵀ x.
//
// An element of C is one chain over ascending k, starting from zero or, where the product is added, from what C holds; only m and n are shared out. So the result depends neither on
// the number of threads nor on the tiles. Weights that stay as they are belong to Matrix, which is packed once; here everything may have changed since the last call.
//
// The walk (after Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008): k and n are cut so that a block of B, packed in panels of 16 columns, stays in the
// second-level cache; parts of rows are shared out; a tile of rows of A stays in the first-level cache while all panels pass. A is read where it lies, but for its
// transpose, whose values of k would push each other out of the cache.

import (
	"sync"
	"unsafe"
)

// Dense is a float32 matrix in memory, row after row, Stride values apart. Transposed: read as its transpose.
type Dense struct {
	Data       []float32
	Stride     int
	Transposed bool
}

// Gemm computes C [m, n] = A [m, k] B [k, n], or C += A B where add is set. c is never transposed and overlaps neither a nor b. A nil pool works on the caller's goroutine.
// It panics, as indexing does, where a matrix is smaller than its shape.
func Gemm(pool *Pool, c, a, b Dense, m, n, k int, add bool) {
	gemm(pool, c, a, b, m, n, k, add, false)
}

// GemmSymmetric computes C [n, n] = A [n, k] B [k, n], of which the caller knows that it equals its transpose: B is Aᵀ, or both are symmetric and commute. What lies on and below the diagonal is computed, the rest copied from there,
// which takes little more than half of Gemm's time. Its bits are Gemm's where the two products of each term are the same two numbers, as in A Aᵀ and in the square of a matrix whose bits are symmetric.
func GemmSymmetric(pool *Pool, c, a, b Dense, n, k int) {
	gemm(pool, c, a, b, n, n, k, false, true)
}

// gemm with lower set leaves what lies above the diagonal to mirror.
func gemm(pool *Pool, c, a, b Dense, m, n, k int, add, lower bool) {
	if m <= 0 || n <= 0 {
		return
	}
	c.check(m, n)
	a.check(m, k)
	b.check(k, n)
	if vecLevel == vecPlain || k <= 0 {
		gemmPlain(c, a, b, m, n, max(k, 0), add)
		return
	}
	j := takeGemmJob()
	j.lower = lower
	j.run(pool, c, a, b, m, n, k, add)
	j.done()
	if lower {
		mirror(pool, c, n)
	}
}

// mirror copies what lies below the diagonal of c [n, n] to above it, in squares whose columns stay in the first-level cache.
func mirror(pool *Pool, c Dense, n int) {
	const side = 64
	pool.Run((n+side-1)/side, func(part, _ int) {
		from := part * side
		to := min(n, from+side)
		for i0 := from; i0 < n; i0 += side {
			for j := from; j < to; j++ {
				row := c.Data[j*c.Stride:][:n]
				for i := max(i0, j+1); i < min(n, i0+side); i++ {
					row[i] = c.Data[i*c.Stride+j]
				}
			}
		}
	})
}

// check panics unless d holds rows x columns.
func (d Dense) check(rows, columns int) {
	if d.Transposed {
		rows, columns = columns, rows
	}
	if rows > 0 && columns > 0 {
		_ = d.Data[(rows-1)*d.Stride+columns-1]
	}
}

// at is element (i, j) of the matrix as it is read.
func (d Dense) at(i, j int) float32 {
	if d.Transposed {
		i, j = j, i
	}
	return d.Data[i*d.Stride+j]
}

// gemmPlain is the reference: a rounded product and a rounded sum for each k.
func gemmPlain(c, a, b Dense, m, n, k int, add bool) {
	for i := range m {
		row := c.Data[i*c.Stride:][:n]
		if !add {
			clear(row)
		}
		for p := range k {
			x := a.at(i, p)
			if b.Transposed {
				for j := range row {
					row[j] += float32(x * b.Data[j*b.Stride+p])
				}
				continue
			}
			for j, y := range b.Data[p*b.Stride:][:n] {
				row[j] += float32(x * y)
			}
		}
	}
}

// Cuts of a product: what is packed of B holds gemmBlock values, values of k at once are at most gemmDepth, rows of a part at most gemmRows.
const (
	gemmBlock = 1 << 18
	gemmDepth = 512
	gemmRows  = 28 * 14
	gemmParts = 4 // parts for each thread, so that one that is put aside holds up little
)

// gemmEdge takes what a tile writes where a panel has fewer than 16 columns.
type gemmEdge [16 * 2 * PanelRows]float32

// gemmJob is one call of Gemm and its scratch, which later calls use again.
type gemmJob struct {
	c, a, b  Dense
	m, n, k  int
	panels   []float32   // of B: [panel][k][16]
	rows     [][]float32 // by worker: A packed
	edges    []gemmEdge  // by worker
	depth    int         // values of k at once
	width    int         // columns of B at once
	k0, n0   int         // the block that is being worked on
	kn, nn   int         // and its size
	tile     int         // rows of a tile
	partRows int
	partCols int
	colParts int
	onto     bool
	lower    bool // what lies above the diagonal is not asked for

	pack, multiply func(part, worker int)
}

var gemmJobs struct {
	sync.Mutex
	free []*gemmJob
}

func takeGemmJob() *gemmJob {
	g := &gemmJobs
	g.Lock()
	defer g.Unlock()
	if n := len(g.free); n > 0 {
		j := g.free[n-1]
		g.free = g.free[:n-1]
		return j
	}
	j := &gemmJob{panels: scratch(gemmBlock + gemmDepth*PanelRows)}
	j.pack, j.multiply = j.packPart, j.multiplyPart
	return j
}

func (j *gemmJob) done() {
	j.c, j.a, j.b = Dense{}, Dense{}, Dense{}
	gemmJobs.Lock()
	gemmJobs.free = append(gemmJobs.free, j)
	gemmJobs.Unlock()
}

// scratch is memory for n values that is kept for good, in huge pages where the system has them.
func scratch(n int) []float32 {
	m, err := Alloc(int64(4 * n))
	if err != nil {
		return make([]float32, n)
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&m.Bytes()[0])), n)
}

func (j *gemmJob) run(pool *Pool, c, a, b Dense, m, n, k int, add bool) {
	j.c, j.a, j.b, j.m, j.n, j.k = c, a, b, m, n, k
	j.tile = gemmTileRows()
	cuts := (k + gemmDepth - 1) / gemmDepth
	j.depth = roundUp((k+cuts-1)/cuts, PanelRows)
	j.width = min(gemmBlock/j.depth&^(2*PanelRows-1), roundUp(n, PanelRows))
	threads := pool.Threads()
	for len(j.edges) < threads {
		j.edges, j.rows = append(j.edges, gemmEdge{}), append(j.rows, nil)
	}
	if a.Transposed && j.rows[threads-1] == nil {
		for i := range j.rows {
			if j.rows[i] == nil {
				j.rows[i] = scratch((gemmRows + 12) / 12 * 16 * gemmDepth)
			}
		}
	}

	// Parts: rows first, columns as well where there are few rows.
	tiles, parts := (m+j.tile-1)/j.tile, 1
	if threads > 1 {
		parts = gemmParts * threads
	}
	if j.lower { // a part computes a rectangle up to the diagonal's end in its last row: low parts waste little
		parts = max(parts, tiles/2)
	}
	rowParts := max(min(parts, tiles), (m+gemmRows-1)/gemmRows)
	j.partRows = (tiles + rowParts - 1) / rowParts * j.tile
	j.partRows = min(j.partRows, gemmRows/j.tile*j.tile)
	rowParts = (m + j.partRows - 1) / j.partRows
	j.colParts = 1
	if rowParts < threads {
		j.colParts = (parts + rowParts - 1) / rowParts
	}

	for j.n0 = 0; j.n0 < n; j.n0 += j.width {
		j.nn = min(j.width, n-j.n0)
		j.partCols = roundUp((j.nn+j.colParts-1)/j.colParts, 2*PanelRows)
		for j.k0 = 0; j.k0 < k; j.k0 += j.depth {
			j.kn = min(j.depth, k-j.k0)
			j.onto = add || j.k0 > 0
			pool.Run(j.packParts(), j.pack)
			pool.Run(rowParts*j.colParts, j.multiply)
		}
	}
}

const packRows = 64 // rows of B that a part of packing takes

func (j *gemmJob) packParts() int {
	if j.b.Transposed {
		return (j.nn + packRows - 1) / packRows
	}
	return (j.kn + packRows - 1) / packRows
}

// packPart packs some rows of the block of B as they lie in memory.
func (j *gemmJob) packPart(part, _ int) {
	from := part * packRows
	if j.b.Transposed {
		src := j.b.Data[(j.n0+from)*j.b.Stride+j.k0:]
		packTransposed(j.panels[from*j.kn:], src, j.b.Stride, j.kn, min(packRows, j.nn-from))
		return
	}
	src := j.b.Data[(j.k0+from)*j.b.Stride+j.n0:]
	packCopy(j.panels[from*PanelRows:], j.kn*PanelRows, src, j.b.Stride, min(packRows, j.kn-from), j.nn, PanelRows)
}

// multiplyPart computes some rows and columns of the block.
func (j *gemmJob) multiplyPart(part, worker int) {
	i0, c0 := part/j.colParts*j.partRows, part%j.colParts*j.partCols
	m, n := min(j.partRows, j.m-i0), min(j.partCols, j.nn-c0)
	if j.lower {
		n = min(n, roundUp(i0+m-j.n0-c0, PanelRows))
	}
	if n <= 0 {
		return
	}
	y, b, edge := j.c.Data[i0*j.c.Stride+j.n0+c0:], j.panels[c0*j.kn:], &j.edges[worker]
	if !j.a.Transposed {
		mulTiles(y, j.c.Stride, j.a.Data[i0*j.a.Stride+j.k0:], j.a.Stride, 1, b, j.kn*PanelRows, PanelRows, m, n, j.kn, j.onto, edge)
		return
	}
	// Packed as [group of rows][k][16]: the values of one k share a cache line.
	a, group := j.rows[worker], PanelRows/j.tile*j.tile
	packCopy(a, j.kn*PanelRows, j.a.Data[j.k0*j.a.Stride+i0:], j.a.Stride, j.kn, m, group)
	for i := 0; i < m; i += group {
		mulTiles(y[i*j.c.Stride:], j.c.Stride, a[i/group*j.kn*PanelRows:], 1, PanelRows, b, j.kn*PanelRows, PanelRows, min(group, m-i), n, j.kn, j.onto, edge)
	}
}

// mulTiles computes y [m, n] = A B, or y += A B where onto is set, with A's element (i, p) at a[i*lda + p*stepA] and B in panels of 16 columns: column 16q+c of its row p is
// b[q*ldb + p*stepB + c]. Values past column n are read (they must be there), not written.
func mulTiles(y []float32, ldy int, a []float32, lda, stepA int, b []float32, ldb, stepB int, m, n, k int, onto bool, edge *gemmEdge) {
	if m <= 0 || n <= 0 {
		return
	}
	_ = y[(m-1)*ldy+n-1]
	if k > 0 {
		_, _ = a[(m-1)*lda+(k-1)*stepA], b[(n-1)/PanelRows*ldb+(k-1)*stepB+PanelRows-1]
	}
	if k > 0 && mulTilesFast(y, ldy, a, lda, stepA, b, ldb, stepB, m, n, k, onto, edge) {
		return
	}
	for i := range m {
		row := y[i*ldy:][:n]
		if !onto {
			clear(row)
		}
		for q := 0; q < n; q += PanelRows {
			sums := row[q:min(q+PanelRows, n)]
			for p := range k {
				x, w := a[i*lda+p*stepA], b[q/PanelRows*ldb+p*stepB:]
				for c := range sums {
					sums[c] += float32(x * w[c])
				}
			}
		}
	}
}

// packCopy packs k rows of n values, lds apart, as panels [k][16], panel values apart: each begins width values after the last. Zeros stand past value n.
func packCopy(dst []float32, panel int, src []float32, lds, k, n, width int) {
	if k <= 0 || n <= 0 {
		return
	}
	_, _ = src[(k-1)*lds+n-1], dst[(n-1)/width*panel+k*PanelRows-1]
	if packCopyFast(dst, panel, src, lds, k, n, width) {
		return
	}
	for q := 0; q*width < n; q++ {
		for p := range k {
			d := dst[q*panel+p*PanelRows:][:PanelRows]
			clear(d[copy(d, src[p*lds+q*width:p*lds+n]):])
		}
	}
}

// packTransposed packs n rows of k values, lds apart, as panels [k][16] of 16 rows each, one after the other. Zeros stand past row n.
func packTransposed(dst, src []float32, lds, k, n int) {
	for q := 0; q < n; q += PanelRows {
		d, s := dst[q*k:][:k*PanelRows], src[q*lds:]
		rows, from := min(PanelRows, n-q), 0
		if rows == PanelRows && k >= PanelRows && packTransposedFast(d, s, lds, k&^(PanelRows-1)) {
			from = k &^ (PanelRows - 1)
		}
		if rows < PanelRows {
			clear(d)
		}
		for r := range rows {
			for p, x := range s[r*lds:][:k][from:] {
				d[(from+p)*PanelRows+r] = x
			}
		}
	}
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

// evenTile is the rows of the next tile of n rows, at most so many: as even as can be.
func evenTile(n, most int) int {
	tiles := (n + most - 1) / most
	return (n + tiles - 1) / tiles
}
