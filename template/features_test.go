package template

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"
	"time"
)

// TestFeatures renders one-line templates, feature by feature, and compares with what Python's Jinja2 renders: testdata/make_features.py wrote the expected text.
func TestFeatures(t *testing.T) {
	file, err := os.Open("testdata/features.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	var first struct {
		Variables json.RawMessage `json:"variables"`
	}
	if !lines.Scan() {
		t.Fatal("the file is empty")
	}
	if err := json.Unmarshal(lines.Bytes(), &first); err != nil {
		t.Fatal(err)
	}
	variables := extraFrom(t, first.Variables)
	cases := 0
	for lines.Scan() {
		var c struct {
			Template string  `json:"t"`
			Want     *string `json:"want"`
			Error    *string `json:"error"`
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		if (c.Want == nil) == (c.Error == nil) {
			t.Fatalf("%q: needs either want or error", c.Template)
		}
		cases++
		got, err := renderText(c.Template, Input{Extra: variables, Now: time.Date(2026, 7, 9, 12, 34, 56, 0, time.UTC)})
		switch {
		case c.Want == nil && err == nil:
			t.Errorf("%q\nrendered %q\nPython fails: %s", c.Template, got, *c.Error)
		case c.Want != nil && err != nil:
			t.Errorf("%q\nfails: %v\nPython renders %q", c.Template, err, *c.Want)
		case c.Want != nil && got != *c.Want:
			t.Errorf("%q\ngot  %q\nwant %q", c.Template, got, *c.Want)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if cases < 700 {
		t.Fatalf("only %d cases", cases)
	}
}

// extraFrom decodes a JSON object into variables.
func extraFrom(t *testing.T, data []byte) map[string]any {
	t.Helper()
	v, err := FromJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	d, ok := v.(*Dict)
	if !ok {
		t.Fatal("the variables are no object")
	}
	out := map[string]any{}
	for i := range d.Len() {
		name := d.Key(i).(string)
		out[name], _ = d.Get(name)
	}
	return out
}

func renderText(source string, in Input) (string, error) {
	t, err := Parse(source)
	if err != nil {
		return "", err
	}
	return t.Render(in)
}
