// The eager ops that move columns and turn or make heads: Cols, Concat, their per-head forms, Outer, and RoPE.
package tensor

import "math"

func (e eager[T]) Cols(x Tensor, from, to int) Tensor {
	return headSlice[T]("Cols", x, 1, from, to)
}

func (e eager[T]) Concat(xs ...Tensor) Tensor {
	return headConcat[T]("Concat", 1, xs)
}

func (e eager[T]) HeadSlice(x Tensor, heads, from, to int) Tensor {
	return headSlice[T]("HeadSlice", x, heads, from, to)
}

func (e eager[T]) HeadConcat(heads int, xs ...Tensor) Tensor {
	return headConcat[T]("HeadConcat", heads, xs)
}

func (e eager[T]) HeadRepeat(x Tensor, heads int) Tensor {
	a := mat[T]("HeadRepeat", x)
	if heads < 1 {
		bad("HeadRepeat", "x %v to %d heads", a.shape, heads)
	}
	y := newMat[T](a.rows(), heads*a.cols())
	for r := range a.rows() {
		for h := range heads {
			copy(y.row(r)[h*a.cols():], a.row(r))
		}
	}
	return y
}

// headWidth is the width of one of the equal heads in a row.
func headWidth[T float](op string, a *array[T], heads int) int {
	if heads < 1 || a.cols()%heads != 0 {
		bad(op, "x %v in %d heads", a.shape, heads)
	}
	return a.cols() / heads
}

func headSlice[T float](op string, x Tensor, heads, from, to int) Tensor {
	a := mat[T](op, x)
	width := headWidth(op, a, heads)
	if from < 0 || from > to || to > width {
		bad(op, "x %v in %d heads, columns [%d, %d) of %d", a.shape, heads, from, to, width)
	}
	n := to - from
	y := newMat[T](a.rows(), heads*n)
	for r := range a.rows() {
		in, out := a.row(r), y.row(r)
		for h := range heads {
			copy(out[h*n:(h+1)*n], in[h*width+from:])
		}
	}
	return y
}

func headConcat[T float](op string, heads int, xs []Tensor) Tensor {
	if len(xs) == 0 {
		bad(op, "nothing to join")
	}
	parts := make([]*array[T], len(xs))
	total := 0
	for i, x := range xs {
		parts[i] = mat[T](op, x)
		if parts[i].rows() != parts[0].rows() {
			bad(op, "rows differ: %v, %v", parts[0].shape, parts[i].shape)
		}
		total += headWidth(op, parts[i], heads)
	}
	y := newMat[T](parts[0].rows(), heads*total)
	for r := range y.rows() {
		out := y.row(r)
		for h := range heads {
			for _, p := range parts {
				n := p.cols() / heads
				out = out[copy(out, p.row(r)[h*n:(h+1)*n]):]
			}
		}
	}
	return y
}

func (e eager[T]) Outer(a, b Tensor, heads, rank int, scale float64) Tensor {
	x, z := mat[T]("Outer", a), mat[T]("Outer", b)
	if heads < 1 || rank < 1 || x.cols() != heads*rank || z.cols()%rank != 0 || x.rows() != z.rows() {
		bad("Outer", "a %v, b %v, %d heads, rank %d", x.shape, z.shape, heads, rank)
	}
	width := z.cols() / rank
	y := newMat[T](x.rows(), heads*width)
	for t := range x.rows() {
		for h := range heads {
			out := y.row(t)[h*width : (h+1)*width]
			for r := range rank {
				f := x.row(t)[h*rank+r] * T(scale)
				for j, v := range z.row(t)[r*width : (r+1)*width] {
					out[j] += T(f * v)
				}
			}
		}
	}
	return y
}

func (e eager[T]) RoPE(x Tensor, spec Rotary, pos []int) Tensor {
	a := mat[T]("RoPE", x)
	width := headWidth("RoPE", a, spec.Heads)
	from, to := spec.From, spec.To
	if from == 0 && to == 0 {
		to = width
	}
	half := (to - from) / 2
	if from < 0 || to > width || half < 1 || (to-from)%2 != 0 || len(spec.InvFreq) != half || len(pos) != a.rows() {
		bad("RoPE", "x %v in %d heads, columns [%d, %d), %d frequencies, %d positions", a.shape, spec.Heads, from, to, len(spec.InvFreq), len(pos))
	}
	sign, factor := spec.Sign, spec.Factor
	if sign == 0 {
		sign = 1
	}
	if sign != 1 && sign != -1 {
		bad("RoPE", "Sign %v, want +1 or -1", sign)
	}
	if factor == 0 {
		factor = 1
	}
	y := like(a)
	copy(y.data, a.data)
	cos, sin := make([]T, half), make([]T, half)
	for r, p := range pos {
		for i, f := range spec.InvFreq {
			c, s := turn(p, f, spec.BF16)
			cos[i], sin[i] = T(c*factor), T(sign*s*factor)
		}
		for h := range spec.Heads {
			head := y.row(r)[h*width+from : h*width+to]
			for i := range half {
				j1, j2 := i, i+half
				if spec.Pairs {
					j1, j2 = 2*i, 2*i+1
				}
				x1, x2 := head[j1], head[j2]
				head[j1] = T(x1*cos[i]) - T(x2*sin[i])
				head[j2] = T(x2*cos[i]) + T(x1*sin[i])
			}
		}
	}
	return y
}

// turn is the cosine and sine of a position's angle. For tables in bfloat16 the angle is a float32 too, as in the code that makes them: a value near the middle of two
// bfloat16 falls to the other side otherwise.
func turn(pos int, freq float64, bf16 bool) (cos, sin float64) {
	if !bf16 {
		sin, cos = math.Sincos(float64(pos) * freq)
		return cos, sin
	}
	sin, cos = math.Sincos(float64(float32(pos) * float32(freq)))
	return toBF16(cos), toBF16(sin)
}

// toBF16 rounds to float32 and then to bfloat16, ties to even.
func toBF16(x float64) float64 {
	b := math.Float32bits(float32(x))
	return float64(math.Float32frombits((b + 0x7fff + b>>16&1) &^ 0xffff))
}
