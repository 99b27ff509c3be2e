package model

import "maps"

// MFA-KR with relative values: a row is C = 32 numbers, as the paper's, and rotated before it is stored, so that a Hadamard matrix may turn it. Bytes as in tiny_bytes_test.go; the second of two
// layers reads the first one's rows in the second model.
func init() {
	relative := func(name string, share []int) {
		moreTinies = append(moreTinies, func() tiny {
			m := alone("mfa-kr")
			m.name, m.config, m.attn = name, m.config.with(fields{"values": "relative"}), maps.Clone(m.attn)
			delete(m.attn, "n")
			delete(m.attn, "alpha")
			if m.share = share; share != nil {
				m.makes = []string{"k_proj"}
			}
			return m
		})
		tinyBytes[name] = map[string]int{"f32": 128, "f16": 64, "bf16": 64, "q8": 34, "q8h": 34, "q4": 18, "q4h": 18, "q4c": 18, "q2c": 10}
	}
	relative("mfa-kr, relative values", nil)
	relative("mfa-kr, relative values, cla", []int{0, 0})
}
