package kernel

import (
	"strings"
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
	if name := KernelName(Q4_1, ArithInt8, 1); !strings.HasPrefix(name, Level()+" Q4_1") {
		t.Errorf("kernel is called %q", name)
	}
	if name := KernelName(Q4_1, ArithF32, 1); !strings.HasPrefix(name, Level()+" F32") {
		t.Errorf("kernel is called %q", name)
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
