package kernel

// Gemm: products of dense float32 matrices, as training needs them: y = x Wᵀ, dx = dy W, dW += dyᵀ x.
//
// An element of C is one chain over ascending k, starting from zero or, where the product is added, from what C holds; only m and n are shared out. So the result depends neither on
// the number of threads nor on the tiles. Weights that stay as they are belong to Matrix, which is packed once; here everything may have changed since the last call.

// Dense is a float32 matrix in memory, row after row, Stride values apart. Transposed: read as its transpose.
type Dense struct {
	Data       []float32
	Stride     int
	Transposed bool
}

// Gemm computes C [m, n] = A [m, k] B [k, n], or C += A B where add is set. c is never transposed and overlaps neither a nor b. A nil pool works on the caller's goroutine.
// It panics, as indexing does, where a matrix is smaller than its shape.
func Gemm(pool *Pool, c, a, b Dense, m, n, k int, add bool) {
	if m <= 0 || n <= 0 {
		return
	}
	c.check(m, n)
	a.check(m, k)
	b.check(k, n)
	gemmPlain(c, a, b, m, n, k, add)
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
