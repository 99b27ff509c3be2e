// The tape's ops that look at other tokens: causal attention, its plain loops in both directions, and causal convolution.
package tensor

import "math"

// attention is Attend as the loops take it.
type attention[T float] struct {
	Attend
	t, dk, dv int
	first     []int32 // [t] first row that a row sees, the start of its document; nil: 0
	sinks     []T     // nil or [heads]
	bias      []T     // nil or [t, biases]
	biases    int

	dsinks, dbias []T // attendBack adds to these; may be nil
}

// from is the first key of query i.
func (s *attention[T]) from(i int) int {
	first := 0
	if s.first != nil {
		first = int(s.first[i])
	}
	if s.Window > 0 {
		first = max(first, i-s.Window+1)
	}
	return first
}

// hides reports whether query i, though it comes later, does not see key j.
func (s *attention[T]) hides(i, j int) bool { return s.Private != nil && s.Private[j] && j != i }

// score of query row q and key row k of head h, key j; slope is the derivative of the cap.
func (s *attention[T]) score(q, k []T, h, j int) (score, slope float64) {
	score, slope = s.Scale*float64(dot(q, k)), 1
	if s.Softcap > 0 {
		th := math.Tanh(score / s.Softcap)
		score, slope = s.Softcap*th, 1-th*th
	}
	if s.bias != nil {
		score += float64(s.bias[j*s.biases+h*s.biases/s.Heads])
	}
	return score, slope
}

func (plain[T]) attend(l loops, y, lse, q, k, v []T, s *attention[T]) {
	const queries = 32 // a task is this many queries of one head
	tiles := (s.t + queries - 1) / queries
	l.parts(tiles*s.Heads, func(task int) {
		h, i0 := task%s.Heads, task/s.Heads*queries
		g := h * s.KVHeads / s.Heads
		scores := make([]float64, min(i0+queries, s.t))
		for i := i0; i < min(i0+queries, s.t); i++ {
			first := s.from(i)
			query := q[(i*s.Heads+h)*s.dk:][:s.dk]
			top, sum := math.Inf(-1), 0.0
			if s.sinks != nil {
				top = float64(s.sinks[h])
			}
			for j := first; j <= i; j++ {
				if scores[j] = math.Inf(-1); s.hides(i, j) {
					continue
				}
				scores[j], _ = s.score(query, k[(j*s.KVHeads+g)*s.dk:], h, j)
				top = max(top, scores[j])
			}
			if s.sinks != nil {
				sum = math.Exp(float64(s.sinks[h]) - top)
			}
			for j := first; j <= i; j++ {
				scores[j] = math.Exp(scores[j] - top)
				sum += scores[j]
			}
			out := y[(i*s.Heads+h)*s.dv:][:s.dv]
			clear(out)
			for j := first; j <= i; j++ {
				p := T(scores[j] / sum)
				for c, val := range v[(j*s.KVHeads+g)*s.dv:][:s.dv] {
					out[c] += T(p * val)
				}
			}
			if lse != nil {
				lse[h*s.t+i] = T(top + math.Log(sum))
			}
		}
	})
}

// With p_ij = e^(s_ij - lse_i) and D_i = dy_i.y_i: dv_j += p dy_i, ds = p (dy_i.v_j - D_i), and from ds through cap and scale to q_i and k_j. A sink is a key whose
// value is zero. A task is one key-value head with all its queries, so that sums have one order.
func (plain[T]) attendBack(l loops, dq, dk, dv, dy, y, lse, q, k, v []T, s *attention[T]) {
	group := s.Heads / s.KVHeads
	l.parts(s.KVHeads, func(g int) {
		for h := g * group; h < (g+1)*group; h++ {
			for i := range s.t {
				up := dy[(i*s.Heads+h)*s.dv:][:s.dv]
				d := float64(dot(up, y[(i*s.Heads+h)*s.dv:]))
				norm := float64(lse[h*s.t+i])
				if s.dsinks != nil {
					s.dsinks[h] -= T(math.Exp(float64(s.sinks[h])-norm) * d)
				}
				query := q[(i*s.Heads+h)*s.dk:][:s.dk]
				for j := s.from(i); j <= i; j++ {
					if s.hides(i, j) {
						continue
					}
					key, val := k[(j*s.KVHeads+g)*s.dk:][:s.dk], v[(j*s.KVHeads+g)*s.dv:][:s.dv]
					score, slope := s.score(query, key, h, j)
					p := math.Exp(score - norm)
					if dv != nil {
						for c, u := range up {
							dv[(j*s.KVHeads+g)*s.dv+c] += T(p * float64(u))
						}
					}
					ds := p * (float64(dot(up, val)) - d)
					if s.dbias != nil {
						s.dbias[j*s.biases+h*s.biases/s.Heads] += T(ds)
					}
					ds *= slope * s.Scale
					for c := range query {
						if dq != nil {
							dq[(i*s.Heads+h)*s.dk+c] += T(ds * float64(key[c]))
						}
						if dk != nil {
							dk[(j*s.KVHeads+g)*s.dk+c] += T(ds * float64(query[c]))
						}
					}
				}
			}
		}
	})
}

// firsts is the first row of each row's document, nil where there is one document.
func (t *Tape[T]) firsts(rows int) []int32 {
	if len(t.starts) == 1 {
		return nil
	}
	if len(t.first) == rows {
		return t.first
	}
	if last := t.starts[len(t.starts)-1]; last >= rows {
		bad("Documents", "one starts at row %d of %d", last, rows)
	}
	t.first = make([]int32, rows)
	doc := 0
	for i := range t.first {
		for doc+1 < len(t.starts) && t.starts[doc+1] <= i {
			doc++
		}
		t.first[i] = int32(t.starts[doc])
	}
	return t.first
}

func (t *Tape[T]) Attend(q, k, v Tensor, spec Attend) Tensor {
	const op = "Attend"
	qn, kn, vn, sinks, bias := t.open(op, q), t.open(op, k), t.open(op, v), t.maybe(op, spec.Sinks), t.maybe(op, spec.Bias)
	rows, dk, dv := checkAttend(qn.shape, kn.shape, vn.shape, spec)
	s := attention[T]{Attend: spec, t: rows, dk: dk, dv: dv, first: t.firsts(rows)}
	y := &node[T]{op: op, shape: []int{rows, spec.Heads * dv}, auxLen: spec.Heads * rows, in: list(qn, kn, vn, sinks, bias)}
	y.reads = append(list(y), y.in...)
	values := func() {
		s.sinks, s.bias = value(sinks), value(bias)
		if bias != nil {
			s.biases = bias.cols()
		}
	}
	y.forward = func() {
		values()
		t.k.attend(t.loops, y.value, y.aux, qn.value, kn.value, vn.value, &s)
	}
	y.backward = func() {
		values()
		s.dsinks, s.dbias = t.zeroed(sinks), t.zeroed(bias)
		dq, dk, dv := t.zeroed(qn), t.zeroed(kn), t.zeroed(vn)
		t.k.attendBack(t.loops, dq, dk, dv, y.grad, y.value, y.aux, qn.value, kn.value, vn.value, &s)
	}
	return t.record(y)
}

func (t *Tape[T]) CausalConv(x, w Tensor, groups int) Tensor {
	a, b := t.open("CausalConv", x), t.open("CausalConv", w)
	c := checkConv(a.shape, b.shape, groups)
	first := t.firsts(c.rows)
	in, out := groups*c.in, groups*c.out
	work := out * c.in * c.taps
	y := &node[T]{op: "CausalConv", shape: []int{c.rows, out}, in: list(a, b), reads: list(a, b)}
	if c.taps == 1 {
		t.grouped(y, a, b, c)
		return t.record(y)
	}
	y.forward = func() { convolve(c, t.loops, y.value, a.value, b.value, first) }
	y.backward = func() {
		if g := t.zeroed(a); g != nil { // each part owns rows of x: it asks which outputs see them
			t.chunked(c.rows, rowsEach(work), func(from, to int) {
				c.eachTap(first, from, min(to+c.taps-1, c.rows), func(i, row, j int) {
					if row < from || row >= to {
						return
					}
					c.pairs(func(o, p, inside int) { g[row*in+p] += T(y.grad[i*out+o] * b.value[(o*c.in+inside)*c.taps+j]) })
				})
			})
		}
		if b.tracked {
			t.summed(c.rows, work, len(b.value), t.zeroed(b), func(from, to int, sum []T) {
				c.eachTap(first, from, to, func(i, row, j int) {
					c.pairs(func(o, p, inside int) { sum[(o*c.in+inside)*c.taps+j] += T(y.grad[i*out+o] * a.value[row*in+p]) })
				})
			})
		}
	}
	return t.record(y)
}

// grouped makes y of filters without a look back: for each group of channels a product.
func (t *Tape[T]) grouped(y, a, b *node[T], c conv) {
	in, out := c.groups*c.in, c.groups*c.out
	each := func(f func(at, from, w int)) {
		for g := range c.groups {
			f(g*c.out, g*c.in, g*c.out*c.in)
		}
	}
	y.forward = func() {
		each(func(at, from, w int) {
			t.k.gemm(t.loops, dense[T]{y.value[at:], out, false}, dense[T]{a.value[from:], in, false}, dense[T]{b.value[w:], c.in, true}, c.rows, c.out, c.in, false)
		})
	}
	y.backward = func() {
		if d, add := t.gradient(b); d != nil { // dw = dyᵀ x
			each(func(at, from, w int) {
				t.k.gemm(t.loops, dense[T]{d[w:], c.in, false}, dense[T]{y.grad[at:], out, true}, dense[T]{a.value[from:], in, false}, c.out, c.in, c.rows, add)
			})
		}
		if d, add := t.gradient(a); d != nil { // dx = dy w
			each(func(at, from, w int) {
				t.k.gemm(t.loops, dense[T]{d[from:], in, false}, dense[T]{y.grad[at:], out, false}, dense[T]{b.value[w:], c.in, false}, c.rows, c.in, c.out, add)
			})
		}
	}
}
