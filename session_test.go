package lowkey

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/model"
)

// A prompt that parts from the last one inside a row that two tokens share reuses what lies before that row, and its logits are those of a fresh session.
func TestPromptInsideMergedRow(t *testing.T) {
	src, err := model.New([]byte(`{"model_type": "lowkey", "attention": "mtla", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50,
		"kv_lora_rank": 16, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 16, "max_position_embeddings": 512}`), 1)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Use(src, nil, Options{Threads: 1, Memory: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ids := func(n, parts int) []int32 {
		out := make([]int32, n)
		for i := range out {
			out[i] = int32(i * 7 % 50)
			if i >= parts {
				out[i] = int32(i * 11 % 50)
			}
		}
		return out
	}
	s, fresh := m.NewSession("a"), m.NewSession("b")
	defer s.Close()
	defer fresh.Close()
	prompt := func(s *Session, ids []int32, want int) {
		if reused, err := s.Prompt(t.Context(), ids); err != nil || reused != want || !slices.Equal(s.Tokens(), ids) {
			t.Errorf("%d of %d tokens reused, want %d: %v", reused, len(ids), want, err)
		}
	}
	prompt(s, ids(101, 101), 0)
	prompt(s, ids(90, 51), 50)
	prompt(fresh, ids(90, 51), 0)
	if !slices.Equal(s.logits, fresh.logits) {
		t.Error("the logits are not those of a fresh session")
	}
	if err := s.GiveMemory(&Memory{}); !fault.Is(err, fault.BadInput) {
		t.Errorf("a memory for a session that has begun: %v", err)
	}
	s.Reset()
	if err := s.GiveMemory(&Memory{Layers: [][]float32{make([]float32, 32)}}); !fault.Is(err, fault.BadInput) {
		t.Errorf("a memory for layers that read none: %v", err)
	}
}

// Numerics: the two that exist, named where a third is asked for; a prompt in passes, whose report says so.
func TestNumerics(t *testing.T) {
	src, err := model.New([]byte(`{"model_type":"lowkey","attention":"gqa","num_key_value_heads":2,"head_dim":6,"hidden_size":16,"intermediate_size":20,"num_hidden_layers":4,"num_attention_heads":4,
		"vocab_size":30,"max_position_embeddings":64,"tie_word_embeddings":true,"layer_map":"0_2_2_3"}`), 3)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Use(src, nil, Options{Numerics: "quick"})
	if !fault.Is(err, fault.BadInput) || !strings.Contains(err.Error(), "quick") || !strings.Contains(err.Error(), "exact or fast") {
		t.Errorf("numerics quick: %v", err)
	}
	for _, name := range []string{"", Exact, Fast} {
		m, err := Use(src, nil, Options{Numerics: name})
		if err != nil {
			t.Fatal(err)
		}
		s := m.NewSession("")
		if err := s.Feed(context.Background(), []int32{1, 2, 3, 4, 5, 6, 7}); err != nil {
			t.Fatal(err)
		}
		line := new(Stats).Line(m)
		if fast := name == Fast; strings.Contains(line, "fast numerics") != fast || strings.Contains(line, "passes a token") != fast || m.Numerics() != max(name, Exact) {
			t.Errorf("numerics %q: %s, %s", name, m.Numerics(), line)
		}
		s.Close()
		m.Close()
	}
}
