package model

// Packing the weights that a family has beside its attention, by name. A tensor that is missing or of another shape is said by name; the first such error stays.

import (
	"github.com/lowkeylm/lowkey/tensor"
)

// getter finds prefix + name with get.
type getter struct {
	packer *tensor.Packer
	get    func(name string) (tensor.Weight, bool)
	prefix string
	err    error
}

func (e *Engine) getter(get func(name string) (tensor.Weight, bool), prefix string) *getter {
	return &getter{e.packer, get, prefix, nil}
}

func (g *getter) weight(name string, shape ...int) tensor.Weight {
	w, ok := g.get(g.prefix + name)
	if g.err == nil && !ok {
		g.err = tensor.Missing(g.prefix + name)
	}
	if g.err == nil {
		g.err = w.Check(shape...)
	}
	return w
}

// linear packs a matrix as the run says; exact in f32, whatever it says.
func (g *getter) linear(name string, out, in int) (l *tensor.Linear) {
	if w := g.weight(name, out, in); g.err == nil {
		l, g.err = g.packer.Linear(w, nil)
	}
	return l
}

func (g *getter) exact(name string, out, in int) (l *tensor.Linear) {
	if w := g.weight(name, out, in); g.err == nil {
		l, g.err = g.packer.Floats(out, in, w.Float32s())
	}
	return l
}

func (g *getter) table(name string, rows, width int) (t *tensor.Table) {
	if w := g.weight(name, rows, width); g.err == nil {
		t, g.err = g.packer.Table(w)
	}
	return t
}

func (g *getter) vector(name string, n int) (v *tensor.Vector) {
	if w := g.weight(name, n); g.err == nil {
		v = g.packer.Vector(w)
	}
	return v
}
