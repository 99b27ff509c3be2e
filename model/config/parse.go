package config

// From a Hugging Face folder: finding the text model's object, the fields all families share, and the table of families.

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/lowkeylm/lowkey/fault"
)

// maxFile bounds a configuration file; the largest published ones (with long lists of rope factors) stay below 100 kB.
const maxFile = 16 << 20

// FromFolder reads config.json of a folder, or the file itself if path names one. Stop tokens of a generation_config.json beside it are added.
func FromFolder(path string) (*Config, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fault.New(fault.BadInput, path, "cannot be opened", "", "give a model folder or a config.json").Because(err)
	}
	file := path
	if st.IsDir() {
		file = filepath.Join(path, "config.json")
	}
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}
	c, err := Parse(data, file)
	if err != nil {
		return nil, err
	}
	gen := filepath.Join(filepath.Dir(file), "generation_config.json")
	if _, err := os.Stat(gen); err != nil {
		return c, nil
	}
	if data, err = readFile(gen); err != nil {
		return nil, err
	}
	r := newReader(data, gen)
	for _, id := range r.ints("eos_token_id", -1, maxVocab) {
		if id >= 0 && !slices.Contains(c.EOS, id) {
			c.EOS = append(c.EOS, id)
		}
	}
	return c, *r.err
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.New(fault.BadInput, path, "cannot be opened", "", "name a config.json, or a folder that has one").Because(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fault.New(fault.BadFile, path, "cannot be read", "", "fetch it again").Because(err)
	}
	if len(data) > maxFile {
		return nil, fault.New(fault.BadFile, path, "too large", fmt.Sprintf("a configuration has at most %d bytes", maxFile), "name a model's config.json")
	}
	return data, nil
}

// families maps model_type to the function that describes it.
var families map[string]func(*parser)

func init() {
	families = map[string]func(*parser){
		"llama": (*parser).llama, "mistral": (*parser).mistral, "qwen2": (*parser).qwen2, "qwen3": (*parser).qwen3, "smollm3": (*parser).smollm3, "phi3": (*parser).phi3,
		"granite": (*parser).granite, "olmo2": (*parser).olmo2, "hunyuan_v1_dense": (*parser).hunyuan, "starcoder2": (*parser).starcoder2, "gpt_neox": (*parser).gptNeoX,
		"gemma2": (*parser).gemma2, "gemma3_text": (*parser).gemma3, "gemma3n_text": (*parser).gemma3n,
		"mixtral": (*parser).mixtral, "qwen3_moe": (*parser).qwen3MoE, "gpt_oss": (*parser).gptOSS,
		"deepseek_v2": (*parser).deepseek, "deepseek_v3": (*parser).deepseek, "glm4_moe_lite": (*parser).deepseek, "youtu": (*parser).youtu, "minicpm3": (*parser).minicpm3,
		"step3_text": (*parser).step3, "zaya": (*parser).zaya, "lowkey": (*parser).lowkey,
	}
}

// wrapped names the text model inside a wrapper whose text_config does not say its model_type.
var wrapped = map[string]string{"gemma3": "gemma3_text", "gemma3n": "gemma3n_text", "step3_vl": "step3_text"}

// parser fills one Config from one object.
type parser struct {
	*reader
	c     *Config
	outer *reader // the wrapper's object, nil if none
	class class
	n     int // layers
}

// class is what a family's public code takes where a file leaves a field out. Zeros stand for what most of them take.
type class struct {
	tied     bool    // embeddings
	eps      float64 // 1e-6
	theta    float64 // 10000
	original int     // the longest context
	kvHeads  int     // as many as query heads
	valueDim int     // MLA: hidden / heads
	experts  int     // none: the file must say it, and so the next two
	perToken int
	wide     int // width of an expert

	dense             int     // DeepSeek kin, from here on: the first layers that are no mixtures
	shared            int     // experts that all tokens meet
	groups, topGroups int     // 1
	scale             float64 // of the weights, 1
}

// Parse reads a config.json. name is what error messages call it.
//
// Errors are *fault.Error: BadFile for a field that is missing, of the wrong type or out of range; Unsupported for a model_type or a structure that is not known.
func Parse(data []byte, name string) (*Config, error) {
	r := newReader(data, name)
	p := &parser{reader: r, c: &Config{EmbedScale: 1, ResidualScale: 1, LogitScale: 1, BOS: -1}}
	p.c.ModelType, p.c.Source = r.text("model_type", ""), r.text("source", "")
	if text := r.object("text_config"); text != nil {
		p.outer, p.reader, p.c.Wrapper = r, text, p.c.ModelType
		p.c.ModelType = text.text("model_type", wrapped[p.c.Wrapper])
	}
	if *r.err != nil {
		return nil, *r.err
	}
	describe := families[p.c.ModelType]
	if describe != nil || p.outer != nil {
		p.c.Source = "" // a stray field: the family names its tensors as published
	} else if p.c.Source != "" {
		describe = p.research()
	}
	if describe == nil {
		return nil, fault.New(fault.Unsupported, name+": model_type", quote(p.c.ModelType), "known families: "+list(Families()), "use a model of one of these families")
	}
	p.shared()
	describe(p)
	if *r.err != nil {
		return nil, *r.err
	}
	if err := p.c.check(name); err != nil {
		return nil, err
	}
	return p.c, nil
}

// Families lists the published model types that Parse knows, sorted.
func Families() []string {
	var out []string
	for f := range families {
		out = append(out, f)
	}
	return sorted(out)
}

// both reads a field of the text model, or of its wrapper where the text model does not have it.
func (p *parser) both(key string) *reader {
	if p.outer != nil && !p.has(key) {
		return p.outer
	}
	return p.reader
}

// shared reads what does not depend on the family. Vocabulary and MLP are absent from module configs, so sizes are left to decoder.
func (p *parser) shared() {
	c := p.c
	if a := p.both("architectures").texts("architectures"); len(a) > 0 {
		c.Architecture = a[0]
	}
	c.DType = p.both("torch_dtype").text("torch_dtype", "")
	c.DType = p.both("dtype").text("dtype", c.DType)
	for _, id := range p.both("bos_token_id").ints("bos_token_id", -1, maxVocab) {
		c.BOS = id
	}
	for _, id := range p.both("eos_token_id").ints("eos_token_id", -1, maxVocab) {
		if id >= 0 {
			c.EOS = append(c.EOS, id)
		}
	}
	if q := p.both("quantization_config").object("quantization_config"); q != nil {
		c.Quantization = q.text("quant_method", "unnamed")
	}
}

// decoder reads the sizes that nearly all families name alike.
func (p *parser) decoder(of class) {
	c := p.c
	p.class = of
	c.Hidden = p.need("hidden_size", maxWidth)
	c.Vocab = p.need("vocab_size", maxVocab)
	c.MaxPosition = p.size("max_position_embeddings", 2048, maxTokens)
	c.TieEmbeddings = p.both("tie_word_embeddings").bool("tie_word_embeddings", of.tied)
	c.Norm = Norm{Kind: RMSNorm, Eps: p.eps("rms_norm_eps", cmp.Or(of.eps, 1e-6))}
	p.n = p.need("num_hidden_layers", maxLayers)
}

func (p *parser) eps(key string, def float64) float64 { return p.fraction(key, def) }

// newAttention has the values that mean "nothing special".
func newAttention() Attention {
	return Attention{QScale: 1, KVScale: 1, OutScale: 1, Latents: 1, Branches: 1, RowTokens: 1, SharesWith: -1}
}

// grouped names the design by its head counts.
func grouped(heads, kv int) string {
	switch kv {
	case heads:
		return MHA
	case 1:
		return MQA
	}
	return GQA
}

// heads reads MHA, GQA or MQA with half-split rotary embeddings over the whole head and the usual scale. headDim 0 asks for hidden / heads where the file does not say.
func (p *parser) heads(headDim int) Attention {
	a := newAttention()
	a.Heads = p.need("num_attention_heads", maxHeads)
	a.KVHeads = p.size("num_key_value_heads", p.absent("num_key_value_heads", p.class.kvHeads, a.Heads), maxHeads)
	if headDim == 0 {
		headDim = p.c.Hidden / a.Heads
		if !p.has("head_dim") && headDim*a.Heads != p.c.Hidden {
			p.fail("num_attention_heads", fmt.Sprint(a.Heads), fmt.Sprintf("must divide hidden_size %d, or head_dim must be given", p.c.Hidden))
		}
	}
	a.HeadDim = p.size("head_dim", max(1, headDim), maxWidth)
	a.ValueDim = a.HeadDim
	a.Design = grouped(a.Heads, a.KVHeads)
	a.Scale = 1 / math.Sqrt(float64(a.HeadDim))
	bias := p.bool("attention_bias", false)
	a.QKVBias, a.OutBias = bias, bias
	a.Rope = p.rope(a.HeadDim, "")
	return a
}

// absent is what stands for a field that the file does not have: the class's default, where there is one. Null is not absent: it asks for the plain form.
func (p *parser) absent(key string, class, plain int) int {
	if _, present := p.fields[key]; present || class == 0 {
		return plain
	}
	return class
}

// dense reads a gated MLP.
func (p *parser) dense() MLP {
	return MLP{Kind: Gated, Activation: p.activation("hidden_act", SiLU), Intermediate: p.need("intermediate_size", maxFFN), Bias: p.bool("mlp_bias", false)}
}

// activation gives the neutral name; one that is not known keeps its own and is refused by Runnable.
func (p *parser) activation(key, def string) string {
	switch s := p.text(key, def); s {
	case "swish":
		return SiLU
	case "gelu_pytorch_tanh", "gelu_new", "gelu_fast", "gelu_accurate", "gelu_python_tanh":
		return GELUTanh
	case "gelu_python":
		return GELU
	default:
		return s
	}
}

// layers repeats one layer p.n times.
func (p *parser) layers(a Attention, m MLP) {
	if *p.err != nil {
		return // n may not be a size
	}
	p.c.Layers = make([]Layer, p.n)
	for i := range p.c.Layers {
		p.c.Layers[i] = Layer{a, m}
	}
}

// eachLayer visits the layers made by layers; none if an error came before.
func (p *parser) eachLayer(f func(i int, l *Layer)) {
	for i := range p.c.Layers {
		f(i, &p.c.Layers[i])
	}
}

// which tells for every layer whether it is one of those.
func (p *parser) which(those func(i int) bool) []bool {
	out := make([]bool, max(0, min(p.n, maxLayers)))
	for i := range out {
		out[i] = those(i)
	}
	return out
}

// slides tells for every layer whether it slides: by layer_types where the file has it, else by def.
func (p *parser) slides(def func(i int) bool) []bool {
	out := p.which(def)
	types := p.texts("layer_types")
	if types == nil {
		return out
	}
	if len(types) != p.n {
		p.fail("layer_types", fmt.Sprintf("%d entries", len(types)), fmt.Sprintf("num_hidden_layers is %d", p.n))
		return out
	}
	for i, t := range types {
		switch t {
		case "full_attention", "attention", "hybrid":
			out[i] = false
		case "sliding_attention", "hybrid_sliding":
			out[i] = true
		default:
			p.unsupported("layer_types", t, "known: full_attention sliding_attention")
		}
	}
	return out
}

// window applies a sliding window to the layers that slide. def is the class's, where the file has no such field.
func (p *parser) window(key string, def int, slides []bool) {
	w := p.intIn(key, p.absent(key, def, 0), 0, maxTokens)
	p.eachLayer(func(i int, l *Layer) {
		if slides[i] {
			l.Attention.Window = w
		}
	})
}

func (p *parser) unsupported(key, value, limit string) {
	if *p.err == nil {
		*p.err = fault.New(fault.Unsupported, p.name+": "+p.prefix+key, value, limit, "")
	}
}

// rope reads the rotary parameters for a rotated width: the new `rope_parameters` (also one set per layer type) or `rope_theta` with `rope_scaling`.
func (p *parser) rope(dim int, layerType string) Rope {
	s := p.object("rope_parameters")
	nested := s != nil && layerType != "" && s.has(layerType)
	if nested {
		s = s.object(layerType)
	}
	if s == nil {
		s = p.object("rope_scaling")
	}
	if s == nil {
		s = &reader{name: p.name, err: p.err}
	}
	base := p.positive("rope_theta", p.positive("rotary_emb_base", cmp.Or(p.class.theta, 10000)))
	r := Rope{Dim: dim, Sign: 1, Base: s.positive("rope_theta", base), Kind: s.text("rope_type", s.text("type", RopeDefault))}
	switch r.Kind {
	case "su", RopeYarn:
		if r.Kind == "su" || s.has("short_factor") {
			r.Kind = RopeLong
		}
	case "dynamic", "xdrope":
		if p.c.ModelType == "hunyuan_v1_dense" && s.has("alpha") { // elsewhere alpha is a stray field
			r.Kind = RopeAlpha
		}
	}
	const beside = "original_max_position_embeddings" // where it also stands outside, as Phi-3 has it, that one counts
	original := s.size(beside, p.c.MaxPosition, maxTokens)
	if !nested {
		original = p.size(beside, cmp.Or(p.class.original, original), maxTokens)
	}
	switch r.Kind {
	case RopeLinear:
		r.Factor = s.positive("factor", 1)
	case RopeLlama3:
		r.Factor, r.Original = s.positive("factor", 1), original
		r.LowFreq, r.HighFreq = s.positive("low_freq_factor", 1), s.positive("high_freq_factor", 4)
	case RopeDynamic:
		r.Factor, r.Original = s.positive("factor", 1), p.c.MaxPosition
	case RopeYarn:
		r.Factor, r.Original = s.positive("factor", float64(p.c.MaxPosition)/float64(original)), original
		r.BetaFast, r.BetaSlow = s.positive("beta_fast", 32), s.positive("beta_slow", 1)
		r.MScale, r.MScaleAllDim = s.float("mscale", 0), s.float("mscale_all_dim", 0)
		r.AttentionFactor = s.positive("attention_factor", 0)
		r.NoTruncate = !s.bool("truncate", true)
	case RopeLong:
		r.Factor, r.Original = s.positive("factor", float64(p.c.MaxPosition)/float64(original)), original
		r.Short, r.Long = s.positives("short_factor"), s.positives("long_factor")
		r.AttentionFactor = s.positive("attention_factor", 0)
		if len(r.Short) == 0 || len(r.Long) == 0 {
			s.fail("short_factor, long_factor", "missing", "longrope needs both lists")
		}
	case RopeAlpha:
		r.Alpha = s.positive("alpha", 1)
	}
	return r
}

// partialRope reads the rotary parameters of heads of which only the first channels rotate.
func (p *parser) partialRope(headDim int, def float64, layerType string) Rope {
	return p.rope(p.partial(headDim, def, layerType), layerType).paired()
}

// paired is r of an odd number of channels as published: the formulae count that number, and one channel more turns.
func (r Rope) paired() Rope {
	if r.Dim%2 != 0 {
		r.Dim, r.Odd = r.Dim+1, r.Dim
	}
	return r
}

// partial is the rotated part of a head where only its first channels rotate.
func (p *parser) partial(headDim int, def float64, layerType string) int {
	f := p.fraction("partial_rotary_factor", p.fraction("rotary_pct", def))
	if s := p.object("rope_parameters"); s != nil {
		if layerType != "" && s.has(layerType) {
			s = s.object(layerType)
		}
		f = s.fraction("partial_rotary_factor", f)
	}
	return int(float64(headDim) * f)
}
