package attention

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func init() {
	for _, fast := range []bool{false, true} {
		for levels := 2; levels <= 3; levels++ {
			moreCases = append(moreCases, func(rng *rand.Rand) testCase {
				a := MKA{Hidden: 40, Heads: 4, KVHeads: 2, HeadDim: 16, Levels: levels, Router: 20, Beta: 0.9, Scale: 0.25, Rope: ropeOf(16, false)}
				w := weightMap{}
				for _, p := range a.Params() {
					w.add(rng, p.Name, p.Shape...)
				}
				if fast {
					return testCase{fmt.Sprintf("mka-fast of %d levels", levels), 40, FastMKA{a}, w, 2 * 2 * 16}
				}
				return testCase{fmt.Sprintf("mka of %d levels", levels), 40, a, w, levels * 2 * 2 * 16}
			})
		}
	}
}

// mkaDecode is both forms in float64, token by token, with a bank of memory vectors or without.
func mkaDecode(c testCase, x []float32, rows int, bank [][]float64) []float64 {
	a, full := c.design.(MKA)
	if !full {
		a = c.design.(FastMKA).MKA
	}
	w := a.HeadDim
	keys, values := make([][][]float64, a.Levels), make([][][]float64, a.Levels) // by level, by token
	summary := make([]float64, a.Hidden)
	var out []float64
	for t := range rows {
		h := make([]float64, a.Hidden)
		for i := range h {
			h[i] = float64(x[t*a.Hidden+i])
			summary[i] = a.Beta*summary[i] + (1-a.Beta)*h[i]
		}
		levels := [][]float64{h, summary}
		if a.Levels == 3 && len(bank) > 0 {
			levels = append(levels, bank[min(t, len(bank)-1)])
		} else if a.Levels == 3 {
			levels = append(levels, make([]float64, a.Hidden))
		}
		q := c.w.times("q", h)
		hidden := c.w.times("router_a", q)
		for i, v := range hidden {
			if full {
				hidden[i] = v * (1 + math.Erf(v/math.Sqrt2)) / 2
			} else {
				hidden[i] = v / (1 + math.Exp(-v))
			}
		}
		λ := c.w.times("router_b", hidden)
		sum := 0.0
		for i, v := range λ {
			λ[i] = math.Exp(v)
			sum += λ[i]
		}
		for i := range λ {
			λ[i] /= sum
		}
		if !full {
			fused := make([]float64, a.Hidden)
			for l, level := range levels {
				for i, v := range level {
					fused[i] += λ[l] * v
				}
			}
			levels = [][]float64{fused}
		}
		for l, level := range levels {
			k := c.w.times("k", level)
			for g := range a.KVHeads {
				turnHalf(k[g*w:][:w], a.Rope.InvFreq, t)
			}
			keys[l], values[l] = append(keys[l], k), append(values[l], c.w.times("v", level))
		}
		heads := make([]float64, a.Heads*w)
		for n := range a.Heads {
			query, g := q[n*w:][:w], n*a.KVHeads/a.Heads
			turnHalf(query, a.Rope.InvFreq, t)
			for l := range levels {
				var scores []float64
				var mixed [][]float64
				for i, k := range keys[l] {
					scores, mixed = append(scores, a.Scale*dot64(query, k[g*w:][:w])), append(mixed, values[l][i][g*w:][:w])
				}
				weight := 1.0
				if full {
					weight = λ[l]
				}
				for i, v := range softmaxMix(scores, mixed) {
					heads[n*w+i] += weight * v
				}
			}
		}
		out = append(out, c.w.times("o", heads)...)
	}
	return out
}

func TestMKAForwardIsDecode(t *testing.T) {
	for _, c := range cases() {
		switch c.design.(type) {
		case MKA, FastMKA:
			forwardIs(t, c, 19, mkaDecode(c, input(19, c.hidden), 19, nil))
			c.w.add(rand.New(rand.NewPCG(8, 9)), "memory", 7, c.hidden)
			flat := c.w["memory"].Float32s()
			var bank [][]float64
			for i := range 7 {
				bank = append(bank, nil)
				for _, v := range flat[i*c.hidden:][:c.hidden] {
					bank[i] = append(bank[i], float64(v))
				}
			}
			forwardIs(t, c, 19, mkaDecode(c, input(19, c.hidden), 19, bank))
		}
	}
}
