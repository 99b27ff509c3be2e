package train

import (
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/model"
)

// Of every design's weights, matrices are Muon's, but for those that are tables or filters; all matrices but tables decay.
func TestKind(t *testing.T) {
	rest := map[string]bool{} // matrices that are not Muon's, without their layers' numbers
	for _, design := range Designs() {
		s, err := Shape{Design: design, Vocab: 300, Context: 32, Hidden: 64, Layers: 2, Untied: true}.Size()
		if err != nil {
			t.Fatal(err)
		}
		m, err := model.New(s.Config, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range m.Parameters() {
			decays, hidden := kind(p)
			if vector := len(p.Shape) != 2; vector && (decays || hidden) {
				t.Errorf("%s: %s of shape %v decays %v, is a hidden matrix %v", design, p.Name, p.Shape, decays, hidden)
			} else if !vector && !hidden {
				name := p.Name[strings.LastIndex(strings.TrimSuffix(p.Name, ".weight"), ".")+1:]
				if rest[name] = true; decays != (name != "embed_tokens.weight" && name != "gate_embed.weight") {
					t.Errorf("%s: %s decays: %v", design, p.Name, decays)
				}
			}
		}
	}
	for _, name := range []string{"embed_tokens.weight", "lm_head.weight", "gate_embed.weight", "conv0.weight", "conv1.weight"} {
		if !rest[name] {
			t.Errorf("%s is taken for a hidden matrix", name)
		}
		delete(rest, name)
	}
	for name := range rest {
		t.Errorf("%s is not taken for a hidden matrix", name)
	}
}
