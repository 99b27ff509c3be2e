package gguf

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// everyValue holds each value type of the format, alone and as an array.
var everyValue = []Pair{
	{"general.architecture", "test"},
	{"u8", uint8(255)}, {"i8", int8(-128)}, {"u16", uint16(65535)}, {"i16", int16(-32768)},
	{"u32", uint32(math.MaxUint32)}, {"i32", int32(math.MinInt32)}, {"f32", float32(1.5)}, {"yes", true}, {"no", false},
	{"text", "größe\x00\xff"}, {"empty", ""},
	{"u64", uint64(math.MaxUint64)}, {"i64", int64(math.MinInt64)}, {"f64", math.Pi},
	{"a.u8", []uint8{1, 2}}, {"a.i8", []int8{-1, 2}}, {"a.u16", []uint16{1, 65535}}, {"a.i16", []int16{-1, 2}},
	{"a.u32", []uint32{1, math.MaxUint32}}, {"a.i32", []int32{-1, 2}}, {"a.f32", []float32{1, -0.5}}, {"a.bool", []bool{true, false}},
	{"a.text", []string{"a", "", "długi"}}, {"a.none", []string{}},
	{"a.u64", []uint64{1, math.MaxInt64}}, {"a.u64big", []uint64{math.MaxUint64}}, {"a.i64", []int64{-1, 2}}, {"a.f64", []float64{1, -0.25}},
}

func count(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + 1)
	}
	return b
}

func someTensors() []Source {
	return []Source{
		{Name: "odd", Type: I8, Dims: []uint64{5}, Data: count(5)},
		{Name: "matrix", Type: Q4_0, Dims: []uint64{64, 3}, Data: count(3 * 2 * 18)},
		{Name: "scalar", Type: F32, Data: count(4)},
		{Name: "none", Type: F32, Dims: []uint64{0, 7}},
		{Name: "filled", Type: BF16, Dims: []uint64{2, 3, 4, 5}, Fill: func(w io.Writer) error { _, err := w.Write(count(240)); return err }},
	}
}

func encode(t testing.TB, pairs []Pair, tensors []Source) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Encode(&b, pairs, tensors); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	for _, alignment := range []uint32{0, 8, 64} {
		pairs := everyValue
		if alignment != 0 {
			pairs = append([]Pair{{"general.alignment", alignment}}, pairs...)
		}
		data := encode(t, pairs, someTensors())
		path := filepath.Join(t.TempDir(), "x.gguf")
		if err := Write(path, pairs, someTensors()); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("Write and Encode differ (%v)", err)
		}
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		checkRead(t, f, pairs)
		for _, x := range f.Tensors {
			f.Release(x) // data stays readable
		}
		checkRead(t, f, pairs)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if f.Data(f.Tensors[0]) != nil {
			t.Fatal("data after Close")
		}
		if err := f.Close(); err != nil {
			t.Fatal("second Close:", err)
		}

		data[4] = 2 // version 2 has the same layout
		f, err = Parse(data)
		if err != nil || f.Version != 2 {
			t.Fatalf("version 2: %v", err)
		}
		checkRead(t, f, pairs)
	}
}

func checkRead(t *testing.T, f *File, pairs []Pair) {
	t.Helper()
	if len(f.Keys) != len(pairs) {
		t.Fatalf("%d keys, want %d", len(f.Keys), len(pairs))
	}
	for i, p := range pairs {
		if f.Keys[i] != p.Key || !reflect.DeepEqual(f.Value(p.Key), p.Value) {
			t.Errorf("%s is %#v, want %s %#v", f.Keys[i], f.Value(p.Key), p.Key, p.Value)
		}
	}
	want := someTensors()
	if len(f.Tensors) != len(want) {
		t.Fatalf("%d tensors, want %d", len(f.Tensors), len(want))
	}
	for i, w := range want {
		x, ok := f.Tensor(w.Name)
		if !ok || !reflect.DeepEqual(x, f.Tensors[i]) || x.Type != w.Type || !reflect.DeepEqual(x.Dims, w.Dims) {
			t.Errorf("tensor %s reads as %+v", w.Name, x)
		}
		data := w.Data
		if w.Fill != nil {
			data = count(240)
		}
		if got := f.Data(x); !bytes.Equal(got, data) || got == nil {
			t.Errorf("tensor %s holds %d bytes, want %d", w.Name, len(got), len(data))
		}
		if (f.DataStart+x.Offset)%f.Alignment != 0 {
			t.Errorf("tensor %s is not aligned", w.Name)
		}
	}
	x, _ := f.Tensor("filled")
	if !reflect.DeepEqual(x.Shape(), []int{5, 4, 3, 2}) || x.Elems() != 120 {
		t.Errorf("shape %v of %d elements", x.Shape(), x.Elems())
	}
	if _, ok := f.Tensor("absent"); ok {
		t.Error("found an absent tensor")
	}
}

func TestGetters(t *testing.T) {
	f, err := Parse(encode(t, everyValue, nil))
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		v  any
		ok bool
	}
	of := func(v any, ok bool) result { return result{v, ok} }
	u := func(k string) result { v, ok := f.Uint(k); return of(v, ok) }
	i := func(k string) result { v, ok := f.Int(k); return of(v, ok) }
	fl := func(k string) result { v, ok := f.Float(k); return of(v, ok) }
	s := func(k string) result { v, ok := f.String(k); return of(v, ok) }
	b := func(k string) result { v, ok := f.Bool(k); return of(v, ok) }
	for n, c := range []struct{ got, want result }{
		{u("u8"), of(uint64(255), true)}, {u("u16"), of(uint64(65535), true)}, {u("u32"), of(uint64(math.MaxUint32), true)},
		{u("u64"), of(uint64(math.MaxUint64), true)}, {u("i8"), of(uint64(0), false)}, {u("f32"), of(uint64(0), false)},
		{u("yes"), of(uint64(0), false)}, {u("absent"), of(uint64(0), false)},
		{i("i8"), of(int64(-128), true)}, {i("i16"), of(int64(-32768), true)}, {i("i32"), of(int64(math.MinInt32), true)},
		{i("i64"), of(int64(math.MinInt64), true)}, {i("u32"), of(int64(math.MaxUint32), true)}, {i("text"), of(int64(0), false)},
		{fl("f32"), of(1.5, true)}, {fl("f64"), of(math.Pi, true)}, {fl("u8"), of(0.0, false)},
		{s("text"), of("größe\x00\xff", true)}, {s("u8"), of("", false)},
		{b("yes"), of(true, true)}, {b("no"), of(false, true)}, {b("u8"), of(false, false)},
		{of(f.Strings("a.text"), true), of([]string{"a", "", "długi"}, true)},
		{of(f.Strings("a.u8"), true), of([]string(nil), true)},
		{of(f.Floats("a.f32"), true), of([]float32{1, -0.5}, true)}, {of(f.Floats("a.f64"), true), of([]float32{1, -0.25}, true)},
		{of(f.Floats("a.i32"), true), of([]float32(nil), true)},
		{of(f.Bools("a.bool"), true), of([]bool{true, false}, true)},
		{of(f.Ints("a.u8"), true), of([]int64{1, 2}, true)}, {of(f.Ints("a.i8"), true), of([]int64{-1, 2}, true)},
		{of(f.Ints("a.u16"), true), of([]int64{1, 65535}, true)}, {of(f.Ints("a.i16"), true), of([]int64{-1, 2}, true)},
		{of(f.Ints("a.u32"), true), of([]int64{1, math.MaxUint32}, true)}, {of(f.Ints("a.i32"), true), of([]int64{-1, 2}, true)},
		{of(f.Ints("a.u64"), true), of([]int64{1, math.MaxInt64}, true)}, {of(f.Ints("a.i64"), true), of([]int64{-1, 2}, true)},
		{of(f.Ints("a.u64big"), true), of([]int64(nil), true)}, {of(f.Ints("a.text"), true), of([]int64(nil), true)},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("case %d: %#v, want %#v", n, c.got, c.want)
		}
	}
	if v, ok := f.Int("u64"); ok {
		t.Errorf("2^64-1 read as the int64 %d", v)
	}
}

func TestUnknownTensorType(t *testing.T) {
	data := encode(t, nil, []Source{{Name: "w", Type: I8, Dims: []uint64{64}, Data: count(64)}})
	at := bytes.Index(data, []byte("w")) + 1 + 4 + 8
	data[at] = 200
	f, err := Parse(data)
	if err != nil {
		t.Fatal("the header must still be readable:", err)
	}
	x, _ := f.Tensor("w")
	err = x.Supported()
	if !fault.Is(err, fault.Unsupported) || err.Error() != `tensor "w": type 200; this version does not know that tensor type; use a file quantised to another type` {
		t.Errorf("error %v", err)
	}
	if f.Data(x) != nil || x.Size != 0 {
		t.Error("a tensor of unknown type has data")
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none")); !fault.Is(err, fault.BadInput) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	if _, err := Open(dir); !fault.Is(err, fault.BadInput) {
		t.Errorf("folder: %v", err)
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(empty); !fault.Is(err, fault.BadFile) {
		t.Errorf("empty: %v", err)
	}
}

func TestUnwritable(t *testing.T) {
	good := Source{Name: "a", Type: F32, Dims: []uint64{2}, Data: make([]byte, 8)}
	with := func(change func(*Source)) []Source { s := good; change(&s); return []Source{s} }
	for name, c := range map[string]struct {
		pairs   []Pair
		tensors []Source
	}{
		"plain int":         {[]Pair{{"k", 1}}, nil},
		"nil value":         {[]Pair{{"k", nil}}, nil},
		"key twice":         {[]Pair{{"k", "a"}, {"k", "b"}}, nil},
		"empty key":         {[]Pair{{"", "a"}}, nil},
		"alignment 48":      {[]Pair{{"general.alignment", uint32(48)}}, nil},
		"alignment as text": {[]Pair{{"general.alignment", "32"}}, nil},
		"tensor twice":      {nil, []Source{good, good}},
		"too little data":   {nil, with(func(s *Source) { s.Data = s.Data[:7] })},
		"no data":           {nil, with(func(s *Source) { s.Data = nil })},
		"fill too much": {nil, with(func(s *Source) {
			s.Data, s.Fill = nil, func(w io.Writer) error { _, err := w.Write(count(9)); return err }
		})},
		"five dimensions": {nil, with(func(s *Source) { s.Dims = []uint64{1, 1, 1, 1, 2} })},
		"overflow":        {nil, with(func(s *Source) { s.Dims = []uint64{1 << 32, 1 << 32} })},
		"half a block":    {nil, with(func(s *Source) { s.Type, s.Dims = Q8_0, []uint64{16, 2} })},
		"unknown type":    {nil, with(func(s *Source) { s.Type = 4 })},
	} {
		path := filepath.Join(t.TempDir(), "x.gguf")
		err := Write(path, c.pairs, c.tensors)
		if !fault.Is(err, fault.BadInput) && !(name == "unknown type" && fault.Is(err, fault.Unsupported)) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}
