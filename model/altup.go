package model

// AltUp (Alternating Updates, arXiv 2301.13310) as Gemma 3n has it: n residual streams of which one, a, goes through the blocks; a small router predicts what the others would have become, and
// corrects them by what the block did. And the inputs that each layer adds by token.
//
//	x_j    = Match(x_0 U_jᵀ, x_0)                                              j = 1..n-1, x_0 the embedding; Match(y, x): y with the root mean square of x
//	m(x)   = tanh(W_m RMSNorm(x) / d)                                          [n]
//	p_j    = x_j + sum over i of P_ji x_i        P = W_p m(x_a) as [n, n]      prediction
//	b      = block(p_a)
//	x_j    = p_j + (1 + c_j) (b - p_a)           c = W_c m(b)                  correction, for all j
//	x_j   += RMSNorm((act((x_a * s) W_gᵀ) * e_l) W_oᵀ)                         j = 1..n-1; s [d] scales if the configuration says so
//	e_l    = (RMSNorm(x_0 W_eᵀ / sqrt d)_l + sqrt w E_l[id]) / sqrt 2          the input of layer l [w]: a part of a projection and a row of a table for the token's id
//	y      = mean over j of x_0, Match(x_j V_jᵀ, x_0)                          what the last norm reads
//
// Nothing of it looks at other tokens, so it leaves nothing in the cache. W_m, W_p and W_c stay in f32, however other matrices are quantised.

import (
	"fmt"
	"math"

	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

// matchFloor is the least mean square that Match divides by.
const matchFloor = 1e-5

// gemma3nNames: what Gemma 3n has beside the names of Gemma 2 and 3.
func gemma3nNames(c *config.Config) *names {
	n := hfNames.with(map[string]place{"attn_post_norm": at("post_attention_layernorm"), "mlp_norm": at("pre_feedforward_layernorm"), "mlp_post_norm": at("post_feedforward_layernorm"),
		"laurel.left": at("laurel.linear_left"), "laurel.right": at("laurel.linear_right"), "laurel.norm": at("laurel.post_laurel_norm"),
		"altup.norm": at("altup.router_norm"), "altup.router": at("altup.modality_router"), "altup.predict": at("altup.prediction_coefs"), "altup.correct": at("altup.correction_coefs"),
		"altup.scale": at("altup.correct_output_scale"), "input.gate": at("per_layer_input_gate"), "input.out": at("per_layer_projection"), "input.norm": at("post_per_layer_input_norm")})
	top := map[string]place{"inputs.table": at("model.embed_tokens_per_layer"), "inputs.project": at("model.per_layer_model_projection"), "inputs.norm": at("model.per_layer_projection_norm")}
	for j := 1; j < c.AltUp.Streams; j++ {
		top[stream("in", j)], top[stream("out", j)] = at(fmt.Sprintf("model.altup_projections.%d", j-1)), at(fmt.Sprintf("model.altup_unembed_projections.%d", j-1))
	}
	for name, p := range n.top {
		top[name] = p
	}
	n.top = top
	return n
}

func stream(name string, j int) string { return fmt.Sprintf("altup.%s.%d", name, j) }

// inputIDs are the rows of the table that tokens have.
func inputIDs(dst, ids []int32, vocab int) []int32 {
	for _, id := range ids {
		if int(id) >= vocab {
			id = 0
		}
		dst = append(dst, id)
	}
	return dst
}

// altUp is the definition. What goes from layer to layer is [T, streams*hidden], past a block go the predictions.
type altUp struct {
	m *Model
	o tensor.Ops
	config.AltUp
	ids    []int32
	inputs tensor.Tensor // [T, layers*InputWidth]
}

func (s *altUp) top(name string) tensor.Tensor {
	w, _ := s.m.topWeight(name, ".weight")
	return s.o.Weight(w)
}

func (s *altUp) weight(layer int, name string) tensor.Tensor {
	w, _ := layerWeights{s.m.src, s.m.names, layer, ""}.Get(name)
	return s.o.Weight(w)
}

func (s *altUp) norm(groups int) tensor.Norm {
	return tensor.Norm{Eps: s.m.Config.Norm.Eps, PlusOne: s.m.Config.Norm.PlusOne, Groups: groups}
}

// at is stream j of all.
func (s *altUp) at(all tensor.Tensor, j int) tensor.Tensor {
	d := s.m.Config.Hidden
	return s.o.Cols(all, j*d, (j+1)*d)
}

func (s *altUp) enter(x tensor.Tensor) tensor.Tensor {
	o, c := s.o, s.m.Config
	streams := []tensor.Tensor{x}
	for j := 1; j < s.Streams; j++ {
		streams = append(streams, o.Match(o.MatMul(x, s.top(stream("in", j))), x, matchFloor))
	}
	projected := o.RMSNorm(o.Scale(o.MatMul(x, s.top("inputs.project")), 1/math.Sqrt(float64(c.Hidden))), s.top("inputs.norm"), s.norm(len(c.Layers)))
	table := o.Scale(o.Embed(s.top("inputs.table"), inputIDs(nil, s.ids, s.InputVocab)), math.Sqrt(float64(s.InputWidth)))
	s.inputs = o.Scale(o.Add(projected, table), math.Sqrt2/2)
	return o.Concat(streams...)
}

// routed is m(x).
func (s *altUp) routed(layer int, x tensor.Tensor) tensor.Tensor {
	o := s.o
	x = o.MatMul(o.RMSNorm(x, s.weight(layer, "altup.norm"), s.norm(1)), s.weight(layer, "altup.router"))
	return o.Softcap(o.Scale(x, 1/float64(s.m.Config.Hidden)), 1)
}

func (s *altUp) before(layer int, all tensor.Tensor) (x, predicted tensor.Tensor) {
	o := s.o
	p := o.MatMul(s.routed(layer, s.at(all, s.Active)), s.weight(layer, "altup.predict"))
	predicted = o.Add(all, o.Outer(p, all, s.Streams, s.Streams, 1))
	return s.at(predicted, s.Active), predicted
}

func (s *altUp) after(layer int, b, predicted tensor.Tensor) tensor.Tensor {
	o, c := s.o, s.m.Config
	change := o.Add(b, o.Scale(s.at(predicted, s.Active), -1))
	by := o.MatMul(s.routed(layer, b), s.weight(layer, "altup.correct"))
	all := o.Add(o.Add(predicted, o.HeadRepeat(change, s.Streams)), o.Outer(by, change, s.Streams, 1, 1))
	x := s.at(all, s.Active)
	if s.CorrectScale {
		x = o.MulRow(x, s.weight(layer, "altup.scale"))
	}
	x = act(o, &c.Layers[layer].MLP, o.MatMul(x, s.weight(layer, "input.gate")))
	x = o.Mul(x, o.Cols(s.inputs, layer*s.InputWidth, (layer+1)*s.InputWidth))
	x = o.RMSNorm(o.MatMul(x, s.weight(layer, "input.out")), s.weight(layer, "input.norm"), s.norm(1))
	return o.Concat(s.at(all, 0), o.Add(o.Cols(all, c.Hidden, s.Streams*c.Hidden), o.HeadRepeat(x, s.Streams-1)))
}

func (s *altUp) leave(all tensor.Tensor) tensor.Tensor {
	o := s.o
	first := s.at(all, 0)
	sum := first
	for j := 1; j < s.Streams; j++ {
		sum = o.Add(sum, o.Match(o.MatMul(s.at(all, j), s.top(stream("out", j))), first, matchFloor))
	}
	return o.Scale(sum, 1/float64(s.Streams))
}

// streams are the weights of the cached step.
type streams struct {
	config.AltUp
	in, out []*tensor.Linear // of streams 1 and on
	table   *tensor.Table
	project *tensor.Linear
	norm    *tensor.Vector
	layers  []streamLayer
}

type streamLayer struct {
	routerNorm, scale, inputNorm *tensor.Vector // scale is nil where there is none
	router, predict, correct     *tensor.Linear
	gate, out                    *tensor.Linear
}

// flow is what a step has of them: stream j of all is rows [j*tokens, (j+1)*tokens).
type flow struct {
	all, predicted, inputs tensor.Buf
	ids                    []int32
	mark                   tensor.Mark
}

func (e *Engine) loadStreams() (*streams, error) {
	m, c := e.Model, e.Model.Config
	s, d, n, w := &streams{AltUp: c.AltUp}, c.Hidden, c.AltUp.Streams, c.AltUp.InputWidth
	g := e.getter(func(name string) (tensor.Weight, bool) { return m.topWeight(name, ".weight") }, "")
	for j := 1; j < n; j++ {
		s.in, s.out = append(s.in, g.linear(stream("in", j), d, d)), append(s.out, g.linear(stream("out", j), d, d))
	}
	s.table, s.project, s.norm = g.table("inputs.table", s.InputVocab, len(c.Layers)*w), g.linear("inputs.project", len(c.Layers)*w, d), g.vector("inputs.norm", w)
	for i := range c.Layers {
		if g.err != nil {
			break
		}
		g.get = layerWeights{m.src, m.names, i, ""}.Get
		l := streamLayer{routerNorm: g.vector("altup.norm", d), router: g.exact("altup.router", n, d), predict: g.exact("altup.predict", n*n, n), correct: g.exact("altup.correct", n, n),
			gate: g.linear("input.gate", w, d), out: g.linear("input.out", d, w), inputNorm: g.vector("input.norm", d)}
		if s.CorrectScale {
			l.scale = g.vector("altup.scale", d)
		}
		s.layers = append(s.layers, l)
	}
	return s, g.err
}

// part is stream j of x.
func (s *streams) part(x tensor.Buf, j int) tensor.Buf {
	tokens := x.Rows / s.Streams
	return x.Slice(j*tokens, (j+1)*tokens)
}

func (s *streams) enter(e *Engine, x tensor.Buf) {
	ws, f, c := e.ws, &e.flow, e.Model.Config
	f.all, f.inputs = ws.New(s.Streams*x.Rows, x.Cols), ws.New(x.Rows, s.project.Out())
	m := ws.Mark()
	copy(s.part(f.all, 0).Float32s(), x.Float32s())
	for j, l := range s.in {
		y := ws.MatMul(x, l)
		ws.Match(y, x, matchFloor)
		copy(s.part(f.all, j+1).Float32s(), y.Float32s())
	}
	y := ws.MatMul(x, s.project)
	ws.Scale(y, 1/math.Sqrt(float64(c.Hidden)))
	y = ws.RMSNorm(y, s.norm, tensor.Norm{Eps: c.Norm.Eps, PlusOne: c.Norm.PlusOne, Groups: len(c.Layers)})
	f.ids = inputIDs(f.ids[:0], e.ids, s.InputVocab)
	ws.Add(y, ws.Lookup(s.table, f.ids, math.Sqrt(float64(s.InputWidth))), 1)
	ws.Scale(y, math.Sqrt2/2)
	copy(f.inputs.Float32s(), y.Float32s())
	ws.Release(m)
}

func (s *streams) routed(e *Engine, l *streamLayer, x tensor.Buf) tensor.Buf {
	y := e.ws.MatMul(e.applyNorm(x, normWeights{weight: l.routerNorm}), l.router)
	e.ws.Scale(y, 1/float64(x.Cols))
	e.ws.Softcap(y, 1)
	return y
}

// before returns the block's input, which it may change.
func (s *streams) before(e *Engine, layer int) tensor.Buf {
	ws, f, l := e.ws, &e.flow, &s.layers[layer]
	f.mark = ws.Mark()
	p := ws.MatMul(s.routed(e, l, s.part(f.all, s.Active)), l.predict)
	f.predicted = ws.Copy(f.all)
	for j := range s.Streams {
		for i := range s.Streams {
			ws.AddWeighed(s.part(f.predicted, j), s.part(f.all, i), p, j*s.Streams+i)
		}
	}
	return ws.Copy(s.part(f.predicted, s.Active))
}

// after takes the block's output b, which is spent.
func (s *streams) after(e *Engine, layer int, b tensor.Buf) {
	ws, f, l := e.ws, &e.flow, &s.layers[layer]
	by := ws.MatMul(s.routed(e, l, b), l.correct)
	ws.Add(b, s.part(f.predicted, s.Active), -1)
	copy(f.all.Float32s(), f.predicted.Float32s())
	for j := range s.Streams {
		ws.Add(s.part(f.all, j), b, 1)
		ws.AddWeighed(s.part(f.all, j), b, by, j)
	}
	x := ws.Copy(s.part(f.all, s.Active))
	if l.scale != nil {
		ws.MulVector(x, l.scale)
	}
	x = ws.Gated(ws.MatMul(x, l.gate), ws.Cols(f.inputs, layer*s.InputWidth, (layer+1)*s.InputWidth), activation(&e.Model.Config.Layers[layer].MLP))
	x = e.applyNorm(ws.MatMul(x, l.out), normWeights{weight: l.inputNorm})
	for j := 1; j < s.Streams; j++ {
		ws.Add(s.part(f.all, j), x, 1)
	}
	ws.Release(f.mark)
}

// leave makes what the last norm reads, of these rows.
func (s *streams) leave(e *Engine, rows []int) tensor.Buf {
	ws := e.ws
	first := ws.Gather(s.part(e.flow.all, 0), rows)
	sum := ws.Copy(first)
	for j, l := range s.out {
		y := ws.MatMul(ws.Gather(s.part(e.flow.all, j+1), rows), l)
		ws.Match(y, first, matchFloor)
		ws.Add(sum, y, 1)
	}
	ws.Scale(sum, 1/float64(s.Streams))
	return sum
}
