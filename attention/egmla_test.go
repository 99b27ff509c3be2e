package attention

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Two rows of the table of designs, one with a norm's bias. Their ids repeat inside a tile: see tokenIDs.
func init() {
	for _, c := range []struct {
		name  string
		qrank int
	}{{"eg-mla", 24}, {"eg-mla without query rank or bias", 0}} {
		moreCases = append(moreCases, func(rng *rand.Rand) testCase {
			a := EGMLA{MLA: MLA{Hidden: 40, Heads: 4, QRank: c.qrank, KVRank: 32, Nope: 12, RopeDim: 8, ValueDim: 10, Scale: 0.22, QScale: 1.1, KVScale: 0.9, Eps: 1e-6, Rope: ropeOf(8, true)},
				Vocab: 50, GateDim: 24, NormEps: 1e-5}
			w := weightMap{}
			for _, p := range a.Params() {
				w.add(rng, p.Name, p.Shape...)
			}
			if c.qrank > 0 {
				w.add(rng, "kv_norm.bias", 4*22)
			}
			return testCase{c.name, 40, a, w, 32 + 8}
		})
	}
}

// egmlaDecode makes the gated, normed keys and values of every token, and decodes token by token.
func egmlaDecode(a EGMLA, w weightMap, ids []int32, x [][]float64) (out []float64) {
	m, n, both := a.MLA, a.MLA.Heads, a.MLA.Nope+a.MLA.ValueDim
	table := w.plain("gate_embed")
	keys, values := make([][][]float64, n), make([][][]float64, n)
	for t, in := range x {
		c, kr := latentRow(m, w, []string{"kv_a_norm"}, in, t)
		kv := w.times("kv_b", c[0])
		for i, g := range w.times("gate", table.x[int(ids[t])*a.GateDim:][:a.GateDim]) {
			kv[i] *= g
		}
		kv = w.layerNorm("kv_norm", kv, a.NormEps)
		var joined []float64
		for h, q := range latentQuery(m, w, in, t) {
			own := kv[h*both:][:both]
			keys[h], values[h] = append(keys[h], slices.Concat(own[:m.Nope], kr)), append(values[h], own[m.Nope:])
			scores := make([]float64, t+1)
			for s, k := range keys[h] {
				scores[s] = m.Scale * dot(q, k)
			}
			joined = append(joined, softmaxMix(scores, values[h])...)
		}
		out = append(out, w.project("o", joined, 0, m.Hidden)...)
	}
	return out
}

// Tiles that are rebuilt from latents and ids, with the norm left to queries and outputs, are the paper's keys and values.
func TestEGMLALoops(t *testing.T) {
	seen := 0
	for _, c := range cases() {
		if a, ok := c.design.(EGMLA); ok {
			seen++
			compareWithLoops(t, c, 66, func(x [][]float64) []float64 { return egmlaDecode(a, c.w, tokenIDs(0, 66), x) })
		}
	}
	if seen < 2 {
		t.Fatalf("%d cases", seen)
	}
}
