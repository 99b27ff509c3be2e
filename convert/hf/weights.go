package hf

// Weights: which tensors a configuration has, reading them with their shapes checked, and writing them in another number type.

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

// layerShapes lists the tensors of one layer by their names in lowkey's own folder ("self_attn.q_proj.weight"), with shapes [out, in] or [n].
func layerShapes(c *config.Config, i int) map[string][]int {
	a, m, d := &c.Layers[i].Attention, &c.Layers[i].MLP, c.Hidden
	s := map[string][]int{"input_layernorm.weight": {d}, "post_attention_layernorm.weight": {d}}
	linear := func(name string, out, in int, bias bool) {
		s[name+".weight"] = []int{out, in}
		if bias {
			s[name+".bias"] = []int{out}
		}
	}
	for _, t := range config.DesignOf(a.Design).Tensors(c, a) {
		s[t.File+".weight"] = t.Shape
		if t.Bias {
			s[t.File+".bias"] = t.Shape[:1]
		}
	}
	linear("mlp.gate_proj", m.Intermediate, d, m.Bias)
	linear("mlp.up_proj", m.Intermediate, d, m.Bias)
	linear("mlp.down_proj", d, m.Intermediate, m.Bias)
	return s
}

// shapes lists all tensors of a model in lowkey's own folder.
func shapes(c *config.Config) map[string][]int {
	s := map[string][]int{"model.embed_tokens.weight": {c.Vocab, c.Hidden}, "model.norm.weight": {c.Hidden}}
	if !c.TieEmbeddings {
		s["lm_head.weight"] = []int{c.Vocab, c.Hidden}
	}
	for i := range c.Layers {
		for name, shape := range layerShapes(c, i) {
			s[fmt.Sprintf("model.layers.%d.%s", i, name)] = shape
		}
	}
	return s
}

// wrappers are what training tools put into names: FSDP and torch.compile anywhere, DDP at the front.
var wrappers = []string{"_fsdp_wrapped_module.", "_orig_mod."}

// readWeights opens a folder's tensors, gives them their names in lowkey's own folder (rename maps the folder's names of a layer's tensors to those) and checks that they are what the configuration
// needs, all and no more, sorted. They are valid until close.
func readWeights(folder string, c *config.Config, rename map[string]string) (out []safetensors.Tensor, closeAll func(), err error) {
	file, err := safetensors.OpenFolder(folder)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	want := shapes(c)
	found := map[string]bool{}
	var head *safetensors.Tensor
	for _, name := range file.Names() {
		t, _ := file.Tensor(name)
		for _, w := range wrappers {
			t.Name = strings.ReplaceAll(t.Name, w, "")
		}
		t.Name = strings.TrimPrefix(t.Name, "module.")
		t.Name = relayer(t.Name, rename)
		if _, ok := want[t.Name+".weight"]; ok { // a bare parameter: MFA-KR's n and alpha may be written so
			t.Name += ".weight"
		}
		shape, ok := want[t.Name]
		if t, err = plain(t); err != nil {
			return nil, nil, err
		}
		switch {
		case strings.HasSuffix(t.Name, "rotary_emb.inv_freq"): // a table that old versions saved
			continue
		case !ok && t.Name == "lm_head.weight":
			head = &t
			continue
		case !ok:
			return nil, nil, fault.New(fault.Mismatch, folder+": tensor "+name, text("shape %v", t.Shape), "the configuration has no such tensor", "give weights and config.json of the same model")
		case found[t.Name]:
			return nil, nil, fault.New(fault.BadFile, folder+": tensor "+name, "is there twice", "as "+t.Name, "take one of them out")
		case !slices.Equal(shape, t.Shape):
			return nil, nil, fault.New(fault.Mismatch, folder+": tensor "+name, text("shape %v", t.Shape), text("the configuration needs %v", shape), "config.json and weights must be of one model")
		case t.DType != safetensors.F32 && t.DType != safetensors.F16 && t.DType != safetensors.BF16:
			return nil, nil, fault.New(fault.Unsupported, folder+": tensor "+name, "dtype "+string(t.DType), "F32, BF16 and F16 are read", "save the model in one of these")
		}
		found[t.Name] = true
		out = append(out, t)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !found[name] {
			return nil, nil, fault.New(fault.Mismatch, folder+": tensor "+name, "missing", text("the configuration needs it, of shape %v", want[name]), "config.json and weights must be of one model")
		}
	}
	slices.SortFunc(out, func(a, b safetensors.Tensor) int { return strings.Compare(a.Name, b.Name) })
	if head != nil {
		i, _ := slices.BinarySearchFunc(out, "model.embed_tokens.weight", func(t safetensors.Tensor, name string) int { return strings.Compare(t.Name, name) })
		if head.DType != out[i].DType || !slices.Equal(head.Data, out[i].Data) {
			return nil, nil, fault.New(fault.Mismatch, folder+": tensor lm_head.weight", "differs from the embedding", "tie_word_embeddings says they are one", "set it to false if the output matrix was trained apart")
		}
	}
	return out, func() { file.Close() }, nil
}

// plain gives a matrix [out, in] that lowkey stores in blocks of 8 bits, U8 [out, in/32, 34], as BF16; everything else as it is.
func plain(t safetensors.Tensor) (safetensors.Tensor, error) {
	elems, size := kernel.Q8_0.Block()
	if t.DType != safetensors.U8 || len(t.Shape) != 3 || t.Shape[2] != size {
		return t, nil
	}
	shape := []int{t.Shape[0], t.Shape[1] * elems}
	w := tensor.Weight{Name: t.Name, Format: kernel.Q8_0, Shape: shape, Data: t.Data}
	wide := safetensors.Tensor{Name: t.Name, DType: safetensors.F32, Shape: shape}
	for _, v := range w.Float32s() {
		wide.Data = binary.LittleEndian.AppendUint32(wide.Data, math.Float32bits(v))
	}
	return convert(wide, safetensors.BF16)
}

// relayer renames "model.layers.N.OLD" by OLD.
func relayer(name string, rename map[string]string) string {
	rest, ok := strings.CutPrefix(name, "model.layers.")
	if !ok {
		return name
	}
	number, own, ok := strings.Cut(rest, ".")
	if to := rename[own]; ok && to != "" {
		return "model.layers." + number + "." + to
	}
	return name
}

// named gives tensors the form's names.
func (f *form) named(tensors []safetensors.Tensor, c *config.Config) ([]safetensors.Tensor, error) {
	var out []safetensors.Tensor
	for _, t := range tensors {
		t.Name = relayer(t.Name, f.rename)
		out = append(out, t)
		if t.Name == "model.embed_tokens.weight" && f.untie && c.TieEmbeddings {
			t.Name = "lm_head.weight"
			out = append(out, t)
		}
	}
	return out, nil
}

// dtypes are the types of Options by their names on the command line and in config.json.
var dtypes = map[safetensors.DType]string{safetensors.F32: "float32", safetensors.BF16: "bfloat16", safetensors.F16: "float16"}

// ParseDType finds a type by its short name, "" meaning that each tensor keeps its own.
func ParseDType(name string) (safetensors.DType, error) {
	switch name {
	case "", "keep":
		return "", nil
	case "f32", "float32":
		return safetensors.F32, nil
	case "bf16", "bfloat16":
		return safetensors.BF16, nil
	case "f16", "float16":
		return safetensors.F16, nil
	}
	return "", fault.New(fault.BadInput, "--dtype "+name, "unknown type", "types: f32 bf16 f16", "")
}

// writeWeights writes model.safetensors and notes the type in the configuration.
func writeWeights(ctx context.Context, folder string, tensors []safetensors.Tensor, to safetensors.DType, fields map[string]any, r *Result) error {
	out := make([]safetensors.Tensor, len(tensors))
	for i, t := range tensors {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		if out[i], err = convert(t, to); err != nil {
			return err
		}
		r.Parameters += int64(t.Elems())
		r.Bytes += int64(len(out[i].Data))
		if len(t.Shape) == 2 {
			r.DType = dtypes[out[i].DType]
		}
	}
	r.Tensors = len(out)
	delete(fields, "torch_dtype") // the old name
	fields["dtype"] = r.DType
	return safetensors.Write(filepath.Join(folder, "model.safetensors"), out, map[string]string{"format": "pt"})
}

// convert rounds a tensor to nearest, ties to even. A finite value that float16 cannot hold is an error.
func convert(t safetensors.Tensor, to safetensors.DType) (safetensors.Tensor, error) {
	if to == "" || to == t.DType {
		return t, nil
	}
	x, err := safetensors.Float32s(t)
	if err != nil {
		return t, err
	}
	out := safetensors.Tensor{Name: t.Name, DType: to, Shape: t.Shape, Data: make([]byte, 0, len(x)*to.Size())}
	for i, v := range x {
		switch to {
		case safetensors.F32:
			out.Data = binary.LittleEndian.AppendUint32(out.Data, math.Float32bits(v))
		case safetensors.BF16:
			out.Data = binary.LittleEndian.AppendUint16(out.Data, bf16(v))
		default:
			h := f16(v)
			if h&0x7fff == 0x7c00 && !math.IsInf(float64(v), 0) {
				return t, fault.New(fault.BadInput, "tensor "+t.Name, text("element %d is %g", i, v), "float16 ends at 65504", "use --dtype bf16 or f32")
			}
			out.Data = binary.LittleEndian.AppendUint16(out.Data, h)
		}
	}
	return out, nil
}

func bf16(v float32) uint16 {
	b := math.Float32bits(v)
	if b&0x7fffffff > 0x7f800000 { // a NaN stays one
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

func f16(v float32) uint16 {
	b := math.Float32bits(v)
	sign, e, m := uint16(b>>16&0x8000), int(b>>23&0xff)-127+15, b&0x7fffff
	switch {
	case b&0x7fffffff > 0x7f800000:
		return sign | 0x7e00
	case e >= 31:
		return sign | 0x7c00
	case e <= 0: // subnormal: the fraction with its leading one, shifted
		shift := 14 - e
		if shift > 24 {
			return sign
		}
		return sign | uint16(round(m|0x800000, shift))
	}
	return sign + uint16(uint32(e)<<10+round(m, 13)) // a carry goes into the exponent
}

// round shifts right, to nearest, ties to even.
func round(m uint32, shift int) uint32 {
	return (m + 1<<(shift-1) - 1 + m>>shift&1) >> shift
}
