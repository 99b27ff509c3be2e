package hf

// Import: the way back. The configuration is read as any family's is, and written in lowkey's own words.

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/internal/atomicfile"
	"github.com/lowkeylm/lowkey/model/config"
)

// Import reads a folder of one of Export's forms and writes the new folder dir in lowkey's own configuration, whole or not at all.
//
// Errors are *fault.Error: Mismatch names a tensor with its shape and the one that the configuration needs; Unsupported names what lowkey's configuration cannot say.
func Import(ctx context.Context, folder, dir string, o Options) (*Result, error) {
	c, fields, err := readConfig(folder)
	if err != nil {
		return nil, err
	}
	own, err := nativeFields(c, fields)
	if err != nil {
		return nil, err
	}
	r := &Result{Folder: dir, Form: Public, Architecture: c.Architecture, Design: c.Layers[0].Attention.Design}
	if c.ModelType == native {
		r.Form = Custom
	}
	var rename map[string]string
	if c.ModelType == "step3_text" {
		rename = map[string]string{}
		for ours, theirs := range step3Names {
			rename[theirs] = ours
		}
	}
	tensors, closeAll, err := readWeights(folder, c, rename)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	return r, atomicfile.Folder(ctx, dir, func(temp string) error {
		if err := writeWeights(ctx, temp, tensors, o.DType, own, r); err != nil {
			return err
		}
		if err := writeJSON(filepath.Join(temp, "config.json"), own); err != nil {
			return err
		}
		if err := same(c, temp); err != nil {
			return err
		}
		return copyText(folder, temp, c)
	})
}

// nativeFields says a model in lowkey's own configuration, from what it was understood to be: fields that other tools added are left behind.
func nativeFields(c *config.Config, fields map[string]any) (map[string]any, error) {
	switch c.ModelType {
	case native, "llama", "mistral", "qwen3", "deepseek_v3", "step3_text":
	default:
		return nil, fault.New(fault.Unsupported, "model_type "+c.ModelType, "cannot be imported", "families: lowkey llama mistral qwen3 deepseek_v3 step3_text", "")
	}
	if err := c.Runnable(); err != nil { // quantised weights, mixtures that do not run
		return nil, err
	}
	for i := range c.Layers {
		if n := c.Layers[i].MLP.Experts; n > 0 {
			return nil, fault.New(fault.Unsupported, "mixture of experts", fmt.Sprintf("layer %d has %d experts", i, n), "dense models are imported", "run the folder as it is")
		}
	}
	a, m := &c.Layers[0].Attention, &c.Layers[0].MLP
	f := &form{fields: map[string]any{"model_type": native, "attention": a.Design,
		"hidden_size": c.Hidden, "intermediate_size": m.Intermediate, "num_hidden_layers": len(c.Layers), "num_attention_heads": a.Heads, "vocab_size": c.Vocab,
		"max_position_embeddings": c.MaxPosition, "rms_norm_eps": float(c.Norm.Eps), "hidden_act": activations[m.Activation], "tie_word_embeddings": c.TieEmbeddings,
		"attention_bias": a.QKVBias, "mlp_bias": m.Bias}}
	f.rope(a.Rope)
	for key, v := range config.DesignOf(a.Design).Fields(a) {
		if x, ok := v.(float64); ok {
			v = float(x)
		}
		if each, differ := byLayer(c, key); differ {
			v = each
		}
		f.fields[key] = v
	}
	if layerMap := c.LayerMap(); layerMap != "" {
		f.fields["layer_map"], f.fields["sliding_window"] = layerMap, 0
		for i := range c.Layers { // those that slide do so alike
			f.fields["sliding_window"] = max(f.fields["sliding_window"].(int), c.Layers[i].Attention.Window)
		}
	}
	for _, key := range []string{"bos_token_id", "eos_token_id", "pad_token_id", "initializer_range"} {
		if v, ok := fields[key]; ok {
			f.fields[key] = v
		}
	}
	return f.fields, nil
}

// byLayer is a field's values in all layers, and whether they differ: then the field is a list.
func byLayer(c *config.Config, key string) (each []any, differ bool) {
	for i := range c.Layers {
		a := &c.Layers[i].Attention
		each = append(each, config.DesignOf(a.Design).Fields(a)[key])
		differ = differ || each[i] != each[0]
	}
	return each, differ
}

// same makes sure that the configuration which was written means what the one that was read did: a model with something lowkey's own words lack is refused, not changed.
func same(c *config.Config, folder string) error {
	own, err := config.FromFolder(folder)
	if err != nil {
		return err
	}
	for i := range c.Layers {
		if a, b := c.Layers[i], own.Layers[i]; !reflect.DeepEqual(a, b) {
			return fault.New(fault.Unsupported, text("layer %d of %s", i, c.ModelType), text("%+v", a), text("lowkey's own configuration makes it %+v", b), "run the folder as it is: lowkey reads this family")
		}
	}
	one, two := *c, *own
	if one.EmbedScale != two.EmbedScale || one.ResidualScale != two.ResidualScale || one.LogitScale != two.LogitScale || one.Norm != two.Norm || one.TieEmbeddings != two.TieEmbeddings || one.Parallel != two.Parallel {
		return fault.New(fault.Unsupported, "model_type "+c.ModelType, "scales or norms that lowkey's own configuration lacks", "", "run the folder as it is: lowkey reads this family")
	}
	return nil
}
