package main

import (
	"os"
	"path/filepath"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/fault"
)

// carriedFolder writes the model that the program carries under this name to a folder, for what reads folders alone. Any other name is a path already, and comes back as it is.
func carriedFolder(name, folder string) (string, error) {
	files, ok := lowkey.Carried(name)
	if !ok {
		return name, nil
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return "", fault.New(fault.BadInput, folder, "cannot be made", "", "run it in a folder that may be written").Because(err)
	}
	for base, content := range map[string][]byte{"config.json": files.Config, "model.safetensors": files.Weights, "tokenizer.json": files.Tokenizer} {
		if err := os.WriteFile(filepath.Join(folder, base), content, 0o666); err != nil {
			return "", fault.New(fault.BadInput, folder, "cannot be written", "", "free some space").Because(err)
		}
	}
	return folder, nil
}
