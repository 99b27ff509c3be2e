package train

// KV-Latent's dimensions: as many heads as MHA, each half as wide, keys and values alike; --head-dim is the width of queries and keys, --field v_head_dim=N that of values (the paper: losses grow faster
// with narrow values than with narrow keys), --kv-heads groups them.

import "fmt"

func init() {
	register("kvlatent", sizer{
		defaults: func(s *Shape) {
			whole := min(64, even(s.Hidden/4))
			s.Heads = or(s.Heads, max(1, s.Hidden/whole))
			s.HeadDim = or(s.HeadDim, max(4, whole/8*4))
			s.KVHeads = or(s.KVHeads, s.Heads)
		},
		check: func(s *Shape) error {
			if s.HeadDim%4 != 0 {
				return impossible("--head-dim", s.HeadDim, fmt.Sprintf("must be a multiple of 4: the nearest are %d and %d", max(4, s.HeadDim/4*4), max(8, s.HeadDim/4*4+4)))
			}
			return dividesHeads(s)
		},
		fields: func(s *Shape) map[string]any {
			return map[string]any{"num_key_value_heads": s.KVHeads, "head_dim": s.HeadDim, "v_head_dim": s.HeadDim}
		},
	})
}
