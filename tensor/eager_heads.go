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

func headSlice[T float](op string, x Tensor, heads, from, to int) Tensor {
	a := mat[T](op, x)
	_, width := checkSlice(op, a.shape, heads, from, to)
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
		_, width := headsOf(op, parts[i].shape, heads)
		total += width
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
	_, width := checkOuter(x.shape, z.shape, heads, rank)
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
	spec, width := checkRotary(a.shape, spec, pos)
	half := len(spec.InvFreq)
	y := like(a)
	copy(y.data, a.data)
	cos, sin := make([]T, half), make([]T, half)
	for r, p := range pos {
		for i, f := range spec.InvFreq {
			c, s := turn(p, f, spec.BF16)
			cos[i], sin[i] = T(c*spec.Factor), T(spec.Sign*s*spec.Factor)
		}
		for h := range spec.Heads {
			plain[T]{}.rope(y.row(r)[h*width+spec.From:h*width+spec.To], cos, sin, spec.Pairs)
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
