package config

// From GGUF metadata: the same description under the keys of each architecture.
//
// What the files leave out is known: Llama's query and key rows are permuted so that interleaved pairs rotate as the original's halves did; Gemma stores its norms with the
// one already added; Gemma 3 names neither its local RoPE base (10000) nor its pattern (every sixth layer sees everything).

import (
	"fmt"
	"math"

	"github.com/lowkeylm/lowkey/fault"
)

// Metadata is typed access to key-value pairs, as *gguf.File offers it: false or nil where a key is absent or of another kind.
type Metadata interface {
	String(key string) (string, bool)
	Bool(key string) (bool, bool)
	Uint(key string) (uint64, bool)
	Float(key string) (float64, bool)
	Strings(key string) []string
	Ints(key string) []int64
	Bools(key string) []bool
}

// ggufArch maps general.architecture to the model_type of the same family and its particulars.
var ggufArch = map[string]struct {
	modelType string
	layout    RopeLayout
	set       func(*ggufParser)
}{
	"llama":     {"llama", Pairs, func(g *ggufParser) { g.m.Routing = g.routing(true) }},
	"qwen2":     {"qwen2", Half, func(g *ggufParser) { g.a.QKVBias = true }},
	"qwen3":     {"qwen3", Half, (*ggufParser).headNorm},
	"qwen3moe":  {"qwen3_moe", Half, (*ggufParser).qwen3MoE},
	"phi3":      {"phi3", Half, func(g *ggufParser) { g.a.Window = g.intIn("attention.sliding_window", 0, 0, maxTokens) }},
	"granite":   {"granite", Pairs, (*ggufParser).granite},
	"gemma2":    {"gemma2", Half, (*ggufParser).gemma},
	"gemma3":    {"gemma3_text", Half, (*ggufParser).gemma},
	"deepseek2": {"deepseek_v3", Pairs, (*ggufParser).deepseek},
	"minicpm3":  {"minicpm3", Half, (*ggufParser).minicpm3},
}

type ggufParser struct {
	Metadata
	arch string
	c    *Config
	n    int
	a    Attention
	m    MLP
	err  error
}

// FromGGUF reads the metadata of a GGUF file. Vocab is `vocab_size` or the length of the tokenizer's list; 0 if the file has neither (then the embedding tells).
//
// Divisors of rotary frequencies that a file keeps in the tensor rope_freqs.weight are not metadata: give them to SetRopeFactors.
//
// Errors are *fault.Error: BadFile for keys that are missing or out of range, Unsupported for an architecture that is not known.
func FromGGUF(m Metadata) (*Config, error) {
	arch, _ := m.String("general.architecture")
	family, ok := ggufArch[arch]
	if !ok {
		var known []string
		for name := range ggufArch {
			known = append(known, name)
		}
		return nil, fault.New(fault.Unsupported, "general.architecture", quote(arch), "known: "+list(sorted(known)), "use a model of one of these families")
	}
	g := &ggufParser{Metadata: m, arch: arch, a: newAttention(),
		c: &Config{ModelType: family.modelType, Architecture: arch, GGUF: true, EmbedScale: 1, ResidualScale: 1, LogitScale: 1, BOS: -1}}
	g.sizes(family.layout)
	if family.set != nil {
		family.set(g)
	}
	if g.err != nil {
		return nil, g.err
	}
	g.layers()
	if g.err != nil {
		return nil, g.err
	}
	vocab := g.c.Vocab
	g.c.Vocab = max(1, vocab) // absent is no error here
	err := g.c.check("GGUF metadata")
	g.c.Vocab = vocab
	return g.c, err
}

func (g *ggufParser) fail(key, value, limit string) {
	if g.err == nil {
		g.err = fault.New(fault.BadFile, "GGUF key "+g.arch+"."+key, value, limit, "fetch the file again, or convert the model anew")
	}
}

// intIn gives a whole number in [low, high]; def where the key is absent or not a whole number.
func (g *ggufParser) intIn(key string, def, low, high int) int {
	v, ok := g.Uint(g.arch + "." + key)
	if !ok {
		return def
	}
	if v < uint64(low) || v > uint64(high) {
		g.fail(key, fmt.Sprint(v), fmt.Sprintf("must be from %d to %d", low, high))
		return def
	}
	return int(v)
}

func (g *ggufParser) need(key string, high int) int {
	if v := g.intIn(key, -1, 1, high); v > 0 {
		return v
	}
	g.fail(key, "missing", fmt.Sprintf("must be a whole number from 1 to %d", high))
	return 1
}

// positive gives a number above zero, written as a float or as an integer; def where absent.
func (g *ggufParser) positive(key string, def float64) float64 {
	v, ok := g.Float(g.arch + "." + key)
	if !ok {
		u, isInt := g.Uint(g.arch + "." + key)
		if !isInt {
			return def
		}
		v = float64(u)
	}
	if !(v >= minFloat && v <= maxFloat) {
		g.fail(key, fmt.Sprint(v), fmt.Sprintf("must be above 0 and at most %g", maxFloat))
		return def
	}
	return v
}

// perLayer gives a key that is one number or one a layer.
func (g *ggufParser) perLayer(key string, def, high int) []int {
	out := make([]int, g.n)
	list := g.Ints(g.arch + "." + key)
	if list == nil {
		v := g.intIn(key, def, 1, high)
		for i := range out {
			out[i] = v
		}
		return out
	}
	if len(list) != g.n {
		g.fail(key, fmt.Sprintf("%d entries", len(list)), fmt.Sprintf("the model has %d layers", g.n))
		return out
	}
	for i, v := range list {
		if v < 1 || v > int64(high) {
			g.fail(key, fmt.Sprintf("%d in layer %d", v, i), fmt.Sprintf("must be from 1 to %d", high))
			return out
		}
		out[i] = int(v)
	}
	return out
}

// sizes reads what all architectures share.
func (g *ggufParser) sizes(layout RopeLayout) {
	c := g.c
	c.Hidden = g.need("embedding_length", maxWidth)
	c.MaxPosition = g.need("context_length", maxTokens)
	c.Vocab = g.intIn("vocab_size", len(g.Strings("tokenizer.ggml.tokens")), 1, maxVocab)
	g.n = g.need("block_count", maxLayers)
	c.Norm.Eps = g.positive("attention.layer_norm_rms_epsilon", 1e-6)
	if v, ok := g.Uint("tokenizer.ggml.bos_token_id"); ok && v <= maxVocab {
		c.BOS = int(v)
	}
	for _, key := range []string{"eos_token_id", "eot_token_id", "eom_token_id"} {
		if v, ok := g.Uint("tokenizer.ggml." + key); ok && v <= maxVocab && !hasInt(c.EOS, int(v)) {
			c.EOS = append(c.EOS, int(v))
		}
	}
	a := &g.a
	a.Heads = g.perLayer("attention.head_count", 0, maxHeads)[0]
	if a.Heads == 0 {
		g.fail("attention.head_count", "missing", fmt.Sprintf("must be from 1 to %d", maxHeads))
		a.Heads = 1
	}
	a.HeadDim = g.intIn("attention.key_length", max(1, c.Hidden/a.Heads), 1, maxWidth)
	a.ValueDim = g.intIn("attention.value_length", a.HeadDim, 1, maxWidth)
	a.Scale = g.positive("attention.scale", 1/math.Sqrt(float64(a.HeadDim)))
	a.Rope = g.rope(layout)
	g.m = MLP{Activation: SiLU, Experts: g.intIn("expert_count", 0, 0, maxExperts)}
	if g.m.Experts > 0 {
		g.m.ExpertsPerToken = g.need("expert_used_count", maxExperts)
		g.m.ExpertIntermediate = g.intIn("expert_feed_forward_length", 0, 1, maxFFN)
		g.m.SharedIntermediate = g.intIn("expert_shared_count", 0, 0, maxHeads) * g.m.ExpertIntermediate
		g.m.SharedIntermediate = g.intIn("expert_shared_feed_forward_length", g.m.SharedIntermediate, 0, maxFFN)
	}
}

func (g *ggufParser) rope(layout RopeLayout) Rope {
	r := Rope{Layout: layout, Sign: 1, Kind: RopeDefault}
	r.Dim = g.intIn("rope.dimension_count", g.a.HeadDim, 1, maxWidth)
	r.Base = g.positive("rope.freq_base", 10000)
	r.Original = g.intIn("rope.scaling.original_context_length", g.c.MaxPosition, 1, maxTokens)
	kind, _ := g.String(g.arch + ".rope.scaling.type")
	switch kind {
	case "", "none":
		if f := g.positive("rope.scale_linear", 1); f != 1 { // the form of early files
			r.Kind, r.Factor = RopeLinear, f
		}
	case "linear", "yarn":
		r.Kind, r.Factor = kind, g.positive("rope.scaling.factor", 1)
		if kind == "yarn" {
			r.BetaFast, r.BetaSlow = g.positive("rope.scaling.yarn_beta_fast", 32), g.positive("rope.scaling.yarn_beta_slow", 1)
			r.AttentionFactor = g.positive("rope.scaling.attn_factor", 0)
		}
	default:
		r.Kind = kind // longrope keeps its lists in tensors: described without them
	}
	return r
}

// layers repeats the layer, with head and MLP widths that may differ from layer to layer, and the windows of Gemma.
func (g *ggufParser) layers() {
	heads := g.perLayer("attention.head_count", g.a.Heads, maxHeads)
	kv := g.perLayer("attention.head_count_kv", 0, maxHeads)
	widths := g.perLayer("feed_forward_length", 0, maxFFN)
	dense := g.intIn("leading_dense_block_count", 0, 0, maxLayers)
	if g.err != nil {
		return
	}
	g.c.Layers = make([]Layer, g.n)
	for i := range g.c.Layers {
		a, m := g.a, g.m
		a.Heads = heads[i]
		if a.Design == "" {
			a.KVHeads = kv[i]
			if a.KVHeads == 0 {
				a.KVHeads = a.Heads
			}
			a.Design = grouped(a.Heads, a.KVHeads)
		}
		switch {
		case i < dense || m.Experts == 0:
			m = MLP{Activation: m.Activation, Intermediate: widths[i]}
		case m.ExpertIntermediate == 0:
			m.ExpertIntermediate = widths[i]
		}
		g.c.Layers[i] = Layer{a, m}
	}
	if g.arch == "gemma2" || g.arch == "gemma3" {
		g.gemmaWindows()
	}
}

func (g *ggufParser) headNorm() { g.a.QKNorm, g.a.QKNormEps = NormHead, g.c.Norm.Eps }

func (g *ggufParser) qwen3MoE() {
	g.headNorm()
	g.m.Routing = g.routing(true)
}

// routing is how experts are chosen: expert_gating_func is 1 for a softmax, 2 for sigmoids; early files, all of them of softmax models, lack it. A group of experts is judged as the models that
// have groups were trained to: by its best expert (DeepSeek-V2, softmax), by its two best (V3, sigmoid). Whether a learned correction joins, the tensors tell.
func (g *ggufParser) routing(norm bool) Routing {
	r := Routing{Score: SoftmaxScore, Groups: g.intIn("expert_group_count", 1, 0, maxExperts), TopGroups: g.intIn("expert_group_used_count", 1, 0, maxExperts), GroupTop: 1,
		Norm: norm, Scale: 1}
	if v, ok := g.Bool(g.arch + ".expert_weights_norm"); ok {
		r.Norm = v
	}
	if v, ok := g.Float(g.arch + ".expert_weights_scale"); !ok || v != 0 { // 0 means none
		r.Scale = g.positive("expert_weights_scale", 1)
	}
	switch g.intIn("expert_gating_func", 1, 0, 1000) {
	case 0, 1:
	case 2:
		r.Score, r.GroupTop = SigmoidScore, 2
	default:
		r.Score = "" // described, not run
	}
	if r.Groups <= 1 {
		r.Groups, r.TopGroups = 1, 1
	}
	return r
}

func (g *ggufParser) granite() {
	g.c.EmbedScale = g.positive("embedding_scale", 1)
	g.c.ResidualScale = g.positive("residual_scale", 1)
	g.c.LogitScale = 1 / g.positive("logit_scale", 1)
}

// gemma: norms are stored as 1+w. The softmax scale is not stored: the largest models of both generations scale by hidden/heads, the others by the head width.
func (g *ggufParser) gemma() {
	g.c.SandwichNorms, g.c.EmbedScale = true, math.Sqrt(float64(g.c.Hidden))
	g.m.Activation = GELUTanh
	largest := 62
	if g.arch == "gemma2" {
		largest = 46
		g.a.Softcap = g.positive("attn_logit_softcapping", 50)
		g.c.FinalSoftcap = g.positive("final_logit_softcapping", 30)
	} else {
		g.headNorm()
		g.c.FinalSoftcap = g.positive("final_logit_softcapping", 0)
	}
	if g.n == largest {
		g.a.Scale = 1 / math.Sqrt(float64(g.c.Hidden)/float64(g.a.Heads))
	}
}

// gemmaWindows lets layers slide: by the file's pattern where it has one, else Gemma 2 alternates and Gemma 3 has every sixth layer full. Sliding layers of Gemma 3 rotate
// with their own, unscaled base.
func (g *ggufParser) gemmaWindows() {
	window, period := g.intIn("attention.sliding_window", 0, 1, maxTokens), 6
	if g.arch == "gemma2" {
		window, period = g.intIn("attention.sliding_window", 4096, 1, maxTokens), 2
	}
	period = g.intIn("attention.sliding_window_pattern", period, 1, maxTokens)
	list := g.Bools(g.arch + ".attention.sliding_window_pattern")
	if list != nil && len(list) != g.n {
		g.fail("attention.sliding_window_pattern", fmt.Sprintf("%d entries", len(list)), fmt.Sprintf("the model has %d layers", g.n))
		return
	}
	base := g.positive("rope.freq_base_swa", 10000)
	for i := range g.c.Layers {
		slides := (i+1)%period != 0
		if list != nil {
			slides = list[i]
		}
		if !slides || window == 0 {
			continue
		}
		a := &g.c.Layers[i].Attention
		a.Window = window
		if g.arch == "gemma3" {
			a.Rope = Rope{Dim: a.Rope.Dim, Sign: 1, Base: base, Kind: RopeDefault}
		}
	}
}

// mla reads MLA. Newer files give the widths of expanded heads apart (key_length_mla); there key_length is that of the cached row.
func (g *ggufParser) mla() {
	a := &g.a
	a.Design, a.KVHeads = MLA, 1
	a.KVRank = g.need("attention.kv_lora_rank", maxWidth)
	a.QRank = g.intIn("attention.q_lora_rank", 0, 0, maxWidth)
	a.HeadDim = g.intIn("attention.key_length_mla", a.HeadDim, 1, maxWidth)
	a.ValueDim = g.intIn("attention.value_length_mla", a.ValueDim, 1, maxWidth)
	a.RopeDim = g.need("rope.dimension_count", maxWidth)
	if a.Nope = a.HeadDim - a.RopeDim; a.Nope < 1 {
		g.fail("rope.dimension_count", fmt.Sprint(a.RopeDim), fmt.Sprintf("must be below the head width %d", a.HeadDim))
	}
	a.LatentNormEps = latentEps
	a.Scale = 1 / math.Sqrt(float64(a.HeadDim))
}

// deepseek is V2, V3 and their kin. Of yarn's two scales the file keeps one, as 0.1 times mscale_all_dim; cos and sin are then not scaled and the softmax is, squared.
func (g *ggufParser) deepseek() {
	g.mla()
	a := &g.a
	if g.m.Routing = g.routing(false); g.m.Routing.Score == SoftmaxScore {
		g.c.ModelType = "deepseek_v2"
	}
	if s := 10 * g.positive("rope.scaling.yarn_log_multiplier", 0); s > 0 && a.Rope.Kind == RopeYarn {
		a.Rope.MScale, a.Rope.MScaleAllDim = s, s
		m := yarnScale(a.Rope.Factor, s)
		a.Scale *= m * m
	}
}

// minicpm3: the scales are not in the file but constants of the one published model.
func (g *ggufParser) minicpm3() {
	g.mla()
	g.c.EmbedScale = 12
	g.c.ResidualScale = 1.4 / math.Sqrt(float64(g.n))
	g.c.LogitScale = 256 / float64(g.c.Hidden)
}
