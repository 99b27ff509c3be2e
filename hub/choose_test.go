package hub

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

func TestQuantChoice(t *testing.T) {
	for quant, want := range map[string]string{"": "Small.Q4_K_M.gguf", "Q4_K_S": "Small.Q4_K_S.gguf", "q8_0": "Small.Q8_0.gguf", "bf16": "Small-BF16.gguf", "Small.Q8_0.gguf": "Small.Q8_0.gguf"} {
		f := newFake(t, ggufRepo())
		if got := filepath.Base(mustPull(t, f.request(t.TempDir(), quant))); got != want {
			t.Errorf("quant %q gives %s, want %s", quant, got, want)
		}
	}
	for _, quant := range []string{"Q4_K", "Q4", "K_M", "Q5_K_M", "f16", "*"} { // Q4_K is not Q4_K_M, and the projector is no model
		f := newFake(t, ggufRepo())
		_, err := Pull(context.Background(), f.request(t.TempDir(), quant))
		wantFault(t, err, fault.BadInput, `no quantisation "`+quant+`"; there are `, "Q4_K_M (300 kB)", "Q4_K_S (200 kB)", "Q8_0 (500 kB)", "BF16 (700 kB)", "write "+testRepo+":Q4_K_M")
		if len(f.downloads()) > 0 {
			t.Errorf("quant %q fetched %q", quant, f.downloads())
		}
	}
	cases := []struct {
		files []string
		quant string
		want  string // chosen file, or a part of the error
	}{
		{[]string{"a-UD-Q4_K_XL.gguf", "a-Q4_K_XL.gguf"}, "Q4_K_XL", "a-Q4_K_XL.gguf"},
		{[]string{"a-UD-Q4_K_XL.gguf", "a-Q4_K_M.gguf"}, "Q4_K_XL", "a-UD-Q4_K_XL.gguf"},
		{[]string{"a-IQ4_XS.gguf", "a-Q4_0.gguf"}, "Q4_XS", "there are IQ4_XS, Q4_0"},
		{[]string{"a_q8_0.gguf", "b_q8_0.gguf"}, "Q8_0", "names 2 files; they are a_q8_0.gguf, b_q8_0.gguf"},
		{[]string{"a_q8_0.gguf", "b_q8_0.gguf"}, "b_q8_0.gguf", "b_q8_0.gguf"},
		{[]string{"a_q8_0.gguf", "b_q4_0.gguf"}, "", "no quantisation given and no Q4_K_M; there are q8_0, q4_0"},
		{[]string{"only.gguf"}, "", "only.gguf"},
		{[]string{"BF16/m.gguf", "Q2_K/m.gguf"}, "q2_k", "Q2_K/m.gguf"},
		{[]string{"pytorch_model.bin"}, "", "no .gguf and no .safetensors among its 1 files"},
		{nil, "", "no files at all"},
		{[]string{"config.json", "model.safetensors"}, "Q8_0", "no GGUF files; the repository has safetensors"},
		{[]string{"adapter_model.safetensors"}, "", "safetensors without a config.json"},
		{[]string{"config.json", "model.safetensors", "m-Q8_0.gguf"}, "Q8_0", "m-Q8_0.gguf"},
		{[]string{"config.json", "model-00001-of-00002.safetensors"}, "", "part 2 of 2 is missing"},
		{[]string{"a-00001-of-00000.gguf"}, "", "1 parts, named as 0"},
	}
	for _, c := range cases {
		var files []file
		for _, name := range c.files {
			files = append(files, file{name: name})
		}
		got, err := choose("o/n", files, c.quant)
		if err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q:%s: error %v, want %q", c.files, c.quant, err, c.want)
		}
		if err == nil && got.main != c.want {
			t.Errorf("%q:%s: chose %q, want %q", c.files, c.quant, got.main, c.want)
		}
	}
}

func TestNamesThatLeaveTheFolder(t *testing.T) {
	for _, name := range []string{"../../x.Q8_0.gguf", "/etc/x.Q8_0.gguf", `..\x.Q8_0.gguf`, "a/../../x.Q8_0.gguf", "a//x.Q8_0.gguf", "x\x00.gguf", "..", "./x.gguf", ""} {
		f := newFake(t, map[string][]byte{name: []byte("evil")})
		dir := t.TempDir()
		_, err := Pull(context.Background(), f.request(dir, "Q8_0"))
		wantFault(t, err, fault.BadFile, "a name stays inside the repository")
		if got := tree(t, dir); len(got) != 0 {
			t.Errorf("%q left %q", name, got)
		}
	}
	for _, hash := range []string{"../../evil", strings.Repeat("A", 64), "abc"} {
		f := newFake(t, ggufRepo())
		f.edit = func(listing map[string]any) {
			for _, s := range listing["siblings"].([]any) {
				s.(map[string]any)["lfs"] = map[string]any{"sha256": hash, "size": 4}
			}
		}
		_, err := Pull(context.Background(), f.request(t.TempDir(), "Q8_0"))
		wantFault(t, err, fault.BadFile, "a hash is SHA-1 or SHA-256")
	}
	f := newFake(t, ggufRepo())
	f.commit = "../../../../evil"
	_, err := Pull(context.Background(), f.request(t.TempDir(), "Q8_0"))
	wantFault(t, err, fault.BadFile, "a commit has 40")

	for _, repo := range []string{"", "x", "a/b/c", "../x", "a/..", "a/b--c", "a/.b", "a b/c", "a/b?c", "a/" + strings.Repeat("x", 97)} {
		req := f.request(t.TempDir(), "")
		req.Repo = repo
		_, err := Pull(context.Background(), req)
		wantFault(t, err, fault.BadInput, "write OWNER/NAME")
	}
	for _, revision := range []string{"../x", "/x", "a b", "a\\b", "x/../../y"} {
		req := f.request(t.TempDir(), "")
		req.Revision = revision
		_, err := Pull(context.Background(), req)
		wantFault(t, err, fault.BadInput, "not a branch, tag or commit")
	}
}

func TestParse(t *testing.T) {
	if repo, quant, err := Parse("o/n:Q4_K_M"); repo != "o/n" || quant != "Q4_K_M" || err != nil {
		t.Error(repo, quant, err)
	}
	if repo, quant, err := Parse("o/n"); repo != "o/n" || quant != "" || err != nil {
		t.Error(repo, quant, err)
	}
	for _, bad := range []string{"", "o", ":", "o/n:", "o:/n"} {
		_, _, err := Parse(bad)
		wantFault(t, err, fault.BadInput)
	}
}

// FuzzListing: whatever a server lists, what is chosen from it has names and hashes that are safe as paths.
func FuzzListing(f *testing.F) {
	f.Add([]byte(`{"sha":"`+commitA+`","siblings":[{"rfilename":"a-Q4_0.gguf","size":3,"blobId":"`+commitA+`","lfs":{"sha256":"`+strings.Repeat("ab", 32)+`","size":7}}]}`), "Q4_0")
	f.Add([]byte(`{"sha":"`+commitA+`","siblings":[{"rfilename":"config.json"},{"rfilename":"model-00001-of-00001.safetensors","size":-1}]}`), "")
	f.Add([]byte(`{"sha":"`+commitA+`","siblings":[{"rfilename":"../a-00001-of-00002.gguf"},{"rfilename":"b/a-00002-of-00002.gguf"}]}`), "a")
	f.Add([]byte(`{"sha":1}`), "(")
	f.Fuzz(func(t *testing.T, data []byte, quant string) {
		commit, files, err := parseListing("o/n", data)
		if err != nil {
			return
		}
		chosen, err := choose("o/n", files, quant)
		if err != nil {
			return
		}
		if len(commit) != 40 || len(chosen.files) == 0 {
			t.Fatalf("commit %q, %d files", commit, len(chosen.files))
		}
		for _, c := range chosen.files {
			if !filepath.IsLocal(filepath.FromSlash(c.name)) || strings.Contains(c.name, "..") && slices.Contains(strings.Split(c.name, "/"), "..") || strings.ContainsAny(c.hash, "/\\.") {
				t.Fatalf("chose %+v", c)
			}
		}
	})
}
