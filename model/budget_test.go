//go:build linux

package model_test

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/model"
)

// A context that the budget cannot hold is refused with the one that fits, and that one does fit.
func TestBudgetNamesWhatFits(t *testing.T) {
	folder := model.WriteTiny(t)
	const budget = 100 << 20
	_, err := lowkey.Load(folder, lowkey.Options{Memory: budget, Context: 120000, Threads: 1, KV: "f16"})
	if !fault.Is(err, fault.OverBudget) {
		t.Fatal(err)
	}
	t.Log(err)
	found := regexp.MustCompile(`--ctx (\d+) or less`).FindStringSubmatch(err.Error())
	if found == nil {
		t.Fatalf("%q does not say which context fits", err)
	}
	fits, _ := strconv.Atoi(found[1])
	m, err := lowkey.Load(folder, lowkey.Options{Memory: budget, Context: fits, Threads: 1, KV: "f16"})
	if err != nil {
		t.Fatalf("--ctx %d was said to fit: %v", fits, err)
	}
	m.Close()
	if _, err := lowkey.Load(folder, lowkey.Options{Memory: budget, Context: fits + 64, Threads: 1, KV: "f16"}); !fault.Is(err, fault.OverBudget) {
		t.Errorf("%d tokens were said to fit, %d fit too: %v", fits, fits+64, err)
	}
	if _, err := lowkey.Load(folder, lowkey.Options{Memory: 1 << 20, Threads: 1}); !fault.Is(err, fault.OverBudget) {
		t.Errorf("a budget below the weights: %v", err)
	} else {
		t.Log(err)
	}
}
