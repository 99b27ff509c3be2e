package model

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// tinyZaya is ZAYA's form: CCA, learned joints, and a mixture with a network for a router whose state goes from layer to layer.
func tinyZaya() tiny {
	const d, n, kv, width, wide, router, experts = tinyHidden, tinyHeads, 2, 16, 32, 20, 3
	const channels, k0, k1 = (n + kv) * width, 2, 2
	const qkv = "self_attn.qkv_proj."
	m := tiny{name: "zaya", design: "cca", streams: [][2]int{{kv, width}, {kv, width}}, state: (k0+k1-2)*channels + kv*width/2,
		config: fields{"model_type": "zaya", "num_key_value_heads": kv, "head_dim": width, "cca_time0": k0, "cca_time1": k1, "num_experts": experts, "num_experts_per_tok": 1, "moe_intermediate_size": wide,
			"router_hidden_size": router, "rope_parameters": fields{"hybrid": fields{"rope_type": "default", "rope_theta": 5000.0, "partial_rotary_factor": 0.5}}},
		mlp: shapes{"experts.gate_up_proj": {experts, 2 * wide, d}, "experts.down_proj": {experts, d, wide}, "gate.balancing_biases": {experts + 1}, "gate.down_proj.weight": {router, d},
			"gate.down_proj.bias": {router}, "gate.router_mlp.norm.weight": {router}, "gate.router_mlp.fc1.weight": {router, router}, "gate.router_mlp.fc1.bias": {router},
			"gate.router_mlp.fc2.weight": {router, router}, "gate.router_mlp.fc2.bias": {router}, "gate.router_mlp.out_proj.weight": {experts + 1, router}, "gate.router_states_scale": {router}},
		layer: shapes{"self_attn.o_proj.weight": {d, n * width}, "self_attn.qk_norm.temp": {kv}, qkv + "q_proj.weight": {n * width, d}, qkv + "k_proj.weight": {kv * width, d},
			qkv + "v_proj_current.weight": {kv * width / 2, d}, qkv + "v_proj_delayed.weight": {kv * width / 2, d}, qkv + "conv_qk_depthwise.weight": {channels, 1, k0},
			qkv + "conv_qk_depthwise.bias": {channels}, qkv + "conv_qk_grouped.weight": {channels, width, k1}, qkv + "conv_qk_grouped.bias": {channels}},
		top: func(int) shapes { return shapes{"input_hidden_states_bias": {d}, "input_hidden_states_scale": {d}} }}
	for _, joint := range []string{"post_attention_residual_scale.", "post_mlp_residual_scale."} {
		for _, name := range []string{"hidden_states_bias", "hidden_states_scale", "residual_bias", "residual_scale"} {
			m.layer[joint+name] = []int{d}
		}
	}
	return m
}

// The cached step of the whole family agrees with the definition in float64, alone and in chunks.
func TestZayaStepAgainstForward(t *testing.T) { stepAgainstForward(t, tinyZaya()) }

// Fresh weights of the family are not made: it says why.
func TestNoFreshZaya(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(tinyZaya().write(t, 2, false), "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(text, 1); !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "mixture") {
		t.Error(err)
	}
}
