// Package train makes models: it sizes a design to a budget, feeds it documents, optimises it, and keeps checkpoints from which it goes on bit for bit.
// It knows designs only by their names and sizes in a configuration; what they compute is in attention/.
package train

import (
	"encoding/json"
	"fmt"
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
	Hidden, Layers int   // d, L
	HeadDim        int   // d_h of MHA and its kin (default 64, at most a quarter of d); C of MFA (default d/8: 12.5 % of the cache of MHA)
	Heads          int   // query heads (MFA, TPA: as many as MHA's parameters buy; SQA: half of MHA's)
	KVHeads        int   // GQA, GTA: default a third of the heads; SQA: a quarter of MHA's heads
	QRank          int   // MFA: d/2; TPA: 6; MLA: none
	KVRank         int   // MLA: the latent, default d/2; GLA, MLRA: all latents together, a multiple of 2 and 4; TPA: rank of K and V, default 2
	RopeDim        int   // MLA, GTA: default d_h/2
	FFN            int   // width of the gated MLP; 0: what the budget leaves
	Parameters     int64 // the budget; 0: what MHA takes at this d, L and an MLP of 8/3 d
	Theta          float64
	Untied         bool
	BOS, EOS       int
	FFNStep        int // FFN is a multiple of this; 0: 8
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

// latents are those of GLA-2 and MLRA-4.
var latents = map[string]int{"gla": 2, "mlra": 4}

// Designs that train can size.
func Designs() []string {
	return []string{"mha", "gqa", "mqa", "sqa", "gta", "mla", "gla", "mlra", "mfa", "mfa-kr", "tpa"}
}

// Size chooses what is open in a shape. Total parameters differ from the budget by less than 1 %, or it is an error that says which budgets work.
func (s Shape) Size() (*Sized, error) {
	if !slices.Contains(Designs(), s.Design) {
		return nil, fault.New(fault.Unsupported, "--design "+s.Design, "not a design that trains", "designs: "+strings.Join(Designs(), " "), "")
	}
	for _, d := range []struct {
		name string
		v    int
	}{{"vocabulary", s.Vocab}, {"--hidden", s.Hidden}, {"--layers", s.Layers}, {"--ctx", s.Context}} {
		if d.v <= 0 {
			return nil, fault.New(fault.BadInput, d.name, fmt.Sprint(d.v), "must be at least 1", "")
		}
	}
	base := s.mha()
	target, err := base.count()
	if err != nil {
		return nil, err
	}
	target = or(s.Parameters, target)
	s = s.defaults()
	if err := s.check(); err != nil {
		return nil, err
	}
	if s.Heads == 0 { // the papers' way for MFA and TPA: heads cost parameters, not cache. As many as MHA's budget buys beside MHA's MLP
		if s.Heads, err = s.heads(or(s.FFN, base.FFN), target); err != nil {
			return nil, err
		}
	}
	if s.FFN == 0 {
		if s.FFN, err = s.ffn(target); err != nil {
			return nil, err
		}
	}
	got, err := s.count()
	if err != nil {
		return nil, err
	}
	off := 100 * float64(got-target) / float64(target)
	if s.Parameters > 0 && (off > 1 || off < -1) {
		return nil, fault.New(fault.BadInput, "--params", fmt.Sprint(target), fmt.Sprintf("these dimensions take %d (%+.1f %%)", got, off), "leave --ffn or --heads to be chosen")
	}
	return &Sized{Shape: s, Config: s.json(), Parameters: got, Target: target,
		Chosen: fmt.Sprintf("%s: hidden %d, %d layers, %s, MLP %d: %s parameters (%+.2f %% of the budget)", s.Design, s.Hidden, s.Layers, s.attention(), s.FFN, plan.Number(got), off)}, nil
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
	each := at(2) - at(1)
	return step * int(1+(target-at(1)+each/2)/each), nil
}

// mha is the model whose size is the default budget.
func (s Shape) mha() Shape {
	b := Shape{Design: "mha", Vocab: s.Vocab, Context: s.Context, Hidden: s.Hidden, Layers: s.Layers, Untied: s.Untied}
	b = b.defaults()
	b.FFN = max(8, (8*s.Hidden/3+4)/8*8)
	return b
}

func (s Shape) defaults() Shape {
	d := s.Hidden
	s.Theta = or(s.Theta, ropeTheta)
	switch s.Design {
	case "mfa", "mfa-kr":
		s.HeadDim = or(s.HeadDim, even(d/8))
		s.QRank = or(s.QRank, even(d/2))
		return s
	case "tpa":
		s.HeadDim = or(s.HeadDim, min(64, even(d/4)))
		s.QRank, s.KVRank = or(s.QRank, 6), or(s.KVRank, 2)
		return s
	case "mla", "gla", "mlra":
		if n := latents[s.Design]; n > 0 {
			s.KVRank = or(s.KVRank, max(n, d/2/n*n))
		}
		s.HeadDim = or(s.HeadDim, min(64, even(d/4)))
		if s.Design == "gla" {
			s.Heads = or(s.Heads, even(d/s.HeadDim))
		}
		s.Heads = or(s.Heads, max(1, d/s.HeadDim))
		s.KVRank, s.RopeDim = or(s.KVRank, even(d/2)), or(s.RopeDim, even(s.HeadDim/2))
		return s
	}
	s.HeadDim = or(s.HeadDim, min(64, even(d/4)))
	if s.Design == "sqa" { // of H = d/d_h heads: SQA H/2 queries, H/4 keys; --heads and --kv-heads make sSQA (H/2, H/2), xSQA (H/4, H/4) and xSMQA (H/4, 1)
		h := d / s.HeadDim
		s.Heads = or(s.Heads, max(1, h/2))
		s.KVHeads = or(s.KVHeads, divisor(s.Heads, max(1, h/4)))
		return s
	}
	s.Heads = or(s.Heads, max(1, d/s.HeadDim))
	switch s.Design {
	case "mha":
		s.KVHeads = s.Heads
	case "mqa":
		s.KVHeads = 1
	case "gqa":
		s.KVHeads = or(s.KVHeads, divisor(s.Heads, max(2, s.Heads/3)))
	case "gta":
		s.KVHeads, s.RopeDim = or(s.KVHeads, divisor(s.Heads, max(2, s.Heads/3))), or(s.RopeDim, even(s.HeadDim/2))
	}
	return s
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
func (s Shape) check() error {
	no := func(name string, v int, limit string) error {
		return fault.New(fault.BadInput, name, fmt.Sprint(v), limit, "")
	}
	switch {
	case s.HeadDim < 2 || s.HeadDim%2 != 0:
		return no("--head-dim", s.HeadDim, "must be even and at least 2 (RoPE turns pairs)")
	case s.RopeDim < 0 || s.RopeDim%2 != 0 || s.RopeDim >= s.HeadDim && slices.Contains([]string{"mla", "gla", "mlra", "gta"}, s.Design):
		return no("--rope-dim", s.RopeDim, fmt.Sprintf("must be even and less than --head-dim %d", s.HeadDim))
	case latents[s.Design] > 0 && s.KVRank%latents[s.Design] != 0:
		return no("--kv-rank", s.KVRank, fmt.Sprintf("must be a multiple of the %d latents", latents[s.Design]))
	case s.Design == "gla" && s.Heads%2 != 0:
		return no("--heads", s.Heads, "must be even: each of 2 latents serves half of them")
	case s.Design == "sqa" && s.Heads*s.HeadDim >= s.Hidden:
		return no("--heads", s.Heads, fmt.Sprintf("sqa has fewer than the %d heads of %d that --hidden %d holds", s.Hidden/s.HeadDim, s.HeadDim, s.Hidden))
	case slices.Contains([]string{"gqa", "gta", "sqa"}, s.Design) && (s.KVHeads < 1 || s.Heads%s.KVHeads != 0):
		return no("--kv-heads", s.KVHeads, fmt.Sprintf("must divide the %d heads", s.Heads))
	case s.Design == "gqa" && (s.KVHeads == 1 || s.KVHeads == s.Heads):
		return no("--kv-heads", s.KVHeads, fmt.Sprintf("1 is mqa, %d is mha: gqa lies between", s.Heads))
	case s.FFN < 0:
		return no("--ffn", s.FFN, "must be at least 1")
	}
	return nil
}

func (s Shape) attention() string {
	switch s.Design {
	case "mfa", "mfa-kr":
		return fmt.Sprintf("%d heads of %d, query rank %d", s.Heads, s.HeadDim, s.QRank)
	case "gla", "mlra":
		return fmt.Sprintf("%d heads of %d, %d latents of %d, rotary %d", s.Heads, s.HeadDim, latents[s.Design], s.KVRank/latents[s.Design], s.RopeDim)
	case "mla":
		return fmt.Sprintf("%d heads of %d, latent %d, rotary %d", s.Heads, s.HeadDim, s.KVRank, s.RopeDim)
	case "gta":
		return fmt.Sprintf("%d heads of %d over %d tied states, rotary %d", s.Heads, s.HeadDim, s.KVHeads, s.RopeDim)
	case "tpa":
		return fmt.Sprintf("%d heads of %d, ranks %d %d", s.Heads, s.HeadDim, s.QRank, s.KVRank)
	}
	return fmt.Sprintf("%d heads of %d, %d of keys and values", s.Heads, s.HeadDim, s.KVHeads)
}

// json is the configuration in lowkey's own form.
func (s Shape) json() []byte {
	c := map[string]any{"model_type": "lowkey", "architectures": []string{"LowkeyForCausalLM"}, "attention": s.Design, "hidden_size": s.Hidden, "intermediate_size": s.FFN, "num_hidden_layers": s.Layers,
		"num_attention_heads": s.Heads, "vocab_size": s.Vocab, "max_position_embeddings": s.Context, "rms_norm_eps": 1e-6, "rope_theta": s.Theta, "tie_word_embeddings": !s.Untied,
		"bos_token_id": s.BOS, "eos_token_id": s.EOS}
	switch s.Design {
	case "mha", "gqa", "mqa", "sqa":
		c["num_key_value_heads"], c["head_dim"] = s.KVHeads, s.HeadDim
	case "gta":
		c["num_key_value_heads"], c["head_dim"], c["qk_rope_head_dim"] = s.KVHeads, s.HeadDim, s.RopeDim
	case "mla", "gla", "mlra":
		c["kv_lora_rank"], c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"] = s.KVRank, s.HeadDim-s.RopeDim, s.RopeDim, s.HeadDim
		if s.QRank > 0 {
			c["q_lora_rank"] = s.QRank
		}
	case "mfa", "mfa-kr":
		c["head_dim"], c["q_lora_rank"] = s.HeadDim, s.QRank
	case "tpa":
		c["head_dim"], c["q_rank"], c["k_rank"], c["v_rank"] = s.HeadDim, s.QRank, s.KVRank, s.KVRank
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

func even(n int) int { return max(2, n/2*2) }

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
