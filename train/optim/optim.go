// Package optim turns gradients into steps: SGD, Adam and AdamW, Muon, a mixture of them by parameter, clipping by the global norm, and the learning rate over time.
//
// Every step gives the same bits for any number of threads: vectors are cut into fixed chunks, sums over chunks are added in order. It knows neither models nor tapes nor files: a Param is a name and
// two slices, and what a checkpoint must keep is a list of named slices.
package optim

import (
	"fmt"

	"github.com/lowkeylm/lowkey/kernel"
)

// Param is one trained tensor. Data and Grad are row-major and stay the caller's; Grad is read at each step, and a parameter whose Grad is nil is left as it is.
type Param struct {
	Name   string
	Shape  []int
	Data   []float32
	Grad   []float32
	Decay  bool // weight decay applies: matrices, but not embeddings, norms, biases
	Matrix bool // a hidden matrix [rows, cols], which Muon may take: not an embedding, not the output head
}

// Slot is one tensor of an optimiser's state. Data is the live memory: a checkpoint writes it, a resume reads into it.
type Slot struct {
	Name  string
	Shape []int
	Data  []float32
}

// Optimizer updates its parameters in place.
type Optimizer interface {
	// Step does one update with the learning rate lr from the parameters' gradients, which it keeps.
	Step(lr float64)
	// Steps is the number of updates done. It is state too: a checkpoint keeps it and a resume sets it.
	Steps() int
	SetSteps(n int)
	// State lists the tensors of the state, always in the same order, under names of their own.
	State() []Slot
}

// chunk is the share of a vector that one thread takes at a time. Sums depend on it, so it is no setting.
const chunk = 1 << 14

// span is the part [from, to) of a parameter.
type span struct{ param, from, to int }

// spans cuts parameters into chunks.
func spans(params []*Param) []span {
	var s []span
	for i, p := range params {
		for at := 0; at < len(p.Data); at += chunk {
			s = append(s, span{i, at, min(at+chunk, len(p.Data))})
		}
	}
	return s
}

// elementwise is what SGD and Adam share: their parameters, the chunks, and named vectors of the parameters' sizes.
type elementwise struct {
	pool   *kernel.Pool
	params []*Param
	spans  []span
	slots  []Slot // for each parameter, one of each kind
	kinds  int
	steps  int
}

func newElementwise(pool *kernel.Pool, params []*Param, kinds ...string) elementwise {
	e := elementwise{pool: pool, params: params, spans: spans(params), kinds: len(kinds)}
	for _, p := range params {
		checkParam(p)
		for _, k := range kinds {
			e.slots = append(e.slots, Slot{p.Name + "." + k, p.Shape, make([]float32, len(p.Data))})
		}
	}
	return e
}

// checkParam panics where a parameter's parts contradict each other: only a program can make one.
func checkParam(p *Param) {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	if n != len(p.Data) || p.Grad != nil && len(p.Grad) != n {
		panic(fmt.Sprintf("optim: parameter %s of shape %v has %d numbers and %d gradients", p.Name, p.Shape, len(p.Data), len(p.Grad)))
	}
}

func (e *elementwise) Steps() int     { return e.steps }
func (e *elementwise) SetSteps(n int) { e.steps = n }
func (e *elementwise) State() []Slot  { return e.slots }

// each runs f over every chunk that has a gradient, with the same chunk of its slots: one or two.
func (e *elementwise) each(f func(worker int, p *Param, data, grad, one, two []float32)) {
	e.pool.Run(len(e.spans), func(part, worker int) {
		s := e.spans[part]
		p := e.params[s.param]
		if p.Grad == nil {
			return
		}
		slots := e.slots[s.param*e.kinds:]
		one, two := slots[0].Data[s.from:s.to], []float32(nil)
		if e.kinds == 2 {
			two = slots[1].Data[s.from:s.to]
		}
		f(worker, p, p.Data[s.from:s.to], p.Grad[s.from:s.to], one, two)
	})
}
