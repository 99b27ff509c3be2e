package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

var allFormats = []Format{F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K}

// randomWeight is n rows of k elements of any format, random to the bit but with sane scales.
func randomWeight(rng *rand.Rand, f Format, n, k int) []byte {
	elems, size := f.Block()
	src := make([]byte, n*k/elems*size)
	if !f.Quantised() {
		x := make([]float32, n*k)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		if err := Quantize(f, src, x); err != nil {
			panic(err)
		}
		return src
	}
	half := func(b []byte, v float64) {
		h := floatToHalf(float32(v))
		b[0], b[1] = byte(h), byte(h>>8)
	}
	for i := range src {
		src[i] = byte(rng.Uint32())
	}
	for b := 0; b < len(src); b += size {
		d := 0.01 + 0.02*rng.Float64()
		switch f {
		case Q6_K:
			half(src[b+208:], d/100)
		case Q4_K, Q5_K:
			half(src[b:], d/30)
			half(src[b+2:], d/30)
		case Q4_1, Q5_1:
			half(src[b:], d)
			half(src[b+2:], rng.NormFloat64()*0.1)
		default:
			half(src[b:], d)
		}
	}
	return src
}

func randomInput(rng *rand.Rand, m, k int) []float32 {
	x := make([]float32, m*k)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// Products agree with the float64 product of the dequantised weight: to rounding in f32 arithmetic, to the activations' 8 bits in int8.
func TestMatMul(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	pool := NewPool(2)
	defer pool.Close()
	for _, f := range allFormats {
		for _, arith := range []Arith{ArithF32, ArithInt8} {
			for _, size := range [][3]int{{1, 16, 256}, {3, 17, 512}, {1, 100, 768}, {13, 33, 256}, {40, 48, 256}} {
				m, n, k := size[0], size[1], size[2]
				src, x := randomWeight(rng, f, n, k), randomInput(rng, m, k)
				bytes, err := PackedBytes(f, n, k, arith)
				if err != nil {
					t.Fatal(err)
				}
				w, err := Pack(aligned(int(bytes)), f, n, k, src, arith, pool)
				if err != nil {
					t.Fatal(err)
				}
				dense := make([]float32, n*k)
				Dequantize(f, dense, src)
				row := make([]float32, k)
				for i := 0; i < n; i++ {
					w.Row(row, i)
					for j, v := range row {
						if v != dense[i*k+j] {
							t.Fatalf("%s: Row(%d)[%d] = %v, want %v", f, i, j, v, dense[i*k+j])
						}
					}
				}
				var in Input
				in.Set(pool, x, m, k)
				y := make([]float32, m*n)
				MatMul(pool, y, n, &in, w)
				bound := 2e-6
				if f.Quantised() && arith == ArithInt8 {
					bound = 6e-3
				}
				for i := 0; i < m; i++ {
					for j := 0; j < n; j++ {
						sum, norm := 0.0, 0.0
						for d := 0; d < k; d++ {
							p := float64(x[i*k+d]) * float64(dense[j*k+d])
							sum, norm = sum+p, norm+p*p
						}
						if diff := math.Abs(float64(y[i*n+j]) - sum); !(diff <= bound*math.Sqrt(norm)*4) {
							t.Fatalf("%s arith %d, %v: y[%d][%d] = %v, want %v", f, arith, size, i, j, y[i*n+j], sum)
						}
					}
				}
			}
		}
	}
}

func aligned(n int) []byte {
	m, err := Alloc(int64(n))
	if err != nil {
		panic(err)
	}
	return m.Bytes()
}

// Same bits: row i of a product has the bits it has alone, for any number of rows and threads.
func TestMatMulSameBits(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	const most, n, k = 40, 100, 512
	for _, f := range allFormats {
		src, x := randomWeight(rng, f, n, k), randomInput(rng, most, k)
		bytes, _ := PackedBytes(f, n, k, ArithInt8)
		w, err := Pack(aligned(int(bytes)), f, n, k, src, ArithInt8, nil)
		if err != nil {
			t.Fatal(err)
		}
		alone := make([]float32, most*n)
		for i := 0; i < most; i++ {
			var in Input
			in.Set(nil, x[i*k:][:k], 1, k)
			MatMul(nil, alone[i*n:], n, &in, w)
		}
		for threads := 1; threads <= 3; threads++ {
			pool := NewPool(threads)
			for m := 1; m <= most; m += threads {
				y := make([]float32, m*n)
				var in Input
				in.Set(pool, x[:m*k], m, k)
				MatMulMany(pool, &in, [][]float32{y}, []int{n}, []*Matrix{w})
				for i := range y {
					if math.Float32bits(y[i]) != math.Float32bits(alone[i]) {
						t.Fatalf("%s: %d rows, %d threads: element %d is %v, alone %v", f, m, threads, i, y[i], alone[i])
					}
				}
			}
			pool.Close()
		}
	}
}

func TestPackRefusals(t *testing.T) {
	for _, c := range []struct {
		f    Format
		n, k int
	}{{Q8_0, 4, 33}, {Q4_K, 4, 128}, {F32, 0, 8}, {F32, 4, -1}} {
		if _, err := PackedBytes(c.f, c.n, c.k, ArithInt8); err == nil {
			t.Errorf("%s %d x %d was accepted", c.f, c.n, c.k)
		}
	}
	if _, err := Pack(make([]byte, 1<<20), Q8_0, 4, 64, make([]byte, 10), ArithInt8, nil); err == nil {
		t.Error("a short source was accepted")
	}
}

// Quantize then Dequantize stays within half a step of each format.
func TestQuantize(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	x := randomInput(rng, 1, 320)
	for f, bound := range map[Format]float64{F32: 0, F16: 2e-3, BF16: 2e-2, Q8_0: 0.02, Q5_1: 0.12, Q5_0: 0.16, Q4_1: 0.25, Q4_0: 0.35} {
		elems, size := f.Block()
		b, y := make([]byte, len(x)/elems*size), make([]float32, len(x))
		if err := Quantize(f, b, x); err != nil {
			t.Fatal(err)
		}
		Dequantize(f, y, b)
		for i := range x {
			if d := math.Abs(float64(x[i] - y[i])); d > bound {
				t.Errorf("%s: %v became %v", f, x[i], y[i])
			}
		}
	}
	if err := Quantize(Q4_K, nil, nil); err == nil {
		t.Error("Q4_K was written")
	}
}

func TestPool(t *testing.T) {
	for threads := 1; threads <= 4; threads++ {
		p := NewPool(threads)
		for parts := 0; parts < 50; parts++ {
			seen := make([]int32, parts)
			p.Run(parts, func(i, w int) {
				if w < 0 || w >= threads {
					panic(fmt.Sprint("worker ", w))
				}
				seen[i]++
			})
			for i, n := range seen {
				if n != 1 {
					t.Fatalf("%d threads: part %d ran %d times", threads, i, n)
				}
			}
		}
		p.Close()
	}
}

// Short jobs one after the other, each seeing what the last one wrote; the pool still works when it is closed.
func TestPoolRounds(t *testing.T) {
	p := NewPool(3)
	const parts, rounds = 7, 3000
	sums := make([]int, parts)
	add := func(i, _ int) { sums[i] += i }
	for range rounds - 1 {
		p.Run(parts, add)
	}
	p.Close()
	p.Run(parts, add)
	for i, s := range sums {
		if s != i*rounds {
			t.Fatalf("part %d: %d after %d rounds", i, s, rounds)
		}
	}
}

// Every level agrees with the plain reference to float rounding: the int8 forms and their integer sums are the same.
func TestMatMulLevels(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for _, f := range allFormats {
		for _, size := range [][3]int{{1, 16, 256}, {2, 15, 256}, {7, 161, 768}, {8, 32, 512}, {29, 49, 1024}, {70, 17, 256}} {
			m, n, k := size[0], size[1], size[2]
			src, x := randomWeight(rng, f, n, k), randomInput(rng, m, k)
			clear(x[k/2:][:32]) // a block of zeros, whose scale is 0
			bytes, _ := PackedBytes(f, n, k, ArithInt8)
			w, err := Pack(aligned(int(bytes)), f, n, k, src, ArithInt8, nil)
			if err != nil {
				t.Fatal(err)
			}
			var want []float32
			eachLevel(t, func(t *testing.T) {
				const ld, guard = 200, 12345
				y := make([]float32, m*ld)
				for i := range y {
					y[i] = guard
				}
				var in Input
				in.Set(nil, x, m, k)
				MatMul(nil, y, ld, &in, w)
				if want == nil {
					want = y
				}
				for i := range m {
					for j := range ld {
						got, ref := y[i*ld+j], want[i*ld+j]
						if j >= n && got != guard {
							t.Fatalf("%s %v: column %d of row %d was written", f, size, j, i)
						}
						if diff := math.Abs(float64(got - ref)); !(diff <= 4e-6*(math.Abs(float64(ref))+math.Sqrt(float64(k)))) {
							t.Fatalf("%s %v: y[%d][%d] = %v, plain %v", f, size, i, j, got, ref)
						}
					}
				}
			})
		}
	}
}

// Quantised activations are the same at every level, to the bit.
func TestQuantizeRow(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	x := randomInput(rng, 1, 32*40)
	for i := range x {
		x[i] *= float32(math.Exp(float64(i/32)*5 - 120)) // down to subnormals
	}
	clear(x[64:96])
	for i := range x[96:128] {
		x[96+i] = float32(i) - 15.5 // ties
	}
	x[200], x[300], x[301] = float32(math.NaN()), float32(math.Inf(1)), 3
	var want []actBlock
	eachLevel(t, func(t *testing.T) {
		got := make([]actBlock, 2*40)
		quantizeRow(got, 2, x)
		if want == nil {
			want = got
		}
		for i, a := range got {
			b := want[i]
			if s := a.scale; !(s <= math.MaxFloat32) { // NaN or infinity: the scale carries it, codes are anything
				if math.Float32bits(s)>>23 != math.Float32bits(b.scale)>>23 {
					t.Fatalf("block %d: scale %v, plain %v", i, a.scale, b.scale)
				}
			} else if a != b {
				t.Fatalf("block %d: %v, plain %v", i, a, b)
			}
		}
	})
}

// Products allocate nothing once their buffers have grown.
func TestMatMulAllocations(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	pool := NewPool(2)
	defer pool.Close()
	const m, n, k = 3, 40, 256
	bytes, _ := PackedBytes(Q4_1, n, k, ArithInt8)
	w, err := Pack(aligned(int(bytes)), Q4_1, n, k, randomWeight(rng, Q4_1, n, k), ArithInt8, nil)
	if err != nil {
		t.Fatal(err)
	}
	x, y, z := randomInput(rng, m, k), make([]float32, m*n), make([]float32, m*n)
	var in Input
	if n := testing.AllocsPerRun(20, func() {
		in.Set(pool, x, m, k)
		MatMul(pool, y, n, &in, w)
		MatMulMany(pool, &in, [][]float32{y, z}, []int{n, n}, []*Matrix{w, w})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
