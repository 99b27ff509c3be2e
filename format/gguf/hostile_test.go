package gguf

import (
	"bytes"
	"encoding/binary"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// raw builds headers by hand, so that lies can be told.
type raw struct{ bytes.Buffer }

func header(tensors, pairs uint64) *raw {
	r := &raw{}
	r.WriteString("GGUF")
	return r.u32(3).u64(tensors).u64(pairs)
}

func (r *raw) u32(v uint32) *raw {
	r.Write(binary.LittleEndian.AppendUint32(nil, v))
	return r
}

func (r *raw) u64(v uint64) *raw {
	r.Write(binary.LittleEndian.AppendUint64(nil, v))
	return r
}

func (r *raw) str(s string) *raw {
	r.u64(uint64(len(s))).WriteString(s)
	return r
}

func (r *raw) tensor(name string, typ Type, offset uint64, dims ...uint64) *raw {
	r.str(name).u32(uint32(len(dims)))
	for _, d := range dims {
		r.u64(d)
	}
	return r.u32(uint32(typ)).u64(offset)
}

// data pads to 32 and adds n bytes.
func (r *raw) data(n int) []byte {
	r.Write(make([]byte, -r.Len()&31+n))
	return r.Bytes()
}

func hostile() map[string][]byte {
	const huge = math.MaxUint64
	pair := func() *raw { return header(0, 1) }
	return map[string][]byte{
		"empty":                  {},
		"magic cut":              []byte("GGU"),
		"other magic":            []byte("GGML\x03\x00\x00\x00aaaaaaaaaaaaaaaaaaaaaaaa"),
		"counts absent":          []byte("GGUF\x03\x00\x00\x00"),
		"pairs over the file":    header(0, huge).data(64),
		"pairs a little over":    header(0, 6).data(64),
		"tensors over the file":  header(huge, 0).data(64),
		"tensors a little over":  header(4, 0).data(64),
		"key over the end":       pair().u64(1000).data(64),
		"key length 2^64-1":      pair().u64(huge).data(64),
		"key empty":              pair().str("").u32(4).u32(1).data(64),
		"key of controls":        pair().str("a\x1b[2J").u32(4).u32(1).data(64),
		"key of bad UTF-8":       pair().str("a\xff").u32(4).u32(1).data(64),
		"key too long":           pair().str(strings.Repeat("a", maxName)).u32(4).u32(1).data(64),
		"key twice":              header(0, 2).str("a").u32(4).u32(1).str("a").u32(4).u32(2).data(64),
		"value type 13":          pair().str("a").u32(13).data(64),
		"bool 2":                 pair().str("a").u32(uint32(Bool)).u32(2).data(64),
		"string over the end":    pair().str("a").u32(uint32(String)).u64(65).data(0)[:33+8],
		"string 2^64-1":          pair().str("a").u32(uint32(String)).u64(huge).data(64),
		"array type 13":          pair().str("a").u32(uint32(Array)).u32(13).u64(1).data(64),
		"array 2^64-1 bytes":     pair().str("a").u32(uint32(Array)).u32(uint32(Uint8)).u64(huge).data(64),
		"array size overflows":   pair().str("a").u32(uint32(Array)).u32(uint32(Uint64)).u64(1 << 61).data(64),
		"array of strings huge":  pair().str("a").u32(uint32(Array)).u32(uint32(String)).u64(huge / 8).data(64),
		"array of strings over":  pair().str("a").u32(uint32(Array)).u32(uint32(String)).u64(2).str("x").u64(99).data(64),
		"array of bools 2":       pair().str("a").u32(uint32(Array)).u32(uint32(Bool)).u64(4).u32(0x01020100).data(64),
		"alignment 0":            pair().str("general.alignment").u32(4).u32(0).data(64),
		"alignment 48":           pair().str("general.alignment").u32(4).u32(48).data(64),
		"alignment 4":            pair().str("general.alignment").u32(4).u32(4).data(64),
		"alignment 2^31":         pair().str("general.alignment").u32(4).u32(1 << 31).data(64),
		"alignment a string":     pair().str("general.alignment").u32(8).str("32").data(64),
		"alignment negative":     pair().str("general.alignment").u32(5).u32(0xffffffe0).data(64),
		"five dimensions":        header(1, 0).tensor("t", F32, 0, 1, 1, 1, 1, 1).data(64),
		"2^32-1 dimensions":      header(1, 0).str("t").u32(math.MaxUint32).data(64),
		"dimensions overflow":    header(1, 0).tensor("t", F32, 0, 1<<32, 1<<32).data(64),
		"overflow to nothing":    header(1, 0).tensor("t", I8, 0, 1<<32, 1<<32, 1<<32).data(64),
		"bytes overflow":         header(1, 0).tensor("t", F64, 0, 1<<62).data(64),
		"negative dimension":     header(1, 0).tensor("t", I8, 0, 1<<63).data(64),
		"overflow, unknown type": header(1, 0).tensor("t", 99, 0, 1<<40, 1<<40).data(64),
		"half a block":           header(1, 0).tensor("t", Q4_K, 0, 128, 2).data(512),
		"tensor twice":           header(2, 0).tensor("t", I8, 0, 8).tensor("t", I8, 32, 8).data(64),
		"tensor name empty":      header(1, 0).tensor("", I8, 0, 8).data(64),
		"offset not aligned":     header(1, 0).tensor("t", I8, 8, 8).data(64),
		"offset past the end":    header(1, 0).tensor("t", I8, 96, 8).data(64),
		"offset near 2^64":       header(1, 0).tensor("t", I8, huge-31, 64).data(64),
		"unknown type past end":  header(1, 0).tensor("t", 99, 96, 8).data(64),
		"one byte short":         header(1, 0).tensor("t", I8, 32, 33).data(64),
		"no data at all":         header(1, 0).tensor("t", I8, 0, 1).Bytes(),
		"overlap":                header(2, 0).tensor("t", I8, 0, 33).tensor("u", I8, 32, 8).data(64),
		"same bytes":             header(2, 0).tensor("t", I8, 0, 8).tensor("u", I8, 0, 8).data(64),
	}
}

func TestHostile(t *testing.T) {
	for name, data := range hostile() {
		if f, err := Parse(data); !fault.Is(err, fault.BadFile) || f != nil {
			t.Errorf("%s: error %v", name, err)
		} else if len(err.Error()) > 600 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		} else {
			t.Logf("%-24s %v", name, err)
		}
	}
}

func TestUnsupported(t *testing.T) {
	version := func(b ...byte) []byte { return append(append([]byte("GGUF"), b...), make([]byte, 16)...) }
	for name, c := range map[string]struct {
		data []byte
		says string
	}{
		"version 1":     {version(1, 0, 0, 0), "GGUF version 1"},
		"version 4":     {version(4, 0, 0, 0), "GGUF version 4"},
		"big endian":    {version(0, 0, 0, 3), "big-endian GGUF version 3"},
		"nested arrays": {header(0, 1).str("a").u32(9).u32(9).u64(1).u32(9).u64(1).data(64), "array of arrays"},
	} {
		if _, err := Parse(c.data); !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file without tensors may end with its metadata; any other cut is an error.
func TestTruncatedAnywhere(t *testing.T) {
	data := encode(t, everyValue, someTensors())
	f, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	last, _ := f.Tensor("filled")
	end := int(f.DataStart + last.Offset + last.Size)
	for n := range end {
		if _, err := Parse(data[:n]); !fault.Is(err, fault.BadFile) {
			t.Fatalf("cut at %d of %d: %v", n, end, err)
		}
	}
	if _, err := Parse(data[:end]); err != nil {
		t.Fatal("without the last padding:", err)
	}
	if _, err := Parse(header(0, 0).Bytes()); err != nil {
		t.Fatal("nothing inside:", err)
	}
}

// A count that the file could hold byte by byte must not make the parser allocate beyond a small multiple of the file.
func TestAllocationIsBounded(t *testing.T) {
	data := header(0, 1).str("a").u32(uint32(Array)).u32(uint32(String)).u64(1 << 17).data(1 << 20) // 2^17 empty strings
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Parse(data); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	grown := after.TotalAlloc - before.TotalAlloc
	if grown > 4<<20 {
		t.Errorf("%d bytes for a file of %d", grown, len(data))
	}
}

func FuzzParse(f *testing.F) {
	f.Add(encode(f, everyValue, someTensors()))
	f.Add(encode(f, []Pair{{"general.alignment", uint32(8)}}, someTensors()[:2]))
	for _, data := range hostile() {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err != nil {
			if !fault.Is(err, fault.BadFile) && !fault.Is(err, fault.Unsupported) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		var pairs []Pair
		for _, key := range file.Keys {
			pairs = append(pairs, Pair{key, file.Value(key)})
			file.Ints(key)
			file.Floats(key)
		}
		var tensors []Source
		known := true
		for _, x := range file.Tensors {
			got := file.Data(x)
			if uint64(len(got)) != x.Size {
				t.Fatalf("%d bytes of %d", len(got), x.Size)
			}
			x.Shape()
			known = known && x.Supported() == nil
			tensors = append(tensors, Source{Name: x.Name, Type: x.Type, Dims: x.Dims, Data: got})
		}
		_, isUint32 := file.Value("general.alignment").(uint32)
		if !known || !isUint32 && file.Value("general.alignment") != nil {
			return
		}
		// What was read can be written, and reads the same.
		var out bytes.Buffer
		if err := Encode(&out, pairs, tensors); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out.Bytes())
		if err != nil || len(again.Tensors) != len(tensors) || len(again.Keys) != len(pairs) {
			t.Fatalf("written again: %v", err)
		}
		for _, x := range file.Tensors {
			y, _ := again.Tensor(x.Name)
			if !bytes.Equal(file.Data(x), again.Data(y)) {
				t.Fatalf("tensor %q changed", x.Name)
			}
		}
	})
}
