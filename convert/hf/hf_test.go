package hf

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/model"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

var update = flag.Bool("update", false, "write testdata/format.txt anew; run tools/check-hf after it")

// logits runs a folder's definition.
func logits(t *testing.T, folder string, ids []int32) []float64 {
	t.Helper()
	m, err := model.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	o := tensor.NewEager32()
	return o.Values(m.Forward(o, ids, nil))
}

// The logits that PyTorch printed for these models (tools/check-hf), which it loaded from exported folders.
func TestLogitsOfTorch(t *testing.T) {
	var stored struct {
		IDs    []int32
		Models map[string]struct {
			Weights string
			Rows    map[string][]float64
		}
	}
	data, err := os.ReadFile("testdata/torch.json")
	if err == nil {
		err = json.Unmarshal(data, &stored)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range tinies {
		want, ok := stored.Models[m.name]
		if !ok || len(want.Rows) == 0 {
			t.Errorf("%s: PyTorch's logits are not stored: run tools/check-hf/check.py --write", m.name)
			continue
		}
		dir := filepath.Join(t.TempDir(), m.name)
		m.write(t, dir)
		file, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(file); hex.EncodeToString(sum[:]) != want.Weights {
			t.Errorf("%s: the weights are not those of which PyTorch's logits are stored", m.name)
		}
		got := logits(t, dir, stored.IDs)
		worst, most := 0.0, 0.0
		for row, values := range want.Rows {
			i, err := strconv.Atoi(row)
			if err != nil || len(values) != tinyVocab {
				t.Fatal(m.name, row, len(values), err)
			}
			for j, v := range values {
				worst, most = max(worst, math.Abs(v-got[i*tinyVocab+j])), max(most, math.Abs(v))
			}
		}
		if !(worst <= 1e-5*most) {
			t.Errorf("%s: differs from PyTorch by %.3g of %.3g", m.name, worst, most)
		}
	}
}

// Every form of a model means the model itself: lowkey reads both and computes the same bits. Import of either gives the weights back, under their names.
func TestFormsAndBack(t *testing.T) {
	ids := []int32{3, 9, 1, 22, 14, 7, 0, 5, 5, 11}
	for _, m := range tinies {
		dir := t.TempDir()
		source := filepath.Join(dir, "native")
		m.write(t, source)
		want := logits(t, source, ids)
		for _, form := range []string{Public, Custom} {
			out, back := filepath.Join(dir, form), filepath.Join(dir, form+"-back")
			r, err := Export(t.Context(), source, out, Options{Form: form})
			if form == Public && m.public == "" {
				if !fault.Is(err, fault.Unsupported) {
					t.Errorf("%s as public: %v", m.name, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(m.name, form, err)
			}
			if form == Public && r.Architecture != m.public {
				t.Errorf("%s is %s, want %s", m.name, r.Architecture, m.public)
			}
			if r.Form != form || r.DType != "float32" || r.Parameters == 0 {
				t.Errorf("%s: %+v", m.name, r)
			}
			if got := logits(t, out, ids); !slices.Equal(got, want) {
				t.Errorf("%s as %s: other logits", m.name, form)
			}
			if _, err := Import(t.Context(), out, back, Options{}); err != nil {
				t.Fatal(m.name, form, err)
			}
			a, b := open(t, source), open(t, back)
			if !slices.Equal(a.Names(), b.Names()) {
				t.Errorf("%s from %s: tensors %v, want %v", m.name, form, b.Names(), a.Names())
				continue
			}
			for _, name := range a.Names() {
				x, _ := a.Tensor(name)
				y, _ := b.Tensor(name)
				if !slices.Equal(x.Shape, y.Shape) || !slices.Equal(x.Data, y.Data) {
					t.Errorf("%s from %s: %s is another", m.name, form, name)
				}
			}
			if got := logits(t, back, ids); !slices.Equal(got, want) {
				t.Errorf("%s from %s: other logits", m.name, form)
			}
			checkText(t, out)
		}
	}
}

func open(t *testing.T, folder string) *safetensors.File {
	t.Helper()
	f, err := safetensors.OpenFolder(folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func readJSON(t *testing.T, path string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(path, err)
	}
	return out
}

// checkText: the tokenizer is there, and the files that transformers wants beside it were made.
func checkText(t *testing.T, folder string) {
	t.Helper()
	readJSON(t, filepath.Join(folder, "tokenizer.json"))
	c := readJSON(t, filepath.Join(folder, "tokenizer_config.json"))
	if c["bos_token"] != "b" || c["eos_token"] != "c" || c["tokenizer_class"] != "PreTrainedTokenizerFast" {
		t.Errorf("%s: %v", folder, c)
	}
	if g := readJSON(t, filepath.Join(folder, "generation_config.json")); g["eos_token_id"] != 2.0 || g["bos_token_id"] != 1.0 {
		t.Errorf("%s: %v", folder, g)
	}
}

// Every field of config.json, and every tensor with its shape, as tools/check-hf saw PyTorch load them.
func TestFormat(t *testing.T) {
	var b strings.Builder
	for _, m := range tinies {
		dir := t.TempDir()
		m.write(t, filepath.Join(dir, "native"))
		for _, form := range []string{Public, Custom} {
			out := filepath.Join(dir, form)
			if _, err := Export(t.Context(), filepath.Join(dir, "native"), out, Options{Form: form, DType: safetensors.BF16}); err != nil {
				continue // TestFormsAndBack knows which have none
			}
			text, err := os.ReadFile(filepath.Join(out, "config.json"))
			if err != nil {
				t.Fatal(err)
			}
			var line bytes.Buffer // numbers keep their text: 10000.0 is not 10000 to every reader
			if err := json.Compact(&line, text); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "# %s %s\n%s\n", m.name, form, line.Bytes())
			file := open(t, out)
			if file.Metadata["format"] != "pt" {
				t.Errorf("%s: metadata %v", m.name, file.Metadata)
			}
			var tensors []string
			for _, name := range file.Names() {
				if x, _ := file.Tensor(name); !strings.HasPrefix(name, "model.layers.1.") { // as layer 0
					tensors = append(tensors, fmt.Sprint(strings.TrimPrefix(name, "model."), " ", x.DType, " ", x.Shape))
				}
			}
			fmt.Fprintln(&b, strings.Join(tensors, "; "))
			entries, _ := os.ReadDir(out)
			var files []string
			for _, e := range entries {
				files = append(files, e.Name())
			}
			fmt.Fprintln(&b, strings.Join(files, " "))
		}
	}
	const path = "testdata/format.txt"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, stored := strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(got), len(stored)) {
		if i >= len(got) || i >= len(stored) || got[i] != stored[i] {
			t.Fatalf("%s, line %d:\n%s\nstored:\n%s", path, i+1, at(got, i), at(stored, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(no line)"
}

// All designs that run have a form, and the shapes listed here are those that a fresh model has.
func TestEveryDesign(t *testing.T) {
	var seen []string
	for _, m := range tinies {
		c, err := config.Parse(m.config(), m.name)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, c.Layers[0].Attention.Design)
		fresh, err := model.New(m.config(), 1)
		if fault.Is(err, fault.Unsupported) && strings.Contains(m.fields, "bias") {
			continue // no fresh models with biases
		}
		if err != nil {
			t.Fatal(m.name, err)
		}
		want, n := shapes(c), 0
		for _, p := range fresh.Parameters() {
			n++
			if !slices.Equal(want[p.Name], p.Shape) {
				t.Errorf("%s: %s %v, a fresh model has %v", m.name, p.Name, want[p.Name], p.Shape)
			}
		}
		if n != len(want) {
			t.Errorf("%s: %d tensors, a fresh model has %d", m.name, len(want), n)
		}
	}
	for _, d := range config.Designs() {
		if !slices.Contains(seen, d) {
			t.Errorf("design %s has no exported model here", d)
		}
	}
}

// A fresh model saved in 8-bit blocks is exported as the numbers those blocks hold.
func TestExportQ8(t *testing.T) {
	m, err := model.New([]byte(`{"model_type": "lowkey", "attention": "mfa-kr", "head_dim": 32, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 23}`), 5)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := m.Save(filepath.Join(dir, "q8"), kernel.Q8_0); err != nil {
		t.Fatal(err)
	}
	if _, err := Export(t.Context(), filepath.Join(dir, "q8"), filepath.Join(dir, "f32"), Options{DType: safetensors.F32}); err != nil {
		t.Fatal(err)
	}
	ids := []int32{1, 2, 3, 4}
	a, b := logits(t, filepath.Join(dir, "q8"), ids), logits(t, filepath.Join(dir, "f32"), ids)
	for i := range a {
		if math.Abs(a[i]-b[i]) > 0.02 { // the blocks' numbers, rounded to bfloat16 on the way
			t.Fatalf("logit %d is %v, was %v", i, b[i], a[i])
		}
	}
}

// Refusals name the thing and both sides, and leave nothing behind.
func TestRefusals(t *testing.T) {
	m := tinies[slices.IndexFunc(tinies, func(m tiny) bool { return m.name == "mfa" })]
	const up = "model.layers.1.mlp.up_proj.weight"
	change := func(f func(ts []safetensors.Tensor) []safetensors.Tensor) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), f(m.weights(t)), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	each := func(f func(x *safetensors.Tensor)) func(ts []safetensors.Tensor) []safetensors.Tensor {
		return func(ts []safetensors.Tensor) []safetensors.Tensor {
			for i := range ts {
				if ts[i].Name == up {
					f(&ts[i])
				}
			}
			return ts
		}
	}
	rewrite := func(old, now string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			text := strings.Replace(string(m.config()), old, now, 1)
			if text == string(m.config()) {
				t.Fatal("nothing changed")
			}
			if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	head := safetensors.Tensor{Name: "lm_head.weight", DType: safetensors.F32, Shape: []int{23, 24}, Data: make([]byte, 4*23*24)}
	for _, k := range []struct {
		name   string
		spoil  func(t *testing.T, dir string)
		o      Options
		kind   fault.Kind
		says   []string
		export bool // Export alone; else Import too
	}{
		{"shape", change(each(func(x *safetensors.Tensor) { x.Shape = []int{24, 20} })), Options{}, fault.Mismatch, []string{up, "[24 20]", "[20 24]"}, false},
		{"missing", change(each(func(x *safetensors.Tensor) { x.Name = "model.layers.1.mlp.other.weight" })), Options{}, fault.Mismatch, []string{"mlp.other", "no such tensor"}, false},
		{"one less", change(func(ts []safetensors.Tensor) []safetensors.Tensor {
			return slices.DeleteFunc(ts, func(x safetensors.Tensor) bool { return x.Name == up })
		}), Options{}, fault.Mismatch, []string{up, "missing", "[20 24]"}, false},
		{"a head of its own", change(func(ts []safetensors.Tensor) []safetensors.Tensor { return append(ts, head) }), Options{}, fault.Mismatch, []string{"lm_head", "tie_word_embeddings"}, false},
		{"integers", change(each(func(x *safetensors.Tensor) { x.DType = safetensors.I32 })), Options{}, fault.Unsupported, []string{up, "I32"}, false},
		{"too large for f16", change(each(func(x *safetensors.Tensor) { binary.LittleEndian.PutUint32(x.Data, math.Float32bits(1e5)) })), Options{DType: safetensors.F16}, fault.BadInput, []string{up, "65504", "bf16"}, false},
		{"more heads", rewrite(`"num_attention_heads": 4`, `"num_attention_heads": 5`), Options{}, fault.Mismatch, []string{"self_attn", "[24 48]", "[24 60]"}, false},
		{"no norm as public", rewrite(`"head_dim"`, `"q_norm": false, "head_dim"`), Options{Form: Public}, fault.Unsupported, []string{"Step3TextForCausalLM", "q_norm", "--form custom"}, true},
		{"gelu as public", rewrite(`"head_dim"`, `"hidden_act": "gelu", "head_dim"`), Options{Form: Public}, fault.Unsupported, []string{"hidden_act gelu"}, true},
		{"rope", rewrite(`"head_dim"`, `"rope_scaling": {"type": "dynamic", "alpha": 10.0}, "head_dim"`), Options{}, fault.Unsupported, []string{"rope_type", "dynamic"}, true},
		{"form", func(*testing.T, string) {}, Options{Form: "private"}, fault.BadInput, []string{"--form private"}, true},
		{"another family", rewrite(`"lowkey"`, `"olmo2"`), Options{}, fault.Unsupported, []string{"olmo2"}, false},
	} {
		t.Run(k.name, func(t *testing.T) {
			dir := t.TempDir()
			from := filepath.Join(dir, "from")
			m.write(t, from)
			k.spoil(t, from)
			run := map[string]func(ctx context.Context, from, to string, o Options) (*Result, error){"export": Export, "import": Import}
			if k.export {
				delete(run, "import")
			}
			for name, f := range run {
				_, err := f(t.Context(), from, filepath.Join(dir, "to"), k.o)
				if !fault.Is(err, k.kind) {
					t.Fatalf("%s: %v", name, err)
				}
				for _, s := range k.says {
					if !strings.Contains(err.Error(), s) {
						t.Errorf("%s says %q, want %q in it", name, err, s)
					}
				}
			}
			if entries, _ := os.ReadDir(dir); len(entries) != 1 {
				t.Errorf("left behind: %v", entries)
			}
		})
	}
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	m.write(t, from)
	if err := os.Mkdir(to, 0o755); err != nil { // even an empty folder
		t.Fatal(err)
	}
	if _, err := Export(t.Context(), from, to, Options{}); !fault.Is(err, fault.BadInput) || !strings.Contains(err.Error(), "exists") {
		t.Error(err)
	}
	if _, err := Export(t.Context(), from, filepath.Join(dir, "no", "such"), Options{}); !fault.Is(err, fault.BadInput) {
		t.Error(err)
	}
	if _, err := Export(t.Context(), filepath.Join(from, "model.safetensors"), filepath.Join(dir, "x"), Options{}); !fault.Is(err, fault.Unsupported) {
		t.Error(err)
	}
	zaya := filepath.Join(dir, "zaya") // a folder of a published family is in its public form already, whatever it holds
	if err := os.Mkdir(zaya, 0o755); err != nil {
		t.Fatal(err)
	}
	text := `{"model_type": "zaya", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 4, "vocab_size": 5, "num_experts": 1, "num_experts_per_tok": 1,
		"moe_intermediate_size": 4, "cca_time0": 2, "cca_time1": 2}`
	if err := os.WriteFile(filepath.Join(zaya, "config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{Auto, Public, Custom} {
		if _, err := Export(t.Context(), zaya, filepath.Join(dir, "x"), Options{Form: form}); !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), "family zaya") {
			t.Errorf("zaya, %s: %v", form, err)
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Import(stopped, from, filepath.Join(dir, "stopped"), Options{}); err != context.Canceled {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 3 {
		t.Errorf("left behind: %v", entries)
	}
}

// Names that training tools wrap are unwrapped.
func TestWrappedNames(t *testing.T) {
	m := tinies[0]
	dir := t.TempDir()
	m.write(t, dir)
	ts := m.weights(t)
	for i := range ts {
		ts[i].Name = "_orig_mod." + strings.Replace(ts[i].Name, "mlp.", "_fsdp_wrapped_module.mlp.", 1)
	}
	if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), ts, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(t.Context(), dir, filepath.Join(t.TempDir(), "out"), Options{}); err != nil {
		t.Error(err)
	}
}

// Rounding to 16 bits: nearest, ties to even, subnormals, carries into the exponent, infinities and NaN; and every float16 comes back as itself.
func TestRounding(t *testing.T) {
	for _, k := range []struct {
		v    float32
		b, h uint16
	}{
		{1, 0x3f80, 0x3c00}, {-2.5, 0xc020, 0xc100}, {1 + 1.0/256, 0x3f80, 0x3c04}, {1 + 3.0/256, 0x3f82, 0x3c0c}, {1 + 1.0/2048, 0x3f80, 0x3c00}, {1 + 3.0/2048, 0x3f80, 0x3c02},
		{1.9999999, 0x4000, 0x4000}, {65504, 0x4780, 0x7bff}, {65519, 0x4780, 0x7bff}, {65520, 0x4780, 0x7c00}, {0x1p-24, 0x3380, 0x0001}, {0x1p-25, 0x3300, 0x0000}, {0x1.8p-24, 0x33c0, 0x0002},
		{0x1p-14, 0x3880, 0x0400}, {0x1.ff8p-15, 0x3880, 0x03ff}, {0x1.ffep-15, 0x3880, 0x0400}, {0, 0, 0}, {float32(math.Copysign(0, -1)), 0x8000, 0x8000},
		{float32(math.Inf(-1)), 0xff80, 0xfc00}, {1e-30, 0x0da2, 0}, {3e38, 0x7f62, 0x7c00},
	} {
		if b, h := bf16(k.v), f16(k.v); b != k.b || h != k.h {
			t.Errorf("%g is %#04x and %#04x, want %#04x and %#04x", k.v, b, h, k.b, k.h)
		}
	}
	nan := float32(math.NaN())
	if b, h := bf16(nan), f16(nan); b&0x7f == 0 || h&0x3ff == 0 {
		t.Errorf("NaN is %#04x and %#04x", b, h)
	}
	for h := range 0x7c00 {
		x := safetensors.Tensor{Name: "x", DType: safetensors.F16, Shape: []int{1}, Data: binary.LittleEndian.AppendUint16(nil, uint16(h))}
		v, err := safetensors.Float32s(x)
		if err != nil {
			t.Fatal(err)
		}
		if got := f16(v[0]); int(got) != h {
			t.Fatalf("%#04x came back as %#04x", h, got)
		}
	}
}

func TestFloat(t *testing.T) {
	for v, want := range map[float]string{1: "1.0", 1e-6: "1e-06", 0.25: "0.25", 1e21: "1e+21", 500000: "500000.0"} {
		if b, err := json.Marshal(v); err != nil || string(b) != want {
			t.Errorf("%g is written %s, want %s (%v)", float64(v), b, want, err)
		}
	}
}
