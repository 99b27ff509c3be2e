package kernel

// What an optimiser does to long vectors of numbers: the update of Adam, and the sum of squares behind a norm.
//
// It knows no parameters, steps or learning rates: package train/optim turns those into the few factors here. Element i depends on element i alone, so callers may cut vectors over threads as they like.

import "math"

// AdamStep holds the factors of one step t of Adam at learning rate lr.
//
//	m = m + (1 - b1) (g - m);  v = b2 v + (1 - b2) g²
//	p = Shrink p - Rate m / (Root sqrt(v) + Eps)
//
// Kingma and Ba, Adam, 2015; the shrinking outside of the gradient is AdamW's (Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019).
type AdamStep struct {
	Beta1, Beta2 float64
	Shrink       float64 // 1 - lr * weight decay; 1 for none
	Rate         float64 // lr / (1 - b1^t)
	Root         float64 // 1 / sqrt(1 - b2^t)
	Eps          float64
}

// Adam updates the parameters p and their two averages m and v from the gradient g, all of p's length. It panics, as indexing does, where one is shorter.
func Adam(p, m, v, g []float32, s AdamStep) {
	m, v, g = m[:len(p)], v[:len(p)], g[:len(p)]
	if !adamFast(p, m, v, g, s) {
		adamPlain(p, m, v, g, s)
	}
}

// Adam64 is Adam in float64, for checks.
func Adam64(p, m, v, g []float64, s AdamStep) { adamPlain(p, m, v, g, s) }

func adamPlain[F float32 | float64](p, m, v, g []F, s AdamStep) {
	m, v, g = m[:len(p)], v[:len(p)], g[:len(p)]
	oneB1, b2, oneB2 := F(1-s.Beta1), F(s.Beta2), F(1-s.Beta2)
	shrink, rate, root, eps := F(s.Shrink), F(s.Rate), F(s.Root), F(s.Eps)
	for i, x := range g {
		m[i] += F(oneB1 * (x - m[i]))
		v[i] = F(b2*v[i]) + F(F(oneB2*x)*x)
		p[i] = F(shrink*p[i]) - F(rate*m[i])/(F(root*F(math.Sqrt(float64(v[i]))))+eps)
	}
}

// SumSquares is the sum of x², in float64. Its order depends on len(x) alone.
func SumSquares(x []float32) float64 {
	n := len(x) &^ 31
	sum, ok := sumSquaresFast(x[:n])
	if ok {
		x = x[n:]
	}
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return sum
}
