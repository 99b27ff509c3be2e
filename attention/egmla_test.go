package attention

import "math/rand/v2"

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
