package attention

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lowkeylm/lowkey/tensor"
)

func moasCase(name string, want int, schemes ...string) testCase {
	a := MoAS{Hidden: 48, RouterDim: 12}
	kv := map[string]int{"mha": 6, "gqa": 2, "mqa": 1}
	for _, s := range schemes {
		a.Schemes = append(a.Schemes, Scheme{s, GQA{Hidden: 48, Heads: 6, KVHeads: kv[s], HeadDim: 16, ValueDim: 16, Scale: 0.25, Rope: ropeOf(16, false)}})
	}
	rng, w := rand.New(rand.NewPCG(9, 10)), weightMap{}
	for _, p := range a.Params() {
		w.add(rng, p.Name, p.Shape...)
	}
	return testCase{name, 48, a, w, want}
}

// The mixture by its parts: three GQAs, each with its weights, and the router by hand.
func TestMoASIsItsParts(t *testing.T) {
	c := moasCase("moas", 0, "mha", "gqa", "mqa")
	a := c.design.(MoAS)
	const T, d = 7, 48
	x, pos := input(T, d), []int{0, 1, 2, 3, 4, 5, 6}
	want := make([]float64, T*d)
	g := make([][3]float64, T)
	w1, w2 := c.w["router_a"].Float32s(), c.w["router_b"].Float32s()
	for t := range T {
		sum := 0.0
		for i := range g[t] {
			for j := range a.RouterDim {
				h := 0.0
				for k := range d {
					h += float64(x[t*d+k]) * float64(w1[j*d+k])
				}
				g[t][i] += float64(w2[i*a.RouterDim+j]) * h * 0.5 * (1 + math.Erf(h/math.Sqrt2))
			}
			g[t][i] = math.Exp(g[t][i])
			sum += g[t][i]
		}
		for i := range g[t] {
			g[t][i] /= sum
		}
	}
	o := tensor.NewEager64()
	for i, s := range a.Schemes {
		w := weightMap{}
		for _, name := range []string{"q", "k", "v", "o"} {
			w[name] = c.w[s.Name+"."+name]
		}
		for j, v := range o.Values(s.GQA.Forward(o, w, o.Leaf([]int{T, d}, x), pos)) {
			want[j] += g[j/d][i] * v
		}
	}
	got := o.Values(a.Forward(o, c.w, o.Leaf([]int{T, d}, x), pos))
	for i := range want {
		if math.Abs(got[i]-want[i]) > 1e-9*(1+math.Abs(want[i])) {
			t.Fatalf("element %d is %v, want %v", i, got[i], want[i])
		}
	}
}
