package plan

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/gguf"
)

// real opens a published file from the cache folder.
func real(t *testing.T, name string) *Facts {
	t.Helper()
	cache := os.Getenv("LOWKEY_CACHE")
	if cache == "" {
		home, _ := os.UserHomeDir()
		cache = filepath.Join(home, ".cache", "lowkey")
	}
	path := filepath.Join(cache, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not in the cache folder", name)
	}
	f, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func TestInspectSmolLM2(t *testing.T) {
	in := Inspect(real(t, "SmolLM2-135M-Instruct.Q4_1.gguf"), true)
	if !in.Runs || in.Layers != 30 || in.Hidden != 576 || in.Vocab != 49152 || in.Trained != 8192 || !in.Tied || in.Parameters.Total != 134515008 || in.Parameters.Source != "tensors" {
		t.Errorf("%+v", in)
	}
	if len(in.Tensors) != 272 || in.Types[0] != (TypeShare{"Q4_1", 210, 106168320, 66355200}) {
		t.Errorf("%d tensors, %+v", len(in.Tensors), in.Types)
	}
	if in.KV.PerToken != 23040 || !strings.HasSuffix(in.KV.Formula, "= 23,040 B") {
		t.Errorf("%+v", in.KV)
	}
	if k := in.Tokenizer; k.Vocab != 49152 || k.BOS.Text != "<|im_start|>" || k.EOS.ID != 2 || !in.Template.Present || in.Template.Bytes != 368 {
		t.Errorf("%+v %+v", in.Tokenizer, in.Template)
	}
	var b bytes.Buffer
	if err := in.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"layers 0-29: gqa, 9 heads over 3 x 64, full", "134,515,008 parameters", "blk.0.attn_q.weight", "eps 1e-05"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
}

// The weights of a plan are those of the tensors; a base model has no template.
func TestPlanGemma(t *testing.T) {
	f := real(t, "gemma-3-270m-q4_k_m.gguf")
	p, err := Make(f, Options{Memory: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if p.Weights.Total != 268098176 || p.Weights.Embedding != 262144*640 || p.Weights.File != f.TensorBytes() || p.KV.PerToken != 18432 || !p.Runs {
		t.Errorf("%+v", p)
	}
	if in := Inspect(f, false); in.Template.Present || in.Template.Note == "" || in.KV.Windows != "15 layers of 18 keep 512 tokens and at most a page of 64 more" {
		t.Errorf("%+v %+v", in.Template, in.KV)
	}
}

// A GGUF file of a family that is not known is still inspected, and refused by plan.
func TestUnknownFamily(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := gguf.Write(path, []gguf.Pair{{Key: "general.architecture", Value: "toaster"}}, []gguf.Source{{Name: "a", Type: 0, Dims: []uint64{8}, Data: make([]byte, 32)}}); err != nil {
		t.Fatal(err)
	}
	f, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := Inspect(f, true)
	if in.Runs || in.WhyNot == "" || in.Family != "toaster" || len(in.Tensors) != 1 || in.Parameters.Total != 8 {
		t.Errorf("%+v", in)
	}
	if _, err := Make(f, Options{}); !fault.Is(err, fault.Unsupported) {
		t.Error(err)
	}
}

// Every golden folder is inspected and printed, as text and as JSON.
func TestEveryFamilyIsInspected(t *testing.T) {
	for _, dir := range goldenFolders(t) {
		f, err := Read(dir)
		if err != nil {
			t.Errorf("%s: %v", dir, err)
			continue
		}
		in := Inspect(f, true)
		var b bytes.Buffer
		if err := in.Write(&b); err != nil {
			t.Fatal(err)
		}
		if in.Layers == 0 || in.KV == nil || in.Runs == (in.WhyNot != "") {
			t.Errorf("%s: %+v", dir, in)
		}
		if _, err := json.Marshal(in); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
		p, err := Make(f, Options{Memory: 1 << 30, Against: true})
		if err != nil {
			t.Errorf("%s: %v", dir, err)
		} else if err := p.Write(&b); err != nil {
			t.Error(err)
		}
		if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "%!") {
			t.Errorf("%s:\n%s", dir, &b)
		}
		f.Close()
	}
}
