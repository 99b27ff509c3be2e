package model

import (
	"runtime"
	"testing"

	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/tensor"
)

// fiveM is the model of the comparison with PyTorch: 5 M parameters.
const fiveM = `{"model_type":"llama","hidden_size":256,"intermediate_size":688,"num_hidden_layers":6,"num_attention_heads":4,"num_key_value_heads":4,"head_dim":64,"vocab_size":512,
	"max_position_embeddings":256,"tie_word_embeddings":false,"rms_norm_eps":1e-5,"rope_theta":10000,"hidden_act":"silu"}`

// BenchmarkTrainStep is forward and backward of 16 sequences of 256 tokens.
func BenchmarkTrainStep(b *testing.B) {
	for _, saving := range []bool{false, true} {
		name := "keep"
		if saving {
			name = "recompute"
		}
		b.Run(name, func(b *testing.B) { trainStep(b, saving) })
	}
}

func trainStep(b *testing.B, saving bool) {
	const batch, context = 16, 256
	m, err := New([]byte(fiveM), 1)
	if err != nil {
		b.Fatal(err)
	}
	pool := kernel.NewPool(runtime.GOMAXPROCS(0))
	defer pool.Close()
	o := tensor.NewTape(pool)
	defer o.Close()
	o.SetCheckpointing(saving)
	for _, p := range m.Parameters() {
		o.Param(p.Name, p.Bytes(), p.Data, make([]float32, len(p.Data)))
	}
	var ids, targets []int32
	var pos, starts []int
	for i := range batch * context {
		if i%context == 0 {
			starts = append(starts, i)
		}
		ids, targets, pos = append(ids, int32(i*i*7%512)), append(targets, int32(i*13%512)), append(pos, i%context)
	}
	step := func() {
		o.Documents(starts)
		o.Backward(o.CrossEntropy(m.ForwardAt(o, ids, pos, nil), targets, -1, false))
		o.Reset()
	}
	step()
	b.ReportAllocs()
	for b.Loop() {
		step()
	}
	b.ReportMetric(float64(len(ids))*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
	b.ReportMetric(float64(o.PeakBytes())/1e6, "MB")
}
