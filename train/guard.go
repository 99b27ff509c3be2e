package train

// The guard stops a run whose loss is not a number or has jumped, before the bad gradient reaches the weights.

import (
	"fmt"
	"math"

	"github.com/lowkeylm/lowkey/fault"
)

// Diverged is the error of a run that the guard stopped.
type Diverged struct {
	Step int // whose loss was bad
	Err  error
}

func (d *Diverged) Error() string { return d.Err.Error() }
func (d *Diverged) Unwrap() error { return d.Err }

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

// check takes a step's loss in, or refuses it. lastGood is the newest checkpoint, "" for none.
func (g *guard) check(loss, norm float64, step int, lastGood string) error {
	what := fmt.Sprintf("loss %g, gradient norm %g", loss, norm)
	if !finite(loss + norm) {
		return diverged(what, step, "not a number", lastGood)
	}
	if g.steps >= guardStart && loss > g.mean+guardJump {
		return diverged(what, step, fmt.Sprintf("%.3g above the average of the last steps", loss-g.mean), lastGood)
	}
	g.follow(loss)
	return nil
}

// checkValid refuses a loss of the validation side: weights may be beyond use before the next step says so.
func (g *guard) checkValid(v *Valid, step int, lastGood string) error {
	if finite(v.Loss) {
		return nil
	}
	return diverged(fmt.Sprintf("validation loss %g", v.Loss), step, "not a number", lastGood)
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

func diverged(what string, step int, why, lastGood string) error {
	wayOut := "there is no checkpoint yet: begin anew with a lower --lr, or clip"
	if lastGood != "" {
		wayOut = fmt.Sprintf("the last good checkpoint is %s: go on from it in a new run (--start %[1]s) with a lower --lr, or clip", lastGood)
	}
	return &Diverged{step, fault.New(fault.BadInput, "training", fmt.Sprintf("%s at step %d", what, step), why, wayOut)}
}

// follow takes a good loss into the average.
func (g *guard) follow(loss float64) {
	if g.steps++; g.steps == 1 {
		g.mean = loss
	}
	g.mean = guardMemory*g.mean + (1-guardMemory)*loss
}
