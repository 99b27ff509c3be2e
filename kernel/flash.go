package kernel

// Flash: causal attention of a training step and its gradients, in float32, over rows that may hold several documents.
//
//	s_ij = cap(Scale q_i·k_j) + b_j     cap(x) = Softcap tanh(x / Softcap), or x
//	p_ij = e^(s_ij - lse_i)             lse_i = log(sum_j e^s_ij + e^sink)
//	o_i  = sum_j p_ij v_j
//
// over the keys j that row i may see: Starts[i] <= j <= i, and the last Window of those. The scores are never stored: the backward pass makes p again from lse (Dao et al.,
// FlashAttention, 2022; FlashAttention-2, 2023). Caches, pages and quantised keys belong to Attender.

import "math"

// Flash describes attention of a training step over T rows: q [T, Heads*KeyDim], k [T, KVHeads*KeyDim], v [T, KVHeads*ValueDim], out [T, Heads*ValueDim], row after row;
// lse [Heads, T], kept from Forward for Backward, gives T. Query head h reads KV head h / (Heads/KVHeads).
type Flash struct {
	Heads, KVHeads   int
	KeyDim, ValueDim int
	Scale            float32
	Softcap          float32 // 0: none
	Window           int     // 0: all; else a row sees so many rows, its own included
	Starts           []int32 // [T] first row that row i may see, the start of its document; never decreasing; nil: 0

	// Values from one row to the next; 0: as many as a row has. A gradient has the stride of its tensor.
	QStride, KStride, VStride, OutStride int

	Sinks, SinksGrad []float32 // [Heads] a logit more per head, whose value is zero, and where Backward adds its gradient; nil: none
	Bias, BiasGrad   []float32 // [T, KVHeads] or [T, Heads] added to the scores of a key, and where Backward adds its gradient; nil: none
}

// flashRun is one call: Flash with its defaults filled in.
type flashRun struct {
	Flash
	t     int
	group int // query heads per KV head
	bias  int // heads of Bias
}

func (f *Flash) run(lse []float32) *flashRun {
	r := &flashRun{Flash: *f, t: len(lse) / f.Heads, group: f.Heads / f.KVHeads}
	for _, s := range []struct {
		stride *int
		row    int
	}{{&r.QStride, f.Heads * f.KeyDim}, {&r.KStride, f.KVHeads * f.KeyDim}, {&r.VStride, f.KVHeads * f.ValueDim}, {&r.OutStride, f.Heads * f.ValueDim}} {
		if *s.stride == 0 {
			*s.stride = s.row
		}
	}
	if len(f.Bias) > 0 && r.t > 0 {
		r.bias = len(f.Bias) / r.t
	}
	return r
}

// first is the first row that row i sees.
func (r *flashRun) first(i int) int {
	from := 0
	if r.Starts != nil {
		from = int(r.Starts[i])
	}
	if r.Window > 0 {
		from = max(from, i-r.Window+1)
	}
	return from
}

// Forward writes out and lse.
func (f *Flash) Forward(pool *Pool, out, lse, q, k, v []float32) {
	f.run(lse).forwardPlain(out, lse, q, k, v)
}

// Backward adds the gradients of q, k and v into dq, dk and dv (and those of sinks and bias, where wanted), given dout and what Forward wrote.
func (f *Flash) Backward(pool *Pool, dq, dk, dv []float32, dout, out, lse, q, k, v []float32) {
	f.run(lse).backwardPlain(dq, dk, dv, dout, out, lse, q, k, v)
}

// score is s_ij of query head h, and the derivative of the cap there.
func (r *flashRun) score(q, k []float32, h, j int) (s, slope float32) {
	s, slope = float32(Dot(q, k)*r.Scale), 1
	if r.Softcap > 0 {
		t := tanhf(s / r.Softcap)
		s, slope = r.Softcap*t, 1-t*t
	}
	if r.bias > 0 {
		s += r.Bias[j*r.bias+h*r.bias/r.Heads]
	}
	return s, slope
}

// forwardPlain is the reference, row by row.
func (r *flashRun) forwardPlain(out, lse, q, k, v []float32) {
	for h := range r.Heads {
		g := h / r.group
		for i := range r.t {
			o := out[i*r.OutStride+h*r.ValueDim:][:r.ValueDim]
			clear(o)
			top, sum := negInf, float32(0)
			if r.Sinks != nil {
				top, sum = r.Sinks[h], 1
			}
			for j := r.first(i); j <= i; j++ {
				s, _ := r.score(q[i*r.QStride+h*r.KeyDim:][:r.KeyDim], k[j*r.KStride+g*r.KeyDim:], h, j)
				if s > top {
					scalePlain(o, expf(top-s))
					sum *= expf(top - s)
					top = s
				}
				p := expf(s - top)
				sum += p
				addScaledPlain(o, v[j*r.VStride+g*r.ValueDim:][:r.ValueDim], p)
			}
			scalePlain(o, 1/sum)
			lse[h*r.t+i] = top + float32(math.Log(float64(sum)))
		}
	}
}

// backwardPlain is the reference, row by row.
func (r *flashRun) backwardPlain(dq, dk, dv, dout, out, lse, q, k, v []float32) {
	for h := range r.Heads {
		g := h / r.group
		for i := range r.t {
			do := dout[i*r.OutStride+h*r.ValueDim:][:r.ValueDim]
			d := Dot(do, out[i*r.OutStride+h*r.ValueDim:])
			if r.SinksGrad != nil {
				r.SinksGrad[h] -= float32(expf(r.Sinks[h]-lse[h*r.t+i]) * d)
			}
			for j := r.first(i); j <= i; j++ {
				qi, kj := q[i*r.QStride+h*r.KeyDim:][:r.KeyDim], k[j*r.KStride+g*r.KeyDim:][:r.KeyDim]
				s, slope := r.score(qi, kj, h, j)
				p := expf(s - lse[h*r.t+i])
				addScaledPlain(dv[j*r.VStride+g*r.ValueDim:][:r.ValueDim], do, p)
				ds := p * (Dot(do, v[j*r.VStride+g*r.ValueDim:]) - d)
				if r.BiasGrad != nil {
					r.BiasGrad[j*r.bias+h*r.bias/r.Heads] += ds
				}
				ds *= slope * r.Scale
				addScaledPlain(dq[i*r.QStride+h*r.KeyDim:][:r.KeyDim], kj, ds)
				addScaledPlain(dk[j*r.KStride+g*r.KeyDim:][:r.KeyDim], qi, ds)
			}
		}
	}
}
