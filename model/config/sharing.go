package config

// Which layers own a cache and which read another's: the layer map.
//
// A map is one string, "0_0_2_2": entry i is the layer whose rows layer i reads, itself where it has rows of its own; an s behind it ("0s_1s_2_2") makes layer i slide over
// `sliding_window` tokens. Only a layer that is its own entry can be read. Entries below or at i are causal; one above i closes a circle, which makes layer i see the tokens
// before its own alone (attention/sharing.go), of which a window has one less.
//
// Names for the maps of the literature, for any number of layers L:
//
//	claF                       runs of F layers, the first of each makes rows (CLA, arXiv 2405.12981)              L=5, cla2: 0_0_2_2_4
//	mlkv:M                     M layers make rows: 0 and (i+1)L/M for i = 0..M-2; the rest read the next one below (MLKV, 2406.09297)
//	lckv:W                     W layers of their own, half below and half above, all between read the topmost between (LCKV, 2405.10637; W = 2): 0_20_..._20_21
//	PARTITION-TARGET:N         N layers with rows (2410.14442). pizza: the first N-1 are alone, the rest is one group. sandwich: N-1 are alone, half at either end (one more below
//	                           where N-1 is odd), the group lies between. lasagna: N groups, cut at iL/N. TARGET is the layer of a group that makes its rows: bottom, top, or
//	                           middle, the (n-1)/2-th above the bottom of n

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/lowkeylm/lowkey/fault"
)

// Sharing is a way of sharing rows that has a name.
type Sharing struct {
	Name, Form   string // "mlkv"; what --share takes, "mlkv:M"
	Share        string // an example, "mlkv:3"
	Design, More string // with which it is a design of the literature, and fields of its configuration; "": with any that shares
	About, Cache string // one line each; the cache in shares of a design's, over all L layers
	Paper        string
}

// Sharings lists the ways of sharing that have names.
func Sharings() []Sharing {
	const systematic = "A Systematic Study of Cross-Layer KV Sharing, 2410.14442"
	const lossless = "Lossless KV Cache Compression to 2%, 2410.15252"
	return []Sharing{
		{Name: "cla", Form: "claF", Share: "cla2", About: "runs of F layers, of which the first makes rows", Cache: "1/F", Paper: "Cross-Layer Attention, 2405.12981"},
		{Name: "clla", Form: "cla2", Share: "cla2", Design: MLA, About: "MLA whose latent two layers share, each with up-projections of its own", Cache: "1/2", Paper: lossless},
		{Name: "clla-quant", Form: "cla2", Share: "cla2", Design: MLA, More: "latent_bits=4", About: "CLLA whose latent is trained as it is stored, in 4 bits", Cache: "1/2, latent in q4", Paper: lossless},
		{Name: "mlkv", Form: "mlkv:M", Share: "mlkv:3", About: "M layers make rows, the others read the next one below (heads: the design's --kv-heads)", Cache: "M/L", Paper: "MLKV, 2406.09297"},
		{Name: "lckv", Form: "lckv:W", Share: "lckv:2", About: "W layers are alone, half below and half above; all between read the topmost between", Cache: "(W+1)/L", Paper: "Layer-Condensed KV Cache, 2405.10637"},
		{Name: "pizza", Form: "pizza-TARGET:N", Share: "pizza-bottom:3", About: "N-1 layers are alone, the rest above reads one of its own: TARGET is bottom, middle or top", Cache: "N/L", Paper: systematic},
		{Name: "sandwich", Form: "sandwich-TARGET:N", Share: "sandwich-top:3", About: "N-1 layers are alone, half at either end, the group between reads its bottom, middle or top", Cache: "N/L", Paper: systematic},
		{Name: "lasagna", Form: "lasagna-TARGET:N", Share: "lasagna-middle:4", About: "N groups of layers, each reads its bottom, middle or top", Cache: "N/L", Paper: systematic},
	}
}

// SharingOf finds a way of sharing by its name, or by what --share takes ("lckv:4"), which is then its example; nil if there is none. layers bounds what is taken.
func SharingOf(name string, layers int) *Sharing {
	for _, s := range Sharings() {
		if s.Name == name {
			return &s
		}
		if s.Design != "" || !strings.HasPrefix(name, s.Name) {
			continue
		}
		if m, err := LayerMap(name, layers); err == nil && m != "" {
			s.Share = name
			return &s
		}
	}
	return nil
}

// shareForms is what LayerMap takes, for messages.
const shareForms = "claF, mlkv:M, lckv:W, {pizza,sandwich,lasagna}-{bottom,middle,top}:N, or a map as 0_0_2_2"

// LayerMap writes the layer map that a name stands for; a map of so many entries is returned as it is, and "" or "none" as "".
//
// Errors are *fault.Error of kind BadInput.
func LayerMap(name string, layers int) (string, error) {
	bad := func(why string) (string, error) {
		return "", fault.New(fault.BadInput, "--share "+name, why, shareForms, "lowkey designs lists them, with pictures")
	}
	if name == "" || name == "none" {
		return "", nil
	}
	if strings.Trim(name, "0123456789_s") == "" {
		if n := strings.Count(name, "_") + 1; n != layers {
			return bad(fmt.Sprintf("%d entries for %d layers", n, layers))
		}
		return name, nil
	}
	kind, text, given := strings.Cut(name, ":")
	if f, ok := strings.CutPrefix(kind, "cla"); ok && !given {
		kind, text, given = "cla", f, true
	}
	if kind == "lckv" && !given {
		text, given = "2", true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || !given {
		return bad("unknown")
	}
	if n > layers {
		return bad(fmt.Sprintf("%d of %d layers", n, layers))
	}
	reads := make([]int, layers)
	group := func(from, to int, target string) { // layers [from, to) read one of them
		of := from
		switch target {
		case "middle":
			of = from + (to-from-1)/2
		case "top":
			of = to - 1
		}
		for i := from; i < to; i++ {
			reads[i] = of
		}
	}
	for i := range reads {
		reads[i] = i
	}
	partition, target, _ := strings.Cut(kind, "-")
	switch kind {
	case "cla":
		for i := range reads {
			reads[i] = i / n * n
		}
	case "mlkv":
		for i := range n {
			group(i*layers/n, (i+1)*layers/n, "bottom")
		}
	case "lckv":
		if n >= layers {
			return bad(fmt.Sprintf("%d layers of their own leave none of %d", n, layers))
		}
		group((n+1)/2, layers-n/2, "top")
	default:
		if !slices.Contains([]string{"bottom", "middle", "top"}, target) {
			return bad("unknown")
		}
		switch partition {
		case "pizza":
			group(n-1, layers, target)
		case "sandwich":
			group(n/2, layers-(n-1)/2, target)
		case "lasagna":
			for i := range n {
				group(i*layers/n, (i+1)*layers/n, target)
			}
		default:
			return bad("unknown")
		}
	}
	var entries []string
	for _, of := range reads {
		entries = append(entries, strconv.Itoa(of))
	}
	return strings.Join(entries, "_"), nil
}

// layerMap reads the map of layers under key. slides: the design can.
func (p *parser) layerMap(key string, slides bool) {
	window := p.intIn("sliding_window", 0, 0, maxTokens)
	text := p.text(key, "")
	if text == "" {
		return
	}
	entries := strings.Split(text, "_")
	if len(entries) != p.n {
		p.fail(key, fmt.Sprintf("%d entries", len(entries)), fmt.Sprintf("num_hidden_layers is %d", p.n))
		return
	}
	p.eachLayer(func(i int, l *Layer) {
		number, marked := strings.CutSuffix(entries[i], "s")
		from, err := strconv.Atoi(number)
		if err != nil || from < 0 || from >= p.n {
			p.fail(key, entries[i], fmt.Sprintf("must be layers from 0 to %d", p.n-1))
			return
		}
		if l.Attention.Window = 0; marked {
			if window == 0 || !slides {
				p.fail(key, entries[i], "a layer that slides needs sliding_window, and a design with keys and values of heads")
			}
			l.Attention.Window = window
		}
		if entries[from] != strconv.Itoa(from) && entries[from] != strconv.Itoa(from)+"s" {
			p.unsupported(key, text, fmt.Sprintf("layer %d reads layer %d, which reads another; only a layer that reads its own rows can be read", i, from))
		}
		if from != i {
			l.Attention.SharesWith, l.Attention.Strict = from, from > i
		}
	})
}

// checkSharing says why layer i cannot read the rows of layer s, "" if it can.
func (c *Config) checkSharing(i int) string {
	a := &c.Layers[i].Attention
	if a.SharesWith < 0 {
		return ""
	}
	if a.SharesWith >= len(c.Layers) || c.Layers[a.SharesWith].Attention.SharesWith >= 0 {
		return "must be a layer with its own rows"
	}
	if s := &c.Layers[a.SharesWith].Attention; !reflect.DeepEqual(a.rows(), s.rows()) {
		return "its rows are of another kind"
	}
	if a.Strict != (a.SharesWith > i) {
		return "a higher layer is read strictly, a lower one is not"
	}
	return ""
}

// rows is what must be alike in two layers of which one reads the other's rows.
func (a *Attention) rows() any {
	return []any{a.Design, a.KVHeads, a.HeadDim, a.ValueDim, a.KVRank, a.LatentBits, a.Latents, a.Nope, a.RopeDim, a.KRank, a.VRank, a.RowTokens, a.SharedKV, a.Levels, a.Rope}
}

// KeptWindow is how many rows the cache of a layer keeps: as many as the widest of the layers that read them sees; 0 is all.
func (c *Config) KeptWindow(layer int) int {
	window := c.Layers[layer].Attention.Window
	for i := range c.Layers {
		if a := &c.Layers[i].Attention; a.SharesWith == layer && window > 0 {
			window = max(window, a.Window)
			if a.Window == 0 {
				window = 0
			}
		}
	}
	return window
}

// RowsOf is the layer whose rows a layer reads: itself, or another.
func (c *Config) RowsOf(layer int) int {
	if s := c.Layers[layer].Attention.SharesWith; s >= 0 {
		return s
	}
	return layer
}

// IsRead reports whether other layers read a layer's rows.
func (c *Config) IsRead(layer int) bool {
	return slices.ContainsFunc(c.Layers, func(l Layer) bool { return l.Attention.SharesWith == layer })
}

// Shared reports whether some layer reads another's rows, and Sequential whether one reads a higher layer: then tokens go through all layers one after another.
func (c *Config) Shared() bool {
	return slices.ContainsFunc(c.Layers, func(l Layer) bool { return l.Attention.SharesWith >= 0 })
}

func (c *Config) Sequential() bool {
	return slices.ContainsFunc(c.Layers, func(l Layer) bool { return l.Attention.Strict })
}

// LayerMap writes the layers' map, "" where each has rows of its own and slides as the others do.
func (c *Config) LayerMap() string {
	if window := c.Layers[0].Attention.Window; !c.Shared() && !slices.ContainsFunc(c.Layers, func(l Layer) bool { return l.Attention.Window != window }) {
		return ""
	}
	var entries []string
	for i := range c.Layers {
		a := &c.Layers[i].Attention
		from, slides := i, ""
		if a.SharesWith >= 0 {
			from = a.SharesWith
		}
		if a.Window > 0 {
			slides = "s"
		}
		entries = append(entries, strconv.Itoa(from)+slides)
	}
	return strings.Join(entries, "_")
}

// SharingDesigns lists the designs whose rows other layers can read.
func SharingDesigns() []string {
	return slices.DeleteFunc(Designs(), func(name string) bool { return designs[name].Makes == nil })
}
