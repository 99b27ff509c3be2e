// Eager causal attention: for every query head and token the scores, their softmax and the mix of values, in that order.
//
// It keeps one row of scores at a time and is O(T^2) in time; it knows nothing of pages, tiles or cached rows.
package tensor

import "math"

func (eager[T]) Attend(q, k, v Tensor, spec Attend) Tensor {
	const op = "Attend"
	qa, ka, va := mat[T](op, q), mat[T](op, k), mat[T](op, v)
	t := qa.rows()
	if spec.Heads < 1 || spec.KVHeads < 1 || spec.Heads%spec.KVHeads != 0 {
		bad(op, "%d heads over %d key-value heads", spec.Heads, spec.KVHeads)
	}
	if qa.cols()%spec.Heads != 0 || ka.cols()%spec.KVHeads != 0 || va.cols()%spec.KVHeads != 0 ||
		qa.cols()/spec.Heads != ka.cols()/spec.KVHeads || ka.rows() != t || va.rows() != t {
		bad(op, "q %v in %d heads, k %v and v %v in %d heads", qa.shape, spec.Heads, ka.shape, va.shape, spec.KVHeads)
	}
	if spec.Window < 0 || spec.Scale == 0 {
		bad(op, "Window %d, Scale %v", spec.Window, spec.Scale)
	}
	var sinks []T
	if spec.Sinks != nil {
		sinks = vec(op, spec.Sinks, spec.Heads, qa)
	}
	dk, dv := qa.cols()/spec.Heads, va.cols()/spec.KVHeads
	group := spec.Heads / spec.KVHeads
	y := newMat[T](t, spec.Heads*dv)

	const queries = 32 // a task is this many queries of one head
	tiles := (t + queries - 1) / queries
	parallel(tiles*spec.Heads, func(task int) {
		h, i0 := task%spec.Heads, task/spec.Heads*queries
		g := h / group
		scores := make([]float64, min(i0+queries, t))
		for i := i0; i < min(i0+queries, t); i++ {
			first := 0
			if spec.Window > 0 {
				first = max(0, i-spec.Window+1)
			}
			query := qa.row(i)[h*dk : (h+1)*dk]
			top := math.Inf(-1)
			if sinks != nil {
				top = float64(sinks[h])
			}
			for j := first; j <= i; j++ {
				s := spec.Scale * float64(dot(query, ka.row(j)[g*dk:(g+1)*dk]))
				if spec.Softcap > 0 {
					s = spec.Softcap * math.Tanh(s/spec.Softcap)
				}
				scores[j] = s
				top = max(top, s)
			}
			sum := 0.0
			if sinks != nil {
				sum = math.Exp(float64(sinks[h]) - top)
			}
			for j := first; j <= i; j++ {
				scores[j] = math.Exp(scores[j] - top)
				sum += scores[j]
			}
			out := y.row(i)[h*dv : (h+1)*dv]
			for j := first; j <= i; j++ {
				p := T(scores[j] / sum)
				for c, val := range va.row(j)[g*dv : (g+1)*dv] {
					out[c] += T(p * val)
				}
			}
		}
	})
	return y
}

// dot sums in four lanes, then the lanes pairwise, then the rest.
func dot[T float](a, b []T) T {
	b = b[:len(a)]
	var s0, s1, s2, s3 T
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += T(a[i] * b[i])
		s1 += T(a[i+1] * b[i+1])
		s2 += T(a[i+2] * b[i+2])
		s3 += T(a[i+3] * b[i+3])
	}
	s := (s0 + s1) + (s2 + s3)
	for ; i < len(a); i++ {
		s += T(a[i] * b[i])
	}
	return s
}
