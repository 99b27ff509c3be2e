package plan

// From the description of any family to what its layers leave behind. Families that cannot run are described too: this is about bytes alone.

import (
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model/config"
)

// Layouts is what one row of each layer holds, by config.CacheElements: nothing where a layer reads another layer's rows. For designs that run it is the
// layout the engine uses.
func Layouts(c *config.Config) []kvcache.Layout {
	out := make([]kvcache.Layout, len(c.Layers))
	for i := range c.Layers {
		for _, s := range c.CacheElements(i) {
			out[i].Streams = append(out[i].Streams, stream(s))
		}
		if len(out[i].Streams) > 0 {
			a := &c.Layers[i].Attention
			out[i].Window, out[i].State = c.KeptWindow(i), a.RecurrentLen
			if a.RowTokens > 1 {
				out[i].RowTokens = a.RowTokens
			}
		}
	}
	return out
}

// stream says what attention does with the numbers, on which their types depend.
func stream(s config.Stream) kvcache.Stream {
	out := kvcache.Stream{Name: s.Name, Heads: s.Heads, Width: s.Width, Weighs: s.Weighs, Fixed: s.Fixed}
	switch s.Use {
	case config.Turned:
		out.Role, out.Rope = kvcache.Key, kvcache.After
	case config.Unturned:
		out.Role, out.Rope = kvcache.Key, kvcache.None
	case config.Mixed:
		out.Role, out.Rope = kvcache.Value, kvcache.None
	case config.Tied:
		out.Role, out.Rope = kvcache.Both, kvcache.None
	case config.TiedBefore:
		out.Role, out.Rope = kvcache.Both, kvcache.Before
	case config.TiedTurned:
		out.Role, out.Rope = kvcache.Both, kvcache.After
	}
	return out
}

// MHAElements is what a token would leave in a layer if every query head had a key and a value of its own: 2 x heads x head width. In MLA and its kin the head
// width is that of the unrotated part, as their papers compare; in Tucker that of the heads it stands for.
func MHAElements(a *config.Attention) int {
	width := a.HeadDim
	switch {
	case a.FullDim > 0:
		width = a.FullDim
	case a.KVRank > 0:
		width = a.Nope
	}
	return 2 * a.Heads * width
}
