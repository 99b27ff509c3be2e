package train

// EG-MLA: half of MLA's latent, and a table of gates for every layer, whose parameters the MLP gives up: gates of 16 by default, as the table costs its width times the vocabulary.

func init() {
	register("eg-mla", sizer{
		defaults: func(s *Shape) {
			s.KVRank = or(s.KVRank, even(s.Hidden/4))
			latent(1)(s)
		},
		check: rotaryPart,
		fields: func(s *Shape) map[string]any {
			f := latentFields(s)
			f["gate_embed_dim"] = 16
			return f
		}})
}
