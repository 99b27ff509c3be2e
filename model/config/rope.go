package config

// Rope.Frequencies: the published formulae of scaled rotary embeddings, in float64.

import (
	"cmp"
	"fmt"
	"math"

	"github.com/lowkeylm/lowkey/fault"
)

// Frequencies gives the Dim/2 angles a position (radians per token) and the factor on cos and sin.
//
// context is the number of tokens a session is opened for. Longrope and dynamic read it: the one has a list of divisors for contexts up to Original and another for longer ones, the other
// a base that grows with the context past Original; and a cache of rotated keys cannot change them when it grows past the border. So both are chosen once, by the context that was asked for
// (transformers, without a cache, chooses by the length at hand; for context <= Original both agree, and longrope's lists for sequences longer than that).
//
// A kind that is not known gives a *fault.Error of kind Unsupported that names it. With Dim 0 there is nothing to rotate: nil, 1, nil.
func (r Rope) Frequencies(context int) (inv []float64, factor float64, err error) {
	if r.Dim == 0 {
		return nil, 1, nil
	}
	base, dim := r.Base, float64(cmp.Or(r.Odd, r.Dim))
	switch {
	case r.Kind == RopeAlpha:
		base *= math.Pow(r.Alpha, dim/(dim-2))
	case r.Stretched(context):
		base *= math.Pow(r.Factor*float64(context)/float64(r.Original)-(r.Factor-1), dim/(dim-2))
	}
	inv = make([]float64, r.Dim/2)
	for i := range inv {
		inv[i] = math.Pow(base, -float64(2*i)/dim)
	}
	factor = 1
	switch r.Kind {
	case RopeKVLatent:
		r.narrow(inv)
	case RopeDefault, RopeAlpha, RopeDynamic:
	case RopeLinear:
		for i := range inv {
			inv[i] /= r.Factor
		}
	case RopeLlama3:
		r.llama3(inv)
	case RopeYarn:
		r.yarn(inv)
		factor = r.yarnFactor()
	case RopeLong:
		divisors := r.Short
		if context > r.Original {
			divisors = r.Long
		}
		if err := divide(inv, divisors, "longrope"); err != nil {
			return nil, 0, err
		}
		factor = r.longFactor()
	case RopeFactors:
		if err := divide(inv, r.Factors, "rope factors"); err != nil {
			return nil, 0, err
		}
	default:
		return nil, 0, unsupportedRope(r.Kind)
	}
	return inv, factor, nil
}

// Stretched reports whether frequencies are those of this context and no other: a dynamic base past Original.
func (r Rope) Stretched(context int) bool { return r.Kind == RopeDynamic && context > r.Original }

func unsupportedRope(kind string) error {
	return fault.New(fault.Unsupported, "rope_type", kind, "kinds that run: default linear llama3 yarn longrope dynamic kv-latent", "")
}

// narrow is KV-Latent's choice (arXiv 2507.11273) for D channels, D a multiple of 4: base^(-e/D) for e = D/4, D/4 + 2 .. below 3D/4, then 3D/4, 3D/4 + 1 .. D - 1. A narrow head has few pairs; those
// of the highest frequencies, which tell next to nothing apart but neighbours, make room for more of the lowest.
func (r Rope) narrow(inv []float64) {
	e := r.Dim / 4
	for i := range inv {
		inv[i] = math.Pow(r.Base, -float64(e)/float64(r.Dim))
		if e++; e < r.Dim*3/4 {
			e++
		}
	}
}

func divide(inv, divisors []float64, what string) error {
	if len(divisors) != len(inv) {
		return fault.New(fault.BadFile, what, fmt.Sprintf("%d divisors", len(divisors)), fmt.Sprintf("the model has %d frequencies", len(inv)), "fetch the file again, or convert the model anew")
	}
	for i := range inv {
		inv[i] /= divisors[i]
	}
	return nil
}

// llama3 keeps short waves, divides long ones by Factor and blends those between.
func (r Rope) llama3(inv []float64) {
	original := float64(r.Original)
	for i, f := range inv {
		turns := original * f / (2 * math.Pi) // full turns within the original context
		switch {
		case turns < r.LowFreq:
			inv[i] = f / r.Factor
		case turns <= r.HighFreq:
			keep := (turns - r.LowFreq) / (r.HighFreq - r.LowFreq)
			inv[i] = (1-keep)*f/r.Factor + keep*f
		}
	}
}

// yarn divides by Factor the frequencies that turn less than BetaSlow times within the original context, keeps those that turn more than BetaFast times, and goes
// linearly in the index between.
func (r Rope) yarn(inv []float64) {
	index := func(turns float64) float64 { // of the frequency that turns so often
		return float64(r.Dim) * math.Log(float64(r.Original)/(turns*2*math.Pi)) / (2 * math.Log(r.Base))
	}
	low, high := index(r.BetaFast), index(r.BetaSlow)
	if !r.NoTruncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = math.Max(low, 0), math.Min(high, float64(r.Dim-1))
	if low == high {
		high += 0.001
	}
	for i, f := range inv {
		scaled := math.Min(1, math.Max(0, (float64(i)-low)/(high-low)))
		inv[i] = f/r.Factor*scaled + f*(1-scaled)
	}
}

// yarnScale is yarn's m(f, s) = 0.1 s ln f + 1, and 1 where nothing is stretched.
func yarnScale(f, s float64) float64 {
	if f <= 1 {
		return 1
	}
	return 0.1*s*math.Log(f) + 1
}

func (r Rope) yarnFactor() float64 {
	switch {
	case r.AttentionFactor > 0:
		return r.AttentionFactor
	case r.MScale > 0 && r.MScaleAllDim > 0:
		return yarnScale(r.Factor, r.MScale) / yarnScale(r.Factor, r.MScaleAllDim)
	}
	return yarnScale(r.Factor, 1)
}

func (r Rope) longFactor() float64 {
	switch {
	case r.AttentionFactor > 0:
		return r.AttentionFactor
	case r.Factor <= 1:
		return 1
	}
	return math.Sqrt(1 + math.Log(r.Factor)/math.Log(float64(r.Original)))
}

// SetRopeFactors gives every rotating layer with plain frequencies its own divisors, as Llama 3 GGUF files store them (tensor rope_freqs.weight, Dim/2 numbers).
// Errors: BadFile if the count or a value does not fit, Unsupported if the metadata scale the frequencies too.
func (c *Config) SetRopeFactors(divisors []float64) error {
	for i, d := range divisors {
		if !(d >= minFloat && d <= maxFloat) {
			return fault.New(fault.BadFile, fmt.Sprintf("rope factor %d", i), fmt.Sprint(d), "must be positive", "correct rope_scaling, or fetch the file again")
		}
	}
	for i := range c.Layers {
		r := &c.Layers[i].Attention.Rope
		switch {
		case r.Dim == 0:
			continue
		case r.Kind != RopeDefault:
			return fault.New(fault.Unsupported, "rope scaling", r.Kind+" and a list of factors", "one of them", "take the other out of rope_scaling")
		case len(divisors) != r.Dim/2:
			return fault.New(fault.BadFile, "rope factors", fmt.Sprintf("%d numbers", len(divisors)), fmt.Sprintf("the model has %d frequencies", r.Dim/2), "correct rope_scaling, or fetch the file again")
		}
		r.Kind, r.Factors = RopeFactors, divisors
	}
	return nil
}
