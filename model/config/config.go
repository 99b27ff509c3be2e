// Package config turns a Hugging Face config.json, or the metadata of a GGUF file, into one neutral description of a decoder model: sizes, norms, and for every layer
// its attention, rotary embedding and MLP. The loader, plan and inspect read this and nothing else about a family.
//
// It will not look at tensors, names of tensors or tokenizers, and it describes more families than can run: Runnable says which do.
package config

import (
	"fmt"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
)

// Config describes one decoder model. All numbers have been checked: sizes are positive and bounded, heads divide, floats are finite.
type Config struct {
	ModelType    string // model_type of the text model ("llama", "gemma3_text", "mlra_mfa"); for GGUF the same word for the same family
	Wrapper      string // model_type of the outer config where the text model was nested in text_config ("gemma3", "step3_vl"), else ""
	Architecture string // first of `architectures`, or general.architecture
	Source       string // `source` of a research config (a public repository), which names tensors its own way; "" for the published families
	GGUF         bool   // read from GGUF metadata
	Module       bool   // one attention module alone: no embedding, no MLP, Vocab 0
	Quantization string // quant_method of `quantization_config` ("gptq", "fp8"), "" if none; GGUF types are not noted here

	Hidden, Vocab, MaxPosition int
	TieEmbeddings              bool // the output matrix is the embedding (GGUF does not say: false, the output tensor is then simply absent)
	BOS                        int  // -1 if none
	EOS                        []int
	DType                      string // type of the published weights ("bfloat16"), "" if unknown

	EmbedScale    float64 // embeddings are multiplied by this
	ResidualScale float64 // both block outputs are multiplied by this before they join the residual
	LogitScale    float64 // logits are multiplied by this
	FinalSoftcap  float64 // c: logits become c*tanh(logits/c), after LogitScale; 0 = none

	Norm          Norm // every hidden-wide norm
	SandwichNorms bool // a norm before and a second one after both blocks
	PostNormOnly  bool // no norm before a block, one after it
	Rescaled      bool // embeddings, block outputs and the residual they join have learned biases and scales (ZAYA)
	Parallel      bool // attention and MLP both read the layer's input: x + attn(norm1 x) + mlp(norm2 x)
	LaurelRank    int  // > 0: a learned low-rank map of what attention reads joins the residual with attention's output (LAUREL)
	AltUp         AltUp

	Layers []Layer
}

// AltUp describes residual streams side by side, of which one goes through the blocks, and the inputs by token that each layer adds to the others (Gemma 3n). Streams 0: the usual single one.
type AltUp struct {
	Streams, Active int
	CorrectScale    bool // the corrected active stream is scaled, channel by channel, before it meets the inputs
	InputWidth      int  // of one layer's input
	InputVocab      int  // ids from here on have the inputs of id 0
}

// NormKind is the kind of a hidden-wide norm.
type NormKind uint8

const (
	RMSNorm NormKind = iota
	LayerNorm
)

// Norm is a norm over the hidden width.
type Norm struct {
	Kind       NormKind
	Eps        float64
	PlusOne    bool // the stored weight is w, the factor 1+w; also of the per-head q and k norms
	Weightless bool
}

// Layer is one decoder layer.
type Layer struct {
	Attention Attention
	MLP       MLP
}

// The designs of attention: what one token leaves behind, and how it is read.
const (
	MHA    = "mha"      // one k and v head for each query head
	GQA    = "gqa"      // a group of query heads shares a k and v head
	MQA    = "mqa"      // all query heads share one
	SQA    = "sqa"      // GQA with fewer query heads than hidden / head width: computation saved, and o widens
	MLA    = "mla"      // a latent and one rotated key part
	GLA    = "gla"      // MLA with Latents latents, each for a block of the heads
	MLRA   = "mlra"     // MLA with Latents latents and Branches attentions whose outputs are summed, times OutScale
	MFA    = "mfa"      // MQA with a query bottleneck of QRank
	MFAKR  = "mfa-kr"   // MFA whose values are made from the keys, which are all it caches
	TPA    = "tpa"      // q, k, v are sums of QRank, KRank, VRank outer products of a factor over heads and one over channels (q dense where QRank is 0)
	GTA    = "gta"      // one tied state a kv head is the value, and its first part the unrotated part of the key
	Tucker = "tucker"   // a core and factors for the heads' products of query and key matrices, and for those of value and output
	MoAS   = "moas"     // MHA, GQA and MQA side by side, mixed by a router; or one of them
	CCA    = "cca"      // GQA on convolved queries and keys
	MTLA   = "mtla"     // MLA whose rows merge RowTokens tokens
	MKA    = "mka"      // keys and values of several memory levels, one attention a level
	FMKA   = "mka-fast" // one attention over a routed mix of the memory levels
)

// NormMode says where query and key norms act.
type NormMode uint8

const (
	NormNone NormMode = iota
	NormHead          // RMS over each head, one weight of HeadDim for all heads
	NormFlat          // RMS over all heads together, before they are split
)

// Attention describes a layer's attention. Which fields count depends on Design; the rest are zero.
type Attention struct {
	Design         string
	Heads, KVHeads int     // query heads; heads of cached keys and values (1 where all share, as in MLA and MFA)
	HeadDim        int     // width of a query or key head, in MLA Nope+RopeDim
	ValueDim       int     // width of a value head
	QKVBias        bool    // biases on the input projections (in MLA on those that read the hidden state)
	OutBias        bool    // a bias on the output projection
	Scale          float64 // softmax scale, final: whatever a family or yarn multiplies in is included
	Window         int     // tokens a query sees, itself included; 0 = all
	Softcap        float64 // c: scores become c*tanh(score/c), after the scale, before the mask; 0 = none
	Sinks          bool    // one learned logit a head joins the softmax, without a value
	Rope           Rope

	QKNorm        NormMode
	QKNormEps     float64
	NormAfterRope bool // query and key norms act on rotated heads
	VNorm         bool // values get an RMS norm without weight, eps QKNormEps
	OutNorm       bool // RMS norm of each head's output, one weight for all heads, eps OutNormEps, before the output projection
	OutNormEps    float64
	OutScale      float64 // factor on the sum of the Branches (MLRA); 1 elsewhere

	QRank         int     // MLA: query bottleneck, 0 = none; MFA: query bottleneck; TPA: rank of the queries, 0 = dense
	KVRank        int     // MLA, GLA, MLRA, MTLA: width of all latents together
	Nope, RopeDim int     // unrotated and rotated width of a key head (MLA kin, GTA); LRKV: RopeDim is the turned width of a latent
	QNorm         bool    // MFA: RMS norm over the query bottleneck, eps LatentNormEps
	QScale        float64 // factor on the normed query bottleneck; 1 = none
	KVScale       float64 // factor on each normed latent; 1 = none
	LatentBits    int     // MLA: bits in which the latent is stored, and was trained (CLLA-quant): 4 or 8; 0 leaves it to the run
	LatentNormEps float64 // eps of the norms of bottleneck and latents
	KRank, VRank  int     // TPA, LRKV: ranks of k and of v
	Latents       int     // number of latents (1 in MLA)
	Branches      int     // MLRA: number of attentions that are summed
	GateDim       int     // EG-MLA: width of the embeddings that gate keys and values

	FullDim               int    // Tucker: head width of the attention it stands for; 0 elsewhere, where it is HeadDim
	HeadRank, OutHeadRank int    // Tucker: ranks over heads, before and behind the softmax
	OutRank               int    // Tucker: rank of the output
	SharedKV              bool   // Tucker: the key before RoPE is the value
	RelativeValues        bool   // MFA-KR: the rotated key is the value, and mixes are turned back
	RouterDim             int    // MoAS, MKA: width of the router
	Scheme                string // MoAS: the one attention of this layer, "" where all are mixed

	Conv0, Conv1 int     // CCA: kernel lengths of the two convolutions
	Levels       int     // MKA: memory levels
	EMABeta      float64 // MKA: decay of the second level
	MergeDim     int     // MTLA: width in which a latent meets its block
	RowTokens    int     // tokens one cached row covers: 1, in MTLA more
	RecurrentLen int     // numbers of constant state a sequence keeps in this layer beside its rows (CCA: convolution columns; MKA: the average)

	SharesWith int  // layer whose rows this one reads instead of own ones; -1 = own rows
	Strict     bool // a token does not see itself (reads a higher layer); the first one's output is zero
}

// RopeLayout says which channels make a pair.
type RopeLayout uint8

const (
	Half  RopeLayout = iota // (i, i+Dim/2)
	Pairs                   // (2i, 2i+1)
)

// The kinds of rotary frequencies.
const (
	RopeDefault  = "default"
	RopeLinear   = "linear"
	RopeLlama3   = "llama3"
	RopeYarn     = "yarn"
	RopeLong     = "longrope"
	RopeDynamic  = "dynamic"   // a base that grows with the context, past the trained one
	RopeAlpha    = "alpha"     // HunYuan's "dynamic" with alpha: a fixed larger base
	RopeKVLatent = "kv-latent" // KV-Latent's choice of frequencies for narrow heads
	RopeFactors  = "factors"   // each frequency divided by its own factor, as GGUF stores llama3 scaling (tensor rope_freqs.weight)
)

// Rope describes rotary embeddings; Frequencies evaluates it.
type Rope struct {
	Dim    int // rotated channels, the first of a head (in MLA kin of the rotated part); 0 = no rotation
	Odd    int `json:",omitempty"` // Dim - 1 where the published formulae count an odd number of channels, else 0
	Layout RopeLayout
	Sign   int // +1: y1 = x1 cos - x2 sin, y2 = x1 sin + x2 cos; -1: the other way round
	Base   float64
	Kind   string // a kind that is not known keeps the file's word

	Factor               float64   // linear, llama3, yarn, dynamic, longrope (there: context over original context)
	Original             int       // llama3, yarn, longrope: context of the original training; dynamic: the longest with the plain base
	LowFreq, HighFreq    float64   // llama3
	BetaFast, BetaSlow   float64   // yarn
	MScale, MScaleAllDim float64   // yarn; 0 = not given
	AttentionFactor      float64   // yarn, longrope: the factor on cos and sin; 0 = by the formula
	NoTruncate           bool      // yarn: the ends of the ramp are not rounded
	Short, Long          []float64 // longrope: one divisor a frequency
	Factors              []float64 // factors: one divisor a frequency
	Alpha                float64   // alpha
	BF16Table            bool      // the published code rounds its cos and sin tables to bfloat16
}

// MLPKind is the shape of an MLP.
type MLPKind uint8

const (
	Gated MLPKind = iota // down(act(gate x) * up x)
	Plain                // down(act(up x))
	NoMLP                // attention module alone
)

// Activations. GELU is the exact (erf) form, GELUTanh the tanh form.
const (
	SiLU     = "silu"
	GELU     = "gelu"
	GELUTanh = "gelu_tanh"
)

// MLP describes a layer's feed-forward block: dense where Experts is 0, else a mixture.
type MLP struct {
	Kind         MLPKind
	Activation   string
	Intermediate int  // width of a dense block; 0 in a mixture
	Bias         bool // on all matrices, in a mixture the router's too

	GateLimit, GateAlpha float64 // limit > 0: in place of act(g) u the gate is (u' + 1) g' sigmoid(alpha g'), g' and u' clamped (GPT-OSS)
	Sparsity             float64 // > 0: so large a share of the gate's input would be cut to zero, were it normally distributed (Gemma 3n)

	Experts, ExpertsPerToken int
	ExpertIntermediate       int // width of one expert
	SharedIntermediate       int // width of the shared experts together; 0 = none
	Routing                  Routing
}

// Scores of experts.
const (
	SoftmaxScore = "softmax" // over all experts
	SigmoidScore = "sigmoid"
)

// Routing says which experts a token meets and with what weight.
type Routing struct {
	Score     string // "" where how this family chooses is not described: such a mixture does not run
	Unknown   string `json:",omitempty"` // the option of the file that is to blame
	Groups    int    // equal blocks of experts, of which a token chooses from TopGroups; 0 and 1 mean none
	TopGroups int
	GroupTop  int     // a group's score is the sum of its so many best
	Bias      bool    // a learned correction joins the scores for the choice, not for the weights
	Norm      bool    // the weights of the chosen are divided by their sum
	Scale     float64 // factor on the weights
	Skip      bool    // one more index may be chosen, which stands for no expert
	// Network > 0: the logits come from a small network of this width, which adds, scaled, what the layer before made at its entrance (ZAYA); eps of its norm.
	Network    int
	NetworkEps float64
}

// MoE reports whether the block is a mixture of experts.
func (m *MLP) MoE() bool { return m.Experts > 0 }

// families that run, by model_type, from a Hugging Face folder and from GGUF.
var (
	runsFolder = []string{"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "deepseek_v2", "deepseek_v3", "minicpm3", "step3_text", "phi3", "granite", "smollm3", "olmo2", "youtu",
		"hunyuan_v1_dense", "starcoder2", "gpt_neox", "mixtral", "zaya", "qwen3_moe", "glm4_moe_lite", "gpt_oss", "gemma3n_text",
		"lckv-llama", "lowkey"}
	runsMixtures = []string{"mixtral", "zaya", "qwen3_moe", "deepseek_v2", "deepseek_v3", "glm4_moe_lite", "step3_text", "gpt_oss"}
	runsSharing  = []string{"lckv-llama", "lowkey", "gemma3n_text"}
	runsGGUF     = []string{"llama", "qwen2", "qwen3", "qwen3_moe", "gemma3_text", "deepseek_v2", "deepseek_v3"}
	runsActs     = []string{SiLU, GELU, GELUTanh}
	ropeKinds    = []string{RopeDefault, RopeLinear, RopeLlama3, RopeYarn, RopeLong, RopeDynamic, RopeAlpha, RopeFactors, RopeKVLatent}
)

// Runnable returns nil if the model can be loaded and run, else a *fault.Error of kind Unsupported that names the first thing which cannot.
func (c *Config) Runnable() error {
	no := func(thing, value, limit, wayOut string) error {
		return fault.New(fault.Unsupported, thing, value, limit, wayOut)
	}
	if c.Module {
		return no("model_type "+c.ModelType, "one attention module, not a model", "no embedding and no output matrix", "use inspect or plan")
	}
	for i := range c.Layers {
		a, m := &c.Layers[i].Attention, &c.Layers[i].MLP
		at := fmt.Sprintf("layer %d", i)
		switch {
		case !designs[a.Design].Runs():
			return no("attention design", a.Design, "designs that run: "+list(Designs()), "use inspect or plan")
		case (a.Design == MFA || a.Design == MFAKR) && a.KVHeads != 1:
			return no("attention design "+a.Design, fmt.Sprintf("%d groups", a.KVHeads), "only one group runs", "use inspect or plan")
		case a.SharesWith >= 0 && !contains(runsSharing, c.ModelType):
			return no("cross-layer cache", fmt.Sprintf("%s reads the rows of layer %d", at, a.SharesWith), "families whose layers share: "+list(runsSharing), "use inspect or plan")
		case a.SharesWith >= 0 && designs[a.Design].Makes == nil:
			return no("attention design "+a.Design, fmt.Sprintf("%s reads the rows of layer %d", at, a.SharesWith), designs[a.Design].Alone+"; designs whose rows other layers read: "+list(SharingDesigns()),
				"use one of these, or no layer_map")
		case a.Strict && a.RecurrentLen > 0:
			return no("layer map", fmt.Sprintf("%s reads layer %d, above it", at, a.SharesWith), "the layers of a circle take tokens more than once, and attention "+a.Design+" keeps state", "read a lower layer")
		case a.Strict && a.Window == 1:
			return no("layer map", fmt.Sprintf("%s slides over one row of layer %d, above it", at, a.SharesWith), "a window counts the token itself, whose row is not seen there", "drop the s, or widen sliding_window")
		case a.Rope.Dim > 0 && !contains(ropeKinds, a.Rope.Kind):
			return unsupportedRope(a.Rope.Kind)
		case !contains(runsActs, m.Activation):
			return no("activation", m.Activation, "activations that run: "+list(runsActs), "use inspect or plan")
		case m.MoE() && (m.Routing.Score == "" || m.Kind != Gated):
			return no("mixture of experts", strings.TrimSpace(fmt.Sprintf("%s has %d experts %s", at, m.Experts, m.Routing.Unknown)), "mixtures that run: "+list(runsMixtures), "use inspect or plan")
		}
	}
	if c.Quantization != "" && !(c.Quantization == "mxfp4" && c.ModelType == "gpt_oss") {
		return no("quantization_config", c.Quantization, "folders with f32, f16 or bf16 weights run, and GPT-OSS in mxfp4", "use the unquantised folder or a GGUF file of this model")
	}
	runs, from := runsFolder, ""
	if c.GGUF {
		runs, from = runsGGUF, " from GGUF"
	}
	if c.Source == "" && !contains(runs, c.ModelType) { // a research configuration says by its fields what it is; its model_type may be any name
		return no("model_type", c.ModelType, "families that run"+from+": "+list(runs), "use inspect or plan")
	}
	return nil
}
