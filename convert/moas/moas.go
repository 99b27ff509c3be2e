// Package moas makes routed models of mixtures of attention schemes (arXiv 2512.20650). The mixture keeps the rows of three attentions in every layer, more than MHA; held to one attention a layer, it
// keeps that one's.
//
//	mean_l = mean over the tokens of a text of the router's weights in layer l       [3], Means
//	scheme of layer l = argmax mean_l                                                Choose
//	the weights of the other attentions and the router are dropped                   Route
//
// The routed model computes o^i where the mixture computes sum_i g_i o^i: another function, whose loss is to be measured beside the mixture's, and which can be trained on.
// Will not do: a choice by token. A later token may weigh an attention that an earlier one did not, so all rows would have to stay.
package moas

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/format/safetensors"
	"github.com/lowkeylm/lowkey/internal/atomicfile"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/model"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

// windowTokens is the length of the pieces in which a text is read.
const windowTokens = 512

// Means runs a text through the model and gives each layer's mean weights, by config.Schemes; nil for layers that are held to one attention already.
func Means(ctx context.Context, m *model.Model, pool *kernel.Pool, ids []int32) ([][]float64, error) {
	if err := mixes(m.Config); err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, fault.New(fault.BadInput, "the text", "no tokens", "weights are means over tokens", "give a longer text")
	}
	r := &recorder{Tape: tensor.NewTape(pool), sums: make([][]float64, len(m.Config.Layers))}
	defer r.Close()
	for i := range m.Config.Layers {
		if m.Config.Layers[i].Attention.Scheme == "" {
			r.layers, r.sums[i] = append(r.layers, i), make([]float64, len(config.Schemes))
		}
	}
	for piece := range slices.Chunk(ids, min(windowTokens, m.Config.MaxPosition)) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.at = 0
		m.Forward(r, piece, nil)
		r.Reset()
	}
	for _, sum := range r.sums {
		for i := range sum {
			sum[i] /= float64(len(ids))
		}
	}
	return r.sums, nil
}

// recorder is a tape that adds up what the layers' routers give, one layer after another.
type recorder struct {
	*tensor.Tape[float32]
	layers []int // that have a router
	at     int   // of layers, the next
	sums   [][]float64
}

// Balance is where a router's weights [T, schemes] pass.
func (r *recorder) Balance(g tensor.Tensor, _ float64) tensor.Tensor {
	sum := r.sums[r.layers[r.at]]
	for i, v := range r.Values(g) {
		sum[i%len(sum)] += v
	}
	r.at++
	return g
}

// Choose takes each layer's heaviest attention; layers without weights keep theirs.
func Choose(c *config.Config, means [][]float64) []string {
	out := make([]string, len(c.Layers))
	for i, mean := range means {
		out[i] = c.Layers[i].Attention.Scheme
		if mean != nil {
			out[i] = config.Schemes[kernel.ArgMax(narrow(mean))]
		}
	}
	return out
}

func narrow(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}

// Route writes the model of a folder in lowkey's own form as the new folder dir, whole or not at all, each layer held to its entry in schemes ("soft" leaves one as it is).
// Tensors that stay keep their bytes. Errors are *fault.Error.
func Route(ctx context.Context, folder, dir string, schemes []string) error {
	c, err := config.FromFolder(folder)
	if err == nil {
		err = mixes(c)
	}
	if err != nil {
		return err
	}
	if len(schemes) != len(c.Layers) {
		return fault.New(fault.BadInput, "schemes", fmt.Sprintf("%d", len(schemes)), fmt.Sprintf("the model has %d layers", len(c.Layers)), "give one for each layer, separated by commas")
	}
	for i, s := range schemes {
		have := c.Layers[i].Attention.Scheme
		if s != "soft" && !slices.Contains(config.Schemes, s) {
			return fault.New(fault.BadInput, "scheme", s, "schemes: "+strings.Join(config.Schemes, " ")+" soft", "give one, or one for each layer with commas")
		}
		if have != "" && s != have {
			return fault.New(fault.BadInput, fmt.Sprintf("layer %d", i), s, "it is held to "+have+" and has no other weights", "start from the mixture that it was routed from")
		}
	}
	file, err := safetensors.OpenFolder(folder)
	if err != nil {
		return err
	}
	defer file.Close()
	var kept []safetensors.Tensor
	for _, name := range file.Names() {
		if t, _ := file.Tensor(name); stays(name, schemes) {
			kept = append(kept, t)
		}
	}
	return atomicfile.Folder(ctx, dir, func(temp string) error {
		if err := safetensors.Write(filepath.Join(temp, "model.safetensors"), kept, map[string]string{"format": "pt"}); err != nil {
			return err
		}
		if err := copyRest(folder, temp); err != nil {
			return err
		}
		return writeConfig(folder, temp, schemes)
	})
}

// stays reports whether a tensor belongs to what its layer is held to.
func stays(name string, schemes []string) bool {
	var layer int
	_, own, ok := strings.Cut(name, ".self_attn.")
	if _, err := fmt.Sscanf(name, "model.layers.%d.", &layer); err != nil || !ok || layer >= len(schemes) || schemes[layer] == "soft" {
		return true
	}
	return strings.HasPrefix(own, schemes[layer]+".")
}

// copyRest brings tokenizer, template and whatever else lies beside configuration and weights.
func copyRest(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if !e.Type().IsRegular() || name == "config.json" || strings.HasSuffix(name, ".safetensors") || strings.HasSuffix(name, ".safetensors.index.json") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = atomicfile.WriteBytes(filepath.Join(to, name), data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeConfig is the folder's configuration with attention_scheme.
func writeConfig(from, to string, schemes []string) error {
	data, err := os.ReadFile(filepath.Join(from, "config.json"))
	if err != nil {
		return err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	if fields["attention_scheme"], err = json.Marshal(schemes); err != nil {
		return err
	}
	if data, err = json.MarshalIndent(fields, "", "  "); err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(to, "config.json"), append(data, '\n'))
}

// mixes refuses models that are no mixture.
func mixes(c *config.Config) error {
	if a := &c.Layers[0].Attention; a.Design != config.MoAS {
		return fault.New(fault.Unsupported, "attention design "+a.Design, "has one attention a layer", "mixtures of schemes are routed: moas", "train one: lowkey train --design moas")
	}
	return nil
}
