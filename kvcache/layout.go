// Package kvcache is the paged store of what tokens leave behind: layouts, lanes, pages in an arena with a hard budget, prefix sharing, saved sessions, and
// the accounting that says all bytes before they are allocated. It knows neither models nor how attention is computed.
package kvcache

import (
	"fmt"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
)

// Role says what attention does with a stream.
type Role uint8

const (
	Key    Role = iota // meets the query
	Value              // is mixed
	Both               // the same bytes are key and value (a latent)
	Column             // neither: numbers that go with their row wherever it goes (votes, a bias of its scores: kernel.Attention.Bias), always f32
)

// Rope says in which state of rotation rows are stored.
type Rope uint8

const (
	After  Rope = iota // keys are stored rotated
	Before             // keys are stored as they are before rotation and rotated on reading
	None               // nothing to rotate
)

// Stream is one named vector, of Heads heads with Width numbers, that each token leaves in a layer.
type Stream struct {
	Name  string
	Heads int
	Width int
	Role  Role
	Rope  Rope
	// Weighs: numbers that weigh, head by head, the products of queries with another stream (a key) or the probabilities that mix it (a value), as TPA's factors over
	// heads do. They are read a tile at a time, whichever role they have.
	Weighs bool
	// Fixed names the type that the weights were trained with ("q4"): the stream is stored so whatever the spec's default says, and another type is refused. "" leaves the choice to the run.
	Fixed string
}

// fixed is the type that no spec changes, "" where the run chooses.
func (s Stream) fixed() string {
	if s.Role == Column {
		return "f32"
	}
	return s.Fixed
}

// Layout is what one token leaves behind in one layer. A layer that owns no cache has no streams.
type Layout struct {
	Streams []Stream
	Window  int // 0 = all rows are kept; else a query sees so many rows and older pages are given back
	State   int // numbers of recurrent state that a sequence keeps beside its rows, however long it is; always f32
	// RowTokens is how many tokens share a row, each writing over it in turn (MTLA); 0 and 1: each has its own. Token t writes row t/RowTokens.
	RowTokens int
}

// Elements is the number of numbers in a row.
func (l Layout) Elements() int {
	n := 0
	for _, s := range l.Streams {
		n += s.Heads * s.Width
	}
	return n
}

// lane is a layer's layout resolved to planes of a page.
type lane struct {
	planes    []kernel.Plane
	types     []Type
	pageBytes int // rounded up to kernel.PageUnit
	stage     int // bytes of the stage that an open page has beside it, rounded up likewise; 0 where every codec stores rows at once
	rowBytes  int // what one row's codes take, all streams
	window    int
	rowTokens int // tokens that share a row, at least 1
	tokens    int // tokens of a page: rows of a page x rowTokens
}

// rows is the number of rows that so many tokens have, an open one included.
func (ln *lane) rows(tokens int) int { return (tokens + ln.rowTokens - 1) / ln.rowTokens }

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

func resolveLane(l Layout, types []Type, pageRows int) (lane, error) {
	ln := lane{types: types, window: l.Window, rowTokens: max(1, l.RowTokens)}
	ln.tokens = pageRows * ln.rowTokens
	if ln.window > 0 && ln.rowTokens > 1 {
		return lane{}, fault.New(fault.Unsupported, "cache", fmt.Sprintf("a window of %d over rows of %d tokens", ln.window, ln.rowTokens), "a layer has one or the other", "leave sliding_window out, or choose another design")
	}
	at := 0
	for i, s := range l.Streams {
		t := types[i]
		p := kernel.Plane{Codec: t.Codec, Order: kernel.Rows, Heads: s.Heads, Width: s.Width, PageRows: pageRows, Offset: at}
		if (s.Role == Key || s.Weighs) && s.Rope != Before && kernel.PanelsFit(t.Codec, s.Width) {
			p.Order = kernel.Panels
		}
		if t.Hadamard {
			if s.Weighs {
				return lane{}, fault.New(fault.Unsupported, fmt.Sprintf("--kv %s=%s", s.Name, t), "this stream weighs heads one by one",
					"a Hadamard rotation would mix them", fmt.Sprintf("use %s=%s", s.Name, Type{Codec: t.Codec}))
			}
			if s.Rope == Before {
				return lane{}, fault.New(fault.Unsupported, fmt.Sprintf("--kv %s=%s", s.Name, t), "keys of this design are rotated on reading",
					"a Hadamard rotation does not commute with that", fmt.Sprintf("use %s=%s", s.Name, Type{Codec: t.Codec}))
			}
			if s.Width%2 != 0 {
				return lane{}, fault.New(fault.Unsupported, fmt.Sprintf("--kv %s=%s", s.Name, t), fmt.Sprintf("width %d", s.Width), "a Hadamard rotation needs an even width",
					fmt.Sprintf("use %s=%s", s.Name, Type{Codec: t.Codec}))
			}
		}
		if t.Codec.Columns() {
			p.Stage = ln.stage
			ln.stage += p.Open().Bytes()
		}
		ln.planes = append(ln.planes, p)
		at += p.Bytes()
		ln.rowBytes += s.Heads * kernel.RowBytes(t.Codec, s.Width)
	}
	ln.pageBytes, ln.stage = roundUp(at, kernel.PageUnit), roundUp(ln.stage, kernel.PageUnit)
	return ln, nil
}
