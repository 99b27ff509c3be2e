package template

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sort"
	"testing"
	"time"
)

// goldenFolder is where the golden files lie: LOWKEY_GOLDEN, else shared/golden beside the module root. Absent means a skip, set but missing a failure.
func goldenFolder(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("LOWKEY_GOLDEN")
	set := folder != ""
	if !set {
		folder = filepath.Join("..", "..", "shared", "golden")
	}
	if _, err := os.Stat(folder); err != nil {
		if set {
			t.Fatalf("LOWKEY_GOLDEN: %v", err)
		}
		t.Skip("no golden files: set LOWKEY_GOLDEN")
	}
	return folder
}

// goldenTemplate is one file of the golden templates.
type goldenTemplate struct {
	Template string `json:"template"`
	BOS      string `json:"bos_token"`
	EOS      string `json:"eos_token"`
	Now      string `json:"now"`
	Cases    map[string]struct {
		Messages            json.RawMessage `json:"messages"`
		Tools               json.RawMessage `json:"tools"`
		Documents           json.RawMessage `json:"documents"`
		AddGenerationPrompt bool            `json:"add_generation_prompt"`
		Rendered            *string         `json:"rendered"`
		Error               *string         `json:"error"`
	} `json:"cases"`
}

// TestGoldenTemplates renders published chat templates and compares with what Python's Jinja2 renders, byte for byte.
func TestGoldenTemplates(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(goldenFolder(t), "templates", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("the golden folder holds no templates")
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var g goldenTemplate
		if err := json.Unmarshal(data, &g); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(g.Cases) == 0 {
			t.Errorf("%s: no cases", file)
		}
		now, err := parseClock(g.Now)
		if err != nil {
			t.Fatalf("%s: now: %v", file, err)
		}
		parsed, parseErr := Parse(g.Template)
		names := make([]string, 0, len(g.Cases))
		for name := range g.Cases {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			c := g.Cases[name]
			t.Run(filepath.Base(file)+"/"+name, func(t *testing.T) {
				if parseErr != nil {
					t.Fatalf("parse: %v", parseErr)
				}
				value := func(raw json.RawMessage) Value {
					if raw == nil {
						return nil
					}
					v, err := FromJSON(raw)
					if err != nil {
						t.Fatal(err)
					}
					return v
				}
				got, err := parsed.Render(Input{
					Messages: value(c.Messages), Tools: value(c.Tools), Documents: value(c.Documents),
					AddGenerationPrompt: c.AddGenerationPrompt, BOS: g.BOS, EOS: g.EOS, Now: now,
				})
				switch {
				case c.Rendered == nil && c.Error == nil:
					t.Fatal("the case holds neither rendered nor error")
				case c.Rendered == nil:
					if err == nil {
						t.Fatalf("rendered, expected the error %q:\n%s", *c.Error, got)
					}
					t.Logf("%v | Python: %s", err, *c.Error)
				case err != nil:
					t.Fatal(err)
				case got != *c.Rendered:
					t.Fatalf("differs at byte %d\ngot:  %q\nwant: %q", firstDifference(got, *c.Rendered), got, *c.Rendered)
				}
			})
		}
	}
}

// parseClock reads the clock of a golden file; a file without one needs none.
func parseClock(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	var err error
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02", time.RFC3339} {
		var t time.Time
		if t, err = time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, err
}

func firstDifference(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
