package attention

import "testing"

// tpaDecode rebuilds queries, keys and values from their factors, and decodes token by token.
func tpaDecode(a TPA, w weightMap, x [][]float64) (out []float64) {
	dh := a.HeadDim
	product := func(name string, rank, h, pos int, turns bool, x []float64) []float64 { // 1/R sum_r a_hr b_r
		y := make([]float64, dh)
		for r, f := range w.project("a_"+name, x, h*rank, (h+1)*rank) {
			b := w.project("b_"+name, x, r*dh, (r+1)*dh)
			if turns {
				b = turned(b, pos, a.Rope)
			}
			for i, v := range b {
				y[i] += f * v / float64(rank)
			}
		}
		return y
	}
	keys, values := make([][][]float64, a.Heads), make([][][]float64, a.Heads)
	for t, in := range x {
		var joined []float64
		for h := range a.Heads {
			keys[h], values[h] = append(keys[h], product("k", a.KRank, h, t, true, in)), append(values[h], product("v", a.VRank, h, t, false, in))
			var q []float64
			if a.QRank > 0 {
				q = product("q", a.QRank, h, t, true, in)
			} else {
				q = turned(w.project("q", in, h*dh, (h+1)*dh), t, a.Rope)
			}
			scores := make([]float64, t+1)
			for s, k := range keys[h] {
				scores[s] = a.Scale * dot(q, k)
			}
			o := softmaxMix(scores, values[h])
			if a.OutNorm {
				o = rmsNormed(o, w.plain("out_norm"), a.OutNormEps, 1)
			}
			joined = append(joined, o...)
		}
		out = append(out, w.project("o", joined, 0, a.Hidden)...)
	}
	return out
}

// Factors that weigh scores and probabilities are keys and values that are rebuilt.
func TestTPARebuilt(t *testing.T) {
	seen := 0
	for _, c := range cases() {
		if a, ok := c.design.(TPA); ok {
			seen++
			compareWithLoops(t, c, 66, func(x [][]float64) []float64 { return tpaDecode(a, c.w, x) })
		}
	}
	if seen < 2 {
		t.Fatalf("%d cases", seen)
	}
}
