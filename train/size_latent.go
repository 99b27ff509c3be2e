package train

// MLA, GLA-2 and MLRA-4: --kv-rank is all latents together, half of the hidden width.

import "fmt"

func init() {
	register("mla", sizer{defaults: latent(1), check: rotaryPart, fields: latentFields})
	register("gla", sizer{defaults: latent(2), check: latents(2), fields: latentFields})
	register("mlra", sizer{defaults: latent(4), check: latents(4), fields: latentFields})
}

func latent(n int) func(s *Shape) {
	return func(s *Shape) {
		d := s.Hidden
		s.HeadDim = or(s.HeadDim, min(64, even(d/4)))
		s.Heads = or(s.Heads, max(1, d/s.HeadDim))
		if s.Design == "gla" { // each latent serves half of them
			s.Heads = even(s.Heads)
		}
		s.KVRank, s.RopeDim = or(s.KVRank, max(n, even(d/2)/n*n)), or(s.RopeDim, even(s.HeadDim/2))
	}
}

func latents(n int) func(s *Shape) error {
	return func(s *Shape) error {
		if s.KVRank%n != 0 {
			return impossible("--kv-rank", s.KVRank, fmt.Sprintf("must be a multiple of the %d latents", n))
		}
		return rotaryPart(s)
	}
}

func latentFields(s *Shape) map[string]any {
	f := map[string]any{"kv_lora_rank": s.KVRank, "qk_nope_head_dim": s.HeadDim - s.RopeDim, "qk_rope_head_dim": s.RopeDim, "v_head_dim": s.HeadDim}
	if s.QRank > 0 {
		f["q_lora_rank"] = s.QRank
	}
	return f
}
