// Package train makes models: it sizes a design to a budget, feeds it documents, optimises it, and keeps checkpoints from which it goes on bit for bit.
// It knows designs only by their names and sizes in a configuration; what they compute is in attention/.
package train

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/plan"
)

// Shape is what one says of a model to be trained; everything left zero is chosen by the design. Letters are the papers'.
type Shape struct {
	Design         string
	Vocab, Context int
	Hidden, Layers int    // d, L
	HeadDim        int    // d_h of MHA and its kin (default 64, at most a quarter of d); C of MFA (default d/8: 12.5 % of the cache of MHA)
	Heads          int    // query heads (MFA, TPA: as many as MHA's parameters buy; SQA: half of MHA's)
	KVHeads        int    // GQA, GTA: default a third of the heads; SQA: a quarter of MHA's heads
	QRank          int    // MFA: d/2; TPA: 6; MLA: none
	KVRank         int    // MLA: the latent, default d/2; GLA, MLRA: all latents together, a multiple of 2 and 4; TPA: rank of K and V, default 2
	RopeDim        int    // MLA, GTA: default d_h/2
	FFN            int    // width of the gated MLP; 0: what the budget leaves
	Parameters     int64  // the budget; 0: what MHA takes at this d, L and an MLP of 8/3 d
	Share          string // which layers read the rows of others: a name or a map, as config.LayerMap takes it; "" none
	Theta          float64
	Untied         bool
	BOS, EOS       int
	Fields         map[string]any // of config.json, that the design reads and no dimension above names; see Field
	FFNStep        int            // FFN is a multiple of this; 0: 8

	layerMap string // of Share
}

// Sized is a shape with every dimension chosen.
type Sized struct {
	Shape
	Config     []byte // config.json
	Parameters int64
	Target     int64
	Chosen     string // one line: what was chosen, and how far from the budget it is
}

// ropeTheta is the base that small contexts want.
const ropeTheta = 10000

// maxHeads bounds the search for heads.
const maxHeads = 512

// Size chooses what is open in a shape. Where the MLP's width is, total parameters differ from the budget by less than 1 % (of the smallest models: by half of what one unit of width takes), or it is an error that says which
// budgets work.
func (s Shape) Size() (_ *Sized, err error) {
	z, ok := sizers[s.Design]
	if !ok {
		return nil, fault.New(fault.Unsupported, "--design "+s.Design, "not a design that trains", "designs: "+strings.Join(Designs(), " "), "lowkey designs tells what each is")
	}
	for _, d := range []struct {
		name string
		v    int
	}{{"vocabulary", s.Vocab}, {"--hidden", s.Hidden}, {"--layers", s.Layers}, {"--ctx", s.Context}} {
		if d.v <= 0 {
			return nil, fault.New(fault.BadInput, d.name, fmt.Sprint(d.v), "must be at least 1", "")
		}
	}
	if s.layerMap, err = config.LayerMap(s.Share, s.Layers); err != nil {
		return nil, err
	}
	given, base := s, s.mha()
	target, err := base.count()
	if err != nil {
		return nil, err
	}
	target = or(s.Parameters, target)
	s.Theta = or(s.Theta, ropeTheta)
	z.defaults(&s)
	if err := s.check(z); err != nil {
		return nil, err
	}
	if s.Heads == 0 { // the papers' way for MFA, TPA: heads cost parameters, not cache. As many as MHA's budget buys beside MHA's MLP
		if s.Heads, err = s.heads(or(s.FFN, base.FFN), target); err != nil {
			return nil, err
		}
	}
	if s.FFN == 0 {
		if s.FFN, err = s.ffn(target); err != nil {
			return nil, err
		}
	}
	if err := s.uses(given); err != nil {
		return nil, err
	}
	c, err := config.Parse(s.json(), "the model to train")
	if err != nil {
		return nil, err
	}
	if err := c.Runnable(); err != nil { // a design whose rows are no other layer's business
		return nil, err
	}
	a := c.Layers[c.RowsOf(0)].Attention
	if err := s.known(config.DesignOf(s.Design).Fields(&a)); err != nil {
		return nil, err
	}
	sharing := ""
	if s.layerMap != "" {
		sharing = ", layer map " + s.layerMap
	}
	got := plan.Count(c).Total
	off := 100 * float64(got-target) / float64(target)
	if s.Parameters > 0 && (off > 1 || off < -1) {
		return nil, fault.New(fault.BadInput, "--params", fmt.Sprint(target), fmt.Sprintf("these dimensions take %d (%+.1f %%)", got, off), "leave --ffn or --heads to be chosen")
	}
	return &Sized{Shape: s, Config: s.json(), Parameters: got, Target: target,
		Chosen: fmt.Sprintf("%s: hidden %d, %d layers, %s%s, MLP %d: %s parameters (%+.2f %% of the budget)", s.Design, s.Hidden, s.Layers, plan.Attention(&a), sharing, s.FFN, plan.Number(got), off)}, nil
}

// Field reads the value of a field: a number, true, false, or a word.
func Field(text string) any {
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return text
	}
	return v
}

// known refuses a field that the design does not read.
func (s Shape) known(fields map[string]any) error {
	for key, v := range s.Fields {
		if _, ok := fields[key]; !ok {
			return fault.New(fault.BadInput, fmt.Sprintf("field %s=%v", key, v), "design "+s.Design+" does not read it", "its fields: "+strings.Join(slices.Sorted(maps.Keys(fields)), " "), "lowkey designs "+s.Design+" tells what they are")
		}
	}
	return nil
}

// uses refuses a dimension that was given and that the design does not have: it would be dropped without a word.
func (s Shape) uses(given Shape) error {
	for _, d := range []struct {
		name  string
		given int
		now   *int
	}{{"--kv-heads", given.KVHeads, &s.KVHeads}, {"--q-rank", given.QRank, &s.QRank}, {"--kv-rank", given.KVRank, &s.KVRank}, {"--rope-dim", given.RopeDim, &s.RopeDim}} {
		if d.given == 0 {
			continue
		}
		before := s.json()
		*d.now++
		if *d.now != d.given+1 || bytes.Equal(before, s.json()) {
			return impossible(d.name, d.given, "design "+s.Design+" has no such dimension of its own")
		}
		*d.now--
	}
	return nil
}

// heads is the most heads with which the model stays within target, at least 1.
func (s Shape) heads(ffn int, target int64) (int, error) {
	for s.FFN, s.Heads = ffn, 2; s.Heads <= maxHeads; s.Heads++ {
		if n, err := s.count(); err != nil {
			return 0, err
		} else if n > target {
			break
		}
	}
	return s.Heads - 1, nil
}

// ffn is the width of the MLP that comes nearest to target.
func (s Shape) ffn(target int64) (int, error) {
	step := or(s.FFNStep, 8)
	at := func(steps int) int64 {
		s.FFN = steps * step
		n, _ := s.count()
		return n
	}
	if s.FFN = step; target < at(1) {
		return 0, fault.New(fault.BadInput, "parameters", fmt.Sprint(target), fmt.Sprintf("design %s needs at least %d at hidden %d, %d layers, vocabulary %d", s.Design, at(1), s.Hidden, s.Layers, s.Vocab),
			"raise --params, or lower --hidden, --layers or --vocab")
	}
	if _, err := s.count(); err != nil {
		return 0, err
	}
	nearest := func() int {
		each := at(2) - at(1)
		return step * int(1+(target-at(1)+each/2)/each)
	}
	n := nearest()
	for s.FFNStep == 0 && step > 1 && 100*abs(at(n/step)-target) >= target { // small models want a finer width
		step /= 2
		n = nearest()
	}
	return n, nil
}

// mha is the model whose size is the default budget.
func (s Shape) mha() Shape {
	b := Shape{Design: "mha", Vocab: s.Vocab, Context: s.Context, Hidden: s.Hidden, Layers: s.Layers, Untied: s.Untied}
	b.Theta = ropeTheta
	sizers["mha"].defaults(&b)
	b.FFN = max(8, (8*s.Hidden/3+4)/8*8)
	return b
}

// divisor is the largest number up to most that divides n.
func divisor(n, most int) int {
	for k := min(n, most); k > 1; k-- {
		if n%k == 0 {
			return k
		}
	}
	return 1
}

// check names the dimension that cannot be, and the values that can.
func (s Shape) check(z sizer) error {
	switch {
	case s.HeadDim < 2 || s.HeadDim%2 != 0:
		return impossible("--head-dim", s.HeadDim, "must be even and at least 2 (RoPE turns pairs)")
	case s.FFN < 0:
		return impossible("--ffn", s.FFN, "must be at least 1")
	}
	if z.check == nil {
		return nil
	}
	return z.check(&s)
}

// json is the configuration in lowkey's own form.
func (s Shape) json() []byte {
	c := map[string]any{"model_type": "lowkey", "architectures": []string{"LowkeyForCausalLM"}, "attention": s.Design, "hidden_size": s.Hidden, "intermediate_size": s.FFN, "num_hidden_layers": s.Layers,
		"num_attention_heads": s.Heads, "vocab_size": s.Vocab, "max_position_embeddings": s.Context, "rms_norm_eps": 1e-6, "rope_theta": s.Theta, "tie_word_embeddings": !s.Untied,
		"bos_token_id": s.BOS, "eos_token_id": s.EOS}
	if s.layerMap != "" {
		c["layer_map"] = s.layerMap
	}
	maps.Copy(c, sizers[s.Design].fields(&s))
	for key, v := range s.Fields {
		c[key] = v
	}
	b, _ := json.MarshalIndent(c, "", "  ")
	return append(b, '\n')
}

func (s Shape) count() (int64, error) {
	if s.FFN == 0 {
		s.FFN = 8
	}
	c, err := config.Parse(s.json(), "the model to train")
	if err != nil {
		return 0, err
	}
	return plan.Count(c).Total, nil
}

func or[T int | int64 | float64](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

func abs(n int64) int64 { return max(n, -n) }

func even(n int) int { return max(2, n/2*2) }

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
