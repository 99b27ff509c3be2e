package kvcache

// Open and sealed pages: where a type stores rows together (kernel.Codec.Columns), the page of the next token is open. Its rows lie in a stage, in the precision that the codec declares;
// when the page is full it is sealed, that is, encoded as a whole, and the stage serves the next one. The place of the sealed rows is reserved with the page, so sealing cannot fail.
//
// A query sees rows of its own page as they are staged, and rows of earlier pages sealed: whatever the steps in which a prompt came, because a step ends where a page does (Step). A
// page is found by other sequences only when it is sealed. A lane of a sequence has one stage at most, and none while its last page is full.
//
// A sealed page does not open again: its rows' staged precision is gone, so a sequence is cut only at the ends of sealed pages, or inside the open one (Sequence.Cut says where).

import (
	"fmt"

	"github.com/lowkeylm/lowkey/fault"
)

// Step is how many of the next n tokens one step may take: up to the end of the page that some lane must seal then.
func (q *Sequence) Step(n int) int {
	for i := range q.lanes {
		if ln := &q.store.lanes[i]; ln.stage > 0 {
			n = min(n, ln.tokens-q.rows%ln.tokens)
		}
	}
	return n
}

// wantsStage reports whether a lane needs a stage that it does not have for n more tokens.
func (q *Sequence) wantsStage(i, n int) bool {
	return q.store.lanes[i].stage > 0 && n > 0 && q.lanes[i].stage == noRecord
}

// seal encodes the pages that n more tokens fill.
func (q *Sequence) seal(n int) {
	s := q.store
	for i := range q.lanes {
		ln, t := &s.lanes[i], &q.lanes[i]
		if ln.stage == 0 || n == 0 || q.rows%ln.tokens+n < ln.tokens {
			continue
		}
		page, stage := s.arena.page(t.pages[q.rows/ln.tokens-t.first], ln.pageBytes), s.arena.page(t.stage, ln.stage)
		for _, p := range ln.planes {
			if p.Codec.Columns() {
				p.Seal(page, stage, &s.sealer)
			}
		}
	}
}

// dropStages gives the stages back that hold no row and wait for none.
func (q *Sequence) dropStages() {
	for i := range q.lanes {
		if ln := &q.store.lanes[i]; ln.stage > 0 && q.rows%ln.tokens == 0 && q.room <= q.rows {
			q.store.release(&q.lanes[i].stage)
		}
	}
}

// cutSealed says why a cut to so many tokens would open a sealed page.
func (q *Sequence) cutSealed(rows int) error {
	for i, ln := range q.store.lanes {
		if ln.stage > 0 && rows%ln.tokens != 0 && rows < q.rows/ln.tokens*ln.tokens {
			return fault.New(fault.Unsupported, "truncate", fmt.Sprintf("%d tokens", rows), fmt.Sprintf("layer %d stores each %d tokens together", i, ln.tokens),
				fmt.Sprintf("cut at %d, or start the sequence again", rows/ln.tokens*ln.tokens))
		}
	}
	return nil
}
