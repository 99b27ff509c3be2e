package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/format/safetensors"
)

// command runs a command line and gives what it printed on standard output.
func command(t *testing.T, line ...string) (string, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stdout
	os.Stdout = w
	printed := make(chan string)
	go func() {
		b, _ := io.ReadAll(r)
		printed <- string(b)
	}()
	c := root()
	c.SetArgs(line)
	err = c.Execute()
	os.Stdout = was
	w.Close()
	return <-printed, err
}

// The program's main command ends with the function that the prompt began, or after 256 tokens of one that does not end.
func TestMainCommand(t *testing.T) {
	out, err := command(t, "run", "--json", "--threads", "1", "func reverse(s []string) {")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Text, Finish string
		Tokens       int `json:"generated_tokens"`
		Bytes        int `json:"kv_bytes_per_token"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if closed := strings.HasSuffix(strings.TrimSpace(got.Text), "}"); got.Finish == "stop" && !closed || got.Finish == "length" && got.Tokens != 256 || got.Bytes != 1024 {
		t.Errorf("%+v", got)
	}
}

// A new user's way through the program, on tiny models: every command finds what the one before left.
func TestCommands(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	os.Mkdir("text", 0o777)
	var all strings.Builder
	for i := range 40 {
		var b strings.Builder
		for j := range 60 {
			fmt.Fprintf(&b, "func f%d(x int) int { return x + %d }\n", (i*7+j)%31, j%10)
		}
		os.WriteFile(filepath.Join("text", fmt.Sprintf("%02d.go", i)), []byte(b.String()), 0o666)
		all.WriteString(b.String())
	}
	os.WriteFile("all.txt", []byte(all.String()[:4000]), 0o666)
	os.Mkdir("empty", 0o777)
	os.Mkdir("stale", 0o777)
	os.WriteFile(filepath.Join("stale", "tokenizer.json"), []byte("{}"), 0o666) // of an attempt that failed: no run is there
	if err := safetensors.Write("bank", []safetensors.Tensor{{Name: "layers.0", DType: safetensors.F32, Shape: []int{3, 32}, Data: make([]byte, 3*32*4)}}, nil); err != nil {
		t.Fatal(err)
	}
	tiny := "--data text --vocab 280 --hidden 32 --layers 1 --head-dim 8 --seq 32 --batch 2 --threads 1 "
	for _, step := range []struct{ line, prints, fails string }{
		{"eval -m mfa --text all.txt --limit 40 --kv q8h --threads 1", "q8h", ""},
		{"eval -m mfa --text all.txt --limit 40 --against mfa-kr --json --threads 1", "mean_kl", ""},
		{"eval -m mfa-kr --passkey --form go --ctx 160 --n 1 --depths 0.5 --threads 1", "160", ""},
		{"tokenizer train --data text --vocab 280 -o own.json", "own.json", ""},
		{"train --design mfa " + tiny + "--tokenizer own.json --steps 12 --valid-every 6 -o one", "", ""},
		{"train --resume one --threads 1", "", ""},
		{"train --design mqa " + tiny + "--batch 200 --json -o stale", `"step":1,`, ""}, // the text once
		{"train --design mqa " + tiny + "--lr -1 -o four", "", "learning rate"},
		{"train --resume one --threads 1 --data ./text", "", ""}, // another way to the same text
		{"train --resume one --threads 1 --data all.txt", "", "manifest"},
		{"train --resume one --hidden 64", "", "--hidden 64"},
		{"train --start one/model --data text --seq 32 --batch 2 --steps 2 --threads 1 -o two", "", ""},
		{"train --start one/model --tokenizer big.json --data text --seq 32 --batch 2 --steps 2 -o three", "", "big.json"},
		{"train --design mha --data empty --steps 2 -o four", "", "no text"},
		{"train --design mha " + tiny + "--head-dim 7 --steps 2 -o four", "", "--head-dim"},
		{"train plot one two -o both.svg", "", ""},
		{"eval -m two/model --text all.txt --against one/model --threads 1", "mean KL", ""},
		{"compare --designs mha,mfa --steps 3 --depths 0 -o table " + tiny, "Pareto", ""},
		{"compare --queue table --threads 1 --json", "validation_loss", ""},
		{"export --hf -m two/model -o hf", "public", ""},
		{"export --hf -m mfa -o carried", "Step3Text", ""},
		{"import hf -o back", "back", ""},
		{"designs", "clla-quant", ""},
		{"designs mtla", "key and value, for 2 tokens", ""},
		{"designs eg-mla", "gate_embed_dim=16", ""},
		{"designs lckv:4", "5 of 12 layers own a cache", ""},
		{"designs lckv:99", "", "ways of sharing"},
		{"train --design mka-fast --field memory_levels=3 " + tiny + "--steps 2 -o mka", "", ""},
		{"run -m mka/model -n 2 --raw --threads 1 --memory-bank bank --session talk|func", "", ""},
		{"run -m mka/model -n 2 --raw --threads 1 --memory-bank bank --session talk|func", "", ""},
		{"run -m mka/model -n 2 --raw --threads 1 --session talk|func", "", "--memory-bank of that session"},
		{"run -m one/model -n 2 --raw --threads 1 --memory-bank bank|func", "", "memory_levels 3"},
		{"run -m back -n 3 --threads 1 --json|func f1(", "kv_bytes_per_token", ""},
	} {
		flags, prompt, has := strings.Cut(step.line, "|")
		line := strings.Fields(flags)
		if has {
			line = append(line, prompt)
		}
		out, err := command(t, line...)
		switch {
		case step.fails == "" && err != nil:
			t.Fatalf("%s: %v", step.line, err)
		case step.fails != "" && (err == nil || !strings.Contains(err.Error(), step.fails)):
			t.Errorf("%s: error %v does not say %q", step.line, err, step.fails)
		case !strings.Contains(out, step.prints):
			t.Errorf("%s: prints no %q:\n%s", step.line, step.prints, out)
		}
	}
}

// A command line that cannot be read is one line with a way out, as any other error.
func TestUsage(t *testing.T) {
	for line, want := range map[string]string{
		"rum":                 `command line: unknown command "rum" for "lowkey"; did you mean run? lowkey --help shows how`,
		"pull":                `command line: accepts 1 arg(s), received 0; lowkey pull --help shows how`,
		"run --top-k many":    `command line: invalid argument "many" for "--top-k" flag; lowkey run --help shows how`,
		"tokenize":            `command line: required flag(s) "model" not set; lowkey tokenize --help shows how`,
		"tokenizer train --x": `command line: unknown flag: --x; lowkey tokenizer train --help shows how`,
	} {
		c := root()
		c.SetArgs(strings.Fields(line))
		c, err := c.ExecuteC()
		if got := usage(c, err).Error(); got != want {
			t.Errorf("lowkey %s: %s\nwant %s", line, got, want)
		}
	}
}
