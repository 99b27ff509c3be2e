package eval

import (
	"math"
	"testing"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// of makes a distribution from probabilities; its logits are their logarithms plus shift, which must not matter.
func of(shift float64, p ...float64) *distribution {
	logits := make([]float32, len(p))
	for i, v := range p {
		logits[i] = float32(math.Log(v) + shift)
	}
	d := &distribution{}
	d.set(logits)
	return d
}

func TestDivergence(t *testing.T) {
	// 0.5 ln(0.5/0.25) + 0.25 ln(0.25/0.5) + 0.25 ln 1 = 0.25 ln 2
	p, q := of(0, 0.5, 0.25, 0.25), of(30, 0.25, 0.5, 0.25)
	near(t, "KL", p.divergence(q), 0.25*math.Ln2, 1e-6)
	near(t, "KL of equals", p.divergence(p), 0, 0)
	near(t, "KL of equals, shifted", p.divergence(of(1000, 0.5, 0.25, 0.25)), 0, 2e-5) // 1000 has steps of 6e-5 in float32
	near(t, "KL with a zero", of(0, 1, 0).divergence(of(0, 0.5, 0.5)), math.Ln2, 1e-6)
	near(t, "KL of zeros", of(0, 1, 0).divergence(of(0, 1, 0)), 0, 1e-6)
	near(t, "log p", q.logProb(1), math.Log(0.5), 1e-5)

	var d Divergence
	d.add(p, q)
	near(t, "error of one", d.Error(), 0, 0)
	d.add(p, p)
	near(t, "mean", d.MeanKL(), 0.125*math.Ln2, 1e-6)
	near(t, "top-1", d.Top1(), 0.5, 0)
	near(t, "error", d.Error(), 0.125*math.Ln2, 1e-6) // deviations ±a, a = 0.125 ln 2: sqrt(2 a² / (2-1)) / sqrt 2
	near(t, "max", d.MaxKL, 0.25*math.Ln2, 1e-6)
}
