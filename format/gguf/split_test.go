package gguf

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// writeParts writes files NAME-0000i-of-0000n.gguf, one a list of tensors; the first holds the metadata.
func writeParts(t *testing.T, extra []Pair, parts ...[]Source) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for i, tensors := range parts {
		pairs := []Pair{{"split.no", uint16(i)}, {"split.count", uint16(len(parts))}}
		if i == 0 {
			pairs = append(pairs, extra...)
		}
		if err := Write(part(dir, i+1, len(parts)), pairs, tensors); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func part(dir string, i, n int) string {
	return filepath.Join(dir, fmt.Sprintf("model-%05d-of-%05d.gguf", i, n))
}

func TestSplit(t *testing.T) {
	all := someTensors()
	dir := writeParts(t, []Pair{{"general.name", "parts"}, {"split.tensors.count", int32(len(all))}}, nil, all[:2], all[2:]) // metadata alone in the first, as the splitter can do
	f, err := OpenSplit(part(dir, 1, 3))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	whole, err := Parse(encode(t, nil, someTensors()))
	if err != nil {
		t.Fatal(err)
	}
	if name, _ := f.String("general.name"); name != "parts" || len(f.Tensors) != len(all) {
		t.Fatalf("%q with %d tensors", name, len(f.Tensors))
	}
	for _, want := range whole.Tensors {
		got, ok := f.Tensor(want.Name)
		if !ok || got.Size != want.Size || !bytes.Equal(f.Data(got), whole.Data(want)) {
			t.Errorf("%s: %+v, want %+v", want.Name, got, want)
		}
		f.Release(got)
		if !bytes.Equal(f.Data(got), whole.Data(want)) {
			t.Errorf("%s: other bytes after Release", want.Name)
		}
	}
	size := int64(0)
	for i := 1; i <= 3; i++ {
		st, err := os.Stat(part(dir, i, 3))
		if err != nil {
			t.Fatal(err)
		}
		size += st.Size()
	}
	if f.Bytes() != size {
		t.Errorf("%d bytes, the files have %d", f.Bytes(), size)
	}
	one, err := OpenSplit(write(t, filepath.Join(dir, "one.gguf"), nil, all)) // not split
	if err != nil {
		t.Fatal(err)
	}
	one.Close()
}

func write(t *testing.T, path string, pairs []Pair, tensors []Source) string {
	t.Helper()
	if err := Write(path, pairs, tensors); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSplitRefused(t *testing.T) {
	all := someTensors()
	for name, c := range map[string]struct {
		spoil func(dir string)
		open  int
		kind  fault.Kind
		says  string
	}{
		"missing":    {func(dir string) { os.Remove(part(dir, 2, 3)) }, 1, fault.BadFile, "put DIR/model-00002-of-00003.gguf beside it"},
		"not first":  {func(string) {}, 2, fault.BadInput, "give DIR/model-00001-of-00003.gguf"},
		"other name": {func(dir string) { os.Rename(part(dir, 1, 3), part(dir, 1, 4)) }, 0, fault.BadFile, "name them ...-00001-of-00003.gguf to ...-00003-of-00003.gguf"},
		"other split": {func(dir string) {
			write(t, part(dir, 3, 3), []Pair{{"split.no", uint16(2)}, {"split.count", uint16(4)}}, all[2:])
		}, 1, fault.BadFile, "says that it is part 3 of 4"},
		"not split": {func(dir string) { write(t, part(dir, 3, 3), nil, all[2:]) }, 1, fault.BadFile, "says that it is part 1 of 1"},
		"twice": {func(dir string) {
			write(t, part(dir, 3, 3), []Pair{{"split.no", uint16(2)}, {"split.count", uint16(3)}}, all[1:])
		}, 1, fault.BadFile, "it is in an earlier part too"},
		"too few": {func(dir string) {
			write(t, part(dir, 3, 3), []Pair{{"split.no", uint16(2)}, {"split.count", uint16(3)}}, all[3:])
		}, 1, fault.BadFile, "split.tensors.count is 5"},
		"damaged": {func(dir string) { os.WriteFile(part(dir, 2, 3), []byte("GGUF"), 0o600) }, 1, fault.BadFile, "model-00002-of-00003.gguf"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeParts(t, []Pair{{"split.tensors.count", int32(len(all))}}, all[:1], all[1:2], all[2:])
			c.spoil(dir)
			path := part(dir, c.open, 3)
			if c.open == 0 {
				path = part(dir, 1, 4)
			}
			f, err := OpenSplit(path)
			if err == nil {
				f.Close()
			}
			if want := strings.ReplaceAll(c.says, "DIR", dir); !fault.Is(err, c.kind) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		})
	}
}
