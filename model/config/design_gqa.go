package config

// MHA, GQA, MQA and SQA: keys and values of some heads. SQA has fewer query heads than the hidden width holds.
//
//	num_key_value_heads (by the name's meaning), head_dim (hidden/heads), qk_norm false (per head, before RoPE), sliding_window none
//	sqa: head_dim is given, and num_attention_heads * head_dim is less than hidden_size; num_key_value_heads from 1 to num_attention_heads (the default)

import "fmt"

func init() {
	for _, d := range []Design{
		{Name: MHA, About: "one key and value head for each query head", Cache: "2 n d_h", Paper: "Attention Is All You Need, 1706.03762"},
		{Name: GQA, About: "a group of query heads shares a key and value head", Cache: "2 n_kv d_h", Paper: "GQA, 2305.13245"},
		{Name: MQA, About: "all query heads share one key and one value head", Cache: "2 d_h", Paper: "Fast Transformer Decoding: One Write-Head is All You Need, 1911.02150"},
		{Name: SQA, About: "fewer query heads: computation is saved, the cache is GQA's", Cache: "2 H_kv d_h", Paper: "Sparse Query Attention, 2510.01817"},
	} {
		d.read, d.Streams, d.Tensors, d.Text, d.Fields = readGrouped, groupedStreams, groupedTensors, groupedText, groupedFields
		d.Makes = []string{"k", "v", "k_norm"}
		register(d)
	}
}

func readGrouped(p *parser, d *Design) Attention {
	a := p.heads(0)
	if !p.has("num_key_value_heads") && d.Name == MQA {
		a.KVHeads = 1
	}
	switch want := grouped(a.Heads, a.KVHeads); {
	case d.Name == SQA && a.Heads*a.HeadDim >= p.c.Hidden:
		p.fail("num_attention_heads", fmt.Sprint(a.Heads), fmt.Sprintf("attention sqa has fewer than the %d heads of %d that hidden_size %d holds", p.c.Hidden/a.HeadDim, a.HeadDim, p.c.Hidden))
	case d.Name != SQA && want != d.Name && a.Heads != 1:
		p.fail("attention", d.Name, "num_attention_heads and num_key_value_heads make it "+want)
	}
	a.Design = d.Name
	if p.bool("qk_norm", false) {
		a.QKNorm, a.QKNormEps = NormHead, p.c.Norm.Eps
	}
	a.Window = p.intIn("sliding_window", 0, 0, maxTokens)
	return a
}

func groupedFields(a *Attention) map[string]any {
	f := map[string]any{"num_key_value_heads": a.KVHeads, "head_dim": a.HeadDim, "qk_norm": a.QKNorm == NormHead}
	if a.Window > 0 {
		f["sliding_window"] = a.Window
	}
	return f
}

func groupedStreams(a *Attention) []Stream {
	return []Stream{{Name: "k", Heads: a.KVHeads, Width: a.HeadDim, Use: keyUse(a)}, {Name: "v", Heads: a.KVHeads, Width: a.ValueDim, Use: Mixed}}
}

func groupedTensors(c *Config, a *Attention) []Tensor {
	t := append(output(c, a), attn("q", "q_proj", a.QKVBias, a.Heads*a.HeadDim, c.Hidden), attn("k", "k_proj", a.QKVBias, a.KVHeads*a.HeadDim, c.Hidden),
		attn("v", "v_proj", a.QKVBias, a.KVHeads*a.ValueDim, c.Hidden))
	switch a.QKNorm {
	case NormHead:
		t = append(t, attn("q_norm", "q_norm", false, a.HeadDim), attn("k_norm", "k_norm", false, a.HeadDim))
	case NormFlat:
		t = append(t, attn("q_norm", "q_norm", false, a.Heads*a.HeadDim), attn("k_norm", "k_norm", false, a.KVHeads*a.HeadDim))
	}
	if a.Sinks {
		t = append(t, attn("sinks", "sinks", false, a.Heads))
	}
	return t
}

func groupedText(a *Attention) string {
	if a.Design == MHA {
		return fmt.Sprintf("mha, %d heads of %d", a.Heads, a.HeadDim)
	}
	return headsText(a)
}
