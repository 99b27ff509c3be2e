// Package docs holds documents. Its tests keep those true that contain code.
package docs

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The guide's example is a whole design: with its files added to the module, the commands that it names pass.
func TestAddingADesign(t *testing.T) {
	text, err := os.ReadFile("adding-a-design.md")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir, files := t.TempDir(), map[string]string{}
	for i, m := range regexp.MustCompile("(?s)```go (\\S+)\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat(filepath.Join(root, m[1])); err == nil {
			t.Fatalf("%s exists: the example must be a design of its own", m[1])
		}
		file := filepath.Join(dir, string(rune('a'+i))+".go")
		if err := os.WriteFile(file, []byte(m[2]), 0o600); err != nil {
			t.Fatal(err)
		}
		files[filepath.Join(root, m[1])] = file
	}
	if len(files) < 5 {
		t.Fatalf("%d files in the guide", len(files))
	}
	overlay, err := json.Marshal(map[string]any{"Replace": files})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		c := exec.Command("go", args...)
		c.Dir = root
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	tests := regexp.MustCompile(`(?m)^    go test (\./\w+) -run '(.*)'$`).FindAllStringSubmatch(string(text), -1)
	if len(tests) != 3 {
		t.Fatalf("%d test commands in the guide", len(tests))
	}
	for _, m := range tests {
		out := run("test", "-overlay", list, "-v", "-run", m[2], m[1])
		for _, name := range strings.Split(m[2], "|") {
			if !strings.Contains(out, "--- PASS: "+strings.TrimSuffix(name, "$")) {
				t.Errorf("%s: %s did not run\n%s", m[1], name, out)
			}
		}
	}
	program, trained := filepath.Join(dir, "lowkey"), filepath.Join(dir, "run")
	run("build", "-overlay", list, "-o", program, "./cmd/lowkey")
	lowkey := func(line string, words ...string) {
		t.Helper()
		c := exec.Command(program, strings.Fields(line)...)
		c.Dir = root
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("lowkey %s: %v\n%s", line, err, out)
		}
		for _, w := range words {
			if !strings.Contains(string(out), w) {
				t.Errorf("lowkey %s does not print %q:\n%s", line, w, out)
			}
		}
	}
	lowkey("designs tied", "a token leaves n_kv d_h numbers", "o_h = softmax(s q_h u_g(h)")
	lowkey("train --design tied --data docs --hidden 32 --layers 2 --vocab 300 --seq 32 --batch 2 --steps 2 --threads 1 -o " + trained)
	lowkey("run --raw -n 3 --threads 1 -m "+filepath.Join(trained, "model")+" design", "KV")
}
