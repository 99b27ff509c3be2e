package attention

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/tensor"
)

func init() {
	for _, c := range []struct {
		name  string
		block int
		qrank int
	}{{"mtla", 2, 0}, {"mtla, blocks of 3, query rank", 3, 24}, {"mtla, blocks of 1", 1, 0}} {
		moreCases = append(moreCases, func(rng *rand.Rand) testCase {
			a := MTLA{MLA{Hidden: 40, Heads: 4, QRank: c.qrank, KVRank: 32, Nope: 12, RopeDim: 8, ValueDim: 10, Scale: 0.22, QScale: 1, KVScale: 1, Eps: 1e-5, Rope: ropeOf(8, false)}, c.block, 6}
			w := weightMap{}
			for _, p := range a.Params() {
				w.add(rng, p.Name, p.Shape...)
			}
			return testCase{c.name, 40, a, w, 32 + 8}
		})
	}
}

// times is W x + bias of a weight [out, in].
func (w weightMap) times(name string, x []float64) []float64 {
	m := w[name]
	values := m.Float32s()
	out := make([]float64, m.Rows())
	for i := range out {
		for j, v := range x {
			out[i] += float64(values[i*len(x)+j]) * v
		}
	}
	if b, ok := w[name+".bias"]; ok {
		for i, v := range b.Float32s() {
			out[i] += float64(v)
		}
	}
	return out
}

func (w weightMap) layerNorm(name string, x []float64, eps float64) []float64 {
	mean, variance := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x))
	}
	out := make([]float64, len(x))
	for i, f := range w[name].Float32s() {
		out[i] = (x[i] - mean) / math.Sqrt(variance+eps) * float64(f)
	}
	if b, ok := w[name+".bias"]; ok {
		for i, v := range b.Float32s() {
			out[i] += float64(v)
		}
	}
	return out
}

// turnHalf rotates the last 2*len(freq) numbers of x, half-split.
func turnHalf(x []float64, freq []float64, pos int) {
	n := len(freq)
	x = x[len(x)-2*n:]
	for i, f := range freq {
		sin, cos := math.Sincos(f * float64(pos))
		x[i], x[i+n] = x[i]*cos-x[i+n]*sin, x[i]*sin+x[i+n]*cos
	}
}

func dot64(a, b []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// mtlaDecode is MTLA as one decodes it, in float64 and unfolded: a list of rows, of which each token changes the last or begins a new one.
func mtlaDecode(c testCase, x []float32, rows int) []float64 {
	a, m := c.design.(MTLA).Latent, c.design.(MTLA)
	var latents, keys [][]float64
	var out []float64
	for t := range rows {
		h := make([]float64, a.Hidden)
		for i := range h {
			h[i] = float64(x[t*a.Hidden+i])
		}
		var q []float64
		if a.QRank > 0 {
			q = c.w.times("q_b", c.w.layerNorm("q_a_norm", c.w.times("q_a", h), a.Eps))
		} else {
			q = c.w.times("q", h)
		}
		down := c.w.times("kv_a", h)
		z, kr := c.w.layerNorm("kv_a_norm", down[:a.KVRank], a.Eps), down[a.KVRank:]
		turnHalf(kr, a.Rope.InvFreq, t)
		pe := make([]float64, a.KVRank)
		for i := range pe {
			angle := float64(t/m.Block) / math.Pow(10000, float64(i-i%2)/float64(a.KVRank))
			pe[i] = []float64{math.Sin(angle), math.Cos(angle)}[i%2]
		}
		gate := 1 / (1 + math.Exp(-dot64(c.w.times("merge_c", pe), c.w.times("merge_p", z))))
		if t%m.Block == 0 {
			latents, keys = append(latents, make([]float64, a.KVRank)), append(keys, nil)
		}
		for i, v := range z {
			latents[len(latents)-1][i] += gate * v
		}
		keys[len(keys)-1] = kr
		var heads []float64
		for n := range a.Heads {
			w := a.Nope + a.RopeDim
			query := q[n*w:][:w]
			turnHalf(query, a.Rope.InvFreq, t)
			var scores []float64
			var values [][]float64
			for row, latent := range latents {
				kv := c.w.times("kv_b", latent)[n*(a.Nope+a.ValueDim):][:a.Nope+a.ValueDim]
				scores = append(scores, a.Scale*(dot64(query[:a.Nope], kv)+dot64(query[a.Nope:], keys[row])))
				values = append(values, kv[a.Nope:])
			}
			heads = append(heads, softmaxMix(scores, values)...)
		}
		out = append(out, c.w.times("o", heads)...)
	}
	return out
}

// The definition over a whole sequence, with its mask, is the decoding that the paper describes.
func TestMTLAForwardIsDecode(t *testing.T) {
	for _, c := range cases() {
		if _, ok := c.design.(MTLA); !ok {
			continue
		}
		forwardIs(t, c, 23, mtlaDecode(c, input(23, c.hidden), 23))
	}
}

// forwardIs compares Forward on the first rows of input with a reference.
func forwardIs(t *testing.T, c testCase, rows int, want []float64) {
	t.Helper()
	o, pos := tensor.NewEager64(), make([]int, rows)
	for i := range pos {
		pos[i] = i
	}
	got := o.Values(c.design.Forward(o, c.w, o.Leaf([]int{rows, c.hidden}, input(rows, c.hidden)), pos))
	for i, v := range got {
		if !(math.Abs(v-want[i]) <= 1e-6) { // leaves of float32 in between
			t.Fatalf("%s: element %d is %v, want %v", c.name, i, v, want[i])
		}
	}
}

// The public code stores a bias of the up-projection and does not use it: it changes nothing, whole or cached.
func TestMTLAUnusedBias(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	a := MTLA{MLA{Hidden: 20, Heads: 3, KVRank: 6, Nope: 5, RopeDim: 4, ValueDim: 7, Scale: 0.3, QScale: 1, KVScale: 1, Eps: 1e-5, Rope: ropeOf(4, false)}, 3, 2}
	w := weightMap{}
	for _, p := range a.Params() {
		w.add(rng, p.Name, p.Shape...)
	}
	c := testCase{"mtla", 20, a, w, 10}
	cachedIsForward(t, c, 0, 70, [][]int{{1}, {7}, {63}, {64}, {65}})
	want := cached(t, c, "f32", input(9, 20), 9, 1, []int{9}, kernel.ArithF32)
	w.add(rng, "kv_b.bias", 3*(5+7))
	cachedIsForward(t, c, 0, 70, [][]int{{1}, {7}, {63}, {64}, {65}})
	if !slices.Equal(cached(t, c, "f32", input(9, 20), 9, 1, []int{9}, kernel.ArithF32), want) {
		t.Error("the unused bias has changed the output")
	}
}
