package lowkey

// The Go heap's part of a memory budget. It is one heap for all models of the process, so those that were loaded with Options.HoldHeap share one limit. It is the collector's: it works harder
// when garbage would pass it, and does not refuse what is in use.

import (
	"math"
	"runtime/debug"
	"sync"

	"github.com/lowkeylm/lowkey/fault"
)

// HeapBytes is set aside for the Go heap: tokenizer, tables, the program itself.
const HeapBytes = 64 << 20

// TextShare bounds a text that lies in the heap with its tokens: HeapLimit / TextShare bytes are encoded, more are refused where the heap is held.
const TextShare = 6

// HeapLimit is what the Go heap may take for this model: its share, scratch, and what nothing has claimed of the budget. With several models open it is the sum of theirs. Options.HoldHeap
// gives it to debug.SetMemoryLimit, as the lowkey command does; without it a library does not change what belongs to the whole process.
func (m *Model) HeapLimit() int64 { return m.heap + min(m.spare, math.MaxInt64-m.heap) }

// Spare is the bytes of the memory budget that nothing has claimed.
func (m *Model) Spare() int64 { return m.spare }

// checkText refuses a text that the heap cannot hold with its tokens.
func (m *Model) checkText(bytes int) error {
	if limit := m.HeapLimit(); m.Options.HoldHeap && int64(bytes) > limit/TextShare {
		return fault.New(fault.OverBudget, "text", Bytes(int64(bytes)), "the memory budget leaves "+Bytes(limit)+" for the heap, with its tokens", "give a part of it (head -c), or raise --memory")
	}
	return nil
}

// held are the models whose heap is held, and given the limit of the process without them: GOMEMLIMIT's.
var heap struct {
	sync.Mutex
	held  map[*Model]bool
	given int64
}

// hold counts m, as it is now, into the limit of the heap, where its options ask for that.
func (m *Model) hold() {
	if !m.Options.HoldHeap {
		return
	}
	heap.Lock()
	defer heap.Unlock()
	if len(heap.held) == 0 {
		heap.held, heap.given = map[*Model]bool{}, debug.SetMemoryLimit(-1)
	}
	heap.held[m] = true
	limitHeap()
}

// letGo takes m out; without models the limit is what it was.
func (m *Model) letGo() {
	heap.Lock()
	defer heap.Unlock()
	if heap.held[m] {
		delete(heap.held, m)
		limitHeap()
	}
}

// limitHeap sets the sum of the models' limits, unless a lower one was given.
func limitHeap() {
	limit := int64(0)
	for m := range heap.held {
		limit += min(m.HeapLimit(), math.MaxInt64-limit)
	}
	if len(heap.held) == 0 {
		limit = math.MaxInt64
	}
	debug.SetMemoryLimit(min(heap.given, limit))
}
