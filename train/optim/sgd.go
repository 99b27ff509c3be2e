package optim

// Stochastic gradient descent with momentum, plain or Nesterov's.

import (
	"fmt"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
)

// SGDConfig: b = momentum b + g; p = (1 - lr Decay) p - lr b, or with Nesterov - lr (g + momentum b).
//
// Sutskever, Martens, Dahl and Hinton, On the importance of initialization and momentum in deep learning, 2013.
type SGDConfig struct {
	Momentum float64
	Nesterov bool
	Decay    float64
}

// Check refuses values that cannot train.
func (c SGDConfig) Check() error {
	if !(c.Momentum >= 0 && c.Momentum < 1) {
		return fault.New(fault.BadInput, "sgd momentum", fmt.Sprint(c.Momentum), "it lies in [0, 1)", "0.9 is usual")
	}
	return checkDecay(c.Decay)
}

type sgd struct {
	elementwise
	config SGDConfig
}

// NewSGD trains params by SGD. config must pass Check.
func NewSGD(pool *kernel.Pool, params []*Param, config SGDConfig) Optimizer {
	return &sgd{newElementwise(pool, params, "momentum"), config}
}

func (s *sgd) Step(lr float64) {
	s.steps++
	momentum, rate := float32(s.config.Momentum), float32(-lr)
	s.each(func(p *Param, data, grad, b, _ []float32) {
		kernel.Scale(b, momentum)
		kernel.Add(b, grad)
		if p.Decay && s.config.Decay != 0 {
			kernel.Scale(data, float32(1-lr*s.config.Decay))
		}
		if s.config.Nesterov {
			kernel.AddScaled(data, grad, rate)
			kernel.AddScaled(data, b, float32(-lr*s.config.Momentum))
		} else {
			kernel.AddScaled(data, b, rate)
		}
	})
}
