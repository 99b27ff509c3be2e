package train

// GTA: tied states for a third of the heads, a rotary key of half a head.

func init() {
	register("gta", sizer{
		defaults: func(s *Shape) {
			thirds(s)
			s.RopeDim = or(s.RopeDim, even(s.HeadDim/2))
		},
		check: func(s *Shape) error {
			if err := dividesHeads(s); err != nil {
				return err
			}
			return rotaryPart(s)
		},
		fields: func(s *Shape) map[string]any {
			return map[string]any{"num_key_value_heads": s.KVHeads, "head_dim": s.HeadDim, "qk_rope_head_dim": s.RopeDim}
		},
	})
}
