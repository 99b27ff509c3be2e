package train

// MoAS: two heads of keys and values in the GQA, as published.

func init() {
	register("moas", sizer{
		defaults: func(s *Shape) {
			plainHeads(s)
			s.KVHeads = or(s.KVHeads, divisor(s.Heads, 2))
		},
		check:  dividesHeads,
		fields: groupedFields,
	})
}
