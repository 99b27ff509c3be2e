// Single ops against reference results in float64: value and gradients of every op of training/*/ops.json, within 1e-11. An op's kind is how its name begins; a setting that none here has is an error.
package tensor

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/format/safetensors"
)

// goldenOp is what ops.json says about an op.
type goldenOp struct {
	Formula   string
	Inputs    map[string][]int
	Output    []int
	IntInputs map[string][]int `json:"int_inputs"`

	Eps, Theta, Scale      float64
	RopeDim                int `json:"rope_dim"`
	FirstPosition          int `json:"first_position"`
	Window, Kernel, Groups int
	IgnoreIndex            int32 `json:"ignore_index"`

	read    func(name string) []float64
	ints    func(name string) []int32
	tape    *Tape[float64]
	tensors map[string]*node[float64]
	axes    map[string][]int
}

// in brings an input to the tape as a matrix: its axes in this order, the first `lead` of them joined to rows, the rest to columns; lead 0 makes a vector, -1 one row.
func (g *goldenOp) in(name string, axes []int, lead int) Tensor {
	shape := g.Inputs[name]
	if axes == nil {
		for i := range shape {
			axes = append(axes, i)
		}
	}
	rows, cols := 1, 1
	for i, a := range axes {
		if i < lead {
			rows *= shape[a]
		} else {
			cols *= shape[a]
		}
	}
	data := g.read(name)
	moved := make([]float64, len(data))
	for i, from := range places(shape, axes) {
		moved[i] = data[from]
	}
	s := []int{rows, cols}
	if lead == 0 {
		s = []int{cols}
	}
	n := input(s, moved)
	g.tensors[name], g.axes[name] = n, axes
	return n
}

// places lists where the elements of an array lie, in the order of its permuted axes.
func places(shape, axes []int) []int {
	strides := make([]int, len(shape))
	n := 1
	for i := len(shape) - 1; i >= 0; i-- {
		strides[i] = n
		n *= shape[i]
	}
	out := []int{0}
	for _, a := range axes {
		next := make([]int, 0, len(out)*shape[a])
		for _, base := range out {
			for i := range shape[a] {
				next = append(next, base+i*strides[a])
			}
		}
		out = next
	}
	return out
}

// documents tells the tape that rows are `batch` sequences.
func (g *goldenOp) documents(batch, tokens int) (pos []int) {
	var starts []int
	for b := range batch {
		starts = append(starts, b*tokens)
		for i := range tokens {
			pos = append(pos, g.FirstPosition+i)
		}
	}
	g.tape.Documents(starts)
	return pos
}

var (
	headRows    = []int{0, 2, 1, 3} // [batch, heads, tokens, dim] to rows of heads
	channelRows = []int{0, 2, 1}    // [batch, channels, tokens] to rows of channels
	turnedAxes  = []int{1, 0}
)

// call computes the op by its name; y's axes in the order given are the reference's. ok is false for a name without a meaning here.
func (g *goldenOp) call(name string) (y Tensor, axes []int, ok bool) {
	t := g.tape
	last := func(name string) Tensor { return g.in(name, nil, cmp.Or(len(g.Inputs[name])-1, -1)) }
	vector := func(name string) Tensor { // nil where the op goes without
		if g.Inputs[name] == nil {
			return nil
		}
		return g.in(name, nil, 0)
	}
	biased := func(y Tensor) Tensor {
		if b := vector("b"); b != nil {
			return t.AddBias(y, b)
		}
		return y
	}
	kind := func(prefix string) bool { return name == prefix || strings.HasPrefix(name, prefix+"_") }
	switch {
	case kind("rmsnorm"):
		return t.RMSNorm(last("x"), vector("w"), Norm{Eps: g.Eps, PlusOne: strings.Contains(g.Formula, "(1 + w)")}), nil, true
	case kind("layernorm"):
		return t.LayerNorm(last("x"), vector("w"), vector("b"), g.Eps), nil, true
	case kind("rope"):
		s := g.Inputs["x"]
		pos := g.documents(s[0], s[2])
		spec := Rotary{Heads: s[1], To: g.RopeDim, Pairs: strings.Contains(name, "interleaved")}
		for i := range g.RopeDim / 2 {
			spec.InvFreq = append(spec.InvFreq, math.Pow(g.Theta, -2*float64(i)/float64(g.RopeDim)))
		}
		return t.RoPE(g.in("x", headRows, 2), spec, pos), headRows, true
	case kind("attention"):
		q, k := g.Inputs["q"], g.Inputs["k"]
		g.documents(q[0], q[2])
		spec := Attend{Heads: q[1], KVHeads: k[1], Scale: g.Scale, Window: g.Window}
		return t.Attend(g.in("q", headRows, 2), g.in("k", headRows, 2), g.in("v", headRows, 2), spec), headRows, true
	case kind("swiglu") && g.Inputs["gate"] != nil:
		return t.SwiGLU(last("gate"), last("up")), nil, true
	case kind("swiglu_mlp"):
		x := last("x")
		return t.MatMul(t.SwiGLU(t.MatMul(x, last("w_gate")), t.MatMul(x, last("w_up"))), last("w_down")), nil, true
	case kind("gelu_erf"):
		return t.GELU(g.in("x", nil, 0), false), nil, true
	case kind("gelu_tanh"):
		return t.GELU(g.in("x", nil, 0), true), nil, true
	case kind("silu"):
		return t.SiLU(g.in("x", nil, 0)), nil, true
	case kind("sigmoid"):
		return t.Sigmoid(g.in("x", nil, 0)), nil, true
	case kind("softmax"):
		return t.Softmax(last("x")), nil, true
	case kind("cross_entropy"):
		return t.CrossEntropy(last("logits"), g.ints("targets"), g.IgnoreIndex, strings.HasPrefix(g.Formula, "sum")), nil, true
	case kind("conv1d"):
		s := g.Inputs["x"]
		g.documents(s[0], s[2])
		groups := s[1] / g.Inputs["w"][1] // channels over those that one filter reads
		return biased(t.CausalConv(g.in("x", channelRows, 2), g.in("w", nil, 1), groups)), channelRows, true
	case kind("embedding"):
		return t.Embed(last("w"), g.ints("ids")), nil, true
	case kind("matmul") && len(g.Inputs["b"]) == 2:
		return t.MatMul(last("a"), g.in("b", turnedAxes, 1)), nil, true
	case kind("matmul"): // pairs of row blocks of a and of the turned b, one under the other
		sa, sb := g.Inputs["a"], g.Inputs["b"]
		n := len(sb)
		if len(sa) != n || !slices.Equal(sa[:n-2], sb[:n-2]) {
			return nil, nil, false
		}
		var leading []int
		for i := range n - 2 {
			leading = append(leading, i)
		}
		a, b := last("a"), g.in("b", append(slices.Clone(leading), n-1, n-2), n-1)
		var y Tensor
		for i := range size(sa[:n-2]) {
			rows := func(x Tensor, n int) Tensor {
				ids := make([]int32, n)
				for j := range ids {
					ids[j] = int32(i*n + j)
				}
				return t.Embed(x, ids)
			}
			part := t.MatMul(rows(a, sa[n-2]), rows(b, sb[n-1]))
			if y == nil {
				y = part
			} else {
				y = t.Concat(y, part)
			}
		}
		// y is [rows, batch*cols]: the rows of the reference come first.
		return y, append(append([]int{n - 2}, leading...), n-1), true
	case kind("linear"):
		return biased(t.MatMul(last("x"), last("w"))), nil, true
	}
	return nil, nil, false
}

func TestGoldenTraining(t *testing.T) {
	dir := os.Getenv("LOWKEY_GOLDEN")
	if dir == "" {
		dir = "../../shared/golden"
		if _, err := os.Stat(dir); err != nil {
			t.Skip("no reference outputs: set LOWKEY_GOLDEN")
		}
	}
	found, _ := filepath.Glob(filepath.Join(dir, "training", "*", "ops.json"))
	if len(found) == 0 {
		t.Fatal("no ops.json")
	}
	for _, path := range found {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) { goldenOps(t, path) })
	}
}

// goldenOps tests the ops of one list.
func goldenOps(t *testing.T, path string) {
	folder := filepath.Dir(path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Ops map[string]json.RawMessage
	}
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(filepath.Join(folder, "ops.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(list.Ops) == 0 {
		t.Fatal("ops.json lists none")
	}
	var names []string
	for name := range list.Ops {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			g := &goldenOp{}
			strict := json.NewDecoder(bytes.NewReader(list.Ops[name]))
			strict.DisallowUnknownFields()
			if err := strict.Decode(g); err != nil {
				t.Fatalf("a setting without a counterpart here: %v", err)
			}
			goldenOpTest(t, f, name, g)
		})
	}
}

func goldenOpTest(t *testing.T, f *safetensors.File, name string, g *goldenOp) {
	read := func(what string) ([]float64, bool) {
		x, ok := f.Tensor(name + "." + what)
		if !ok {
			return nil, false
		}
		v := make([]float64, size(x.Shape))
		for i := range v {
			v[i] = math.Float64frombits(binary.LittleEndian.Uint64(x.Data[8*i:]))
		}
		return v, true
	}
	g.read = func(what string) []float64 {
		v, ok := read(what)
		if !ok {
			t.Fatalf("no %s.%s", name, what)
		}
		return v
	}
	g.ints = func(what string) []int32 {
		x, _ := f.Tensor(name + "." + what)
		wide, err := safetensors.Int64s(x)
		if err != nil {
			t.Fatal(err)
		}
		out := make([]int32, len(wide))
		for i, v := range wide {
			out[i] = int32(v)
		}
		return out
	}
	g.tape, g.tensors, g.axes = NewTape64(), map[string]*node[float64]{}, map[string][]int{}
	defer g.tape.Close()
	y, axes, ok := g.call(name)
	if !ok {
		t.Fatalf("an op without a counterpart on the tape: %s", g.Formula)
	}
	if axes == nil {
		for i := range g.Output {
			axes = append(axes, i)
		}
	}
	at := places(g.Output, axes)
	near64(t, "y", g.tape.Values(y), g.read("y"), at)
	upstream := []float64{1}
	if dy, ok := read("dy"); ok {
		upstream = make([]float64, len(dy))
		for i, from := range at {
			upstream[i] = dy[from]
		}
	}
	g.tape.backward(y.(*node[float64]), upstream)
	for in := range g.Inputs {
		n := g.tensors[in]
		if n == nil {
			t.Fatalf("input %s was not used", in)
		}
		near64(t, "d"+in, n.grad, g.read("d"+in), places(g.Inputs[in], g.axes[in]))
	}
}

func near64(t *testing.T, what string, got, want []float64, at []int) {
	t.Helper()
	if len(got) != len(want) || len(at) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i, v := range got {
		if w := want[at[i]]; !(math.Abs(v-w) <= 1e-11*(1+math.Abs(w))) {
			t.Fatalf("%s: element %d is %.15g, want %.15g", what, at[i], v, w)
		}
	}
}
