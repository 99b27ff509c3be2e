package train

// MFA and MFA-KR: C is an eighth of the hidden width, an eighth of MHA's cache (a sixteenth for MFA-KR). Heads cost parameters and no cache, so the budget goes to them, as in the paper. mfa-kr:values=relative has no alpha and n, and the same cache.

func init() {
	for _, design := range []string{"mfa", "mfa-kr"} {
		register(design, sizer{
			defaults: func(s *Shape) { s.HeadDim, s.QRank = or(s.HeadDim, even(s.Hidden/8)), or(s.QRank, even(s.Hidden/2)) },
			fields:   func(s *Shape) map[string]any { return map[string]any{"head_dim": s.HeadDim, "q_lora_rank": s.QRank} },
		})
	}
}
