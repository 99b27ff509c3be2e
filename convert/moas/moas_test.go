package moas

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/model"
	"github.com/lowkeylm/lowkey/tensor"
)

const soft = `{"model_type":"lowkey","attention":"moas","hidden_size":32,"intermediate_size":48,"num_hidden_layers":3,"num_attention_heads":4,"head_dim":8,"vocab_size":40,"max_position_embeddings":64,
	"attention_scheme":"soft"}`

// folder writes a fresh mixture and opens it.
func folder(t *testing.T) (string, *model.Model) {
	t.Helper()
	m, err := model.New([]byte(soft), 3)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "soft")
	if err := m.Save(dir, kernel.BF16); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte("{}"), 0o666); err != nil {
		t.Fatal(err)
	}
	if m, err = model.Open(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return dir, m
}

func ids(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i * i % 40)
	}
	return out
}

// The means are those of the routers: in a model of one layer, softmax(W2 GELU(W1 RMSNorm(embedding))), token by token.
func TestMeans(t *testing.T) {
	one, err := model.New([]byte(strings.Replace(soft, `"num_hidden_layers":3`, `"num_hidden_layers":1`, 1)), 3)
	if err != nil {
		t.Fatal(err)
	}
	pool := kernel.NewPool(2)
	defer pool.Close()
	text := ids(100) // two windows of 64 at most
	got, err := Means(context.Background(), one, pool, text)
	if err != nil {
		t.Fatal(err)
	}
	weights := map[string][]float32{}
	for _, p := range one.Parameters() {
		weights[p.Name] = p.Data
	}
	embed, w1, w2 := weights["model.embed_tokens.weight"], weights["model.layers.0.self_attn.router_a.weight"], weights["model.layers.0.self_attn.router_b.weight"]
	const d, wide = 32, 8
	want := make([]float64, 3)
	for _, id := range text {
		x, square := embed[int(id)*d:][:d], 0.0
		for _, v := range x {
			square += float64(v) * float64(v)
		}
		scale, g, sum := 1/math.Sqrt(square/d+1e-6), make([]float64, 3), 0.0
		for j := range wide {
			h := 0.0
			for k, v := range x {
				h += float64(v) * scale * float64(w1[j*d+k])
			}
			h *= 0.5 * (1 + math.Erf(h/math.Sqrt2))
			for i := range g {
				g[i] += h * float64(w2[i*wide+j])
			}
		}
		for i := range g {
			g[i] = math.Exp(g[i])
			sum += g[i]
		}
		for i := range g {
			want[i] += g[i] / sum / float64(len(text))
		}
	}
	for i := range want {
		if math.Abs(got[0][i]-want[i]) > 1e-5 {
			t.Errorf("weights %v, want %v", got[0], want)
			break
		}
	}
}

// A routed folder has the chosen weights, bit for bit, the chosen cache, the rest of the folder, and computes what its attentions do.
func TestRoute(t *testing.T) {
	dir, m := folder(t)
	pool := kernel.NewPool(2)
	defer pool.Close()
	means, err := Means(context.Background(), m, pool, ids(90))
	if err != nil {
		t.Fatal(err)
	}
	chosen := Choose(m.Config, means)
	for i, mean := range means {
		if best := slices.Index(mean, slices.Max(mean)); chosen[i] != []string{"mha", "gqa", "mqa"}[best] {
			t.Errorf("layer %d: %s of %v", i, chosen[i], mean)
		}
	}
	out := filepath.Join(t.TempDir(), "routed")
	if err := Route(context.Background(), dir, out, []string{"mqa", "soft", "gqa"}); err != nil {
		t.Fatal(err)
	}
	r, err := model.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i, want := range []int{2 * 8, 2 * 8 * (4 + 2 + 1), 2 * 8 * 2} {
		if got := r.Layouts()[i].Elements(); got != want {
			t.Errorf("layer %d keeps %d numbers a token, want %d", i, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(out, "tokenizer.json")); err != nil {
		t.Error(err)
	}
	o := tensor.NewEager32() // layers 1 and 2 see other inputs in the two models: the first one alone must differ only by its attention
	var a, b []float64
	m.Forward(o, ids(9), func(i int, y tensor.Tensor) {
		if i == 0 {
			a = o.Values(y)
		}
	})
	r.Forward(o, ids(9), func(i int, y tensor.Tensor) {
		if i == 0 {
			b = o.Values(y)
		}
	})
	if slices.Equal(a, b) {
		t.Error("one attention gives what the mixture gives")
	}
	if err := m.InMemory(); err != nil {
		t.Fatal(err)
	}
	if err := r.InMemory(); err != nil {
		t.Fatal(err)
	}
	stored := map[string][]float32{}
	for _, p := range m.Parameters() {
		stored[p.Name] = p.Data
	}
	n := 0
	for _, p := range r.Parameters() {
		if !slices.Equal(stored[p.Name], p.Data) {
			t.Errorf("%s differs", p.Name)
		}
		if strings.Contains(p.Name, "layers.0.self_attn") {
			n++
		}
	}
	if n != 4 || len(r.Parameters()) != len(m.Parameters())-10-10 {
		t.Errorf("%d tensors of attention in layer 0, %d in all; the mixture has %d", n, len(r.Parameters()), len(m.Parameters()))
	}
}

func TestRouteRefusals(t *testing.T) {
	dir, _ := folder(t)
	routed := filepath.Join(t.TempDir(), "routed")
	if err := Route(context.Background(), dir, routed, []string{"mqa", "mqa", "soft"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from    string
		schemes []string
		want    string
	}{{dir, []string{"mqa"}, "3 layers"}, {dir, []string{"mqa", "mla", "mqa"}, "mla"}, {routed, []string{"mqa", "gqa", "mqa"}, "layer 1"}} {
		out := filepath.Join(t.TempDir(), "out")
		err := Route(context.Background(), c.from, out, c.schemes)
		if !fault.Is(err, fault.BadInput) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.schemes, err)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%v: a folder was left", c.schemes)
		}
	}
	if err := Route(context.Background(), dir, routed, []string{"mqa", "mqa", "mqa"}); err == nil {
		t.Error("a folder was written over")
	}
	other, err := model.New([]byte(strings.Replace(soft, "moas", "mha", 1)), 1)
	if err != nil {
		t.Fatal(err)
	}
	pool := kernel.NewPool(1)
	defer pool.Close()
	if _, err := Means(context.Background(), other, pool, ids(3)); !fault.Is(err, fault.Unsupported) {
		t.Error(err)
	}
}
