package train

// How a design's open dimensions are chosen: one file size_NAME.go a design, registered by init.

import (
	"fmt"
	"slices"

	"github.com/lowkeylm/lowkey/fault"
)

// sizer is a design's part in Shape.Size.
type sizer struct {
	// defaults chooses what is open. Heads may stay 0: then they are what the budget buys beside MHA's MLP; else the MLP takes what the budget leaves.
	defaults func(s *Shape)
	// check names a dimension that cannot be, and the values that can; nil: nothing beyond what every design needs.
	check func(s *Shape) error
	// fields are the design's part of config.json.
	fields func(s *Shape) map[string]any
}

var sizers = map[string]sizer{}

func register(design string, z sizer) { sizers[design] = z }

// Designs that train can size, sorted by name.
func Designs() []string {
	var out []string
	for name := range sizers {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// impossible is a dimension that cannot be, and the values that can.
func impossible(name string, v int, limit string) error {
	return fault.New(fault.BadInput, name, fmt.Sprint(v), limit, "")
}

// rotaryPart refuses a rotary part of a head that is not smaller than the head.
func rotaryPart(s *Shape) error {
	if s.HeadDim < 4 {
		return impossible("--head-dim", s.HeadDim, "design "+s.Design+" turns a part of a head and leaves the rest: at least 4")
	}
	if s.RopeDim < 0 || s.RopeDim%2 != 0 || s.RopeDim >= s.HeadDim {
		return impossible("--rope-dim", s.RopeDim, fmt.Sprintf("must be even and less than --head-dim %d", s.HeadDim))
	}
	return nil
}

// dividesHeads refuses heads of keys and values that do not divide the query heads.
func dividesHeads(s *Shape) error {
	if s.KVHeads < 1 || s.Heads%s.KVHeads != 0 {
		return impossible("--kv-heads", s.KVHeads, fmt.Sprintf("must divide the %d heads", s.Heads))
	}
	return nil
}

// plainHeads are heads of 64, or four heads, that fill the hidden width.
func plainHeads(s *Shape) {
	s.HeadDim = or(s.HeadDim, min(64, even(s.Hidden/4)))
	s.Heads = or(s.Heads, max(1, s.Hidden/s.HeadDim))
}
