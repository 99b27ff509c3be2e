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
		a := &c.Layers[i].Attention
		for _, s := range c.CacheElements(i) {
			out[i].Streams = append(out[i].Streams, stream(a, s))
		}
		if len(out[i].Streams) > 0 {
			out[i].Window = a.Window
		}
	}
	return out
}

// stream gives the numbers their part in attention, on which their types depend: keys, values, or both in the same bytes.
func stream(a *config.Attention, s config.Stream) kvcache.Stream {
	out := kvcache.Stream{Name: s.Name, Heads: s.Heads, Width: s.Width, Role: kvcache.Key, Rope: kvcache.After}
	out.Weighs = s.Name == "k_a" || s.Name == "v_a"
	switch s.Name {
	case "latent", "tied":
		out.Role, out.Rope = kvcache.Both, kvcache.None
	case "v", "v_a", "v_b":
		out.Role, out.Rope = kvcache.Value, kvcache.None
	case "k_a":
		out.Rope = kvcache.None
	case "k":
		if a.Design == config.MFAKR {
			out.Role, out.Rope = kvcache.Both, kvcache.Before
		} else if a.Rope.Dim == 0 {
			out.Rope = kvcache.None
		}
	}
	return out
}

// MHAElements is what a token would leave in a layer if every query head had a key and a value of its own: 2 x heads x head width. In MLA and its kin the head
// width is that of the unrotated part, as their papers compare.
func MHAElements(a *config.Attention) int {
	width := a.HeadDim
	switch a.Design {
	case config.MLA, config.GLA, config.MLRA, config.MTLA:
		width = a.Nope
	}
	return 2 * a.Heads * width
}
