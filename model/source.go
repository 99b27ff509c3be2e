// Package model turns a file or folder into blocks that run: it finds tensors by a family's names, builds each layer's attention design from the configuration, and
// offers two ways through them: Forward, the definition over whole sequences, and Engine, the cached step. It knows designs only by their interface.
package model

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/gguf"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/tensor"
)

// Source is a set of named tensors on disk.
type Source interface {
	Tensor(name string) (tensor.Weight, bool)
	Release(name string) // the tensor's pages are no longer needed in memory
	Close() error
}

var ggufFormats = map[string]kernel.Format{"F32": kernel.F32, "F16": kernel.F16, "BF16": kernel.BF16, "Q8_0": kernel.Q8_0, "Q4_0": kernel.Q4_0, "Q4_1": kernel.Q4_1,
	"Q5_0": kernel.Q5_0, "Q5_1": kernel.Q5_1, "Q4_K": kernel.Q4_K, "Q5_K": kernel.Q5_K, "Q6_K": kernel.Q6_K}

type ggufSource struct{ *gguf.File }

func (s ggufSource) Tensor(name string) (tensor.Weight, bool) {
	t, ok := s.File.Tensor(name)
	if !ok {
		return s.joined(name)
	}
	return tensor.Weight{Name: name, Format: ggufFormats[t.Type.String()], Shape: t.Shape(), Data: s.Data(t)}, true
}

// joined makes MLA's up-projection [n (d_n + d_v), r], head after head its key and then its value, of the two tensors that newer files cut it into: attn_k_b [n, r, d_n], each head
// transposed, ready to be folded into the query, and attn_v_b [n, d_v, r]. It is expanded to float32, as folding would.
func (s ggufSource) joined(name string) (tensor.Weight, bool) {
	at, ok := strings.CutSuffix(name, "attn_kv_b.weight")
	if !ok {
		return tensor.Weight{}, false
	}
	k, okK := s.Tensor(at + "attn_k_b.weight")
	v, okV := s.Tensor(at + "attn_v_b.weight")
	if !okK || !okV || len(k.Shape) != 3 || len(v.Shape) != 3 || k.Shape[0] != v.Shape[0] || k.Shape[1] != v.Shape[2] {
		return tensor.Weight{}, false
	}
	n, r, dn, dv := k.Shape[0], k.Shape[1], k.Shape[2], v.Shape[1]
	out := make([]float32, 0, n*(dn+dv)*r)
	keys, values := k.Float32s(), v.Float32s()
	for h := range n {
		for i := range dn {
			for j := range r {
				out = append(out, keys[(h*r+j)*dn+i])
			}
		}
		out = append(out, values[h*dv*r:][:dv*r]...)
	}
	w := tensor.Weight{Name: name, Format: kernel.F32, Shape: []int{n * (dn + dv), r}, Data: make([]byte, 4*len(out))}
	return w, kernel.Quantize(kernel.F32, w.Data, out) == nil
}

func (s ggufSource) Release(name string) {
	if t, ok := s.File.Tensor(name); ok {
		s.File.Release(t)
	}
}

// checkFormats refuses a file with a tensor type that no kernel reads.
func (s ggufSource) checkFormats() error {
	for _, t := range s.Tensors {
		if _, ok := ggufFormats[t.Type.String()]; !ok {
			return fault.New(fault.Unsupported, "tensor "+t.Name, "type "+t.Type.String(), "types that run: F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K", "use another quantisation of this model")
		}
	}
	return nil
}

type folderSource struct{ *safetensors.File }

func (s folderSource) Tensor(name string) (tensor.Weight, bool) {
	t, ok := s.File.Tensor(name)
	if !ok {
		return tensor.Weight{}, false
	}
	if q8, out, in := Blocks(t); q8 {
		return tensor.Weight{Name: name, Format: kernel.Q8_0, Shape: []int{out, in}, Data: t.Data}, true
	}
	f, ok := map[string]kernel.Format{"F32": kernel.F32, "F16": kernel.F16, "BF16": kernel.BF16}[string(t.DType)]
	return tensor.Weight{Name: name, Format: f, Shape: t.Shape, Data: t.Data}, ok
}

// Stored are the model's tensors as its file names and holds them; of a type that no kernel reads, none. They are valid until the model is closed.
func (m *Model) Stored() (list []tensor.Weight) {
	var names []string
	if m.GGUF != nil {
		for _, t := range m.GGUF.Tensors {
			names = append(names, t.Name)
		}
	} else if f, ok := m.src.(folderSource); ok {
		names = f.Names()
	}
	for _, name := range names {
		if w, ok := m.src.Tensor(name); ok {
			list = append(list, w)
		}
	}
	return list
}

// Blocks recognises a matrix [out, in] that Save stored in Q8_0: bytes [out, in/32, 34].
func Blocks(t safetensors.Tensor) (yes bool, out, in int) {
	elems, size := kernel.Q8_0.Block()
	if t.DType != safetensors.U8 || len(t.Shape) != 3 || t.Shape[2] != size {
		return false, 0, 0
	}
	return true, t.Shape[0], t.Shape[1] * elems
}

func (s folderSource) Release(name string) {
	if t, ok := s.File.Tensor(name); ok {
		s.File.Release(t)
	}
}

// isGGUF tells a GGUF file from a folder; what is neither gets a clear error.
func isGGUF(path string) (bool, error) {
	st, err := os.Stat(path)
	if err != nil {
		return false, fault.New(fault.BadInput, path, "cannot be opened", "", "give a .gguf file or a folder with config.json").Because(err)
	}
	if st.IsDir() {
		if _, err := os.Stat(filepath.Join(path, "config.json")); err != nil {
			return false, fault.New(fault.BadInput, path, "the folder has no config.json", "", "give a .gguf file or a Hugging Face model folder")
		}
		return false, nil
	}
	if strings.HasSuffix(path, ".json") {
		return false, fault.New(fault.BadInput, path, "a configuration alone has no weights", "", "use plan or inspect, or give the folder that holds the weights")
	}
	return true, nil
}

// names maps a canonical tensor name ("layers.3.attn.q", "embed") to where a file keeps it.
type names struct {
	top, layer map[string]place
	prefix     string // "blk.%d."
}

// place is a tensor's name in the file; rows [from, to) of it when several are stored as one, or these of every `every` rows when they are stored head by head.
type place struct {
	name            string // %d in it stands for an expert's number
	from, to, every int
	of              int // > 0: block `from` of so many in a tensor [of, in, out]
	step            int // > 0: of a tensor [experts, in, out], each expert's columns `from`, `from` + step and so on
}

// cut takes a place's rows out of what the file keeps as one; false where it has fewer.
func (p place) cut(t tensor.Weight) (tensor.Weight, bool) {
	if p.of > 0 {
		return p.block(t)
	}
	if p.to == 0 {
		return t, true
	}
	vector := len(t.Shape) == 1
	if vector {
		t.Shape = []int{t.Cols(), 1}
	}
	switch {
	case p.to > t.Rows() || p.every > 0 && t.Rows()%p.every != 0:
		return tensor.Weight{}, false
	case p.every == 0:
		t = t.Slice(p.from, p.to)
	default:
		t = t.Groups(p.from, p.to, p.every)
	}
	if vector {
		t.Shape = t.Shape[:1]
	}
	return t, true
}

func (p place) block(t tensor.Weight) (tensor.Weight, bool) {
	if len(t.Shape) != 3 || t.Shape[0] != p.of {
		return tensor.Weight{}, false
	}
	size := len(t.Data) / p.of
	t.Shape, t.Data, t.Transposed = []int{t.Shape[2], t.Shape[1]}, t.Data[p.from*size:][:size], true
	return t, true
}

// latentNames are where each of n latents' norms and up-projections are, one tensor each.
func latentNames(n, first int, norm, up string) map[string]place {
	m := map[string]place{}
	for j := range n {
		m[fmt.Sprintf("attn.kv_a_norm.%d", j)] = at(fmt.Sprintf(norm, first+j))
		m[fmt.Sprintf("attn.kv_b.%d", j)] = at(fmt.Sprintf(up, first+j))
	}
	return m
}

// mlraLatents are the names of MLRA's code: numbered from 1 for two latents, else a list of norms, and all up-projections in one tensor [n, r, out].
func mlraLatents(n int) map[string]place {
	if n == 2 {
		return latentNames(n, 1, "attn.kv_a_layernorm_%d", "attn.kv_b_proj_%d")
	}
	m := latentNames(n, 0, "attn.kv_a_layernorms.%d", "attn.kv_b_proj.%d")
	for j := range n {
		m[fmt.Sprintf("attn.kv_b.%d", j)] = place{name: "attn.kv_b_proj", from: j, of: n}
	}
	return m
}

func at(name string) place { return place{name: name} }

// cutRows is some rows of a tensor, as place says.
func cutRows(name string, from, to, every int) place {
	return place{name: name, from: from, to: to, every: every}
}

// layerWeights finds the tensors of one layer, by canonical names with a prefix such as "attn.".
type layerWeights struct {
	src    Source
	names  *names
	layer  int
	prefix string
}

// Get implements attention.Weights. A bias is "NAME.bias".
func (w layerWeights) Get(name string) (tensor.Weight, bool) {
	base, bias := strings.CutSuffix(name, ".bias")
	p, ok := w.names.layer[w.prefix+base]
	if !ok {
		return tensor.Weight{}, false
	}
	if bias {
		return w.read(p, ".bias")
	}
	return w.read(p, ".weight")
}

// read finds what lies at a place: NAME.weight, or NAME itself.
func (w layerWeights) read(p place, suffix string) (tensor.Weight, bool) {
	full := fmt.Sprintf(w.names.prefix, w.layer) + p.name
	t, ok := w.src.Tensor(full + suffix)
	if !ok && suffix == ".weight" {
		t, ok = w.src.Tensor(full)
	}
	if !ok {
		return t, false
	}
	return p.cut(t)
}

var ggufNames = names{prefix: "blk.%d.",
	top: map[string]place{"embed": at("token_embd"), "norm": at("output_norm"), "lm_head": at("output")},
	layer: map[string]place{"attn_norm": at("attn_norm"), "mlp_norm": at("ffn_norm"), "attn_post_norm": at("post_attention_norm"), "mlp_post_norm": at("post_ffw_norm"),
		"attn.q": at("attn_q"), "attn.k": at("attn_k"), "attn.v": at("attn_v"), "attn.o": at("attn_output"), "attn.q_norm": at("attn_q_norm"), "attn.k_norm": at("attn_k_norm"),
		"attn.q_a": at("attn_q_a"), "attn.q_a_norm": at("attn_q_a_norm"), "attn.q_b": at("attn_q_b"),
		"attn.kv_a": at("attn_kv_a_mqa"), "attn.kv_a_norm": at("attn_kv_a_norm"), "attn.kv_b": at("attn_kv_b"),
		"mlp.gate": at("ffn_gate"), "mlp.up": at("ffn_up"), "mlp.down": at("ffn_down"),
		"moe.router": at("ffn_gate_inp"), "moe.router_bias": at("exp_probs_b.bias"), "moe.gate": at("ffn_gate_exps"), "moe.up": at("ffn_up_exps"), "moe.down": at("ffn_down_exps"),
		"moe.shared_gate": at("ffn_gate_shexp"), "moe.shared_up": at("ffn_up_shexp"), "moe.shared_down": at("ffn_down_shexp")}}

var hfNames = names{prefix: "model.layers.%d.",
	top: map[string]place{"embed": at("model.embed_tokens"), "norm": at("model.norm"), "lm_head": at("lm_head")},
	layer: map[string]place{"attn_norm": at("input_layernorm"), "mlp_norm": at("post_attention_layernorm"),
		"attn.q": at("self_attn.q_proj"), "attn.k": at("self_attn.k_proj"), "attn.v": at("self_attn.v_proj"), "attn.o": at("self_attn.o_proj"),
		"attn.q_norm": at("self_attn.q_norm"), "attn.k_norm": at("self_attn.k_norm"), "attn.sinks": at("self_attn.sinks"),
		"attn.q_a": at("self_attn.q_a_proj"), "attn.q_a_norm": at("self_attn.q_a_layernorm"), "attn.q_b": at("self_attn.q_b_proj"),
		"attn.kv_a": at("self_attn.kv_a_proj_with_mqa"), "attn.kv_a_norm": at("self_attn.kv_a_layernorm"), "attn.kv_b": at("self_attn.kv_b_proj"),
		"mlp.gate": at("mlp.gate_proj"), "mlp.up": at("mlp.up_proj"), "mlp.down": at("mlp.down_proj"),
		"moe.router": at("mlp.gate"), "moe.router_bias": at("mlp.gate.e_score_correction_bias"),
		"moe.gate": at("mlp.experts.%d.gate_proj"), "moe.up": at("mlp.experts.%d.up_proj"), "moe.down": at("mlp.experts.%d.down_proj"),
		"moe.shared_gate": at("mlp.shared_experts.gate_proj"), "moe.shared_up": at("mlp.shared_experts.up_proj"), "moe.shared_down": at("mlp.shared_experts.down_proj")}}

var mlraNames = names{prefix: "transformer.h.%d.",
	top: map[string]place{"embed": at("transformer.wte"), "norm": at("layernorm"), "lm_head": at("lm_head")},
	layer: map[string]place{"attn_norm": at("input_layernorm"), "mlp_norm": at("post_attention_layernorm"),
		"attn.q": at("attn.c_q"), "attn.k": at("attn.c_k"), "attn.v": at("attn.c_v"), "attn.o": at("attn.c_proj"),
		"attn.q_a": at("attn.q_a_proj"), "attn.q_a_norm": at("attn.q_a_layernorm"), "attn.q_b": at("attn.q_b_proj"),
		"attn.kv_a": at("attn.kv_a_proj_with_mqa"), "attn.kv_a_norm": at("attn.kv_a_layernorm"), "attn.kv_b": at("attn.kv_b_proj"),
		"mlp.gate": at("mlp.c_fc1"), "mlp.up": at("mlp.c_fc2"), "mlp.down": at("mlp.c_proj")}}

var neoxNames = names{prefix: "gpt_neox.layers.%d.",
	top: map[string]place{"embed": at("gpt_neox.embed_in"), "norm": at("gpt_neox.final_layer_norm"), "lm_head": at("embed_out")},
	layer: map[string]place{"attn_norm": at("input_layernorm"), "mlp_norm": at("post_attention_layernorm"), "attn.o": at("attention.dense"),
		"mlp.up": at("mlp.dense_h_to_4h"), "mlp.down": at("mlp.dense_4h_to_h")}}

// nested returns n with the prefix that the tensors of src have: a text model inside a wrapper (Gemma 3, Step-3) keeps its names behind "language_model.", and a folder
// saved without its output matrix drops "model.". The embedding tells.
func (n *names) nested(src Source) *names {
	const own = "model."
	if n.top["embed"].name != own+"embed_tokens" {
		return n
	}
	for _, prefix := range []string{own, "language_model.model.", "model.language_model.", "language_model.", ""} {
		if _, ok := src.Tensor(prefix + "embed_tokens.weight"); !ok {
			continue
		}
		if prefix == own {
			return n
		}
		out := names{layer: n.layer, prefix: prefix + strings.TrimPrefix(n.prefix, own), top: map[string]place{}}
		for k, p := range n.top {
			out.top[k] = at(strings.Replace(p.name, own, prefix, 1))
		}
		for _, head := range []string{"language_model.lm_head", "language_model.model.lm_head"} {
			if _, ok := src.Tensor(head + ".weight"); ok {
				out.top["lm_head"] = at(head)
			}
		}
		return &out
	}
	return n
}

// with returns a copy of n with some layer names replaced.
func (n names) with(layer map[string]place) *names {
	m := map[string]place{}
	for k, v := range n.layer {
		m[k] = v
	}
	for k, v := range layer {
		m[k] = v
	}
	n.layer = m
	return &n
}
