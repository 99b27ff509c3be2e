package optim

// Muon: momentum whose matrix is brought to nearly orthogonal before it is taken. For hidden matrices only; Mixed gives the rest to another optimiser.
//
// Jordan and others, Muon: an optimizer for hidden layers in neural networks, 2024; the factor that gives updates Adam's size is from Liu and others, Muon is Scalable for LLM Training, 2025.

import (
	"fmt"
	"math"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
)

// MuonConfig: b = Momentum b + (1 - Momentum) g; u = b, or with Nesterov (1 - Momentum) g + Momentum b; p = (1 - lr Decay) p - lr r NewtonSchulz(u / max(|u|, Eps)), r by Size.
type MuonConfig struct {
	Momentum   float64
	Nesterov   bool
	Decay      float64
	Size       MuonSize
	Iterations int        // of Newton-Schulz
	Quintic    [3]float64 // a, b, c of its x -> a x + b x³ + c x⁵
	Eps        float64
}

// DefaultMuon goes with AdamW's learning rate.
var DefaultMuon = MuonConfig{Momentum: 0.95, Nesterov: true, Decay: 0.1, Size: LikeAdam, Iterations: 5, Quintic: Quintic, Eps: 1e-7}

// Quintic is the polynomial whose repeats bring singular values in (0, 1] near 1.
var Quintic = [3]float64{3.4445, -4.7750, 2.0315}

// MuonSize is the factor r of an update, by the shape of its matrix.
type MuonSize string

const (
	// Tall is sqrt(max(1, rows/cols)), as first published.
	Tall MuonSize = "original"
	// LikeAdam is 0.2 sqrt(max(rows, cols)), which lets Muon take the learning rate and the decay of AdamW.
	LikeAdam MuonSize = "match_rms_adamw"
	// Spectral is sqrt(rows/cols).
	Spectral MuonSize = "spectral_unclamped"
)

func (s MuonSize) factor(rows, cols int) float64 {
	ratio := float64(rows) / float64(cols)
	switch s {
	case LikeAdam:
		return 0.2 * math.Sqrt(float64(max(rows, cols)))
	case Spectral:
		return math.Sqrt(ratio)
	}
	return math.Sqrt(max(1, ratio))
}

// Check refuses values that cannot train.
func (c MuonConfig) Check() error {
	if !(c.Momentum >= 0 && c.Momentum < 1) {
		return fault.New(fault.BadInput, "muon momentum", fmt.Sprint(c.Momentum), "it lies in [0, 1)", "0.95 is usual")
	}
	if c.Iterations < 1 || c.Iterations > 100 {
		return fault.New(fault.BadInput, "muon iterations", fmt.Sprint(c.Iterations), "1 to 100", "5 is usual")
	}
	if c.Size != Tall && c.Size != LikeAdam && c.Size != Spectral {
		return fault.New(fault.BadInput, "muon size", fmt.Sprintf("%q", string(c.Size)), "known are original, match_rms_adamw and spectral_unclamped", "")
	}
	if !(c.Eps > 0) || math.IsInf(c.Eps, 0) {
		return fault.New(fault.BadInput, "muon eps", fmt.Sprint(c.Eps), "it is above 0", "1e-7 is usual")
	}
	for _, v := range c.Quintic {
		if math.IsNaN(v) || math.IsInf(v, 0) || c.Quintic[0] == 0 {
			return fault.New(fault.BadInput, "muon quintic", fmt.Sprint(c.Quintic), "three numbers, the first not 0", fmt.Sprint(Quintic))
		}
	}
	return checkDecay(c.Decay)
}

type muon struct {
	elementwise
	config  MuonConfig
	x, y    []float32 // the update on its way, and its next form
	a, b    []float32 // squares of a matrix's shorter side
	squares []float64
}

// NewMuon trains params, all of two dimensions, by Muon. config must pass Check.
func NewMuon(pool *kernel.Pool, params []*Param, config MuonConfig) Optimizer {
	m := &muon{elementwise: newElementwise(pool, params, "momentum"), config: config}
	whole, square, cuts := 0, 0, 0
	for _, p := range params {
		if len(p.Shape) != 2 {
			panic(fmt.Sprintf("optim: Muon takes matrices; %s has shape %v", p.Name, p.Shape))
		}
		short := min(p.Shape[0], p.Shape[1])
		whole, square, cuts = max(whole, len(p.Data)), max(square, short*short), max(cuts, (len(p.Data)+chunk-1)/chunk)
	}
	m.x, m.y = make([]float32, whole), make([]float32, whole)
	m.a, m.b = make([]float32, square), make([]float32, square)
	m.squares = make([]float64, cuts)
	return m
}

func (m *muon) Step(lr float64) {
	m.steps++
	for i, p := range m.params {
		if p.Grad == nil {
			continue
		}
		rows, cols := p.Shape[0], p.Shape[1]
		r := m.config.Size.factor(rows, cols)
		m.update(p, m.slots[i].Data)
		m.newtonSchulz(rows, cols)
		m.chunks(len(p.Data), func(_, from, to int) {
			data := p.Data[from:to]
			if p.Decay && m.config.Decay != 0 {
				kernel.Scale(data, float32(1-lr*m.config.Decay))
			}
			kernel.AddScaled(data, m.x[from:to], float32(-lr*r))
		})
	}
}

// chunks runs f over [0, n).
func (m *muon) chunks(n int, f func(part, from, to int)) {
	m.pool.Run((n+chunk-1)/chunk, func(part, _ int) { f(part, part*chunk, min(n, (part+1)*chunk)) })
}

// update moves the momentum and puts u, divided by its Frobenius norm, into x.
func (m *muon) update(p *Param, momentum []float32) {
	keep, new := float32(m.config.Momentum), float32(1-m.config.Momentum)
	n := len(p.Data)
	m.chunks(n, func(part, from, to int) {
		b, g, u := momentum[from:to], p.Grad[from:to], m.x[from:to]
		kernel.Scale(b, keep)
		kernel.AddScaled(b, g, new)
		if m.config.Nesterov {
			kernel.ScaleTo(u, b, keep)
			kernel.AddScaled(u, g, new)
		} else {
			copy(u, b)
		}
		m.squares[part] = kernel.SumSquares(u)
	})
	sum := 0.0
	for _, s := range m.squares[:(n+chunk-1)/chunk] {
		sum += s
	}
	inv := float32(1 / max(math.Sqrt(sum), m.config.Eps))
	m.chunks(n, func(_, from, to int) { kernel.Scale(m.x[from:to], inv) })
}

// newtonSchulz brings x [rows, cols] near the orthogonal factor of its polar decomposition. With X the wide one of x and its transpose, each iteration is X = (a I + b A + c A A) X, A = X Xᵀ; a tall x is
// multiplied from the right instead, as the factor is symmetric.
func (m *muon) newtonSchulz(rows, cols int) {
	n, short, long, q := rows*cols, min(rows, cols), max(rows, cols), m.config.Quintic
	square := func(d []float32) kernel.Dense { return kernel.Dense{Data: d, Stride: short} }
	a, b := square(m.a[:short*short]), square(m.b[:short*short])
	for range m.config.Iterations {
		x := kernel.Dense{Data: m.x[:n], Stride: cols}
		y := kernel.Dense{Data: m.y[:n], Stride: cols}
		xt := x
		xt.Transposed = true
		left, right := x, xt
		if rows > cols {
			left, right = xt, x
		}
		kernel.GemmSymmetric(m.pool, a, left, right, short, long)
		kernel.GemmSymmetric(m.pool, b, a, a, short, short)
		m.chunks(short*short, func(_, from, to int) {
			kernel.Scale(b.Data[from:to], float32(q[2]))
			kernel.AddScaled(b.Data[from:to], a.Data[from:to], float32(q[1]))
		})
		for i := range short {
			b.Data[i*short+i] += float32(q[0])
		}
		if rows > cols {
			kernel.Gemm(m.pool, y, x, b, rows, cols, cols, false)
		} else {
			kernel.Gemm(m.pool, y, b, x, rows, cols, rows, false)
		}
		m.x, m.y = m.y, m.x
	}
}
