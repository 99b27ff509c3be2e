package template

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// seeds gives the templates of the feature tests.
func seeds(f *testing.F) []string {
	file, err := os.Open("testdata/features.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	var out []string
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for n := 0; lines.Scan(); n++ {
		var c struct {
			Template string `json:"t"`
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			f.Fatal(err)
		}
		if c.Template != "" {
			out = append(out, c.Template)
		}
	}
	return append(out, smolTemplate)
}

// FuzzParse: any text parses or gives a *fault.Error.
func FuzzParse(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		_, err := Parse(source)
		var e *fault.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%T: %v", err, err)
		}
	})
}

// FuzzRender: any template over any JSON renders twice the same, within its limits, or gives a *fault.Error.
func FuzzRender(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s, []byte(`[{"role":"user","content":"Hi é"},{"role":"assistant","content":[{"type":"text","text":"a"}]}]`))
	}
	f.Fuzz(func(t *testing.T, source string, data []byte) {
		messages, err := FromJSON(data)
		if err != nil {
			return
		}
		chat, err := Parse(source)
		if err != nil {
			return
		}
		limits := Limits{Steps: 100_000, Output: 1 << 20, Memory: 8 << 20, Depth: 50}
		in := Input{Messages: messages, Extra: map[string]any{"n": 5, "s": "Hello World", "l": []any{3, 1, 2}, "d": map[string]any{"a": 1}}, Limits: &limits}
		in.Now = in.Now.AddDate(2000, 0, 0)
		first, err := chat.Render(in)
		var e *fault.Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%T: %v", err, err)
		}
		if len(first) > limits.Output {
			t.Fatalf("%d bytes", len(first))
		}
		second, err2 := chat.Render(in)
		if first != second || (err == nil) != (err2 == nil) {
			t.Fatalf("two renders differ: %q %v, %q %v", first, err, second, err2)
		}
	})
}

// FuzzFromJSON: whatever this package decodes, the standard library takes for valid JSON.
func FuzzFromJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,"x\u00e9\ud83d\ude00",null,true]}`, `[1e400,-0,12345678901234567890]`, `{"a":{},"a":[]}`, `"\ud800"`, `[1,]`, `{"a":1,}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := FromJSON(data); err == nil && !json.Valid(data) {
			t.Fatalf("accepted %q", data)
		}
	})
}
