package config

import (
	"reflect"
	"strings"
	"testing"
)

const sixHeads = `{"model_type":"lowkey","hidden_size":48,"intermediate_size":64,"num_hidden_layers":2,"num_attention_heads":6,"vocab_size":40,`

// Ranks that are not given follow each other; numbers a token are r3 + r3', r3 where keys are values.
func TestTuckerDefaults(t *testing.T) {
	for fields, want := range map[string]struct {
		ranks   [6]int // r1 r2 r3, r1' r2' r3'
		numbers float64
	}{
		``:                                 {[6]int{6, 16, 8, 6, 16, 8}, 2 * 16},
		`,"k_rank":12`:                     {[6]int{6, 24, 12, 6, 24, 12}, 2 * 24},
		`,"v_rank":10,"head_rank":4`:       {[6]int{4, 16, 8, 4, 16, 10}, 2 * 18},
		`,"q_rank":20,"shared_kv":true`:    {[6]int{6, 20, 8, 6, 20, 8}, 2 * 8},
		`,"out_rank":9,"out_head_rank":11`: {[6]int{6, 16, 8, 11, 9, 8}, 2 * 16},
	} {
		c, err := Parse([]byte(sixHeads+`"attention":"tucker"`+fields+"}"), "own")
		if err != nil {
			t.Fatal(fields, err)
		}
		a := c.Layers[1].Attention
		if got := [6]int{a.HeadRank, a.QRank, a.HeadDim, a.OutHeadRank, a.OutRank, a.ValueDim}; got != want.ranks || c.CacheElementsPerToken() != want.numbers || a.Rope.Dim != a.HeadDim {
			t.Errorf("%s: ranks %v, %g numbers a token, want %v", fields, got, c.CacheElementsPerToken(), want)
		}
		if a.Scale*a.Scale < 0.1249 || a.Scale*a.Scale > 0.1251 { // 1/8: by the width of a head, not by r3
			t.Errorf("%s: scale %g", fields, a.Scale)
		}
	}
}

// The mixture keeps 2 d_h (H + G + 1) numbers a layer, more than MHA; a layer held to one attention keeps that one's.
func TestMoASSchemes(t *testing.T) {
	for fields, want := range map[string]struct {
		schemes []string
		numbers float64
	}{
		``:                           {[]string{"", ""}, 2 * 2 * 8 * (6 + 2 + 1)},
		`,"attention_scheme":"soft"`: {[]string{"", ""}, 2 * 2 * 8 * (6 + 2 + 1)},
		`,"attention_scheme":"gqa"`:  {[]string{"gqa", "gqa"}, 2 * 2 * 8 * 2},
		`,"num_key_value_heads":3,"attention_scheme":["gqa","soft"]`: {[]string{"gqa", ""}, 2*8*3 + 2*8*(6+3+1)},
		`,"attention_scheme":["mqa","mha"]`:                          {[]string{"mqa", "mha"}, 2*8 + 2*8*6},
	} {
		c, err := Parse([]byte(sixHeads+`"attention":"moas"`+fields+"}"), "own")
		if err != nil {
			t.Fatal(fields, err)
		}
		if got := []string{c.Layers[0].Attention.Scheme, c.Layers[1].Attention.Scheme}; !reflect.DeepEqual(got, want.schemes) || c.CacheElementsPerToken() != want.numbers {
			t.Errorf("%s: %v, %g numbers a token, want %v", fields, got, c.CacheElementsPerToken(), want)
		}
	}
}

func TestTuckerMoASRefusals(t *testing.T) {
	for fields, want := range map[string]string{`"attention":"tucker","k_rank":7`: "must be even", `"attention":"tucker","shared_kv":true,"v_rank":10`: "of width 8", `"attention":"tucker","head_rank":0`: "head_rank",
		`"attention":"moas","attention_scheme":"mla"`: "known: soft mha gqa mqa", `"attention":"moas","attention_scheme":["mqa"]`: "num_hidden_layers is 2", `"attention":"moas","attention_scheme":["mqa","x"]`: "known: soft",
		`"attention":"moas","num_key_value_heads":4`: "must divide the 6 heads", `"attention":"moas","attention_scheme":7`: "attention_scheme"} {
		if c, err := Parse([]byte(sixHeads+fields+"}"), "own"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v %v", fields, c, err)
		}
	}
	for design, why := range map[string]string{"moas": "three attentions", "cca": "filtered", "mtla": "written over", "mka": "keeps state"} { // rows of these make no sense to another layer, or to a lower one
		layers := "0_0"
		if design == "mka" {
			layers = "1_1"
		}
		c, err := Parse([]byte(sixHeads+`"attention":"`+design+`","layer_map":"`+layers+`","head_dim":8,"kv_lora_rank":8,"qk_nope_head_dim":4,"qk_rope_head_dim":4}`), "own")
		if err == nil {
			err = c.Runnable()
		}
		if err == nil || !strings.Contains(err.Error(), design) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s over shared rows: %v", design, err)
		}
	}
}
