package model

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/tensor"
)

// What training descends is the slope of what it measures: for every tensor of every tiny model, the tape's gradient along a random direction is the central difference of the loss, in float64.
func TestGradientsOfDesigns(t *testing.T) {
	ids, targets := tinyTokens(24, 31), append(tinyTokens(24, 31)[1:], 3)
	for _, row := range tinies() {
		t.Run(row.name, func(t *testing.T) {
			m := row.open(t, 1, false)
			if err := m.InMemory(); err != nil {
				t.Fatal(err)
			}
			tape := tensor.NewTape64()
			defer tape.Close()
			params := record(tape, m)
			loss := func(backward bool) float64 {
				defer tape.Reset()
				y := tape.CrossEntropy(m.Forward(tape, ids, nil), targets, -1, false)
				if backward {
					tape.Backward(y)
				}
				return tape.Values(y)[0]
			}
			loss(true)
			if unused := tape.Unused(); len(unused) > 0 {
				t.Errorf("the loss does not depend on %v", unused)
			}
			rng := rand.New(rand.NewPCG(1, 2))
			for _, p := range params {
				rounded := row.config["latent_bits"] != nil && strings.Contains(p.name, "kv_a") // the loss is a staircase of these; training goes straight through (tensor.TestStored)
				if !strings.Contains(p.name, "self_attn") || rounded {
					continue
				}
				const h = 1e-5
				direction, slope, length := make([]float64, len(p.data)), 0.0, 0.0
				for i := range direction {
					direction[i] = rng.NormFloat64()
					slope += direction[i] * p.grad[i]
					length += p.grad[i] * p.grad[i]
				}
				move := func(by float64) {
					for i, d := range direction {
						p.data[i] += by * d
					}
				}
				move(h)
				up := loss(false)
				move(-2 * h)
				want := (up - loss(false)) / (2 * h)
				move(h)
				if math.Abs(slope-want) > 1e-6*(math.Sqrt(length)+1e-3) {
					t.Errorf("%s: slope %.9g, the loss rises by %.9g", p.name, slope, want)
				}
				if length == 0 {
					t.Errorf("%s: no gradient", p.name)
				}
			}
		})
	}
}

// recorded is a parameter as a tape in float64 sees it.
type recorded struct {
	name       string
	data, grad []float64
}

// record gives the tape every parameter of a model in memory.
func record(tape *tensor.Tape[float64], m *Model) (params []recorded) {
	for _, p := range m.Parameters() {
		q := recorded{p.Name, make([]float64, len(p.Data)), make([]float64, len(p.Data))}
		for i, v := range p.Data {
			q.data[i] = float64(v)
		}
		tape.Param(p.Name, p.Bytes(), q.data, q.grad)
		params = append(params, q)
	}
	return params
}

// Documents that lie in one row of training do not see each other: in every design the second one is what it is alone. Its first token stands inside an MTLA block, and behind a state, of the first.
func TestDocumentsApart(t *testing.T) {
	a, b := tinyTokens(23, 41), tinyTokens(18, 42)
	pos := make([]int, len(a)+len(b))
	for i := range pos {
		pos[i] = i % len(a)
	}
	for _, row := range tinies() {
		m := row.open(t, tinyLayers, false)
		if err := m.InMemory(); err != nil {
			t.Fatal(err)
		}
		o := tensor.NewEager64()
		want := append(o.Values(m.Forward(o, a, nil)), o.Values(m.Forward(o, b, nil))...)
		m.passes = &[2]int{len(a), 1} // where layers read higher ones: as many as settle all tokens
		tape := tensor.NewTape64()
		record(tape, m)
		tape.Documents([]int{0, len(a)})
		worst := 0.0
		for i, v := range tape.Values(m.ForwardAt(tape, append(append([]int32{}, a...), b...), pos, nil)) {
			worst = max(worst, math.Abs(v-want[i]))
		}
		if !(worst <= 1e-9) {
			t.Errorf("%s: packed documents differ from single ones by %.3g", row.name, worst)
		}
		tape.Close()
	}
}
