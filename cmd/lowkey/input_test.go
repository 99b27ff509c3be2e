package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// commandOn is command with a standard input.
func commandOn(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stdin")
	if err := os.WriteFile(path, []byte(stdin), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stdin
	os.Stdin = in
	defer func() { os.Stdin = was; in.Close() }()
	return command(t, args...)
}

const llama8B = `{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":4096,"intermediate_size":14336,"num_attention_heads":32,"num_key_value_heads":8,"num_hidden_layers":32,
	"vocab_size":128256,"max_position_embeddings":131072,"rms_norm_eps":1e-5,"rope_theta":500000.0,"torch_dtype":"bfloat16","tie_word_embeddings":false}`

// What people ask of the program, by argument, file and standard input; tables as JSON too.
func TestAnswers(t *testing.T) {
	dir := t.TempDir()
	path := func(name, text string) string {
		p := filepath.Join(dir, name)
		if text != "" {
			if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return p
	}
	config, prompt, ids := path("config.json", llama8B), path("prompt.txt", "package main"), path("ids.txt", "1, 2 3")
	few := func(args ...string) []string {
		return append([]string{"run", "--ctx", "256", "-n", "4", "--threads", "1"}, args...)
	}
	for _, c := range []struct {
		name, stdin string
		args        []string
		want        string // in what is printed
		isJSON      bool
	}{
		{"prompt", "", few("package main"), "", false},
		{"prompt on standard input", "package main", few(), "", false},
		{"prompt in a file, as JSON", "", few("--file", prompt, "--json"), `"kv_bytes_per_token": 1024`, true},
		{"session, begun", "", few("--session", path("s.kv", ""), "package main"), "", false},
		{"session, gone on with", "", few("--session", path("s.kv", ""), "--json", "func"), `"finish": "length"`, true},
		{"log-probabilities", "", few("--json", "--logprobs", "2", "--logit-bias", "5=-inf", "func"), `"logprob"`, true},
		{"plan of a configuration", "", []string{"plan", "-m", config, "--memory", "40g", "--against"}, "131,072 B a token", false},
		{"plan as JSON", "", []string{"plan", "-m", config, "--memory", "40g", "--json"}, `"per_token": 131072`, true},
		{"inspect", "", []string{"inspect", config}, "131,072 B a token", false},
		{"inspect as JSON", "", []string{"inspect", config, "--json"}, `"bytes_per_token": 131072`, true},
		{"logits", "", []string{"logits", "-m", "mfa", "--ids", ids, "-o", path("out.safetensors", "")}, "", false},
		{"tokenize", "hello", []string{"tokenize", "-m", "mfa", "--json"}, `"ids"`, true},
		{"designs", "", []string{"designs", "mfa-kr", "--json"}, `"mfa-kr"`, true},
	} {
		out, err := commandOn(t, c.stdin, c.args...)
		if err != nil || !strings.Contains(out, c.want) || len(out) == 0 && c.args[0] != "logits" {
			t.Errorf("%s: %v; %q is missing in\n%s", c.name, err, c.want, out)
		}
		if c.isJSON && !json.Valid([]byte(out)) {
			t.Errorf("%s: not JSON:\n%s", c.name, out)
		}
	}
	out, err := commandOn(t, "", "tokenize", "-m", "mfa", "héllo\nworld")
	if err != nil {
		t.Fatal(err)
	}
	if back, err := commandOn(t, out, "detokenize", "-m", "mfa"); err != nil || back != "héllo\nworld\n" {
		t.Errorf("there and back: %q, %v", back, err)
	}
}

// Bad input: one line that names the thing, and nothing left behind.
func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	out := filepath.Join(dir, "out.safetensors")
	for _, c := range []struct {
		stdin string
		args  []string
		want  string // in the error
	}{
		{"", []string{"run"}, "standard input is empty"},
		{" \n", []string{"run"}, "prompt: empty"},
		{"a\xff", []string{"run", "-n", "1"}, "byte 1 is 0xff"},
		{"a\xff", []string{"tokenize", "-m", "mfa"}, "byte 1 is 0xff"},
		{"", []string{"run", "--system", "\xff", "-n", "1", "x"}, "system message"},
		{"", []string{"run", "--file", filepath.Join(dir, "absent"), "x"}, "absent"},
		{"", []string{"run", "-m", filepath.Join(dir, "absent.gguf"), "x"}, "absent.gguf"},
		{"", []string{"run", "-m", write("cut.gguf", "GGUF\x03\x00\x00\x00"), "x"}, "cut.gguf"},
		{"", []string{"run", "-m", write("text.gguf", "no model at all"), "x"}, `a GGUF file starts with "GGUF"`},
		{"", []string{"run", "-m", write("config.json", llama8B), "x"}, "a configuration alone has no weights"},
		{"", []string{"run", "--session", write("text.kv", "no session"), "x"}, "text.kv"},
		{"", []string{"run", "--session", filepath.Join(dir, "absent", "s.kv"), "-n", "1", "x"}, "cannot write the session"},
		{"", []string{"run", "--ctx", "-3", "x"}, "--ctx: -3"},
		{"", []string{"run", "--ctx", "100000000", "x"}, "was trained for"},
		{"", []string{"run", "--ctx", "8", strings.Repeat("func ", 20)}, "the context is 8"},
		{"", []string{"run", "--threads", "-1", "x"}, "--threads: -1"},
		{"", []string{"run", "--memory", "1m", "x"}, "raise --memory"},
		{"", []string{"run", "--memory", "lots", "x"}, "write 512m, 3g"},
		{"", []string{"run", "-n", "-1", "x"}, "most tokens of an answer: -1"},
		{"", []string{"run", "--kv", "q3", "x"}, "known types"},
		{"", []string{"run", "--kv", "z=q8", "x"}, "streams: k v"},
		{"", []string{"run", "--weights", "q3", "x"}, "formats:"},
		{"", []string{"run", "--activations", "f16", "x"}, "int8 or f32"},
		{"", []string{"run", "--temperature", "-1", "x"}, "temperature: -1"},
		{"", []string{"run", "--top-p", "2", "--temperature", "1", "x"}, "top-p: 2"},
		{"", []string{"run", "--logit-bias", "five", "x"}, "write ID=BIAS"},
		{"", []string{"run", "--logprobs", "2", "x"}, "add --json"},
		{"", []string{"plan"}, "none is given"},
		{"", []string{"plan", "-m", filepath.Join(dir, "config.json"), "--ctx", "-1"}, "--ctx: -1"},
		{"", []string{"logits", "-m", "mfa", "--ids", write("far.txt", "1 999999"), "-o", out}, "token id: 999999"},
		{"", []string{"logits", "-m", "mfa", "--ids", write("words.txt", "one two"), "-o", out}, "is no number"},
		{"", []string{"detokenize", "-m", "mfa", "999999"}, "token id: 999999"},
		{"", []string{"template", "-m", "mfa", "hi"}, "no chat template"},
	} {
		_, err := commandOn(t, c.stdin, c.args...)
		if err == nil {
			t.Errorf("%q: accepted", c.args)
			continue
		}
		if text := err.Error(); !strings.Contains(text, c.want) || strings.Contains(text, "\n") {
			t.Errorf("%q: %q, want one line with %q", c.args, text, c.want)
		}
		if kind := new(fault.Error); !errors.As(err, &kind) {
			t.Errorf("%q: an error without a kind: %v", c.args, err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.part"))
	if _, statErr := os.Stat(out); err != nil || len(left) > 0 || statErr == nil {
		t.Errorf("left behind: %v, %v", left, out)
	}
}
