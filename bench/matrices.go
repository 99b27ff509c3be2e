package bench

// The matrices of a model as its file names them: what is multiplied for every token, and what is only looked up.

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/lowkeylm/lowkey"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/model/config"
)

type matrixRole uint8

const (
	bodyMatrix    matrixRole = iota
	embedMatrix              // rows of it are looked up
	headMatrix               // makes logits
	tiedMatrix               // both
	rebuiltMatrix            // multiplies each cached row, once a step (EG-MLA's up-projection)
	gateMatrix               // multiplies the embedding of each different token in the cache
	tableMatrix              // rows of it are looked up, by tokens in the cache
	expertMatrix             // of one expert, or of all of a layer's: multiplies the tokens that a router sends there
)

// matrix is one of them. format is that of the packed weight's source: what the file holds, or what it is quantised to at load.
type matrix struct {
	name       string
	rows, cols int
	stored     kernel.Format // in the file
	format     kernel.Format
	role       matrixRole
	layer      int // of an expertMatrix
	data       []byte
}

// expertName finds the layer of a routed expert's matrix, in a folder or in a GGUF file. Shared experts see every token.
var expertName = regexp.MustCompile(`^(?:blk|(?:.*\.)?layers)\.(\d+)\..*(?:\.experts\.|_exps\.)`)

// rebuilding are the roles of EG-MLA's own matrices.
var rebuilding = map[string]matrixRole{"kv_b": rebuiltMatrix, "gate": gateMatrix, "gate_embed": tableMatrix}

func matrices(m *lowkey.Model) (all []matrix, err error) {
	to, err := lowkey.ParseFormat(m.Options.Weights)
	if err != nil {
		return nil, err
	}
	for _, w := range m.Engine.Model.Stored() {
		name, shape, f := w.Name, w.Shape, w.Format
		expert := expertName.FindStringSubmatch(name)
		if len(shape) == 3 && expert != nil { // those of all experts of a layer
			shape = []int{shape[0] * shape[1], shape[2]}
		}
		if len(shape) != 2 {
			continue
		}
		t := matrix{name: name, rows: shape[0], cols: shape[1], stored: f, format: f, data: w.Data}
		if expert != nil {
			t.role = expertMatrix
			t.layer, _ = strconv.Atoi(expert[1])
		}
		if to != nil {
			if elems, _ := to.Block(); t.cols%elems == 0 {
				t.format = *to
			}
		}
		switch {
		case strings.HasPrefix(name, "token_embd.") || strings.Contains(name, "embed_tokens.") || strings.HasSuffix(name, "wte.weight"):
			t.role = embedMatrix
		case name == "output.weight" || strings.HasSuffix(name, "lm_head.weight"):
			t.role = headMatrix
		}
		if layer := 0; strings.Contains(name, ".self_attn.") {
			if fmt.Sscanf(name[strings.Index(name, "layers."):], "layers.%d.", &layer); m.Engine.Model.Config.Layers[layer].Attention.Design == config.EGMLA {
				for _, d := range config.DesignOf(config.EGMLA).Tensors(m.Engine.Model.Config, &m.Engine.Model.Config.Layers[layer].Attention) {
					if role := rebuilding[d.Name]; role != bodyMatrix && strings.HasSuffix(name, d.File+".weight") {
						t.role = role
					}
				}
			}
		}
		all = append(all, t)
	}
	head := slices.IndexFunc(all, func(t matrix) bool { return t.role == headMatrix })
	if head >= 0 && m.Engine.Model.Config.TieEmbeddings { // stored twice, used once
		all = slices.Delete(all, head, head+1)
		head = -1
	}
	for i := range all {
		if head < 0 && all[i].role == embedMatrix {
			all[i].role = tiedMatrix
		}
	}
	return all, nil
}
