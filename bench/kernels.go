package bench

// The products of a model's matrices, shape by shape: which kernel runs, how fast, and the share of what the machine allows. All matrices of a shape are multiplied in turn,
// so that weights come from where they come from in a model and not from the nearest cache.

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/kernel"
)

// Product is one shape with so many rows of activations.
type Product struct {
	Matrices   string  `json:"matrices"` // "attn_k attn_v"
	Format     string  `json:"format"`
	N          int     `json:"n"` // outputs
	K          int     `json:"k"` // inputs
	M          int     `json:"m"` // rows of activations
	Count      int     `json:"count"`
	Kernel     string  `json:"kernel"`
	Micros     float64 `json:"microseconds"` // of one product
	Gops       float64 `json:"gops_per_second"`
	GBPerSec   float64 `json:"gb_per_second"` // of packed weights
	Floor      float64 `json:"floor_microseconds"`
	Share      float64 `json:"share"` // floor / measured
	Bound      string  `json:"bound"`
	WorkingSet int64   `json:"working_set"` // bytes of all matrices that took turns
}

// workingSet bounds what is packed of one shape, where no memory budget does.
const workingSet = 256 << 20

// Kernels measures every shape of the model with each number of rows. Output matrices are left out where more than 16 rows would meet them: a prompt asks for the logits of
// its last token.
func Kernels(ctx context.Context, path string, load lowkey.Options, rows []int, progress func(string)) (*Machine, []Product, error) {
	load.Context = 64
	m, err := lowkey.Load(path, load)
	if err != nil {
		return nil, nil, err
	}
	defer m.Close()
	threads := load.Threads
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	machine, err := NewMachine(threads)
	if err != nil {
		return nil, nil, err
	}
	defer machine.Close()
	machine.within(m)
	list, err := matrices(m)
	if err != nil {
		return nil, nil, err
	}
	arith, err := lowkey.ParseArith(load.Activations)
	if err != nil {
		return nil, nil, err
	}
	type shape struct {
		format     kernel.Format
		rows, cols int
		looked     bool // only looked up
	}
	groups := map[shape][]matrix{}
	var order []shape
	for _, t := range list {
		s := shape{t.format, t.rows, t.cols, t.role == embedMatrix}
		if s.looked {
			continue
		}
		if groups[s] == nil {
			order = append(order, s)
		}
		groups[s] = append(groups[s], t)
	}
	var out []Product
	for _, s := range order {
		if progress != nil {
			progress(fmt.Sprintf("%s %d x %d", s.format, s.rows, s.cols))
		}
		p, err := measureShape(ctx, machine, groups[s], arith, rows)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, p...)
	}
	return machine, out, nil
}

func measureShape(ctx context.Context, machine *Machine, group []matrix, arith kernel.Arith, rows []int) ([]Product, error) {
	first := group[0]
	size, err := kernel.PackedBytes(first.format, first.rows, first.cols, arith)
	if err != nil {
		return nil, err
	}
	names := kinds(group)
	set := int64(workingSet)
	if machine.room > 0 {
		set = min(set, machine.room)
	}
	group = group[:min(len(group), int(max(1, set/size)))]
	var packed []*kernel.Matrix
	for _, t := range group {
		mem, err := kernel.Alloc(size)
		if err != nil {
			return nil, err
		}
		defer mem.Free()
		data := t.data
		if t.format != t.stored {
			x := make([]float32, t.rows*t.cols)
			kernel.Dequantize(t.stored, x, t.data)
			elems, bytes := t.format.Block()
			data = make([]byte, len(x)/elems*bytes)
			if err := kernel.Quantize(t.format, data, x); err != nil {
				return nil, err
			}
		}
		w, err := kernel.Pack(mem.Bytes()[:size], t.format, t.rows, t.cols, data, arith, machine.pool)
		if err != nil {
			return nil, err
		}
		packed = append(packed, w)
	}
	set = size * int64(len(packed))
	bw, err := machine.Bandwidth(set)
	if err != nil {
		return nil, err
	}
	peak := machine.PeakF32
	if first.format.Quantised() && arith == kernel.ArithInt8 {
		peak = machine.PeakInt8
	}
	var out []Product
	for _, n := range rows {
		if n > 16 && first.role != bodyMatrix {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		seconds := timeProducts(machine.pool, packed, n)
		ops := 2 * float64(n) * float64(first.rows) * float64(first.cols)
		read, compute := float64(size)/(bw*1e9), ops/(peak*1e9)
		p := Product{Matrices: names, Format: first.format.String(), N: first.rows, K: first.cols, M: n, Count: len(packed), Kernel: kernel.KernelName(first.format, arith, n),
			Micros: 1e6 * seconds, Gops: ops / 1e9 / seconds, GBPerSec: float64(size) / 1e9 / seconds, Floor: 1e6 * max(read, compute), Bound: "bytes", WorkingSet: set}
		if compute > read {
			p.Bound = "operations"
		}
		p.Share = p.Floor / p.Micros
		out = append(out, p)
	}
	return out, nil
}

// timeProducts is the median time of a product with each weight in turn: new activations each time, their int8 form included.
func timeProducts(pool *kernel.Pool, weights []*kernel.Matrix, m int) float64 {
	n, k := weights[0].N, weights[0].K
	x, y := make([]float32, m*k), make([]float32, m*n)
	for i := range x {
		x[i] = float32(i*7919%2001-1000) / 1000
	}
	var in kernel.Input
	round := func() {
		for _, w := range weights {
			in.Set(pool, x, m, k)
			kernel.MatMul(pool, y, n, &in, w)
		}
	}
	round()
	var times []float64
	for start := time.Now(); len(times) < 3 || time.Since(start) < 100*time.Millisecond; {
		t := time.Now()
		round()
		times = append(times, time.Since(t).Seconds()/float64(len(weights)))
	}
	return median(times)
}

// kinds names the matrices of a group without their layers: "attn_k attn_v".
func kinds(group []matrix) string {
	var names []string
	for _, t := range group {
		parts := strings.Split(strings.TrimSuffix(t.name, ".weight"), ".")
		name := parts[len(parts)-1]
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}
