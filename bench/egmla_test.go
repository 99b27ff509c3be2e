package bench

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/model"
)

// What a cached row costs in EG-MLA, by hand: 2 layers, 4 heads of 12 + 4 and 10, a latent of 16, gates of 6. Rows are rebuilt once a step; gates are made
// when a token is seen for the first time.
func TestCostOfRebuilding(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	m, err := model.New([]byte(`{"model_type":"lowkey","attention":"eg-mla","hidden_size":32,"intermediate_size":48,"num_hidden_layers":2,"num_attention_heads":4,"vocab_size":61,"kv_lora_rank":16,
		"qk_nope_head_dim":12,"qk_rope_head_dim":4,"v_head_dim":10,"gate_embed_dim":6,"tie_word_embeddings":true}`), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Save(dir, kernel.F32); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	l, err := lowkey.Load(dir, lowkey.Options{KV: "f16", Activations: "f32"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := newCost(l, &Machine{PeakF32: 1, PeakInt8: 1, Read: []Bandwidth{{1 << 20, 1}}})
	if err != nil {
		t.Fatal(err)
	}
	share, err := differentIDs(l)
	if err != nil || !(share > 0 && share <= 1) {
		t.Fatal(share, err)
	}
	const n, rows = 4 * (12 + 10), 101
	near(t, "body", c.body.f32, 2*2*(32*(4*16+20+40)+3*32*48)+2*2*n*6*share, 1e-6)
	kv, ops := c.cached(rows-1, 1)
	near(t, "cached bytes", float64(kv), rows*2*(16+4)*2, 0)
	near(t, "attention", ops.f32, rows*2*(2*4*(16+10)+2*n*16), 1e-6)
	_, two := c.cached(rows-2, 2)
	near(t, "two queries share what is rebuilt", two.f32-ops.f32, (rows-1)*2*2*4*(16+10), 1e-6)
	bytes, each, ofMHA := c.row(1000)
	near(t, "bytes of a row", bytes, 2*(16+4)*2, 0)
	near(t, "operations of a row", each, 2*(2*4*(16+10)+2*n*16), 1e-6)
	near(t, "times MHA's", ofMHA, 1+2*n*16/float64(2*4*(16+10)), 1e-9)
}
