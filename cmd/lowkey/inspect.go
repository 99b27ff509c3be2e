package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/lowkeylm/lowkey/plan"
)

func inspectCommand() *cobra.Command {
	var path string
	var tensors, asJSON bool
	c := &cobra.Command{
		Use:   "inspect MODEL",
		Short: "Say what a model file holds: shape, tensors, tokenizer, template, cache",
		Example: `  lowkey inspect model.gguf
  lowkey inspect --tensors model-folder
  lowkey inspect config.json --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			path, err := onePath(path, args)
			if err != nil {
				return err
			}
			f, err := plan.Read(path)
			if err != nil {
				return err
			}
			defer f.Close()
			in := plan.Inspect(f, tensors)
			if asJSON {
				return printJSON(in)
			}
			return in.Write(os.Stdout)
		},
	}
	p := c.Flags()
	p.StringVarP(&path, "model", "m", "", "a .gguf file, a model folder or a config.json")
	p.BoolVar(&tensors, "tensors", false, "list every tensor")
	p.BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}
