package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/lowkeylm/lowkey/convert/hf"
	"github.com/lowkeylm/lowkey/fault"
)

func exportCommand() *cobra.Command {
	var model, out, form, dtype string
	var toHF, asJSON bool
	c := &cobra.Command{
		Use:   "export --hf -m MODEL -o DIR",
		Short: "Write a model as a folder that transformers, and engines that read its folders, load",
		Long: `Write a model in lowkey's own folder as a Hugging Face folder: config.json, model.safetensors, tokenizer and generation files, whole or not at all.

  --form public   a published architecture with the same mathematics: mha, gqa and mqa as Llama (Mistral with a window, Qwen 3 with normed heads), mla as a dense DeepSeek-V3,
                  mfa as the text model of Step-3 (transformers needs trust_remote_code for it; vLLM knows it)
  --form custom   every design: lowkey's configuration with two PyTorch files, loaded with trust_remote_code=True
  --form auto     public where there is one, else custom

lowkey import brings the weights back after training there.`,
		Example: `  lowkey export --hf -m runs/mfa -o mfa-hf
  lowkey export --hf -m runs/mla -o mla-hf --form custom --dtype bf16`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if !toHF {
				return fault.New(fault.BadInput, "export", "no form of files", "one is known: --hf", "add --hf")
			}
			d, err := hf.ParseDType(dtype)
			if err != nil {
				return err
			}
			temporary, err := os.MkdirTemp("", "lowkey-export-")
			if err != nil {
				return err
			}
			defer os.RemoveAll(temporary)
			if model, err = carriedFolder(model, temporary); err != nil {
				return err
			}
			r, err := hf.Export(c.Context(), model, out, hf.Options{Form: form, DType: d})
			if err != nil {
				return err
			}
			return printFolder(r, asJSON)
		},
	}
	f := c.Flags()
	f.BoolVar(&toHF, "hf", false, "a Hugging Face folder (required)")
	f.StringVarP(&model, "model", "m", "", "a folder in lowkey's own configuration, or mfa or mfa-kr, which the program carries (required)")
	f.StringVarP(&out, "out", "o", "", "the new folder (required)")
	f.StringVar(&form, "form", hf.Auto, "public, custom or auto")
	f.StringVar(&dtype, "dtype", "", "f32, bf16 or f16 (default: as stored; 8-bit weights become bf16)")
	f.BoolVar(&asJSON, "json", false, "print what was written as JSON")
	c.MarkFlagRequired("model")
	c.MarkFlagRequired("out")
	return c
}

func printFolder(r *hf.Result, asJSON bool) error {
	if asJSON {
		return printJSON(r)
	}
	fmt.Printf("%s: %s form, %s (%s), %d tensors, %d parameters, %s\n", r.Folder, r.Form, r.Architecture, r.Design, r.Tensors, r.Parameters, r.DType)
	return nil
}
