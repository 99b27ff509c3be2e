// Package compare trains designs under equal conditions (parameters, tokens, data, order, schedule), serves each from its real small cache, and draws quality against KV bytes.
//
// The work is a queue in a folder: every row is a training run that can be stopped and resumed, then a measurement; what is done is not done again. It trains by package train, measures
// speed by package bench, and decides nothing itself but the order of rows and which learning rate a sweep found best.
package compare

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/lowkeylm/lowkey/bench"
	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/internal/atomicfile"
	"github.com/lowkeylm/lowkey/train"
)

// Plan is what is compared. It lies in the folder as compare.json; once rows have run, designs may be added to it and nothing else changes.
type Plan struct {
	Command  string         `json:"command"`        // that made it
	Designs  []string       `json:"designs"`        // "mfa", or with dimensions of its own "mfa:head-dim=48,heads=16"; the first one is what others are compared with
	Seeds    int            `json:"seeds"`          // of the designs in Repeated; others have one
	Repeated []string       `json:"repeated"`       // designs with several seeds; empty: all
	Shape    train.Shape    `json:"shape"`          // Design is left open
	Settings train.Settings `json:"settings"`       // Model, Seed and the peak of the schedule are left open
	Rates    []float64      `json:"rates"`          // learning rates; with more than one each design is swept
	Share    int            `json:"share"`          // a sweep trains on 1/Share of the tokens
	Depths   []int          `json:"depths"`         // of decode speed
	Vocab    int            `json:"vocab"`          // of the tokenizer that is trained, where none is given
	Tokens   string         `json:"tokenizer_from"` // a tokenizer.json, or empty
}

const planFile = "compare.json"

// ReadPlan reads the plan of a folder.
func ReadPlan(dir string) (*Plan, error) {
	path := filepath.Join(dir, planFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.New(fault.BadInput, dir, "no comparison", "", "give the folder that lowkey compare wrote to").Because(err)
	}
	p := &Plan{}
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fault.New(fault.BadFile, path, "not a plan", "", "name the folder of a comparison, or start one with --out").Because(err)
	}
	return p, p.check()
}

func (p *Plan) write(dir string) error {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteBytes(filepath.Join(dir, planFile), append(b, '\n'))
}

func (p *Plan) check() error {
	if len(p.Designs) == 0 {
		return fault.New(fault.BadInput, "--designs", "empty", "", "name at least one: "+strings.Join(train.Designs(), ","))
	}
	if p.Seeds < 1 || p.Share < 1 || len(p.Rates) == 0 {
		return fault.New(fault.BadInput, "comparison", fmt.Sprintf("%d seeds, sweeps of 1/%d, %d learning rates", p.Seeds, p.Share, len(p.Rates)), "each at least 1", "")
	}
	for _, d := range p.Depths {
		if d < 0 || d > bench.MostTokens {
			return fault.New(fault.BadInput, "--depths", fmt.Sprint(d), fmt.Sprintf("0 to %d tokens", bench.MostTokens), "")
		}
	}
	seen := map[string]bool{}
	for _, d := range p.Designs {
		if seen[d] {
			return fault.New(fault.BadInput, "--designs "+d, "named twice", "", "name it once; --seeds runs it more often")
		}
		seen[d] = true
		if _, err := p.size(d); err != nil {
			return err
		}
	}
	for _, d := range p.Repeated {
		if !seen[d] {
			return fault.New(fault.BadInput, "--repeat "+d, "not among the designs", strings.Join(p.Designs, " "), "name one of these, or add it to --designs")
		}
	}
	return nil
}

// size makes the shape of a row's design.
func (p *Plan) size(design string) (*train.Sized, error) {
	s := p.Shape
	name, more, _ := strings.Cut(design, ":")
	s.Design = name
	for _, pair := range strings.Split(more, ",") {
		if pair == "" {
			continue
		}
		key, text, _ := strings.Cut(pair, "=")
		if key == "share" {
			s.Share = text
			continue
		}
		v, number := train.Field(text).(float64)
		if text == "" {
			return nil, fault.New(fault.BadInput, "--designs "+design, pair, "DESIGN:heads=N,kv-heads=N,head-dim=N,q-rank=N,kv-rank=N,rope-dim=N,ffn=N,share=MAP, or a field of its configuration", "lowkey designs DESIGN lists its fields")
		}
		field, ok := map[string]*int{"heads": &s.Heads, "kv-heads": &s.KVHeads, "head-dim": &s.HeadDim, "q-rank": &s.QRank, "kv-rank": &s.KVRank, "rope-dim": &s.RopeDim, "ffn": &s.FFN}[key]
		switch {
		case !ok:
			s.Fields = maps.Clone(s.Fields)
			if s.Fields == nil {
				s.Fields = map[string]any{}
			}
			s.Fields[key] = train.Field(text)
		case !number || v < 1 || v != math.Trunc(v):
			return nil, fault.New(fault.BadInput, "--designs "+design, pair, "must be a whole number, at least 1", "")
		default:
			*field = int(v)
		}
	}
	if s.Vocab == 0 {
		s.Vocab = 256 // before the tokenizer is there; checks want a number
	}
	return s.Size()
}

// Row is one training run.
type Row struct {
	Design string  `json:"design"`
	Seed   uint64  `json:"seed"`
	Rate   float64 `json:"learning_rate"` // 0: the best of the sweep
	Sweep  bool    `json:"sweep"`
}

// Name is the row's folder.
func (r Row) Name() string {
	name := strings.NewReplacer(":", "-", "=", "", ",", "-").Replace(r.Design)
	if r.Sweep {
		return fmt.Sprintf("%s-sweep-%g", name, r.Rate)
	}
	return fmt.Sprintf("%s-seed%d", name, r.Seed)
}

// Rows lists the whole queue, most telling first: sweeps, then one seed of every design, then the next seed.
func (p *Plan) Rows() (rows []Row) {
	if len(p.Rates) > 1 {
		for _, d := range p.Designs {
			for _, r := range p.Rates {
				rows = append(rows, Row{Design: d, Seed: 1, Rate: r, Sweep: true})
			}
		}
	}
	for seed := 1; seed <= p.Seeds; seed++ {
		for _, d := range p.Designs {
			if seed > 1 && !p.repeats(d) {
				continue
			}
			row := Row{Design: d, Seed: uint64(seed)}
			if len(p.Rates) == 1 {
				row.Rate = p.Rates[0]
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func (p *Plan) repeats(design string) bool {
	if len(p.Repeated) == 0 {
		return true
	}
	for _, d := range p.Repeated {
		if d == design {
			return true
		}
	}
	return false
}
