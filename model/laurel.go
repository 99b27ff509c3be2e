package model

// LAUREL (Learned Augmented Residual Layer, arXiv 2411.07501), in Gemma 3n's low-rank form: beside attention's output y, a learned map of what attention read joins the residual.
//
//	x' = (x + y + h + RMSNorm(h W_lᵀ W_rᵀ)) / sqrt 2        h: the normed residual that attention read; W_l [r, d], W_r [d, r]

import (
	"math"

	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

func forwardLaurel(o tensor.Ops, lw layerWeights, norm config.Norm, x, h, y tensor.Tensor) tensor.Tensor {
	weight := func(name string) tensor.Tensor { t, _ := lw.Get("laurel." + name); return o.Weight(t) }
	z := o.RMSNorm(o.MatMul(o.MatMul(h, weight("left")), weight("right")), weight("norm"), tensor.Norm{Eps: norm.Eps, PlusOne: norm.PlusOne})
	return o.Scale(o.Add(o.Add(x, y), o.Add(h, z)), math.Sqrt2/2)
}

type laurel struct {
	left, right *tensor.Linear
	norm        normWeights
}

func (l *laurel) join(e *Engine, x, h, y tensor.Buf) {
	ws := e.ws
	ws.Add(x, y, 1)
	ws.Add(x, h, 1)
	ws.Add(x, e.applyNorm(ws.MatMul(ws.MatMul(h, l.left), l.right), l.norm), 1)
	ws.Scale(x, math.Sqrt2/2)
}

func (e *Engine) loadLaurel(lw layerWeights) (*laurel, error) {
	d, r := e.Model.Config.Hidden, e.Model.Config.LaurelRank
	l, g := &laurel{}, e.getter(lw.Get, "laurel.")
	l.left, l.right, l.norm.weight = g.linear("left", r, d), g.linear("right", d, r), g.vector("norm", d)
	return l, g.err
}
