package model

// What a family has around its blocks. A block sees the residual x; what goes on from layer to layer may be more: the state of routers (ZAYA: zaya.go), further streams (Gemma 3n: altup.go). And an
// output y, made of h, joins the residual x as x + y unless the family says otherwise (ZAYA; LAUREL: laurel.go).

import (
	"github.com/lowkeylm/lowkey/tensor"
)

// around is what lies around the blocks over a whole sequence.
type around interface {
	enter(x tensor.Tensor) tensor.Tensor                           // all that goes into the first layer, of embeddings [T, hidden]
	before(layer int, all tensor.Tensor) (x, beside tensor.Tensor) // a block's input [T, hidden], and what goes past it
	after(layer int, x, beside tensor.Tensor) (all tensor.Tensor)  // all that goes on
	leave(all tensor.Tensor) tensor.Tensor                         // what the last norm reads, [T, hidden]
}

func (m *Model) around(o tensor.Ops, ids []int32) around {
	switch c := m.Config; {
	case c.AltUp.Streams > 0:
		return &altUp{m: m, o: o, AltUp: c.AltUp, ids: ids}
	case c.Layers[0].MLP.Routing.Network > 0:
		return routerState{o, c.Hidden, c.Layers[0].MLP.Routing.Network}
	}
	return nothing{}
}

// nothing is around the blocks of most families.
type nothing struct{}

func (nothing) enter(x tensor.Tensor) tensor.Tensor                       { return x }
func (nothing) before(_ int, all tensor.Tensor) (x, beside tensor.Tensor) { return all, nil }
func (nothing) after(_ int, x, _ tensor.Tensor) tensor.Tensor             { return x }
func (nothing) leave(all tensor.Tensor) tensor.Tensor                     { return all }

// join adds the output y of half a block ("attn", "mlp"), made of h, to the residual x.
func (m *Model) join(o tensor.Ops, layer int, half string, x, h, y tensor.Tensor) tensor.Tensor {
	lw := layerWeights{m.src, m.names, layer, ""}
	switch c := m.Config; {
	case c.Rescaled:
		return forwardJoint(o, lw, half, x, y)
	case c.LaurelRank > 0 && half == "attn":
		return forwardLaurel(o, lw, c.Norm, x, h, y)
	}
	return o.Add(x, y)
}

// joiner is the same in the cached step, in place; nil adds y.
type joiner interface {
	join(e *Engine, x, h, y tensor.Buf)
}

func (e *Engine) join(j joiner, x, h, y tensor.Buf) {
	if j == nil {
		e.ws.Add(x, y, e.Model.Config.ResidualScale)
		return
	}
	j.join(e, x, h, y)
}

// joiners loads what a layer's halves join by.
func (e *Engine) joiners(lw layerWeights) (attn, mlp joiner, err error) {
	switch c := e.Model.Config; {
	case c.Rescaled:
		if attn, err = e.loadJoint(lw, "attn"); err == nil {
			mlp, err = e.loadJoint(lw, "mlp")
		}
	case c.LaurelRank > 0:
		attn, err = e.loadLaurel(lw)
	}
	return attn, mlp, err
}
