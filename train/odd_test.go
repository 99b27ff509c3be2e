package train

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/train/optim"
)

// Every design trains at the smallest and at odd sizes, or says which dimension cannot be; a run that is stopped has the bits of one that is not.
func TestOddSizes(t *testing.T) {
	set := corpus(t, t.TempDir())
	for _, design := range Designs() {
		ran := 0
		for i, size := range []struct{ hidden, layers, heads, width, seq int }{{1, 1, 1, 2, 1}, {6, 1, 1, 2, 2}, {7, 2, 3, 2, 7}, {18, 3, 3, 6, 7}, {9, 1, 3, 6, 1}, {24, 2, 4, 4, 7}, {12, 2, 1, 6, 2}} {
			t.Run(fmt.Sprint(design, size), func(t *testing.T) {
				sized, err := Shape{Design: design, Vocab: 300, Context: 8, Hidden: size.hidden, Layers: size.layers, Heads: size.heads, HeadDim: size.width, FFN: 3}.Size()
				if err != nil {
					var f *fault.Error
					if !errors.As(err, &f) {
						t.Fatalf("an error without a kind: %v", err)
					}
					t.Log(err)
					return
				}
				ran++
				s := &Settings{Model: sized.Config, Seq: size.seq, Batch: 1, Accumulate: 1, Optimizer: []string{"muon", "adamw"}[i%2], Schedule: optim.Schedule{Shape: optim.Constant, Peak: 0.01, Steps: 9},
					Decay: 0.1, Beta1: 0.9, Beta2: 0.95, Clip: 1, Seed: 3}
				var got [2][]byte
				for i := range got {
					dir := t.TempDir()
					for part := range 1 + i {
						r, err := Open(dir, s, set, 1+part)
						if err != nil {
							t.Fatal(err)
						}
						ctx, cancel := context.WithCancel(context.Background())
						err = r.Run(ctx, 0, 0, func(st *Step) error {
							if i > part && st.Step == 1 || st.Step == 3 { // before the end, which would measure the validation side
								cancel()
							}
							return nil
						})
						cancel()
						if err != nil {
							t.Fatal(err)
						}
						got[i] = weights(r.Model)
						r.Close()
					}
				}
				if !bytes.Equal(got[0], got[1]) {
					t.Error("a resumed run has other bits")
				}
			})
		}
		if ran == 0 {
			t.Errorf("%s trains at none of these sizes", design)
		}
	}
}
