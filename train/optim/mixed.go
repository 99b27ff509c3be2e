package optim

// Several optimisers as one.

// Part is an optimiser with its share of the learning rate.
type Part struct {
	Optimizer
	Name   string  // goes before the names of its slots
	Factor float64 // its learning rate is Factor times that of the step
}

// Mixed steps all parts, in order, as one optimiser. Their parameters must not overlap.
func Mixed(parts ...Part) Optimizer { return mixed(parts) }

// Split parts params into hidden matrices, for Muon, and the rest: embeddings, output head, norms, vectors.
func Split(params []*Param) (hidden, rest []*Param) {
	for _, p := range params {
		if p.Matrix && len(p.Shape) == 2 {
			hidden = append(hidden, p)
		} else {
			rest = append(rest, p)
		}
	}
	return hidden, rest
}

type mixed []Part

func (m mixed) Step(lr float64) {
	for _, p := range m {
		p.Optimizer.Step(lr * p.Factor)
	}
}

// Steps is the same for all parts.
func (m mixed) Steps() int {
	if len(m) == 0 {
		return 0
	}
	return m[0].Steps()
}

func (m mixed) SetSteps(n int) {
	for _, p := range m {
		p.SetSteps(n)
	}
}

func (m mixed) State() []Slot {
	var all []Slot
	for _, p := range m {
		for _, s := range p.State() {
			s.Name = p.Name + "." + s.Name
			all = append(all, s)
		}
	}
	return all
}
