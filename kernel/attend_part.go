package kernel

// Parts of a softmax: what some query rows have seen of some keys, and how two of them become one, by log-sum-exp. Attender merges the chunks of one lane so; parts that it never sees together
// (pages of another tier, a context split in two) are merged by their caller.

import "math"

// partial is the state of some query rows over some keys: the mix, the running maximum, the sum of exponentials.
type partial struct {
	o, max, sum []float32
}

func (p *partial) reset(rows, width int) {
	if cap(p.o) < rows*width || cap(p.max) < rows {
		p.o, p.max, p.sum = make([]float32, rows*width), make([]float32, rows), make([]float32, rows)
	}
	p.o, p.max, p.sum = p.o[:rows*width], p.max[:rows], p.sum[:rows]
	clear(p.o)
	clear(p.sum)
	for i := range p.max {
		p.max[i] = negInf
	}
}

// merge folds part b, over later keys, into p.
func (p *partial) merge(b *partial, width int) {
	for i := range p.max {
		if b.sum[i] == 0 {
			continue
		}
		m := max(p.max[i], b.max[i])
		fa, fb := expDiff(p.max[i], m), expDiff(b.max[i], m)
		p.max[i] = m
		p.sum[i] = float32(p.sum[i]*fa) + float32(b.sum[i]*fb)
		mergeRow(p.o[i*width:][:width], b.o[i*width:][:width], fa, fb)
	}
}

var negInf = float32(math.Inf(-1))

func expDiff(x, m float32) float32 {
	if x == m {
		return 1
	}
	if x == negInf {
		return 0
	}
	return float32(math.Exp(float64(x - m)))
}

// MergeParts folds part, attention over other keys with logarithms partLse [rows], into out [rows, width] and lse [rows], as RunPart wrote them. A part that saw nothing changes nothing.
func MergeParts(out, lse, part, partLse []float32, width int) {
	for i, b := range partLse {
		if b == negInf {
			continue
		}
		top := max(lse[i], b)
		fa, fb := expDiff(lse[i], top), expDiff(b, top)
		sum := fa + fb
		lse[i] = top + float32(math.Log(float64(sum)))
		mergeRow(out[i*width:][:width], part[i*width:][:width], fa/sum, fb/sum)
	}
}
