package config

// Designs that are described from their published files, for plan and inspect, and do not run yet.

import "fmt"

func init() {
	for _, d := range []Design{
		{Name: FMKA, About: "one attention over a routed mix of memory levels", Cache: "2 n_kv d_h", Paper: "Memory-Keyed Attention, 2603.20586",
			Streams: groupedStreams, Text: levelsText, Approximate: "the routing between memory levels is not counted"},
		{Name: MKA, About: "one attention for each memory level, mixed by a router", Cache: "2 l n_kv d_h", Paper: "Memory-Keyed Attention, 2603.20586",
			Streams: levelStreams, Text: levelsText, Approximate: "the routing between memory levels is not counted"},
	} {
		d.Tensors, d.Fields = groupedTensors, groupedFields
		register(d)
	}
}

func levelStreams(a *Attention) []Stream {
	return []Stream{{Name: "k", Heads: a.KVHeads * a.Levels, Width: a.HeadDim, Use: keyUse(a)}, {Name: "v", Heads: a.KVHeads * a.Levels, Width: a.ValueDim, Use: Mixed}}
}

func levelsText(a *Attention) string {
	if a.Levels > 1 {
		return headsText(a) + fmt.Sprintf(" on %d memory levels", a.Levels)
	}
	return headsText(a)
}
