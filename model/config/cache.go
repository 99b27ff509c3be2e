package config

// Cache facts: how many numbers one token leaves behind, by the design's formula.

// Stream is one named part of what a token leaves behind: Heads rows of Width numbers.
type Stream struct {
	Name         string
	Heads, Width int
}

// Elements is the count of numbers in the stream.
func (s Stream) Elements() int { return s.Heads * s.Width }

// CacheElements lists what one cached row of a layer holds: nothing where the layer reads another layer's rows. In MTLA one row covers Attention.RowTokens tokens.
func (c *Config) CacheElements(layer int) []Stream {
	a := &c.Layers[layer].Attention
	if a.SharesWith >= 0 {
		return nil
	}
	switch a.Design {
	case MLA, GLA, MLRA, MTLA:
		return []Stream{{"latent", a.Latents, a.KVRank / a.Latents}, {"rope", 1, a.RopeDim}}
	case MFAKR:
		return []Stream{{"k", a.KVHeads, a.HeadDim}}
	case TPA:
		return []Stream{{"k_a", 1, a.Heads * a.KRank}, {"k_b", a.KRank, a.HeadDim}, {"v_a", 1, a.Heads * a.VRank}, {"v_b", a.VRank, a.ValueDim}}
	case GTA:
		return []Stream{{"tied", a.KVHeads, a.ValueDim}, {"rope", 1, a.RopeDim}}
	case MKA:
		return []Stream{{"k", a.KVHeads * a.Levels, a.HeadDim}, {"v", a.KVHeads * a.Levels, a.ValueDim}}
	}
	return []Stream{{"k", a.KVHeads, a.HeadDim}, {"v", a.KVHeads, a.ValueDim}}
}

// CacheElementsPerToken sums CacheElements over all layers: the numbers a token costs while no window has begun to drop rows. Divided by RowTokens where rows merge.
func (c *Config) CacheElementsPerToken() float64 {
	total := 0.0
	for i := range c.Layers {
		for _, s := range c.CacheElements(i) {
			total += float64(s.Elements()) / float64(max(1, c.Layers[i].Attention.RowTokens))
		}
	}
	return total
}
