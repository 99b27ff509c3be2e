package train

// MTLA: MLA's sizes and a block of two tokens; the latent may then be as wide as MLA's at half the cache. --field merge_tokens=3 makes larger blocks.

func init() {
	register("mtla", sizer{defaults: latent(1), check: rotaryPart, fields: func(s *Shape) map[string]any {
		f := latentFields(s)
		f["merge_tokens"], f["merge_dim"] = 2, max(1, s.KVRank/4)
		return f
	}})
}
