package attention

import (
	"math"

	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/tensor"
)

// Sharer is a design whose rows other layers can read.
//
// The maps are CLA (arXiv 2405.12981), MLKV (2406.09297), LCKV (2405.10637), and the maps of 2410.14442 that cover them all.
//
//	rows_s = Rows(x_s)                 the layer s that makes them: s = kv(s)
//	y_i    = Read(x_i, rows_kv(i))     every layer i with kv(i) = s; where kv(i) = i both together are the design's Forward
//
// A reader has queries, an output matrix and whatever turns rows into keys and values (MLA's up-projections, MFA-KR's alpha and N: its own, they fold away), but nothing that
// makes rows. It leaves nothing behind: a token costs the rows of the layers that make some.
//
// kv(i) < i is causal. kv(i) > i is a circle: layer i needs what a higher layer made of the same token, which needs layer i. So there a token sees the tokens before it alone (Strict),
// the first one sees nothing, its attention is zero, and the definition is sequential: token after token through all layers.
//
// Composes with designs whose rows mean the same to any layer: GQA and its kin, KHA, MLA, EG-MLA, GLA, MLRA, MFA, MFA-KR, GTA, LRKV, TPA, Tucker, MKA. A reader that slides
// over w rows of a higher layer sees w - 1: its own token counts. Will not do: readers that differ from the maker in rows or rotation, or that read a layer which itself reads another.
type Sharer interface {
	Design
	// Rows is what the tokens of a sequence leave behind, before any codec: a tensor [T, heads*width] for each stream of Layout.
	Rows(o tensor.Ops, w Weights, x tensor.Tensor, pos []int) []tensor.Tensor
	// Read lets x attend to rows, of this layer or of another -> [T, hidden].
	Read(o tensor.Ops, w Weights, x tensor.Tensor, pos []int, rows []tensor.Tensor) tensor.Tensor
	// Reader is the same design in a layer that makes no rows: its Layout is empty, its Params are fewer, its cached step puts nothing.
	Reader() Design
}

// noRows is the layout of a reader.
var noRows = kvcache.Layout{}

// without leaves out the parameters that make rows.
func without(params []Param, names ...string) []Param {
	var out []Param
next:
	for _, p := range params {
		for _, name := range names {
			if p.Name == name {
				continue next
			}
		}
		out = append(out, p)
	}
	return out
}

// Strictly is o for reading a higher layer: attention sees the tokens before its own. Keys and values move down by one row, over a first row that is masked and whose value is zero.
func Strictly(o tensor.Ops) tensor.Ops { return strict{o} }

type strict struct{ tensor.Ops }

// masked is added to the score of a key that nobody must see: exact in float32, and beyond any score.
var masked = -math.Ldexp(1, 100)

func (o strict) Attend(q, k, v tensor.Tensor, spec tensor.Attend) tensor.Tensor {
	rows := k.Shape()[0]
	ones := make([]float32, rows)
	for i := range ones {
		ones[i] = 1
	}
	one := o.Leaf([]int{rows, 1}, ones)
	mask := o.HeadRepeat(o.Scale(o.Add(o.Scale(o.Delay(one), -1), one), masked), spec.KVHeads) // where the row before is another document's
	if spec.Bias != nil {
		mask = o.Add(mask, o.Delay(spec.Bias))
	}
	spec.Bias = mask
	return o.Ops.Attend(q, o.Delay(k), o.Delay(v), spec)
}

// NoRows are rows that change nothing: what a reader meets before the layer that makes them has run. Their values are zero.
func NoRows(o tensor.Ops, l kvcache.Layout, tokens int) []tensor.Tensor {
	var out []tensor.Tensor
	for _, s := range l.Streams {
		out = append(out, o.Leaf([]int{tokens, s.Heads * s.Width}, make([]float32, tokens*s.Heads*s.Width)))
	}
	return out
}

// see adds the spans of sequence i's new queries, at row `at` of x: up to their own rows, or, strictly, up to the rows before them.
func (s *Step) see(i, at int) {
	first := len(s.spans)
	s.seeRows(i, at)
	if s.View.Expand == nil {
		return
	}
	tokens := s.Tokens[at : at+s.Counts[i]]
	if s.Pass != nil {
		tokens = s.Pass.Tokens[i]
	}
	for j := range s.spans[first:] {
		s.spans[first+j].Tokens, s.spans[first+j].New = s.Sequences[i].Tokens(), tokens
	}
}

func (s *Step) seeRows(i, at int) {
	seq, row, n := s.Sequences[i], s.row(i), s.Counts[i]
	if !s.Strict {
		s.spans = append(s.spans, seq.SpanAt(s.Layer, at, row, n))
		return
	}
	together := n
	if s.Pass != nil { // tokens that would see rows not made yet see those that are
		made := seq.Rows() + s.Pass.Made[i]
		together = max(0, min(n, made-row+1))
		for j := together; j < n; j++ {
			s.spans = append(s.spans, seq.SpanAt(s.Layer, at+j, made-1, 1))
		}
	}
	if together > 0 {
		s.spans = append(s.spans, seq.SpanAt(s.Layer, at, row-1, together))
	}
}

// Pass says which of a step's tokens x is, where layers run in passes because some read the rows of a higher one.
type Pass struct {
	From     []int     // by sequence: so many of its new tokens lie before x
	Tokens   [][]int32 // by sequence: the ids of all of its new tokens
	Made     []int     // by sequence: so many of its new tokens have rows in the store, of a pass before
	Watch    *Watch    // where not nil, is shown the rows that are put
	RowsOnly bool      // rows are put and nothing is attended to: what Step returns then means nothing
}

// Settled is how much of the largest value a number may change from one pass to the next in a row that is said to have settled, in a float32 cache.
const Settled = 1e-5

// Watch compares the rows that a layer puts, as its readers will find them, with those of the pass before.
type Watch struct {
	Before []tensor.Buf // by stream [tokens of the step, heads*width]
	Rows   []int        // by token of x: its row of Before
	Moved  []bool       // by token of x: set where a row has not settled. Where the cache rounds, any change counts: it is a step between two codes

	top  float32
	code []byte
	row  []float32
}

// note takes rows x of a stream that lies in plane p.
func (w *Watch) note(stream int, x tensor.Buf, p *kernel.Plane) {
	now, bound := x.Float32s(), float32(0)
	if p.Codec == kernel.CodecF32 {
		for _, v := range now {
			w.top = max(w.top, v, -v)
		}
		bound = Settled * w.top
	}
	if cap(w.row) < p.Width {
		w.row, w.code = make([]float32, p.Width), make([]byte, 4*p.Width)
	}
	before := w.Before[stream].Float32s()
	for at := 0; at < len(now); at += p.Width {
		token := at / x.Cols
		row, old := w.row[:p.Width], before[w.Rows[token]*x.Cols+at%x.Cols:][:p.Width]
		copy(row, now[at:])
		if p.Codec != kernel.CodecF32 {
			c := p.Codec.Staging() // as the step's own rows are read
			code := w.code[:kernel.RowBytes(c, p.Width)]
			kernel.EncodeRow(c, code, row)
			kernel.DecodeRow(c, row, code)
		}
		for i, v := range row {
			if v-old[i] > bound || old[i]-v > bound {
				w.Moved[token] = true
				break
			}
		}
		copy(old, row)
	}
}
