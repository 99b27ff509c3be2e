package train

// MKA and FastMKA: GQA's heads, two memories (no bank in training), a router of half the hidden width.

func init() {
	z := sizer{defaults: thirds, check: dividesHeads, fields: func(s *Shape) map[string]any {
		f := groupedFields(s)
		f["memory_levels"], f["router_hidden"] = 2, max(1, s.Hidden/2)
		return f
	}}
	register("mka", z)
	register("mka-fast", z)
}
