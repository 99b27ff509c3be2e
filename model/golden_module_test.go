package model

// Golden folders that hold one attention module and no model: hidden states in, the module's output out.

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

// moduleNames are where a module's folder keeps the weights that a design names. More of them stand in files of their own.
var moduleNames = map[string]map[string]string{
	config.CCA: {"q": "qkv_proj.q_proj", "k": "qkv_proj.k_proj", "v": "qkv_proj.v_proj_current", "v_late": "qkv_proj.v_proj_delayed", "conv0": "qkv_proj.conv_qk_depthwise",
		"conv1": "qkv_proj.conv_qk_grouped", "temp": "qk_norm.temp", "o": "o_proj"},
}

// moduleWeights reads a module's folder, and a bank of retrieved vectors where there is one.
type moduleWeights struct {
	src    Source
	names  map[string]string
	memory *tensor.Weight
}

func (w moduleWeights) Get(name string) (tensor.Weight, bool) {
	if name == "memory" && w.memory != nil {
		return *w.memory, true
	}
	base, bias := strings.CutSuffix(name, ".bias")
	file, ok := w.names[base]
	if !ok {
		return tensor.Weight{}, false
	}
	if bias {
		return w.src.Tensor(file + ".bias")
	}
	if t, ok := w.src.Tensor(file + ".weight"); ok {
		return t, true
	}
	return w.src.Tensor(file)
}

// goldenModule compares a module with its reference, whole and through the cache in several chunks.
func goldenModule(t *testing.T, folder string) {
	m := &Model{Path: folder}
	if err := m.readConfig(folder); err != nil {
		t.Fatal(err)
	}
	c, a := m.Config, &m.Config.Layers[0].Attention
	names := moduleNames[a.Design]
	if names == nil {
		t.Fatalf("no names for a module of design %s", a.Design)
	}
	design, err := m.design(a, ropes{context: 1 << 12, made: map[string]*tensor.Rope{}})
	if err != nil {
		t.Fatal(err)
	}
	weights, err := safetensors.OpenFolder(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer weights.Close()
	golden, err := safetensors.Open(filepath.Join(folder, "golden.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer golden.Close()
	floats := func(name string) ([]float32, int) {
		x, ok := golden.Tensor(name)
		if !ok {
			t.Fatalf("no %s", name)
		}
		v, err := safetensors.Float32s(x)
		if err != nil {
			t.Fatal(err)
		}
		return v, x.Shape[0]
	}
	w := moduleWeights{src: folderSource{weights}, names: names}
	var memory *attention.Memory
	compareAll := func(what, hidden, out string) {
		x, rows := floats(hidden)
		want, _ := floats(out)
		bound := 1e-4 * peak(want)
		pos := make([]int, rows)
		for i := range pos {
			pos[i] = i
		}
		o := tensor.NewEager32()
		compare(t, "Forward"+what, o.Values(design.Forward(o, w, o.Leaf([]int{rows, c.Hidden}, x), pos)), want, bound)
		for _, chunk := range []int{1, 7, rows} {
			compare(t, fmt.Sprintf("cached step%s, chunks of %d", what, chunk), moduleSteps(t, design, w, memory, x, rows, chunk), want, bound)
		}
	}
	if bank, ok := (folderSource{golden}).Tensor("l3_memory"); ok {
		compareAll(" without memory", "hidden_states", "attn_out_no_memory")
		w.memory, memory = &bank, &attention.Memory{Layers: [][]float32{bank.Float32s()}}
	}
	for _, suffix := range []string{"", "_b"} {
		compareAll("", "hidden_states"+suffix, "attn_out"+suffix)
	}
}

// moduleSteps runs hidden states x [rows, hidden] through a module's cached step.
func moduleSteps(t *testing.T, design attention.Design, w attention.Weights, memory *attention.Memory, x []float32, rows, chunk int) (out []float64) {
	t.Helper()
	pool := kernel.NewPool(2)
	defer pool.Close()
	store, err := kvcache.New(kvcache.Config{Layers: []kvcache.Layout{design.Layout()}, Spec: mustSpec(t, "f32"), Budget: 16 << 20, MaxRows: rows})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	packer := &tensor.Packer{Pool: pool, Arith: kernel.ArithF32}
	defer packer.Free()
	bound, err := design.Bind(w, packer)
	if err != nil {
		t.Fatal(err)
	}
	view := bound.View()
	view.Planes = store.Planes(0)
	seq, ws, hidden := store.NewSequence(""), tensor.NewWorkspace(pool), len(x)/rows
	seq.Give(memory.Digest(), memory)
	step := &attention.Step{Workspace: ws, Sequences: []*kvcache.Sequence{seq}, View: &view, Types: store.Types(0)}
	for at := 0; at < rows; at += chunk {
		n := min(chunk, rows-at)
		if err := seq.Reserve(n); err != nil {
			t.Fatal(err)
		}
		pos := make([]int, n)
		for i := range pos {
			pos[i] = at + i
		}
		ws.Begin(pos)
		in := ws.New(n, hidden)
		copy(in.Float32s(), x[at*hidden:])
		step.Counts = []int{n}
		for _, v := range bound.Step(step, in).Float32s() {
			out = append(out, float64(v))
		}
		seq.Commit(make([]int32, n))
	}
	return out
}
