package model

import (
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/attention"
)

// Every design opens with its mathematics, and says whether it folds and what its weights are.
func TestMathsOfDesigns(t *testing.T) {
	for _, row := range tinies() {
		m := row.open(t, 1, false)
		text := attention.Maths(m.designs[0])
		for _, word := range []string{"\t", "old", "Weights"} {
			if !strings.Contains(text, word) {
				t.Errorf("%s: no %q in %q", row.name, word, text)
			}
		}
	}
	if !strings.Contains(attention.SharingMaths(), "kv(i)") {
		t.Error("no mathematics of sharing")
	}
}
