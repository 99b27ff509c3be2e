package model

// Models in which layers read the rows of other layers (attention/sharing.go): whole sequences, and steps.
//
// Where a layer reads a higher one the definition is sequential, token after token. Steps: passes.go. Over a whole sequence the same is the fixed point of passes: each
// pass gives the readers the higher layer's rows of the pass before, and pass p makes token p-1 and all before it final. Forward runs passes until nothing changes. Training runs a
// fixed number (LCKV, arXiv 2405.10637): freePasses without gradients, then keptPasses with, the last of which makes the output. The last validation runs passes until the rows change
// by less than settled of the largest value; looks on the way are those of training.

import (
	"math"

	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

// The paper's m and b.
const (
	freePasses = 7
	keptPasses = 2
	settled    = 1e-3
)

// reader is the design of a layer that reads another's rows.
func reader(d attention.Design, a *config.Attention) (attention.Design, error) {
	s, ok := d.(attention.Sharer)
	if !ok {
		return nil, fault.New(fault.Unsupported, "attention design "+a.Design, "a layer reads the rows of another", "its rows are no other layer's business", "leave layer_map out, or choose another design: lowkey designs lists what shares")
	}
	return s.Reader(), nil
}

// sharing is a whole-sequence pass through layers of which some read the rows of others.
type sharing struct {
	o       tensor.Ops
	c       *config.Config
	designs []attention.Design
	ids     []int32
	pos     []int
	made    [][]tensor.Tensor // by layer, where another reads them: the rows of this pass
	before  [][]tensor.Tensor // of the pass before, which readers of higher layers see
	passes  [2]int            // without and with gradients
	settle  bool
	last    bool // this pass makes the output
}

func newSharing(m *Model, o tensor.Ops, designs []attention.Design, ids []int32, pos []int) *sharing {
	n, passes := len(designs), [2]int{freePasses, keptPasses}
	if m.passes != nil {
		passes = *m.passes
	}
	return &sharing{o: o, c: m.Config, designs: designs, ids: ids, pos: pos, made: make([][]tensor.Tensor, n), before: make([][]tensor.Tensor, n), passes: passes, settle: m.Settle, last: true}
}

// attend is layer i's attention over x.
func (s *sharing) attend(i int, w attention.Weights, x tensor.Tensor) tensor.Tensor {
	a := &s.c.Layers[i].Attention
	switch {
	case a.Strict:
		return s.sharer(i).Read(attention.Strictly(s.o), w, x, s.pos, s.before[a.SharesWith])
	case a.SharesWith >= 0:
		return s.sharer(i).Read(s.o, w, x, s.pos, s.made[a.SharesWith])
	case s.c.IsRead(i):
		return s.sharer(i).Read(s.o, w, x, s.pos, s.rows(i, w, x))
	}
	return attention.Of(s.designs[i], s.ids).Forward(s.o, w, x, s.pos)
}

// sharer is layer i's design, given the sequence's ids if it reads them.
func (s *sharing) sharer(i int) attention.Sharer {
	return attention.Of(s.designs[i], s.ids).(attention.Sharer)
}

// rows makes and notes what layer i leaves behind.
func (s *sharing) rows(i int, w attention.Weights, x tensor.Tensor) []tensor.Tensor {
	s.made[i] = s.sharer(i).Rows(s.o, w, x, s.pos)
	return s.made[i]
}

// run takes x through all layers: run runs some of them, rows makes the rows of one.
func (s *sharing) run(x tensor.Tensor, run func(x tensor.Tensor, from, to int) tensor.Tensor, rows func(i int, x tensor.Tensor)) tensor.Tensor {
	n := len(s.designs)
	low, high := n, -1 // the lowest layer that reads a higher one, the highest that is read so
	for i := range s.c.Layers {
		if a := &s.c.Layers[i].Attention; a.Strict {
			low, high = min(low, i), max(high, a.SharesWith)
			s.before[a.SharesWith] = attention.NoRows(s.o, s.designs[a.SharesWith].Layout(), len(s.pos))
		}
	}
	if high < 0 {
		return run(x, 0, n)
	}
	x = run(x, 0, low)
	pass := func() []tensor.Tensor {
		rows(high, run(x, low, high))
		var all []tensor.Tensor
		for i, b := range s.before {
			if b != nil {
				s.before[i] = s.made[i]
				all = append(all, s.made[i]...)
			}
		}
		return all
	}
	s.last = false
	switch o, records := s.o.(tensor.Detacher); {
	case !records:
		s.until(0, pass)
	case s.settle:
		s.until(settled, func() []tensor.Tensor { return o.Detached(pass) })
	default:
		for range s.passes[0] {
			o.Detached(pass)
		}
		for range s.passes[1] - 1 {
			pass()
		}
	}
	s.last = true
	return run(x, low, n)
}

// until runs passes until no row changes by more than a share of the largest value. There is an end: pass p is the last to change token p-1.
func (s *sharing) until(share float64, pass func() []tensor.Tensor) {
	var seen [][]float64
	for changed := true; changed; {
		changed = false
		for i, t := range pass() {
			v := s.o.Values(t)
			if i == len(seen) {
				seen, changed = append(seen, v), true
				continue
			}
			top, most := 0.0, 0.0
			for j, x := range v {
				top, most = max(top, math.Abs(x)), max(most, math.Abs(x-seen[i][j]))
			}
			changed = changed || most > share*top
			seen[i] = v
		}
	}
}

// keptWindow is how many rows a layer's cache keeps, for itself and its readers.
func keptWindow(c *config.Config, layouts []kvcache.Layout) {
	for i := range layouts {
		if len(layouts[i].Streams) > 0 {
			layouts[i].Window = c.KeptWindow(i)
		}
	}
}
