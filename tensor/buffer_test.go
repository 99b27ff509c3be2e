package tensor

import (
	"slices"
	"testing"

	"github.com/lowkeylm/lowkey/kernel"
)

// Quantising at load goes a few rows at a time, and packs what quantising the whole matrix would.
func TestQuantiseByRows(t *testing.T) {
	const rows, cols = 150, 64 // neither whole panels nor whole parts of a table
	x := make([]float32, rows*cols)
	for i := range x {
		x[i] = float32(i*7919%1000)/500 - 1
	}
	w := FloatWeight("w", rows, cols, x)
	pool := kernel.NewPool(2)
	defer pool.Close()
	for _, to := range []kernel.Format{kernel.F16, kernel.BF16, kernel.Q8_0, kernel.Q4_1} {
		whole := make([]byte, rows*cols*4)
		if err := kernel.Quantize(to, whole, x); err != nil {
			t.Fatal(err)
		}
		want := make([]float32, rows*cols)
		kernel.Dequantize(to, want, whole)
		p := &Packer{Pool: pool, To: &to}
		l, err := p.Linear(w, nil)
		if err != nil {
			t.Fatal(err)
		}
		table, err := p.Table(w)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			row := make([]float32, cols)
			if l.m.Row(row, i); !slices.Equal(row, want[i*cols:][:cols]) {
				t.Fatalf("%v: row %d of the packed matrix differs", to, i)
			}
			if table.t.Row(row, i); !slices.Equal(row, want[i*cols:][:cols]) {
				t.Fatalf("%v: row %d of the table differs", to, i)
			}
		}
		if n, err := p.LinearBytes(w); err != nil || p.Bytes() != n+p.TableBytes(w) {
			t.Errorf("%v: %d bytes counted, %d and %d foretold: %v", to, p.Bytes(), n, p.TableBytes(w), err)
		}
		p.Free()
	}
	k := kernel.Q4_K
	if _, err := (&Packer{Pool: pool, To: &k}).Linear(FloatWeight("w", 1, 256, x[:256]), nil); err == nil {
		t.Error("q4_K is read from files only, and was made at load")
	}
}
