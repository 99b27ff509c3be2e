package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

func TestLayerMap(t *testing.T) {
	lckv := "0_" + strings.Repeat("20_", 20) + "21" // the paper's example: 22 layers, two of their own
	middle := "0_" + strings.Repeat("10_", 20) + "21"
	for _, c := range []struct {
		name   string
		layers int
		want   string
	}{
		{"none", 3, ""}, {"cla2", 4, "0_0_2_2"}, {"cla2", 5, "0_0_2_2_4"}, {"cla3", 7, "0_0_0_3_3_3_6"}, {"cla4", 4, "0_0_0_0"},
		{"mlkv:3", 12, "0_0_0_0_4_4_4_4_8_8_8_8"}, {"mlkv:1", 3, "0_0_0"}, {"mlkv:3", 5, "0_1_1_3_3"},
		{"lckv", 22, lckv}, {"lckv:2", 22, lckv}, {"lckv:1", 4, "0_3_3_3"}, {"sandwich-top:3", 22, lckv}, {"sandwich-middle:3", 22, middle},
		{"pizza-bottom:3", 5, "0_1_2_2_2"}, {"pizza-top:2", 4, "0_3_3_3"}, {"sandwich-top:3", 5, "0_3_3_3_4"}, {"sandwich-middle:3", 5, "0_2_2_2_4"},
		{"lasagna-bottom:2", 6, "0_0_0_3_3_3"}, {"lasagna-top:2", 4, "1_1_3_3"}, {"lasagna-middle:2", 6, "1_1_1_4_4_4"}, {"pizza-middle:2", 5, "0_2_2_2_2"},
		{"sandwich-bottom:3", 5, "0_1_1_1_4"}, {"sandwich-bottom:2", 5, "0_1_1_1_1"}, {"0s_1s_2_2", 4, "0s_1s_2_2"},
	} {
		if got, err := LayerMap(c.name, c.layers); err != nil || got != c.want {
			t.Errorf("%s of %d layers: %q, %v; want %q", c.name, c.layers, got, err, c.want)
		}
	}
	for _, bad := range []string{"cla", "cla0", "cla9", "mlkv", "mlkv:x", "pizza:2", "pizza-up:2", "toast-top:2", "lckv:4", "0_0_2", "lasagna-top:5"} {
		if m, err := LayerMap(bad, 4); !fault.Is(err, fault.BadInput) {
			t.Errorf("%s: %q, %v", bad, m, err)
		}
	}
}

func mapped(layers int, layerMap, more string) string {
	return fmt.Sprintf(`{"model_type": "lowkey", "attention": "gqa", "num_key_value_heads": 2, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": %d, "num_attention_heads": 4,
		"vocab_size": 50, "layer_map": %q%s}`, layers, layerMap, more)
}

// A map in lowkey's own configuration: who reads whom, what is kept, what a token costs, and back to text.
func TestLayerMapConfig(t *testing.T) {
	for _, c := range []struct {
		layerMap, more string
		kept           string // windows of the caches
		owners         int
		sequential     bool
	}{
		{"0_0_2_2", "", "[0 0 0 0]", 2, false}, {"1_1_3_3", "", "[0 0 0 0]", 2, true}, {"0_1_2_3", "", "[0 0 0 0]", 4, false},
		{"0s_1s_2_2", `, "sliding_window": 7`, "[7 7 0 0]", 3, false}, {"0s_0s_0_3s", `, "sliding_window": 7`, "[0 7 0 7]", 2, false},
	} {
		m, err := Parse([]byte(mapped(4, c.layerMap, c.more)), "test")
		if err != nil {
			t.Fatal(c.layerMap, err)
		}
		var kept []int
		owners := 0
		for i := range m.Layers {
			kept = append(kept, m.KeptWindow(i))
			if m.Layers[i].Attention.SharesWith < 0 {
				owners++
			}
		}
		if fmt.Sprint(kept) != c.kept || owners != c.owners || m.Sequential() != c.sequential || m.CacheElementsPerToken() != float64(owners*2*2*8) {
			t.Errorf("%s: kept %v, %d own a cache, sequential %v, %v numbers a token", c.layerMap, kept, owners, m.Sequential(), m.CacheElementsPerToken())
		}
		if got := m.LayerMap(); got != c.layerMap && m.Shared() {
			t.Errorf("%s is written back as %s", c.layerMap, got)
		}
	}
	for layerMap, why := range map[string]string{"0_0_1_1": "own rows", "0_0": "entries", "0_0_4_4": "from 0 to 3", "0s_0_2_2": "sliding_window", "0_x_2_2": "from 0 to 3"} {
		if _, err := Parse([]byte(mapped(4, layerMap, "")), "test"); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", layerMap, err, why)
		}
	}
	m, err := Parse([]byte(mapped(4, "1s_1_3_3", `, "sliding_window": 7`)), "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Runnable(); err != nil {
		t.Errorf("a layer that slides over a higher one: %v", err)
	}
	if m, err = Parse([]byte(mapped(4, "1s_1_3_3", `, "sliding_window": 1`)), "test"); err != nil {
		t.Fatal(err)
	}
	if err := m.Runnable(); !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "slides") {
		t.Errorf("a layer that slides over one row of a higher one, its own: %v", err)
	}
}

// What has a name has an example that is a map, and is found by it.
func TestSharings(t *testing.T) {
	for _, s := range Sharings() {
		if m, err := LayerMap(s.Share, 12); err != nil || m == "" || s.About == "" || s.Cache == "" || s.Paper == "" {
			t.Errorf("%s: %q, %v", s.Name, m, err)
		}
		if got := SharingOf(s.Name, 12); got == nil || *got != s {
			t.Errorf("%s is found as %+v", s.Name, got)
		}
	}
	for name, want := range map[string]string{"cla4": "cla", "mlkv:2": "mlkv", "lckv:4": "lckv", "pizza-top:2": "pizza", "lasagna-bottom:6": "lasagna"} {
		if got := SharingOf(name, 12); got == nil || got.Name != want || got.Share != name {
			t.Errorf("%s is found as %+v", name, got)
		}
	}
	for _, bad := range []string{"", "gqa", "cla99", "lckv:x", "0_0", "clla-quant:2"} {
		if got := SharingOf(bad, 12); got != nil {
			t.Errorf("%q is found as %+v", bad, got)
		}
	}
}
