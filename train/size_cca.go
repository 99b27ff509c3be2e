package train

// CCA and CCGQA: heads half as wide as MHA's. CCA has half as many of them (C1 = C2 = 4), CCGQA as many, and a quarter of them for keys (C1 = 2, C2 = 8, as ZAYA1).

import "fmt"

func init() {
	register("cca", sizer{fields: groupedFields, check: convolved, defaults: func(s *Shape) {
		halfHeads(s)
		s.Heads = or(s.Heads, max(1, s.Hidden/(4*s.HeadDim)))
		s.KVHeads = or(s.KVHeads, s.Heads)
	}})
	register("ccgqa", sizer{fields: groupedFields, defaults: func(s *Shape) {
		halfHeads(s)
		s.Heads = or(s.Heads, max(2, s.Hidden/(2*s.HeadDim)))
		s.KVHeads = or(s.KVHeads, divisor(s.Heads, max(1, s.Heads/4)))
	}, check: func(s *Shape) error {
		if s.Heads < 2 {
			return impossible("--heads", s.Heads, "ccgqa has fewer heads of keys than of queries: at least 2")
		}
		if s.KVHeads >= s.Heads {
			return impossible("--kv-heads", s.KVHeads, fmt.Sprintf("ccgqa has fewer than the %d heads", s.Heads))
		}
		return convolved(s)
	}})
}

func halfHeads(s *Shape) { s.HeadDim = or(s.HeadDim, even(min(64, s.Hidden/4)/2)) }

func convolved(s *Shape) error { return dividesHeads(s) }
