package config

// CCA and CCGQA: attention in a narrow space, on queries and keys that two short filters over tokens have mixed. CCGQA has fewer heads of keys than of queries; "cca" may, too.
//
//	head_dim (needed: heads * head_dim is hidden_size / C1), num_key_value_heads (heads; ccgqa: less), cca_time0 2 and cca_time1 2 (taps of the filters),
//	partial_rotary_factor 1 (the part of a head that turns, from its front)
//
// Tensors: q_proj, k_proj, o_proj, v_proj and v_late_proj [kv_heads*head_dim/2, hidden], conv0 [channels, taps], conv1 [channels, head_dim*taps], both with a bias, temp [kv_heads].

import "fmt"

// CCGQA is CCA with fewer heads of keys than of queries.
const CCGQA = "ccgqa"

func init() {
	for _, d := range []Design{
		{Name: CCA, About: "attention inside a compressed space, on convolved queries and keys", Cache: "2 n_kv d_h"},
		{Name: CCGQA, About: "CCA with fewer heads of keys than of queries", Cache: "2 n_kv d_h"},
	} {
		d.Alone = "a query is filtered with its own layer's keys and past, so a layer without rows would need both, and state"
		d.Paper = "Compressed Convolutional Attention, 2510.04476"
		d.read, d.Streams, d.Tensors, d.Text, d.Fields = readCCA, groupedStreams, ccaTensors, ccaText, ccaFields
		register(d)
	}
}

func readCCA(p *parser, d *Design) Attention {
	p.needHeadDim(d.Name)
	a := p.heads(0)
	p.convolved(&a)
	a.Design = d.Name
	if d.Name == CCGQA && a.KVHeads >= a.Heads {
		p.fail("num_key_value_heads", fmt.Sprint(a.KVHeads), fmt.Sprintf("attention ccgqa has fewer than the %d heads of queries", a.Heads))
	}
	a.Rope = p.rope(p.partial(a.HeadDim, 1, ""), "")
	return a
}

// convolved reads what CCA has beside GQA.
func (p *parser) convolved(a *Attention) {
	a.Design = CCA
	a.Conv0, a.Conv1 = p.size("cca_time0", 2, maxTaps), p.size("cca_time1", 2, maxTaps)
	if a.KVHeads*a.HeadDim%2 != 0 {
		p.fail("num_key_value_heads", fmt.Sprint(a.KVHeads), fmt.Sprintf("times head_dim %d must be even: half of a value comes a token late", a.HeadDim))
	}
	a.RecurrentLen = (a.Conv0+a.Conv1-2)*(a.Heads+a.KVHeads)*a.HeadDim + a.KVHeads*a.HeadDim/2
}

// maxTaps bounds the filters.
const maxTaps = 64

func ccaFields(a *Attention) map[string]any {
	return map[string]any{"num_key_value_heads": a.KVHeads, "head_dim": a.HeadDim, "cca_time0": a.Conv0, "cca_time1": a.Conv1, "partial_rotary_factor": float64(a.Rope.Dim) / float64(a.HeadDim)}
}

func ccaTensors(c *Config, a *Attention) []Tensor {
	n, kv, channels := a.Heads*a.HeadDim, a.KVHeads*a.HeadDim, (a.Heads+a.KVHeads)*a.HeadDim
	return append(output(c, a), attn("q", "q_proj", a.QKVBias, n, c.Hidden), attn("k", "k_proj", a.QKVBias, kv, c.Hidden), attn("v", "v_proj", a.QKVBias, kv/2, c.Hidden),
		attn("v_late", "v_late_proj", a.QKVBias, kv/2, c.Hidden), attn("conv0", "conv0", true, channels, a.Conv0), attn("conv1", "conv1", true, channels, a.HeadDim*a.Conv1),
		attn("temp", "temp", false, a.KVHeads))
}

func ccaText(a *Attention) string {
	return headsText(a) + fmt.Sprintf(", filters of %d and %d tokens", a.Conv0, a.Conv1)
}
