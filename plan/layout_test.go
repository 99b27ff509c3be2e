package plan

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/model"
)

// What is planned is what runs: the layout by the configuration's formula is that of the engine's designs.
func TestLayoutsAreTheEngines(t *testing.T) {
	designs := map[string]bool{}
	for _, dir := range goldenFolders(t) {
		m, err := model.Open(dir)
		if fault.Is(err, fault.Unsupported) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, want := Layouts(m.Config), m.Layouts(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: planned %+v, the engine has %+v", filepath.Base(dir), got[0], want[0])
		}
		designs[m.Config.Layers[0].Attention.Design] = true
		m.Close()
	}
	t.Logf("designs compared: %v", designs)
	if len(designs) == 0 {
		t.Error("nothing was compared")
	}
}
