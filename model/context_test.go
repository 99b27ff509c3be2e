package model

import (
	"errors"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/model/config"
)

// The context of a model whose RoPE is stretched, or whose configuration names none, stays what it is.
func TestSetContextRefused(t *testing.T) {
	for text, reason := range map[string]string{
		`{"max_position_embeddings": 64, "rope_scaling": {"rope_type": "yarn", "factor": 2}}`: "rope_scaling yarn",
		`{"max_position_embeddings": 64, "rope_parameters": {"rope_type": "linear"}}`:         "rope_parameters linear",
		`{"block_size": 64}`: "no max_position_embeddings",
	} {
		m := &Model{Path: "m", ConfigJSON: []byte(text), Config: &config.Config{MaxPosition: 64}}
		var f *fault.Error
		if err := m.SetContext(128); !errors.As(err, &f) || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
