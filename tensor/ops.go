// Package tensor holds the arrays of lowkey. This file is the whole-sequence half: Ops, the vocabulary in which every
// attention design writes its Forward, that is, its definition over a whole sequence, close to the paper's letters.
//
// Ops is functional: an op returns a new Tensor and never changes its inputs, and a Tensor is an opaque handle. So one Forward
// serves the eager implementations (NewEager32, NewEager64) and any recorder of the same calls, such as a gradient tape.
//
// Shapes: T is the number of tokens; a matrix is [T, cols], row-major; a vector is [n]. A row of heads is laid out head after
// head: [T, heads*width].
//
// It will not do the cached step (see the workspace half of this package), batches of sequences, or indexing by the caller:
// data goes in by Leaf and comes out by Values. Shapes that do not fit are a programmer's error: the op panics with its name
// and the shapes. Files and requests must be checked before they come here.
package tensor

import "github.com/lowkeylm/lowkey/kernel"

// Tensor is an opaque handle to an array made by one Ops; give it back only to that Ops.
type Tensor interface {
	// Shape is [rows, cols] or [n]. The caller must not change it.
	Shape() []int
}

// Ops is the set of whole-sequence operations. x, a, b, q, k, v stand for activations [T, cols]; w for weights.
type Ops interface {
	// Leaf makes a weight or an input of one or two dimensions. data is row-major, len(data) is the product of shape; it may be
	// kept without a copy, so the caller must not change it while the tensor is in use.
	Leaf(shape []int, data []float32) Tensor
	// Weight brings a model's tensor in: a leaf, which a recording Ops may know as a parameter by the place of w.Data.
	Weight(w Weight) Tensor
	// Values reads a tensor out, row-major, as a copy.
	Values(t Tensor) []float64

	// Embed gathers rows: table [n, d], ids each in [0, n) -> [len(ids), d]. It also picks single rows of an activation.
	Embed(table Tensor, ids []int32) Tensor

	// MatMul is x w^T: x [T, k], w [n, k] (a row per output, as checkpoints store it) -> [T, n].
	MatMul(x, w Tensor) Tensor
	// AddBias adds the vector b [n] to every row of x [T, n].
	AddBias(x, b Tensor) Tensor
	// MulRow multiplies every row of x [T, n] by the vector r [n], element by element.
	MulRow(x, r Tensor) Tensor
	// Add and Mul work element by element on equal shapes.
	Add(a, b Tensor) Tensor
	Mul(a, b Tensor) Tensor
	// Scale multiplies every element by s.
	Scale(x Tensor, s float64) Tensor

	// RMSNorm is x / sqrt(mean(x^2) + eps), times w; w may be nil. See Norm for per-head norms and for 1 + w.
	RMSNorm(x, w Tensor, spec Norm) Tensor
	// LayerNorm is (x - mean) / sqrt(var + eps), times w [cols], plus b [cols]; w, b or both may be nil. var is the biased one.
	LayerNorm(x, w, b Tensor, eps float64) Tensor

	// RoPE rotates a slice of every head of x [T, heads*width] by the token's position; len(pos) = T.
	RoPE(x Tensor, spec Rotary, pos []int) Tensor

	// Cols takes columns [from, to) -> [T, to-from].
	Cols(x Tensor, from, to int) Tensor
	// Concat puts matrices of equal T side by side -> [T, sum of cols].
	Concat(xs ...Tensor) Tensor
	// HeadSlice takes columns [from, to) of every head: x [T, heads*width] -> [T, heads*(to-from)].
	HeadSlice(x Tensor, heads, from, to int) Tensor
	// HeadConcat joins head by head: xs[i] [T, heads*width_i] -> [T, heads*sum of width_i].
	HeadConcat(heads int, xs ...Tensor) Tensor
	// HeadRepeat gives every head the same slice: x [T, width] -> [T, heads*width], as for MLA's one rotary key.
	HeadRepeat(x Tensor, heads int) Tensor

	// Outer sums outer products of a factor over heads and one over channels, as TPA makes its heads: a [T, heads*rank],
	// b [T, rank*width] -> y [T, heads*width], y[t, h*width+j] = scale * sum over r of a[t, h*rank+r] * b[t, r*width+j].
	Outer(a, b Tensor, heads, rank int, scale float64) Tensor

	// Attend is causal softmax attention: q [T, Heads*dk], k [T, KVHeads*dk], v [T, KVHeads*dv] -> [T, Heads*dv].
	Attend(q, k, v Tensor, spec Attend) Tensor

	// SwiGLU is SiLU(gate) up, element by element (arXiv 2002.05202).
	SwiGLU(gate, up Tensor) Tensor
	// SiLU is x sigmoid(x); Sigmoid is 1/(1+e^-x).
	SiLU(x Tensor) Tensor
	Sigmoid(x Tensor) Tensor
	// GELU is x Phi(x), exact by erf, or its tanh approximation (gelu_pytorch_tanh).
	GELU(x Tensor, tanh bool) Tensor
	// Softcap is c tanh(x/c); c > 0.
	Softcap(x Tensor, c float64) Tensor
	// Clamp is x within [low, high]; either may be infinite.
	Clamp(x Tensor, low, high float64) Tensor
	// Excess is max(0, x - m - c s) with a row's mean m and standard deviation s, c = deviations; Match gives each row of x the root mean square of that row of like, and takes
	// its own to be at least the root of floor. x [T, n].
	Excess(x Tensor, deviations float64) Tensor
	Match(x, like Tensor, floor float64) Tensor
	// Softmax of every row.
	Softmax(x Tensor) Tensor

	// Route makes the weights of experts of router logits [T, experts] -> [T, experts], 0 for experts not chosen; bias [experts] corrects the choice and may be nil.
	Route(scores, bias Tensor, spec Route) Tensor

	// Delay is the row of the token before: x [T, n] -> y [T, n], y[t] = x[t-1], zeros for the first token of a sequence.
	Delay(x Tensor) Tensor

	// Stored is x [T, heads*width] as a cache of codec c gives it back, head by head; the gradient passes as if it were x (straight-through).
	Stored(x Tensor, heads int, c kernel.Codec) Tensor

	// CausalConv filters over tokens, within each of `groups` equal blocks of channels: x [T, groups*in], w [groups*out, in*taps], the newest token's tap last,
	// -> [T, groups*out]. groups = channels is depthwise.
	CausalConv(x, w Tensor, groups int) Tensor

	// Recur runs over tokens: y_t = keep_t y_t-1 + take x_t on x [T, cols]; len(keep) = T. keep is 0 where nothing is carried on: at the first token of every document, at least.
	Recur(x Tensor, keep []float64, take float64) Tensor
}

// Norm says how RMSNorm treats a row.
type Norm struct {
	Eps     float64
	PlusOne bool // multiply by 1 + w (Gemma) instead of w
	// Groups > 1 normalises each of Groups equal slices of a row for itself (QK-norm: one group a head). w is then as wide as
	// a slice, shared by all, or as wide as the row, each slice with weights of its own. 0 and 1 both mean the whole row.
	Groups int
}

// Rotary says how RoPE turns a head. With n = To-From rotated columns, pair i in [0, n/2) turns by pos*InvFreq[i]:
//
//	y1 = x1 cos - Sign x2 sin
//	y2 = x2 cos + Sign x1 sin        cos and sin each times Factor
type Rotary struct {
	Heads    int       // x has Heads equal heads
	From, To int       // the columns of each head that turn; the others pass; From = To = 0 turns the whole head
	Pairs    bool      // true: the pair is columns (2i, 2i+1); false: (i, i + n/2), as in most checkpoints
	Sign     float64   // +1 or -1: the direction; 0 means +1
	InvFreq  []float64 // radians a position, n/2 of them
	Factor   float64   // attention factor of YaRN and longrope; 0 means 1
	BF16     bool      // cosines and sines are rounded to bfloat16, as in code whose tables are (T6)
}

// Attend says how queries see keys. Query head h reads key-value head h / (Heads/KVHeads). For token i and every token j it
// sees, s_j = Scale q_i.k_j, capped if Softcap is set; p = softmax(s); the output is sum_j p_j v_j.
type Attend struct {
	Heads, KVHeads int     // Heads is a multiple of KVHeads
	Scale          float64 // required, usually 1/sqrt(dk)
	Softcap        float64 // > 0: s = Softcap tanh(s/Softcap)
	Window         int     // > 0: token i sees the last Window tokens, itself included; 0: all up to itself
	Sinks          Tensor  // nil or [Heads]: one more logit a head in the softmax, whose value is zero (gpt-oss)
	Bias           Tensor  // nil, [T, KVHeads] or [T, Heads]: added to the scores of a key, after the cap
	Private        []bool  // nil, or [T]: tokens that no later one sees (MTLA: all but the last of a block)
}
