package model

// Mixtures of experts: a feed-forward block of many gated MLPs, of which a router chooses a few for each token (see tensor.Route).
//
//	s = W_r x,  w = Route(s, b)
//	y = sum over e of w_e down_e(act(gate_e x) * up_e x)  +  the shared expert's MLP of x, unscaled        gates: see gate.go
//
// The definition runs every expert on every token and lets w, zero for experts not chosen, drop the rest: an expert for each column of w. The cached step runs an expert on
// the rows that chose it. A product's row does not depend on the rows beside it, and a token sums its experts in ascending order, whoever else is in the step: the same
// bits in any batch. The router is kept in f32, however other matrices are quantised, so that quantising does not move the choice for its own account.
//
// Router and experts may all have biases (GPT-OSS). A router may be a network that hands its state on from layer to layer (ZAYA): see zaya.go. Where files keep experts: experts.go.

import (
	"fmt"

	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

// routeOf is how a block chooses.
func routeOf(f *config.MLP) tensor.Route {
	r := f.Routing
	return tensor.Route{TopK: f.ExpertsPerToken, Sigmoid: r.Score == config.SigmoidScore, Groups: r.Groups, TopGroups: r.TopGroups, GroupTop: r.GroupTop, Norm: r.Norm, Scale: r.Scale}
}

// forwardMoE is the definition. before is the state that the layer before handed on to this router, after what this one hands on; where routers have none, it is handed through.
func forwardMoE(o tensor.Ops, w layerWeights, f *config.MLP, x, before tensor.Tensor) (y, after tensor.Tensor) {
	gated := func(get func(name string) (tensor.Weight, bool)) tensor.Tensor {
		linear := func(name string, x tensor.Tensor) tensor.Tensor {
			t, _ := get(name)
			y := o.MatMul(x, o.Weight(t))
			if f.Bias {
				t, _ = get(name + ".bias")
				y = o.AddBias(y, o.Weight(t))
			}
			return y
		}
		return linear("down", gatedBy(o, f, linear("gate", x), linear("up", x)))
	}
	router, _ := w.Get("router")
	var bias tensor.Tensor
	if f.Routing.Bias {
		b, _ := w.Get("router_bias")
		bias = o.Weight(b)
	}
	in, after := x, before
	if f.Routing.Network > 0 {
		in, after = forwardRouter(o, w, f, x, before)
	}
	logits := o.MatMul(in, o.Weight(router))
	if f.Bias {
		b, _ := w.Get("router.bias")
		logits = o.AddBias(logits, o.Weight(b))
	}
	weights := o.Route(logits, bias, routeOf(f))
	for e := range f.Experts {
		part := gated(func(name string) (tensor.Weight, bool) { return w.expert(name, e, f.Experts) })
		part = o.Outer(o.Cols(weights, e, e+1), part, 1, 1, 1) // each row times its weight
		if e == 0 {
			y = part
		} else {
			y = o.Add(y, part)
		}
	}
	if f.SharedIntermediate > 0 {
		y = o.Add(y, gated(func(name string) (tensor.Weight, bool) { return w.Get("shared_" + name) }))
	}
	return y, after
}

// routes is the number of a router's logits, and the width of what they are made of.
func routes(f *config.MLP, hidden int) (n, in int) {
	n, in = f.Experts, hidden
	if f.Routing.Skip {
		n++
	}
	if f.Routing.Network > 0 {
		in = f.Routing.Network
	}
	return n, in
}

// expertWeights are the packed matrices of one gated MLP.
type expertWeights struct{ gate, up, down *tensor.Linear }

// mixture is the block of the cached step.
type mixture struct {
	network *routerNetwork // before router; nil where there is none
	router  *tensor.Linear
	logits  *tensor.Vector // the router's bias, nil where it has none
	bias    *tensor.Vector // that of the choice, likewise
	experts []expertWeights
	shared  expertWeights // nil matrices where there is none
	route   tensor.Route
}

func (e *Engine) loadMoE(w layerWeights, f *config.MLP) (*mixture, error) {
	hidden := e.Model.Config.Hidden
	b := &mixture{route: routeOf(f)}
	t, err := w.router(f, hidden)
	if err != nil {
		return nil, err
	}
	n, in := routes(f, hidden)
	if b.router, err = e.packer.Floats(n, in, t.Float32s()); err != nil {
		return nil, err
	}
	if f.Routing.Network > 0 {
		if b.network, err = e.loadRouter(w, f); err != nil {
			return nil, err
		}
	}
	if f.Bias {
		if t, err = w.routerBias("router.bias", f); err != nil {
			return nil, err
		}
		b.logits = e.packer.Vector(t)
	}
	if f.Routing.Bias {
		if t, err = w.routerBias("router_bias", f); err != nil {
			return nil, err
		}
		b.bias = e.packer.Vector(t)
	}
	load := func(width int, get func(name string) (tensor.Weight, bool)) (x expertWeights, err error) {
		linear := func(name string, out, in int) *tensor.Linear {
			if err != nil {
				return nil
			}
			t, ok := get(name)
			if !ok {
				err = missingExpert(name)
				return nil
			}
			if err = t.Check(out, in); err != nil {
				return nil
			}
			var bias *tensor.Weight
			if f.Bias {
				v, ok := get(name + ".bias")
				if !ok {
					err = missingExpert(name + ".bias")
					return nil
				}
				bias = &v
			}
			var l *tensor.Linear
			l, err = e.packer.Linear(t, bias)
			e.Model.release(t.Name)
			return l
		}
		x = expertWeights{linear("gate", width, hidden), linear("up", width, hidden), linear("down", hidden, width)}
		return x, err
	}
	for i := range f.Experts {
		x, err := load(f.ExpertIntermediate, func(name string) (tensor.Weight, bool) { return w.expert(name, i, f.Experts) })
		if err != nil {
			return nil, fmt.Errorf("expert %d: %w", i, err)
		}
		b.experts = append(b.experts, x)
	}
	if f.SharedIntermediate > 0 {
		b.shared, err = load(f.SharedIntermediate, func(name string) (tensor.Weight, bool) { return w.Get("shared_" + name) })
	}
	return b, err
}

func missingExpert(name string) error {
	return tensor.Missing("moe." + name)
}

func (w layerWeights) router(f *config.MLP, hidden int) (tensor.Weight, error) {
	t, ok := w.Get("router")
	if !ok {
		return t, missingExpert("router")
	}
	n, in := routes(f, hidden)
	return t, t.Check(n, in)
}

// routerBias is a vector of a number for each of the router's logits.
func (w layerWeights) routerBias(name string, f *config.MLP) (tensor.Weight, error) {
	t, ok := w.Get(name)
	if !ok {
		return t, missingExpert(name)
	}
	n, _ := routes(f, 0)
	return t, t.Check(n)
}

// moe runs a mixture on the rows of h.
func (e *Engine) moe(b *mixture, f *config.MLP, h tensor.Buf) tensor.Buf {
	ws := e.ws
	y := ws.New(h.Rows, h.Cols)
	clear(y.Float32s())
	in := h
	if b.network != nil {
		in = e.routed(b.network, h)
	}
	weights := ws.MatMul(in, b.router)
	if b.logits != nil {
		ws.AddVector(weights, b.logits)
	}
	ws.Route(weights, b.bias, b.route)
	for i := range b.experts {
		if e.rows = weights.Chosen(e.rows[:0], i); len(e.rows) == 0 {
			continue
		}
		m := ws.Mark()
		in := h
		if len(e.rows) < h.Rows {
			in = ws.Gather(h, e.rows)
		}
		ws.Scatter(y, e.gated(&b.experts[i], f, in), e.rows, weights, i)
		ws.Release(m)
	}
	if b.shared.up != nil {
		m := ws.Mark()
		ws.Add(y, e.gated(&b.shared, f, h), 1)
		ws.Release(m)
	}
	return y
}
