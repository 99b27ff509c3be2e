package attention

import (
	"math"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/tensor"
)

// khaDecode applies the transforms head by head, token by token.
func khaDecode(a KHA, w weightMap, x [][]float64) (out []float64) {
	n, g, dk, dv := a.Heads, a.KVHeads, a.HeadDim, a.ValueDim
	norm := func(y []float64, name string) []float64 {
		if !a.QKNorm {
			return y
		}
		s, weight := math.Sqrt(dot(y, y)/float64(len(y))+a.NormEps), w.plain(name)
		for i := range y {
			y[i] *= weight.x[i] / s
		}
		return y
	}
	linear := func(name string, y []float64) []float64 {
		if a.MLP {
			return y
		}
		return w.plain(name).times(y, 0, len(y))
	}
	keys, values := make([][][]float64, g), make([][][]float64, g)
	for t, in := range x {
		for h := range g {
			k := norm(linear("t_k", w.project("k", in, h*dk, (h+1)*dk)), "k_norm")
			v := w.project("v", in, h*dv, (h+1)*dv)
			if a.MLP {
				up, gate := w.plain("v_up").times(v, 0, dv), w.plain("v_gate").times(v, 0, dv)
				for i := range up {
					up[i] *= 2 / (1 + math.Exp(-gate[i]))
				}
				v = w.plain("v_down").times(up, 0, dv)
			}
			keys[h], values[h] = append(keys[h], turned(k, t, a.Rope)), append(values[h], linear("t_v", v))
		}
		var joined []float64
		for h := range n {
			q := turned(norm(linear("t_q", w.project("q", in, h*dk, (h+1)*dk)), "q_norm"), t, a.Rope)
			scores := make([]float64, t+1)
			for j := range scores {
				scores[j] = a.Scale * dot(q, keys[h/(n/g)][j])
				if a.Softcap > 0 {
					scores[j] = a.Softcap * math.Tanh(scores[j]/a.Softcap)
				}
			}
			joined = append(joined, softmaxMix(scores, values[h/(n/g)])...)
		}
		out = append(out, w.project("o", joined, 0, a.Hidden)...)
	}
	return out
}

// Unfolded transforms against the folded step, and values after their MLP.
func TestKHALoops(t *testing.T) {
	seen := 0
	for _, c := range cases() {
		if a, ok := c.design.(KHA); ok {
			seen++
			compareWithLoops(t, c, 70, func(x [][]float64) []float64 { return khaDecode(a, c.w, x) })
		}
	}
	if seen < 4 {
		t.Fatalf("%d cases", seen)
	}
}

// The linear forms leave nothing behind: what is bound is the host's own step.
func TestKHAFoldsAway(t *testing.T) {
	for _, c := range cases() {
		if !strings.HasPrefix(c.name, "kha") {
			continue
		}
		pool := kernel.NewPool(1)
		p := &tensor.Packer{Pool: pool}
		bound, err := c.design.Bind(c.w, p)
		if err != nil {
			t.Fatal(c.name, err)
		}
		_, gqa := bound.(*gqaCached)
		_, mla := bound.(*mlaCached)
		if a, ok := c.design.(KHA); (gqa || mla) == (ok && a.MLP) {
			t.Errorf("%s is bound as %T", c.name, bound)
		}
		p.Free()
		pool.Close()
	}
}

// As training starts them, all three forms are the attention that they stand on.
func TestKHAStartsAsItsHost(t *testing.T) {
	const rows = 20
	for _, c := range cases() {
		var host Design
		switch a := c.design.(type) {
		case KHA:
			host = a.GQA
		case KHAMLA:
			host = a.MLA
		default:
			continue
		}
		w := weightMap{}
		for name, v := range c.w {
			w[name] = v
		}
		for _, p := range c.design.Params() {
			if p.Init != Identity && (p.Init != Zeros || p.Name == "sinks") {
				continue
			}
			x := make([]float32, p.Shape[0]*p.Shape[1])
			for i := 0; p.Init == Identity && i < len(x); i += p.Shape[1] + 1 {
				x[i] = 1
			}
			w[p.Name] = tensor.FloatWeight(p.Name, p.Shape[0], p.Shape[1], x)
		}
		pos := make([]int, rows)
		for i := range pos {
			pos[i] = i
		}
		o := tensor.NewEager64()
		x := o.Leaf([]int{rows, c.hidden}, input(rows, c.hidden))
		got, want := o.Values(c.design.Forward(o, w, x, pos)), o.Values(host.Forward(o, w, x, pos))
		for i, v := range want {
			if math.Abs(got[i]-v) > 1e-12*(1+math.Abs(v)) {
				t.Fatalf("%s: %v at %d, its host has %v", c.name, got[i], i, v)
			}
		}
	}
}
