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
	"github.com/lowkeylm/lowkey/fault"
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
func (m *Model) rescaled(o tensor.Ops, x tensor.Tensor, get func(name string) (tensor.Weight, bool)) tensor.Tensor {
	b, _ := get("bias")
	s, _ := get("scale")
	return o.MulRow(o.AddBias(x, o.Weight(b)), o.Weight(s))
}

// join adds a block's output to the residual.
func (m *Model) join(o tensor.Ops, layer int, block string, x, y tensor.Tensor) tensor.Tensor {
	if !m.Config.Rescaled {
		return o.Add(x, y)
	}
	lw := layerWeights{m.src, m.names, layer, ""}
	return o.Add(m.rescaled(o, x, half(lw, block, "x")), m.rescaled(o, y, half(lw, block, "y")))
}

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

// join adds a block's output to the residual in place; y is spent.
func (e *Engine) join(j *joint, x, y tensor.Buf) {
	if j != nil {
		j.x.apply(e.ws, x)
		j.y.apply(e.ws, y)
	}
	e.ws.Add(x, y, e.Model.Config.ResidualScale)
}

func (e *Engine) loadRescale(get func(name string) (tensor.Weight, bool), what string) (*rescale, error) {
	var v [2]*tensor.Vector
	for i, name := range []string{"bias", "scale"} {
		w, ok := get(name)
		if !ok {
			return nil, fault.New(fault.BadFile, "tensor "+what+" "+name, "missing", "", "")
		}
		if err := w.Check(e.Model.Config.Hidden); err != nil {
			return nil, err
		}
		v[i] = e.packer.Vector(w)
	}
	return &rescale{v[0], v[1]}, nil
}

func (e *Engine) loadJoint(lw layerWeights, block string) (*joint, error) {
	x, err := e.loadRescale(half(lw, block, "x"), block+" residual")
	if err != nil {
		return nil, err
	}
	y, err := e.loadRescale(half(lw, block, "y"), block+" output")
	return &joint{x, y}, err
}

// routerNetwork is the network before a router's last matrix, in f32 as that is.
type routerNetwork struct {
	down, fc1, fc2             *tensor.Linear
	downBias, fc1Bias, fc2Bias *tensor.Vector
	carry, norm                *tensor.Vector // carry is nil in the first layer
	eps                        float64
}

func (e *Engine) loadRouter(w layerWeights, f *config.MLP) (*routerNetwork, error) {
	r, width := &routerNetwork{eps: f.Routing.NetworkEps}, f.Routing.Network
	get := func(name string, shape ...int) (tensor.Weight, error) {
		t, ok := w.Get("router_" + name)
		if !ok {
			return t, missingExpert("router_" + name)
		}
		return t, t.Check(shape...)
	}
	for _, m := range []struct {
		name string
		in   int
		to   **tensor.Linear
		bias **tensor.Vector
	}{{"down", e.Model.Config.Hidden, &r.down, &r.downBias}, {"fc1", width, &r.fc1, &r.fc1Bias}, {"fc2", width, &r.fc2, &r.fc2Bias}} {
		t, err := get(m.name, width, m.in)
		if err != nil {
			return nil, err
		}
		if *m.to, err = e.packer.Floats(width, m.in, t.Float32s()); err != nil {
			return nil, err
		}
		if t, err = get(m.name+".bias", width); err != nil {
			return nil, err
		}
		*m.bias = e.packer.Vector(t)
	}
	t, err := get("norm", width)
	if err != nil {
		return nil, err
	}
	r.norm = e.packer.Vector(t)
	if w.layer > 0 {
		if t, err = get("carry", width); err != nil {
			return nil, err
		}
		r.carry = e.packer.Vector(t)
	}
	return r, nil
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
