package model

// Steps of models in which a layer reads the rows of a higher one. The definition is sequential (sharing.go): a token needs what the tokens before it left further up. Only a circle of layers, from the
// lowest that reads so to the highest that is read so, has to wait for that; the layers below, between and above circles take all tokens of a step at once.
//
// Exact numerics take a circle's tokens one by one, those of many sequences side by side.
//
// Fast numerics take a window of passWindow tokens of each sequence through the circle, pass after pass, until their rows settle: the fixed-point iteration of LCKV (arXiv 2405.10637), whose readers find
// the rows of the pass before. A token is final when the rows that it saw have settled (attention.Watch), which are those of the tokens before it. So the first tokens of a window leave it, and others enter at
// its end, whose first pass sees the rows that are there. A narrow window takes a token through fewer passes than a wide one, because most of what it sees is final. Each pass makes one token final at
// least: there are never more passes than tokens, that many where rows do not settle early, and nothing has to fall back. Where the cache rounds (f16 and fewer bits) a row has settled when no code changes, and
// then it is that of exact numerics bit for bit, as the arithmetic of a row does not depend on what runs beside it; in a float32 cache logits differ by less than 1e-3 of the largest. Where inputs of products
// are rounded to int8 rows settle too late to gain anything, and the window is one token.
//
// Passes write over the same reserved rows of the store, which are committed with the step. What is held beside them is scratch: a window's activations, and the circle's rows of the step.

import (
	"slices"

	"github.com/lowkeylm/lowkey/attention"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model/config"
	"github.com/lowkeylm/lowkey/tensor"
)

// passWindow is the tokens of a sequence that are in a pass.
const passWindow = 8

// Passes counts what circles of layers took: tokens that went through one, and how often, all their passes together.
type Passes struct{ Tokens, Taken int }

// PerToken is the passes that a token went through, on average.
func (p Passes) PerToken() float64 { return float64(p.Taken) / float64(max(1, p.Tokens)) }

// Since is what was counted after an earlier count.
func (p Passes) Since(q Passes) Passes { return Passes{p.Tokens - q.Tokens, p.Taken - q.Taken} }

// Passes is what was counted since the engine was made.
func (e *Engine) Passes() Passes { return e.passes }

// circle is layers low..high, of which some read rows of higher ones: those of the layers in read. The last of them is high.
type circle struct {
	low, high int
	read      []int
}

// circlesOf cuts the layers of a map into circles, in ascending order.
func circlesOf(c *config.Config) (out []circle) {
	for i := range c.Layers {
		a := &c.Layers[i].Attention
		if !a.Strict {
			continue
		}
		if n := len(out); n == 0 || i > out[n-1].high {
			out = append(out, circle{low: i})
		}
		last := &out[len(out)-1]
		last.high = max(last.high, a.SharesWith)
		if !slices.Contains(last.read, a.SharesWith) {
			last.read = append(last.read, a.SharesWith)
		}
	}
	return out
}

// circleAt is the circle that begins at a layer, nil if none does.
func (e *Engine) circleAt(layer int) *circle {
	for i := range e.circles {
		if e.circles[i].low == layer {
			return &e.circles[i]
		}
	}
	return nil
}

// window is how many tokens of a sequence go through a circle together.
func (e *Engine) window(c *circle) int {
	if !e.opt.Fast || e.rounds {
		return 1
	}
	for _, i := range c.read {
		if e.opt.Arith == kernel.ArithInt8 && slices.ContainsFunc(e.Store.Types(i), func(t kvcache.Type) bool { return t.Codec >= kernel.CodecQ8 }) { // queries are rounded too
			return 1
		}
	}
	return passWindow
}

// settle takes x through a circle's layers but the highest, in place, and leaves the rows of all of them in the store.
func (e *Engine) settle(c *circle, x tensor.Buf) {
	ws, s := e.ws, &e.step
	mark, whole, width := ws.Mark(), *s, e.window(c)
	watches := make([]*attention.Watch, c.high+1)
	if width > 1 {
		for _, i := range c.read {
			watches[i] = &attention.Watch{}
			for _, t := range e.Model.designs[i].Layout().Streams {
				watches[i].Before = append(watches[i].Before, ws.New(x.Rows, t.Heads*t.Width))
			}
		}
	}
	final, made := make([]int, len(whole.Counts)), make([]int, len(whole.Counts)) // by sequence: tokens that are, and tokens that were in a pass
	var rows, who []int                                                           // of x in this pass, and the sequences that are
	var sequences []*kvcache.Sequence
	var counts []int
	var tokens []int32
	moved := make([]bool, width*len(whole.Counts))
	pass := &attention.Pass{}
	for {
		rows, who, at := rows[:0], who[:0], 0
		sequences, counts, tokens, pass.From, pass.Made, pass.Tokens = sequences[:0], counts[:0], tokens[:0], pass.From[:0], pass.Made[:0], pass.Tokens[:0]
		for i, count := range whole.Counts {
			if n := min(width, count-final[i]); n > 0 {
				who = append(who, i)
				sequences, counts = append(sequences, whole.Sequences[i]), append(counts, n)
				pass.From, pass.Made, pass.Tokens = append(pass.From, final[i]), append(pass.Made, made[i]), append(pass.Tokens, whole.Tokens[at:at+count])
				for j := range n {
					rows = append(rows, at+final[i]+j)
					tokens = append(tokens, whole.Tokens[at+final[i]+j])
				}
			}
			at += count
		}
		if len(rows) == 0 {
			break
		}
		s.Sequences, s.Counts, s.Tokens, s.Pass = sequences, counts, tokens, pass
		clear(moved)
		m := ws.Mark()
		ws.Choose(rows)
		y := ws.Gather(x, rows)
		for i := c.low; i <= c.high; i++ {
			if pass.Watch = watches[i]; watches[i] != nil {
				watches[i].Rows, watches[i].Moved = rows, moved
			}
			if pass.RowsOnly = i == c.high; pass.RowsOnly {
				e.attend(i, y)
			} else {
				e.block(i, y)
			}
		}
		at = 0
		for k, i := range who {
			n := 1 // all that the first token saw was final
			for n < counts[k] && final[i]+n <= made[i] && !moved[at+n-1] {
				n++
			}
			for j := range n {
				copy(x.Slice(rows[at+j], rows[at+j]+1).Float32s(), y.Slice(at+j, at+j+1).Float32s())
			}
			made[i], final[i] = final[i]+counts[k], final[i]+n
			at += counts[k]
		}
		ws.Release(m)
		e.passes.Taken += len(rows)
	}
	e.passes.Tokens += x.Rows
	*s = whole
	ws.Choose(nil)
	ws.Release(mark)
}
