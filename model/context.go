package model

// The context that a model says it was trained for, changed where a further phase trains it for another.

import (
	"encoding/json"
	"fmt"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/model/config"
)

// SetContext says that the model is for sequences of n tokens: its config.json as it is written from now on, and the positions that its designs know. RoPE has no length of its own, so weights stay;
// a stretched one is told in tokens of the context, and is refused.
func (m *Model) SetContext(n int) error {
	const key = "max_position_embeddings"
	var fields map[string]any
	if err := json.Unmarshal(m.ConfigJSON, &fields); err != nil || fields[key] == nil {
		return fault.New(fault.Unsupported, "context of "+m.Path, fmt.Sprintf("%d tokens", m.Config.MaxPosition), "its config.json has no "+key+" to change", "train within its context")
	}
	for _, scaling := range []string{"rope_scaling", "rope_parameters"} {
		s, _ := fields[scaling].(map[string]any)
		for _, form := range []string{"rope_type", "type"} {
			if kind, ok := s[form]; ok && kind != "default" {
				return fault.New(fault.Unsupported, "context of "+m.Path, fmt.Sprintf("%s %v", scaling, kind), "its stretch is told in tokens of the context", "train within its context")
			}
		}
	}
	fields[key] = n
	text, err := json.MarshalIndent(fields, "", "  ")
	if err != nil {
		return err
	}
	c, err := config.Parse(text, m.Path)
	if err != nil {
		return err
	}
	m.Config, m.ConfigJSON = c, text
	m.designs, err = m.build(n)
	return err
}
