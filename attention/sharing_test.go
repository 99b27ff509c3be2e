package attention

import (
	"math"
	"testing"

	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// reading runs, token by token, a layer that makes rows of x and one that reads them with queries of z, and returns the reader's output. Strict: the reader runs first.
func reading(t *testing.T, c testCase, kv string, x, z []float32, rows int, strict bool) []float32 {
	t.Helper()
	pool := kernel.NewPool(2)
	defer pool.Close()
	spec, err := kvcache.ParseSpec(kv)
	if err != nil {
		t.Fatal(err)
	}
	maker := c.design.(Sharer)
	layers := []kvcache.Layout{maker.Layout(), maker.Reader().Layout()}
	store, err := kvcache.New(kvcache.Config{Layers: layers, Spec: spec, Budget: 16 << 20, MaxRows: rows})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ws := tensor.NewWorkspace(pool)
	packer := &tensor.Packer{Pool: pool, Arith: kernel.ArithF32}
	defer packer.Free()
	bind := func(d Design) Cached {
		bound, err := d.Bind(c.w, packer)
		if err != nil {
			t.Fatal(c.name, err)
		}
		return bound
	}
	made, read := bind(maker), bind(maker.Reader())
	seq := store.NewSequence("")
	var out []float32
	ids := tokenIDs(0, rows)
	for at := range rows {
		if err := seq.Reserve(1); err != nil {
			t.Fatal(err)
		}
		ws.Begin([]int{at})
		run := func(b Cached, from []float32, strict bool) []float32 {
			view := b.View()
			view.Planes = store.Planes(0)
			in := ws.New(1, c.hidden)
			copy(in.Float32s(), from[at*c.hidden:][:c.hidden])
			s := &Step{Workspace: ws, Sequences: []*kvcache.Sequence{seq}, Counts: []int{1}, View: &view, Types: store.Types(0), Strict: strict, Tokens: ids[at : at+1]}
			return b.Step(s, in).Float32s()
		}
		if strict {
			out = append(out, run(read, z, true)...)
			run(made, x, false)
		} else {
			run(made, x, false)
			out = append(out, run(read, z, false)...)
		}
		seq.Commit(ids[at : at+1])
	}
	return out
}

// A reader's cached step is Read over the maker's Rows, for every design that shares, and in every cache type; strictly too, where the first token sees nothing.
func TestReaders(t *testing.T) {
	rows := 150
	if kernel.Level() == "plain" {
		rows = 70
	}
	for _, c := range cases() {
		maker, ok := c.design.(Sharer)
		if !ok {
			t.Logf("%s does not share", c.name)
			continue
		}
		if n := len(maker.Reader().Layout().Streams); n != 0 {
			t.Errorf("%s: a reader has %d streams", c.name, n)
		}
		x, z, pos := input(rows, c.hidden), input(rows, c.hidden), make([]int, rows)
		for i := range pos {
			pos[i] = i
			z[i] = -z[len(z)-1-i]
		}
		for _, strictly := range []bool{false, true} {
			if a, ok := c.design.(GQA); ok && strictly && a.Window > 0 {
				continue
			}
			o := tensor.NewEager64()
			p := o
			if strictly {
				p = Strictly(o)
			}
			made := maker.Rows(o, c.w, o.Leaf([]int{rows, c.hidden}, x), pos)
			want := o.Values(Of(maker, tokenIDs(0, rows)).(Sharer).Read(p, c.w, o.Leaf([]int{rows, c.hidden}, z), pos, made))
			top := 0.0
			for _, v := range want {
				top = max(top, math.Abs(v))
			}
			for _, v := range want[:c.hidden] {
				if strictly && v != 0 {
					t.Fatalf("%s: the first token sees something", c.name)
				}
			}
			for _, kv := range []struct {
				name  string
				bound float64
			}{{"f32", 1e-4}, {"q8", 3e-2}, {"q8h", 3e-2}} {
				if kv.name == "q8h" && c.name == "mfa-kr" {
					continue
				}
				got := reading(t, c, c.types(kv.name), x, z, rows, strictly)
				worst := 0.0
				for i, v := range got {
					worst = max(worst, math.Abs(float64(v)-want[i]))
				}
				if !(worst <= kv.bound*top) {
					t.Errorf("%s, %s, strict %v: differs from Read by %.3g of %.3g", c.name, kv.name, strictly, worst, top)
				}
			}
		}
	}
}

// Strict attention is attention with the diagonal masked: a plain loop in float64.
func TestStrict(t *testing.T) {
	const rows, heads, w = 7, 2, 3
	o := tensor.NewEager64()
	q, k, v := input(rows, heads*w), input(rows, w), input(rows, w)
	leaf := func(x []float32, cols int) tensor.Tensor { return o.Leaf([]int{rows, cols}, x) }
	got := o.Values(Strictly(o).Attend(leaf(q, heads*w), leaf(k, w), leaf(v, w), tensor.Attend{Heads: heads, KVHeads: 1, Scale: 0.6}))
	for i := range rows {
		for h := range heads {
			var sum float64
			var mix [w]float64
			for j := range i {
				dot := 0.0
				for c := range w {
					dot += float64(q[(i*heads+h)*w+c]) * float64(k[j*w+c])
				}
				p := math.Exp(0.6 * dot)
				sum += p
				for c := range w {
					mix[c] += p * float64(v[j*w+c])
				}
			}
			for c := range w {
				want := 0.0
				if i > 0 {
					want = mix[c] / sum
				}
				if g := got[(i*heads+h)*w+c]; math.Abs(g-want) > 1e-12 {
					t.Errorf("token %d, head %d: %v, want %v", i, h, g, want)
				}
			}
		}
	}
}
