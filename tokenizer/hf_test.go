package tokenizer

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPipelines checks the folders of testdata: small tokenizers of every kind of pipeline, trained, and their cases encoded and
// decoded, by Hugging Face's tokenizers (see testdata/make.py).
func TestPipelines(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*", "tokenizer.json"))
	if err != nil || len(files) < 15 {
		t.Fatalf("%d pipelines: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tok, err := FromJSON(data, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkCases(t, tok, filepath.Join(filepath.Dir(file), "tokenizer_cases.json"), 60)
		})
	}
}
