package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

func le(values ...any) []byte {
	var b bytes.Buffer
	for _, v := range values {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

// everyType holds one tensor of each element type, a scalar, and two empty ones.
var everyType = []Tensor{
	{"z.f64", F64, []int{2}, le(math.Pi, -1.0)},
	{"f32", F32, []int{2, 1, 2}, le(float32(1), float32(-2), float32(0.5), float32(math.Inf(1)))},
	{"f16", F16, []int{6}, le(uint16(0x3c00), uint16(0xc000), uint16(0x0001), uint16(0x7c00), uint16(0x7bff), uint16(0x8000))},
	{"bf16", BF16, []int{3}, le(uint16(0x3f80), uint16(0xc000), uint16(0x0001))},
	{"i64", I64, []int{2}, le(int64(math.MinInt64), int64(math.MaxInt64))},
	{"i32", I32, []int{2}, le(int32(math.MinInt32), int32(math.MaxInt32))},
	{"i16", I16, []int{2}, le(int16(math.MinInt16), int16(math.MaxInt16))},
	{"i8", I8, []int{3}, le(int8(-128), int8(0), int8(127))},
	{"u64", U64, []int{1}, le(uint64(math.MaxInt64))},
	{"u64big", U64, []int{1}, le(uint64(math.MaxUint64))},
	{"u32", U32, []int{1}, le(uint32(math.MaxUint32))},
	{"u16", U16, []int{1}, le(uint16(math.MaxUint16))},
	{"u8", U8, []int{1, 1}, []byte{255}},
	{"bool", BOOL, []int{2}, []byte{1, 0}},
	{"bool2", BOOL, []int{1}, []byte{2}},
	{"e4m3", F8_E4M3, []int{1}, []byte{0x38}},
	{"e5m2", F8_E5M2, []int{1}, []byte{0x3c}},
	{"scalar", F32, []int{}, le(float32(7))},
	{"empty", F32, []int{3, 0, 2}, []byte{}},
	{"a <b> & \"ç\"", U8, []int{0}, []byte{}},
}

func encode(t testing.TB, tensors []Tensor, metadata map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Encode(&b, tensors, metadata); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	metadata := map[string]string{"format": "pt", "note": "a\nb \x00 <ü>"}
	for _, metadata := range []map[string]string{nil, metadata} {
		data := encode(t, everyType, metadata)
		path := filepath.Join(t.TempDir(), "x.safetensors")
		if err := Write(path, everyType, metadata); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("Write and Encode differ (%v)", err)
		}
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		check := func() {
			t.Helper()
			if !reflect.DeepEqual(f.Metadata, metadata) || len(f.Names()) != len(everyType) {
				t.Fatalf("metadata %v, names %v", f.Metadata, f.Names())
			}
			for _, want := range everyType {
				got, ok := f.Tensor(want.Name)
				if !ok || !reflect.DeepEqual(got, want) {
					t.Errorf("%q is %+v, want %+v", want.Name, got, want)
				}
				if at := bytes.Index(data, want.Data); len(want.Data) > 1 && at%want.DType.Size() != 0 {
					t.Errorf("%q lies at byte %d", want.Name, at)
				}
			}
		}
		check()
		for _, x := range everyType {
			f.Release(x)
		}
		check()
		if _, ok := f.Tensor("absent"); ok {
			t.Error("found an absent tensor")
		}
		if err := errors.Join(f.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
		if _, ok := f.Tensor("f32"); ok {
			t.Error("a tensor after Close")
		}
	}
}

// The exact bytes of a small file, worked out by hand from the format.
func TestBytes(t *testing.T) {
	tensors := []Tensor{{"b", F32, []int{1}, []byte{1, 2, 3, 4}}, {"a", U8, []int{2}, []byte{5, 6}}}
	header := `{"__metadata__":{"k":"v"},"a":{"dtype":"U8","shape":[2],"data_offsets":[4,6]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	want := string(le(uint64(len(header)))) + header + "\x01\x02\x03\x04\x05\x06"
	for range 20 { // maps have no order; the file must
		if got := string(encode(t, tensors, map[string]string{"k": "v"})); got != want {
			t.Fatalf("wrote %q, want %q", got, want)
		}
	}
}

func TestNoTensors(t *testing.T) {
	f, err := Parse(encode(t, nil, nil))
	if err != nil || len(f.Names()) != 0 || f.Metadata != nil {
		t.Fatalf("%+v, %v", f, err)
	}
}

func TestFloat32s(t *testing.T) {
	inf := float32(math.Inf(1))
	want := map[string][]float32{
		"z.f64":  {math.Pi, -1},
		"f32":    {1, -2, 0.5, inf},
		"f16":    {1, -2, 0x1p-24, inf, 65504, 0},
		"bf16":   {1, -2, math.Float32frombits(1 << 16)},
		"scalar": {7},
		"empty":  {},
	}
	for _, x := range everyType {
		got, err := Float32s(x)
		if w, ok := want[x.Name]; ok {
			if err != nil || !reflect.DeepEqual(got, w) {
				t.Errorf("%s: %v, %v; want %v", x.Name, got, err, w)
			}
		} else if !fault.Is(err, fault.Unsupported) {
			t.Errorf("%s: error %v", x.Name, err)
		}
	}
	if v, _ := Float32s(everyType[2]); math.Float32bits(v[5]) != 1<<31 {
		t.Error("-0 lost its sign")
	}
}

// Every half value, against the definition of binary16.
func TestHalfToFloat32(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		exponent, fraction := int(h>>10&0x1f), float64(h&0x3ff)
		var want float64
		switch exponent {
		case 0:
			want = math.Ldexp(fraction, -24)
		case 0x1f:
			want = math.Inf(1)
			if fraction != 0 {
				want = math.NaN()
			}
		default:
			want = math.Ldexp(1024+fraction, exponent-25)
		}
		if h>>15 == 1 {
			want = -want
		}
		got := halfToFloat32(h)
		if math.IsNaN(want) != (got != got) || want == want && (float64(got) != want || math.Signbit(float64(got)) != math.Signbit(want)) {
			t.Fatalf("%#04x: %v, want %v", h, got, want)
		}
	}
}

func TestInt64s(t *testing.T) {
	want := map[string][]int64{
		"i64": {math.MinInt64, math.MaxInt64}, "i32": {math.MinInt32, math.MaxInt32}, "i16": {math.MinInt16, math.MaxInt16},
		"i8": {-128, 0, 127}, "u64": {math.MaxInt64}, "u32": {math.MaxUint32}, "u16": {math.MaxUint16}, "u8": {255},
		"bool": {1, 0}, "a <b> & \"ç\"": {},
	}
	for _, x := range everyType {
		got, err := Int64s(x)
		if w, ok := want[x.Name]; ok {
			if err != nil || !reflect.DeepEqual(got, w) {
				t.Errorf("%s: %v, %v; want %v", x.Name, got, err, w)
			}
			continue
		}
		kind := fault.Unsupported
		if x.Name == "u64big" || x.Name == "bool2" {
			kind = fault.BadFile
		}
		if !fault.Is(err, kind) {
			t.Errorf("%s: error %v", x.Name, err)
		}
	}
}

// A tensor made by hand with too little data is an error, not a panic.
func TestShortData(t *testing.T) {
	if _, err := Float32s(Tensor{"x", F32, []int{2}, make([]byte, 7)}); !fault.Is(err, fault.BadInput) {
		t.Error(err)
	}
	if _, err := Int64s(Tensor{"x", I8, []int{-1}, nil}); !fault.Is(err, fault.BadInput) {
		t.Error(err)
	}
}

func TestUnwritable(t *testing.T) {
	good := Tensor{"x", F32, []int{1}, make([]byte, 4)}
	with := func(change func(*Tensor)) []Tensor { x := good; change(&x); return []Tensor{x} }
	for name, tensors := range map[string][]Tensor{
		"twice":         {good, good},
		"metadata name": with(func(x *Tensor) { x.Name = "__metadata__" }),
		"control":       with(func(x *Tensor) { x.Name = "a\nb" }),
		"bad UTF-8":     with(func(x *Tensor) { x.Name = "\xff" }),
		"unknown dtype": with(func(x *Tensor) { x.DType = "F4" }),
		"short":         with(func(x *Tensor) { x.Data = x.Data[:3] }),
		"negative":      with(func(x *Tensor) { x.Shape = []int{-1, -1} }),
		"overflow":      with(func(x *Tensor) { x.Shape = []int{1 << 31, 1 << 31, 4} }),
	} {
		dir := t.TempDir()
		if err := Write(filepath.Join(dir, "x"), tensors, nil); !fault.Is(err, fault.BadInput) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
	if err := Encode(&bytes.Buffer{}, nil, map[string]string{"a": "\xff"}); !fault.Is(err, fault.BadInput) {
		t.Error(err)
	}
}

// One tensor written as it comes is the file that Write makes; too few bytes or too many leave no file.
func TestWriteOne(t *testing.T) {
	dir := t.TempDir()
	whole, parts := filepath.Join(dir, "whole"), filepath.Join(dir, "parts")
	data := []byte("0123456789abcdef0123456789abcdef")
	if err := Write(whole, []Tensor{{Name: "x", DType: "F32", Shape: []int{2, 4}, Data: data}}, nil); err != nil {
		t.Fatal(err)
	}
	write := func(path string, shape []int) error {
		return WriteOne(path, "x", "F32", shape, func(w io.Writer) error {
			for i := 0; i < len(data); i += 8 {
				if _, err := w.Write(data[i:][:8]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := write(parts, []int{2, 4}); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(whole)
	if b, err := os.ReadFile(parts); err != nil || !bytes.Equal(a, b) {
		t.Errorf("other bytes: %v", err)
	}
	for _, rows := range []int{1, 3} {
		bad := filepath.Join(dir, "bad")
		if err := write(bad, []int{rows, 4}); !fault.Is(err, fault.BadInput) {
			t.Errorf("%d rows: %v", rows, err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*bad*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}
