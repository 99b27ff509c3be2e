package attention

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lowkeylm/lowkey/tensor"
)

// relativeCase has relative values, with a factor on the rotation, which must not reach the values.
func relativeCase(rng *rand.Rand, rope *tensor.Rope) testCase {
	a := MFAKR{MFA{Hidden: 40, Heads: 5, HeadDim: 32, QRank: 24, Scale: 1 / math.Sqrt(32), Norm: true, NormEps: 1e-5, Rope: rope}, rope.Back()}
	w := weightMap{}
	for _, p := range a.Params() {
		w.add(rng, p.Name, p.Shape...)
	}
	return testCase{"mfa-kr, relative values", 40, a, w, 32}
}

func init() {
	moreCases = append(moreCases, func(rng *rand.Rand) testCase {
		rope := ropeOf(32, true)
		rope.Factor = 1.2
		return relativeCase(rng, rope)
	})
}

// A value that a query sees is the key turned by their distance: sum_s p_ts R(s-t) k_s, in plain loops, for both layouts of pairs, both directions, a factor, and a head of which a part turns.
func TestRelativeValues(t *testing.T) {
	turnedBack, part := ropeOf(32, true), ropeOf(20, false)
	turnedBack.Sign, part.Factor = -1, 1.3
	for _, rope := range []*tensor.Rope{ropeOf(32, false), turnedBack, part} {
		c := relativeCase(rand.New(rand.NewPCG(1, 2)), rope)
		a := c.design.(MFAKR)
		if slices.ContainsFunc(a.Params(), func(p Param) bool { return p.Name == "n" || p.Name == "alpha" || p.Name == "v" }) {
			t.Errorf("parameters %v", a.Params())
		}
		const T, first = 9, 50 // positions far from 0, where only distances count
		C, x, pos := a.HeadDim, input(T, a.Hidden), make([]int, T)
		times := func(name string, row []float64) []float64 {
			m := c.w[name]
			v, out := m.Float32s(), make([]float64, m.Rows())
			for i := range out {
				for j, y := range row {
					out[i] += float64(v[i*m.Cols()+j]) * y
				}
			}
			return out
		}
		turn := func(k []float64, by int, factor float64) []float64 {
			k = slices.Clone(k)
			for i, f := range rope.InvFreq {
				i, j := i, i+len(rope.InvFreq)
				if rope.Pairs {
					i, j = 2*i, 2*i+1
				}
				sin, cos := math.Sincos(float64(by) * f)
				if rope.Sign < 0 {
					sin = -sin
				}
				k[i], k[j] = factor*(k[i]*cos-k[j]*sin), factor*(k[j]*cos+k[i]*sin)
			}
			return k
		}
		factor := rope.Factor
		if factor == 0 {
			factor = 1
		}
		var keys [][]float64
		var want []float64
		for r := range T {
			pos[r] = first + r
			in := make([]float64, a.Hidden)
			for i := range in {
				in[i] = float64(x[r*a.Hidden+i])
			}
			keys = append(keys, times("k", in))
			low, square, norm := times("q_a", in), 0.0, c.w["q_norm"].Float32s()
			for _, v := range low {
				square += v * v / float64(len(low))
			}
			for i := range low {
				low[i] *= float64(norm[i]) / math.Sqrt(square+a.NormEps)
			}
			q := times("q_b", low)
			var mixed []float64
			for h := range a.Heads {
				p, sum := make([]float64, r+1), 0.0
				for s := range p {
					for i, k := range turn(keys[s], s-r, factor*factor) {
						p[s] += a.Scale * q[h*C+i] * k
					}
					p[s] = math.Exp(p[s])
					sum += p[s]
				}
				o := make([]float64, C)
				for s := range p {
					for i, v := range turn(keys[s], s-r, 1) {
						o[i] += p[s] / sum * v
					}
				}
				mixed = append(mixed, o...)
			}
			want = append(want, times("o", mixed)...)
		}
		o := tensor.NewEager64()
		for i, v := range o.Values(a.Forward(o, c.w, o.Leaf([]int{T, a.Hidden}, x), pos)) {
			if math.Abs(v-want[i]) > 1e-9 {
				t.Fatalf("pairs %v, %d of %d channels: element %d is %v, want %v", rope.Pairs, 2*len(rope.InvFreq), C, i, v, want[i])
			}
		}
		checkGradient(t, c)
	}
}
