// Package hf carries models between lowkey's own folder and the folders of the Hugging Face ecosystem: Export writes one that transformers, vLLM and the tools around them load, Import brings
// weights that were trained there back.
//
// There are two forms. The public one is a published architecture with the same mathematics (Llama, Mistral, Qwen 3, DeepSeek-V3, Step-3), which those engines know by name. The custom one is
// lowkey's own configuration with two files of PyTorch beside it, for every design; it is loaded with trust_remote_code=True.
//
// It will not convert one design into another, nor compute on weights beyond their number type.
package hf

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/internal/atomicfile"
	"github.com/lowkeylm/lowkey/model/config"
)

// The forms of Export.
const (
	Auto   = "auto"   // public where the design has one, else custom
	Public = "public" // a published architecture
	Custom = "custom" // lowkey's configuration with PyTorch code
)

// Options of Export and Import.
type Options struct {
	Form  string            // Auto, Public or Custom; "" is Auto. Export only
	DType safetensors.DType // F32, BF16 or F16; "" keeps the type of each tensor
}

// Result says what was written.
type Result struct {
	Folder       string `json:"folder"`
	Form         string `json:"form"`         // Public or Custom; of what was read for Import
	Architecture string `json:"architecture"` // "LlamaForCausalLM"
	Design       string `json:"design"`
	DType        string `json:"dtype"` // of the matrices
	Tensors      int    `json:"tensors"`
	Parameters   int64  `json:"parameters"`
	Bytes        int64  `json:"bytes"` // of model.safetensors
}

// form is how one model is written: its config.json, and how its tensors are called there.
type form struct {
	kind         string // Public or Custom
	architecture string
	fields       map[string]any
	rename       map[string]string // a layer tensor's own name ("self_attn.q_a_proj.weight") to the form's; what is absent keeps its name
	untie        bool              // the form's readers want lm_head beside a tied embedding
	code         bool              // PyTorch files go along
}

// Export writes the model in folder model, in lowkey's own configuration, as the new folder dir. It is written beside and renamed: whole or not at all.
//
// Errors are *fault.Error: Unsupported where the form cannot say what the model is, BadInput for a dir that exists, Mismatch for weights that do not fit the configuration.
func Export(ctx context.Context, model, dir string, o Options) (*Result, error) {
	c, fields, err := readConfig(model)
	if err != nil {
		return nil, err
	}
	if c.ModelType != native {
		return nil, fault.New(fault.Unsupported, model, "a model of the family "+c.ModelType, "export writes models in lowkey's own configuration (model_type lowkey)",
			"that folder is in the Hugging Face form already")
	}
	f, err := chooseForm(o.Form, c, fields)
	if err != nil {
		return nil, err
	}
	tensors, closeAll, err := readWeights(model, c, nil)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	r := &Result{Folder: dir, Form: f.kind, Architecture: f.architecture, Design: c.Layers[0].Attention.Design}
	return r, atomicfile.Folder(ctx, dir, func(temp string) error {
		if tensors, err = f.named(tensors, c); err != nil {
			return err
		}
		if err := writeWeights(ctx, temp, tensors, o.DType, f.fields, r); err != nil {
			return err
		}
		if err := writeJSON(filepath.Join(temp, "config.json"), f.fields); err != nil {
			return err
		}
		if f.code {
			if err := writeCode(temp); err != nil {
				return err
			}
		}
		return copyText(model, temp, c)
	})
}

const native = "lowkey"

// readConfig reads a folder's configuration twice: as lowkey understands it, and as it is written.
func readConfig(folder string) (*config.Config, map[string]any, error) {
	if st, err := os.Stat(folder); err == nil && !st.IsDir() {
		return nil, nil, fault.New(fault.Unsupported, folder, "not a folder", "a model folder with config.json and model.safetensors is needed", "a GGUF file is not exported: give the folder that it was made from")
	}
	c, err := config.FromFolder(folder)
	if err != nil {
		return nil, nil, err
	}
	data, err := os.ReadFile(filepath.Join(folder, "config.json"))
	if err != nil {
		return nil, nil, fault.New(fault.BadFile, folder, "config.json cannot be read", "", "give a folder that holds a model").Because(err)
	}
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber() // numbers keep their text: 10000.0 stays one with a point
	if err := d.Decode(&fields); err != nil {
		return nil, nil, fault.New(fault.BadFile, filepath.Join(folder, "config.json"), "is not a JSON object", "", "fetch or export the folder again").Because(err)
	}
	return c, fields, nil
}

// float is a number that is always written with a point or an exponent: readers with typed fields refuse 1 where they want 1.0.
type float float64

func (f float) MarshalJSON() ([]byte, error) {
	s := strconv.FormatFloat(float64(f), 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return []byte(s), nil
}

func unsupportedForm(architecture, what, limit string) error {
	return fault.New(fault.Unsupported, "the public form "+architecture, what, limit, "use --form custom")
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(data, '\n'))
}

// writeFile writes and syncs one new file.
func writeFile(path string, data []byte) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

func text(format string, a ...any) string { return fmt.Sprintf(format, a...) }
