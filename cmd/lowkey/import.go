package main

import (
	"github.com/spf13/cobra"

	"github.com/lowkeylm/lowkey/convert/hf"
)

func importCommand() *cobra.Command {
	var out, dtype string
	var asJSON bool
	c := &cobra.Command{
		Use:   "import DIR -o OUT",
		Short: "Bring a model that was trained in its exported form back into lowkey's own folder",
		Long: `Read a Hugging Face folder that lowkey export wrote, or that was trained and saved from one, in either form, and write it as a folder in lowkey's own configuration.
Every tensor's name and shape is checked against the configuration. Plain Llama, Mistral, Qwen 3, dense DeepSeek-V3 and dense Step-3 text models from elsewhere are read, too.`,
		Example: `  lowkey import trained-hf -o runs/mfa-2`,
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := hf.ParseDType(dtype)
			if err != nil {
				return err
			}
			r, err := hf.Import(c.Context(), args[0], out, hf.Options{DType: d})
			if err != nil {
				return err
			}
			return printFolder(r, asJSON)
		},
	}
	f := c.Flags()
	f.StringVarP(&out, "out", "o", "", "the new folder (required)")
	f.StringVar(&dtype, "dtype", "", "f32, bf16 or f16 (default: as stored)")
	f.BoolVar(&asJSON, "json", false, "print what was written as JSON")
	c.MarkFlagRequired("out")
	return c
}
