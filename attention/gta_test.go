package attention

import (
	"slices"
	"testing"
)

// gtaDecode makes a whole key for every group and token, and decodes token by token.
func gtaDecode(a GTA, w weightMap, x [][]float64) (out []float64) {
	dh := a.headDim()
	keys, states := make([][][]float64, a.KVHeads), make([][][]float64, a.KVHeads)
	for t, in := range x {
		kr := turned(w.project("k_rope", in, 0, a.RopeDim), t, a.Rope)
		for g := range a.KVHeads {
			u := w.project("kv", in, g*dh, (g+1)*dh)
			keys[g], states[g] = append(keys[g], slices.Concat(u[:a.Nope], kr)), append(states[g], u)
		}
		var joined []float64
		for h := range a.Heads {
			q, g := w.project("q", in, h*dh, (h+1)*dh), h/(a.Heads/a.KVHeads)
			q = slices.Concat(q[:a.Nope], turned(q[a.Nope:], t, a.Rope))
			scores := make([]float64, t+1)
			for s, k := range keys[g] {
				scores[s] = a.Scale * dot(q, k)
			}
			joined = append(joined, softmaxMix(scores, states[g])...)
		}
		out = append(out, w.project("o", joined, 0, a.Hidden)...)
	}
	return out
}

// Slices of one row are the key and the value that the paper puts together.
func TestGTALoops(t *testing.T) {
	seen := 0
	for _, c := range cases() {
		if a, ok := c.design.(GTA); ok {
			seen++
			compareWithLoops(t, c, 66, func(x [][]float64) []float64 { return gtaDecode(a, c.w, x) })
		}
	}
	if seen < 3 {
		t.Fatalf("%d cases", seen)
	}
}
