package config

// Cache facts: how many numbers one token leaves behind, by the design's formula.

// CacheElements lists what one cached row of a layer holds: nothing where the layer reads another layer's rows. One row covers Attention.RowTokens tokens.
func (c *Config) CacheElements(layer int) []Stream {
	a := &c.Layers[layer].Attention
	if a.SharesWith >= 0 {
		return nil
	}
	return designs[a.Design].Streams(a)
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
