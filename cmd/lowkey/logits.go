package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/safetensors"
)

func logitsCommand() *cobra.Command {
	f := &modelFlags{}
	var ids, out string
	c := &cobra.Command{
		Use:     "logits -m MODEL --ids FILE -o OUT.safetensors",
		Short:   "Write the logits of given token ids, to compare with other engines",
		Long:    "Write logits [tokens, vocab] (F32) for token ids from a safetensors file with `input_ids` (I32 or I64), or from a text file of numbers. No start token is added. Activations and cache are f32 unless flags say otherwise.",
		Example: `  lowkey logits -m model.gguf --ids ids.safetensors -o logits.safetensors`,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if f.activations == "" {
				f.activations = "f32"
			}
			if f.kv == "" {
				f.kv = "f32"
			}
			return f.logits(c.Context(), ids, out)
		},
	}
	f.add(c)
	c.Flags().StringVar(&ids, "ids", "", "token ids: a safetensors file with input_ids, or a text of numbers (required)")
	c.Flags().StringVarP(&out, "out", "o", "", "the safetensors file to write (required)")
	c.MarkFlagRequired("ids")
	c.MarkFlagRequired("out")
	return c
}

func (f *modelFlags) logits(ctx context.Context, idsPath, out string) error {
	ids, err := readIDs(idsPath)
	if err != nil {
		return err
	}
	if f.ctx == 0 {
		f.ctx = len(ids)
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	o.Logits = true
	m, err := lowkey.Load(f.path, o)
	if err != nil {
		return err
	}
	defer m.Close()
	vocab := m.Vocab()
	var failed error // of the model, not of the file
	err = safetensors.WriteOne(out, "logits", "F32", []int{len(ids), vocab}, func(w io.Writer) error {
		var data []byte
		for row, err := range m.Logits(ctx, ids, 0) {
			if err != nil {
				failed = err
				return err
			}
			data = data[:0]
			for _, v := range row {
				data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
			}
			if _, err := w.Write(data); err != nil {
				return err
			}
		}
		return nil
	})
	if err = cmp.Or(failed, err); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: logits [%d, %d], activations %s, KV %s\n", out, len(ids), vocab, f.activations, f.kv)
	return nil
}

func readIDs(path string) ([]int32, error) {
	bad := func(value, limit string) error {
		return fault.New(fault.BadInput, "--ids "+path, value, limit, "give a safetensors file with input_ids [tokens], or a text of numbers")
	}
	var wide []int64
	if strings.HasSuffix(path, ".safetensors") {
		file, err := safetensors.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		t, ok := file.Tensor("input_ids")
		if !ok {
			return nil, bad("no tensor input_ids", "")
		}
		if wide, err = safetensors.Int64s(t); err != nil {
			return nil, err
		}
	} else {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, bad("cannot be read", "")
		}
		for _, word := range numberWords(string(b)) {
			n, err := strconv.ParseInt(word, 10, 64)
			if err != nil {
				return nil, bad(fmt.Sprintf("%q is no number", word), "")
			}
			wide = append(wide, n)
		}
	}
	if len(wide) == 0 {
		return nil, bad("no token ids", "")
	}
	ids := make([]int32, len(wide))
	for i, v := range wide {
		if v < 0 || v > math.MaxInt32 {
			return nil, bad(fmt.Sprintf("token id %d", v), "ids are 0 to vocabulary size - 1")
		}
		ids[i] = int32(v)
	}
	return ids, nil
}
