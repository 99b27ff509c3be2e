package train

// Tucker: the paper's proportions at GPT-2's size, [8, 128, 64] for 12 heads of 64: --kv-rank a head's width, --q-rank twice that, two thirds as many ranks over heads as heads.

func init() {
	register("tucker", sizer{
		defaults: func(s *Shape) {
			plainHeads(s)
			s.KVRank = or(s.KVRank, even(s.HeadDim))
			s.QRank = or(s.QRank, 2*s.KVRank)
		},
		fields: func(s *Shape) map[string]any {
			return map[string]any{"head_dim": s.HeadDim, "k_rank": s.KVRank, "v_rank": s.KVRank, "q_rank": s.QRank, "head_rank": max(1, (2*s.Heads+2)/3)}
		},
	})
}
