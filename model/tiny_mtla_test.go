package model

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model/config"
)

// MTLA's row is MLA's, r + d_R, and covers two tokens. MKA: levels x 2 n_kv d_h = 2 x 2*2*16, 3 x 2*2*16; FastMKA 2 n_kv d_h = 2*2*32.
func init() {
	tinyBytes["mtla"] = tinyBytes["mla"]
	tinyBytes["mka"] = map[string]int{"f32": 512, "f16": 256, "bf16": 256, "q8": 144, "q8h": 144, "q4": 80, "q4c": 80, "q2c": 48, "q4h": 80, "k=q8,v=q4": 112}
	tinyBytes["mka of 3 levels"] = map[string]int{"f32": 768, "f16": 384, "bf16": 384, "q8": 216, "q8h": 216, "q4": 120, "q4c": 120, "q2c": 72, "q4h": 120, "k=q8,v=q4": 168}
	tinyBytes["mka-fast"] = tinyBytes["gqa"]
	const d, n = tinyHidden, tinyHeads
	moreTinies = append(moreTinies, func() tiny {
		return tiny{name: "mtla", design: "mtla", merged: 2, state: 48,
			config: fields{"attention": "mtla", "kv_lora_rank": 48, "qk_nope_head_dim": 24, "qk_rope_head_dim": 16, "v_head_dim": 20, "q_lora_rank": 32, "merge_tokens": 2, "merge_dim": 10},
			attn: shapes{"q_a_proj": {32, d}, "q_a_layernorm": {32}, "q_a_layernorm.bias": {32}, "q_b_proj": {n * 40, 32}, "kv_a_proj_with_mqa": {64, d}, "kv_a_layernorm": {48}, "kv_a_layernorm.bias": {48},
				"kv_b_proj": {n * 44, 48}, "o_proj": {d, n * 20}, "merge_block_proj": {10, 48}, "merge_block_proj.bias": {10}, "merge_latent_proj": {10, 48}, "merge_latent_proj.bias": {10}},
			streams: [][2]int{{1, 48}, {1, 16}}}
	})
	mka := func(name, design string, kv, w, levels, heads int, makes ...string) {
		of := func() tiny {
			return tiny{name: name, design: design, state: d, config: fields{"attention": design, "num_key_value_heads": kv, "head_dim": w, "memory_levels": levels, "router_hidden": 20},
				attn: shapes{"q_proj": {n * w, d}, "k_proj": {kv * w, d}, "v_proj": {kv * w, d}, "o_proj": {d, n * w},
					"router.0": {20, n * w}, "router.0.bias": {20}, "router.2": {levels, 20}, "router.2.bias": {levels}},
				streams: [][2]int{{heads, w}, {heads, w}}}
		}
		moreTinies = append(moreTinies, of)
		if makes != nil {
			moreTinies = append(moreTinies, shared(of, makes...))
			tinyBytes[name+" cla"] = tinyBytes[name]
		}
	}
	mka("mka", "mka", 2, 16, 2, 4)
	mka("mka of 3 levels", "mka", 2, 16, 3, 6, "k_proj", "v_proj")
	mka("mka-fast", "mka-fast", 2, 32, 2, 2, "k_proj", "v_proj", "router.0", "router.0.bias", "router.2", "router.2.bias")
	moduleNames[config.MTLA] = map[string]string{"q": "wq", "q_a": "wq_a", "q_a_norm": "q_norm", "q_b": "wq_b", "kv_a": "wkv_a", "kv_a_norm": "kv_norm", "kv_b": "wkv_b", "o": "wo",
		"merge_c": "hypernet_down.fc_c", "merge_p": "hypernet_down.fc_p"}
	moduleNames[config.MKA] = map[string]string{"q": "wq", "k": "wk", "v": "wv", "o": "wo", "router_a": "router.0", "router_b": "router.2"}
	moduleNames[config.FMKA] = moduleNames[config.MKA]
}

// A bank of vectors changes the answer, the same way through the cache and as the definition has it; prefixes and saved sessions know whose rows are whose.
func TestMemoryOfSequences(t *testing.T) {
	for _, row := range tinies() {
		if row.name != "mka of 3 levels" {
			continue
		}
		m := row.open(t, tinyLayers, false)
		pool := kernel.NewPool(1)
		defer pool.Close()
		e, err := NewEngine(m, Options{Pool: pool, Spec: mustSpec(t, "f32"), MaxRows: 200, Budget: 8 << 20}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		bank := &attention.Memory{Layers: [][]float32{nil, make([]float32, 5*tinyHidden)}}
		for i := range bank.Layers[1] {
			bank.Layers[1][i] = float32(i%7) - 3
		}
		if err := m.CheckMemory(bank); err != nil {
			t.Fatal(err)
		}
		ids, path := tinyTokens(150, 3), filepath.Join(t.TempDir(), "session")
		run := func(bank *attention.Memory, chunk int) ([]float32, *kvcache.Sequence) {
			q := e.Store.NewSequence("")
			q.Give(bank.Digest(), bank)
			if got, want := q.Adopt(ids), map[bool]int{true: 0, false: 128}[chunk == len(ids)]; got != want {
				t.Errorf("%d tokens adopted, want %d", got, want)
			}
			var last []float32
			for q.Rows() < len(ids) {
				y, err := e.Step([]Feed{{Sequence: q, Tokens: ids[q.Rows():min(q.Rows()+chunk, len(ids))]}})
				if err != nil {
					t.Fatal(err)
				}
				last = slices.Clone(y.Float32s())
			}
			return last, q
		}
		without, _ := run(nil, len(ids))
		with, q := run(bank, len(ids))
		again, _ := run(bank, 7)
		if slices.Equal(with, without) || !slices.Equal(with, again) {
			t.Error("with a bank: the same as without, or not the same twice")
		}
		if err := q.Save(path, nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := e.Store.NewSequence("").Restore(path); !fault.Is(err, fault.Mismatch) {
			t.Errorf("restored without its bank: %v", err)
		}
		r := e.Store.NewSequence("")
		r.Give(bank.Digest(), bank)
		if _, _, err := r.Restore(path); err != nil {
			t.Error(err)
		}
		for _, bad := range []*attention.Memory{{Layers: make([][]float32, 3)}, {Layers: [][]float32{make([]float32, tinyHidden+1)}}, {Layers: [][]float32{make([]float32, tinyHidden-1), {float32(math.Inf(1))}}}} {
			if err := m.CheckMemory(bad); !fault.Is(err, fault.BadInput) {
				t.Errorf("%d layers: %v", len(bad.Layers), err)
			}
		}
	}
}
