package bench

import (
	"math"
	"slices"
	"testing"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestFitLine(t *testing.T) {
	x := []float64{0, 512, 4096, 8192}
	y := make([]float64, len(x))
	for i := range x {
		y[i] = 3 + 0.002*x[i]
	}
	a, b := fitLine(x, y)
	near(t, "a", a, 3, 1e-9)
	near(t, "b", b, 0.002, 1e-12)
	near(t, "off the line", offLine(x, y, a, b), 0, 1e-9)
	// y = (0, 1, 1): mean 2/3 at mean x 1; slope sum((x-1)(y-2/3))/2 = 1/2; the middle is off by 1/3
	a, b = fitLine([]float64{0, 1, 2}, []float64{0, 1, 1})
	near(t, "a", a, 1.0/6, 1e-12)
	near(t, "b", b, 0.5, 1e-12)
	near(t, "off", offLine([]float64{1}, []float64{1}, a, b), 1.0/3, 1e-12)
}

func TestMedian(t *testing.T) {
	v := []float64{5, 1, 4, 2, 3}
	near(t, "odd", median(v), 3, 0)
	near(t, "even", median([]float64{4, 1, 3, 2}), 2, 0)
	if !slices.Equal(v, []float64{5, 1, 4, 2, 3}) {
		t.Error("median reordered its input")
	}
}

func TestSeen(t *testing.T) {
	near(t, "from the start", seen(0, 4, 0), 1+2+3+4, 0)
	near(t, "later", seen(10, 3, 0), 11+12+13, 0)
	near(t, "through a window", seen(2, 4, 5), 3+4+5+5, 0)
}

func TestParseKV(t *testing.T) {
	for text, want := range map[string][]string{"f16,q8": {"f16", "q8"}, "f16 k=q8,v=q4": {"f16", "k=q8,v=q4"}, "q4;q8h, f32": {"q4", "q8h", "f32"}, "": nil} {
		if got, err := ParseKV(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	if _, err := ParseKV("f16,q3"); err == nil {
		t.Error("q3 was taken")
	}
}

func TestInterpolation(t *testing.T) {
	m := &Machine{Read: []Bandwidth{{1 << 20, 100}, {2 << 20, 40}, {4 << 20, 20}}}
	for bytes, want := range map[int64]float64{1: 100, 1 << 20: 100, 2 << 20: 40, 2965821: 30} { // 2965821 = 2 MiB * sqrt 2
		got, err := m.Bandwidth(bytes)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "bandwidth", got, want, 1e-4)
	}
}
