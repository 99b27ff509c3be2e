package model

// GPT-OSS: sinks, biases and clamped gates in the tables that hold for every model, and experts stored in MXFP4.

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kernel"
)

const ossExperts, ossWide = 5, 32

// tinyOSS is its row in the same-bits table: a sliding layer, then one that sees all.
func tinyOSS() tiny {
	const d, n, kv, w = tinyHidden, tinyHeads, 2, tinyHeadDim
	return tiny{name: "gpt-oss", design: "gqa", window: tinyWindow, streams: [][2]int{{kv, w}, {kv, w}},
		config: fields{"model_type": "gpt_oss", "num_key_value_heads": kv, "head_dim": w, "num_local_experts": ossExperts, "num_experts_per_tok": 2, "intermediate_size": ossWide, "swiglu_limit": 0.7,
			"sliding_window": tinyWindow, "rope_scaling": fields{"rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 64, "truncate": false}},
		attn: shapes{"q_proj": {n * w, d}, "k_proj": {kv * w, d}, "v_proj": {kv * w, d}, "o_proj": {d, n * w}, "sinks": {n},
			"q_proj.bias": {n * w}, "k_proj.bias": {kv * w}, "v_proj.bias": {kv * w}, "o_proj.bias": {d}},
		mlp: shapes{"router.weight": {ossExperts, d}, "router.bias": {ossExperts}, "experts.gate_up_proj": {ossExperts, d, 2 * ossWide}, "experts.gate_up_proj_bias": {ossExperts, 2 * ossWide},
			"experts.down_proj": {ossExperts, ossWide, d}, "experts.down_proj_bias": {ossExperts, d}}}
}

// A folder whose experts are in MXFP4 is, to the bit, the folder of the numbers that these stand for, and takes as many bytes.
func TestMXFP4(t *testing.T) {
	plain := tinyOSS().write(t, 2, true)
	f, err := safetensors.OpenFolder(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rng := rand.New(rand.NewPCG(3, 4))
	var floats, packed []safetensors.Tensor
	for _, name := range f.Names() {
		stored, _ := f.Tensor(name)
		if len(stored.Shape) != 3 {
			floats, packed = append(floats, stored), append(packed, stored)
			continue
		}
		experts, in, out := stored.Shape[0], stored.Shape[1], stored.Shape[2]
		codes, scales, wide := make([]byte, experts*out*in/2), make([]byte, experts*out*in/32), make([]byte, experts*in*out*2)
		for i := range codes {
			codes[i] = byte(rng.Uint32())
		}
		for i := range scales {
			scales[i] = byte(127 - 4 - rng.IntN(3))
		}
		for i := range experts * out * in { // number i of [experts, out, in] goes to [experts, in, out]
			e, o, k := i/(out*in), i/in%out, i%in
			code := codes[i/2] >> (4 * (i % 2)) & 15
			x := []float64{0, 0.5, 1, 1.5, 2, 3, 4, 6}[code&7] * math.Pow(2, float64(scales[i/32])-127)
			if code >= 8 {
				x = -x
			}
			binary.LittleEndian.PutUint16(wide[((e*in+k)*out+o)*2:], uint16(math.Float32bits(float32(x))>>16))
		}
		stored.Data = wide
		floats = append(floats, stored)
		packed = append(packed, safetensors.Tensor{Name: name + "_blocks", DType: safetensors.U8, Shape: []int{experts, out, in / 32, 16}, Data: codes},
			safetensors.Tensor{Name: name + "_scales", DType: safetensors.U8, Shape: []int{experts, out, in / 32}, Data: scales})
	}
	config, err := os.ReadFile(filepath.Join(plain, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(tensors []safetensors.Tensor, config []byte) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), tensors, nil); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	quantised := slices.Concat([]byte(`{"quantization_config":{"quant_method":"mxfp4"},`), config[1:])
	var logits [][]float64
	var bytes []int64
	for _, dir := range []string{write(floats, config), write(packed, quantised)} {
		m, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		logits = append(logits, cachedLogits(t, m, tinyTokens(40, 2), 13, "f16"))
		pool := kernel.NewPool(2)
		held, _, _ := asAnnounced(t, dir, m, Options{Pool: pool, Spec: mustSpec(t, "f16"), MaxRows: 600, Budget: 8 << 20}, []int{1, 100})
		bytes = append(bytes, held)
		pool.Close()
	}
	if !slices.Equal(logits[0], logits[1]) || bytes[0] != bytes[1] {
		t.Errorf("logits equal: %v; %d bytes, unpacked %d", slices.Equal(logits[0], logits[1]), bytes[1], bytes[0])
	}
	for i := range packed {
		if len(packed[i].Shape) == 4 {
			packed[i].Shape = []int{packed[i].Shape[0], packed[i].Shape[1], packed[i].Shape[2] * 2, 8}
		}
	}
	m, err := Open(write(packed, quantised))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := WeightBytes(m, Options{}); !fault.Is(err, fault.BadFile) {
		t.Errorf("blocks of 8 bytes: %v", err)
	}
}
