package config

// MKA and FastMKA: keys and values of several memories, which a router weighs.
//
//	mka mka-fast   num_key_value_heads (heads), head_dim (hidden/heads), memory_levels 2: the tokens and their moving average, 3: and a bank of vectors given at run time;
//	               ema_beta 0.9, router_hidden (hidden/2)
//
// Tensors: q_proj, k_proj, v_proj, o_proj; router.0 [router_hidden, heads*head_dim] and router.2 [memory_levels, router_hidden], with biases.

import "fmt"

func init() {
	register(Design{Name: MKA, About: "one attention for each memory level, mixed by a router", Cache: "2 l n_kv d_h", Paper: "Memory-Keyed Attention, 2603.20586",
		Streams: levelStreams, Tensors: mkaTensors, Text: levelsText, Fields: mkaFields, read: readMKA, Makes: []string{"k", "v"}})
	register(Design{Name: FMKA, About: "one attention over a routed mix of memory levels", Cache: "2 n_kv d_h", Paper: "Memory-Keyed Attention, 2603.20586",
		Streams: groupedStreams, Tensors: mkaTensors, Text: levelsText, Fields: mkaFields, read: readMKA, Makes: []string{"k", "v", "router_a", "router_b"}}) // routed as a row is written
	runsFolder = append(runsFolder, "fastmka-llama")
}

func readMKA(p *parser, d *Design) Attention {
	a := p.heads(0)
	a.Design = d.Name
	if a.Levels = p.size("memory_levels", 2, 3); a.Levels < 2 {
		p.fail("memory_levels", fmt.Sprint(a.Levels), "must be 2 or 3")
	}
	a.EMABeta = p.fraction("ema_beta", 0.9)
	a.RouterDim = p.size("router_hidden", max(1, p.c.Hidden/2), maxWidth)
	a.RecurrentLen = p.c.Hidden
	return a
}

func mkaFields(a *Attention) map[string]any {
	f := groupedFields(a)
	f["memory_levels"], f["ema_beta"], f["router_hidden"] = a.Levels, a.EMABeta, a.RouterDim
	return f
}

func mkaTensors(c *Config, a *Attention) []Tensor {
	return append(groupedTensors(c, a), attn("router_a", "router.0", true, a.RouterDim, a.Heads*a.HeadDim), attn("router_b", "router.2", true, a.Levels, a.RouterDim))
}

func levelStreams(a *Attention) []Stream {
	return []Stream{{Name: "k", Heads: a.KVHeads * a.Levels, Width: a.HeadDim, Use: keyUse(a)}, {Name: "v", Heads: a.KVHeads * a.Levels, Width: a.ValueDim, Use: Mixed}}
}

func levelsText(a *Attention) string {
	return headsText(a) + fmt.Sprintf(" on %d memory levels", a.Levels)
}
