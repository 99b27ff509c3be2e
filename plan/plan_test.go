package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kvcache"
)

// Public facts of published models, as their config.json state them (fields that bear on sizes).
var published = map[string]string{
	"llama-3.1-8b": `{"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,"num_attention_heads":32,
		"num_key_value_heads":8,"vocab_size":128256,"max_position_embeddings":131072,"rope_theta":500000.0,"torch_dtype":"bfloat16","tie_word_embeddings":false,
		"rope_scaling":{"factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192,"rope_type":"llama3"}}`,
	"llama-2-7b": `{"model_type":"llama","hidden_size":4096,"intermediate_size":11008,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":32,
		"vocab_size":32000,"max_position_embeddings":4096,"torch_dtype":"float16","rms_norm_eps":1e-5}`,
	"deepseek-v3": `{"model_type":"deepseek_v3","architectures":["DeepseekV3ForCausalLM"],"hidden_size":7168,"intermediate_size":18432,"moe_intermediate_size":2048,"num_hidden_layers":61,
		"num_attention_heads":128,"num_key_value_heads":128,"n_shared_experts":1,"n_routed_experts":256,"num_experts_per_tok":8,"first_k_dense_replace":3,"moe_layer_freq":1,
		"q_lora_rank":1536,"kv_lora_rank":512,"qk_nope_head_dim":128,"qk_rope_head_dim":64,"v_head_dim":128,"vocab_size":129280,"max_position_embeddings":163840,"torch_dtype":"bfloat16",
		"quantization_config":{"quant_method":"fp8","weight_block_size":[128,128]},
		"rope_scaling":{"type":"yarn","factor":40,"beta_fast":32,"beta_slow":1,"mscale":1.0,"mscale_all_dim":1.0,"original_max_position_embeddings":4096}}`,
	"step-3": `{"model_type":"step3_vl","architectures":["Step3VLForConditionalGeneration"],"text_config":{"model_type":"step3_text","hidden_size":7168,"intermediate_size":18432,
		"num_attention_heads":64,"num_attention_groups":1,"num_hidden_layers":61,"max_seq_len":65536,"max_position_embedding":65536,"vocab_size":128815,"rope_theta":500000,
		"share_q_dim":2048,"head_dim":256,"moe_intermediate_size":5120,"moe_num_experts":48,"moe_top_k":3,"share_expert_dim":5120,
		"moe_layers_enum":"4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59"}}`,
	"smollm2-135m": `{"model_type":"llama","hidden_size":576,"intermediate_size":1536,"num_hidden_layers":30,"num_attention_heads":9,"num_key_value_heads":3,"vocab_size":49152,
		"max_position_embeddings":8192,"rope_theta":100000,"tie_word_embeddings":true,"torch_dtype":"bfloat16"}`,
	"gemma-3-270m": `{"model_type":"gemma3_text","hidden_size":640,"intermediate_size":2048,"num_hidden_layers":18,"num_attention_heads":4,"num_key_value_heads":1,"head_dim":256,
		"vocab_size":262144,"max_position_embeddings":32768,"sliding_window":512,"query_pre_attn_scalar":256,"rope_theta":1000000.0,"rope_local_base_freq":10000.0,"torch_dtype":"bfloat16",
		"layer_types":["sliding_attention","sliding_attention","sliding_attention","sliding_attention","sliding_attention","full_attention","sliding_attention","sliding_attention",
		"sliding_attention","sliding_attention","sliding_attention","full_attention","sliding_attention","sliding_attention","sliding_attention","sliding_attention","sliding_attention","full_attention"]}`,
	"mixtral-8x7b": `{"model_type":"mixtral","hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,"num_attention_heads":32,"num_key_value_heads":8,"num_local_experts":8,
		"num_experts_per_tok":2,"vocab_size":32000,"max_position_embeddings":32768,"torch_dtype":"bfloat16","sliding_window":null}`,
}

func read(t *testing.T, name string) *Facts {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(published[name]), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Read(path)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(f.Close)
	return f
}

func planOf(t *testing.T, name string, o Options) *Plan {
	t.Helper()
	p, err := Make(read(t, name), o)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return p
}

// Bytes a token, as the papers and the formula of the design give them.
func TestBytesPerToken(t *testing.T) {
	for _, c := range []struct {
		name, kv string
		want     float64
		formula  string
	}{
		{"llama-3.1-8b", "f16", 131072, "32 layers x (8 heads x 128 k + 8 heads x 128 v) x 16 bit = 131,072 B"},
		{"llama-2-7b", "f16", 524288, "32 layers x (32 heads x 128 k + 32 heads x 128 v) x 16 bit = 524,288 B"},
		{"deepseek-v3", "bf16", 70272, "61 layers x (512 latent + 64 rope) x 16 bit = 70,272 B"},
		{"step-3", "bf16", 62464, "61 layers x (1 head x 256 k + 1 head x 256 v) x 16 bit = 62,464 B"},
		{"smollm2-135m", "", 23040, "30 layers x (3 heads x 64 k + 3 heads x 64 v) x 16 bit = 23,040 B"},
		{"smollm2-135m", "q8", 12240, "30 layers x (3 heads x 64 k + 3 heads x 64 v) x 8.5 bit = 12,240 B"},
		{"smollm2-135m", "k=q8,v=q4", 9360, "30 layers x (3 heads x 64 k x 8.5 bit + 3 heads x 64 v x 4.5 bit) = 9360 B"},
		{"gemma-3-270m", "f16", 18432, "18 layers x (1 head x 256 k + 1 head x 256 v) x 16 bit = 18,432 B"},
		{"deepseek-v3", "latent=q8,rope=f16", 40992, "61 layers x (512 latent x 8.5 bit + 64 rope x 16 bit) = 40,992 B"},
	} {
		p := planOf(t, c.name, Options{KV: c.kv})
		if p.KV.PerToken != c.want || p.KV.Formula != c.formula {
			t.Errorf("%s %s: %v B a token by %q, want %v by %q", c.name, c.kv, p.KV.PerToken, p.KV.Formula, c.want, c.formula)
		}
	}
}

// Parameters by formula against published counts, and against every golden model's own tensors.
func TestParameters(t *testing.T) {
	for name, want := range map[string]Parameters{
		"llama-3.1-8b": {Total: 8030261248, Active: 8030261248, Embedding: 1050673152},
		"llama-2-7b":   {Total: 6738415616, Active: 6738415616, Embedding: 262144000},
		"smollm2-135m": {Total: 134515008, Active: 134515008, Embedding: 28311552},
		"gemma-3-270m": {Total: 268098176, Active: 268098176, Embedding: 167772160},
		"mixtral-8x7b": {Total: 46702792704, Active: 12879925248, Embedding: 262144000},
	} {
		want.Source = "formula"
		if got := planOf(t, name, Options{}).Weights.Parameters; got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	p := planOf(t, "deepseek-v3", Options{}).Weights // 671B of which 37B active, with the embedding, by its paper; fp8
	if p.Total/1e9 != 671 || p.Active/1e9 != 37 || p.Bytes != p.Total {
		t.Errorf("deepseek-v3: %+v", p)
	}
	if p := planOf(t, "step-3", Options{}).Weights; p.Total/1e9 != 316 || p.Active/1e9 != 37 && p.Active/1e9 != 38 {
		t.Errorf("step-3: %+v", p)
	}
}

func goldenFolders(t *testing.T) []string {
	t.Helper()
	root, set := os.LookupEnv("LOWKEY_GOLDEN")
	if !set {
		root = filepath.Join("..", "..", "shared", "golden")
	}
	folders, _ := filepath.Glob(filepath.Join(root, "models", "*"))
	if len(folders) == 0 && set {
		t.Fatalf("LOWKEY_GOLDEN=%s holds no models", root)
	}
	if len(folders) == 0 {
		t.Skip("no golden models here")
	}
	return folders
}

// Every golden folder, mixtures and research designs included, can be planned, and where the formula claims to be whole it counts the stored tensors to the last one.
func TestEveryFamilyIsPlanned(t *testing.T) {
	exact, approximate := 0, 0
	for _, dir := range goldenFolders(t) {
		name := filepath.Base(dir)
		f, err := Read(dir)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		p, err := Make(f, Options{KV: "f32"})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			f.Close()
			continue
		}
		if want := 4 * f.Config.CacheElementsPerToken(); math.Abs(p.KV.PerToken-want) > 1e-9 {
			t.Errorf("%s: %v B a token, the description has %v", name, p.KV.PerToken, want)
		}
		if len(Patterns(f.Config)) == 0 {
			t.Errorf("%s: no layers described", name)
		}
		stored, counted := p.Weights.Total, Count(f.Config)
		if f.Config.TieEmbeddings { // some files hold the tied matrix twice
			s, err := safetensors.OpenFolder(dir)
			if err != nil {
				t.Fatal(err)
			}
			if w, ok := s.Tensor("lm_head.weight"); ok {
				stored -= int64(w.Elems())
			}
			s.Close()
		}
		switch {
		case counted.Approximate != "":
			approximate++
			if counted.Total > stored {
				t.Errorf("%s: counted %d parameters, stored are %d", name, counted.Total, stored)
			}
		case counted.Total != stored:
			t.Errorf("%s: counted %d parameters, stored are %d", name, counted.Total, stored)
		default:
			exact++
		}
		f.Close()
	}
	t.Logf("%d exact, %d approximate", exact, approximate)
}

// Sliding layers hold their window; the rest grows. Gemma 3 270M: 15 layers of 512, 3 full, 1024 B a token and layer in f16, pages of 64 rows.
func TestWindows(t *testing.T) {
	p := planOf(t, "gemma-3-270m", Options{Context: 32768})
	const page = 64 * 1024
	if want := int64(3*512+15*8) * page; p.KV.Sequence != want { // rows 32257.. are seen: 8 pages exactly
		t.Errorf("sequence of 32768: %d, want %d", p.KV.Sequence, want)
	}
	if want := int64(3*512+15*13) * page; p.KV.Peak != want { // 511 old rows and 256 new ones touch up to 13 pages
		t.Errorf("peak of 32768 by 256: %d pages of slack, want %d", (p.KV.Peak-p.KV.Sequence)/page, (want-p.KV.Sequence)/page)
	}
	if p.KV.Slack != 0 {
		t.Errorf("slack %d", p.KV.Slack)
	}
	p = planOf(t, "gemma-3-270m", Options{Context: 100})
	if want := int64(18 * 2 * page); p.KV.Sequence != want || p.KV.Slack != 18*28*1024 {
		t.Errorf("sequence of 100: %d with slack %d, want %d with %d", p.KV.Sequence, p.KV.Slack, want, 18*28*1024)
	}
}

// What Fits and Arena promise, the store keeps: so many sequences go in, one more does not.
func TestFitsIsWhatTheStoreHolds(t *testing.T) {
	for _, name := range []string{"smollm2-135m", "gemma-3-270m"} {
		for _, kv := range []string{"f16", "k=q8,v=q4"} {
			f := read(t, name)
			spec, _ := kvcache.ParseSpec(kv)
			k, err := NewCache(f.Config, f.Layouts(), spec, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []struct {
				budget int64
				tokens int
			}{{40 << 20, 300}, {256 << 20, 1000}} {
				fits := k.Fits(c.budget, c.tokens, 64)
				if got := hold(t, f, spec, c.budget, c.tokens, 64); got != fits {
					t.Errorf("%s %s: the store holds %d sequences of %d tokens in %d MiB, %d were announced", name, kv, got, c.tokens, c.budget>>20, fits)
				}
				longest := k.Longest(c.budget, 1<<20, 64)
				if n := hold(t, f, spec, c.budget, longest, 64); n != 1 {
					t.Errorf("%s %s: one sequence of %d tokens was to fit", name, kv, longest)
				}
			}
		}
	}
}

// hold fills a store with sequences until one does not fit.
func hold(t *testing.T, f *Facts, spec kvcache.Spec, budget int64, tokens, step int) int64 {
	t.Helper()
	s, err := kvcache.New(kvcache.Config{Layers: f.Layouts(), Spec: spec, Budget: budget, MaxRows: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for n := int64(0); ; n++ {
		q := s.NewSequence(fmt.Sprint(n))
		for q.Rows() < tokens {
			add := min(step, tokens-q.Rows())
			if err := q.Reserve(add); err != nil {
				return n
			}
			q.Commit(make([]int32, add))
		}
	}
}

func TestAgainst(t *testing.T) {
	p := planOf(t, "llama-3.1-8b", Options{Against: true, Memory: 40 << 30, Context: 8192})
	want := map[string][2]float64{"f32": {262144, 0.5}, "f16": {131072, 0.25}, "bf16": {131072, 0.25}, "q8": {69632, 0.1328125}, "q8h": {69632, 0.1328125}, "q4": {36864, 0.0703125},
		"q4h": {36864, 0.0703125}, "k=q8,v=q4": {53248, 0.1015625}, "q4c": {36864, 0.0703125}, "q2c": {20480, 0.0390625}}
	if len(p.Against) != len(want) {
		t.Errorf("%d rows, want %d", len(p.Against), len(want))
	}
	for _, r := range p.Against {
		if w := want[r.Type]; r.PerToken != w[0] || r.OfMHA != w[1] || r.OfF16 != w[0]/131072 {
			t.Errorf("%+v, want %v", r, w)
		}
		if r.Sequence != int64(r.PerToken)*8192 || r.Sequences == 0 {
			t.Errorf("%s: %d B at 8192 tokens, %d fit", r.Type, r.Sequence, r.Sequences)
		}
	}
	p = planOf(t, "deepseek-v3", Options{Against: true})
	for _, r := range p.Against {
		if r.Type == "bf16" && r.OfMHA != 576.0/32768 {
			t.Errorf("MLA of MHA: %v", r.OfMHA)
		}
		if strings.HasPrefix(r.Type, "latent") && r.WhyNot != "" {
			t.Errorf("%+v", r)
		}
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	os.Mkdir(filepath.Join(dir, "empty"), 0o700)
	for _, path := range []string{filepath.Join(dir, "none.gguf"), filepath.Join(dir, "empty"), write("cut.gguf", "GGUF\x03\x00\x00"), write("nonsense.json", "{]"),
		write("list.json", "[1]"), write("family.json", `{"model_type":"toaster"}`), write("minus.json", `{"model_type":"llama","hidden_size":-1}`), write("text.txt", "hello"),
		write("x.safetensors", "x"), write("zero.gguf", "")} {
		_, err := Read(path)
		var e *fault.Error
		if !errors.As(err, &e) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", path, err)
		}
	}
	f := read(t, "llama-3.1-8b")
	for _, o := range []Options{{Context: -1}, {Context: 1 << 20}, {KV: "q3"}, {KV: "latent=q8"}, {PageRows: 10}, {PageRows: 96}} {
		_, err := Make(f, o)
		var e *fault.Error
		if !errors.As(err, &e) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestPlanIsJSON(t *testing.T) {
	b, err := json.Marshal(planOf(t, "smollm2-135m", Options{Memory: 1 << 30, Against: true}))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		KV struct {
			PerToken int `json:"per_token"`
			Layers   []struct {
				PerToken int `json:"per_token"`
			}
		}
		Budget struct{ Fits []Fit }
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.KV.PerToken != 23040 || len(got.KV.Layers) != 30 || got.KV.Layers[7].PerToken != 768 || len(got.Budget.Fits) != 3 {
		t.Errorf("%s", b)
	}
}

func TestPatterns(t *testing.T) {
	got := Patterns(read(t, "gemma-3-270m").Config)
	if len(got) != 2 || got[0].Layers != "0-4, 6-10, 12-16" || got[1].Layers != "5, 11, 17" || got[0].Attention != "mqa, 4 heads over 1 x 256, window of 512, q and k normed" {
		t.Errorf("%+v", got)
	}
	got = Patterns(read(t, "deepseek-v3").Config)
	if len(got) != 2 || got[0].Layers != "0-2" || got[1].MLP != "256 experts of 2048, 8 a token, shared 2048" {
		t.Errorf("%+v", got)
	}
}

func TestNumber(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 9999: "9999", 10000: "10,000", 1234567: "1,234,567", -23040: "-23,040"} {
		if got := Number(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	if got := number(12345.5); got != "12,345.50" {
		t.Error(got)
	}
}
