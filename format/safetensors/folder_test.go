package safetensors

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

func byteTensor(name string, v ...byte) Tensor { return Tensor{name, U8, []int{len(v)}, v} }

// folder makes a folder of shards a.safetensors {x, extra} and b.safetensors {y}, with the given index text.
func folder(t *testing.T, index string) string {
	t.Helper()
	dir := t.TempDir()
	for name, tensors := range map[string][]Tensor{
		"a.safetensors": {byteTensor("x", 1, 2), byteTensor("extra", 9)},
		"b.safetensors": {byteTensor("y", 3)},
	} {
		if err := Write(filepath.Join(dir, name), tensors, map[string]string{"format": "pt", "from": name}); err != nil {
			t.Fatal(err)
		}
	}
	if index != "" {
		if err := os.WriteFile(filepath.Join(dir, indexName), []byte(index), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestShards(t *testing.T) {
	dir := folder(t, `{"metadata":{"total_size":3},"weight_map":{"y":"b.safetensors","x":"a.safetensors"}}`)
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !reflect.DeepEqual(f.Names(), []string{"x", "y"}) {
		t.Errorf("names %v", f.Names())
	}
	if want := map[string]string{"format": "pt", "from": "a.safetensors"}; !reflect.DeepEqual(f.Metadata, want) {
		t.Errorf("metadata %v", f.Metadata)
	}
	for _, want := range []Tensor{byteTensor("x", 1, 2), byteTensor("y", 3)} {
		got, _ := f.Tensor(want.Name)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
		f.Release(got)
	}
	// A single file is preferred, as other loaders do.
	if err := Write(filepath.Join(dir, singleName), []Tensor{byteTensor("z", 1)}, nil); err != nil {
		t.Fatal(err)
	}
	single, err := OpenFolder(dir)
	if err != nil || !reflect.DeepEqual(single.Names(), []string{"z"}) {
		t.Fatalf("%v", err)
	}
	single.Close()
}

func TestHostileIndex(t *testing.T) {
	absolute := filepath.ToSlash(filepath.Join(t.TempDir(), "a.safetensors"))
	for name, c := range map[string]struct {
		index string
		kind  fault.Kind
	}{
		"not JSON":          {`{`, fault.BadFile},
		"a list":            {`[]`, fault.BadFile},
		"no map":            {`{"metadata":{}}`, fault.BadFile},
		"map twice":         {`{"weight_map":{},"weight_map":{}}`, fault.BadFile},
		"file a number":     {`{"weight_map":{"x":1}}`, fault.BadFile},
		"tensor twice":      {`{"weight_map":{"x":"a.safetensors","x":"b.safetensors"}}`, fault.BadFile},
		"parent folder":     {`{"weight_map":{"x":"../a.safetensors"}}`, fault.BadFile},
		"parent alone":      {`{"weight_map":{"x":".."}}`, fault.BadFile},
		"inner parent":      {`{"weight_map":{"x":"y/../../a.safetensors"}}`, fault.BadFile},
		"sub folder":        {`{"weight_map":{"x":"sub/a.safetensors"}}`, fault.BadFile},
		"backslash":         {`{"weight_map":{"x":"..\\a.safetensors"}}`, fault.BadFile},
		"drive":             {`{"weight_map":{"x":"c:a.safetensors"}}`, fault.BadFile},
		"absolute":          {`{"weight_map":{"x":"` + absolute + `"}}`, fault.BadFile},
		"empty file name":   {`{"weight_map":{"x":""}}`, fault.BadFile},
		"zero byte":         {`{"weight_map":{"x":"a\u0000"}}`, fault.BadFile},
		"in another shard":  {`{"weight_map":{"x":"a.safetensors","y":"a.safetensors"}}`, fault.BadFile},
		"absent shard":      {`{"weight_map":{"x":"c.safetensors"}}`, fault.BadInput},
		"the index itself":  {`{"weight_map":{"x":"model.safetensors.index.json"}}`, fault.BadFile},
		"control character": {`{"weight_map":{"\u001b[2J":"a.safetensors"}}`, fault.BadFile},
	} {
		if f, err := OpenFolder(folder(t, c.index)); !fault.Is(err, c.kind) || f != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenFolder(folder(t, "")); !fault.Is(err, fault.BadInput) || !strings.Contains(err.Error(), indexName) {
		t.Errorf("no model: %v", err)
	}
}

// golden is the folder of reference files, or a skip.
func golden(t *testing.T) string {
	t.Helper()
	if dir, set := os.LookupEnv("LOWKEY_GOLDEN"); set {
		if _, err := os.Stat(dir); err != nil {
			t.Fatalf("LOWKEY_GOLDEN is set but missing: %v", err)
		}
		return dir
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(filepath.Dir(root), "shared", "golden")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no reference files: set LOWKEY_GOLDEN")
	}
	return dir
}

// Every reference file opens, its numbers widen, and writing it again gives a file that reads the same.
func TestGoldenFiles(t *testing.T) {
	root := golden(t)
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(root, path)
		switch {
		case d.Name() == indexName:
			t.Run(filepath.ToSlash(filepath.Dir(name)), func(t *testing.T) {
				f, err := OpenFolder(filepath.Dir(path))
				if err != nil {
					t.Fatal(err)
				}
				checkGolden(t, f)
			})
		case strings.HasSuffix(d.Name(), ".safetensors"):
			files++
			t.Run(filepath.ToSlash(name), func(t *testing.T) {
				f, err := Open(path)
				if err != nil {
					t.Fatal(err)
				}
				checkGolden(t, f)
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Fatal("no .safetensors file found")
	}
	t.Logf("%d files", files)
}

func checkGolden(t *testing.T, f *File) {
	defer f.Close()
	if len(f.Names()) == 0 {
		t.Error("no tensors")
	}
	var all []Tensor
	for _, name := range f.Names() {
		x, _ := f.Tensor(name)
		_, floats := Float32s(x)
		_, ints := Int64s(x)
		if floats != nil && ints != nil {
			t.Errorf("%s widens to neither: %v, %v", name, floats, ints)
		}
		all = append(all, x)
	}
	var out bytes.Buffer
	if err := Encode(&out, all, f.Metadata); err != nil {
		t.Fatal(err)
	}
	again, err := Parse(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range all {
		if y, _ := again.Tensor(x.Name); !reflect.DeepEqual(x, y) {
			t.Errorf("%s changed", x.Name)
		}
	}
}
