package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey"
)

// golden finds a tiny model; the test is skipped where there is none of this name.
func golden(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("LOWKEY_GOLDEN")
	if dir == "" {
		dir = "../../shared/golden"
		if _, err := os.Stat(dir); err != nil {
			t.Skip("no tiny models: set LOWKEY_GOLDEN")
		}
	}
	path := filepath.Join(dir, "models", name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("this set has no such model: %v", err)
	}
	return path
}

// TestGoldenRun measures everything on a tiny model whose sliding layers cannot be rewound, and on one whose depths pass the trained context.
func TestGoldenRun(t *testing.T) {
	for _, name := range []string{"llama_gqa", "gemma3_text", "mlra_mla", "real_format"} {
		t.Run(name, func(t *testing.T) {
			said := 0
			r, err := Run(context.Background(), golden(t, name), Options{KV: []string{"f32", "f16", "q4"}, Prompts: []int{70}, Depths: []int{200, 0, 60, 200}, Decode: 3, Reps: 2,
				Load: lowkey.Options{Activations: "f32", Threads: 2}, Quality: &QualityOptions{Positions: 90, Window: 40, Skip: 5}, Batch: &BatchOptions{3, 10, 2},
				Progress: func(string) { said++ }})
			if err != nil {
				t.Fatal(err)
			}
			if said == 0 {
				t.Error("no progress was told")
			}
			if wantPast := r.Trained < 270; r.PastTrained != wantPast {
				t.Errorf("past the trained context of %d: %v", r.Trained, r.PastTrained)
			}
			if natural := name == "real_format"; natural == strings.Contains(strings.Join(r.Notes, " "), "arbitrary token ids") {
				t.Errorf("notes: %q", r.Notes)
			}
			if len(r.KV) != 3 {
				t.Fatalf("%d results", len(r.KV))
			}
			for i, k := range r.KV {
				if len(k.Prefill) != 3 || len(k.Decode) != 3 || k.Line == nil || k.Batch == nil || k.Quality == nil {
					t.Fatalf("%s: rows are missing: %+v", k.KV, k)
				}
				for _, s := range append(k.Prefill, k.Decode...) {
					if !(s.TokensPerSec > 0) || len(s.Runs) != 2 || math.Abs(s.MsPerToken*s.TokensPerSec-1000) > 1e-6 || s.Floor == nil || !(s.Floor.Share > 0) {
						t.Errorf("%s: row %+v", k.KV, s)
					}
				}
				if d := k.Decode; d[0].Depth != 0 || d[1].Depth != 60 || d[2].Depth != 200 || d[2].Floor.Bytes <= d[0].Floor.Bytes {
					t.Errorf("%s: depths %+v", k.KV, d)
				}
				if p := k.Prefill; p[0].Depth != 0 || p[1].Depth != 60 || p[2].Depth != 200 || p[2].Tokens != 70 || p[2].Floor.Gops <= p[1].Floor.Gops || p[1].Floor.Bytes <= p[0].Floor.Bytes {
					t.Errorf("%s: prompts %+v", k.KV, p)
				}
				if q := k.Quality; q.Positions != 90 || q.MeanKL < 0 || q.MaxKL < q.MeanKL {
					t.Errorf("%s: quality %+v", k.KV, q)
				} else if i == 0 && (q.MeanKL > 1e-12 || q.Top1 != 1) { // the reference itself: same bits
					t.Errorf("f32 against f32: %+v", q)
				} else if i > 0 && q.MeanKL <= r.KV[i-1].Quality.MeanKL {
					t.Errorf("%s costs no more than %s: %v", k.KV, r.KV[i-1].KV, q.MeanKL)
				}
				if i > 0 && k.BytesPerToken >= r.KV[i-1].BytesPerToken {
					t.Errorf("%s takes %d bytes a token", k.KV, k.BytesPerToken)
				}
			}
			if _, err := json.Marshal(r); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestGoldenDepths counts the tokens that are computed: those measured, and the rows of a depth that no prompt has left, once. Sliding layers, and pages that are sealed,
// cannot be cut back everywhere; the rows that they are taken back to continue with the same bits.
func TestGoldenDepths(t *testing.T) {
	for _, c := range []struct{ name, kv string }{{"llama_gqa", "q8"}, {"llama_gqa", "q4c"}, {"gemma3_text", "f16"}} {
		t.Run(c.name+"/"+c.kv, func(t *testing.T) {
			m, err := lowkey.Load(golden(t, c.name), lowkey.Options{KV: c.kv, Context: 256, PastTrained: true, Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			r, err := newRunner(context.Background(), m, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer r.close()
			var res Result
			if err := r.measure(&Options{Prompts: []int{40}, Depths: []int{64, 128}, Decode: 3, Reps: 3}, &res); err != nil {
				t.Fatal(err)
			}
			if len(res.Prefill) != 3 || len(res.Decode) != 2 {
				t.Errorf("%d prompts, %d depths", len(res.Prefill), len(res.Decode))
			}
			if want := 256 + 3*40 + (64 - 40) + 3*(3+40) + (128 - 104) + 3*(3+40); r.computed != want {
				t.Errorf("%d tokens were computed, want %d", r.computed, want)
			}
			var logits [2][]float32
			for i := range logits {
				if err := r.rewind(128); err != nil {
					t.Fatal(err)
				}
				r.feed[0].Sequence, r.feed[0].Tokens = r.seq, r.text[128:190]
				out, err := m.Engine.Step(r.feed[:])
				if err != nil {
					t.Fatal(err)
				}
				logits[i] = slices.Clone(out.Float32s())
				r.seq.Close() // the second time all rows are computed anew
				r.kept = 0
				m.Engine.Store.ForgetPrefixes()
			}
			if !slices.Equal(logits[0], logits[1]) {
				t.Error("rows that were gone back to differ from rows computed anew")
			}
		})
	}
}

// What a cached row costs in TPA, by hand from t6_tpa's configuration: 2 layers, 5 heads of 12, ranks 2 and 2. All heads meet both channel factors, in scores and in the
// mix, and each product is weighed once for each head and rank.
func TestGoldenCostOfFactors(t *testing.T) {
	m, err := lowkey.Load(golden(t, "t6_tpa"), lowkey.Options{KV: "f16"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	c, err := newCost(m, &Machine{PeakF32: 1, PeakInt8: 1, Read: []Bandwidth{{1 << 20, 1}}})
	if err != nil {
		t.Fatal(err)
	}
	kv, ops := c.cached(100, 1)
	near(t, "cached bytes", float64(kv), 101*2*(2+2)*(5+12)*2, 0)
	near(t, "attention", ops.f32, 101*2*2*(2*5*2*12+2*5*2), 0)
}

// TestGoldenCost holds the floor's bytes and operations to sums made by hand from llama_gqa's configuration: hidden 44, 2 layers, 4 heads and 2 KV heads of 10,
// intermediate 76, vocabulary 61, matrices of its own for embedding and output.
func TestGoldenCost(t *testing.T) {
	m, err := lowkey.Load(golden(t, "llama_gqa"), lowkey.Options{KV: "f16"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	c, err := newCost(m, &Machine{PeakF32: 1, PeakInt8: 1, Read: []Bandwidth{{1 << 20, 1}}})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "body", c.body.f32, 2*2*44*(40+20+20+40+76+76+76), 0)
	near(t, "head", c.head.f32, 2*61*44, 0)
	near(t, "integer work", c.body.int8+c.head.int8, 0, 0)
	// rows are packed in panels of 16: 40 -> 48, 20 -> 32, 44 -> 48, 76 -> 80, 61 -> 64; five norms
	near(t, "weights", float64(c.weights), 4*(2*(48*44+32*44+32*44+48*40+80*44+80*44+48*76)+64*44+5*44), 0)
	kv, ops := c.cached(100, 1)
	near(t, "cached bytes", float64(kv), 101*2*2*20*2, 0)
	near(t, "attention", ops.f32, 101*2*4*2*(10+10), 0)
	var b bill
	if err := c.step(&b, 100, 1, 1); err != nil {
		t.Fatal(err)
	}
	near(t, "bytes of a step", float64(b.bytes), float64(c.weights+kv), 0)
	near(t, "seconds of a step", b.seconds, float64(c.weights+kv)/1e9, 1e-12)
	f := b.floor(1, 1)
	near(t, "share", f.Share, float64(c.weights+kv)/1e6, 1e-9)
	// 300 tokens after 100: steps of 256 and 44, each of which reads all rows up to its end; with pages, steps end where pages do
	if b, err = c.prompt(100, 300, 0); err != nil {
		t.Fatal(err)
	}
	near(t, "operations of a prompt", b.ops.f32, 300*c.body.f32+2*c.head.f32+seen(100, 300, 0)*2*4*2*(10+10), 1e-3)
	near(t, "bytes of a prompt", float64(b.bytes), float64(2*c.weights+(356+400)*2*2*20*2), 0)
	if b, err = c.prompt(100, 100, 64); err != nil {
		t.Fatal(err)
	}
	near(t, "bytes by pages", float64(b.bytes), float64(3*c.weights+(128+192+200)*2*2*20*2), 0)
	ns, bound, err := c.slope([]float64{0, 50, 100})
	if err != nil || bound != "operations" { // at 1 GB/s and 10^9 operations a second: 160 bytes, 320 operations a row
		t.Fatal(bound, err)
	}
	near(t, "slope", ns, 320, 1e-6)
}

func TestGoldenPlot(t *testing.T) {
	r, err := Run(context.Background(), golden(t, "llama_gqa"), Options{KV: []string{"f16", "q8"}, Prompts: []int{8}, Depths: []int{0, 64}, Decode: 2, NoFloor: true})
	if err != nil {
		t.Fatal(err)
	}
	for ext, magic := range map[string]string{".png": "\x89PNG", ".svg": "<?xml"} {
		path := filepath.Join(t.TempDir(), "plot"+ext)
		if err := Plot(r, path); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(b, []byte(magic)) {
			t.Errorf("%s: %v, begins with %q", ext, err, b[:min(len(b), 8)])
		}
	}
	if err := Plot(r, "plot.pdf"); err == nil {
		t.Error("a .pdf was taken")
	}
}

func TestGoldenKernels(t *testing.T) {
	for _, weights := range []string{"", "q8_0"} {
		_, products, err := Kernels(context.Background(), golden(t, "real_format"), lowkey.Options{Weights: weights, Threads: 1}, []int{1, 17}, nil)
		if err != nil {
			t.Fatal(err)
		}
		// shapes: output 400 x 64; q o 64 x 64; k v 32 x 64; gate up 112 x 64; down 64 x 112, which q8_0's blocks do not divide
		count := map[string]int{}
		for _, p := range products {
			count[p.Format]++
			if !(p.Micros > 0) || !(p.Share > 0) || p.Kernel == "" || p.Count == 0 {
				t.Errorf("%+v", p)
			}
		}
		want := map[string]int{"BF16": 9} // the output with one row alone
		if weights != "" {
			want = map[string]int{"BF16": 2, "Q8_0": 7}
		}
		for f, n := range want {
			if count[f] != n || len(count) != len(want) {
				t.Errorf("weights %q: %v, want %v", weights, count, want)
			}
		}
	}
}

func TestGoldenRefusals(t *testing.T) {
	path := golden(t, "llama_gqa")
	for name, o := range map[string]Options{
		"no type":      {},
		"depth":        {KV: []string{"f16"}, Depths: []int{-1}, Decode: 1},
		"too deep":     {KV: []string{"f16"}, Depths: []int{1 << 40}, Decode: 1},
		"batch":        {KV: []string{"f16"}, Batch: &BatchOptions{0, 1, 1}},
		"stream":       {KV: []string{"latent=q8"}, Depths: []int{0}, Decode: 1},
		"cancelled":    {KV: []string{"f16"}, Depths: []int{0}, Decode: 1},
		"no tokenizer": {KV: []string{"f16"}, Quality: &QualityOptions{Text: "words without a tokenizer"}, NoFloor: true},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		if name == "cancelled" {
			cancel()
		}
		o.NoFloor = true
		r, err := Run(ctx, path, o)
		cancel()
		if name == "no tokenizer" { // quality alone is given up, and said so
			if err != nil || len(r.Notes) != 1 || !strings.HasPrefix(r.Notes[0], "no quality: ") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
