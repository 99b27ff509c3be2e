package gguf

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// cached finds a published model in the cache folder, or skips.
func cached(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("LOWKEY_CACHE")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Skipf("no home folder: %v", err)
		}
		dir = filepath.Join(home, ".cache", "lowkey")
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not in the cache folder", name)
	}
	return path
}

func TestRealFiles(t *testing.T) {
	for _, c := range []struct {
		file          string
		tensors, keys int
		arch          string
		vocab         int
	}{
		{"SmolLM2-135M-Instruct.Q4_1.gguf", 272, 33, "llama", 49152},
		{"gemma-3-270m-q4_k_m.gguf", 236, 33, "gemma3", 262144},
	} {
		t.Run(c.file, func(t *testing.T) {
			f, err := Open(cached(t, c.file))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if len(f.Tensors) != c.tensors || len(f.Keys) != c.keys {
				t.Errorf("%d tensors and %d keys, want %d and %d", len(f.Tensors), len(f.Keys), c.tensors, c.keys)
			}
			if arch, _ := f.String("general.architecture"); arch != c.arch {
				t.Errorf("architecture %q, want %q", arch, c.arch)
			}
			if n := len(f.Strings("tokenizer.ggml.tokens")); n != c.vocab {
				t.Errorf("%d tokens, want %d", n, c.vocab)
			}
			types := map[Type]int{}
			end := uint64(0)
			for _, x := range f.Tensors {
				types[x.Type]++
				if uint64(len(f.Data(x))) != x.Size || x.Size == 0 {
					t.Errorf("%s: %d bytes of data, want %d", x.Name, len(f.Data(x)), x.Size)
				}
				end = max(end, x.Offset+x.Size)
			}
			// Published files end with their last tensor, up to padding: so the sizes of all types seen are right.
			if rest := uint64(len(f.data)) - f.DataStart - end; rest >= f.Alignment {
				t.Errorf("%d bytes after the last tensor", rest)
			}
			checkRewrite(t, f)
			t.Logf("version %d, data at %d, types %v", f.Version, f.DataStart, types)
		})
	}
}

// checkRewrite writes the file again: the published bytes, which another program wrote, must come out.
func checkRewrite(t *testing.T, f *File) {
	t.Helper()
	var pairs []Pair
	for _, key := range f.Keys {
		pairs = append(pairs, Pair{key, f.Value(key)})
	}
	var tensors []Source
	for _, x := range f.Tensors {
		tensors = append(tensors, Source{Name: x.Name, Type: x.Type, Dims: x.Dims, Data: f.Data(x)})
	}
	w := &comparer{want: f.data}
	if err := Encode(w, pairs, tensors); err != nil {
		t.Fatal(err)
	}
	if len(w.want) != 0 {
		t.Errorf("%d bytes were not written", len(w.want))
	}
}

// comparer is a writer that fails where the bytes differ from want.
type comparer struct{ want []byte }

func (c *comparer) Write(b []byte) (int, error) {
	if len(b) > len(c.want) || !bytes.Equal(b, c.want[:len(b)]) {
		return 0, fmt.Errorf("differs within %d bytes, %d before the end", len(b), len(c.want))
	}
	c.want = c.want[len(b):]
	return len(b), nil
}
