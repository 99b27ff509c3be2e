package picture

import (
	"math"
	"strconv"
	"testing"
)

// A label is its tick's value, whatever the range.
func TestLabels(t *testing.T) {
	for _, r := range [][2]float64{{0, 3}, {0, 2.9}, {0.001, 0.0042}, {3.2, 3.9}, {0, 1e6}, {5.0001, 5.0009}, {-2, 2.5}} {
		labels := 0
		for _, tick := range (precise{}).Ticks(r[0], r[1]) {
			if tick.IsMinor() {
				continue
			}
			labels++
			if v, err := strconv.ParseFloat(tick.Label, 64); err != nil || math.Abs(v-tick.Value) > 1e-5*(r[1]-r[0]) {
				t.Errorf("%v: %q stands at %v", r, tick.Label, tick.Value)
			}
		}
		if labels < 2 {
			t.Errorf("%v: %d labels", r, labels)
		}
	}
}
