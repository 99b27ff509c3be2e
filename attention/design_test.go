package attention

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// weightMap is a design's weights, random.
type weightMap map[string]tensor.Weight

func (w weightMap) Get(name string) (tensor.Weight, bool) { t, ok := w[name]; return t, ok }

func (w weightMap) add(rng *rand.Rand, name string, shape ...int) {
	n := 1
	for _, s := range shape {
		n *= s
	}
	data := make([]byte, 4*n)
	scale := 1 / math.Sqrt(float64(shape[len(shape)-1]))
	for i := 0; i < n; i++ {
		v := rng.NormFloat64() * scale
		if len(shape) == 1 {
			v = 1 + 0.3*rng.NormFloat64()
		}
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(float32(v)))
	}
	w[name] = tensor.Weight{Name: name, Format: kernel.F32, Shape: shape, Data: data}
}

func ropeOf(dim int, pairs bool) *tensor.Rope {
	r := &tensor.Rope{Pairs: pairs}
	for i := 0; i < dim/2; i++ {
		r.InvFreq = append(r.InvFreq, math.Pow(10000, -2*float64(i)/float64(dim)))
	}
	return r
}

type testCase struct {
	name   string
	hidden int
	design Design
	w      weightMap
	perRow int // elements a token leaves behind, from the paper's formula
}

// moreCases are those of designs whose cases stand in test files of their own.
var moreCases []func(rng *rand.Rand) testCase

func cases() []testCase {
	rng := rand.New(rand.NewPCG(3, 4))
	gqa := func(name string, a GQA, want int) testCase {
		w := weightMap{}
		w.add(rng, "q", a.Heads*a.HeadDim, a.Hidden)
		w.add(rng, "k", a.KVHeads*a.HeadDim, a.Hidden)
		w.add(rng, "v", a.KVHeads*a.ValueDim, a.Hidden)
		w.add(rng, "o", a.Hidden, a.Heads*a.ValueDim)
		w.add(rng, "q.bias", a.Heads*a.HeadDim)
		if a.QKNorm {
			w.add(rng, "q_norm", a.HeadDim)
			w.add(rng, "k_norm", a.HeadDim)
		}
		if a.Sinks {
			w.add(rng, "sinks", a.Heads)
		}
		return testCase{name, a.Hidden, a, w, want}
	}
	mfa := func() (MFA, weightMap) {
		a := MFA{Hidden: 40, Heads: 5, HeadDim: 32, QRank: 24, Scale: 1 / math.Sqrt(32), Norm: true, NormEps: 1e-5, Rope: ropeOf(32, false)}
		w := weightMap{}
		w.add(rng, "q_a", a.QRank, a.Hidden)
		w.add(rng, "q_norm", a.QRank)
		w.add(rng, "q_b", a.Heads*a.HeadDim, a.QRank)
		w.add(rng, "k", a.HeadDim, a.Hidden)
		w.add(rng, "v", a.HeadDim, a.Hidden)
		w.add(rng, "o", a.Hidden, a.Heads*a.HeadDim)
		w.add(rng, "alpha", a.HeadDim)
		w.add(rng, "n", a.HeadDim, a.HeadDim)
		return a, w
	}
	mla := func(name string, qrank int) testCase {
		a := MLA{Hidden: 40, Heads: 4, QRank: qrank, KVRank: 32, Nope: 12, RopeDim: 8, ValueDim: 10, Scale: 0.22, QScale: 1.1, KVScale: 0.9, Eps: 1e-6, Rope: ropeOf(8, true)}
		w := weightMap{}
		w.add(rng, "q", a.Heads*20, a.Hidden)
		w.add(rng, "q_a", 24, a.Hidden)
		w.add(rng, "q_a_norm", 24)
		w.add(rng, "q_b", a.Heads*20, 24)
		w.add(rng, "kv_a", 40, a.Hidden)
		w.add(rng, "kv_a_norm", 32)
		w.add(rng, "kv_b", a.Heads*22, 32)
		w.add(rng, "o", a.Hidden, a.Heads*10)
		return testCase{name, 40, a, w, 32 + 8}
	}
	tpa := func(name string, qrank int, norm bool, want int) testCase {
		a := TPA{Hidden: 40, Heads: 5, HeadDim: 32, QRank: qrank, KRank: 2, VRank: 3, Scale: 1 / math.Sqrt(32), Rope: ropeOf(32, false), OutNorm: norm, OutNormEps: 1e-5}
		w := weightMap{}
		for _, p := range a.Params() {
			w.add(rng, p.Name, p.Shape...)
		}
		return testCase{name, 40, a, w, want}
	}
	latents := func(name string, qrank, latents, branches, block int) testCase { // block heads of a branch read the same latent
		gla := GLA{MLA{Hidden: 40, Heads: 4, QRank: qrank, KVRank: 40, Nope: 12, RopeDim: 8, ValueDim: 10, Scale: 0.22, QScale: 1.1, KVScale: 0.9, Eps: 1e-6, Rope: ropeOf(8, false)}, latents}
		var a Design = gla
		if branches > 0 {
			a = MLRA{gla, branches, 0.7}
		}
		w := weightMap{}
		for _, p := range a.Params() {
			w.add(rng, p.Name, p.Shape...)
		}
		for j := range latents {
			if got := w[fmt.Sprintf("kv_b.%d", j)].Shape[0]; got != block*22 {
				panic(fmt.Sprintf("%s: %d rows of kv_b.%d", name, got, j))
			}
		}
		return testCase{name, 40, a, w, 40 + 8}
	}
	gta := func(name string, nope, rope int) testCase {
		a := GTA{Hidden: 48, Heads: 6, KVHeads: 2, Nope: nope, RopeDim: rope, Scale: 1 / math.Sqrt(float64(nope+rope)), Rope: ropeOf(rope, false)}
		w := weightMap{}
		for _, p := range a.Params() {
			w.add(rng, p.Name, p.Shape...)
		}
		return testCase{name, 48, a, w, 2*(nope+rope) + rope}
	}
	made := func(name string, hidden int, a Design, want int, biased ...string) testCase { // with these biases
		w := weightMap{}
		for _, p := range a.Params() {
			w.add(rng, p.Name, p.Shape...)
			if slices.Contains(biased, p.Name) {
				w.add(rng, p.Name+".bias", p.Shape[0])
			}
		}
		return testCase{name, hidden, a, w, want}
	}
	lrkv := func(name string, rank int, rope, latent *tensor.Rope) testCase {
		a := LRKV{Hidden: 40, Heads: 5, HeadDim: 32, Rank: rank, Scale: 1 / math.Sqrt(32), Rope: rope, LatentRope: latent}
		return made(name, 40, a, 2*(32+5*rank), "q")
	}
	m, mw := mfa()
	kr, kw := mfa()
	base := GQA{Hidden: 48, Heads: 6, KVHeads: 2, HeadDim: 32, ValueDim: 32, Scale: 1 / math.Sqrt(32), Rope: ropeOf(32, false)}
	mha, mqa, sliding, odd, norm := base, base, base, base, base
	mha.KVHeads, mqa.KVHeads = 6, 1
	sliding.Window = 70
	odd.HeadDim, odd.ValueDim, odd.Rope, odd.Softcap, odd.Sinks = 14, 10, ropeOf(14, true), 3, true
	odd.VNorm, odd.NormEps = true, 1e-6
	knocked := odd
	knocked.Sinks, knocked.QKNorm, knocked.VNorm = false, true, false
	norm.QKNorm, norm.NormEps, norm.NormPlusOne = true, 1e-6, true
	out := []testCase{
		gqa("mha", mha, 2*6*32), gqa("gqa", base, 2*2*32), gqa("mqa", mqa, 2*32), gqa("gqa sliding", sliding, 2*2*32),
		gqa("gqa odd widths, cap, sinks", odd, 2*14+2*10), gqa("gqa qk-norm", norm, 2*2*32),
		mla("mla", 24), mla("mla without query rank", 0), {"mfa", 40, m, mw, 2 * 32}, {"mfa-kr", 40, MFAKR{MFA: kr}, kw, 32},
		latents("gla-2", 24, 2, 0, 2), latents("gla-4", 0, 4, 0, 1), latents("mlra-2", 0, 4, 2, 2), latents("mlra-4", 24, 4, 4, 4),
		gta("gta", 32, 32), gta("gta, unequal parts", 24, 8), gta("gta, odd width", 7, 6),
		lrkv("lrkv", 12, ropeOf(32, false), nil), lrkv("lrkv, turned latents", 32, ropeOf(32, true), ropeOf(32, false)), lrkv("lrkv, odd rank, part of a head turned", 7, ropeOf(16, false), nil),
		made("kha-linear", 48, KHA{GQA: knocked}, 2*14+2*10, "q", "k", "v"), made("kha-mlp", 48, KHA{GQA: knocked, MLP: true}, 2*14+2*10, "v"),
		made("kha-linear, mha", 48, KHA{GQA: mha}, 2*6*32), made("kha-mlp, mqa", 48, KHA{GQA: mqa, MLP: true}, 2*32),
		made("kha-mla", 40, KHAMLA{mla("", 24).design.(MLA)}, 32+8),
		tpa("tpa", 6, false, (2+3)*(5+32)), tpa("tpa, dense queries, norm", 0, true, (2+3)*(5+32)),
		tuckerCase("tucker", false, 32+24), tuckerCase("tucker, one row", true, 32),
		moasCase("moas", 2*16*(6+2+1), "mha", "gqa", "mqa"), moasCase("moas, routed", 2*16*2, "gqa"),
	}
	for _, more := range moreCases {
		out = append(out, more(rng))
	}
	return out
}

// types gives streams that cannot be turned by a Hadamard matrix, as they weigh heads, are of an odd width or are rotated on reading, the same codec without.
func (c testCase) types(kv string) string {
	plain, turned := strings.CutSuffix(kv, "h")
	if !turned {
		return kv
	}
	var parts []string
	for _, s := range c.design.Layout().Streams {
		if s.Weighs || s.Width%2 != 0 || s.Rope == kvcache.Before {
			parts = append(parts, s.Name+"="+plain)
		} else {
			parts = append(parts, s.Name+"="+kv)
		}
	}
	return strings.Join(parts, ",")
}

// cached runs a design's cached step over the rows of x in chunks of these sizes (the last one repeats) and returns its output.
func cached(t *testing.T, c testCase, kv string, x []float32, rows int, threads int, chunks []int, arith kernel.Arith) []float32 {
	t.Helper()
	pool := kernel.NewPool(threads)
	defer pool.Close()
	spec, err := kvcache.ParseSpec(kv)
	if err != nil {
		t.Fatal(err)
	}
	store, err := kvcache.New(kvcache.Config{Layers: []kvcache.Layout{c.design.Layout()}, Spec: spec, Budget: 16 << 20, MaxRows: rows})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	ws := tensor.NewWorkspace(pool)
	packer := &tensor.Packer{Pool: pool, Arith: arith}
	defer packer.Free()
	bound, err := c.design.Bind(c.w, packer)
	if err != nil {
		t.Fatal(err)
	}
	view := bound.View()
	view.Planes, view.Int8 = store.Planes(0), arith == kernel.ArithInt8
	seq := store.NewSequence("")
	step := &Step{Workspace: ws, Sequences: []*kvcache.Sequence{seq}, View: &view, Types: store.Types(0)}
	var out []float32
	for at, i := 0, 0; at < rows; i++ {
		n := min(chunks[min(i, len(chunks)-1)], rows-at)
		if err := seq.Reserve(n); err != nil {
			t.Fatal(err)
		}
		pos := make([]int, n)
		for j := range pos {
			pos[j] = at + j
		}
		ws.Begin(pos)
		in := ws.New(n, c.hidden)
		copy(in.Float32s(), x[at*c.hidden:][:n*c.hidden])
		step.Counts, step.Tokens = []int{n}, tokenIDs(at, at+n)
		out = append(out, bound.Step(step, in).Float32s()...)
		seq.Commit(step.Tokens)
		at += n
	}
	return out
}

// tokenIDs are the tokens at rows [from, to): below 50, and the same ones again within a tile.
func tokenIDs(from, to int) []int32 {
	var ids []int32
	for i := from; i < to; i++ {
		ids = append(ids, int32(i*i%37))
	}
	return ids
}

func input(rows, hidden int) []float32 {
	rng := rand.New(rand.NewPCG(5, 6))
	x := make([]float32, rows*hidden)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// Invariants 1 and 2: the cached (folded) step is the training forward, in f32 at every split of the prompt, in the other types at two of them.
func TestCachedIsForward(t *testing.T) {
	rows, splits := 200, [][]int{{1}, {7}, {63}, {64}, {65}, {200}}
	if kernel.Level() == "plain" {
		rows, splits = 130, [][]int{{7}, {64}, {65}, {130}}
	}
	for i, c := range cases() {
		t.Run(c.name, func(t *testing.T) { cachedIsForward(t, c, i, rows, splits) })
	}
}

// cachedIsForward checks the nth case.
func cachedIsForward(t *testing.T, c testCase, nth, rows int, splits [][]int) {
	t.Helper()
	x := input(rows, c.hidden)
	pos := make([]int, rows)
	for i := range pos {
		pos[i] = i
	}
	o := tensor.NewEager64()
	want := o.Values(Of(c.design, tokenIDs(0, rows)).Forward(o, c.w, o.Leaf([]int{rows, c.hidden}, x), pos))
	top := 0.0
	for _, v := range want {
		top = max(top, math.Abs(v))
	}
	for k, kv := range []struct {
		name  string
		bound float64
	}{{"f32", 1e-4}, {"f16", 3e-3}, {"bf16", 3e-2}, {"q8", 3e-2}, {"q8h", 3e-2}, {"q4", 0.35}, {"q4h", 0.35}} {
		if kv.name[len(kv.name)-1] == 'h' && c.name == "mfa-kr" {
			continue
		}
		kv.name = c.types(kv.name)
		some := splits
		if k > 0 {
			some = [][]int{splits[(nth+k)%len(splits)], splits[(nth+k+3)%len(splits)]}
		}
		for _, chunks := range some {
			got := cached(t, c, kv.name, x, rows, 2, chunks, kernel.ArithF32)
			worst := 0.0
			for i, v := range got {
				worst = max(worst, math.Abs(float64(v)-want[i]))
			}
			if !(worst <= kv.bound*top) {
				t.Errorf("%s, chunks of %d: differs from Forward by %.3g of %.3g", kv.name, chunks[0], worst, top)
			}
		}
	}
}

// Invariant 4 at the level of one layer: chunking and threads never change a bit, in either arithmetic, in f32 and one other cache type in turn (all types of all designs meet in model).
func TestSameBitsOneLayer(t *testing.T) {
	rows, types := 1090, []string{"f32", "f16", "bf16", "q8", "q4", "q8h"} // more than two chunks of keys
	if kernel.Level() == "plain" {
		rows, types = 570, []string{"f32", "q8"}
		if testing.Short() {
			rows = 200
		}
	}
	for i, c := range cases() {
		t.Run(c.name, func(t *testing.T) { sameBitsOneLayer(t, c, rows, []string{types[0], types[1+i%(len(types)-1)]}) })
	}
}

func sameBitsOneLayer(t *testing.T, c testCase, rows int, types []string) {
	t.Helper()
	x, pairs := input(rows, c.hidden), 0
	for _, kv := range types {
		if kv == "q8h" && c.name == "mfa-kr" {
			continue
		}
		kv = c.types(kv)
		for _, arith := range []kernel.Arith{kernel.ArithF32, kernel.ArithInt8} {
			want := cached(t, c, kv, x, rows, 1, []int{256}, arith)
			for j, chunks := range [][]int{{rows - 60, 1}, {100}, {min(513, rows/2), 3, 64}} {
				got := cached(t, c, kv, x, rows, 1+j, chunks, arith)
				pairs++
				for at, v := range got {
					if math.Float32bits(v) != math.Float32bits(want[at]) {
						t.Errorf("%s, chunks %v, %d threads: element %d is %v, was %v", kv, chunks, 1+j, at, v, want[at])
						break
					}
				}
			}
		}
	}
	t.Logf("%d pairs of runs compared", pairs)
}

// Bytes: elements per token, as the papers' formulas give them.
func TestLayoutElements(t *testing.T) {
	for _, c := range cases() {
		if got := c.design.Layout().Elements(); got != c.perRow {
			t.Errorf("%s: %d elements a token, want %d", c.name, got, c.perRow)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range cases() {
		for name := range c.w {
			if strings.HasSuffix(name, ".bias") {
				continue
			}
			w := weightMap{}
			for k, v := range c.w {
				if k != name {
					w[k] = v
				}
			}
			pool := kernel.NewPool(1)
			p := &tensor.Packer{Pool: pool}
			_, err := c.design.Bind(w, p)
			p.Free()
			pool.Close()
			unused := c.name == "mla" && name == "q" || c.name == "mla without query rank" && (name == "q_a" || name == "q_b" || name == "q_a_norm") ||
				c.name == "mfa" && (name == "alpha" || name == "n") || c.name == "mfa-kr" && name == "v"
			if (err == nil) != unused {
				t.Errorf("%s without %s: %v", c.name, name, err)
			}
		}
	}
}
