package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/plan"
)

func planCommand() *cobra.Command {
	var f modelFlags
	var o plan.Options
	c := &cobra.Command{
		Use:   "plan -m MODEL",
		Short: "Say what a model takes, to the byte, before anything is allocated",
		Long: `Say what a model takes, to the byte, before anything is allocated: weights, cache by token, layer and sequence, and how many sequences of which length fit a budget.
A .gguf file, a model folder, or a config.json alone; families that cannot run are planned too.`,
		Example: `  lowkey plan -m model.gguf --ctx 8192 --kv k=q8,v=q4
  lowkey plan -m config.json --memory 24g --against
  lowkey plan -m model.gguf --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			path, err := onePath(f.path, args)
			if err != nil {
				return err
			}
			o.KV, o.Context, o.Step, o.Heap = f.kv, f.ctx, lowkey.StepTokens, lowkey.HeapBytes
			if o.Weights, err = lowkey.ParseFormat(f.weights); err != nil {
				return err
			}
			if o.Arith, err = lowkey.ParseArith(f.activations); err != nil {
				return err
			}
			if o.Memory, err = memoryOr(f.memory); err != nil {
				return err
			}
			if f.memory == "" {
				o.From = "90 % of what this machine allows"
			}
			facts, err := plan.Read(path)
			if err != nil {
				return err
			}
			defer facts.Close()
			p, err := plan.Make(facts, o)
			if err != nil {
				return err
			}
			if f.json {
				return printJSON(p)
			}
			return p.Write(os.Stdout)
		},
	}
	p := c.Flags()
	p.StringVarP(&f.path, "model", "m", "", "a .gguf file, a model folder or a config.json")
	p.StringVar(&f.kv, "kv", "", "cache type: f16 (default), f32, bf16, q8, q8h, q4, q4h, q4c, q2c, or by stream: k=q8,v=q4")
	p.IntVar(&f.ctx, "ctx", 0, "length of a sequence in tokens (default: as trained, at most 16384)")
	p.StringVar(&f.memory, "memory", "", "budget, as 512m or 3g (default: 90 % of what the container allows)")
	p.StringVar(&f.weights, "weights", "", "quantise matrices at load: q8_0, q4_0, q4_1, q5_0, q5_1, f16, bf16, f32 (default: as in the file)")
	p.StringVar(&f.activations, "activations", "", "int8 (default) or f32: f32 expands quantised weights at load")
	p.IntVar(&o.PageRows, "page-rows", 0, "rows of a page (default 64)")
	p.BoolVar(&o.Against, "against", false, "compare all cache types")
	p.BoolVar(&f.json, "json", false, "print one JSON object")
	return c
}

// onePath is the path given by -m or as the only argument.
func onePath(flag string, args []string) (string, error) {
	if flag != "" {
		args = append(args, flag)
	}
	switch len(args) {
	case 0:
		return "", fault.New(fault.BadInput, "model", "none is given", "", "name a .gguf file, a model folder or a config.json")
	case 1:
		return args[0], nil
	}
	return "", fault.New(fault.BadInput, "model", args[0]+" and "+args[1], "one at a time", "")
}

// memoryOr reads --memory; without it, the default budget of a loaded model.
func memoryOr(text string) (int64, error) {
	if text == "" {
		return lowkey.MemoryLimit() / 10 * 9, nil
	}
	n, err := lowkey.ParseBytes(text)
	if err == nil && n == 0 {
		err = fault.New(fault.BadInput, "--memory "+text, "no bytes at all", "", "write 512m, 3g or a plain number")
	}
	return n, err
}
