package plan

// The comparison of cache types for one model.

import (
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model/config"
)

// Row is one cache type.
type Row struct {
	Type      string  `json:"type"`
	PerToken  float64 `json:"per_token"`
	Sequence  int64   `json:"sequence"`            // bytes of a sequence of the plan's context
	Sequences int64   `json:"sequences,omitempty"` // that fit the plan's budget
	OfF16     float64 `json:"of_f16"`              // PerToken over that of f16
	OfMHA     float64 `json:"of_mha"`              // PerToken over that of full attention: in f16, a key and a value for each query head of each layer
	WhyNot    string  `json:"why_not,omitempty"`   // the type does not go with this model
}

func against(c *config.Config, layouts []kvcache.Layout, p *Plan, left int64, o Options) ([]Row, error) {
	specs := []string{}
	for _, t := range kvcache.Types {
		specs = append(specs, t.String())
	}
	specs = append(specs, mixed(layouts)...)
	known := false
	for _, s := range specs {
		known = known || s == p.KV.Type
	}
	if !known {
		specs = append(specs, p.KV.Type)
	}
	mha := mhaBytes(c)
	f16 := 0.0
	var rows []Row
	for _, text := range append([]string{"f16"}, specs...) {
		spec, err := kvcache.ParseSpec(text)
		if err != nil {
			return nil, err
		}
		k, err := NewCache(c, layouts, spec, o.PageRows)
		if err != nil {
			rows = append(rows, Row{Type: text, WhyNot: err.Error()})
			continue
		}
		if f16 == 0 { // the first, which is left out of the table
			f16 = k.PerToken
			continue
		}
		rows = append(rows, Row{Type: text, PerToken: k.PerToken, Sequence: k.Sequence(p.KV.Context), Sequences: k.Fits(left, p.KV.Context, o.Step), OfF16: k.PerToken / f16, OfMHA: k.PerToken / mha})
	}
	return rows, nil
}

// mhaBytes is what a token would take in f16 with a key and a value for each query head of each layer.
func mhaBytes(c *config.Config) float64 {
	n := 0.0
	for i := range c.Layers {
		n += 2 * float64(MHAElements(&c.Layers[i].Attention))
	}
	return n
}

// mixed suggests types by stream: coarse values under finer keys; where keys and values are the same bytes, their rotary part fine.
func mixed(layouts []kvcache.Layout) []string {
	names := map[string]bool{}
	for _, l := range layouts {
		for _, s := range l.Streams {
			names[s.Name] = true
		}
	}
	switch {
	case names["k"] && names["v"]:
		return []string{"k=q8,v=q4"}
	case names["latent"] && names["rope"]:
		return []string{"latent=q8,rope=f16", "latent=q4,rope=f16"}
	case names["kv"] && names["rope"]:
		return []string{"kv=q8,rope=f16", "kv=q4,rope=f16"}
	case names["k_a"]:
		return []string{"k=q8,v=q4"}
	}
	return nil
}
