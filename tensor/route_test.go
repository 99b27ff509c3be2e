package tensor

// Route against a transcription that sorts, on random scores of every form; gradients are checked with the other ops (TestGradients' table).

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// routeBySorting is the definition once more: lists of experts, sorted.
func routeBySorting(s, bias []float64, r Route) []float64 {
	p := make([]float64, len(s))
	sum := 0.0
	for _, v := range s {
		sum += math.Exp(v)
	}
	for e, v := range s {
		if p[e] = math.Exp(v) / sum; r.Sigmoid {
			p[e] = 1 / (1 + math.Exp(-v))
		}
	}
	value := func(e int) float64 { return p[e] + bias[e] }
	descending := func(list []int, value func(int) float64) {
		slices.SortStableFunc(list, func(a, b int) int {
			switch {
			case value(a) > value(b):
				return -1
			case value(a) < value(b):
				return 1
			}
			return 0
		})
	}
	groups := max(1, r.Groups)
	size := len(s) / groups
	members := func(g int) (list []int) {
		for e := g * size; e < (g+1)*size; e++ {
			list = append(list, e)
		}
		return list
	}
	var kept, order []int
	for g := range groups {
		order = append(order, g)
	}
	if groups > 1 {
		descending(order, func(g int) float64 {
			list := members(g)
			descending(list, value)
			score := 0.0
			for _, e := range list[:min(r.GroupTop, size)] {
				score += value(e)
			}
			return score
		})
		order = order[:r.TopGroups]
	}
	for _, g := range order {
		kept = append(kept, members(g)...)
	}
	slices.Sort(kept)
	descending(kept, value)
	w, total := make([]float64, len(s)), 0.0
	for _, e := range kept[:r.TopK] {
		total += p[e]
	}
	for _, e := range kept[:r.TopK] {
		if w[e] = r.Scale * p[e]; r.Norm {
			w[e] /= total
		}
	}
	return w
}

func TestRoute(t *testing.T) {
	const rows, experts = 200, 12
	rng := rand.New(rand.NewPCG(3, 5))
	o := NewEager64()
	for _, r := range []Route{
		{TopK: 2, Norm: true, Scale: 1}, {TopK: 3, Scale: 2.5}, {TopK: experts, Norm: true, Scale: 1},
		{TopK: 3, Groups: 4, TopGroups: 2, GroupTop: 1, Scale: 16}, {TopK: 4, Sigmoid: true, Groups: 3, TopGroups: 1, GroupTop: 2, Norm: true, Scale: 1.8},
		{TopK: 2, Sigmoid: true, Scale: 1}, {TopK: 2, Sigmoid: true, Groups: 12, TopGroups: 5, GroupTop: 2, Norm: true, Scale: 1},
	} {
		for _, corrected := range []bool{false, true} {
			t.Run(fmt.Sprintf("%+v, bias %v", r, corrected), func(t *testing.T) {
				scores, bias := make([]float32, rows*experts), make([]float32, experts)
				for i := range scores {
					scores[i] = float32(2 * rng.NormFloat64())
				}
				clear(scores[:experts]) // all alike: the first win
				var b Tensor
				wide := make([]float64, experts)
				if corrected {
					for e := range bias {
						bias[e] = float32(rng.NormFloat64() - 1) // below zero too: a group that is out must stay out
						wide[e] = float64(bias[e])
					}
					b = o.Leaf([]int{experts}, bias)
				}
				got := o.Values(o.Route(o.Leaf([]int{rows, experts}, scores), b, r))
				for row := range rows {
					s := make([]float64, experts)
					for e := range s {
						s[e] = float64(scores[row*experts+e])
					}
					for e, want := range routeBySorting(s, wide, r) {
						if v := got[row*experts+e]; math.Abs(v-want) > 1e-12*r.Scale {
							t.Fatalf("row %d, expert %d: %v, want %v", row, e, v, want)
						}
					}
				}
			})
		}
	}
}
