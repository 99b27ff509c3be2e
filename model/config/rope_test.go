package config

import (
	"math"
	"testing"

	"github.com/lowkeylm/lowkey/fault"
)

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-12*math.Max(1, math.Abs(want)) {
		t.Errorf("%s is %.16g, want %.16g", what, got, want)
	}
}

// Frequencies of every kind. The literals come from the published formulae worked by hand (base 1000 over 12 channels gives powers of the root of ten) or by an
// independent evaluation of them.
func TestFrequencies(t *testing.T) {
	cases := []struct {
		name    string
		rope    Rope
		context int
		factor  float64
		inv     []float64
	}{
		{"default", Rope{Dim: 8, Base: 10000, Kind: RopeDefault}, 100, 1, []float64{1, 0.1, 0.01, 0.001}},
		{"linear", Rope{Dim: 8, Base: 10000, Kind: RopeLinear, Factor: 2.5}, 100, 1, []float64{0.4, 0.04, 0.004, 0.0004}},
		{"factors", Rope{Dim: 8, Base: 10000, Kind: RopeFactors, Factors: []float64{1, 1, 2, 8}}, 100, 1, []float64{1, 0.1, 0.005, 0.000125}},
		// Turns in 64 tokens: 10.2, 3.5, 1.2, 0.4 ...: the first is kept, the next two are blended, the rest divided by 4.
		{"llama3", Rope{Dim: 16, Base: 5000, Kind: RopeLlama3, Factor: 4, Original: 64, LowFreq: 1, HighFreq: 4}, 256, 1,
			[]float64{1, 0.30282910514037614, 0.03601265264628424, 0.010252416881238995, 0.0035355339059327377, 0.001219224710114342, 0.00042044820762685725, 0.00014499107000551055}},
		// The ramp goes from index 1 to 4: index 2 keeps 2/3 of 0.1 and a third of it is divided by 4.
		{"yarn", Rope{Dim: 12, Base: 1000, Kind: RopeYarn, Factor: 4, Original: 256, BetaFast: 8, BetaSlow: 1, MScale: 0.7, MScaleAllDim: 1}, 1024, 0.9634746568860826,
			[]float64{1, math.Sqrt(0.1), 0.1*2/3 + 0.025/3, 0.015811388300841896, 0.0025, 0.0007905694150420946}},
		{"yarn without rounding", Rope{Dim: 16, Base: 1500, Kind: RopeYarn, Factor: 8, Original: 64, BetaFast: 4, BetaSlow: 1, NoTruncate: true}, 512, 1.2079441541679836,
			[]float64{1, 0.4008561884129149, 0.07005614833463526, 0.008051481342019192, 0.003227486121839514, 0.0012937577849561684, 0.0005186108144070653, 0.0002078883543329338}},
		{"yarn with its factor", Rope{Dim: 2, Base: 1000, Kind: RopeYarn, Factor: 4, Original: 256, BetaFast: 8, BetaSlow: 1, AttentionFactor: 1.5}, 1024, 1.5, []float64{1}},
		{"longrope, short", Rope{Dim: 4, Base: 10000, Kind: RopeLong, Factor: 32, Original: 4096, Short: []float64{1, 2}, Long: []float64{4, 5}}, 4096, 1.1902380714238083, []float64{1, 0.005}},
		{"longrope, long", Rope{Dim: 4, Base: 10000, Kind: RopeLong, Factor: 32, Original: 4096, Short: []float64{1, 2}, Long: []float64{4, 5}}, 4097, 1.1902380714238083, []float64{0.25, 0.002}},
		{"longrope of one length", Rope{Dim: 4, Base: 10000, Kind: RopeLong, Factor: 1, Original: 32768, Short: []float64{1, 2}, Long: []float64{4, 5}}, 32768, 1, []float64{1, 0.005}},
		// base 100 * 50^(14/12) = 9596.9155, then its powers -i/7
		{"alpha", Rope{Dim: 14, Base: 100, Kind: RopeAlpha, Alpha: 50}, 32, 1,
			[]float64{1, 0.2698510093861494, math.Pow(0.2698510093861494, 2), math.Pow(0.2698510093861494, 3), math.Pow(0.2698510093861494, 4), math.Pow(0.2698510093861494, 5), 0.0003861395457766501}},
		// Up to 64 tokens nothing changes; for 128 the base is 10000 * (2*128/64 - 1)^(8/6).
		{"dynamic, within", Rope{Dim: 8, Base: 10000, Kind: RopeDynamic, Factor: 2, Original: 64}, 64, 1, []float64{1, 0.1, 0.01, 0.001}},
		{"dynamic, beyond", Rope{Dim: 8, Base: 10000, Kind: RopeDynamic, Factor: 2, Original: 64}, 128, 1, []float64{1, 0.1 / math.Cbrt(3), 0.01 / math.Cbrt(9), 0.001 / 3}},
		{"odd", Rope{Dim: 6, Odd: 5, Base: 100000, Kind: RopeDefault}, 32, 1, []float64{1, 0.01, 0.0001}},
		{"none", Rope{}, 32, 1, nil},
	}
	for _, k := range cases {
		t.Run(k.name, func(t *testing.T) {
			inv, factor, err := k.rope.Frequencies(k.context)
			if err != nil {
				t.Fatal(err)
			}
			near(t, "factor", factor, k.factor)
			if len(inv) != len(k.inv) {
				t.Fatalf("%d frequencies, want %d", len(inv), len(k.inv))
			}
			for i := range inv {
				near(t, "frequency", inv[i], k.inv[i])
			}
		})
	}
}

func TestFrequenciesRefused(t *testing.T) {
	if _, _, err := (Rope{Dim: 4, Base: 10, Kind: "mrope"}).Frequencies(1); !fault.Is(err, fault.Unsupported) {
		t.Errorf("unknown kind: %v", err)
	}
	if _, _, err := (Rope{Dim: 4, Base: 10, Kind: RopeLong, Short: []float64{1}, Original: 4}).Frequencies(1); !fault.Is(err, fault.BadFile) {
		t.Errorf("short list: %v", err)
	}
}

// The old and the new form of the same parameters give the same rope; lists are read from the published longrope form.
func TestRopeForms(t *testing.T) {
	base := `"model_type":"phi3","hidden_size":8,"intermediate_size":8,"num_hidden_layers":1,"num_attention_heads":2,"vocab_size":9,"max_position_embeddings":131072,"original_max_position_embeddings":4096`
	for _, form := range []string{
		`"rope_theta":500,"rope_scaling":{"type":"longrope","short_factor":[1,2],"long_factor":[3,4]}`,
		`"rope_theta":500,"rope_scaling":{"type":"su","short_factor":[1,2],"long_factor":[3,4]}`,
		`"rope_theta":500,"rope_scaling":{"type":"yarn","short_factor":[1,2],"long_factor":[3,4]}`,
		`"rope_parameters":{"rope_theta":500.0,"rope_type":"longrope","short_factor":[1,2],"long_factor":[3.0,4]}`,
	} {
		c, err := Parse([]byte("{"+base+","+form+"}"), "phi")
		if err != nil {
			t.Fatal(err)
		}
		inv, factor, err := c.Layers[0].Attention.Rope.Frequencies(5000)
		if err != nil {
			t.Fatal(err)
		}
		near(t, "factor", factor, 1.1902380714238083) // sqrt(1 + ln 32 / ln 4096)
		near(t, "frequency 0", inv[0], 1.0/3)
		near(t, "frequency 1", inv[1], math.Pow(500, -0.5)/4)
	}
	// An unknown kind is described, and refused by run alone.
	c, err := Parse([]byte("{"+base+`,"rope_scaling":{"type":"mrope"}}`), "phi")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Runnable(); !fault.Is(err, fault.Unsupported) {
		t.Errorf("Runnable says %v", err)
	}
}

func TestSetRopeFactors(t *testing.T) {
	c := parseFile(t, "llama-2-7b.json")
	d := make([]float64, 64)
	for i := range d {
		d[i] = 2
	}
	if err := c.SetRopeFactors(d[:3]); !fault.Is(err, fault.BadFile) {
		t.Errorf("three factors: %v", err)
	}
	if err := c.SetRopeFactors(d); err != nil {
		t.Fatal(err)
	}
	inv, _, err := c.Layers[31].Attention.Rope.Frequencies(10)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "frequency 0", inv[0], 0.5)
	if err := c.SetRopeFactors(d); !fault.Is(err, fault.Unsupported) {
		t.Errorf("factors twice: %v", err)
	}
	d[0] = math.NaN()
	if err := parseFile(t, "llama-2-7b.json").SetRopeFactors(d); !fault.Is(err, fault.BadFile) {
		t.Errorf("NaN: %v", err)
	}
}
