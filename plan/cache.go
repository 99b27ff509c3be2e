package plan

// The cache of a model in bytes: by token, by layer, by sequence, and in chunks of the arena.

import (
	"fmt"

	"github.com/lowkeylm/lowkey/fault"
	"github.com/lowkeylm/lowkey/kernel"
	"github.com/lowkeylm/lowkey/kvcache"
	"github.com/lowkeylm/lowkey/model/config"
)

// Cache is what a model's cache takes with one choice of types.
type Cache struct {
	Types    []([]kvcache.Type) `json:"-"` // by layer, by stream
	Layouts  []kvcache.Layout   `json:"-"`
	PerToken float64            `json:"per_token"`        // bytes a token adds while it is in every layer's window; a fraction only where rows merge tokens
	State    int64              `json:"state"`            // bytes a sequence keeps however long it is (recurrent state, in f32)
	Record   int64              `json:"record,omitempty"` // bytes its record takes: State, rounded up as it is allocated
	PageRows int                `json:"page_rows"`
	Open     int64              `json:"open,omitempty"` // bytes of a sequence's stages while its last page is open, where types store whole pages
	Layers   []Layer            `json:"layers"`

	parts  []part
	stages []stage
}

// Layer is one layer's share.
type Layer struct {
	kvcache.LayerBytes
	SharesWith *int `json:"shares_with,omitempty"`
}

// part is the accounting of the layers whose rows cover equally many tokens and whose pages are equally large.
type part struct {
	kvcache.Accounting
	rowTokens, page int
}

// stage is what lies beside a layer's open page.
type stage struct{ bytes, tokens int }

// NewCache accounts for the layouts of a model with these types.
func NewCache(c *config.Config, layouts []kvcache.Layout, spec kvcache.Spec, pageRows int) (*Cache, error) {
	if pageRows == 0 {
		pageRows = kvcache.DefaultPageRows
	}
	if pageRows < kernel.TileRows || pageRows&(pageRows-1) != 0 || pageRows > 1<<16 {
		return nil, fault.New(fault.BadInput, "--page-rows", fmt.Sprint(pageRows), fmt.Sprintf("a power of two from %d to 65536", kernel.TileRows), "leave it out for 64")
	}
	types, err := kvcache.Resolve(layouts, spec)
	if err != nil {
		return nil, err
	}
	a, err := kvcache.Account(kvcache.Config{Layers: layouts, Spec: spec, PageRows: pageRows})
	if err != nil {
		return nil, err
	}
	k := &Cache{Types: types, Layouts: layouts, PageRows: a.PageRows, Record: int64(a.Record)}
	for i, l := range a.Layers {
		at := &c.Layers[i].Attention
		tokens := max(1, l.RowTokens)
		layer := Layer{LayerBytes: l}
		if at.SharesWith >= 0 {
			layer.SharesWith = &at.SharesWith
		}
		k.Layers = append(k.Layers, layer)
		k.PerToken += float64(l.PerToken) / float64(tokens)
		k.State += int64(l.State)
		k.add(l, tokens)
	}
	return k, nil
}

func (k *Cache) add(l kvcache.LayerBytes, tokens int) {
	if l.Page == 0 {
		return
	}
	if l.Stage > 0 {
		k.stages = append(k.stages, stage{l.Stage, k.PageRows * tokens})
		k.Open += int64(l.Stage)
	}
	l.State, l.RowTokens, l.Stage = 0, 0, 0 // counted in Record, in rows, and in stages
	for i := range k.parts {
		if p := &k.parts[i]; p.rowTokens == tokens && p.page == l.Page {
			p.Layers = append(p.Layers, l)
			return
		}
	}
	k.parts = append(k.parts, part{kvcache.Accounting{Layers: []kvcache.LayerBytes{l}, PageRows: k.PageRows}, tokens, l.Page})
}

// Sequence is what a sequence of so many tokens holds between steps: whole pages, stages where the last one is open, and a record of its constant state.
func (k *Cache) Sequence(tokens int) int64 {
	return k.sum(tokens, part.held) + k.Staged(tokens) + k.Record
}

// Staged is what a sequence of so many tokens holds in stages.
func (k *Cache) Staged(tokens int) (n int64) {
	for _, s := range k.stages {
		if tokens%s.tokens > 0 {
			n += int64(s.bytes)
		}
	}
	return n
}

// Peak is the most it takes while it grows to that length in steps of at most step tokens: inside a step there are two states, the one before it and the next.
func (k *Cache) Peak(tokens, step int) int64 {
	return k.sum(tokens, func(p part, rows int) int64 { return p.peak(rows, step) }) + k.Open + 2*k.Record
}

// Slack is the part of Sequence that no visible row uses: ends of last pages and of the record and, in sliding layers, rows before the window.
func (k *Cache) Slack(tokens int) int64 {
	return k.sum(tokens, func(p part, rows int) int64 { return p.Slack(rows) }) + k.Record - k.State
}

func (p part) held(rows int) int64 { return p.Accounting.Sequence(rows) }

func (p part) peak(rows, step int) int64 {
	return p.Accounting.Peak(rows, (step+p.rowTokens-1)/p.rowTokens)
}

func (p part) rows(tokens int) int { return (tokens + p.rowTokens - 1) / p.rowTokens }

func (k *Cache) sum(tokens int, f func(p part, rows int) int64) int64 {
	n := int64(0)
	for _, p := range k.parts {
		n += f(p, p.rows(tokens))
	}
	return n
}

// Arena is the budget that holds n sequences of so many tokens, one of which grows by steps of step tokens while the others grow by one: pages in whole chunks.
func (k *Cache) Arena(n int64, tokens, step int) int64 {
	pages := map[int]int64{}
	for _, p := range k.parts {
		rows := p.rows(tokens)
		pages[p.page] += ((n-1)*p.peak(rows, 1) + p.peak(rows, step)) / int64(p.page)
	}
	for _, s := range k.stages {
		pages[s.bytes] += n
	}
	if k.Record > 0 {
		pages[int(k.Record)] += 2 * n
	}
	return kvcache.ArenaBytes(pages)
}

// Fits is how many sequences of so many tokens a budget holds.
func (k *Cache) Fits(budget int64, tokens, step int) int64 {
	one := k.Sequence(tokens)
	if one <= 0 || budget <= 0 {
		return 0
	}
	lo, hi := int64(0), budget/one
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if k.Arena(mid, tokens, step) <= budget {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}

// Longest is the longest sequence, up to most tokens, that a budget holds.
func (k *Cache) Longest(budget int64, most, step int) int {
	lo, hi := 0, most
	for lo < hi {
		mid := lo + (hi-lo+1)/2
		if k.Arena(1, mid, step) <= budget {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return lo
}
