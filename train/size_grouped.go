package train

// MHA, GQA, MQA, SQA.

import "fmt"

func init() {
	register("mha", sizer{defaults: func(s *Shape) { plainHeads(s); s.KVHeads = s.Heads }, fields: groupedFields})
	register("mqa", sizer{defaults: func(s *Shape) { plainHeads(s); s.KVHeads = 1 }, fields: groupedFields})
	register("gqa", sizer{defaults: thirds, check: between, fields: groupedFields})
	register("sqa", sizer{defaults: sparse, check: fewer, fields: groupedFields})
}

func groupedFields(s *Shape) map[string]any {
	return map[string]any{"num_key_value_heads": s.KVHeads, "head_dim": s.HeadDim}
}

// thirds: a third as many heads of keys and values as of queries.
func thirds(s *Shape) {
	plainHeads(s)
	s.KVHeads = or(s.KVHeads, divisor(s.Heads, max(2, s.Heads/3)))
}

func between(s *Shape) error {
	if d := divisor(s.Heads, s.Heads-1); d == 1 {
		return impossible("--heads", s.Heads, "gqa needs heads in groups, more than one of each: 4, 6, 8, 9 or any other number that is no prime")
	}
	if s.KVHeads == 1 || s.KVHeads == s.Heads {
		return impossible("--kv-heads", s.KVHeads, fmt.Sprintf("1 is mqa, %d is mha: gqa lies between", s.Heads))
	}
	return dividesHeads(s)
}

// sparse: of H = d/d_h heads, SQA has H/2 of queries and H/4 of keys; --heads and --kv-heads make sSQA (H/2, H/2), xSQA (H/4, H/4) and xSMQA (H/4, 1).
func sparse(s *Shape) {
	s.HeadDim = or(s.HeadDim, min(64, even(s.Hidden/4)))
	h := s.Hidden / s.HeadDim
	s.Heads = or(s.Heads, max(1, h/2))
	s.KVHeads = or(s.KVHeads, divisor(s.Heads, max(1, h/4)))
}

func fewer(s *Shape) error {
	if s.Hidden < 2*s.HeadDim {
		return impossible("--hidden", s.Hidden, fmt.Sprintf("sqa has fewer heads than it holds: at least two of --head-dim %d, which is %d", s.HeadDim, 2*s.HeadDim))
	}
	if s.Heads*s.HeadDim >= s.Hidden {
		return impossible("--heads", s.Heads, fmt.Sprintf("sqa has fewer than the %d heads of %d that --hidden %d holds", s.Hidden/s.HeadDim, s.HeadDim, s.Hidden))
	}
	return dividesHeads(s)
}
