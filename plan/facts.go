package plan

// Facts: what lies at a path, read without loading: the configuration, the list of tensors, and whether it runs.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/gguf"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model"
	"github.com/lowkeylm/lowkey/model/config"
)

// Kinds of paths.
const (
	KindGGUF   = "gguf"
	KindFolder = "folder" // config.json and safetensors
	KindConfig = "config" // config.json alone
)

// Tensor is one entry of a file's list.
type Tensor struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Shape    []int  `json:"shape"`
	Elements int64  `json:"elements"`
	Bytes    int64  `json:"bytes"`
}

// Facts is an opened path. Close it.
type Facts struct {
	Path    string
	Kind    string
	Config  *config.Config // nil if ConfigErr
	Tensors []Tensor       // none for a configuration alone
	Part    string         // "1 of 3" if the file is one of several and the others are not at hand, else ""
	Files   int64          // bytes of the files that hold the tensors

	ConfigErr error // why a readable GGUF file could not be described
	RunErr    error // why run cannot run it; nil if it can

	GGUF   *gguf.File
	folder *safetensors.File
	model  *model.Model // nil if it does not run
}

// Read opens a .gguf file, a model folder, or a config.json. Errors are *fault.Error; a GGUF file of an unknown family is not an error here but ConfigErr.
func Read(path string) (*Facts, error) {
	if files, ok := lowkey.Carried(path); ok {
		return readCarried(path, files)
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, fault.New(fault.BadInput, path, "cannot be opened", "", "give a .gguf file, a model folder or a config.json").Because(cause(err))
	}
	f := &Facts{Path: path}
	switch {
	case st.IsDir():
		err = f.readFolder()
	case strings.HasSuffix(path, ".json"):
		f.Kind = KindConfig
		f.Config, err = config.FromFolder(path)
	case strings.HasSuffix(path, ".safetensors"):
		err = fault.New(fault.BadInput, path, "tensors without a configuration", "", "give the folder that holds it and its config.json")
	default:
		err = f.readGGUF()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	f.tryToRun()
	return f, nil
}

// Close gives the files back.
func (f *Facts) Close() {
	if f.model != nil {
		f.model.Close()
	}
	if f.GGUF != nil {
		f.GGUF.Close()
	}
	if f.folder != nil {
		f.folder.Close()
	}
}

func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func (f *Facts) readFolder() error {
	if _, err := os.Stat(filepath.Join(f.Path, "config.json")); err != nil {
		wayOut := "give a .gguf file, a folder with config.json, or a config.json"
		if inside, _ := filepath.Glob(filepath.Join(f.Path, "*.gguf")); len(inside) > 0 {
			wayOut = "give a file in it, such as " + inside[0]
		}
		return fault.New(fault.BadInput, f.Path, "the folder has no config.json", "", wayOut)
	}
	var err error
	if f.Config, err = config.FromFolder(f.Path); err != nil {
		return err
	}
	f.Kind = KindFolder
	f.folder, err = safetensors.OpenFolder(f.Path)
	if fault.Is(err, fault.BadInput) { // no weights in it
		f.folder, f.Kind = nil, KindConfig
		return nil
	}
	if err != nil {
		return err
	}
	f.list()
	files, _ := filepath.Glob(filepath.Join(f.Path, "model*.safetensors"))
	for _, name := range files {
		if st, err := os.Stat(name); err == nil {
			f.Files += st.Size()
		}
	}
	return nil
}

// readCarried is Read for a model that the program carries.
func readCarried(name string, files lowkey.Files) (f *Facts, err error) {
	f = &Facts{Path: name, Kind: KindFolder, Files: int64(len(files.Weights))}
	if f.Config, err = config.Parse(files.Config, name); err != nil {
		return nil, err
	}
	if f.folder, err = safetensors.Parse(files.Weights); err != nil {
		return nil, err
	}
	f.list()
	f.model, f.RunErr = model.FromBytes(name, files.Config, files.Weights)
	return f, nil
}

// list describes the folder's tensors.
func (f *Facts) list() {
	for _, name := range f.folder.Names() {
		t, _ := f.folder.Tensor(name)
		row := Tensor{name, string(t.DType), t.Shape, int64(t.Elems()), int64(len(t.Data))}
		if q8, out, in := model.Blocks(t); q8 {
			row = Tensor{name, "Q8_0", []int{out, in}, int64(out) * int64(in), int64(len(t.Data))}
		}
		f.Tensors = append(f.Tensors, row)
	}
}

func (f *Facts) readGGUF() error {
	g, err := gguf.Open(f.Path)
	if err != nil {
		return err
	}
	whole := error(nil)
	if part, count := g.Split(); count > 1 {
		var joined *gguf.File
		if joined, whole = gguf.OpenSplit(f.Path); whole == nil {
			g.Close()
			g = joined
		} else {
			f.Part = fmt.Sprintf("%d of %d", part, count)
		}
	}
	f.Kind, f.GGUF, f.Files = KindGGUF, g, g.Bytes()
	for _, t := range g.Tensors {
		f.Tensors = append(f.Tensors, Tensor{t.Name, t.Type.String(), t.Shape(), int64(t.Elems()), int64(t.Size)})
	}
	f.Config, f.ConfigErr = config.FromGGUF(g)
	if f.ConfigErr != nil {
		if whole != nil { // a later part has no description: that is why
			f.ConfigErr = whole
		}
		f.Config = nil
		return nil
	}
	if t, ok := g.Tensor("token_embd.weight"); ok && f.Config.Vocab == 0 && len(t.Dims) == 2 {
		f.Config.Vocab = t.Shape()[0]
	}
	return nil
}

// tryToRun opens the model as run would, which reads no weights.
func (f *Facts) tryToRun() {
	if f.ConfigErr != nil {
		f.RunErr = f.ConfigErr
		return
	}
	if f.RunErr = f.Config.Runnable(); f.RunErr != nil {
		return
	}
	if f.Kind == KindConfig {
		f.RunErr = fault.New(fault.BadInput, f.Path, "a configuration without weights", "", "add the weights of the model")
		return
	}
	f.model, f.RunErr = model.Open(f.Path)
	if f.RunErr == nil {
		_, f.RunErr = model.WeightBytes(f.model, model.Options{}) // every tensor is there and has its shape
	}
	if f.RunErr != nil && f.model != nil {
		f.model.Close()
		f.model = nil
	}
}

// Layouts is what a token leaves behind: as the engine stores it where the model runs, else by the description.
func (f *Facts) Layouts() []kvcache.Layout {
	if f.model != nil {
		return f.model.Layouts()
	}
	return Layouts(f.Config)
}

// Parameters counts what the tensors hold or, where there are none, or packed ones, what the configuration describes.
func (f *Facts) Parameters() Parameters {
	var p Parameters
	if f.Config != nil {
		p = Count(f.Config)
	}
	if len(f.Tensors) == 0 || f.Part != "" || f.Config != nil && f.Config.Quantization != "" {
		return p
	}
	var n int64
	var embedding int64
	for _, t := range f.Tensors {
		n += t.Elements
		if t.Name == "token_embd.weight" || t.Name == "output.weight" {
			embedding += t.Elements
		}
	}
	if f.GGUF != nil { // which does not say whether the output matrix is tied; it is where it is absent
		p.Embedding = embedding
	}
	p.Total, p.Active, p.Source, p.Approximate = n, n, "tensors", ""
	if f.Config != nil {
		p.Active = n - IdleParameters(f.Config)
	}
	return p
}

// TensorBytes is what the tensors take in their files.
func (f *Facts) TensorBytes() int64 {
	var n int64
	for _, t := range f.Tensors {
		n += t.Bytes
	}
	return n
}

// PackedBytes is what the weights take once loaded: exact where the model runs; 0, false where it does not.
func (f *Facts) PackedBytes(to *kernel.Format, arith kernel.Arith) (int64, bool) {
	if f.model == nil {
		return 0, false
	}
	n, err := model.WeightBytes(f.model, model.Options{Weights: to, Arith: arith})
	return n, err == nil
}

// reason is an error without what the reader knows already: the path, and the advice to do what is being done.
func (f *Facts) reason(err error) string {
	var e *fault.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	short := *e
	if short.WayOut == "use inspect or plan" {
		short.WayOut = ""
	}
	if short.Thing == f.Path && short.Value != "" {
		short.Thing, short.Value, short.Limit = short.Value, short.Limit, ""
	}
	return short.Error()
}
