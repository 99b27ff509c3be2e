// Causal convolution over tokens: a short filter a channel, or a group of channels, as recurrent caches put before their keys.
package tensor

func (eager[T]) CausalConv(x, w Tensor, groups int) Tensor {
	a, b := mat[T]("CausalConv", x), mat[T]("CausalConv", w)
	c := checkConv(a.shape, b.shape, groups)
	y := newMat[T](c.rows, groups*c.out)
	convolve(c, loops{}, y.data, a.data, b.data, nil)
	return y
}

// convolve fills y. first is the first row that each row may see; nil: 0.
func convolve[T float](c conv, l loops, y, x, w []T, first []int32) {
	in, out := c.groups*c.in, c.groups*c.out
	clear(y)
	l.chunked(c.rows, rowsEach(out*c.in*c.taps), func(from, to int) {
		c.eachTap(first, from, to, func(i, row, j int) {
			c.pairs(func(o, p, inside int) { y[i*out+o] += T(x[row*in+p] * w[(o*c.in+inside)*c.taps+j]) })
		})
	})
}

// eachTap calls f for every pair of an output row i and an input row that it sees through tap j.
func (c conv) eachTap(first []int32, from, to int, f func(i, row, j int)) {
	for i := from; i < to; i++ {
		start := 0
		if first != nil {
			start = int(first[i])
		}
		for j := range c.taps {
			if row := i - (c.taps - 1) + j; row >= start {
				f(i, row, j)
			}
		}
	}
}

// pairs visits every output channel o with the input channels p that it reads, `inside` of its group.
func (c conv) pairs(f func(o, p, inside int)) {
	if c.in == 1 && c.out == 1 {
		for o := range c.groups {
			f(o, o, 0)
		}
		return
	}
	for o := range c.groups * c.out {
		for inside := range c.in {
			f(o, o/c.out*c.in+inside, inside)
		}
	}
}
