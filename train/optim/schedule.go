package optim

// The learning rate over time, as a factor between the peak and a fraction of it.

import (
	"fmt"
	"math"

	"github.com/lowkeylm/lowkey/fault"
)

// Shape is the form of a Schedule after its warm-up.
type Shape string

const (
	// Constant stays at the peak.
	Constant Shape = "constant"
	// Cosine falls along half a cosine to Final at the last step (Loshchilov and Hutter, SGDR, 2017).
	Cosine Shape = "cosine"
	// WSD (warm-up, stable, decay) stays at the peak and falls in the last Decay steps as 1 - sqrt(share of them done), to Final (Hu and others, MiniCPM, 2024; the root is from Hägele and others, Scaling Laws and
	// Compute-Optimal Training Beyond Fixed Training Durations, 2024). Any step of the stable phase may be continued.
	WSD Shape = "wsd"
)

// Schedule gives the learning rate of steps 0 .. Steps-1.
type Schedule struct {
	Shape  Shape   `json:"shape"`
	Peak   float64 `json:"peak"`   // the highest learning rate
	Warmup int     `json:"warmup"` // steps of a straight rise; step Warmup-1 is at the peak
	Steps  int     `json:"steps"`  // in all
	Decay  int     `json:"decay,omitempty"`
	Final  float64 `json:"final"` // of the peak, at the last step
}

// Check refuses a schedule that makes no sense, with the value that would.
func (s Schedule) Check() error {
	bad := func(thing, value, limit, wayOut string) error {
		return fault.New(fault.BadInput, thing, value, limit, wayOut)
	}
	switch {
	case s.Shape != Constant && s.Shape != Cosine && s.Shape != WSD:
		return bad("schedule", fmt.Sprintf("%q", string(s.Shape)), "known are constant, cosine and wsd", "")
	case !(s.Peak > 0) || math.IsInf(s.Peak, 0):
		return bad("learning rate", fmt.Sprint(s.Peak), "it is above 0", "")
	case s.Steps < 1:
		return bad("steps", fmt.Sprint(s.Steps), "at least 1", "")
	case s.Warmup < 0 || s.Warmup > s.Steps:
		return bad("warm-up", fmt.Sprintf("%d steps", s.Warmup), fmt.Sprintf("the run has %d", s.Steps), "make the warm-up shorter")
	case !(s.Final >= 0 && s.Final <= 1):
		return bad("final learning rate", fmt.Sprintf("%v of the peak", s.Final), "it lies in [0, 1]", "")
	case s.Shape == WSD && (s.Decay < 0 || s.Decay > s.Steps-s.Warmup):
		return bad("decay", fmt.Sprintf("%d steps", s.Decay), fmt.Sprintf("%d steps are left after the warm-up", s.Steps-s.Warmup), "make it shorter")
	}
	return nil
}

// At is the learning rate of step i, from 0. Steps beyond the last have the last one's.
func (s Schedule) At(i int) float64 {
	if i < s.Warmup {
		return s.Peak * float64(i+1) / float64(s.Warmup)
	}
	i = min(i, s.Steps-1)
	fall := 0.0 // from 0 at the peak to 1 at Final
	switch s.Shape {
	case Cosine:
		// The last step of the warm-up is the cosine's top.
		if from := max(s.Warmup-1, 0); s.Steps-1 > from {
			fall = 0.5 * (1 - math.Cos(math.Pi*float64(i-from)/float64(s.Steps-1-from)))
		}
	case WSD:
		if done := i + 1 - (s.Steps - s.Decay); done > 0 {
			fall = math.Sqrt(float64(done) / float64(s.Decay))
		}
	}
	return s.Peak * (1 - (1-s.Final)*fall)
}
