package train

import (
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/model/config"
)

// A model whose layers share rows has the same parameters as one whose layers do not: what the readers lack goes to the MLP, or to heads; its cache is that of the layers that own one.
func TestSizesOfShared(t *testing.T) {
	for _, design := range Designs() {
		alone := Shape{Design: design, Vocab: 512, Context: 128, Hidden: 128, Layers: 4}
		shared := alone
		shared.Share = "cla2"
		b, err := shared.Size()
		if !slices.Contains(config.SharingDesigns(), design) {
			if !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), design) {
				t.Errorf("%s: %v", design, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", design, err)
			continue
		}
		a, err := alone.Size()
		if err != nil {
			t.Fatal(err)
		}
		if d := float64(b.Parameters-b.Target) / float64(b.Target); d > 0.01 || d < -0.01 {
			t.Errorf("%s: %d parameters, %d wanted", design, b.Parameters, b.Target)
		}
		if b.FFN <= a.FFN && b.Heads <= a.Heads {
			t.Errorf("%s: MLP %d and %d heads, without sharing %d and %d", design, b.FFN, b.Heads, a.FFN, a.Heads)
		}
		perToken := func(s *Sized) float64 {
			c, err := config.Parse(s.Config, design)
			if err != nil {
				t.Fatal(err)
			}
			n := c.CacheElementsPerToken()
			if a := &c.Layers[0].Attention; design == "tpa" { // more heads make its rows longer
				n /= float64(a.Heads + a.HeadDim)
			}
			return n
		}
		if perToken(b) != perToken(a)/2 || !strings.Contains(b.Chosen, "0_0_2_2") {
			t.Errorf("%s: %v numbers a token, %v without sharing: %s", design, perToken(b), perToken(a), b.Chosen)
		}
	}
}
