package attention

// Every design in sizes that no model has, chosen at random: heads and widths that fill no vector, no block of a codec and no page, sequences of one token and of a page and one more.

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/tensor"
)

// sizes draws from small numbers, most of them odd ones out.
type sizes struct{ *rand.Rand }

func (r sizes) of(n ...int) int         { return n[r.IntN(len(n))] }
func (r sizes) to(n int) int            { return 1 + r.IntN(n) }
func (r sizes) width() int              { return r.of(1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 34, 64, 65) }
func (r sizes) hidden() int             { return r.of(7, 16, 33, 40, 65) }
func (r sizes) turned() int             { return 2 * r.of(1, 2, 3, 4, 5, 8, 9, 16, 17) }
func (r sizes) yes() bool               { return r.IntN(2) == 0 }
func (r sizes) rope(d int) *tensor.Rope { return ropeOf(d, r.yes()) }

func (r sizes) gqa() GQA {
	a := GQA{Hidden: r.hidden(), KVHeads: r.of(1, 1, 2, 3, 5), HeadDim: r.turned(), ValueDim: r.width(), Scale: 0.3, NormEps: 1e-5, QKNorm: r.yes(), VNorm: r.yes(), Sinks: r.yes()}
	a.Heads = a.KVHeads * r.of(1, 2, 3, 5, 7, 11)
	a.Rope = r.rope(a.HeadDim)
	if r.yes() { // a tail that is not turned, and with it an odd width
		a.HeadDim += r.width()
	}
	if r.yes() {
		a.Softcap = 3
	}
	if r.yes() {
		a.Window = r.of(1, 2, 5, 63, 64, 65)
	}
	return a
}

func (r sizes) mla() MLA {
	a := MLA{Hidden: r.hidden(), Heads: r.of(1, 2, 3, 5, 7, 13), QRank: r.of(0, 1, 7, 40), KVRank: r.width(), Nope: r.width(), RopeDim: r.turned(), ValueDim: r.width(), Scale: 0.22, QScale: 1.1, KVScale: 0.9, Eps: 1e-6}
	a.Rope = r.rope(a.RopeDim)
	return a
}

func (r sizes) gla() GLA {
	a := GLA{r.mla(), r.of(1, 2, 3, 4)}
	a.KVRank *= a.Latents
	a.Heads *= a.Latents
	return a
}

func (r sizes) mfa() MFA {
	a := MFA{Hidden: r.hidden(), Heads: r.of(1, 2, 5, 7, 20), HeadDim: r.turned(), QRank: r.width(), Scale: 0.3, Norm: r.yes(), NormEps: 1e-5}
	a.Rope = r.rope(a.HeadDim)
	return a
}

func (r sizes) mka() MKA {
	kv, d := r.of(1, 2, 3), r.turned()
	return MKA{Hidden: r.hidden(), Heads: kv * r.of(1, 2, 5), KVHeads: kv, HeadDim: d, Levels: r.of(2, 3), Router: r.width(), Beta: 0.8, Scale: 0.3, Rope: r.rope(d)}
}

// designs draws one of each.
func (r sizes) designs() map[string]Design {
	gta := GTA{Hidden: r.hidden(), KVHeads: r.of(1, 2, 3), Nope: r.width(), RopeDim: r.turned(), Scale: 0.3}
	gta.Heads, gta.Rope = gta.KVHeads*r.of(1, 2, 5), r.rope(gta.RopeDim)
	mlra := MLRA{GLA: r.gla(), OutScale: 0.7}
	mlra.Branches = r.of(1, mlra.Latents)
	tpa := TPA{Hidden: r.hidden(), Heads: r.of(1, 2, 3, 7, 17), HeadDim: r.turned(), QRank: r.of(0, 1, 3, 20), KRank: r.of(1, 2, 3, 9), VRank: r.of(1, 2, 5, 8), Scale: 0.3, OutNorm: r.yes(), OutNormEps: 1e-5}
	tpa.Rope = r.rope(tpa.HeadDim)
	latent := r.mla()
	latent.Eps = 1e-5
	cca := CCA{Hidden: r.hidden(), KVHeads: r.of(1, 2, 3), HeadDim: r.turned(), Taps0: r.to(4), Taps1: r.to(4), Scale: 0.3}
	cca.Heads, cca.Rope = cca.KVHeads*r.of(1, 2, 5), r.rope(cca.HeadDim)
	lrkv := LRKV{Hidden: r.hidden(), Heads: r.of(1, 2, 3, 7), HeadDim: r.turned(), Rank: r.width(), Scale: 0.3}
	lrkv.Rope = r.rope(lrkv.HeadDim)
	tucker := Tucker{Hidden: r.hidden(), Heads: r.of(1, 2, 3, 7), HeadRank: r.to(4), QRank: r.width(), KRank: r.turned(), VRank: r.width(), OutHeadRank: r.to(4), OutRank: r.width(), SharedKV: r.yes(), Scale: 0.3}
	tucker.Rope = r.rope(tucker.KRank)
	if tucker.SharedKV {
		tucker.VRank = tucker.KRank
	}
	kha := KHA{r.gqa(), r.yes()}
	kha.QKNorm, kha.VNorm, kha.Sinks = false, false, false
	mka := r.mka()
	mka.Levels = 2
	return map[string]Design{"gqa": r.gqa(), "mla": r.mla(), "gla": r.gla(), "mlra": mlra, "gta": gta, "mfa": r.mfa(), "mfa-kr": MFAKR{MFA: r.mfa()}, "tpa": tpa, "mtla": MTLA{latent, r.of(1, 2, 3, 5, 7, 64), r.to(9)},
		"mka": mka, "mka-fast": FastMKA{r.mka()}, "cca": cca, "lrkv": lrkv, "tucker": tucker, "kha": kha, "kha-mla": KHAMLA{r.mla()}, "eg-mla": EGMLA{MLA: r.mla(), Vocab: 37, GateDim: r.width(), NormEps: 1e-5}}
}

// The cached step is Forward in float64, in every cache type within its error, and has the same bits however its tokens come, in both arithmetics.
func TestOddSizes(t *testing.T) {
	draws := 6
	if testing.Short() || kernel.Level() == "plain" {
		draws = 2
	}
	types := []struct {
		name  string
		bound float64 // of the root mean square
	}{{"f32", 1e-5}, {"f16", 3e-3}, {"bf16", 1e-2}, {"q8", 3e-2}, {"q8h", 3e-2}, {"q4", 0.35}, {"q4h", 0.35}}
	r := sizes{rand.New(rand.NewPCG(9, 10))}
	worst := map[string]float64{}
	for draw := range draws {
		designs := r.designs()
		var names []string
		for name := range designs {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			design, w, hidden := designs[name], weightMap{}, 0
			for _, p := range design.Params() {
				w.add(r.Rand, p.Name, p.Shape...)
				if p.Name == "o" {
					hidden = p.Shape[0]
				}
			}
			c := testCase{name, hidden, design, w, 0}
			rows := r.of(1, 2, 3, 17, 63, 64, 65, 66, 129)
			kv := types[1+r.IntN(len(types)-1)]
			if name == "mfa-kr" && kv.name[len(kv.name)-1] == 'h' {
				kv = types[0]
			}
			chunks := [2][]int{{r.to(rows), r.to(5), r.to(70)}, {r.to(70)}}
			what := fmt.Sprintf("draw %d, %d tokens, chunks %v, %+v", draw, rows, chunks, design)
			x, pos := input(rows, hidden), make([]int, rows)
			for i := range pos {
				pos[i] = i
			}
			o := tensor.NewEager64()
			want := o.Values(Of(design, tokenIDs(0, rows)).Forward(o, w, o.Leaf([]int{rows, hidden}, x), pos))
			far := func(got []float32) float64 {
				d, all := 0.0, 0.0
				for i, v := range want {
					d, all = d+(float64(got[i])-v)*(float64(got[i])-v), all+v*v
				}
				return math.Sqrt(d / all)
			}
			for _, typ := range []int{0, slices.Index(types, kv)} {
				kv := types[typ]
				got := cached(t, c, c.types(kv.name), x, rows, 1, chunks[0], kernel.ArithF32)
				e := far(got)
				worst[kv.name] = max(worst[kv.name], e)
				if !(e <= kv.bound) {
					t.Errorf("%s %s: differs from Forward by %.3g: %s", name, kv.name, e, what)
				}
				arith := []kernel.Arith{kernel.ArithF32, kernel.ArithInt8}[r.IntN(2)]
				one, two := cached(t, c, c.types(kv.name), x, rows, 1, chunks[0], arith), cached(t, c, c.types(kv.name), x, rows, 2, chunks[1], arith)
				if !slices.Equal(one, two) {
					t.Errorf("%s %s: other bits in other chunks: %s", name, kv.name, what)
				}
			}
		}
	}
	t.Logf("furthest from Forward: %v", worst)
}
