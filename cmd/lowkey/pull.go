package main

import (
	"fmt"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/lowkeylm/lowkey/hub"
)

func pullCommand() *cobra.Command {
	var revision string
	c := &cobra.Command{
		Use:   "pull OWNER/NAME[:QUANT]",
		Short: "Fetch a model from the Hugging Face hub; what was fetched before is resumed and verified",
		Long:  "Fetch a model from the Hugging Face hub. HF_ENDPOINT, HF_TOKEN and HF_HOME are honoured; files lie where the hub's own client keeps them.",
		Example: `  lowkey pull OWNER/NAME             the safetensors folder
  lowkey pull OWNER/NAME:Q4_K_M      the GGUF file of that quantisation`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			repo, quant, err := hub.Parse(args[0])
			if err != nil {
				return err
			}
			var bar *progressbar.ProgressBar
			path, err := hub.Pull(c.Context(), hub.Request{Repo: repo, Quant: quant, Revision: revision, Progress: func(p hub.Progress) {
				if p.Note != "" {
					fmt.Fprintln(os.Stderr, p.Note)
				}
				if p.AllTotal <= 0 {
					return
				}
				if bar == nil {
					bar = progressbar.DefaultBytes(p.AllTotal, repo)
				}
				bar.Describe(p.File)
				_ = bar.Set64(p.AllDone)
			}})
			if bar != nil {
				_ = bar.Finish()
				fmt.Fprintln(os.Stderr)
			}
			if err != nil {
				return err
			}
			fmt.Println(path)
			return nil
		},
	}
	c.Flags().StringVar(&revision, "revision", "", "branch, tag or commit (default: main)")
	return c
}
