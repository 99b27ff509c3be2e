package attention

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lowkeylm/lowkey/tensor"
)

func init() {
	moreCases = append(moreCases,
		func(rng *rand.Rand) testCase { return ccaCase(rng, "ccgqa", 4, 2, 2, 2, 0) },
		func(rng *rand.Rand) testCase { return ccaCase(rng, "cca, long filters, biases", 3, 3, 3, 4, 0) },
		func(rng *rand.Rand) testCase { return ccaCase(rng, "ccgqa sliding, one tap", 4, 1, 1, 2, 70) })
}

// ccaCase rotates half of each head.
func ccaCase(rng *rand.Rand, name string, heads, kv, k0, k1, window int) testCase {
	a := CCA{Hidden: 40, Heads: heads, KVHeads: kv, HeadDim: 32, Taps0: k0, Taps1: k1, Scale: 1 / math.Sqrt(32), Window: window, Rope: ropeOf(16, false)}
	w := weightMap{}
	for _, p := range a.Params() {
		w.add(rng, p.Name, p.Shape...)
	}
	if kv == heads {
		for _, name := range []string{"q", "k", "v", "v_late", "o"} {
			w.add(rng, name+".bias", w[name].Shape[0])
		}
	}
	return testCase{name, 40, a, w, 2 * kv * 32}
}

// The paper's equations in plain loops over float64, token by token, with the columns before the first token written out. v has the width of the keys, one half after the other.
func ccaReference(c testCase, x []float32, T int) []float64 {
	a := c.design.(CCA)
	n, kv, d, ch := a.Heads, a.KVHeads, a.HeadDim, a.channels()
	get := func(name string) []float32 {
		w, ok := c.w[name]
		if !ok {
			return make([]float32, 4096)
		}
		return w.Float32s()
	}
	project := func(name string, in []float64, out int) []float64 {
		w, b := get(name), get(name+".bias")
		y := make([]float64, out)
		for o := range y {
			y[o] = float64(b[o])
			for i, v := range in {
				y[o] += v * float64(w[o*len(in)+i])
			}
		}
		return y
	}
	f0, b0, f1, b1, temp := get("conv0"), get("conv0.bias"), get("conv1"), get("conv1.bias"), get("temp")
	z, late := map[int][]float64{}, map[int][]float64{}
	var q, k, v [][]float64
	column := func(t int) []float64 { // c_t: z convolved once
		y := make([]float64, ch)
		for i := range y {
			y[i] = float64(b0[i])
			for j := range a.Taps0 {
				if z := z[t-a.Taps0+1+j]; z != nil {
					y[i] += z[i] * float64(f0[i*a.Taps0+j])
				}
			}
		}
		return y
	}
	unit := func(u []float64, factor float64, t int) []float64 {
		sum := 0.0
		for _, v := range u {
			sum += v * v
		}
		y := make([]float64, d)
		for i, v := range u {
			y[i] = factor * math.Sqrt(float64(d)) * v / math.Sqrt(sum)
		}
		half := len(a.Rope.InvFreq)
		for i, f := range a.Rope.InvFreq {
			cos, sin := math.Cos(float64(t)*f), math.Sin(float64(t)*f)
			y[i], y[i+half] = y[i]*cos-y[i+half]*sin, y[i+half]*cos+y[i]*sin
		}
		return y
	}
	late[-1] = project("v_late", make([]float64, a.Hidden), a.late())
	var out []float64
	for t := range T {
		in := make([]float64, a.Hidden)
		for i := range in {
			in[i] = float64(x[t*a.Hidden+i])
		}
		z[t] = append(project("q", in, n*d), project("k", in, kv*d)...)
		late[t] = project("v_late", in, a.late())
		v = append(v, append(project("v", in, a.late()), late[t-1]...))
		conv := make([]float64, ch)
		for o := range conv {
			conv[o] = float64(b1[o])
			for j := range a.Taps1 {
				c := column(t - a.Taps1 + 1 + j)
				for i := range d {
					conv[o] += c[o/d*d+i] * float64(f1[(o*d+i)*a.Taps1+j])
				}
			}
		}
		keys := make([]float64, kv*d)
		var qt, kt []float64
		for h := range n {
			u := make([]float64, d)
			for i := range u {
				mean := (z[t][h*d+i] + z[t][(n+h/(n/kv))*d+i]) / 2
				u[i] = conv[h*d+i] + mean
				keys[h/(n/kv)*d+i] += mean * float64(kv) / float64(n)
			}
			qt = append(qt, unit(u, 1, t)...)
		}
		for j := range kv {
			u := make([]float64, d)
			for i := range u {
				u[i] = conv[(n+j)*d+i] + keys[j*d+i]
			}
			kt = append(kt, unit(u, float64(temp[j]), t)...)
		}
		q, k = append(q, qt), append(k, kt)
		var heads []float64
		for h := range n {
			g := h / (n / kv) * d
			o, sum := make([]float64, d), 0.0
			for s := range t + 1 {
				if a.Window > 0 && s <= t-a.Window {
					continue
				}
				score := 0.0
				for i := range d {
					score += q[t][h*d+i] * k[s][g+i]
				}
				p := math.Exp(a.Scale * score)
				sum += p
				for i := range o {
					o[i] += p * v[s][g+i]
				}
			}
			for _, v := range o {
				heads = append(heads, v/sum)
			}
		}
		out = append(out, project("o", heads, a.Hidden)...)
	}
	return out
}

func TestCCAIsItsEquations(t *testing.T) {
	for i, make := range moreCases {
		c := make(rand.New(rand.NewPCG(uint64(i), 3)))
		a, ok := c.design.(CCA)
		if !ok {
			continue
		}
		const T = 80
		x := input(T, c.hidden)
		want := ccaReference(c, x, T)
		top := 0.0
		for _, v := range want {
			top = max(top, math.Abs(v))
		}
		pos := []int{}
		for t := range T {
			pos = append(pos, t)
		}
		o := tensor.NewEager64()
		for i, v := range o.Values(a.Forward(o, c.w, o.Leaf([]int{T, c.hidden}, x), pos)) {
			if !(math.Abs(v-want[i]) <= 1e-6*top) {
				t.Fatalf("%s: Forward, token %d: %v, want %v", c.name, i/c.hidden, v, want[i])
			}
		}
		if n, want := a.Layout().State, (a.Taps0+a.Taps1-2)*(a.Heads+a.KVHeads)*32+a.KVHeads*32/2; n != want {
			t.Errorf("%s: a state of %d, want %d", c.name, n, want)
		}
	}
}

// Filters as PyTorch stores them, [C, channels, taps], are the same weights.
func TestCCAFilterShapes(t *testing.T) {
	c := ccaCase(rand.New(rand.NewPCG(1, 3)), "cca", 4, 2, 2, 3, 0)
	x := input(5, c.hidden)
	run := func() string {
		o := tensor.NewEager64()
		return fmt.Sprint(o.Values(c.design.Forward(o, c.w, o.Leaf([]int{5, c.hidden}, x), []int{0, 1, 2, 3, 4})))
	}
	flat := run()
	for name, shape := range map[string][]int{"conv0": {6 * 32, 1, 2}, "conv1": {6 * 32, 32, 3}} {
		w := c.w[name]
		w.Shape = shape
		c.w[name] = w
	}
	if run() != flat {
		t.Error("filters of three dimensions give another result")
	}
}

func TestCCAGradient(t *testing.T) {
	checkGradient(t, ccaCase(rand.New(rand.NewPCG(2, 3)), "ccgqa", 4, 2, 2, 2, 0))
	checkGradient(t, ccaCase(rand.New(rand.NewPCG(2, 3)), "cca", 2, 2, 3, 3, 3))
}
