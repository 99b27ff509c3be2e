package optim

// Adam and AdamW. The arithmetic of an element is kernel.Adam's.

import (
	"fmt"
	"math"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
)

// AdamConfig: with Decay 0 it is Adam, else AdamW, whose decay is lr * Decay of the parameters that decay. With Coupled, Decay * parameter joins the gradient instead, and so both averages (Adam with an L2 penalty).
type AdamConfig struct {
	Beta1, Beta2 float64
	Eps          float64
	Decay        float64
	Coupled      bool
}

// DefaultAdam has the values most language models are trained with.
var DefaultAdam = AdamConfig{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Decay: 0.1}

// Check refuses values that cannot train.
func (c AdamConfig) Check() error {
	for _, b := range []struct {
		name  string
		value float64
	}{{"beta1", c.Beta1}, {"beta2", c.Beta2}} {
		if !(b.value >= 0 && b.value < 1) {
			return fault.New(fault.BadInput, "adam "+b.name, fmt.Sprint(b.value), "it lies in [0, 1)", "0.9 and 0.95 are usual")
		}
	}
	if !(c.Eps > 0) || math.IsInf(c.Eps, 0) {
		return fault.New(fault.BadInput, "adam eps", fmt.Sprint(c.Eps), "it is above 0", "1e-8 is usual")
	}
	return checkDecay(c.Decay)
}

func checkDecay(d float64) error {
	if !(d >= 0) || math.IsInf(d, 0) {
		return fault.New(fault.BadInput, "weight decay", fmt.Sprint(d), "it is 0 or above", "0.1 is usual")
	}
	return nil
}

// Step gives the factors of step t (from 1) at the learning rate lr; decays says whether the parameter does.
func (c AdamConfig) Step(t int, lr float64, decays bool) kernel.AdamStep {
	s := kernel.AdamStep{
		Beta1: c.Beta1, Beta2: c.Beta2, Shrink: 1, Eps: c.Eps,
		Rate: lr / (1 - math.Pow(c.Beta1, float64(t))), Root: 1 / math.Sqrt(1-math.Pow(c.Beta2, float64(t))),
	}
	if decays && !c.Coupled {
		s.Shrink = 1 - lr*c.Decay
	}
	return s
}

type adam struct {
	elementwise
	config AdamConfig
	sums   []float32 // for each worker, a chunk of gradients with their penalty
}

// NewAdam trains params by Adam or AdamW. config must pass Check.
func NewAdam(pool *kernel.Pool, params []*Param, config AdamConfig) Optimizer {
	a := &adam{elementwise: newElementwise(pool, params, "m", "v"), config: config}
	if config.Coupled {
		a.sums = make([]float32, pool.Threads()*chunk)
	}
	return a
}

func (a *adam) Step(lr float64) {
	a.steps++
	plain, decayed := a.config.Step(a.steps, lr, false), a.config.Step(a.steps, lr, true)
	a.each(func(worker int, p *Param, data, grad, m, v []float32) {
		s := plain
		if p.Decay {
			s = decayed
		}
		if p.Decay && a.config.Coupled && a.config.Decay != 0 {
			sum := a.sums[worker*chunk:][:len(grad)]
			copy(sum, grad)
			kernel.AddScaled(sum, data, float32(a.config.Decay))
			grad = sum
		}
		kernel.Adam(data, m, v, grad, s)
	})
}
