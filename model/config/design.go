package config

// The designs of attention as configurations know them: one file design_NAME.go each, registered by init. What a design computes is in package attention.

import (
	"fmt"
	"slices"
	"strings"
)

// Design is what is known of a design beside its mathematics.
type Design struct {
	Name  string
	About string // one line: the idea
	Cache string // numbers a token leaves in a layer, as a formula in the paper's letters
	Paper string // title and arXiv number

	// Streams is what one cached row of a layer holds.
	Streams func(a *Attention) []Stream
	// Tensors lists a layer's tensors as lowkey's own folder names them.
	Tensors func(c *Config, a *Attention) []Tensor
	// Text describes a layer's attention.
	Text func(a *Attention) string
	// Fields are those of config.json in lowkey's own form that make this attention; what read reads.
	Fields func(a *Attention) map[string]any
	// Makes names the tensors that make rows: a layer that reads another layer's rows lacks them ("kv_a_norm" means kv_a_norm.0 and so on too). None: no other layer can read rows of
	// this design, and Alone says why.
	Makes []string
	Alone string
	// Approximate says what Tensors leaves out; "" where it is whole.
	Approximate string

	// read describes a layer from lowkey's own form; nil where the design is only described, in its published form, and does not run.
	read func(p *parser, d *Design) Attention
	// each changes the layers after read, where they differ; nil if they do not.
	each func(p *parser)
}

// Use is what attention does with a stream, and in which state of rotation it lies in the cache.
type Use uint8

const (
	Turned     Use = iota // a key, stored rotated
	Unturned              // a key that nothing rotates
	Mixed                 // a value
	Tied                  // key and value are the same bytes
	TiedBefore            // the same, and the key is rotated on reading
	TiedTurned            // the same, stored rotated
)

// Stream is one named part of what a token leaves behind: Heads rows of Width numbers.
type Stream struct {
	Name         string
	Heads, Width int
	Use          Use
	Fixed        string // the type it is stored as, where the weights were trained so; "" leaves it to the run
	Weighs       bool   // weighs, head by head, the products with another stream (TPA's factors over heads)
}

// Elements is the count of numbers in the stream.
func (s Stream) Elements() int { return s.Heads * s.Width }

// Tensor is a weight of a layer: the name that the design's mathematics uses, the name in lowkey's own folder under model.layers.N, and its shape, [out, in] or [n].
type Tensor struct {
	Name, File string
	Shape      []int
	Bias       bool // a vector NAME.bias [out] beside it
}

// Parameters counts the numbers of the tensor and its bias.
func (t Tensor) Parameters() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= int64(d)
	}
	if t.Bias {
		n += int64(t.Shape[0])
	}
	return n
}

var designs = map[string]*Design{}

// register makes a design known. Its Tensors then leave out what a layer without rows of its own lacks.
func register(d Design) {
	if designs[d.Name] != nil {
		panic("config: design " + d.Name + " is registered twice")
	}
	all := d.Tensors
	d.Tensors = func(c *Config, a *Attention) []Tensor {
		if a.SharesWith < 0 {
			return all(c, a)
		}
		return slices.DeleteFunc(all(c, a), func(t Tensor) bool {
			name, _, _ := strings.Cut(t.Name, ".")
			return slices.Contains(d.Makes, name)
		})
	}
	designs[d.Name] = &d
}

// DesignOf finds a design by name; nil if there is none.
func DesignOf(name string) *Design { return designs[name] }

// Runs reports whether models of the design run, and so can be written in lowkey's own form.
func (d *Design) Runs() bool { return d.read != nil }

// Designs lists the designs that run, sorted by name.
func Designs() []string {
	var out []string
	for name, d := range designs {
		if d.Runs() {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// attn is a tensor of attention.
func attn(name, file string, bias bool, shape ...int) Tensor {
	return Tensor{Name: name, File: "self_attn." + file, Shape: shape, Bias: bias}
}

// output is the matrix that every design ends with, and the norm before it.
func output(c *Config, a *Attention) []Tensor {
	out := []Tensor{attn("o", "o_proj", a.OutBias, c.Hidden, a.Heads*a.ValueDim)}
	if a.OutNorm {
		out = append(out, attn("out_norm", "out_norm", false, a.ValueDim))
	}
	return out
}

// keyUse is how a key that RoPE turns whole is stored.
func keyUse(a *Attention) Use {
	if a.Rope.Dim == 0 {
		return Unturned
	}
	return Turned
}

// needHeadDim refuses a configuration without head_dim, for designs whose heads are not cut from the hidden width.
func (p *parser) needHeadDim(design string) {
	if !p.has("head_dim") {
		p.fail("head_dim", "missing", "attention "+design+" needs it")
	}
}

// headsText is the common beginning of a description.
func headsText(a *Attention) string {
	return fmt.Sprintf("%s, %d heads over %d x %d", a.Design, a.Heads, a.KVHeads, a.HeadDim)
}
