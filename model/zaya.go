package model

// What ZAYA (Zyphra, 2025) has beside its attention, which is CCA, and beside the mixture of moe.go.
//
// Joints: a block's output y joins the residual x as (y + b_y) s_y + (x + b_x) s_x, vectors all four; embeddings begin as (e + b) s.
//
// A router is a network, and the routers of all layers are one recurrence over depth:
//
//	r_l    = W_d x + b_d + s_l r_l-1              s_l a vector; the first layer has no r_l-1
//	logits = W_o GELU(W_2 GELU(W_1 RMSNorm(r_l) + b_1) + b_2)
//
// There is one logit more than experts: the token that chooses it meets no expert in this layer. The one chosen weighs with its own softmax probability; the learned biases balance the choice.
//
// Fresh models of the family are not made here.

import (
	"cmp"

	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

func zayaNames(f *config.MLP) *names {
	const qkv, router = "self_attn.qkv_proj.", "mlp.gate."
	wide := f.ExpertIntermediate
	layer := map[string]place{"attn.q": at(qkv + "q_proj"), "attn.k": at(qkv + "k_proj"), "attn.v": at(qkv + "v_proj_current"), "attn.v_late": at(qkv + "v_proj_delayed"),
		"attn.conv0": at(qkv + "conv_qk_depthwise"), "attn.conv1": at(qkv + "conv_qk_grouped"), "attn.temp": at("self_attn.qk_norm.temp"),
		"moe.gate": cutRows("mlp.experts.gate_up_proj", 0, wide, 2*wide), "moe.up": cutRows("mlp.experts.gate_up_proj", wide, 2*wide, 2*wide), "moe.down": at("mlp.experts.down_proj"),
		"moe.router_down": at(router + "down_proj"), "moe.router_norm": at(router + "router_mlp.norm"), "moe.router_fc1": at(router + "router_mlp.fc1"), "moe.router_fc2": at(router + "router_mlp.fc2"),
		"moe.router": at(router + "router_mlp.out_proj"), "moe.router_bias": at(router + "balancing_biases"), "moe.router_carry": at(router + "router_states_scale")}
	for half, joint := range map[string]string{"attn": "post_attention_residual_scale.", "mlp": "post_mlp_residual_scale."} {
		layer[half+"_join.y_bias"], layer[half+"_join.y_scale"] = at(joint+"hidden_states_bias"), at(joint+"hidden_states_scale")
		layer[half+"_join.x_bias"], layer[half+"_join.x_scale"] = at(joint+"residual_bias"), at(joint+"residual_scale")
	}
	n := hfNames.with(layer)
	top := map[string]place{"embed_bias": at("model.input_hidden_states_bias"), "embed_scale": at("model.input_hidden_states_scale")}
	for name, p := range n.top {
		top[name] = p
	}
	n.top = top
	return n
}

// half finds the vectors NAME_bias and NAME_scale of one side of a joint.
func half(lw layerWeights, block, side string) func(name string) (tensor.Weight, bool) {
	return func(name string) (tensor.Weight, bool) { return lw.Get(block + "_join." + side + "_" + name) }
}

// rescaled is (x + b) s.
func rescaled(o tensor.Ops, x tensor.Tensor, get func(name string) (tensor.Weight, bool)) tensor.Tensor {
	b, _ := get("bias")
	s, _ := get("scale")
	return o.MulRow(o.AddBias(x, o.Weight(b)), o.Weight(s))
}

// forwardJoint adds the output of half a block to the residual.
func forwardJoint(o tensor.Ops, lw layerWeights, block string, x, y tensor.Tensor) tensor.Tensor {
	return o.Add(rescaled(o, x, half(lw, block, "x")), rescaled(o, y, half(lw, block, "y")))
}

// routerState goes beside the residual, behind its columns: what a router hands on to the next layer's, at first zeros.
type routerState struct {
	o             tensor.Ops
	hidden, width int
}

func (s routerState) enter(x tensor.Tensor) tensor.Tensor {
	tokens := x.Shape()[0]
	return s.o.Concat(x, s.o.Leaf([]int{tokens, s.width}, make([]float32, tokens*s.width)))
}

func (s routerState) before(_ int, all tensor.Tensor) (x, state tensor.Tensor) {
	return s.leave(all), s.o.Cols(all, s.hidden, s.hidden+s.width)
}

func (s routerState) after(_ int, x, state tensor.Tensor) tensor.Tensor { return s.o.Concat(x, state) }
func (s routerState) leave(all tensor.Tensor) tensor.Tensor             { return s.o.Cols(all, 0, s.hidden) }

// forwardRouter makes what the router's last matrix reads, and what goes on to the next layer's router.
func forwardRouter(o tensor.Ops, w layerWeights, f *config.MLP, x, before tensor.Tensor) (in, after tensor.Tensor) {
	weight := func(name string) tensor.Tensor { t, _ := w.Get("router_" + name); return o.Weight(t) }
	linear := func(name string, x tensor.Tensor) tensor.Tensor {
		return o.AddBias(o.MatMul(x, weight(name)), weight(name+".bias"))
	}
	after = linear("down", x)
	if w.layer > 0 {
		after = o.Add(after, o.MulRow(before, weight("carry")))
	}
	in = o.RMSNorm(after, weight("norm"), tensor.Norm{Eps: f.Routing.NetworkEps})
	return o.GELU(linear("fc2", o.GELU(linear("fc1", in), false)), false), after
}

// rescale and joint are the same in the cached step.
type rescale struct{ bias, scale *tensor.Vector }

type joint struct{ x, y *rescale }

func (r *rescale) apply(ws *tensor.Workspace, x tensor.Buf) {
	ws.AddVector(x, r.bias)
	ws.MulVector(x, r.scale)
}

func (j *joint) join(e *Engine, x, _, y tensor.Buf) { // y is spent
	j.x.apply(e.ws, x)
	j.y.apply(e.ws, y)
	e.ws.Add(x, y, e.Model.Config.ResidualScale)
}

func loadRescale(g *getter, d int) *rescale {
	return &rescale{g.vector("bias", d), g.vector("scale", d)}
}

func (e *Engine) loadJoint(lw layerWeights, block string) (*joint, error) {
	d, x, y := e.Model.Config.Hidden, e.getter(lw.Get, block+"_join.x_"), e.getter(lw.Get, block+"_join.y_")
	j := &joint{loadRescale(x, d), loadRescale(y, d)}
	return j, cmp.Or(x.err, y.err)
}

// routerNetwork is the network before a router's last matrix, in f32 as that is.
type routerNetwork struct {
	down, fc1, fc2             *tensor.Linear
	downBias, fc1Bias, fc2Bias *tensor.Vector
	carry, norm                *tensor.Vector // carry is nil in the first layer
	eps                        float64
}

func (e *Engine) loadRouter(w layerWeights, f *config.MLP) (*routerNetwork, error) {
	first := w.layer == 0
	w.prefix = ""
	g, width := e.getter(w.Get, "moe.router_"), f.Routing.Network
	r := &routerNetwork{eps: f.Routing.NetworkEps, norm: g.vector("norm", width),
		down: g.exact("down", width, e.Model.Config.Hidden), fc1: g.exact("fc1", width, width), fc2: g.exact("fc2", width, width),
		downBias: g.vector("down.bias", width), fc1Bias: g.vector("fc1.bias", width), fc2Bias: g.vector("fc2.bias", width)}
	if !first {
		r.carry = g.vector("carry", width)
	}
	return r, g.err
}

// routed is forwardRouter in the cached step; what goes on lies in e.carried.
func (e *Engine) routed(r *routerNetwork, h tensor.Buf) tensor.Buf {
	ws := e.ws
	state := ws.MatMul(h, r.down)
	ws.AddVector(state, r.downBias)
	if r.carry != nil {
		ws.MulVector(e.carried, r.carry)
		ws.Add(state, e.carried, 1)
	}
	copy(e.carried.Float32s(), state.Float32s())
	x := ws.MatMul(ws.RMSNorm(state, r.norm, tensor.Norm{Eps: r.eps}), r.fc1)
	ws.AddVector(x, r.fc1Bias)
	ws.Activate(x, tensor.GELU)
	x = ws.MatMul(x, r.fc2)
	ws.AddVector(x, r.fc2Bias)
	ws.Activate(x, tensor.GELU)
	return x
}
