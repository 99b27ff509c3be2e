package optim

// Stochastic gradient descent with momentum, plain or Nesterov's.

import (
	"fmt"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
)

// SGDConfig: with g' = g + Decay p, b = g' at the first step, then momentum b + (1 - Dampening) g'; p -= lr b, or with Nesterov lr (g' + momentum b). Without momentum b is g'.
//
// Sutskever, Martens, Dahl and Hinton, On the importance of initialization and momentum in deep learning, 2013.
type SGDConfig struct {
	Momentum  float64
	Dampening float64
	Nesterov  bool // not with Dampening
	Decay     float64
}

// Check refuses values that cannot train.
func (c SGDConfig) Check() error {
	if !(c.Momentum >= 0 && c.Momentum < 1) {
		return fault.New(fault.BadInput, "sgd momentum", fmt.Sprint(c.Momentum), "it lies in [0, 1)", "0.9 is usual")
	}
	if !(c.Dampening >= 0 && c.Dampening <= 1) || c.Nesterov && c.Dampening != 0 {
		return fault.New(fault.BadInput, "sgd dampening", fmt.Sprint(c.Dampening), "it lies in [0, 1], and is 0 with Nesterov's momentum", "0 is usual")
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
	c := s.config
	share := float32(1 - c.Dampening)
	if s.steps == 1 || c.Momentum == 0 {
		share = 1
	}
	s.each(func(_ int, p *Param, data, grad, b, _ []float32) {
		decay := 0.0
		if p.Decay {
			decay = c.Decay
		}
		kernel.Scale(b, float32(c.Momentum))
		kernel.AddScaled(b, grad, share)
		kernel.AddScaled(b, data, share*float32(decay))
		if c.Nesterov {
			kernel.Scale(data, float32(1-lr*decay))
			kernel.AddScaled(data, grad, float32(-lr))
			kernel.AddScaled(data, b, float32(-lr*c.Momentum))
		} else {
			kernel.AddScaled(data, b, float32(-lr))
		}
	})
}
