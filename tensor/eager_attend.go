// Eager causal attention: for every query head and token the scores, their softmax and the mix of values, in that order.
//
// It keeps one row of scores at a time and is O(T^2) in time; it knows nothing of pages, tiles or cached rows.
package tensor

func (eager[T]) Attend(q, k, v Tensor, spec Attend) Tensor {
	const op = "Attend"
	qa, ka, va := mat[T](op, q), mat[T](op, k), mat[T](op, v)
	rows, dk, dv := checkAttend(qa.shape, ka.shape, va.shape, spec)
	s := attention[T]{Attend: spec, t: rows, dk: dk, dv: dv}
	if spec.Sinks != nil {
		s.sinks = arr[T](op, spec.Sinks).data
	}
	if spec.Bias != nil {
		bias := mat[T](op, spec.Bias)
		s.bias, s.biases = bias.data, bias.cols()
	}
	y := newMat[T](rows, spec.Heads*dv)
	plain[T]{}.attend(loops{}, y.data, nil, qa.data, ka.data, va.data, &s)
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
