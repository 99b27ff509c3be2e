package model

// What a token leaves behind in one layer of each tiny model, in bytes, written out from the papers' formulas and not read from a layout:
//
//	mha 2 n d_h = 2*4*32   gqa 2 n_kv d_h = 2*2*32   mqa 2 d_h = 2*32   mla r + d_R = 48 + 16   mfa 2 C = 2*32   mfa-kr C = 32
//	sqa, ccgqa 2 n_kv d_h = 2*2*12   cca 2 n d_h = 2*4*8   tpa (R_K + R_V)(h + d_h) = (2 + 3)(4 + 32)   gta n_kv d_h + d_R = 2*32 + 16   gla, mlra L r + d_R = 2*48 + 16, 4*20 + 16
//
// times 4 (f32), 2 (f16, bf16), 34 for every 32 (q8), 18 for every 32 (q4); a short last block of n takes 2 + n (q8), 2 + n/2 (q4): sqa's 12 is 14 and 8, cca's 8 is 10 and 6; mla's 48 is 34 + 18, its 16 is 18, as gta's;
// gla has 48 twice; mlra's 20 is 22 (q8), 12 (q4), four times;
// tpa's factors over heads, 4*2 and 4*3, are 10 and 14 (q8), 6 and 8 (q4).
var tinyBytes = map[string]map[string]int{
	"mha":         {"f32": 1024, "f16": 512, "bf16": 512, "q8": 272, "q8h": 272, "q4": 144, "q4c": 144, "q2c": 80, "q4h": 144, "k=q8,v=q4": 208},
	"gqa":         {"f32": 512, "f16": 256, "bf16": 256, "q8": 136, "q8h": 136, "q4": 72, "q4c": 72, "q2c": 40, "q4h": 72, "k=q8,v=q4": 104},
	"gqa sliding": {"f32": 512, "f16": 256, "bf16": 256, "q8": 136, "q8h": 136, "q4": 72, "q4c": 72, "q2c": 40, "q4h": 72, "k=f16,v=q4h": 164},
	"mqa":         {"f32": 256, "f16": 128, "bf16": 128, "q8": 68, "q8h": 68, "q4": 36, "q4c": 36, "q2c": 20, "q4h": 36, "k=bf16,v=q8": 98},
	"mla":         {"f32": 256, "f16": 128, "bf16": 128, "q8": 70, "q8h": 70, "q4": 38, "q4c": 38, "q2c": 22, "q4h": 38, "latent=q8,rope=f16": 84},
	"mfa":         {"f32": 256, "f16": 128, "bf16": 128, "q8": 68, "q8h": 68, "q4": 36, "q4c": 36, "q2c": 20, "q4h": 36},
	"mfa-kr":      {"f32": 128, "f16": 64, "bf16": 64, "q8": 34, "q4": 18, "q4c": 18, "q2c": 10},
	"tpa":         {"f32": 720, "f16": 360, "bf16": 360, "q8": 194, "q4": 104, "q4c": 104, "q2c": 59, "k=q4h,v=q8h,k_a=f16,v_a=f16": 178},
	"gla":         {"f32": 448, "f16": 224, "bf16": 224, "q8": 122, "q8h": 122, "q4": 66, "q4c": 66, "q2c": 38, "q4h": 66, "latent=q4h,rope=f16": 88},
	"mlra":        {"f32": 384, "f16": 192, "bf16": 192, "q8": 106, "q8h": 106, "q4": 58, "q4c": 58, "q2c": 34, "q4h": 58, "latent=q4h,rope=f16": 80},
	"gta":         {"f32": 320, "f16": 160, "bf16": 160, "q8": 86, "q8h": 86, "q4": 46, "q4c": 46, "q2c": 26, "q4h": 46, "tied=q4h,rope=f16": 68},
	"cca":         {"f32": 256, "f16": 128, "bf16": 128, "q8": 80, "q8h": 80, "q4": 48, "q4c": 48, "q2c": 32, "q4h": 48, "k=q8,v=q4": 64},
	"ccgqa":       {"f32": 192, "f16": 96, "bf16": 96, "q8": 56, "q8h": 56, "q4": 32, "q4c": 32, "q2c": 20, "q4h": 32, "k=q8,v=q4": 44},
	"sqa":         {"f32": 192, "f16": 96, "bf16": 96, "q8": 56, "q8h": 56, "q4": 32, "q4c": 32, "q2c": 20, "q4h": 32, "k=q8,v=q4": 44},
}
