package safetensors

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

// file puts a header of our own in front of n bytes of data.
func file(header string, n int) []byte {
	return append(append(le(uint64(len(header))), header...), make([]byte, n)...)
}

func entryJSON(name, dtype, shape string, begin, end uint64) string {
	return fmt.Sprintf(`%q:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, dtype, shape, begin, end)
}

func hostile() map[string][]byte {
	u8 := func(name string, begin, end uint64) string {
		return entryJSON(name, "U8", fmt.Sprintf("[%d]", end-begin), begin, end)
	}
	one := func(shape string, dtype string, n int) []byte {
		return file("{"+entryJSON("x", dtype, shape, 0, uint64(n))+"}", n)
	}
	with := func(fields string) []byte { return file(`{"x":{`+fields+`}}`, 4) }
	return map[string][]byte{
		"empty":                   {},
		"seven bytes":             make([]byte, 7),
		"no header":               file("", 8),
		"header over 100 MB":      le(uint64(maxHeader + 1)),
		"header 2^64-1":           append(le(uint64(math.MaxUint64)), "{}"...),
		"header over the file":    append(le(uint64(3)), "{}"...),
		"space first":             file(" {}", 0),
		"an array":                file("[]", 0),
		"brace only":              file("{", 0),
		"after the object":        file("{}{}", 0),
		"zeros after the object":  file("{}\x00\x00", 0),
		"comma at the end":        file("{"+u8("x", 0, 4)+",}", 4),
		"bad UTF-8":               file("{\"\xff\":{}}", 0),
		"deep nesting":            file(`{"x":`+strings.Repeat("[", 1<<20)+strings.Repeat("]", 1<<20)+"}", 0),
		"entry no object":         file(`{"x":3}`, 0),
		"name of controls":        file("{"+entryJSON("x\x1b[2J", "U8", "[4]", 0, 4)+"}", 4),
		"name escaped controls":   file(`{"\u001b[2J":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 4),
		"tensor twice":            file("{"+u8("x", 0, 4)+","+u8("x", 0, 4)+"}", 4),
		"tensor twice by escape":  file("{"+u8("x", 0, 4)+`,"\u0078":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 4),
		"metadata twice":          file(`{"__metadata__":{},"__metadata__":{}}`, 0),
		"metadata key twice":      file(`{"__metadata__":{"a":"b","a":"c"}}`, 0),
		"metadata number":         file(`{"__metadata__":{"a":1}}`, 0),
		"metadata list":           file(`{"__metadata__":[]}`, 0),
		"field twice":             with(`"dtype":"U8","shape":[4],"shape":[4],"data_offsets":[0,4]`),
		"no dtype":                with(`"shape":[4],"data_offsets":[0,4]`),
		"no shape":                with(`"dtype":"U8","data_offsets":[0,4]`),
		"no offsets":              with(`"dtype":"U8","shape":[4]`),
		"dtype a number":          with(`"dtype":1,"shape":[4],"data_offsets":[0,4]`),
		"shape a number":          with(`"dtype":"U8","shape":4,"data_offsets":[0,4]`),
		"shape of strings":        with(`"dtype":"U8","shape":["4"],"data_offsets":[0,4]`),
		"shape of lists":          with(`"dtype":"U8","shape":[[4]],"data_offsets":[0,4]`),
		"shape null":              with(`"dtype":"U8","shape":null,"data_offsets":[0,4]`),
		"shape negative":          with(`"dtype":"U8","shape":[-4],"data_offsets":[0,4]`),
		"shape a fraction":        with(`"dtype":"U8","shape":[4.0],"data_offsets":[0,4]`),
		"shape an exponent":       with(`"dtype":"U8","shape":[4e0],"data_offsets":[0,4]`),
		"shape over 2^64":         with(`"dtype":"U8","shape":[18446744073709551620],"data_offsets":[0,4]`),
		"shape over 2^63":         with(`"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,4]`),
		"three offsets":           with(`"dtype":"U8","shape":[4],"data_offsets":[0,4,4]`),
		"one offset":              with(`"dtype":"U8","shape":[4],"data_offsets":[4]`),
		"offsets backwards":       with(`"dtype":"U8","shape":[4],"data_offsets":[4,0]`),
		"end over the file":       file("{"+u8("x", 0, 5)+"}", 4),
		"end near 2^64":           with(`"dtype":"U8","shape":[4],"data_offsets":[18446744073709551611,18446744073709551615]`),
		"shape too small":         one("[3]", "U8", 4),
		"shape too large":         one("[5]", "U8", 4),
		"dtype too large":         one("[4]", "F16", 4),
		"scalar too large":        one("[]", "F32", 8),
		"empty with bytes":        one("[0,4]", "U8", 4),
		"product overflows":       one("[4294967296,4294967296,4]", "U8", 4),
		"product overflows to 0":  one("[4294967296,4294967296]", "U8", 0),
		"bytes overflow":          one("[4611686018427387904]", "F64", 0),
		"hole before":             file("{"+u8("x", 1, 4)+"}", 4),
		"hole between":            file("{"+u8("x", 0, 2)+","+u8("y", 3, 4)+"}", 4),
		"hole after":              file("{"+u8("x", 0, 3)+"}", 4),
		"bytes without tensors":   file("{}", 1),
		"overlap":                 file("{"+u8("x", 0, 3)+","+u8("y", 2, 4)+"}", 4),
		"inside another":          file("{"+u8("x", 0, 4)+","+u8("y", 1, 2)+"}", 4),
		"same bytes":              file("{"+u8("x", 0, 4)+","+u8("y", 0, 4)+"}", 4),
		"empty inside another":    file("{"+u8("x", 0, 4)+","+u8("y", 2, 2)+"}", 4),
		"long name, wrong shape":  file("{"+entryJSON(strings.Repeat("n", 1<<20), "U8", "[3]", 0, 4)+"}", 4),
		"long shape, wrong bytes": one("["+strings.Repeat("1,", 1<<18)+"1]", "U8", 4),
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

func TestUnknownDType(t *testing.T) {
	_, err := Parse(file("{"+entryJSON("x", "F4", "[8]", 0, 4)+"}", 4))
	if !fault.Is(err, fault.Unsupported) || !strings.Contains(err.Error(), `"x" has dtype "F4"`) {
		t.Error(err)
	}
}

// What the format allows and a strict reader might refuse.
func TestLegal(t *testing.T) {
	for name, data := range map[string][]byte{
		"spaces after":       file("{} \n  ", 0),
		"order of no weight": file("{"+entryJSON("a", "U8", "[1]", 3, 4)+","+entryJSON("b", "U8", "[3]", 0, 3)+"}", 4),
		"empty at the seams": file("{"+entryJSON("a", "U8", "[0]", 0, 0)+","+entryJSON("b", "U8", "[4]", 0, 4)+","+entryJSON("c", "F32", "[0]", 4, 4)+"}", 4),
		"unknown field":      file(`{"x":{"dtype":"U8","more":{"a":[1,{"b":null}]},"shape":[4],"data_offsets":[0,4]}}`, 4),
		"empty name":         file("{"+entryJSON("", "U8", "[4]", 0, 4)+"}", 4),
	} {
		if _, err := Parse(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTruncatedAnywhere(t *testing.T) {
	data := encode(t, everyType, map[string]string{"a": "b"})
	for n := range data {
		if _, err := Parse(data[:n]); !fault.Is(err, fault.BadFile) {
			t.Fatalf("cut at %d of %d: %v", n, len(data), err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(encode(f, everyType, map[string]string{"a": "b"}))
	for _, data := range hostile() {
		if len(data) < 1<<12 {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err != nil {
			if !fault.Is(err, fault.BadFile) && !fault.Is(err, fault.Unsupported) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		var all []Tensor
		total := 0
		for _, name := range file.Names() {
			x, ok := file.Tensor(name)
			if !ok || x.Name != name {
				t.Fatalf("tensor %q: %+v", name, x)
			}
			total += len(x.Data)
			Float32s(x)
			Int64s(x)
			all = append(all, x)
		}
		var out bytes.Buffer
		if err := Encode(&out, all, file.Metadata); err != nil {
			t.Fatal(err)
		}
		again, err := Parse(out.Bytes())
		if err != nil || !reflect.DeepEqual(again.Names(), file.Names()) || !reflect.DeepEqual(again.Metadata, file.Metadata) {
			t.Fatalf("written again: %v", err)
		}
		for _, x := range all {
			if y, _ := again.Tensor(x.Name); !reflect.DeepEqual(x, y) {
				t.Fatalf("%+v became %+v", x, y)
			}
		}
	})
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":4},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"x.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"a":"../x"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		weights, err := parseIndex("index", data)
		if err != nil && !fault.Is(err, fault.BadFile) {
			t.Fatalf("untyped error %v", err)
		}
		for _, name := range weights {
			if strings.ContainsAny(name, "/\\:\x00") || name == ".." || name == "." || name == "" {
				t.Fatalf("file %q", name)
			}
		}
	})
}
