package kvcache

import (
	"maps"
	"math"
	"slices"
)

// Accounting: the bytes of a cache before anything is allocated. Exact for every codec here (all have a fixed rate).

// LayerBytes is one layer's share.
type LayerBytes struct {
	Layer     int    `json:"layer"`
	Streams   string `json:"streams"`              // "k 3x64 f16; v 3x64 f16"
	Elements  int    `json:"elements"`             // numbers in a row
	PerToken  int    `json:"per_token"`            // bytes of a row, which is a token's alone unless RowTokens says otherwise
	Window    int    `json:"window,omitempty"`     // rows a query sees; 0 = all
	Page      int    `json:"page"`                 // bytes of a page
	Stage     int    `json:"stage,omitempty"`      // bytes of the stage beside an open page, where the type stores whole pages
	RowTokens int    `json:"row_tokens,omitempty"` // tokens that share a row, where more than one
	State     int    `json:"state,omitempty"`      // bytes of recurrent state that a sequence keeps, however long it is
}

// Accounting is what a cache of this configuration takes.
type Accounting struct {
	Layers   []LayerBytes `json:"layers"`
	PageRows int          `json:"page_rows"`
	PerToken int          `json:"per_token"`        // bytes a token adds while it is in every layer's window; rounded up where rows cover several tokens
	Record   int          `json:"record,omitempty"` // bytes of a record, that is all layers' states, rounded up as it is allocated
}

// Account resolves a configuration without allocating.
func Account(cfg Config) (*Accounting, error) {
	if cfg.PageRows == 0 {
		cfg.PageRows = DefaultPageRows
	}
	lanes, err := resolveLanes(cfg)
	if err != nil {
		return nil, err
	}
	s := Store{cfg: cfg, lanes: lanes}
	a := &Accounting{PageRows: cfg.PageRows, Record: stateSizeOf(cfg.Layers).record}
	perToken := 0.0
	for i, text := range s.streams() {
		a.Layers = append(a.Layers, LayerBytes{Layer: i, Streams: text, Elements: cfg.Layers[i].Elements(), PerToken: lanes[i].rowBytes, Window: lanes[i].window, Page: lanes[i].pageBytes, Stage: lanes[i].stage,
			State: 4 * cfg.Layers[i].State})
		if n := lanes[i].rowTokens; n > 1 {
			a.Layers[i].RowTokens = n
		}
		perToken += float64(lanes[i].rowBytes) / float64(lanes[i].rowTokens)
	}
	a.PerToken = int(math.Ceil(perToken - 1e-6))
	return a, nil
}

// Sequence is the bytes that a sequence of so many tokens holds between steps: whole pages, sliding layers their window and at most one page more, a stage where a page is open, and a
// record of recurrent state.
// Snapshots of the state for prefixes are not counted: they give way where a step needs the room.
func (a *Accounting) Sequence(rows int) int64 {
	if rows == 0 {
		return 0
	}
	return a.bytes(rows, 0) + a.Staged(rows) + int64(a.Record)
}

// Staged is the part of Sequence(tokens) that lies in stages: those of layers whose last page is open.
func (a *Accounting) Staged(tokens int) (n int64) {
	for _, l := range a.Layers {
		if tokens%(a.PageRows*max(1, l.RowTokens)) > 0 {
			n += int64(l.Stage)
		}
	}
	return n
}

// Peak is the most a sequence takes while it grows to rows in steps of at most step tokens: a sliding layer gives pages back after a step, the state before a step stays until its end,
// and a page is open until it is full.
func (a *Accounting) Peak(rows, step int) int64 {
	n := a.bytes(rows, step) + 2*int64(a.Record)
	for _, l := range a.Layers {
		n += int64(l.Stage)
	}
	return n
}

func (a *Accounting) bytes(rows, step int) int64 {
	var total int64
	for _, l := range a.Layers {
		if l.Page == 0 {
			continue
		}
		total += int64(a.pages(l, rows, step)) * int64(l.Page)
	}
	return total
}

// rows is how many rows so many tokens have in a layer.
func (l *LayerBytes) rows(tokens int) int {
	n := max(1, l.RowTokens)
	return (tokens + n - 1) / n
}

func (a *Accounting) pages(l LayerBytes, rows, step int) int {
	rows = l.rows(rows)
	all := (rows + a.PageRows - 1) / a.PageRows
	if l.Window == 0 {
		return all
	}
	if step == 0 {
		return all - max(0, rows+1-l.Window)/a.PageRows
	}
	most := 0 // before the last step rows-step rows were committed; any earlier state holds no more than a window, a page and a step
	for r := max(0, rows-step-a.PageRows); r <= max(0, rows-step); r++ {
		n := min(step, rows-r)
		most = max(most, (r+n+a.PageRows-1)/a.PageRows-max(0, r+1-l.Window)/a.PageRows)
	}
	return most
}

// Arena is the budget that holds n sequences of so many rows, each growing in steps of at most step rows: pages in whole chunks.
func (a *Accounting) Arena(n int64, rows, step int) int64 {
	pages := map[int]int64{}
	for _, l := range a.Layers {
		if l.Page > 0 {
			pages[l.Page] += n * int64(a.pages(l, rows, step))
		}
		if l.Stage > 0 {
			pages[l.Stage] += n
		}
	}
	if a.Record > 0 {
		pages[a.Record] += 2 * n
	}
	return ArenaBytes(pages)
}

// ArenaBytes is the smallest budget whose arena holds so many pages of each size.
func ArenaBytes(pages map[int]int64) int64 {
	sizes := slices.Collect(maps.Keys(pages))
	in := func(budget int64) (total int64) {
		chunk := int64(ChunkSize(budget, sizes))
		for size, count := range pages {
			per := chunk / int64(size)
			total += (count + per - 1) / per * chunk
		}
		return total
	}
	if small := in(0); small < smallBudget {
		return small
	}
	return max(smallBudget, in(smallBudget))
}

// Slack is the part of Sequence(rows) that no row and no state uses: the ends of last pages and, in sliding layers, rows before the window. Stages are apart, and the rows in them are
// counted in their pages, where their place is kept.
func (a *Accounting) Slack(rows int) int64 {
	slack := a.Sequence(rows) - a.Staged(rows)
	for _, l := range a.Layers {
		n := l.rows(rows)
		if l.Window > 0 {
			n = min(n, l.Window)
		}
		slack -= int64(n) * int64(l.PerToken)
		if rows > 0 {
			slack -= int64(l.State)
		}
	}
	return slack
}
