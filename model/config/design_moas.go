package config

// MoAS: three attentions side by side, MHA, GQA and MQA, weighed token by token by a router; or, where a layer is held to one of them, that one. The mixture keeps the rows of all three,
// more than MHA alone does.
//
//	num_key_value_heads (of the GQA; 2), head_dim (hidden/heads), router_dim (hidden/4),
//	attention_scheme "soft": the mixture; "mha", "gqa", "mqa": one attention; a list has an entry for each layer
//
// Tensors: SCHEME.q_proj, .k_proj, .v_proj, .o_proj of each scheme, router_a [router_dim, hidden], router_b [3, router_dim].

import (
	"fmt"
	"slices"
	"strings"
)

// Schemes are the attentions of MoAS.
var Schemes = []string{MHA, GQA, MQA}

// softScheme is the word for all of them together.
const softScheme = "soft"

func init() {
	register(Design{Name: MoAS, About: "MHA, GQA and MQA side by side, mixed by a router, in more cache than MHA; routed: one of them in each layer, 2 d_h times H, G or 1", Cache: "2 d_h (H + G + 1)",
		Paper: "Mixture of Attention Schemes, 2512.20650", read: readMoAS, each: eachMoAS, Streams: moasStreams, Tensors: moasTensors, Text: moasText, Fields: moasFields,
		Alone: "each layer weighs three attentions over rows of their own"})
}

func readMoAS(p *parser, d *Design) Attention {
	a := p.heads(0)
	a.Design = d.Name
	a.KVHeads = p.size("num_key_value_heads", min(2, a.Heads), maxHeads)
	a.RouterDim = p.size("router_dim", max(1, p.c.Hidden/4), maxWidth)
	return a
}

// eachMoAS reads the scheme of every layer.
func eachMoAS(p *parser) {
	var list []string
	if raw, ok := p.raw("attention_scheme"); ok && raw[0] == '[' {
		if list = p.texts("attention_scheme"); len(list) != p.n {
			p.fail("attention_scheme", fmt.Sprintf("%d entries", len(list)), fmt.Sprintf("num_hidden_layers is %d", p.n))
			return
		}
	} else {
		list = slices.Repeat([]string{p.text("attention_scheme", softScheme)}, len(p.c.Layers))
	}
	p.eachLayer(func(i int, l *Layer) {
		switch s := list[i]; {
		case slices.Contains(Schemes, s):
			l.Attention.Scheme = s
		case s != softScheme:
			p.fail("attention_scheme", s, "known: "+softScheme+" "+strings.Join(Schemes, " "))
		}
	})
}

func moasFields(a *Attention) map[string]any {
	f := map[string]any{"num_key_value_heads": a.KVHeads, "head_dim": a.HeadDim, "router_dim": a.RouterDim, "attention_scheme": softScheme}
	if a.Scheme != "" {
		f["attention_scheme"] = a.Scheme
	}
	return f
}

// SchemesOf lists what a layer of MoAS has: all schemes or one.
func SchemesOf(a *Attention) []string {
	if a.Scheme != "" {
		return []string{a.Scheme}
	}
	return Schemes
}

// SchemeHeads is the number of key and value heads of a scheme.
func SchemeHeads(a *Attention, scheme string) int {
	return map[string]int{MHA: a.Heads, GQA: a.KVHeads, MQA: 1}[scheme]
}

func moasStreams(a *Attention) []Stream {
	var out []Stream
	for _, s := range SchemesOf(a) {
		before := s + "_"
		if a.Scheme != "" {
			before = ""
		}
		n := SchemeHeads(a, s)
		out = append(out, Stream{Name: before + "k", Heads: n, Width: a.HeadDim, Use: keyUse(a)}, Stream{Name: before + "v", Heads: n, Width: a.ValueDim, Use: Mixed})
	}
	return out
}

func moasTensors(c *Config, a *Attention) []Tensor {
	var t []Tensor
	for _, s := range SchemesOf(a) {
		part := func(x string, bias bool, out, in int) { t = append(t, attn(s+"."+x, s+"."+x+"_proj", bias, out, in)) }
		n := SchemeHeads(a, s)
		part("q", a.QKVBias, a.Heads*a.HeadDim, c.Hidden)
		part("k", a.QKVBias, n*a.HeadDim, c.Hidden)
		part("v", a.QKVBias, n*a.ValueDim, c.Hidden)
		part("o", a.OutBias, c.Hidden, a.Heads*a.ValueDim)
	}
	if a.Scheme == "" {
		t = append(t, attn("router_a", "router_a", false, a.RouterDim, c.Hidden), attn("router_b", "router_b", false, len(Schemes), a.RouterDim))
	}
	return t
}

func moasText(a *Attention) string {
	if a.Scheme != "" {
		return fmt.Sprintf("moas held to %s, %d heads over %d x %d", a.Scheme, a.Heads, SchemeHeads(a, a.Scheme), a.HeadDim)
	}
	return fmt.Sprintf("moas, %d heads over %d, %d and 1 x %d, mixed: %.3g times the cache of mha", a.Heads, a.Heads, a.KVHeads, a.HeadDim, float64(a.Heads+a.KVHeads+1)/float64(a.Heads))
}
