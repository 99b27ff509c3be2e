package train

// The guard stops a run whose loss is not a number or has jumped, before the bad gradient reaches the weights.

import (
	"fmt"
	"math"

	"github.com/lowkeylm/lowkey/fault"
)

// guard follows the loss by an average over some 50 steps.
type guard struct {
	mean  float64
	steps int
}

const (
	guardMemory = 0.98
	guardStart  = 50  // steps before a jump counts
	guardJump   = 2.0 // nats above the average
)

func (g *guard) check(loss, norm float64, step int, lastGood string) error {
	wayOut := fmt.Sprintf("the last good checkpoint is %s; lower the learning rate, or clip, and resume from it in a new run (--start)", lastGood)
	at := fmt.Sprintf("loss %g, gradient norm %g at step %d", loss, norm, step)
	if bad := loss + norm; math.IsNaN(bad) || math.IsInf(bad, 0) {
		return fault.New(fault.BadInput, "training", at, "not a number", wayOut)
	}
	if g.steps >= guardStart && loss > g.mean+guardJump {
		return fault.New(fault.BadInput, "training", at, fmt.Sprintf("%.3g above the average of the last steps", loss-g.mean), wayOut)
	}
	if g.steps++; g.steps == 1 {
		g.mean = loss
	}
	g.mean = guardMemory*g.mean + (1-guardMemory)*loss
	return nil
}
