package train

// LRKV: --kv-rank is the rank of each head's residuals, 3/8 of a head as in the paper (0.36 to 0.43); --field latent_rope_dim=N turns channels of key latents. Its queries, shared head and residuals
// take fewer parameters than MHA's projections; the MLP gets the rest.

func init() {
	register("lrkv", sizer{
		defaults: func(s *Shape) {
			plainHeads(s)
			s.KVRank = or(s.KVRank, even(s.HeadDim*3/8))
		},
		check: func(s *Shape) error {
			if s.KVRank < 1 || s.KVRank > s.HeadDim {
				return impossible("--kv-rank", s.KVRank, "must be from 1 to the width of a head: there it has MHA's expressivity")
			}
			return nil
		},
		fields: func(s *Shape) map[string]any { return map[string]any{"head_dim": s.HeadDim, "kv_rank": s.KVRank} },
	})
}
