package attention

import (
	"math"
	"slices"
	"testing"
)

// latentQuery is [q_h ; qr_h] of all heads, turned, and latentRow what one token leaves behind: as many latents as there are norms, and kr.
func latentQuery(a MLA, w weightMap, x []float64, pos int) (q [][]float64) {
	name, each := "q", a.Nope+a.RopeDim
	if a.QRank > 0 {
		x, name = rmsNormed(w.project("q_a", x, 0, a.QRank), w.plain("q_a_norm"), a.Eps, a.QScale), "q_b"
	}
	for h := range a.Heads {
		y := w.project(name, x, h*each, (h+1)*each)
		q = append(q, append(y[:a.Nope:a.Nope], turned(y[a.Nope:], pos, a.Rope)...))
	}
	return q
}

func latentRow(a MLA, w weightMap, norms []string, x []float64, pos int) (c [][]float64, kr []float64) {
	r := a.KVRank / len(norms)
	for j, norm := range norms {
		c = append(c, rmsNormed(w.project("kv_a", x, j*r, (j+1)*r), w.plain(norm), a.Eps, a.KVScale))
	}
	return c, turned(w.project("kv_a", x, a.KVRank, a.KVRank+a.RopeDim), pos, a.Rope)
}

func rmsNormed(x []float64, weight plain, eps, scale float64) (y []float64) {
	by := scale / math.Sqrt(dot(x, x)/float64(len(x))+eps)
	for i, v := range x {
		y = append(y, by*v*weight.x[i])
	}
	return y
}

// latentDecode rebuilds the key and the value of every head for every token, and decodes token by token: MLA has one latent, GLA several and one branch, MLRA several branches, each with softmaxes of its own.
func latentDecode(a MLA, norms, ups []string, branches int, outScale float64, w weightMap, x [][]float64) (out []float64) {
	n, dn, both, latents := a.Heads, a.Nope, a.Nope+a.ValueDim, len(norms)
	block := n * branches / latents // heads of a branch that read the same latent
	keys, values := map[[2]int][][]float64{}, map[[2]int][][]float64{}
	for t, in := range x {
		q := latentQuery(a, w, in, t)
		c, kr := latentRow(a, w, norms, in, t)
		joined := make([]float64, n*a.ValueDim)
		for b := range branches {
			for h := range n {
				j, at := b*latents/branches+h/block, [2]int{b, h}
				kv := w.plain(ups[j]).times(c[j], h%block*both, (h%block+1)*both)
				keys[at], values[at] = append(keys[at], slices.Concat(kv[:dn], kr)), append(values[at], kv[dn:])
				scores := make([]float64, t+1)
				for s, k := range keys[at] {
					scores[s] = a.Scale * dot(q[h], k)
				}
				for i, v := range softmaxMix(scores, values[at]) {
					joined[h*a.ValueDim+i] += outScale * v
				}
			}
		}
		out = append(out, w.project("o", joined, 0, a.Hidden)...)
	}
	return out
}

// Scores over latents, of all branches in one call, are those of keys that are rebuilt.
func TestLatentsRebuilt(t *testing.T) {
	seen := 0
	for _, c := range cases() {
		a, norms, ups, branches, outScale := MLA{}, []string{"kv_a_norm"}, []string{"kv_b"}, 1, 1.0
		switch d := c.design.(type) {
		case MLA:
			a = d
		case GLA:
			a, norms, ups = d.MLA, d.norms(), d.ups()
		case MLRA:
			a, norms, ups, branches, outScale = d.MLA, d.norms(), d.ups(), d.Branches, d.OutScale
		default:
			continue
		}
		seen++
		compareWithLoops(t, c, 66, func(x [][]float64) []float64 { return latentDecode(a, norms, ups, branches, outScale, c.w, x) })
	}
	if seen < 6 {
		t.Fatalf("%d cases", seen)
	}
}
