package optim

// Clipping by the global norm.

import (
	"math"

	"github.com/lowkeylm/lowkey/kernel"
)

// clipEps keeps the factor finite, and belongs to the definition.
const clipEps = 1e-6

// ClipNorm returns the L2 norm over the gradients of all params as they come in, and then multiplies them by min(1, limit / (norm + 1e-6)). With limit <= 0 it only measures. A norm that is not finite leaves the gradients as
// they are: the caller must stop there.
//
// Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013.
func ClipNorm(pool *kernel.Pool, params []*Param, limit float64) float64 {
	cuts := spans(params)
	grad := func(s span) []float32 {
		if g := params[s.param].Grad; g != nil {
			return g[s.from:s.to]
		}
		return nil
	}
	squares := make([]float64, len(cuts))
	pool.Run(len(cuts), func(part, _ int) { squares[part] = kernel.SumSquares(grad(cuts[part])) })
	sum := 0.0
	for _, s := range squares {
		sum += s
	}
	norm := math.Sqrt(sum)
	if f := limit / (norm + clipEps); limit > 0 && f < 1 && !math.IsInf(norm, 0) {
		pool.Run(len(cuts), func(part, _ int) { kernel.Scale(grad(cuts[part]), float32(f)) })
	}
	return norm
}
