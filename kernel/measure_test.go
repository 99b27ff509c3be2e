package kernel

import (
	"testing"
	"time"
)

func TestMeasure(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		p := NewPool(2)
		defer p.Close()
		for _, what := range []string{"f32", "int8"} {
			round, ops := peakRound(what)
			if round == nil || ops <= 0 {
				t.Fatalf("%s has no loop", what)
			}
			round(3)
		}
		if v, err := MeasureReadBandwidth(p, 3<<18, time.Millisecond); err != nil || !(v > 0) {
			t.Errorf("bandwidth %v, %v", v, err)
		}
		if _, err := MeasurePeak(p, "f64"); err == nil {
			t.Error("a peak of f64 was measured")
		}
	})
	want := map[string][3]string{ // 1 and 40 rows of q4_1 in int8, 14 rows of q8_0 in f32
		"plain":  {"Q4_1 go", "Q4_1 go", "F32 go"},
		"avx2":   {"Q4_1 avx2 int8 1x16", "Q4_1 avx2 int8 4x16", "F32 avx2 f32 5x16"},
		"avx512": {"Q4_1 avx512 int8 1x16", "Q4_1 avx512 int8 16x16", "F32 avx512 f32 14x32"},
		"amx":    {"Q4_1 avx512 int8 1x16", "Q4_1 amx int8 16x16", "F32 avx512 f32 14x32"},
	}[Level()]
	got := [3]string{KernelName(Q4_1, ArithInt8, 1), KernelName(Q4_1, ArithInt8, 40), KernelName(Q8_0, ArithF32, 14)}
	if got != want {
		t.Errorf("kernels are called %q, want %q", got, want)
	}
}

func BenchmarkMachine(b *testing.B) {
	for threads := 1; threads <= 2; threads++ {
		p := NewPool(threads)
		for _, what := range []string{"f32", "int8"} {
			v, err := MeasurePeak(p, what)
			if err != nil {
				b.Fatal(err)
			}
			b.Logf("%d threads: %s %.0f GFLOP/s", threads, what, v)
		}
		for _, n := range []int64{1 << 20, 64 << 20, 512 << 20} {
			v, err := MeasureReadBandwidth(p, n, 200*time.Millisecond)
			if err != nil {
				b.Fatal(err)
			}
			b.Logf("%d threads: read %d MiB at %.1f GB/s", threads, n>>20, v)
		}
		p.Close()
	}
}
