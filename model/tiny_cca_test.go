package model

func init() { moreTinies = append(moreTinies, tinyCCA, tinyCCGQA) }

func tinyCCA() tiny { return convolved("cca", 4, 8, 2, 2) }

func tinyCCGQA() tiny { return convolved("ccgqa", 2, 12, 3, 2) }

// convolved rotates half of a head.
func convolved(design string, kv, width, k0, k1 int) tiny {
	const d, n = tinyHidden, tinyHeads
	channels := (n + kv) * width
	return tiny{name: design, design: design,
		config: fields{"attention": design, "num_key_value_heads": kv, "head_dim": width, "cca_time0": k0, "cca_time1": k1, "partial_rotary_factor": 0.5},
		attn: shapes{"q_proj": {n * width, d}, "k_proj": {kv * width, d}, "v_proj": {kv * width / 2, d}, "v_late_proj": {kv * width / 2, d}, "o_proj": {d, n * width}, "temp": {kv},
			"conv0": {channels, k0}, "conv0.bias": {channels}, "conv1": {channels, width * k1}, "conv1.bias": {channels}},
		streams: [][2]int{{kv, width}, {kv, width}}, state: (k0+k1-2)*channels + kv*width/2}
}
