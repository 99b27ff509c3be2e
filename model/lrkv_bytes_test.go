package model

// Bytes of a token in one layer: lrkv 2 (d_h + n r) = 2 (32 + 4*12), with turned latents 2 (32 + 4*32); a block of 12 takes 14 (q8), 8 (q4); kha-linear and kha-mlp as gqa, kha-mla as mla;
// kvlatent n_kv (d_qk + d_vo) = 2 (8 + 20), blocks of 10 and 22 (q8), 6 and 12 (q4).
func init() {
	for _, name := range []string{"kha-linear", "kha-mlp"} {
		tinyBytes[name] = map[string]int{"f32": 512, "f16": 256, "bf16": 256, "q8": 136, "q8h": 136, "q4": 72, "q4c": 72, "q2c": 40, "q4h": 72, "k=q8,v=q4": 104}
	}
	tinyBytes["kha-mla"] = map[string]int{"f32": 256, "f16": 128, "bf16": 128, "q8": 70, "q8h": 70, "q4": 38, "q4c": 38, "q2c": 22, "q4h": 38, "latent=q8,rope=f16": 84}
	tinyBytes["lrkv"] = map[string]int{"f32": 640, "f16": 320, "bf16": 320, "q8": 180, "q8h": 180, "q4": 100, "q4c": 100, "q2c": 60, "q4h": 100, "k=f16,k_latent=q8,v=q8,v_latent=q4": 64 + 56 + 34 + 32}
	tinyBytes["lrkv cla"], tinyBytes["kha-linear cla"] = tinyBytes["lrkv"], tinyBytes["kha-linear"]
	tinyBytes["lrkv, turned latents"] = map[string]int{"f32": 1280, "f16": 640, "bf16": 640, "q8": 340, "q8h": 340, "q4": 180, "q4c": 180, "q2c": 100, "q4h": 180}
	tinyBytes["kvlatent"] = map[string]int{"f32": 224, "f16": 112, "bf16": 112, "q8": 64, "q8h": 64, "q4": 36, "q4c": 36, "q2c": 22, "q4h": 36, "k=q8,v=f16": 20 + 80}
}
