// Routing: which experts of a mixture a token meets, and with what weight. One definition for the eager Ops, the tape and the cached step.
//
// With s the router's logits of a token over E experts and b a learned correction (0 where there is none):
//
//	p = softmax(s) or sigmoid(s)                          over all experts
//	a group's score: the sum of the GroupTop largest p + b of its experts; the TopGroups best groups stay
//	chosen: the TopK largest p + b within the groups that stay; of equal ones the first
//	w_e = Scale p_e, or Scale p_e / (sum of the chosen p + 1e-20) with Norm; 0 for an expert not chosen
//
// Mixtral (arXiv 2401.04088) and Qwen3-MoE (2505.09388): softmax, no groups. DeepSeek-V2 (2405.04434, 2.2.1): softmax, groups by their best expert. DeepSeek-V3
// (2412.19437, 2.1.2): sigmoid, groups by their two best, b corrects the choice and never the weight.
package tensor

import (
	"math"

	"github.com/lowkeylm/lowkey/kernel"
)

// Route says how experts are chosen.
type Route struct {
	TopK      int
	Sigmoid   bool // scores are sigmoids; else one softmax over all experts
	Groups    int  // equal blocks of experts; 0 and 1 mean none
	TopGroups int  // groups a token may choose from
	GroupTop  int  // how many of its best experts speak for a group
	Norm      bool // the chosen weights are divided by their sum
	Scale     float64
}

func checkRoute(scores, bias []int, r Route) (rows, experts int) {
	rows, experts = matrix("Route", scores)
	groups := max(1, r.Groups)
	if r.TopK < 1 || r.TopK > experts || experts%groups != 0 || groups > 1 && (r.TopGroups < 1 || r.TopGroups > groups || r.GroupTop < 1 || r.TopK > experts/groups*r.TopGroups) {
		bad("Route", "scores %v, %+v", scores, r)
	}
	if bias != nil {
		checkVector("Route", scores, bias)
	}
	return rows, experts
}

// room is the scratch that row asks for.
func (r Route) room(experts int) int { return 2*experts + max(1, r.Groups) }

// probabilities of all experts.
func probabilities[T float](p []float64, scores []T, sigmoid bool) {
	if sigmoid {
		for i, s := range scores {
			p[i] = 1 / (1 + math.Exp(-float64(s)))
		}
		return
	}
	top, sum := math.Inf(-1), 0.0
	for _, s := range scores {
		top = max(top, float64(s))
	}
	for i, s := range scores {
		p[i] = math.Exp(float64(s) - top)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
}

// best takes the index of the largest value and puts -Inf in its place; -1 where nothing is left.
func best(x []float64) (at int, value float64) {
	at, value = -1, math.Inf(-1)
	for i, v := range x {
		if v > value {
			at, value = i, v
		}
	}
	if at >= 0 {
		x[at] = math.Inf(-1)
	}
	return at, value
}

// routeRow writes the weights w [E] of one token. w and scores may be one slice; bias may be nil.
func routeRow[T float](w, scores, bias []T, r Route, scratch []float64) {
	n := len(scores)
	p, choice, groups := scratch[:n], scratch[n:2*n], scratch[2*n:][:max(1, r.Groups)]
	probabilities(p, scores, r.Sigmoid)
	corrected := func(from, to int) {
		copy(choice[from:to], p[from:to])
		if bias != nil {
			for i := from; i < to; i++ {
				choice[i] += float64(bias[i])
			}
		}
	}
	corrected(0, n)
	if size := n / len(groups); len(groups) > 1 {
		for g := range groups {
			groups[g] = 0
			for range min(r.GroupTop, size) {
				_, v := best(choice[g*size : (g+1)*size])
				groups[g] += v
			}
		}
		for i := range choice {
			choice[i] = math.Inf(-1)
		}
		for range r.TopGroups {
			if g, _ := best(groups); g >= 0 {
				corrected(g*size, (g+1)*size)
			}
		}
	}
	clear(w)
	sum := 0.0
	for range r.TopK {
		e, _ := best(choice)
		if e < 0 { // only where scores are not numbers
			break
		}
		w[e] = 1
		sum += p[e]
	}
	factor := r.Scale
	if r.Norm {
		factor /= sum + 1e-20
	}
	for i := range w {
		if w[i] != 0 {
			w[i] = T(factor * p[i])
		}
	}
}

func (eager[T]) Route(scores, bias Tensor, spec Route) Tensor {
	s := mat[T]("Route", scores)
	var b []T
	if bias != nil {
		b = vec("Route", bias, s.cols(), s)
	}
	rows, experts := checkRoute(s.shape, nil, spec)
	y, scratch := like(s), make([]float64, spec.room(experts))
	for r := range rows {
		routeRow(y.row(r), s.row(r), b, spec, scratch)
	}
	return y
}

// Route on the tape: the choice is a constant, a gradient flows through the weights of the chosen experts.
func (t *Tape[T]) Route(scores, bias Tensor, spec Route) Tensor {
	s, b := t.open("Route", scores), t.maybe("Route", bias)
	var shape []int
	if b != nil {
		shape = b.shape
	}
	rows, n := checkRoute(s.shape, shape, spec)
	y := &node[T]{op: "Route", shape: s.shape, in: list(s, b)}
	y.reads = list(s, y)
	y.forward = func() {
		var correction []T
		if b != nil {
			correction = b.value
		}
		t.byRows(rows, n, func(from, to int) {
			scratch := make([]float64, spec.room(n))
			for i := from; i < to; i++ {
				routeRow(y.value[i*n:(i+1)*n], s.value[i*n:(i+1)*n], correction, spec, scratch)
			}
		})
	}
	// With g the gradient of w, S the sum of the chosen p: dp = Scale g, or Scale/S (g - sum(g p)/S) with Norm, for the chosen, 0 for others. Then
	// ds = p (dp - sum(dp p)) for softmax, dp p (1 - p) for sigmoid.
	y.backward = func() {
		g, add := t.gradient(s)
		if g == nil {
			return
		}
		t.byRows(rows, n, func(from, to int) {
			p, dp := make([]float64, n), make([]float64, n)
			for i := from; i < to; i++ {
				w, up := y.value[i*n:(i+1)*n], y.grad[i*n:(i+1)*n]
				probabilities(p, s.value[i*n:(i+1)*n], spec.Sigmoid)
				sum, inner := 1.0, 0.0
				if spec.Norm {
					sum = 1e-20
					for j := range p {
						if w[j] != 0 {
							sum += p[j]
							inner += float64(up[j]) * p[j]
						}
					}
					inner /= sum
				}
				all := 0.0
				for j := range p {
					dp[j] = 0
					if w[j] != 0 {
						dp[j] = spec.Scale / sum * (float64(up[j]) - inner)
					}
					all += dp[j] * p[j]
				}
				for j := range p {
					d := p[j] * (dp[j] - all)
					if spec.Sigmoid {
						d = dp[j] * p[j] * (1 - p[j])
					}
					put(&g[i*n+j], d, add)
				}
			}
		})
	}
	return t.record(y)
}

// Route makes weights of router logits [rows, experts], in place. bias may be nil.
func (w *Workspace) Route(scores Buf, bias *Vector, spec Route) {
	if n := spec.room(scores.Cols); cap(w.route) < n {
		w.route = make([]float64, n)
	}
	for r := 0; r < scores.Rows; r++ {
		row := scores.x[r*scores.Cols:][:scores.Cols]
		routeRow(row, row, bias.Float32s(), spec, w.route[:spec.room(scores.Cols)])
	}
}

// Chosen appends the rows whose column `at` is not zero.
func (b Buf) Chosen(rows []int, at int) []int {
	for r := 0; r < b.Rows; r++ {
		if b.x[r*b.Cols+at] != 0 {
			rows = append(rows, r)
		}
	}
	return rows
}

// Scatter adds row i of y, times weights[rows[i], at], to row rows[i] of x.
func (w *Workspace) Scatter(x, y Buf, rows []int, weights Buf, at int) {
	for i, r := range rows {
		kernel.AddScaled(x.x[r*x.Cols:][:x.Cols], y.x[i*y.Cols:][:y.Cols], weights.x[r*weights.Cols+at])
	}
}
