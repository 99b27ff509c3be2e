// Command lowkey runs, plans, inspects and measures language models with small key-value caches. One file per command; the commands only read flags and print.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/models"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program where the first one is not heard at once
	if c, err := root().ExecuteContextC(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "lowkey:", usage(c, err))
		os.Exit(1)
	}
}

// usage gives errors in the form of a command line, which come from cobra, the way out that ours have.
func usage(c *cobra.Command, err error) error {
	for _, start := range []string{"unknown ", "invalid argument ", "flag needs ", "bad flag ", "required flag(s) ", "accepts ", "requires "} {
		if strings.HasPrefix(err.Error(), start) {
			text, _, _ := strings.Cut(err.Error(), ": strconv.")
			text, meant, _ := strings.Cut(text, "\n")
			wayOut := c.CommandPath() + " --help shows how"
			if words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(meant), "Did you mean this?")); len(words) > 0 {
				wayOut = "did you mean " + strings.Join(words, " or ") + "? " + wayOut
			}
			return fault.New(fault.BadInput, "command line", text, "", wayOut)
		}
	}
	return err
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:           "lowkey",
		Short:         "Run language models in a small, paged, accounted KV cache",
		Long:          "lowkey runs language models whose key-value cache is small, paged, accounted for and bounded to the byte.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	c.AddCommand(runCommand(), planCommand(), inspectCommand(), benchCommand(), evalCommand(), logitsCommand(), tokenizeCommand(), detokenizeCommand(), templateCommand(), pullCommand(), trainCommand(), compareCommand(), exportCommand(), importCommand(), routeCommand(), tokenizerCommand(), designsCommand())
	return c
}

// modelFlags are the flags of every command that loads a model.
type modelFlags struct {
	path, kv, memory, weights, activations, numerics string
	ctx, threads                                     int
	json                                             bool
}

func (f *modelFlags) add(c *cobra.Command) {
	p := c.Flags()
	p.StringVarP(&f.path, "model", "m", "", "a .gguf file, a folder with config.json, or a model that the program carries: "+strings.Join(models.Names(), ", "))
	p.StringVar(&f.kv, "kv", "", "cache type: f16 (default), f32, bf16, q8, q8h, q4, q4h, q4c, q2c, or by stream: k=q8,v=q4")
	p.IntVar(&f.ctx, "ctx", 0, "longest sequence in tokens (default: as trained, at most 16384, less if memory is short)")
	p.IntVar(&f.threads, "threads", 0, "threads (default: all cores)")
	p.StringVar(&f.memory, "memory", "", "hard budget for weights + cache + scratch + heap, as 512m or 3g (default: 90 % of what the container allows)")
	p.StringVar(&f.weights, "weights", "", "quantise matrices at load: q8_0, q4_0, q4_1, q5_0, q5_1, f16, bf16, f32 (default: as in the file)")
	p.StringVar(&f.activations, "activations", "", "int8 (default) or f32: arithmetic with quantised weights")
	p.StringVar(&f.numerics, "numerics", "exact", "exact: the same bits alone or in a batch, for any threads and chunks; fast: prompts may go another way, within 1e-3 of the largest logit")
	c.MarkFlagRequired("model")
}

func (f *modelFlags) options() (lowkey.Options, error) {
	o := lowkey.Options{KV: f.kv, Context: f.ctx, Threads: f.threads, Weights: f.weights, Activations: f.activations, Numerics: f.numerics, HoldHeap: true}
	if f.memory != "" {
		n, err := lowkey.ParseBytes(f.memory)
		if err != nil {
			return o, err
		}
		o.Memory = n
	}
	return o, nil
}

func (f *modelFlags) load() (*lowkey.Model, error) {
	o, err := f.options()
	if err != nil {
		return nil, err
	}
	return lowkey.Load(f.path, o)
}

func printJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
