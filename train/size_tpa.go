package train

// TPA: --q-rank 6, --kv-rank 2 of keys and of values; the budget goes to heads, as in the paper.

func init() {
	register("tpa", sizer{
		defaults: func(s *Shape) {
			s.HeadDim = or(s.HeadDim, min(64, even(s.Hidden/4)))
			s.QRank, s.KVRank = or(s.QRank, 6), or(s.KVRank, 2)
		},
		fields: func(s *Shape) map[string]any {
			return map[string]any{"head_dim": s.HeadDim, "q_rank": s.QRank, "k_rank": s.KVRank, "v_rank": s.KVRank}
		},
	})
}
