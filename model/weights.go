package model

// Models whose weights are float32 slices of this process: what training makes, changes and writes. New starts one from a configuration; InMemory brings a model's file into
// memory. Everything else (Forward, Engine, WeightBytes) sees them as it sees files.
//
// Will not do: fresh weights in layouts in which one stored tensor holds those of several (GPT-NeoX, Phi-3); what is read from a file trains in any.

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/internal/atomicfile"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

// Parameter is one stored tensor of a model in memory. Whoever changes Data changes the model.
type Parameter struct {
	Name  string
	Shape []int
	Data  []float32
}

// Bytes views the values as a file would hold them; the tensor.Weight that Forward sees has these bytes, or a part of them.
func (p *Parameter) Bytes() []byte {
	if len(p.Data) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&p.Data[0])), 4*len(p.Data))
}

// memory is a Source of parameters, in the order in which they were added.
type memory struct {
	list  []*Parameter
	index map[string]*Parameter
}

func (s *memory) add(name string, shape []int) *Parameter {
	n := 1
	for _, d := range shape {
		n *= d
	}
	p := &Parameter{name, shape, make([]float32, n)}
	s.list = append(s.list, p)
	s.index[name] = p
	return p
}

func (s *memory) Tensor(name string) (tensor.Weight, bool) {
	p, ok := s.index[name]
	if !ok {
		return tensor.Weight{}, false
	}
	return tensor.Weight{Name: name, Format: kernel.F32, Shape: p.Shape, Data: p.Bytes()}, true
}

func (s *memory) Release(string) {}
func (s *memory) Close() error   { return nil }

// New makes a model with fresh weights from the bytes of a config.json. The same seed gives the same weights, tensor by tensor, whatever else the model has.
func New(configJSON []byte, seed uint64) (*Model, error) {
	c, err := config.Parse(configJSON, "config.json")
	if err != nil {
		return nil, err
	}
	if err := c.Runnable(); err != nil {
		return nil, err
	}
	src := &memory{index: map[string]*Parameter{}}
	m := &Model{Config: c, ConfigJSON: configJSON, src: src, names: folderNames(c)}
	if m.designs, err = m.build(c.MaxPosition); err != nil {
		return nil, err
	}
	f := filler{src, seed, 1 / math.Sqrt(2*float64(len(c.Layers)))}
	top := func(name string, init attention.Init, shape ...int) {
		f.add(m.names.top[name].name+".weight", init, shape)
	}
	top("embed", embedding, c.Vocab, c.Hidden)
	for i := range c.Layers {
		layer := func(name string, init attention.Init, shape ...int) error {
			base, bias := strings.CutSuffix(name, ".bias")
			p, ok := m.names.layer[base]
			if !ok || p.to != 0 || p.of != 0 {
				return fault.New(fault.Unsupported, "model_type "+c.ModelType, "weight "+name+" has no tensor of its own", "", `write the model as "model_type": "lowkey"`)
			}
			suffix := ".weight"
			if bias {
				suffix = ".bias"
			}
			f.add(fmt.Sprintf(m.names.prefix, i)+p.name+suffix, init, shape)
			return nil
		}
		mlp := &c.Layers[i].MLP
		if mlp.MoE() {
			return nil, fault.New(fault.Unsupported, "mixture of experts", fmt.Sprintf("layer %d has %d experts", i, mlp.Experts), "fresh models are dense", "")
		}
		if c.Norm.Kind != config.RMSNorm || c.SandwichNorms || c.PostNormOnly || mlp.Kind != config.Gated || mlp.Bias || c.Layers[i].Attention.QKVBias {
			return nil, fault.New(fault.Unsupported, "model_type "+c.ModelType, "fresh weights", "models without biases, with one RMS norm before each block and a gated MLP are trained", `write the model as "model_type": "lowkey"`)
		}
		err := layer("attn_norm", attention.Ones, c.Hidden)
		for _, p := range m.designs[i].Params() {
			if err == nil {
				err = layer("attn."+p.Name, p.Init, p.Shape...)
			}
		}
		if err != nil {
			return nil, err
		}
		layer("mlp_norm", attention.Ones, c.Hidden)
		layer("mlp.gate", attention.Normal, mlp.Intermediate, c.Hidden)
		layer("mlp.up", attention.Normal, mlp.Intermediate, c.Hidden)
		layer("mlp.down", attention.Output, c.Hidden, mlp.Intermediate)
	}
	top("norm", attention.Ones, c.Hidden)
	if !c.TieEmbeddings {
		top("lm_head", attention.Normal, c.Vocab, c.Hidden)
	}
	return m, nil
}

// embedding is the start of embeddings: normal with deviation 0.02, so that tied logits start near zero. Norms make its size irrelevant to the blocks.
const embedding = attention.Init(255)

// filler adds parameters with their first values. Each tensor has a random stream of its own, from the seed and its name.
type filler struct {
	src    *memory
	seed   uint64
	output float64 // factor on what writes into the residual stream
}

func (f filler) add(name string, init attention.Init, shape []int) {
	p := f.src.add(name, shape)
	deviation := 1 / math.Sqrt(float64(shape[len(shape)-1]))
	switch init {
	case attention.Zeros:
		return
	case attention.Ones:
		for i := range p.Data {
			p.Data[i] = 1
		}
		return
	case attention.Identity:
		for i := 0; i < len(p.Data); i += shape[1] + 1 {
			p.Data[i] = 1
		}
		return
	case attention.Output:
		deviation *= f.output
	case attention.Small:
		deviation /= 10
	case embedding:
		deviation = 0.02
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	rng := rand.New(rand.NewPCG(f.seed, h.Sum64()))
	for i := range p.Data {
		p.Data[i] = float32(rng.NormFloat64() * deviation)
	}
}

// InMemory replaces the model's file by float32 copies of its tensors in memory, all of them, under the file's names.
func (m *Model) InMemory() error {
	f, ok := m.src.(folderSource)
	if !ok {
		if _, already := m.src.(*memory); already {
			return nil
		}
		return fault.New(fault.Unsupported, m.Path, "a GGUF file", "models in folders can be trained", "use the model's Hugging Face folder")
	}
	src := &memory{index: map[string]*Parameter{}}
	for _, name := range f.Names() {
		t, _ := f.File.Tensor(name)
		w, ok := f.Tensor(name)
		if !ok {
			return fault.New(fault.Unsupported, "tensor "+name, "type "+string(t.DType), "float tensors can be trained", "start from weights in f32, bf16 or f16")
		}
		copy(src.add(name, w.Shape).Data, w.Float32s())
	}
	m.src = src
	return f.Close()
}

// Parameters lists the tensors of a model in memory; nil for one whose weights are in a file.
func (m *Model) Parameters() []*Parameter {
	if s, ok := m.src.(*memory); ok {
		return s.list
	}
	return nil
}

// Save writes a model in memory as a folder: config.json and model.safetensors in F32, BF16, or Q8_0. In Q8_0 matrices whose rows are whole blocks of 32 are stored as U8
// tensors [out, in/32, 34], one 34-byte block (f16 scale, 32 int8) after another; all else is BF16. Each file is written whole or not at all, the configuration last.
func (m *Model) Save(dir string, format kernel.Format) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fault.New(fault.BadInput, dir, "cannot be made", "", "give a folder in one that exists and may be written").Because(err)
	}
	var tensors []safetensors.Tensor
	for _, p := range m.Parameters() {
		t, err := p.stored(format)
		if err != nil {
			return err
		}
		tensors = append(tensors, t)
	}
	if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), tensors, map[string]string{"format": "pt"}); err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(dir, "config.json"), m.ConfigJSON)
}

func (p *Parameter) stored(format kernel.Format) (safetensors.Tensor, error) {
	types := map[kernel.Format]safetensors.DType{kernel.F32: safetensors.F32, kernel.BF16: safetensors.BF16, kernel.Q8_0: safetensors.U8}
	cols := p.Shape[len(p.Shape)-1]
	if format == kernel.Q8_0 && (len(p.Shape) != 2 || cols%32 != 0) {
		format = kernel.BF16
	}
	dtype, ok := types[format]
	if !ok {
		return safetensors.Tensor{}, fault.New(fault.BadInput, "format", format.String(), "models are saved as f32, bf16 or q8_0", "")
	}
	elems, size := format.Block()
	data := make([]byte, len(p.Data)/elems*size)
	if err := kernel.Quantize(format, data, p.Data); err != nil {
		return safetensors.Tensor{}, err
	}
	shape := p.Shape
	if format == kernel.Q8_0 {
		shape = []int{p.Shape[0], cols / elems, size}
	}
	return safetensors.Tensor{Name: p.Name, DType: dtype, Shape: shape, Data: data}, nil
}
