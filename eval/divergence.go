package eval

import (
	"math"

	"github.com/lowkeylm/lowkey/kernel"
)

// distribution is softmax(logits) with what is needed to take logarithms.
type distribution struct {
	logits []float32 // not its own
	exps   []float32 // e^(logit - peak)
	sum    float64   // of exps
	norm   float64   // log of the sum of e^logit
	top    int       // the likeliest token
}

func (d *distribution) set(logits []float32) {
	d.logits, d.top = logits, kernel.ArgMax(logits)
	d.exps = append(d.exps[:0], logits...)
	peak := logits[d.top]
	for i := range d.exps {
		d.exps[i] -= peak
	}
	kernel.Exp(d.exps)
	d.sum = 0
	for _, e := range d.exps {
		d.sum += float64(e)
	}
	d.norm = float64(peak) + math.Log(d.sum)
}

func (d *distribution) logProb(id int32) float64 { return float64(d.logits[id]) - d.norm }

// divergence is KL(p || q) = sum p (log p - log q). Rounding can make a tiny sum negative; it is then zero.
func (p *distribution) divergence(q *distribution) float64 {
	kl := 0.0
	for i, e := range p.exps {
		if e > 0 { // a token that p rules out adds nothing, whatever its logits are
			kl += float64(e) * (float64(p.logits[i]) - float64(q.logits[i]))
		}
	}
	return max(0, kl/p.sum-(p.norm-q.norm))
}

// Divergence says how far predictions are from a reference's, over a number of positions.
type Divergence struct {
	Positions int
	MaxKL     float64 // nats
	Same      int     // positions where both find the same token likeliest

	sum, squares float64
}

func (d *Divergence) add(p, q *distribution) {
	kl := p.divergence(q)
	d.Positions, d.sum, d.squares, d.MaxKL = d.Positions+1, d.sum+kl, d.squares+kl*kl, max(d.MaxKL, kl)
	if p.top == q.top {
		d.Same++
	}
}

// MeanKL is the mean Kullback-Leibler divergence KL(reference || model) of a position, in nats.
func (d *Divergence) MeanKL() float64 { return d.sum / float64(d.Positions) }

// Error is the standard error of MeanKL, positions taken as independent; 0 for one position.
func (d *Divergence) Error() float64 {
	if d.Positions < 2 {
		return 0
	}
	n, mean := float64(d.Positions), d.MeanKL()
	return math.Sqrt(max(0, d.squares/n-mean*mean) / (n - 1))
}

// Top1 is the share of positions where both find the same token likeliest.
func (d *Divergence) Top1() float64 { return float64(d.Same) / float64(d.Positions) }
