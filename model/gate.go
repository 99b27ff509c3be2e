package model

// The gates of MLPs: what the last matrix reads, made of two projections g and u of x.
//
//	gated      act(g) u
//	clamped    (u' + 1) g' sigmoid(alpha g')       g' = min(g, limit), u' = u within +-limit (GPT-OSS)
//	sparse     act(max(0, g - m - c s)) u          m, s: mean and standard deviation of g; c: below which a normal number lies with probability Sparsity (Gemma 3n)

import (
	"math"

	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

func act(o tensor.Ops, f *config.MLP, x tensor.Tensor) tensor.Tensor {
	if activation(f) == tensor.SiLU {
		return o.SiLU(x)
	}
	return o.GELU(x, activation(f) == tensor.GELUTanh)
}

func activation(f *config.MLP) tensor.Activation {
	switch f.Activation {
	case "gelu_tanh":
		return tensor.GELUTanh
	case "gelu":
		return tensor.GELU
	}
	return tensor.SiLU
}

// deviations is c of a sparse gate.
func deviations(f *config.MLP) float64 { return math.Sqrt2 * math.Erfinv(2*f.Sparsity-1) }

// gatedBy is the definition.
func gatedBy(o tensor.Ops, f *config.MLP, gate, up tensor.Tensor) tensor.Tensor {
	if f.GateLimit > 0 {
		gate, up = o.Clamp(gate, -tensor.Unbounded, f.GateLimit), o.Clamp(up, -f.GateLimit, f.GateLimit)
		gate = o.Mul(gate, o.Sigmoid(o.Scale(gate, f.GateAlpha)))
		return o.Add(o.Mul(up, gate), gate)
	}
	if f.Sparsity > 0 {
		gate = o.Excess(gate, deviations(f))
	}
	if activation(f) == tensor.SiLU {
		return o.SwiGLU(gate, up)
	}
	return o.Mul(act(o, f, gate), up)
}

// gated is a whole gated MLP in the cached step.
func (e *Engine) gated(x *expertWeights, f *config.MLP, h tensor.Buf) tensor.Buf {
	var p [2]tensor.Buf
	ws := e.ws
	ws.MatMuls(p[:], h, x.gate, x.up)
	if f.GateLimit > 0 {
		return ws.MatMul(ws.ClampedGate(p[0], p[1], f.GateAlpha, f.GateLimit), x.down)
	}
	if f.Sparsity > 0 {
		ws.Excess(p[0], deviations(f))
	}
	return ws.MatMul(ws.Gated(p[0], p[1], activation(f)), x.down)
}
