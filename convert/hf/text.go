package hf

// The files beside the weights: tokenizer, chat template, generation settings and PyTorch code.

import (
	"embed"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/lowkeylm/lowkey/model/config"
)

// textFiles are copied as they are, where they exist.
var textFiles = []string{"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja",
	"generation_config.json", "README.md"}

// copyText copies the text files of a model folder, and makes the two that transformers wants where the folder lacks them.
func copyText(from, to string, c *config.Config) error {
	have := map[string]bool{}
	for _, name := range textFiles {
		data, err := os.ReadFile(filepath.Join(from, name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		have[name] = true
		if err := writeFile(filepath.Join(to, name), data); err != nil {
			return err
		}
	}
	if !have["generation_config.json"] && (c.BOS >= 0 || len(c.EOS) > 0) {
		g := map[string]any{}
		if c.BOS >= 0 {
			g["bos_token_id"] = c.BOS
		}
		switch len(c.EOS) {
		case 0:
		case 1:
			g["eos_token_id"] = c.EOS[0]
		default:
			g["eos_token_id"] = c.EOS
		}
		if err := writeJSON(filepath.Join(to, "generation_config.json"), g); err != nil {
			return err
		}
	}
	if !have["tokenizer.json"] || have["tokenizer_config.json"] {
		return nil
	}
	t := map[string]any{"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": c.MaxPosition, "clean_up_tokenization_spaces": false}
	names := addedTokens(filepath.Join(from, "tokenizer.json"))
	if name, ok := names[c.BOS]; ok {
		t["bos_token"] = name
	}
	for _, id := range c.EOS {
		if name, ok := names[id]; ok {
			t["eos_token"] = name
			break
		}
	}
	return writeJSON(filepath.Join(to, "tokenizer_config.json"), t)
}

// addedTokens reads the texts of a tokenizer's special tokens, by id; none from a file that cannot be read.
func addedTokens(path string) map[int]string {
	var file struct {
		Added []struct {
			ID      int
			Content string
		} `json:"added_tokens"`
	}
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &file) != nil {
		return nil
	}
	out := map[int]string{}
	for _, t := range file.Added {
		out[t.ID] = t.Content
	}
	return out
}

//go:embed configuration_lowkey.py modeling_lowkey.py
var code embed.FS

// writeCode writes the PyTorch files.
func writeCode(folder string) error {
	for _, name := range []string{"configuration_lowkey.py", "modeling_lowkey.py"} {
		data, err := code.ReadFile(name)
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(folder, name), data); err != nil {
			return err
		}
	}
	return nil
}
