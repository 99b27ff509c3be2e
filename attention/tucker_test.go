package attention

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lowkeylm/lowkey/tensor"
)

// tuckerCase has six ranks that all differ, so that swapped ones show.
func tuckerCase(name string, shared bool, want int) testCase {
	a := Tucker{Hidden: 40, Heads: 6, HeadRank: 4, QRank: 20, KRank: 32, VRank: 24, OutHeadRank: 5, OutRank: 28, SharedKV: shared, Scale: 0.3, Rope: ropeOf(32, false)}
	if shared {
		a.VRank = a.KRank
	}
	rng, w := rand.New(rand.NewPCG(7, 8)), weightMap{}
	for _, p := range a.Params() {
		w.add(rng, p.Name, p.Shape...)
	}
	return testCase{name, 40, a, w, want}
}

// The paper's two tensors, written out: W_h = sum U1[h,a] G[a,b,c] U2[:,b] U3[:,c]ᵀ between any two hidden states, with the rotation between core and key; and alike behind the softmax.
func TestTuckerIsItsTensors(t *testing.T) {
	for _, c := range []testCase{tuckerCase("tucker", false, 0), tuckerCase("tucker, shared", true, 0)} {
		a := c.design.(Tucker)
		const T = 9
		d, n := a.Hidden, a.Heads
		at := func(name string) func(i, j int) float64 {
			w := c.w[name]
			x, cols := w.Float32s(), w.Cols()
			return func(i, j int) float64 { return float64(x[i*cols+j]) }
		}
		q2, core, heads, k3, zheads, zcore, o2 := at("q_a"), at("q_core"), at("q_heads"), at("k"), at("o_heads"), at("o_core"), at("o")
		v3 := k3
		if !a.SharedKV {
			v3 = at("v")
		}
		x := input(T, d)
		down := func(u func(i, j int) float64, rank, t int) []float64 {
			y := make([]float64, rank)
			for b := range y {
				for i := range d {
					y[b] += float64(x[t*d+i]) * u(b, i)
				}
			}
			return y
		}
		// score of query t and key s in head h: RoPE at both ends is a turn of the key by s - t
		score := func(h, t, s int) float64 {
			u, k, half, sum := down(q2, a.QRank, t), down(k3, a.KRank, s), a.KRank/2, 0.0
			turned := make([]float64, a.KRank)
			for i := range half {
				cos, sin := math.Cos(float64(s-t)*a.Rope.InvFreq[i]), math.Sin(float64(s-t)*a.Rope.InvFreq[i])
				turned[i], turned[i+half] = k[i]*cos-k[i+half]*sin, k[i+half]*cos+k[i]*sin
			}
			for r := range a.HeadRank {
				for b := range a.QRank {
					for e := range a.KRank {
						sum += heads(h, r) * core(r*a.KRank+e, b) * u[b] * turned[e]
					}
				}
			}
			return a.Scale * sum
		}
		want := make([]float64, T*d)
		for t := range T {
			for h := range n {
				p, sum := make([]float64, t+1), 0.0
				for s := range p {
					p[s] = math.Exp(score(h, t, s))
					sum += p[s]
				}
				z := make([]float64, a.VRank)
				for s := range p {
					for e, v := range down(v3, a.VRank, s) {
						z[e] += p[s] / sum * v
					}
				}
				for r := range a.OutHeadRank {
					for b := range a.OutRank {
						g := 0.0
						for e := range a.VRank {
							g += zcore(b, r*a.VRank+e) * z[e]
						}
						for i := range d {
							want[t*d+i] += zheads(r, h) * g * o2(i, b)
						}
					}
				}
			}
		}
		pos := make([]int, T)
		for i := range pos {
			pos[i] = i
		}
		o := tensor.NewEager64()
		got := o.Values(a.Forward(o, c.w, o.Leaf([]int{T, d}, x), pos))
		for i := range want {
			if math.Abs(got[i]-want[i]) > 1e-9*(1+math.Abs(want[i])) {
				t.Fatalf("%s: element %d is %v, want %v", c.name, i, got[i], want[i])
			}
		}
	}
}
