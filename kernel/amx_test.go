//go:build amd64

package kernel

import (
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

// AMX gives the bits of AVX-512, for every format, cuts of K, leftover rows and columns.
func TestAMXSameBits(t *testing.T) {
	if !amxLevel {
		t.Skip("this machine or level has no AMX")
	}
	defer func() { amxLevel = true }()
	rng := rand.New(rand.NewPCG(7, 7))
	pool := NewPool(2)
	defer pool.Close()
	for _, f := range allFormats {
		if !f.Quantised() {
			continue
		}
		for _, size := range [][3]int{{16, 16, 256}, {32, 16, 256}, {40, 33, 256}, {100, 64, 2304}, {65, 48, 4352}, {512, 20, 256}} {
			m, n, k := size[0], size[1], size[2]
			if elems, _ := f.Block(); elems == 32 {
				k += 32 // an odd number of blocks
			}
			bytes, err := PackedBytes(f, n, k, ArithInt8)
			if err != nil {
				t.Fatal(err)
			}
			w, err := Pack(aligned(int(bytes)), f, n, k, randomWeight(rng, f, n, k), ArithInt8, pool)
			if err != nil {
				t.Fatal(err)
			}
			x := randomInput(rng, m, k)
			var y [2][]float32
			for i := range y {
				amxLevel = i == 1
				var in Input
				in.Set(pool, x, m, k)
				y[i] = make([]float32, m*n)
				MatMul(pool, y[i], n, &in, w)
			}
			for i := range y[0] {
				if math.Float32bits(y[0][i]) != math.Float32bits(y[1][i]) {
					t.Fatalf("%s %v: element %d is %v with AMX, %v without", f, size, i, y[1][i], y[0][i])
				}
			}
		}
	}
}

// Products stay right while the collector runs and other goroutines take the threads: a call's tiles must survive signals and must not outlive it.
func TestAMXUnderPressure(t *testing.T) {
	if !amxLevel {
		t.Skip("this machine or level has no AMX")
	}
	const m, n, k = 64, 64, 512
	rng := rand.New(rand.NewPCG(8, 8))
	bytes, _ := PackedBytes(Q4_1, n, k, ArithInt8)
	w, err := Pack(aligned(int(bytes)), Q4_1, n, k, randomWeight(rng, Q4_1, n, k), ArithInt8, nil)
	if err != nil {
		t.Fatal(err)
	}
	x, want := randomInput(rng, m, k), make([]float32, m*n)
	var in Input
	in.Set(nil, x, m, k)
	MatMul(nil, want, n, &in, w)
	stop := make(chan bool)
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	}()
	fail := make(chan string, 4)
	for range 4 {
		go func() {
			var in Input
			y := make([]float32, m*n)
			for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
				in.Set(nil, x, m, k)
				MatMul(nil, y, n, &in, w)
				for i := range y {
					if math.Float32bits(y[i]) != math.Float32bits(want[i]) {
						fail <- "a product changed"
						return
					}
				}
			}
			fail <- ""
		}()
	}
	for range 4 {
		if s := <-fail; s != "" {
			t.Error(s)
		}
	}
	close(stop)
}
