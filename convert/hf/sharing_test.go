package hf

import (
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// A map that closes a circle has no PyTorch form, and says so.
func TestCircleIsNotExported(t *testing.T) {
	m := tiny{"gqa-top", `"attention": "gqa", "num_key_value_heads": 2, "layer_map": "1_1"`, "", 0}
	dir := t.TempDir()
	m.write(t, dir+"/native")
	for _, form := range []string{Auto, Public, Custom} {
		_, err := Export(t.Context(), dir+"/native", dir+"/out", Options{Form: form})
		if !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "1_1") {
			t.Errorf("%s: %v", form, err)
		}
	}
}
