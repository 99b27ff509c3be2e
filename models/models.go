// Package models carries small models in the program: importing it makes lowkey.Load know them by name. Each folder is a model as `lowkey train` left it, weights in q8_0, with the recipe
// (README.md) that made it.
//
//	import _ "github.com/lowkeylm/lowkey/models"
//	m, err := lowkey.Load("mfa", lowkey.Options{})
package models

import (
	"embed"

	"github.com/lowkeylm/lowkey"
)

//go:embed mfa/config.json mfa/model.safetensors mfa/tokenizer.json
//go:embed mfa-kr/config.json mfa-kr/model.safetensors mfa-kr/tokenizer.json
var files embed.FS

// Default is the model that run takes when none is named.
const Default = "mfa"

// Names lists the models carried.
func Names() []string { return []string{"mfa", "mfa-kr"} }

func init() {
	for _, name := range Names() {
		lowkey.Carry(name, func() lowkey.Files {
			read := func(file string) []byte {
				b, err := files.ReadFile(name + "/" + file)
				if err != nil {
					panic(err) // embedded, so it is there
				}
				return b
			}
			return lowkey.Files{Config: read("config.json"), Weights: read("model.safetensors"), Tokenizer: read("tokenizer.json")}
		})
	}
}
