package attention

import (
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// MoAS is Mixture of Attention Schemes (arXiv 2512.20650): several whole attentions side by side in a layer, weighed token by token.
//
//	o^i = attention i of x, with weights of its own     [T, d]    i = mha (H heads of keys and values), gqa (G), mqa (1), each GQA
//	g   = softmax(GELU(x W1) W2)                        [T, 3]    the router
//	y_t = sum_i g_ti o^i_t
//
// Training adds the paper's 0.01 times the mean square of mean_t g - 1/3, so that no attention starves. The paper places tokens by learned absolute positions; here keys and queries turn.
//
// One token leaves the rows of all attentions behind: 2 d_h (H + G + 1) elements a layer, MORE than the 2 d_h H of MHA. It has to: whichever a token prefers, a later one may weigh any of the
// three, and reads it over all rows. So the mixture itself saves nothing, and neither would choosing for every token.
//
// Routed: a layer that is held to one attention (one entry in Schemes, no router, g = 1) is that attention, with its cache: 2 d_h H, 2 d_h G or 2 d_h elements. A mixture becomes routed by
// choosing for each layer and dropping the other weights (convert/moas); that is another function, whose loss must be measured.
//
// Nothing folds. A step runs the step of each attention over its own streams of the layer's rows.
// Will not do: windows; a choice of attention by token.
//
// Weights: SCHEME.q, SCHEME.k, SCHEME.v, SCHEME.o as GQA's for every scheme; router_a [RouterDim, d] (W1), router_b [schemes, RouterDim] (W2).
type MoAS struct {
	Hidden, RouterDim int
	Schemes           []Scheme
}

// Scheme is one attention of a mixture.
type Scheme struct {
	Name string
	GQA
}

// balance is the paper's weight of the loss that keeps the router even.
const balance = 0.01

// routed reports whether one attention is all there is.
func (a MoAS) routed() bool { return len(a.Schemes) == 1 }

func (a MoAS) Layout() kvcache.Layout {
	var l kvcache.Layout
	for _, s := range a.Schemes {
		for _, stream := range s.GQA.Layout().Streams {
			if !a.routed() {
				stream.Name = s.Name + "_" + stream.Name
			}
			l.Streams = append(l.Streams, stream)
		}
	}
	return l
}

func (a MoAS) Params() []Param {
	var p []Param
	for _, s := range a.Schemes {
		for _, q := range s.GQA.Params() {
			q.Name = s.Name + "." + q.Name
			p = append(p, q)
		}
	}
	if a.routed() {
		return p
	}
	return append(p, Param{"router_a", []int{a.RouterDim, a.Hidden}, Normal}, Param{"router_b", []int{len(a.Schemes), a.RouterDim}, Normal})
}

func (a MoAS) Forward(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) tensor.Tensor {
	var ys []tensor.Tensor
	for _, s := range a.Schemes {
		ys = append(ys, s.GQA.Forward(o, within{w, s.Name + "."}, x, pos))
	}
	if a.routed() {
		return ys[0]
	}
	g := o.Softmax(linear(o, w, "router_b", o.GELU(linear(o, w, "router_a", x), false)))
	return o.Outer(tensor.Balance(o, g, balance), o.Concat(ys...), 1, len(ys), 1)
}

// within are the weights whose names begin with a prefix.
type within struct {
	Weights
	prefix string
}

func (w within) Get(name string) (tensor.Weight, bool) { return w.Weights.Get(w.prefix + name) }

type moasCached struct {
	MoAS
	parts  []part
	w1, w2 *tensor.Linear
}

func (a MoAS) Bind(w Weights, p *tensor.Packer) (Cached, error) {
	c := &moasCached{MoAS: a}
	first := 0
	for _, s := range a.Schemes {
		cached, err := s.GQA.Bind(within{w, s.Name + "."}, p)
		if err != nil {
			return nil, err
		}
		c.parts = append(c.parts, part{Cached: cached, view: cached.View(), first: first})
		first += len(s.GQA.Layout().Streams)
	}
	if a.routed() {
		return c.parts[0].Cached, nil
	}
	b := &binder{w: w, p: p}
	c.w1, c.w2 = b.linear("router_a", a.RouterDim, a.Hidden), b.linear("router_b", len(a.Schemes), a.RouterDim)
	return c, b.err
}

// View is the first attention's; each part of a step has its own.
func (c *moasCached) View() kernel.Attention { return c.parts[0].view }

func (c *moasCached) Step(s *Step, x tensor.Buf) tensor.Buf {
	g := s.MatMul(x, c.w1)
	s.Activate(g, tensor.GELU)
	g = s.MatMul(g, c.w2)
	s.Softmax(g)
	var y tensor.Buf
	for i := range c.parts {
		o := s.part(&c.parts[i], x)
		if i > 0 {
			o = s.HeadConcat(y, o, 1)
		}
		y = o
	}
	return s.Outer(g, y, 1, len(c.parts), 1)
}

// part is one of several attentions of a layer: it has the layer's streams from first on.
type part struct {
	Cached
	view  kernel.Attention
	first int
	step  Step
}

// part runs the step of one attention over its streams.
func (s *Step) part(p *part, x tensor.Buf) tensor.Buf {
	p.view.Planes, p.view.Int8 = s.View.Planes[p.first:], s.View.Int8
	spans := p.step.spans
	p.step = *s
	p.step.View, p.step.Types, p.step.first, p.step.spans = &p.view, s.Types[p.first:], s.first+p.first, spans
	return p.Cached.Step(&p.step, x)
}
