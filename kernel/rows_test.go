package kernel

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
)

var allCodecs = []Codec{CodecF32, CodecF16, CodecBF16, CodecQ8, CodecQ4}

func TestRowBytes(t *testing.T) {
	for _, c := range []struct {
		codec       Codec
		width, want int
	}{
		{CodecF32, 64, 256}, {CodecF16, 64, 128}, {CodecBF16, 3, 6}, {CodecQ8, 32, 34}, {CodecQ8, 64, 68}, {CodecQ8, 33, 34 + 3}, {CodecQ8, 0, 0},
		{CodecQ4, 32, 18}, {CodecQ4, 128, 72}, {CodecQ4, 33, 18 + 3}, {CodecQ4, 37, 18 + 5}, {CodecQ4, 1, 3}, {Codec(99), 32, 0},
	} {
		if got := RowBytes(c.codec, c.width); got != c.want {
			t.Errorf("RowBytes(%v, %d) = %d, want %d", c.codec, c.width, got, c.want)
		}
	}
	for _, c := range allCodecs {
		if back, ok := CodecOf(c.String()); !ok || back != c {
			t.Errorf("codec %v is not found by its name", c)
		}
	}
	if _, ok := CodecOf("q3"); ok {
		t.Error("an unknown codec was found")
	}
}

// A decoded value is within the codec's own step of what was encoded, and nothing is written past RowBytes.
func TestRowsRoundTrip(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(11)
		for _, c := range allCodecs {
			for _, n := range testSizes {
				x := randVec(r, n, 4)
				size := RowBytes(c, n)
				code := bytes.Repeat([]byte{0xa5}, size+64)
				EncodeRow(c, code, x)
				for i, b := range code[size:] {
					if b != 0xa5 {
						t.Fatalf("%v, width %d: byte %d past the row was written", c, n, i)
					}
				}
				got, check := guarded(t, make([]float32, n))
				DecodeRow(c, got, code[:size])
				check()
				for i, v := range x {
					top := 0.0
					for _, u := range x[i/32*32 : min(n, i/32*32+32)] {
						top = max(top, math.Abs(float64(u)))
					}
					bound := map[Codec]float64{CodecF32: 0, CodecF16: math.Abs(float64(v)) / 2048, CodecBF16: math.Abs(float64(v)) / 256,
						CodecQ8: top / 127 * 0.57, CodecQ4: top / 8 * 1.01}[c]
					if d := math.Abs(float64(got[i]) - float64(v)); d > bound {
						t.Fatalf("%v, width %d, element %d: %v came back as %v", c, n, i, v, got[i])
					}
				}
			}
		}
	})
}

// The layout, from its description in words: a block of 5 short of a full one, codes worked out by hand.
func TestRowLayout(t *testing.T) {
	x := make([]float32, 37)
	for i := range x {
		x[i] = float32(i/2*2 - 16) // first block -16, -16, -14 .. 14
	}
	copy(x[32:], []float32{8, -4, 2, 1, -7})

	q8 := make([]byte, RowBytes(CodecQ8, 37))
	EncodeRow(CodecQ8, q8, x)
	scale := halfToFloat(binary.LittleEndian.Uint16(q8[34:]))
	if math.Abs(float64(scale)-8.0/127) > 1e-4 {
		t.Errorf("scale of the short q8 block is %v", scale)
	}
	if got, want := q8[36:], []byte{127, 256 - 64, 32, 16, 256 - 111}; !bytes.Equal(got, want) { // 4*127/8 = 63.5, a hair more by the rounded scale
		t.Errorf("q8 codes %v, want %v", got, want)
	}

	q4 := make([]byte, RowBytes(CodecQ4, 37))
	EncodeRow(CodecQ4, q4, x)
	if d := halfToFloat(binary.LittleEndian.Uint16(q4)); d != 2 {
		t.Errorf("scale of the first q4 block is %v, want 2", d)
	}
	// Element 0 is -16: code 0; element 16 is 0: code 8, in the high nibble of the same byte.
	if q4[2] != 0x80 {
		t.Errorf("first q4 byte is %02x, want 80", q4[2])
	}
	// Short block: 8 is the extreme, scale -1: codes -8, 4, -2, -1, 7 stored + 8; elements 3 and 4 above 0 and 1.
	if d := halfToFloat(binary.LittleEndian.Uint16(q4[18:])); d != -1 {
		t.Errorf("scale of the short q4 block is %v, want -1", d)
	}
	if got, want := q4[20:], []byte{0 | 7<<4, 12 | 15<<4, 6}; !bytes.Equal(got, want) {
		t.Errorf("q4 codes %x, want %x", got, want)
	}
	var back [37]float32
	DecodeRow(CodecQ4, back[:], q4)
	if back[32] != 8 || back[0] != -16 || back[36] != -7 {
		t.Errorf("q4 came back as %v", back)
	}
}

// The scale of a q4 block is searched: no block is worse than with extreme / -8, all together are 10 % better.
func TestQ4ScaleSearch(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(14)
		code, y := make([]byte, RowBytes(CodecQ4, 32)), make([]float32, 32)
		var searched, kept float64
		for range 2000 {
			x := randVec(r, 32, 1)
			EncodeRow(CodecQ4, code, x)
			DecodeRow(CodecQ4, y, code)
			extreme := float32(0)
			for _, v := range x {
				if math.Abs(float64(v)) > math.Abs(float64(extreme)) {
					extreme = v
				}
			}
			half, inv := rowScale(extreme / -8)
			a, b := 0.0, 0.0
			for i, v := range x {
				e, f := float64(v-y[i]), float64(v-halfToFloat(half)*float32(rowCode(v, inv, -8, 7)))
				a, b = a+e*e, b+f*f
			}
			if a > b*(1+1e-5) {
				t.Fatalf("squared error %v, with the extreme kept %v", a, b)
			}
			searched, kept = searched+a, kept+b
		}
		if ratio := searched / kept; ratio > 0.91 {
			t.Errorf("squared error is %.3f of that with the extreme kept", ratio)
		}
	})
}

// Rows of zeros, NaN, infinities, tiny and huge values: no panic, finite values from the block codecs, the same bytes at every level.
func TestRowsHostile(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	rows := map[string][]float32{"zeros": make([]float32, 64), "nan": {}, "inf": {}, "-inf": {}, "tiny": {}, "huge": {}, "tie": {}, "sparse nan": {}}
	r := testRand(12)
	for i := 0; i < 64; i++ {
		rows["nan"] = append(rows["nan"], nan)
		rows["inf"] = append(rows["inf"], inf)
		rows["-inf"] = append(rows["-inf"], -inf)
		rows["tiny"] = append(rows["tiny"], float32(r.NormFloat64()*1e-6))
		rows["huge"] = append(rows["huge"], float32(r.NormFloat64()*1e30))
		rows["tie"] = append(rows["tie"], float32(i%3-1)*3)
		v := float32(r.NormFloat64())
		if i%7 == 0 {
			v = nan
		}
		rows["sparse nan"] = append(rows["sparse nan"], v)
	}
	want := map[string][]byte{}
	eachLevel(t, func(t *testing.T) {
		for name, x := range rows {
			for _, c := range allCodecs {
				code := make([]byte, RowBytes(c, len(x)))
				EncodeRow(c, code, x)
				key := name + c.String()
				if want[key] == nil {
					want[key] = refEncode(c, x)
				}
				if !bytes.Equal(code, want[key]) {
					t.Errorf("%s: bytes differ from the reference\n%x\n%x", key, code, want[key])
				}
				y := make([]float32, len(x))
				DecodeRow(c, y, code)
				if c < CodecQ8 {
					continue
				}
				for i, v := range y {
					if v != v || math.IsInf(float64(v), 0) {
						t.Fatalf("%s: element %d came back as %v", key, i, v)
					}
					if name == "sparse nan" && i%7 == 0 && v != 0 {
						t.Errorf("%s: NaN came back as %v", key, v)
					}
				}
			}
		}
	})
}

// refEncode encodes block by block in plain Go whatever the level.
func refEncode(c Codec, x []float32) []byte {
	out := make([]byte, RowBytes(c, len(x)))
	encodeRowPlain(c, out, x)
	return out
}

// Every level writes the same bytes and reads the same values.
func TestRowsSameAtEveryLevel(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := testRand(13)
		for _, n := range append(testSizes, 96, 256, 1024) {
			x := randVec(r, n, math.Exp(r.NormFloat64()*3))
			for _, c := range allCodecs {
				code, want := make([]byte, RowBytes(c, n)), refEncode(c, x)
				EncodeRow(c, code, x)
				if !bytes.Equal(code, want) {
					t.Fatalf("%v, width %d: bytes differ\n%x\n%x", c, n, code, want)
				}
				y, z := make([]float32, n), make([]float32, n)
				DecodeRow(c, y, code)
				decodeRowPlain(c, z, code)
				sameBits(t, "decode "+c.String(), y, z)
			}
		}
	})
}

func FuzzRows(f *testing.F) {
	f.Add(uint8(3), []byte("0123456789abcdef0123456789abcdef0123456789abcdef"))
	f.Add(uint8(4), bytes.Repeat([]byte{0xff}, 160))
	f.Add(uint8(9), []byte{})
	f.Fuzz(func(t *testing.T, codec uint8, raw []byte) {
		x := make([]float32, len(raw)/4)
		for i := range x {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
		c := Codec(codec)
		code := make([]byte, RowBytes(c, len(x)))
		EncodeRow(c, code, x)
		if !bytes.Equal(code, refEncode(c, x)) {
			t.Fatalf("%v: bytes differ from the reference", c)
		}
		y := make([]float32, len(x))
		DecodeRow(c, y, code)
		// Any bytes of the right length decode.
		width := 0
		for width < 256 && RowBytes(c, width+1) <= len(raw) && RowBytes(c, width+1) > 0 {
			width++
		}
		DecodeRow(c, make([]float32, width), raw)
	})
}
