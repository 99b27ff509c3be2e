package attention

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/tensor"
)

// plain is a weight in float64, for loops.
type plain struct {
	x         []float64
	rows, col int
}

func (m weightMap) plain(name string) plain {
	w := m[name]
	p := plain{rows: w.Rows(), col: w.Cols()}
	for _, v := range w.Float32s() {
		p.x = append(p.x, float64(v))
	}
	return p
}

// times is W x, rows [from, to) of W.
func (p plain) times(x []float64, from, to int) []float64 {
	y := make([]float64, to-from)
	for i := range y {
		for j, v := range x {
			y[i] += p.x[(from+i)*p.col+j] * v
		}
	}
	return y
}

// project is rows [from, to) of W x + bias.
func (m weightMap) project(name string, x []float64, from, to int) []float64 {
	y := m.plain(name).times(x, from, to)
	if _, ok := m[name+".bias"]; ok {
		b := m.plain(name + ".bias")
		for i := range y {
			y[i] += b.x[from+i]
		}
	}
	return y
}

// turned is x turned by the position; nil turns nothing.
func turned(x []float64, pos int, r *tensor.Rope) []float64 {
	y := append([]float64(nil), x...)
	if r == nil {
		return y
	}
	n := len(r.InvFreq)
	for i, f := range r.InvFreq {
		a, b := i, i+n
		if r.Pairs {
			a, b = 2*i, 2*i+1
		}
		s, c := math.Sincos(float64(pos) * f)
		y[a], y[b] = x[a]*c-x[b]*s, x[b]*c+x[a]*s
	}
	return y
}

func dot(a, b []float64) float64 {
	s := 0.0
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

// softmaxMix mixes values by the softmax of scores.
func softmaxMix(scores []float64, values [][]float64) []float64 {
	top, sum := math.Inf(-1), 0.0
	for _, s := range scores {
		top = max(top, s)
	}
	y := make([]float64, len(values[0]))
	for j, s := range scores {
		p := math.Exp(s - top)
		sum += p
		for i, v := range values[j] {
			y[i] += p * v
		}
	}
	for i := range y {
		y[i] /= sum
	}
	return y
}

// lrkvDecode rebuilds the key and the value of every head for every token, as the definition has them, and decodes token by token.
func lrkvDecode(a LRKV, w weightMap, x [][]float64) (out []float64) {
	n, dh, r := a.Heads, a.HeadDim, a.Rank
	shared, residual, values := make([][][]float64, n), make([][][]float64, n), make([][][]float64, n)
	for t, in := range x {
		var joined []float64
		for h := range n {
			kb, vb := w.plain(fmt.Sprintf("k_b.%d", h)), w.plain(fmt.Sprintf("v_b.%d", h))
			z := w.project("k_a", in, h*r, (h+1)*r)
			own := make([]float64, dh) // z B, [d_h]; in the turned form the latent itself
			for j := range own {
				for i := range z {
					own[j] += z[i] * kb.x[i*dh+j]
				}
			}
			if a.LatentRope != nil {
				own = turned(z, t, a.LatentRope)
			}
			v := w.project("v", in, 0, dh)
			for i, y := range vb.times(w.project("v_a", in, h*r, (h+1)*r), 0, dh) {
				v[i] += y
			}
			shared[h], residual[h], values[h] = append(shared[h], turned(w.project("k", in, 0, dh), t, a.Rope)), append(residual[h], own), append(values[h], v)

			q := w.project("q", in, h*dh, (h+1)*dh)
			ask := q
			if a.LatentRope != nil {
				ask = turned(kb.times(q, 0, r), t, a.LatentRope)
			}
			scores := make([]float64, t+1)
			for j := range scores {
				scores[j] = a.Scale * (dot(turned(q, t, a.Rope), shared[h][j]) + dot(ask, residual[h][j]))
			}
			joined = append(joined, softmaxMix(scores, values[h])...)
		}
		out = append(out, w.project("o", joined, 0, a.Hidden)...)
	}
	return out
}

// A two-term score over latents is the score of rebuilt keys: Forward and the cached step against loops that rebuild both.
func TestLRKVRebuilt(t *testing.T) {
	const rows = 70
	seen := 0
	for _, c := range cases() {
		a, ok := c.design.(LRKV)
		if !ok {
			continue
		}
		seen++
		compareWithLoops(t, c, rows, func(x [][]float64) []float64 { return lrkvDecode(a, c.w, x) })
	}
	if seen < 3 {
		t.Fatalf("%d cases", seen)
	}
}

// compareWithLoops holds Forward to 1e-9 and the cached step, token by token, to 1e-4 of the largest number.
func compareWithLoops(t *testing.T, c testCase, rows int, decode func(x [][]float64) []float64) {
	t.Helper()
	x := input(rows, c.hidden)
	wide, pos := make([][]float64, rows), make([]int, rows)
	for i := range wide {
		pos[i] = i
		for _, v := range x[i*c.hidden:][:c.hidden] {
			wide[i] = append(wide[i], float64(v))
		}
	}
	want, top := decode(wide), 0.0
	for _, v := range want {
		top = max(top, math.Abs(v))
	}
	o := tensor.NewEager64()
	forward := o.Values(Of(c.design, tokenIDs(0, rows)).Forward(o, c.w, o.Leaf([]int{rows, c.hidden}, x), pos))
	step := cached(t, c, "f32", x, rows, 1, []int{1}, kernel.ArithF32)
	for i, v := range want {
		if d := math.Abs(forward[i] - v); !(d <= 1e-9*top) {
			t.Fatalf("%s: Forward differs from the loops by %.3g of %.3g at %d", c.name, d, top, i)
		}
		if d := math.Abs(float64(step[i]) - v); !(d <= 1e-4*top) {
			t.Fatalf("%s: the cached step differs from the loops by %.3g of %.3g at %d", c.name, d, top, i)
		}
	}
}

// What the paper prints, RoPE(z B) = RoPE(z) B, does not hold; a score of turned latents depends on the distance alone.
func TestLRKVRotation(t *testing.T) {
	for _, c := range cases() {
		a, ok := c.design.(LRKV)
		if !ok || !strings.Contains(c.name, "turned latents") {
			continue
		}
		kb := c.w.plain("k_b.0")
		z, q := make([]float64, a.Rank), make([]float64, a.HeadDim)
		for i := range z {
			z[i] = math.Sin(float64(3*i + 1))
		}
		for i := range q {
			q[i] = math.Cos(float64(5*i + 2))
		}
		through := func(z []float64) []float64 {
			y := make([]float64, a.HeadDim)
			for j := range y {
				for i := range z {
					y[j] += z[i] * kb.x[i*a.HeadDim+j]
				}
			}
			return y
		}
		whole, printed := turned(through(z), 9, a.Rope), through(turned(z, 9, a.LatentRope))
		apart := 0.0
		for i := range whole {
			apart = max(apart, math.Abs(whole[i]-printed[i]))
		}
		if apart < 0.1 {
			t.Errorf("the printed identity holds to %.3g: the reason for this design's rotation is gone", apart)
		}
		ask := kb.times(q, 0, a.Rank)
		near := dot(turned(ask, 12, a.LatentRope), turned(z, 5, a.LatentRope))
		far := dot(turned(ask, 112, a.LatentRope), turned(z, 105, a.LatentRope))
		if math.Abs(near-far) > 1e-9*math.Abs(near) {
			t.Errorf("scores at distance 7: %v and %v", near, far)
		}
		return
	}
	t.Fatal("no case with turned latents")
}
